// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the ELF reader: made-up headers, and the test program itself.

use super::*;
use std::vec;
use std::vec::Vec;

const ENTRY: u64 = 0x40_1000;

fn load(address: u64, file_size: u64, memory_size: u64, flags: u32) -> Segment {
    let offset = address % PAGE_SIZE;
    let align = PAGE_SIZE;
    Segment { kind: PT_LOAD, flags, offset, address, physical: 0, file_size, memory_size, align }
}

fn file(segments: &[Segment]) -> Vec<u8> {
    let mut out = vec![0; 8192];
    out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &ET_EXEC.to_le_bytes());
    put(18, &EM_X86_64.to_le_bytes());
    put(24, &ENTRY.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &(segments.len() as u16).to_le_bytes());
    for (i, s) in segments.iter().enumerate() {
        let at = 64 + 56 * i;
        put(at, &s.kind.to_le_bytes());
        put(at + 4, &s.flags.to_le_bytes());
        let fields = [s.offset, s.address, s.physical, s.file_size, s.memory_size, s.align];
        for (n, field) in fields.iter().enumerate() {
            put(at + 8 + 8 * n, &field.to_le_bytes());
        }
    }
    out
}

fn refusal(segments: &[Segment]) -> Option<Error> {
    File::parse(&file(segments)).err()
}

#[test]
fn plan_of_a_static_program() {
    let stack = Segment { kind: PT_GNU_STACK, ..load(0, 0, 0, PF_R | PF_W | PF_X) };
    let text = load(0x40_0000, 4096, 4096, PF_R | PF_X);
    let data = load(0x40_1010, 100, 8192, PF_R | PF_W);
    let bytes = file(&[text, stack, data]);
    let f = File::parse(&bytes).unwrap();
    assert_eq!(f.plan().loads().collect::<Vec<_>>(), [text, data]);
    assert_eq!(f.plan().span(), 0x40_0000..0x40_4000);
    assert_eq!(f.plan().table_address(), Some(0x40_0040));
    assert!(f.plan().executable_stack() && !f.plan().position_independent());
    assert_eq!((f.header().entry, f.plan().alignment()), (ENTRY, PAGE_SIZE));
    assert!(f.plan().writable_and_executable().is_none() && f.interpreter().is_none());
    let mixed = file(&[load(0, 1, 1, PF_R | PF_W | PF_X)]);
    assert!(File::parse(&mixed).unwrap().plan().writable_and_executable().is_some());
}

#[test]
fn wrong_headers_are_named() {
    let good = file(&[load(0x40_0000, 10, 10, PF_R)]);
    assert!(File::parse(&good).is_ok());
    let cases = [
        (0, 0, Error::NotElf),
        (4, 1, Error::Class32),
        (5, 2, Error::BigEndian),
        (18, 183, Error::Machine(183)),
        (16, 1, Error::NotExecutable(1)),
        (54, 32, Error::Malformed("size of a program header")),
        (56, 0, Error::NoSegments),
        (56, 74, Error::Malformed("number of program headers")),
        (39, 0xff, Error::Truncated("the program headers")),
    ];
    for (at, value, error) in cases {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(File::parse(&bad).err(), Some(error), "byte {at}");
    }
    assert_eq!(File::parse(b"").err(), Some(Error::NotElf));
    assert_eq!(File::parse(b"#!/bin/sh\n").err(), Some(Error::NotElf));
    for len in 1..120 {
        assert!(matches!(File::parse(&good[..len]).err(), Some(Error::Truncated(_))), "{len}");
    }
}

#[test]
fn wrong_segments_are_refused() {
    let good = load(0x40_0000, 4096, 8192, PF_R);
    let cases = [
        Segment { file_size: 8193, ..good },
        Segment { file_size: 1 << 40, memory_size: 1 << 41, ..good },
        Segment { offset: u64::MAX, address: 0x40_0fff, ..good },
        Segment { address: ADDRESS_MAX - 4096, ..good },
        Segment { memory_size: u64::MAX, ..good },
        Segment { align: 3, ..good },
        Segment { offset: 1, ..good },
        Segment { memory_size: 0, file_size: 0, ..good },
    ];
    for segment in cases {
        assert!(refusal(&[segment]).is_some(), "{segment:?}");
    }
    assert_eq!(refusal(&[good, load(0x40_1fff, 0, 1, PF_R)]), Some(Error::Overlap));
    assert_eq!(refusal(&[good, load(0x30_0000, 0, 1, PF_R)]), Some(Error::Overlap));
    assert_eq!(refusal(&[good, load(0x40_2000, 0, 1, PF_R)]), None);
    let high = file(&[load(0xffff_ffff_8020_0000, 10, 10, PF_R)]);
    assert!(File::parse(&high).is_err() && File::parse_kernel(&high).is_ok());
}

/// Everything that can be asked of a file.
fn touch(bytes: &[u8]) {
    for parsed in [File::parse(bytes), File::parse_kernel(bytes)] {
        let Ok(f) = parsed else { continue };
        let _ = (f.interpreter(), f.runpath(), f.rpath(), f.soname(), f.needed().count());
        let _ = (f.plan().span(), f.plan().alignment(), f.plan().table_address());
        let _ = (f.sections().count(), f.section(".text").map(|s| s.data.len()));
    }
}

#[test]
fn reads_its_own_program_and_damaged_copies_of_it() {
    let mut bytes = std::fs::read("/proc/self/exe").unwrap();
    let f = File::parse(&bytes).unwrap();
    assert!(f.plan().position_independent() && f.plan().thread_local().is_some());
    assert!(f.interpreter().unwrap().starts_with(b"/lib64/ld-"));
    assert!(f.needed().any(|n| n.starts_with(b"libc.so")));
    assert!(f.section(".text").is_some_and(|s| s.data.len() as u64 == s.size));
    assert!(f.has_section_table());
    let dynamic = f.plan().dynamic().unwrap().file_range();
    let headers = 0..64 + 56 * usize::from(f.header().program_header_count);
    for at in headers.chain(dynamic.start as usize..dynamic.end as usize) {
        let old = bytes[at];
        for value in [0, 0x7f, 0xff, old ^ 1] {
            bytes[at] = value;
            touch(&bytes);
        }
        bytes[at] = old;
    }
}
