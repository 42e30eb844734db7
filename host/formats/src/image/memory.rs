// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How much memory an image needs to start.

use super::Error;
use crate::erofs::Data;
use bhojpur_abi::elf::{HEADER_SIZE, Header, PAGE_SIZE, Plan};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

const MIB: u64 = 1 << 20;
/// Page tables, heap, stacks and network buffers of the kernel at its start.
const KERNEL_RESERVE: u64 = MIB;
/// Stacks and first heap of a program: what Go's runtime touches until `main`.
const PROGRAM_RESERVE: u64 = MIB / 2;

/// Least memory of a machine for an image that ends at the physical address
/// `end`, with a program whose writable segments hold `program` bytes of the
/// file. Text and read-only data cost nothing more: they are mapped in place.
/// Memory that starts as zeros costs nothing until it is touched; Go reserves
/// tens of megabytes of it and touches little.
pub fn least_memory(end: u64, program: u64) -> u64 {
    let sum = end.saturating_add(program).saturating_add(KERNEL_RESERVE + PROGRAM_RESERVE);
    sum.checked_next_multiple_of(MIB).unwrap_or(u64::MAX)
}

/// Bytes that a program's writable segments take from the file, in whole pages; 0 for what is no
/// ELF program, such as a script.
pub fn program_memory(data: &Data) -> Result<u64, Error> {
    let (header, table, len) = match data {
        Data::Bytes(bytes) => {
            let Ok(header) = Header::parse(bytes) else { return Ok(0) };
            let range = header.program_header_range();
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            (header, bytes.get(start..).unwrap_or_default().to_vec(), bytes.len() as u64)
        }
        Data::Host { path, len } => {
            let failed = |source| Error::Read { path: path.clone(), source };
            let mut file = File::open(path).map_err(failed)?;
            let mut head = Vec::new();
            Read::by_ref(&mut file)
                .take(HEADER_SIZE as u64)
                .read_to_end(&mut head)
                .map_err(failed)?;
            let Ok(header) = Header::parse(&head) else { return Ok(0) };
            let range = header.program_header_range();
            let mut table = Vec::new();
            file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
            file.take(range.end - range.start).read_to_end(&mut table).map_err(failed)?;
            (header, table, *len)
        }
    };
    let Ok(plan) = Plan::parse(&header, &table, len) else { return Ok(0) };
    let pages = |bytes: u64| bytes.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
    Ok(plan
        .loads()
        .filter(|s| s.writable())
        .fold(0, |sum: u64, s| sum.saturating_add(pages(s.file_size))))
}
