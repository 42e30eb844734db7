// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The boot loader for BIOS machines.
//!
//! The BIOS loads the boot sector from a disk's MBR or from a CD (El Torito, no emulation); it
//! loads the rest, which goes to long mode, reads the kernel from the place that the packing
//! tool wrote into the loader's record, and enters it through PVH. `kboot` tells how it is
//! built.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the entry, and writing to the kernel's memory")]

mod bios;
mod end;
mod low;
mod real;
mod serial;

use core::convert::Infallible;
use core::fmt::{self, Write};

use kboot::kernel::{self, Kernel, Source};
use kboot::memory_map::MemoryMap;
use kboot::parameters::parameters;
use kboot::start_info::StartInfo;
use kboot::trampoline;

enum Error {
    Parameters,
    MemoryMap,
    Memory { start: u64, end: u64 },
    Kernel(kernel::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameters => f.write_str("this image was not packed correctly"),
            Self::MemoryMap => f.write_str("the BIOS gives no memory map"),
            Self::Memory { start, end } => write!(
                f,
                "not enough memory: the kernel needs usable memory from {} to {} KiB",
                start / 1024,
                end.div_ceil(1024)
            ),
            Self::Kernel(error) => write!(f, "{error}"),
        }
    }
}

impl From<kernel::Error> for Error {
    fn from(error: kernel::Error) -> Self {
        Self::Kernel(error)
    }
}

/// Called by the assembly, once, in long mode.
extern "C" fn main() -> ! {
    let Err(error) = boot();
    let _ = writeln!(bios::Console, "Bhojpur: {error}");
    end::end()
}

fn boot() -> Result<Infallible, Error> {
    let parameters = parameters().ok_or(Error::Parameters)?;
    // SAFETY: the only call.
    let handoff = unsafe { low::Handoff::new() };
    let mut map = MemoryMap::new(handoff.memory_map);
    bios::memory_map(&mut map).map_err(|_| Error::MemoryMap)?;
    if map.entries().is_empty() {
        return Err(Error::MemoryMap);
    }
    let mut disk = bios::Disk::new(parameters.kernel_offset);
    let kernel = Kernel::read(&mut disk, parameters.kernel_size)?;
    for load in kernel.loads() {
        if !map.is_ram(load.address, load.end()) {
            return Err(Error::Memory { start: load.address, end: load.end() });
        }
    }
    for load in kernel.loads() {
        // SAFETY: just seen to be usable memory; the plan's loads lie above 1 MiB and do not
        // overlap, and this is the only place that makes them slices.
        let memory = unsafe { low::kernel_memory(load.address, load.memory_size) };
        let (file, rest) = memory.split_at_mut(load.file_size as usize);
        disk.read(load.offset, file)?;
        rest.fill(0);
    }
    handoff.command_line[..parameters.command_line.len()].copy_from_slice(parameters.command_line);
    handoff.command_line[parameters.command_line.len()] = 0;
    *handoff.start_info = StartInfo::new(
        low::COMMAND_LINE.into(),
        low::rsdp(),
        low::MEMORY_MAP.into(),
        map.entries().len() as u32,
    );
    trampoline::write(handoff.trampoline, kernel.entry, low::START_INFO, &[]);
    // SAFETY: the page was just filled; it lies below 1 MiB, mapped at its own address, where
    // no load reaches, and there are no copies to make.
    unsafe { trampoline::enter(low::TRAMPOLINE) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    let _ = bios::Console.write_str("Bhojpur: the boot loader failed\n");
    end::end()
}
