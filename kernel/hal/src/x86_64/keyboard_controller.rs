// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keyboard controller (i8042), as far as somebody presses Ctrl-Alt-Del on it.
//!
//! That is how Firecracker asks a guest to stop. Source: the data sheet of the Intel 8042, and
//! its use in the IBM PC/AT.

use super::cpu::inb;

const DATA: u16 = 0x60;
const STATUS: u16 = 0x64;
const OUTPUT_FULL: u8 = 1;
/// What a port answers that nobody drives.
const NOBODY: u8 = 0xff;
/// No controller has more to say at once.
const BUFFER: usize = 32;

/// True when there is a controller.
pub fn is_present() -> bool {
    // SAFETY: reading the status register has no effect.
    unsafe { inb(STATUS) != NOBODY }
}

/// Takes all scan codes that are waiting.
pub fn read(mut each: impl FnMut(u8)) {
    for _ in 0..BUFFER {
        // SAFETY: reading the status register has no effect; reading data takes the byte that
        // the status says is there.
        unsafe {
            let status = inb(STATUS);
            if status == NOBODY || status & OUTPUT_FULL == 0 {
                return;
            }
            each(inb(DATA));
        }
    }
}
