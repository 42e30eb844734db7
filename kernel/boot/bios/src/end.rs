// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What comes after an error message.
#![expect(unsafe_code, reason = "port input and output, and stopping the processor")]

use core::arch::asm;

/// QEMU's debug console, which gives its own number to those who read it.
const DEBUG_CONSOLE: u16 = 0xe9;
const READS_BACK: u8 = 0xe9;
/// The keyboard controller, and its command that pulls the processor's reset line.
const KEYBOARD_COMMAND: u16 = 0x64;
const RESET: u8 = 0xfe;

/// Resets the machine in QEMU with a debug console: whoever started it (`-no-reboot`) sees it
/// end. Elsewhere people have to read the message, so the machine stays as it is.
pub(crate) fn end() -> ! {
    if debug_console() {
        // SAFETY: nothing of this machine is needed any more.
        unsafe {
            asm!("out dx, al", in("dx") KEYBOARD_COMMAND, in("al") RESET, options(nomem, nostack));
        }
    }
    loop {
        // SAFETY: stops the processor; interrupts are off and stay so.
        unsafe { asm!("hlt", options(nomem, nostack)) }
    }
}

fn debug_console() -> bool {
    let value: u8;
    // SAFETY: the port has no side effects where it exists, and reads as ones elsewhere.
    unsafe {
        asm!("in al, dx", out("al") value, in("dx") DEBUG_CONSOLE, options(nomem, nostack));
    }
    value == READS_BACK
}
