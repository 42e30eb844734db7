// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the loader tells: memory, command line, firmware tables.

use super::boot::{DIRECT_MAP, Protocol};

const MAX_REGIONS: usize = 64;
const MAX_COMMAND_LINE: usize = 2048;
const E820_RAM: u32 = 1;
/// Where Firecracker has the ACPI root pointer, which its PVH start info does
/// not name, and how the pointer starts there: signature, checksum, OEM id
/// (ACPI 6.5, 5.2.5.3).
const FIRECRACKER_RSDP: u64 = 0xe_0000;
const RSDP_SIGNATURE: [u8; 8] = *b"RSD PTR ";
const FIRECRACKER_OEM: [u8; 6] = *b"FIRECK";

/// A copy of what the loader left in memory.
#[derive(Debug)]
pub struct BootInfo {
    ram: [(u64, u64); MAX_REGIONS],
    ram_count: usize,
    command_line: [u8; MAX_COMMAND_LINE],
    command_line_len: usize,
    /// Physical address of the ACPI root pointer, if the loader knows it.
    pub rsdp: Option<u64>,
    firecracker: bool,
}

/// Reads the loader's data through the boot page tables.
///
/// # Safety
/// `address` must be physical memory below 4 GiB that the loader filled.
unsafe fn peek<T: Copy>(address: u64) -> T {
    // SAFETY: the boot tables map the first 4 GiB; unaligned reads are fine.
    unsafe { ((DIRECT_MAP + address) as *const T).read_unaligned() }
}

impl BootInfo {
    pub const fn empty() -> Self {
        Self {
            ram: [(0, 0); MAX_REGIONS],
            ram_count: 0,
            command_line: [0; MAX_COMMAND_LINE],
            command_line_len: 0,
            rsdp: None,
            firecracker: false,
        }
    }

    /// RAM as `[start, end)`, sorted, in whole pages.
    pub fn ram(&self) -> &[(u64, u64)] {
        &self.ram[..self.ram_count]
    }

    /// The kernel command line.
    pub fn command_line(&self) -> &str {
        let bytes = &self.command_line[..self.command_line_len];
        core::str::from_utf8(bytes).unwrap_or("")
    }

    fn add(&mut self, start: u64, size: u64, kind: u32) {
        let end = start.saturating_add(size) & !0xfff;
        let start = start.next_multiple_of(0x1000);
        if kind == E820_RAM && start < end && self.ram_count < MAX_REGIONS {
            self.ram[self.ram_count] = (start, end);
            self.ram_count += 1;
        }
    }

    /// # Safety
    /// `at` must be 0 or point to a zero-terminated string below 4 GiB.
    unsafe fn copy_command_line(&mut self, at: u64) {
        if at == 0 {
            return;
        }
        for i in 0..MAX_COMMAND_LINE {
            // SAFETY: the caller's contract.
            let byte: u8 = unsafe { peek(at + i as u64) };
            if byte == 0 {
                break;
            }
            self.command_line[i] = byte;
            self.command_line_len = i + 1;
        }
    }

    /// # Safety
    /// `info` must be what a loader that speaks `protocol` passed.
    pub unsafe fn read(&mut self, protocol: Protocol, info: u64) {
        // SAFETY: each reader follows the layout of its protocol.
        unsafe {
            match protocol {
                Protocol::Pvh => self.read_pvh(info),
                Protocol::Multiboot2 => self.read_multiboot2(info),
                Protocol::Linux => self.read_linux(info),
            }
        }
        let count = self.ram_count;
        self.ram[..count].sort_unstable();
        // SAFETY: below 1 MiB there is memory, or nothing, which reads as ones.
        let pointer: [u8; 15] = unsafe { peek(FIRECRACKER_RSDP) };
        if pointer[..8] == RSDP_SIGNATURE && pointer[9..] == FIRECRACKER_OEM {
            self.firecracker = true;
            self.rsdp = Some(FIRECRACKER_RSDP);
        }
    }

    /// True under Firecracker, which has few of a PC's old devices and logs each
    /// access to a port where nothing is.
    pub fn is_firecracker(&self) -> bool {
        self.firecracker
    }

    /// Xen `public/arch-x86/hvm/start_info.h`.
    unsafe fn read_pvh(&mut self, at: u64) {
        // SAFETY: offsets are those of `struct hvm_start_info` version 1 and
        // `struct hvm_memmap_table_entry`.
        unsafe {
            self.copy_command_line(peek(at + 24));
            let rsdp: u64 = peek(at + 32);
            self.rsdp = (rsdp != 0).then_some(rsdp);
            let table: u64 = peek(at + 40);
            let entries: u32 = peek(at + 48);
            for i in 0..u64::from(entries) {
                let entry = table + i * 24;
                self.add(peek(entry), peek(entry + 8), peek(entry + 16));
            }
        }
    }

    /// Linux `Documentation/arch/x86/zero-page.rst`.
    unsafe fn read_linux(&mut self, at: u64) {
        // SAFETY: offsets are those of `struct boot_params`.
        unsafe {
            let line: u32 = peek(at + 0x228);
            self.copy_command_line(u64::from(line));
            let rsdp: u64 = peek(at + 0x70);
            self.rsdp = (rsdp != 0).then_some(rsdp);
            let entries: u8 = peek(at + 0x1e8);
            for i in 0..u64::from(entries) {
                let entry = at + 0x2d0 + i * 20;
                self.add(peek(entry), peek(entry + 8), peek(entry + 16));
            }
        }
    }

    /// Multiboot2 specification, section 3.6.
    unsafe fn read_multiboot2(&mut self, at: u64) {
        // SAFETY: tags follow each other, aligned to 8, inside the total size.
        unsafe {
            let total: u32 = peek(at);
            let end = at + u64::from(total);
            let mut tag = at + 8;
            while tag + 8 <= end {
                let (kind, size): (u32, u32) = (peek(tag), peek(tag + 4));
                match kind {
                    0 => break,
                    1 => self.copy_command_line(tag + 8),
                    6 => {
                        let step: u32 = peek(tag + 8);
                        let mut entry = tag + 16;
                        while step >= 24 && entry + u64::from(step) <= tag + u64::from(size) {
                            self.add(peek(entry), peek(entry + 8), peek(entry + 16));
                            entry += u64::from(step);
                        }
                    }
                    14 | 15 => self.rsdp = Some(tag + 8),
                    _ => {}
                }
                tag += u64::from(size.max(8)).next_multiple_of(8);
            }
        }
    }
}
