// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The functions of the BIOS: text, disk (Enhanced Disk Drive 3.0), memory map (ACPI 6.5
//! section 15.1).

use core::fmt;

use kboot::kernel::{Error, Source};
use kboot::memory_map::{Full, MemoryMap};

use crate::low;
use crate::real::{Registers, interrupt, medium, transfer_address};
use crate::serial;

const CARRY: u32 = 1;
/// Several BIOSes read at most 127 sectors at a time.
const READ_MAX: u32 = 120 * 512;
const RETRIES: u32 = 5;
const E820: u32 = 0xe820;
const SMAP: u32 = 0x534d_4150;
/// A map longer than this does not end.
const E820_MAX: u32 = 512;

/// Screen and first serial line.
pub(crate) struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                put(b'\r');
            }
            put(byte);
        }
        Ok(())
    }
}

fn put(byte: u8) {
    let registers = Registers { eax: 0x0e00 | u32::from(byte), ebx: 7, ..Registers::default() };
    interrupt(0x10, &registers, &[0; 32]);
    serial::put(byte);
}

/// The file that lies in one piece on the boot drive.
pub(crate) struct Disk {
    drive: u8,
    sector: u32,
    /// Byte offset of the file.
    start: u64,
    /// What lies in the buffer: its first sector, and bytes.
    buffered: Option<(u64, u32)>,
}

impl Disk {
    pub(crate) fn new(start: u64) -> Self {
        let (drive, sector) = medium();
        Self { drive, sector, start, buffered: None }
    }

    /// Gets the sector of a byte of the medium, and what follows, into the buffer.
    fn fill(&mut self, at: u64, wanted: usize) -> Result<(), Error> {
        let sector = u64::from(self.sector);
        let first = at / sector;
        let bytes = (at % sector + wanted as u64).div_ceil(sector) * sector;
        let bytes = bytes.min((READ_MAX / self.sector * self.sector).into()) as u32;
        self.buffered = None;
        let mut packet = [0; 32];
        packet[0] = 16;
        packet[2..4].copy_from_slice(&((bytes / self.sector) as u16).to_le_bytes());
        packet[6..8].copy_from_slice(&((low::DISK_BUFFER >> 4) as u16).to_le_bytes());
        packet[8..16].copy_from_slice(&first.to_le_bytes());
        let drive = Registers { edx: self.drive.into(), ..Registers::default() };
        let read = Registers { eax: 0x4200, esi: transfer_address(), ..drive };
        for _ in 0..RETRIES {
            if interrupt(0x13, &read, &packet).0.flags & CARRY == 0 {
                self.buffered = Some((first, bytes));
                return Ok(());
            }
            interrupt(0x13, &drive, &[0; 32]);
        }
        Err(Error::Read)
    }

    /// What of the buffer begins with a byte of the medium.
    fn buffer(&self, at: u64) -> &'static [u8] {
        let (first, bytes) = self.buffered.unwrap_or_default();
        at.checked_sub(first * u64::from(self.sector))
            .and_then(|skip| low::disk_buffer(bytes as usize).get(skip as usize..))
            .unwrap_or_default()
    }
}

impl Source for Disk {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let mut at = self.start + offset;
        let mut done = 0;
        while done < into.len() {
            if self.buffer(at).is_empty() {
                self.fill(at, into.len() - done)?;
            }
            let from = self.buffer(at);
            let count = from.len().min(into.len() - done);
            into[done..done + count].copy_from_slice(&from[..count]);
            done += count;
            at += count as u64;
        }
        Ok(())
    }
}

/// Asks for the memory map. Nothing is added when the BIOS does not know the call.
pub(crate) fn memory_map(map: &mut MemoryMap<'_>) -> Result<(), Full> {
    let mut next = 0;
    for _ in 0..E820_MAX {
        let call = Registers {
            eax: E820,
            ebx: next,
            ecx: 24,
            edx: SMAP,
            edi: transfer_address(),
            ..Registers::default()
        };
        // A BIOS that writes 20 bytes leaves the extended attributes as they are: valid.
        let mut entry = [0; 32];
        entry[20] = 1;
        let (answer, entry) = interrupt(0x15, &call, &entry);
        if answer.flags & CARRY != 0 || answer.eax != SMAP {
            break;
        }
        let number = |at: usize, size: usize| {
            entry[at..at + size].iter().rev().fold(0, |n, &byte| (n << 8) | u64::from(byte))
        };
        if number(20, 4) & 1 == 1 {
            map.add(number(0, 8), number(8, 8), number(16, 4) as u32)?;
        }
        next = answer.ebx;
        if next == 0 {
            break;
        }
    }
    Ok(())
}
