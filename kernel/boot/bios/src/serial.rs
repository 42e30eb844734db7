// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first serial line, for error messages on machines without a screen.
#![expect(unsafe_code, reason = "port input and output")]

use core::arch::asm;

const DATA: u16 = 0x3f8;
const LINE_STATUS: u16 = DATA + 5;
const READY: u8 = 1 << 5;
/// A line that never gets ready is not there.
const PATIENCE: u32 = 100_000;

/// Sends a byte.
pub(crate) fn put(byte: u8) {
    for _ in 0..PATIENCE {
        let status: u8;
        // SAFETY: reading the line status register changes nothing that is in use.
        unsafe {
            asm!("in al, dx", out("al") status, in("dx") LINE_STATUS, options(nomem, nostack));
        }
        // All ones: there is no device.
        if status == 0xff {
            return;
        }
        if status & READY != 0 {
            // SAFETY: the transmitter is ready; a byte on the line harms nothing.
            unsafe { asm!("out dx, al", in("al") byte, in("dx") DATA, options(nomem, nostack)) };
            return;
        }
    }
}
