// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ctrl-C and its like while files are made: tools are ended, what is half-written is removed,
//! and the command ends with the status of one that the signal killed. A second signal ends it
//! at once.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bhojpur_build::tools::Stop;
use bhojpur_formats::atomic;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgrp, kill_process, kill_process_group, waitid,
};
use rustix::termios::tcgetpgrp;
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

/// Hands signals on to commands of the user's, with all that these have started, until this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    current: Arc<Mutex<Option<Running>>>,
    /// The first signal; 0 when there was none.
    caught: Arc<AtomicI32>,
    handle: Handle,
}

/// A command that runs.
#[derive(Clone, Copy, Debug)]
struct Running {
    pid: Pid,
    /// Whether it leads a group of processes.
    leads: bool,
}

impl Running {
    fn send(self, signal: Signal) {
        // It may have ended in between.
        let _ = match self.leads {
            true => kill_process_group(self.pid, signal),
            // Ctrl-C has reached it through the terminal, like us.
            false if signal == Signal::INT => Ok(()),
            false => kill_process(self.pid, signal),
        };
    }
}

impl Relay {
    /// Begins to look after signals.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let mut signals = Signals::new(wanted()).map_err(unhandled)?;
        let handle = signals.handle();
        let relay = Self { current: Arc::default(), caught: Arc::default(), handle };
        let (current, caught) = (Arc::clone(&relay.current), Arc::clone(&relay.caught));
        thread::spawn(move || {
            for number in signals.forever() {
                let again = caught.swap(number, Ordering::Relaxed) != 0;
                let signal = Signal::from_named_raw(number).filter(|_| !again);
                let running = *current.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(running) = running {
                    // Who is told twice does not listen.
                    running.send(signal.unwrap_or(Signal::KILL));
                }
            }
        });
        Ok(relay)
    }

    /// Runs a command to its end. A signal that came counts more than how it ended.
    pub(crate) fn run(&self, command: &mut Command) -> Result<io::Result<ExitStatus>, Failure> {
        // Only the group in front may read from a terminal, so there it stays in ours.
        let leads = tcgetpgrp(io::stdin()).ok() != Some(getpgrp());
        if leads {
            command.process_group(0);
        }
        let status = self.spawn(command, leads).and_then(|mut child| {
            let id = WaitId::Pid(Pid::from_child(&child));
            // Its number is not given to another process before it was waited for.
            let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while waitid(id.clone(), ended).is_err_and(|error| error == Errno::INTR) {}
            *self.current() = None;
            child.wait()
        });
        match u8::try_from(self.caught.load(Ordering::Relaxed)) {
            Ok(signal @ 1..) => Err(Failure::new("interrupted").with_status(128 + signal)),
            _ => Ok(status),
        }
    }

    /// Starts a command, before a signal can miss it.
    fn spawn(&self, command: &mut Command, leads: bool) -> io::Result<Child> {
        let mut current = self.current();
        if self.caught.load(Ordering::Relaxed) != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = command.spawn()?;
        *current = Some(Running { pid: Pid::from_child(&child), leads });
        Ok(child)
    }

    fn current(&self) -> MutexGuard<'_, Option<Running>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.handle.close();
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
