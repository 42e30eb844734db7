// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A home directory of its own for each test, with a fake daemon in it or none.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fake::Fake;

pub struct World {
    directory: tempfile::TempDir,
    pub fake: Fake,
}

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("home")).unwrap();
        let fake = Fake::listen(&directory.path().join("home/kernctl.sock"));
        Self { directory, fake }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Puts a file below the working directory.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernctl"));
        command
            .args(words)
            .current_dir(self.path())
            .env("BHOJPUR_HOME", self.home())
            .env_remove("KERNCTL_HOST")
            .env_remove("KERNCTL_TOKEN")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Done {
        done(self.command(words).output().unwrap())
    }

    /// Runs with a standard input.
    pub fn feed(&self, words: &[&str], input: &[u8]) -> Done {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        done(child.wait_with_output().unwrap())
    }

    pub fn spawn(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs what has to succeed, and gives its output.
    pub fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert_eq!(done.status, 0, "{words:?}: {done:?}");
        done.out
    }

    /// Runs what has to fail in this way, with one message and at most one line of help.
    pub fn fails(&self, words: &[&str], status: i32) -> String {
        let done = self.run(words);
        assert_eq!(done.status, status, "{words:?}: {done:?}");
        let lines: Vec<&str> =
            done.err.lines().filter(|line| !line.starts_with("kernctl: help: ")).collect();
        assert!(
            lines.len() == 1 && lines[0].starts_with("kernctl: error: "),
            "{words:?}: {done:?}"
        );
        assert!(done.err.lines().count() <= 2, "{words:?}: {done:?}");
        assert_eq!(done.out, "", "{words:?}");
        done.err
    }
}

pub fn done(output: std::process::Output) -> Done {
    Done {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
