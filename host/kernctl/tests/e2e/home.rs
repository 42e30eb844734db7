// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A home directory with a real daemon, cleaned up whatever happens.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No command may take longer; machines are emulated and the computer may be busy.
const LIMIT: Duration = Duration::from_secs(240);

pub struct Home {
    directory: tempfile::TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// Whether all of these programs are here; says so when not.
pub fn have(programs: &[&str]) -> bool {
    let missing: Vec<&&str> = programs
        .iter()
        .filter(|program| Command::new(program).arg("--help").output().is_err())
        .collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: these tests need {missing:?} in the path");
    }
    missing.is_empty()
}

/// A port of the loopback that is free now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// The working directory of all commands.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let own = Path::new(env!("CARGO_BIN_EXE_kernctl")).parent().unwrap();
        let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap_or_default());
        command
            .current_dir(self.path())
            .env("PATH", path)
            .env("BHOJPUR_HOME", self.home())
            .env_remove("KERNCTL_HOST")
            .env_remove("KERNCTL_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self, words: &[&str]) -> Child {
        self.command("kernctl").args(words).spawn().unwrap()
    }

    pub fn run(&self, words: &[&str]) -> Done {
        done(self.spawn(words), words)
    }

    pub fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert_eq!(done.status, 0, "{words:?}: {done:?}\n{}", self.log());
        done.out
    }

    /// What the daemon said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("daemon.log")).unwrap_or_default()
    }

    /// Puts a Go program there.
    pub fn program(&self, name: &str, body: &str) {
        let directory = self.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("go.mod"), format!("module {name}\n\ngo 1.19\n")).unwrap();
        std::fs::write(directory.join("main.go"), body).unwrap();
    }

    pub fn daemon_pid(&self) -> String {
        self.ok(&["info", "--format", "{{.PID}}"]).trim().to_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that failed may have left machines behind.
        let ids = self.run(&["ps", "-aq", "--no-trunc"]).out;
        for id in ids.lines() {
            self.run(&["rm", "-f", id]);
        }
        self.run(&["daemon", "stop"]);
    }
}

/// Waits for a command, not for ever.
pub fn done(child: Child, words: &[&str]) -> Done {
    let pid = child.id().to_string();
    let waiting = std::thread::spawn(move || child.wait_with_output());
    let begin = Instant::now();
    while !waiting.is_finished() {
        if begin.elapsed() > LIMIT {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output: Output = waiting.join().unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let status = output.status.code().unwrap_or(-1);
    let done = Done { status, out: text(output.stdout), err: text(output.stderr) };
    assert!(begin.elapsed() <= LIMIT, "{words:?} does not come to an end: {done:?}");
    done
}

/// Tries until it is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < LIMIT, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
