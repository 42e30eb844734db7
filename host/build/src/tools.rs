// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the tools of a language are run: with our environment and to their end, or with another
//! one and until somebody stops them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::sandbox::Sandbox;

/// Between two looks whether a tool has ended or shall end.
const INTERVAL: Duration = Duration::from_millis(20);

/// How tools are run.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// Their whole environment; ours when absent.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// Whether they have to end.
    pub stop: Option<Stop>,
    /// What of this machine they may touch; all that we may when absent.
    pub sandbox: Option<Sandbox>,
}

/// Ends tools with all that they started.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    wanted: Arc<AtomicBool>,
    /// When they end untold; never when absent.
    deadline: Option<Instant>,
}

impl Stop {
    /// At the latest at `deadline`.
    #[must_use]
    pub fn at(deadline: Instant) -> Self {
        Self { wanted: Arc::default(), deadline: Some(deadline) }
    }

    /// Now.
    pub fn now(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Why tools have to end, when they have to.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        if self.wanted.load(Ordering::Relaxed) {
            Some("it was given up")
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some("it took too long")
        } else {
            None
        }
    }
}

impl Tools {
    /// A variable of the environment of tools.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<OsString> {
        match &self.environment {
            None => env::var_os(name),
            Some(all) => {
                let named = all.iter().find(|(known, _)| known == OsStr::new(name));
                named.map(|(_, value)| value.clone())
            }
        }
    }

    /// A command in the environment of tools.
    #[must_use]
    pub fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        if let Some(all) = &self.environment {
            command.env_clear().envs(all.iter().map(|(name, value)| (name, value)));
        }
        command
    }

    /// Runs a command to its end. One that was stopped is [`io::ErrorKind::Interrupted`].
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Some(stop) = &self.stop else { return self.spawn(command)?.wait_with_output() };
        if let Some(reason) = stop.reason() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, reason));
        }
        // A group of its own, so that what it starts ends with it.
        command.process_group(0);
        let mut child = self.spawn(command)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let reader = |stream: Option<Box<dyn io::Read + Send>>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.map(|mut stream| stream.read_to_end(&mut bytes)).transpose()?;
                Ok::<_, io::Error>(bytes)
            })
        };
        let out = reader(out.map(|stream| Box::new(stream) as _));
        let err = reader(err.map(|stream| Box::new(stream) as _));
        let ended = wait(&mut child, stop);
        let read = |reader: thread::JoinHandle<io::Result<Vec<u8>>>| {
            reader.join().map_err(|_| io::Error::other("a reader ended too early"))?
        };
        let (stdout, stderr) = (read(out), read(err));
        Ok(Output { status: ended?, stdout: stdout?, stderr: stderr? })
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        match &self.sandbox {
            Some(sandbox) => sandbox.spawn(command),
            None => command.spawn(),
        }
    }

    /// The same without a sandbox, for questions about the tools themselves.
    #[must_use]
    pub fn at_large(&self) -> Self {
        Self { sandbox: None, ..self.clone() }
    }

    /// The file that a name leads to, by the tools' PATH.
    #[must_use]
    pub fn file(&self, program: &OsStr) -> Option<PathBuf> {
        let path = self.variable("PATH").unwrap_or_default();
        let named = Path::new(program);
        let found = if named.components().count() > 1 {
            Some(named.to_owned())
        } else {
            env::split_paths(&path).map(|place| place.join(named)).find(|file| file.is_file())
        };
        found.and_then(|file| file.canonicalize().ok())
    }
}

fn wait(child: &mut Child, stop: &Stop) -> io::Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Some(reason) = stop.reason() {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                // Its number is not given to another process before it was waited for.
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::Interrupted, reason));
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(tools: &Tools, script: &str) -> io::Result<Output> {
        tools.output(tools.command(OsStr::new("/bin/sh")).args(["-c", script]))
    }

    #[test]
    fn the_environment_is_what_was_given() {
        let environment = vec![(OsString::from("A"), OsString::from("b"))];
        let stop = Stop::at(Instant::now() + Duration::from_secs(60));
        let tools = Tools { environment: Some(environment), stop: Some(stop), sandbox: None };
        let output = shell(&tools, "echo $A-$HOME; echo oops >&2; exit 3").unwrap();
        assert_eq!(output.stdout, b"b-\n");
        assert_eq!(output.stderr, b"oops\n");
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(tools.variable("A").unwrap(), "b");
        assert!(tools.variable("PATH").is_none());
        assert!(Tools::default().variable("PATH").is_some());
    }

    #[test]
    fn a_tool_ends_with_all_that_it_started() {
        let stop = Stop::at(Instant::now() + Duration::from_secs(60));
        let tools = Tools { stop: Some(stop.clone()), ..Tools::default() };
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let runner = thread::spawn(move || shell(&tools, &script));
        let child: i32 = loop {
            let text = std::fs::read_to_string(&pid).unwrap_or_default();
            if let Ok(child) = text.trim().parse() {
                break child;
            }
            thread::sleep(INTERVAL);
        };
        stop.now();
        let error = runner.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        // Its parent is gone, so init or we take its status; a zombie runs no more.
        let ended = || {
            std::fs::read_to_string(format!("/proc/{child}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        };
        let start = Instant::now();
        while !ended() {
            assert!(start.elapsed() < Duration::from_secs(30));
            thread::sleep(INTERVAL);
        }
    }

    #[test]
    fn a_tool_that_takes_too_long_is_ended() {
        let stop = Stop::at(Instant::now() + Duration::from_millis(100));
        let tools = Tools { stop: Some(stop), ..Tools::default() };
        assert!(shell(&tools, "sleep 1000").unwrap_err().to_string().contains("too long"));
    }
}
