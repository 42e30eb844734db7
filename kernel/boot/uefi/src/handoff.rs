// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Placing the kernel in memory that firmware still uses, and leaving the firmware.
#![expect(unsafe_code, reason = "memory that belongs to no object of the language")]

use core::convert::Infallible;

use abi::boot::COMMAND_LINE_MAX;
use kboot::kernel::{Kernel, Load, Source};
use kboot::memory_map::{self, Entry, MemoryMap};
use kboot::start_info::StartInfo;
use kboot::trampoline::{self, COPIES_MAX, Copy};

use crate::Error;
use crate::efi::{MemoryDescriptor, memory_type};
use crate::firmware::{Firmware, KernelFile, PAGE};

/// Kernels look for little above; there it is out of the way of everything.
const CONVENTIONAL_END: u64 = 0xa_0000 - 1;
/// The firmware's own map, in its own form.
const RAW_MAP_PAGES: usize = 16;
const MAP_ENTRIES: usize = 1024;
/// Attempts to take pages that the kernel is not going to overwrite.
const ATTEMPTS: usize = 64;
const EXIT_ATTEMPTS: usize = 8;

/// What stays in memory for the kernel.
#[repr(C)]
struct Left {
    trampoline: [u8; trampoline::SIZE],
    start_info: StartInfo,
    command_line: [u8; COMMAND_LINE_MAX + 1],
    memory_map: [Entry; MAP_ENTRIES],
}

const LEFT_PAGES: usize = size_of::<Left>().div_ceil(PAGE as usize);

/// Loads the kernel and enters it.
pub(crate) fn run(
    firmware: &Firmware,
    file: &mut KernelFile,
    kernel: &Kernel,
    command_line: &[u8],
) -> Result<Infallible, Error> {
    let raw = take(firmware, kernel, u64::MAX, memory_type::LOADER_DATA, RAW_MAP_PAGES)?;
    // SAFETY: pages that were just taken, mapped at their own address; any bytes will do.
    let raw = unsafe { bytes(raw, RAW_MAP_PAGES as u64 * PAGE) };
    let code = memory_type::LOADER_CODE;
    let left_at = take(firmware, kernel, CONVENTIONAL_END, code, LEFT_PAGES)
        .or_else(|_| take(firmware, kernel, u64::MAX, code, LEFT_PAGES))?;
    // SAFETY: as above; any bytes are a valid value once they are written.
    let left = unsafe {
        bytes(left_at, LEFT_PAGES as u64 * PAGE).fill(0);
        &mut *(left_at as *mut Left)
    };
    check_places(firmware, kernel, raw)?;
    let (copies, count) = load(firmware, file, kernel, raw)?;
    left.command_line[..command_line.len()].copy_from_slice(command_line);
    let rsdp = firmware.rsdp();

    let start_info = &raw const left.start_info as u64;
    let entries = leave(firmware, raw, &mut left.memory_map)?;
    // From here on the firmware is gone: nothing may fail.
    left.start_info = StartInfo::new(
        left.command_line.as_ptr() as u64,
        rsdp,
        left.memory_map.as_ptr() as u64,
        entries,
    );
    trampoline::write(&mut left.trampoline, kernel.entry, start_info as u32, &copies[..count]);
    // SAFETY: the page was just filled; it is code of ours below 4 GiB, mapped at its own
    // address, and `take` made sure that the kernel does not overwrite it or the rest.
    unsafe { trampoline::enter(left_at as u32) }
}

/// Memory as bytes.
///
/// # Safety
/// The range is memory that the caller owns, mapped at its own address.
unsafe fn bytes(start: u64, size: u64) -> &'static mut [u8] {
    // SAFETY: the caller vouches for it.
    unsafe { core::slice::from_raw_parts_mut(start as *mut u8, size as usize) }
}

/// Takes pages that the kernel's segments do not cover.
fn take(
    firmware: &Firmware,
    kernel: &Kernel,
    limit: u64,
    kind: u32,
    pages: usize,
) -> Result<u64, Error> {
    let mut refused = [0; ATTEMPTS];
    let mut count = 0;
    let mut found = Err(Error::Room);
    for place in &mut refused {
        let Some(address) = firmware.allocate_below(limit, kind, pages) else { break };
        if !kernel.covers(address, pages as u64 * PAGE) {
            found = Ok(address);
            break;
        }
        // Kept for now, so that the next attempt gives others.
        *place = address;
        count += 1;
    }
    refused[..count].iter().for_each(|&address| firmware.free(address, pages));
    found
}

/// Whether the kernel's places are memory that is free once boot services have ended.
fn check_places(firmware: &Firmware, kernel: &Kernel, raw: &mut [u8]) -> Result<(), Error> {
    let map = firmware.memory_map(raw).ok_or(Error::Room)?;
    for load in kernel.loads() {
        let free: u64 = map
            .descriptors(raw)
            .filter(|descriptor| can_be_overwritten(descriptor.kind))
            .map(|descriptor| {
                let end = descriptor.physical.saturating_add(descriptor.pages * PAGE);
                end.min(load.end()).saturating_sub(descriptor.physical.max(load.address))
            })
            .sum();
        if free != load.memory_size {
            return Err(Error::Memory { start: load.address, end: load.end() });
        }
    }
    Ok(())
}

/// NVS is for ACPI's sleep states and machine language, which the kernel never uses; some
/// firmware has it at 8 MiB, in the midst of where kernels go.
fn can_be_overwritten(kind: u32) -> bool {
    is_free(kind) || kind == memory_type::ACPI_NVS
}

fn is_free(kind: u32) -> bool {
    use memory_type::{
        BOOT_SERVICES_CODE, BOOT_SERVICES_DATA, CONVENTIONAL, LOADER_CODE, LOADER_DATA,
    };
    [LOADER_CODE, LOADER_DATA, BOOT_SERVICES_CODE, BOOT_SERVICES_DATA, CONVENTIONAL].contains(&kind)
}

/// Reads the segments: into their places, or to where they wait for the copies returned.
fn load(
    firmware: &Firmware,
    file: &mut KernelFile,
    kernel: &Kernel,
    raw: &mut [u8],
) -> Result<([Copy; COPIES_MAX], usize), Error> {
    let mut copies = [Copy::default(); COPIES_MAX];
    let mut count = 0;
    for load in kernel.loads() {
        let mut start = load.address;
        while start < load.end() {
            let piece = piece(firmware, load, start, raw)?;
            start = piece.address + piece.memory_size;
            if let Some(copy) = load_piece(firmware, file, kernel, &piece)? {
                *copies.get_mut(count).ok_or(Error::Room)? = copy;
                count += 1;
            }
        }
    }
    Ok((copies, count))
}

/// What of a segment begins at an address and lies in one entry of the memory map, so that
/// only what firmware really stands in has to wait.
fn piece(firmware: &Firmware, load: &Load, start: u64, raw: &mut [u8]) -> Result<Load, Error> {
    let map = firmware.memory_map(raw).ok_or(Error::Room)?;
    let end = map
        .descriptors(raw)
        .map(|entry| entry.physical..entry.physical.saturating_add(entry.pages * PAGE))
        .find(|range| range.contains(&start))
        .map_or(load.end(), |range| range.end.min(load.end()));
    let skip = start - load.address;
    let memory_size = end - start;
    let file_size = load.file_size.saturating_sub(skip).min(memory_size);
    Ok(Load { address: start, offset: load.offset + skip, file_size, memory_size })
}

fn load_piece(
    firmware: &Firmware,
    file: &mut KernelFile,
    kernel: &Kernel,
    piece: &Load,
) -> Result<Option<Copy>, Error> {
    if is_ours(firmware, piece) {
        // SAFETY: the pages were just taken, mapped at their own address.
        let memory = unsafe { bytes(piece.address, piece.memory_size) };
        let (data, zeros) = memory.split_at_mut(piece.file_size as usize);
        zeros.fill(0);
        file.read(piece.offset, data)?;
        return Ok(None);
    }
    let pages = piece.file_size.div_ceil(PAGE).max(1) as usize;
    let place = take(firmware, kernel, u64::MAX, memory_type::LOADER_DATA, pages)?;
    // SAFETY: as above; there are as many bytes as the file has.
    file.read(piece.offset, unsafe { bytes(place, piece.file_size) })?;
    Ok(Some(Copy {
        to: piece.address as u32,
        from: place as u32,
        size: piece.file_size as u32,
        zeros: (piece.memory_size - piece.file_size) as u32,
    }))
}

/// Takes the pages of a piece when nobody else has them.
fn is_ours(firmware: &Firmware, load: &Load) -> bool {
    let start = load.address / PAGE * PAGE;
    firmware.allocate_at(start, (load.end() - start).div_ceil(PAGE) as usize)
}

/// Ends boot services; gives the number of entries of the map.
fn leave(firmware: &Firmware, raw: &mut [u8], entries: &mut [Entry]) -> Result<u32, Error> {
    for _ in 0..EXIT_ATTEMPTS {
        let Some(map) = firmware.memory_map(raw) else { return Err(Error::Room) };
        let mut table = MemoryMap::new(entries);
        for descriptor in map.descriptors(raw) {
            let MemoryDescriptor { physical, pages, kind, .. } = descriptor;
            table.add(physical, pages * PAGE, e820_type(kind)).map_err(|_| Error::Room)?;
        }
        let count = table.entries().len() as u32;
        // A timer event may change the map between the two calls (section 7.4.6).
        if firmware.exit(&map) {
            return Ok(count);
        }
    }
    Err(Error::Exit)
}

fn e820_type(kind: u32) -> u32 {
    match kind {
        kind if is_free(kind) => memory_map::RAM,
        memory_type::ACPI_RECLAIM => memory_map::ACPI,
        memory_type::ACPI_NVS => memory_map::NVS,
        memory_type::UNUSABLE => memory_map::UNUSABLE,
        memory_type::PERSISTENT => memory_map::PERSISTENT,
        _ => memory_map::RESERVED,
    }
}
