// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A process that does not outlive the one that started it, however that one ends.
//!
//! Linux sends a signal to the children of a thread that ends, if they have asked for it:
//! prctl(2), PR_SET_PDEATHSIG. The child has to ask itself, and it may be QEMU, which does not.
//! So our own program is started once more, asks, and becomes the other one: what was asked for
//! stays over execve(2).

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The first argument of our own program when it is to become another one.
pub const WORD: &str = "__with-parent";

/// The program that runs, even if its file was replaced meanwhile.
const MYSELF: &str = "/proc/self/exe";

/// The command that starts a program which is killed when the thread that spawns it ends. Our
/// own program has to call [`execute`] when it gets [`WORD`]. Elsewhere than on Linux nothing
/// kills it.
pub(crate) fn command(program: &Path) -> Command {
    if !cfg!(target_os = "linux") {
        return Command::new(program);
    }
    let mut command = Command::new(MYSELF);
    command.arg(WORD).arg(std::process::id().to_string()).arg(program);
    command
}

/// Becomes another program, with the words behind [`WORD`]. Returning means failure.
pub fn execute(words: impl IntoIterator<Item = OsString>) -> io::Error {
    let mut words = words.into_iter();
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
