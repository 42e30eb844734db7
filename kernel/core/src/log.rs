// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel has to say: records on the control channel.

use abi::control::{self, Level};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};
use ksync::SpinLock;

static LEVEL: AtomicU8 = AtomicU8::new(Level::Warn as u8);
static CHANNEL: SpinLock<Channel> = SpinLock::new(Channel);

/// The control channel as a writer.
pub struct Channel;

impl Write for Channel {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        khal::console::write_control(text);
        Ok(())
    }
}

/// Runs `f` with the channel, one record at a time.
pub fn with_channel(f: impl FnOnce(&mut Channel) -> fmt::Result) {
    if khal::console::has_control_channel() {
        let mut channel = CHANNEL.lock();
        let _alone = khal::console::reserve_channel();
        let _ = f(&mut channel);
    }
}

/// Sets the least important level that is logged.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Logs a line, if `level` is wanted.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    if level as u8 <= LEVEL.load(Ordering::Relaxed) {
        let now = khal::clock::monotonic().as_nanos();
        with_channel(|out| control::log(out, now, level, text));
    }
}

/// Marks a stage of the start-up.
pub fn stage(name: &str) {
    if LEVEL.load(Ordering::Relaxed) >= Level::Info as u8 {
        let now = khal::clock::monotonic().as_nanos();
        with_channel(|out| control::boot(out, now, name));
    }
}

/// Reports a fault of the program: on the control channel, and on the console
/// where there is none.
pub fn fatal(text: fmt::Arguments<'_>) {
    if khal::console::has_control_channel() {
        with_channel(|out| control::fatal(out, text));
    } else {
        let line = alloc::format!("bhojpur: {text}\r\n");
        khal::console::write(line.as_bytes());
    }
}

/// Logs a warning.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::log::write(abi::control::Level::Warn, format_args!($($arg)*)) };
}

/// Logs for users.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::write(abi::control::Level::Info, format_args!($($arg)*)) };
}

/// Logs for developers.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log::write(abi::control::Level::Debug, format_args!($($arg)*)) };
}

/// Writes a line to the console, whoever holds what.
pub fn on_console(text: fmt::Arguments<'_>) {
    struct Console;
    impl Write for Console {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            khal::console::write_unlocked(text.as_bytes());
            Ok(())
        }
    }
    let _ = writeln!(Console, "{text}\r");
}
