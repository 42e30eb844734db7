// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first serial port (16550), and the channel for the kernel's own records:
//! QEMU's debug console, or commands inside the serial stream.

use super::boot_info::BootInfo;
use super::cpu::{inb, outb};
use abi::stream::Framer;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use ksync::{SpinGuard, SpinLock};

const COM1: u16 = 0x3f8;
const DEBUG_CONSOLE: u16 = abi::control::PORT;
const LINE_STATUS: u16 = 5;
const TRANSMIT_EMPTY: u8 = 0x20;
const DATA_READY: u8 = 1;
const BREAK: u8 = 0x10;
const INTERRUPT_ON_DATA: u8 = 1;
const INTERRUPT_ON_LINE_STATUS: u8 = 4;
const FIFO: usize = 16;

static PORT: SpinLock<()> = SpinLock::new(());
static HAS_SERIAL: AtomicBool = AtomicBool::new(false);
/// A break that a reading of the line status consumed and [`read`] has not told of.
static BREAK_SEEN: AtomicBool = AtomicBool::new(false);

/// What comes in over the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A byte.
    Byte(u8),
    /// The line was held for longer than a byte takes: the other side asks for attention.
    Break,
}

/// Where the kernel's own records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Channel {
    None = 0,
    DebugConsole = 1,
    Serial = 2,
}
static CHANNEL: AtomicU8 = AtomicU8::new(Channel::None as u8);
/// A record in the serial stream was begun and not ended.
static INSIDE_RECORD: AtomicBool = AtomicBool::new(false);

/// Sets 115200 8N1 with FIFOs.
pub fn set_up() {
    // SAFETY: the standard ports of a PC's first UART; where there is none,
    // nobody listens.
    unsafe {
        outb(COM1 + 7, 0x5a);
        HAS_SERIAL.store(inb(COM1 + 7) == 0x5a, Ordering::Relaxed);
        for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3)] {
            outb(COM1 + register, value);
        }
        // Emptying the FIFOs forgets a break that came before the kernel did.
        if HAS_SERIAL.load(Ordering::Relaxed) {
            line_status();
        }
        outb(COM1 + 2, 0xc7);
        outb(COM1 + 4, 0x0b);
    }
}

/// Chooses the channel for records. The debug console's port is touched only
/// where that is not reported as an error.
pub fn choose_channel(boot: &BootInfo) {
    // SAFETY: reading the debug console has no effect; it answers its own number.
    let has_debug_console =
        || !boot.is_firecracker() && unsafe { inb(DEBUG_CONSOLE) } == DEBUG_CONSOLE as u8;
    let channel = if abi::cmdline::wants_serial_control(boot.command_line()) {
        Channel::Serial
    } else if has_debug_console() {
        Channel::DebugConsole
    } else {
        Channel::None
    };
    CHANNEL.store(channel as u8, Ordering::Relaxed);
}

fn channel() -> Channel {
    match CHANNEL.load(Ordering::Relaxed) {
        1 => Channel::DebugConsole,
        2 => Channel::Serial,
        _ => Channel::None,
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
            while line_status() & TRANSMIT_EMPTY == 0 && patience > 0 {
                core::hint::spin_loop();
                patience -= 1;
            }
            chunk.iter().for_each(|b| outb(COM1, *b));
        }
    }
}

/// Reads the line status, which forgets a break by that; it is remembered here.
fn line_status() -> u8 {
    // SAFETY: as in `set_up`.
    let status = unsafe { inb(COM1 + LINE_STATUS) };
    if status & BREAK != 0 {
        BREAK_SEEN.store(true, Ordering::Relaxed);
    }
    status
}

/// Takes what came in, if anything.
pub fn read() -> Option<Received> {
    if !HAS_SERIAL.load(Ordering::Relaxed) {
        return None;
    }
    // A writer on another CPU may be the one who sees the break: it has told when it lets go.
    let _port = PORT.lock();
    if line_status() & DATA_READY == 0 {
        return BREAK_SEEN.swap(false, Ordering::Relaxed).then_some(Received::Break);
    }
    // SAFETY: as in `set_up`.
    let byte = unsafe { inb(COM1) };
    // The UART puts a zero where the break was.
    if byte == 0 && BREAK_SEEN.swap(false, Ordering::Relaxed) {
        return Some(Received::Break);
    }
    Some(Received::Byte(byte))
}

/// Lets the port interrupt (line 4) when bytes or a break come in.
pub fn enable_receive_interrupt() {
    // SAFETY: as in `set_up`.
    unsafe { outb(COM1 + 1, INTERRUPT_ON_DATA | INTERRUPT_ON_LINE_STATUS) };
}

/// Lets the port interrupt for a break alone: what comes in stays where it is, and so does what is
/// sent after it, until [`enable_receive_interrupt`] is called again.
pub fn hold_data() {
    // SAFETY: as in `set_up`.
    unsafe { outb(COM1 + 1, INTERRUPT_ON_LINE_STATUS) };
}

/// Whether there was a break of which [`read`] has not told.
pub fn take_break() -> bool {
    if HAS_SERIAL.load(Ordering::Relaxed) {
        let _port = PORT.lock();
        line_status();
    }
    BREAK_SEEN.swap(false, Ordering::Relaxed)
}

/// True when there is QEMU's debug console, and the devices that go with it.
pub fn has_debug_console() -> bool {
    channel() == Channel::DebugConsole
}

/// True when the kernel's own records have a way out of the machine.
pub fn has_control_channel() -> bool {
    channel() != Channel::None
}

/// Keeps what the program prints out of a record until it is dropped.
pub fn reserve_channel() -> Option<SpinGuard<'static, ()>> {
    (channel() == Channel::Serial).then(|| PORT.lock())
}

/// Writes a part of a record to the control channel, if there is one. A caller
/// who can wait holds what [`reserve_channel`] gives.
pub fn write_control(text: &str) {
    match channel() {
        Channel::None => {}
        Channel::DebugConsole => {
            // SAFETY: the port answered as QEMU's debug console.
            text.bytes().for_each(|byte| unsafe { outb(DEBUG_CONSOLE, byte) });
        }
        Channel::Serial => {
            let mut framer = Framer::new(Port, INSIDE_RECORD.load(Ordering::Relaxed));
            let _ = framer.write_str(text);
            INSIDE_RECORD.store(framer.is_inside(), Ordering::Relaxed);
        }
    }
}

struct Port;

impl Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_unlocked(text.as_bytes());
        Ok(())
    }
}
