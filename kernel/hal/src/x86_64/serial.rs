// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first serial port (16550) and QEMU's debug console.

use super::cpu::{inb, outb};
use core::sync::atomic::{AtomicBool, Ordering};
use ksync::SpinLock;

const COM1: u16 = 0x3f8;
const DEBUG_CONSOLE: u16 = 0xe9;
const LINE_STATUS: u16 = 5;
const TRANSMIT_EMPTY: u8 = 0x20;
const DATA_READY: u8 = 1;
const FIFO: usize = 16;

static PORT: SpinLock<()> = SpinLock::new(());
static HAS_DEBUG_CONSOLE: AtomicBool = AtomicBool::new(false);
static HAS_SERIAL: AtomicBool = AtomicBool::new(false);

/// Sets 115200 8N1 with FIFOs.
pub fn set_up() {
    // SAFETY: the standard ports of a PC's first UART; where there is none,
    // nobody listens. The debug console answers its own number.
    unsafe {
        outb(COM1 + 7, 0x5a);
        HAS_SERIAL.store(inb(COM1 + 7) == 0x5a, Ordering::Relaxed);
        for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 0xc7), (4, 0x0b)] {
            outb(COM1 + register, value);
        }
        HAS_DEBUG_CONSOLE.store(inb(DEBUG_CONSOLE) == 0xe9, Ordering::Relaxed);
    }
}

/// Writes to the serial port; what the program prints goes there.
pub fn write(bytes: &[u8]) {
    if !HAS_SERIAL.load(Ordering::Relaxed) {
        return;
    }
    let _port = PORT.lock();
    write_unlocked(bytes);
}

/// Like [`write`], whoever has the port: for the last words of a panic.
pub fn write_unlocked(bytes: &[u8]) {
    for chunk in bytes.chunks(FIFO) {
        // SAFETY: as in `set_up`; waiting is bounded, so that a port that is
        // gone cannot hang the kernel.
        unsafe {
            let mut patience = 1_000_000;
            while inb(COM1 + LINE_STATUS) & TRANSMIT_EMPTY == 0 && patience > 0 {
                core::hint::spin_loop();
                patience -= 1;
            }
            chunk.iter().for_each(|b| outb(COM1, *b));
        }
    }
}

/// Takes a byte that came in, if any.
pub fn read() -> Option<u8> {
    if !HAS_SERIAL.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: as in `set_up`.
    unsafe { (inb(COM1 + LINE_STATUS) & DATA_READY != 0).then(|| inb(COM1)) }
}

/// Lets the port interrupt (line 4) when bytes come in.
pub fn enable_receive_interrupt() {
    // SAFETY: as in `set_up`.
    unsafe { outb(COM1 + 1, 1) };
}

/// True when the kernel's own records have a channel of their own.
pub fn has_debug_console() -> bool {
    HAS_DEBUG_CONSOLE.load(Ordering::Relaxed)
}

/// Writes to the debug console, if there is one.
pub fn write_debug(bytes: &[u8]) {
    if has_debug_console() {
        // SAFETY: the port answered as QEMU's debug console.
        bytes.iter().for_each(|b| unsafe { outb(DEBUG_CONSOLE, *b) });
    }
}
