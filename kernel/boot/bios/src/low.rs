// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory at fixed addresses: the buffers below 1 MiB and the places of the kernel.
//! `real.rs` has the map.
#![expect(unsafe_code, reason = "memory that belongs to no object of the language")]

use abi::boot::COMMAND_LINE_MAX;
use kboot::memory_map::Entry;
use kboot::start_info::StartInfo;
use kboot::trampoline;

/// Where the disk buffer lies: 64 KiB that cross no boundary of 64 KiB.
pub(crate) const DISK_BUFFER: u32 = 0x2_0000;
/// What the kernel gets.
pub(crate) const TRAMPOLINE: u32 = 0x5_0000;
pub(crate) const START_INFO: u32 = 0x5_1000;
pub(crate) const COMMAND_LINE: u32 = 0x5_2000;
pub(crate) const MEMORY_MAP: u32 = 0x5_4000;
const MEMORY_MAP_ENTRIES: usize = 512;

const _: () = assert!(COMMAND_LINE as usize + COMMAND_LINE_MAX < MEMORY_MAP as usize);

/// The first bytes of the disk buffer.
pub(crate) fn disk_buffer(size: usize) -> &'static [u8] {
    // SAFETY: the BIOS alone writes to the buffer, in calls during which nobody holds this:
    // a `Disk` takes it anew after each.
    unsafe { core::slice::from_raw_parts(DISK_BUFFER as *const u8, size.min(0x1_0000)) }
}

/// Room for the memory map, the command line and the rest; called once.
pub(crate) struct Handoff {
    pub(crate) trampoline: &'static mut [u8; trampoline::SIZE],
    pub(crate) start_info: &'static mut StartInfo,
    pub(crate) command_line: &'static mut [u8; COMMAND_LINE_MAX + 1],
    pub(crate) memory_map: &'static mut [Entry; MEMORY_MAP_ENTRIES],
}

impl Handoff {
    /// # Safety
    /// Called once.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: all of it lies in conventional memory that nothing else uses, and any
        // bytes are valid values of these types.
        unsafe {
            Self {
                trampoline: &mut *(TRAMPOLINE as *mut _),
                start_info: &mut *(START_INFO as *mut _),
                command_line: &mut *(COMMAND_LINE as *mut _),
                memory_map: &mut *(MEMORY_MAP as *mut _),
            }
        }
    }
}

/// Memory of the kernel.
///
/// # Safety
/// The range is usable memory between 1 and 4 GiB, and nobody holds it.
pub(crate) unsafe fn kernel_memory(start: u64, size: u64) -> &'static mut [u8] {
    // SAFETY: the loader maps the first 4 GiB at their own addresses; the caller vouches
    // for the rest.
    unsafe { core::slice::from_raw_parts_mut(start as *mut u8, size as usize) }
}

/// The address of ACPI's root pointer (ACPI 6.5 section 5.2.5.1), or 0.
pub(crate) fn rsdp() -> u64 {
    // SAFETY: the BIOS data area lies there on every BIOS machine.
    let segment = unsafe { (0x40e as *const u16).read_volatile() };
    let extended = u64::from(segment) << 4;
    let areas = [(extended, 1024), (0xe_0000, 0x2_0000)];
    for (start, size) in areas.into_iter().filter(|&(start, _)| start >= 0x8_0000) {
        for address in (start..start + size - 36).step_by(16) {
            // SAFETY: the extended BIOS data area and the BIOS itself are readable memory.
            let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, 20) };
            let sum = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
            if bytes.starts_with(b"RSD PTR ") && sum == 0 {
                return address;
            }
        }
    }
    0
}
