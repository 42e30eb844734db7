// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs a program to its end or to a time limit, with its output collected.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Output beyond this is read and dropped: a program that prints for ever must
/// not fill the memory of the machine that tests it.
const OUTPUT_LIMIT: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit status as a shell would say it: 128+n for a program killed by n.
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) elapsed: Duration,
    pub(crate) timed_out: bool,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 65536];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let room = OUTPUT_LIMIT.saturating_sub(kept.len()).min(n);
            kept.extend_from_slice(&buffer[..room]);
        }
        kept
    })
}

/// Ends the process group of `child`, politely first, so that a tool can take
/// its machine down with it.
pub(crate) fn stop(child: &mut Child) -> ExitStatus {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    for signal in [Signal::TERM, Signal::KILL] {
        if let Some(group) = group {
            // The group may be gone already, which is what is wanted.
            let _ = kill_process_group(group, signal);
        }
        let patience = Instant::now() + Duration::from_secs(3);
        while Instant::now() < patience {
            if let Ok(Some(status)) = child.try_wait() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    child.wait().unwrap_or_else(|_| ExitStatus::from_raw(9))
}

/// The command that starts a program which is killed when we end, however that happens: setpriv(1)
/// asks for it, and becomes the program. What runs machines is started in this way, since they
/// would run for ever.
pub(crate) fn leashed(program: impl AsRef<OsStr>) -> Command {
    // Named whole: some are given another PATH.
    const SETPRIV: &str = "/usr/bin/setpriv";
    if !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A child in a process group of its own that does not outlive this value.
#[derive(Debug)]
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_owned();
        let child = command.process_group(0).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", program.display()))?))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            stop(&mut self.0);
        }
    }
}

/// Runs `command` with `input` on its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Outcome> {
    let started = Instant::now();
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut guarded = Guarded::spawn(command)?;
    let child = &mut guarded.0;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that does not read its input is no error here.
        let _ = pipe.write_all(input);
    }
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("the output of the child is not a pipe");
    };
    let (stdout, stderr) = (collect(stdout), collect(stderr));
    let mut timed_out = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            timed_out = true;
            break stop(child);
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let elapsed = started.elapsed();
    Ok(Outcome {
        status: shell_status(status),
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
        elapsed,
        timed_out,
    })
}

/// Runs `command` and turns anything but success into an error that shows what
/// it said.
pub(crate) fn succeed(command: &mut Command, limit: Duration) -> Result<Outcome> {
    let outcome = run(command, b"", limit)?;
    if outcome.status != 0 || outcome.timed_out {
        let end = if outcome.timed_out {
            "timed out".to_owned()
        } else {
            format!("status {}", outcome.status)
        };
        bail!("{command:?}: {end}\n{}{}", outcome.text(), outcome.errors());
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::{leashed, run, shell_status, succeed};
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn reports_status_output_and_signals() {
        let limit = Duration::from_secs(20);
        let done =
            run(Command::new("sh").args(["-c", "cat; echo e >&2; exit 7"]), b"in", limit).unwrap();
        assert_eq!(
            (done.status, done.stdout.as_slice(), done.stderr.as_slice()),
            (7, &b"in"[..], &b"e\n"[..])
        );
        let killed = run(Command::new("sh").args(["-c", "kill -9 $$"]), b"", limit).unwrap();
        assert_eq!(killed.status, 137);
        assert!(succeed(Command::new("false").arg("x"), limit).is_err());
    }

    #[test]
    fn stops_the_whole_group_at_the_limit() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & sleep 100"]);
        let outcome = run(&mut command, b"", Duration::from_millis(200)).unwrap();
        assert!(outcome.timed_out && outcome.elapsed < Duration::from_secs(5));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_machine_ends_with_whoever_started_it() {
        // For the kernel the parent is the thread.
        let start = || {
            let mut command = leashed("sh");
            command.args(["-c", "echo up; exec sleep 100"]).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut up = [0; 3];
            child.stdout.take().unwrap().read_exact(&mut up).unwrap();
            child
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(shell_status(child.wait().unwrap()), 137);
        let done = run(leashed("sh").args(["-c", "exit 7"]), b"", Duration::from_secs(20)).unwrap();
        assert_eq!(done.status, 7);
    }
}
