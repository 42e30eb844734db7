// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ctrl-C and its like while files are made: tools are ended, what is half-written is removed,
//! and the command ends with the status of one that the signal killed. A second signal ends it
//! at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use bhojpur_build::tools::Stop;
use bhojpur_formats::atomic;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level;

use crate::Failure;

/// A command that looks after signals until this is dropped.
#[derive(Debug)]
pub(crate) struct Interrupts {
    stop: Stop,
    /// The first signal; 0 when there was none.
    caught: Arc<AtomicI32>,
    handle: Handle,
}

impl Interrupts {
    /// Begins to look after them.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let mut signals = Signals::new(wanted()).map_err(unhandled)?;
        let handle = signals.handle();
        let (stop, caught) = (Stop::default(), Arc::new(AtomicI32::new(0)));
        let this = Self { stop: stop.clone(), caught: Arc::clone(&caught), handle };
        thread::spawn(move || {
            for signal in signals.forever() {
                if caught.swap(signal, Ordering::Relaxed) != 0 {
                    let _ = low_level::emulate_default_handler(signal);
                }
                atomic::give_up();
                stop.now();
            }
        });
        Ok(this)
    }

    /// What ends the tools.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// What became of the command: when a signal came, that counts.
    pub(crate) fn conclude<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        match u8::try_from(self.caught.load(Ordering::Relaxed)) {
            Ok(signal @ 1..) => Err(Failure::new("interrupted").with_status(128 + signal)),
            _ => result,
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// Signals do what they do in other programs, until this is dropped. Once somebody has looked
/// after them, they would otherwise be ignored.
#[derive(Debug)]
pub(crate) struct Usual(Vec<SigId>);

impl Usual {
    /// Gives them their effect back.
    pub(crate) fn again() -> Result<Self, Failure> {
        let always = Arc::new(AtomicBool::new(true));
        let register =
            |signal| signal_hook::flag::register_conditional_default(signal, Arc::clone(&always));
        wanted().into_iter().map(register).collect::<Result<_, _>>().map(Self).map_err(unhandled)
    }
}

impl Drop for Usual {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            low_level::unregister(id);
        }
    }
}

fn unhandled(error: io::Error) -> Failure {
    Failure::new(format!("cannot handle signals: {error}"))
}

/// The signals that end a command. What whoever started us has us ignore (nohup does) stays so.
fn wanted() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    let heeded = |signal: &i32| ignored >> (signal - 1) & 1 == 0;
    [SIGINT, SIGTERM, SIGHUP].into_iter().filter(heeded).collect()
}

/// The set of ignored signals, as proc(5) has it: a bit for each, from 1 on.
fn ignored(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\tff\n"), 0x1001);
        assert_eq!(ignored(""), 0);
    }
}
