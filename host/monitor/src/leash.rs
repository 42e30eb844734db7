// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A process that does not outlive the one that started it, however that one ends.
//!
//! Linux sends a signal to the children of a thread that ends, if they have asked for it:
//! prctl(2), PR_SET_PDEATHSIG. The child has to ask itself, and it may be QEMU, which does not.
//! So our own program is started once more, asks, and becomes the other one: what was asked for
//! stays over execve(2). A program takes part in that by calling [`serve`] before anything else.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first argument of our own program when it is to become another one.
const WORD: &str = "__with-parent";

/// Whether this program would know what to do with [`WORD`].
static SERVED: AtomicBool = AtomicBool::new(false);

/// The program that runs, even if its file was replaced meanwhile.
const MYSELF: &str = "/proc/self/exe";

/// To be called first in a program that runs machines: what it starts from then on ends with it.
/// When it was itself started to become such a machine, it does, and only a failure comes back.
pub fn serve() -> Option<io::Error> {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == WORD) {
        return Some(execute(words));
    }
    SERVED.store(true, Ordering::Relaxed);
    None
}

/// The command that starts a program which is killed when the thread that spawns it ends.
/// Elsewhere than on Linux, and in programs that do not [`serve`], nothing kills it.
pub(crate) fn command(program: &Path) -> Command {
    if !cfg!(target_os = "linux") || !SERVED.load(Ordering::Relaxed) {
        return Command::new(program);
    }
    let mut command = Command::new(MYSELF);
    command.arg(WORD).arg(std::process::id().to_string()).arg(program);
    command
}

/// Becomes another program, with the words behind [`WORD`]. Returning means failure.
fn execute(mut words: impl Iterator<Item = OsString>) -> io::Error {
    let parent = words.next().and_then(|word| word.to_str()?.parse().ok());
    let (Some(parent), Some(program)) = (parent, words.next()) else {
        return io::Error::new(io::ErrorKind::InvalidInput, "a process and a program are wanted");
    };
    if let Err(error) = follow(parent) {
        return error;
    }
    Command::new(program).args(words).exec()
}

/// Ends with the parent.
#[cfg(target_os = "linux")]
fn follow(parent: i32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before we asked.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err(io::Error::other("whoever started it has ended"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn follow(_parent: i32) -> io::Result<()> {
    Ok(())
}
