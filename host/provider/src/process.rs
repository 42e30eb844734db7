// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Monitors as processes of this machine: started so that they outlive us, and found again.
//!
//! Each instance has a directory. Its monitor's standard error is a file there, on which the
//! monitor, and nobody else, holds an exclusive `flock(2)` as long as it lives. So whether it
//! runs is one question to the kernel: no race with a process that was started and not yet
//! written down, no process id that belongs to somebody else by now, no leftover of a machine
//! that was switched off. The process id serves only to send signals, and is checked before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal};

use crate::{Error, ErrorKind, Result, Usage};

/// How much of what a monitor said is kept for a message.
const MESSAGE_MAX: u64 = 4096;
/// How long a monitor that got SIGKILL may take to be gone: it may be writing a large core or
/// be stuck in a device for a while.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// How long a program that has replaced another may take to have its arguments: microseconds,
/// unless the machine is out of breath.
const ARGUMENTS_LIMIT: Duration = Duration::from_secs(5);
/// How long those may take in all that ask whether a monitor runs when it is to be started: each
/// takes microseconds.
const ASKING_LIMIT: Duration = Duration::from_secs(1);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// The monitor of one instance, running or not.
#[derive(Clone, Debug)]
pub struct Monitor {
    directory: PathBuf,
}

impl Monitor {
    /// The monitor of the instance whose directory this is.
    pub fn of(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    fn messages_path(&self) -> PathBuf {
        self.directory.join("monitor.log")
    }

    fn pid_path(&self) -> PathBuf {
        self.directory.join("monitor.pid")
    }

    /// Starts it. Its standard error is ours; input and output are the caller's to choose. An
    /// argument has to name the directory, which is how the process is recognised.
    pub fn spawn(&self, command: &mut Command) -> Result<u32> {
        let program = command.get_program().to_string_lossy().into_owned();
        let directory = self.directory.to_string_lossy().into_owned();
        if !command.get_args().any(|word| word.to_string_lossy().contains(&directory)) {
            let message = format!("no argument of {program} names {directory}");
            return Err(Error::new(ErrorKind::Failed, message));
        }
        let path = self.messages_path();
        let messages = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        self.lock(&messages)?;
        messages
            .set_len(0)
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        // A group of its own: Ctrl-C on our terminal is not meant for it.
        let spawned = command.stderr(Stdio::from(messages)).process_group(0).spawn();
        // The command would keep our handle, and with it the lock, until it is dropped.
        command.stderr(Stdio::null());
        let mut child = spawned.map_err(|error| {
            Error::io(format!("cannot start {program}"), error).with_kind(ErrorKind::NotReady)
        })?;
        let pid = child.id();
        self.await_arguments(&mut child);
        expose(pid);
        // What cannot be written is found by looking at all processes.
        let _ = fs::write(self.pid_path(), pid.to_string());
        // Somebody has to take its status, or it stays as a zombie while we live.
        let reaper = std::thread::Builder::new().name("reaper".into()).stack_size(64 << 10);
        let _ = reaper.spawn(move || child.wait());
        Ok(pid)
    }

    /// Takes the lock for the monitor. Who asks whether it runs has it too, for a moment.
    fn lock(&self, messages: &File) -> Result<()> {
        let deadline = Instant::now() + ASKING_LIMIT;
        loop {
            match flock(messages, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK)
                    if self.is_running()? || Instant::now() > deadline =>
                {
                    return Err(Error::new(ErrorKind::Conflict, "the instance runs already"));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => {
                    let path = self.messages_path();
                    return Err(Error::io(format!("cannot lock {}", path.display()), error.into()));
                }
            }
        }
    }

    /// Waits until the process can be recognised: execve(2) lets the one that spawned it go on
    /// before it has set the arguments.
    fn await_arguments(&self, child: &mut Child) {
        let deadline = Instant::now() + ARGUMENTS_LIMIT;
        while !self.owns(child.id())
            && matches!(child.try_wait(), Ok(None))
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> Result<bool> {
        let path = self.messages_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        };
        // Shared, so that two who look do not take each other for the monitor.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(Error::io(format!("cannot lock {}", path.display()), error.into())),
        }
    }

    /// Its process id, when it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        if !self.is_running().unwrap_or(false) {
            return None;
        }
        let written = fs::read_to_string(self.pid_path()).ok().and_then(|text| text.parse().ok());
        written.filter(|&pid| self.owns(pid)).or_else(|| self.search())
    }

    /// Whether a process is this monitor, by its arguments. Where there is no `/proc` the
    /// number that was written down has to do.
    fn owns(&self, pid: u32) -> bool {
        if !Path::new("/proc/self/cmdline").exists() {
            return true;
        }
        let directory = self.directory.to_string_lossy();
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(directory.as_ref()))
    }

    /// Looks at all processes. Many a process names the directory, such as one that shows a log,
    /// but none of them has the lock. A child that the monitor forked has it, and its arguments
    /// until it executes something else, but the monitor alone leads the group of
    /// [`Monitor::spawn`].
    fn search(&self) -> Option<u32> {
        let entries = fs::read_dir("/proc").ok()?;
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|&pid| pid != std::process::id() && self.owns(pid) && self.is_locked_by(pid))
            .max_by_key(|&pid| leads_a_group(pid))
    }

    /// Whether a process has the lock: proc_pid_fdinfo(5) shows it at each descriptor that shares
    /// the open file through which it was taken.
    fn is_locked_by(&self, pid: u32) -> bool {
        let Ok(messages) = fs::metadata(self.messages_path()) else { return false };
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.flatten().any(|descriptor| {
            let is_it = fs::metadata(descriptor.path())
                .is_ok_and(|file| (file.dev(), file.ino()) == (messages.dev(), messages.ino()));
            let number = descriptor.file_name();
            let info = Path::new("/proc").join(pid.to_string()).join("fdinfo").join(number);
            is_it
                && fs::read_to_string(info).is_ok_and(|info| {
                    info.lines().any(|line| {
                        line.starts_with("lock:")
                            && line.contains(" FLOCK ")
                            && line.contains(" WRITE ")
                    })
                })
        })
    }

    /// Sends a signal; false when it does not run.
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        let Some(pid) = self.pid() else { return Ok(false) };
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
        match rustix::process::kill_process(pid, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => {
                let what = format!("cannot signal the monitor, process {}", pid.as_raw_nonzero());
                Err(Error::io(what, error.into()))
            }
        }
    }

    /// Ends it and waits until it is gone. That it was gone already is as good.
    pub async fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + KILL_LIMIT;
        while self.is_running()? {
            self.signal(Signal::KILL)?;
            if self.wait(INTERVAL * 5).await? {
                break;
            }
            if Instant::now() > deadline {
                let pid = self.pid().map_or_else(String::new, |pid| format!(", process {pid},"));
                let message = format!("the monitor{pid} does not end, even on SIGKILL");
                return Err(Error::new(ErrorKind::Failed, message)
                    .advise("look at the system's log: a disk or device may hang"));
            }
        }
        Ok(())
    }

    /// Waits until it does not run, for `limit` at most; true when it does not.
    pub async fn wait(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while self.is_running()? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            tokio::time::sleep(INTERVAL.min(left)).await;
        }
        Ok(true)
    }

    /// The last of what it said on standard error.
    #[must_use]
    pub fn messages(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.messages_path())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(MESSAGE_MAX)))?;
            let mut bytes = Vec::new();
            file.take(MESSAGE_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).trim().to_owned()
    }

    /// What the process uses now; nothing when that cannot be read.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let pid = self.pid()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let pages: u64 = {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            statm.split(' ').nth(1)?.parse().ok()?
        };
        // proc(5): fields 14 and 15 are user and system time in ticks; the name, field 2, may
        // hold anything but ends with the last parenthesis.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        Some(Usage {
            cpu_time_ns: ticks.saturating_mul(1_000_000_000 / ticks_per_second),
            memory_bytes: pages.saturating_mul(rustix::param::page_size() as u64),
            ..Usage::default()
        })
    }
}

fn leads_a_group(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == pid))
}

/// A daemon whose service keeps it from the OOM killer, proc_pid_oom_score_adj(5), does not hand
/// that on: when memory is short, it is a machine that has it.
fn expose(pid: u32) {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if own.trim().starts_with('-') {
        // Raising it is always allowed, and what has ended meanwhile does not matter.
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process whose arguments name the directory.
    fn sleeper(directory: &Path, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).arg(directory).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    #[tokio::test]
    async fn it_is_found_again_without_its_number_and_killed() {
        let directory = tempfile::tempdir().unwrap();
        let monitor = Monitor::of(directory.path());
        assert!(!monitor.is_running().unwrap());
        monitor.kill().await.unwrap();
        let script = "echo hello >&2; while :; do sleep 0.1; done";
        let pid = monitor.spawn(&mut sleeper(directory.path(), script)).unwrap();
        assert!(monitor.is_running().unwrap());
        let again = monitor.spawn(&mut sleeper(directory.path(), "true")).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Conflict);
        fs::remove_file(directory.path().join("monitor.pid")).unwrap();
        assert_eq!(Monitor::of(directory.path()).pid(), Some(pid));
        // A number that belongs to somebody else is not believed.
        fs::write(directory.path().join("monitor.pid"), "1").unwrap();
        assert_eq!(monitor.pid(), Some(pid));
        while !monitor.messages().contains("hello") {
            tokio::time::sleep(INTERVAL).await;
        }
        assert!(monitor.usage().unwrap().memory_bytes > 0);
        // The child that sleeps holds the lock a moment longer than the shell.
        monitor.kill().await.unwrap();
        assert!(!monitor.is_running().unwrap() && monitor.pid().is_none());
    }

    #[tokio::test]
    async fn who_looks_at_its_files_is_not_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let monitor = Monitor::of(directory.path());
        let script = "while :; do sleep 0.1; done";
        let pid = monitor.spawn(&mut sleeper(directory.path(), script)).unwrap();
        fs::remove_file(directory.path().join("monitor.pid")).unwrap();
        fs::write(directory.path().join("console.log"), "").unwrap();
        let mut strangers: Vec<Child> = ["console.log", "monitor.log"]
            .iter()
            .map(|name| {
                let mut tail = Command::new("tail");
                tail.arg("-f").arg(directory.path().join(name)).process_group(0);
                tail.stdout(Stdio::null()).spawn().unwrap()
            })
            .collect();
        while strangers.iter().any(|stranger| !monitor.owns(stranger.id())) {
            tokio::time::sleep(INTERVAL).await;
        }
        let found = monitor.pid();
        monitor.kill().await.unwrap();
        let alive = strangers.iter_mut().all(|tail| matches!(tail.try_wait(), Ok(None)));
        for stranger in &mut strangers {
            stranger.kill().unwrap();
            stranger.wait().unwrap();
        }
        assert_eq!(found, Some(pid));
        assert!(alive, "a stranger was killed");
    }

    #[tokio::test]
    async fn who_asks_whether_it_runs_keeps_nobody_from_starting_it() {
        let directory = tempfile::tempdir().unwrap();
        let monitor = Monitor::of(directory.path());
        let asking = File::create(monitor.messages_path()).unwrap();
        flock(&asking, FlockOperation::LockShared).unwrap();
        let asked = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(asking);
        });
        let script = "while :; do sleep 0.1; done";
        let spawned = monitor.spawn(&mut sleeper(directory.path(), script));
        asked.join().unwrap();
        spawned.unwrap();
        let again = monitor.spawn(&mut sleeper(directory.path(), "true")).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Conflict);
        monitor.kill().await.unwrap();
    }

    #[tokio::test]
    async fn children_are_not_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let monitor = Monitor::of(directory.path());
        // A child that executes nothing else, and has a higher number, mostly.
        let script = "(while :; do sleep 0.1; done) & wait";
        let pid = monitor.spawn(&mut sleeper(directory.path(), script)).unwrap();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let child = loop {
            let children = fs::read_to_string(&children).unwrap();
            if let Some(child) = children.split_whitespace().next() {
                break child.parse().unwrap();
            }
        };
        assert!(monitor.owns(child) && monitor.owns(pid));
        assert!(leads_a_group(pid) && !leads_a_group(child));
        fs::write(directory.path().join("monitor.pid"), "1").unwrap();
        assert_eq!(monitor.pid(), Some(pid));
        monitor.kill().await.unwrap();
    }

    #[tokio::test]
    async fn protection_from_the_oom_killer_is_not_handed_on() {
        let own = "/proc/self/oom_score_adj";
        let before = fs::read_to_string(own).unwrap();
        if fs::write(own, "-100").is_err() {
            eprintln!("SKIPPED: oom_score_adj cannot be lowered without root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let monitor = Monitor::of(directory.path());
        let script = "while :; do sleep 0.1; done";
        let pid = monitor.spawn(&mut sleeper(directory.path(), script)).unwrap();
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        fs::write(own, before.trim()).unwrap();
        monitor.kill().await.unwrap();
        assert_eq!(score.trim(), "0");
    }

    #[tokio::test]
    async fn it_is_known_as_soon_as_it_is_spawned() {
        for _ in 0..100 {
            let directory = tempfile::tempdir().unwrap();
            let monitor = Monitor::of(directory.path());
            let pid = monitor.spawn(&mut sleeper(directory.path(), "kill -STOP $$")).unwrap();
            let known = monitor.owns(pid);
            let running = monitor.is_running().unwrap();
            assert!(known || !running, "process {pid} has no arguments yet");
            monitor.kill().await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_end_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let monitor = Monitor::of(directory.path());
        let mut command = sleeper(directory.path(), "sleep 0.2");
        monitor.spawn(&mut command).unwrap();
        assert!(!monitor.wait(Duration::from_millis(1)).await.unwrap());
        assert!(monitor.wait(Duration::from_secs(30)).await.unwrap());
        // The same command can be used for the next start, and holds nothing.
        monitor.spawn(&mut command).unwrap();
        assert!(monitor.wait(Duration::from_secs(30)).await.unwrap());
    }

    #[tokio::test]
    async fn what_cannot_be_started_holds_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let monitor = Monitor::of(directory.path());
        let mut command = Command::new("/nonexistent/monitor");
        command.arg(directory.path());
        assert_eq!(monitor.spawn(&mut command).unwrap_err().kind(), ErrorKind::NotReady);
        assert!(!monitor.is_running().unwrap());
        let mut nameless = Command::new("/bin/true");
        assert_eq!(monitor.spawn(&mut nameless).unwrap_err().kind(), ErrorKind::Failed);
    }
}
