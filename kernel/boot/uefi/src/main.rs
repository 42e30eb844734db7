// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The boot loader for UEFI machines.
//!
//! It reads `KERNEL.ELF` from the volume it was started from, puts the segments in their
//! places, or next to them while firmware stands there, ends boot services and enters the
//! kernel through PVH. `kboot` tells how it is built.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the entry, and writing to the kernel's memory")]

mod efi;
mod firmware;
mod handoff;

use core::convert::Infallible;
use core::fmt::{self, Write};

use kboot::kernel;
use kboot::parameters::parameters;

use crate::efi::{Handle, Status, SystemTable};
use crate::firmware::Firmware;

/// How long an error message stays before the firmware goes on.
const PAUSE_SECONDS: usize = 5;

pub(crate) enum Error {
    Parameters,
    Kernel(kernel::Error),
    Memory { start: u64, end: u64 },
    Room,
    Exit,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameters => f.write_str("this image was not packed correctly"),
            Self::Kernel(error) => write!(f, "{error}"),
            Self::Memory { start, end } => write!(
                f,
                "not enough memory: the kernel needs usable memory from {} to {} KiB",
                start / 1024,
                end.div_ceil(1024)
            ),
            Self::Room => f.write_str("not enough memory below 4 GiB"),
            Self::Exit => f.write_str("the firmware does not let go of the machine"),
        }
    }
}

impl From<kernel::Error> for Error {
    fn from(error: kernel::Error) -> Self {
        Self::Kernel(error)
    }
}

/// Where the firmware enters.
#[unsafe(no_mangle)]
extern "efiapi" fn efi_main(image: Handle, system: *const SystemTable) -> Status {
    // SAFETY: these are the arguments of the entry; after boot services end, control does
    // not come back here.
    let mut firmware = unsafe { Firmware::new(image, system) };
    let Err(error) = boot(&firmware);
    let _ = writeln!(firmware, "Bhojpur: {error}");
    firmware.pause(PAUSE_SECONDS);
    efi::LOAD_ERROR
}

fn boot(firmware: &Firmware) -> Result<Infallible, Error> {
    firmware.stop_watchdog();
    let command_line = parameters().ok_or(Error::Parameters)?.command_line;
    let mut name = [0; 16];
    for (unit, place) in abi::boot::KERNEL_FILE.encode_utf16().zip(&mut name) {
        *place = unit;
    }
    let mut file = firmware.open(&name)?;
    let size = file.size()?;
    let kernel = kernel::Kernel::read(&mut file, size)?;
    handoff::run(firmware, &mut file, &kernel, command_line)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        // SAFETY: stops the processor until the watchdog or the user resets it.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
