// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lines that `go test` writes.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bhojpur_abi::control::Exit;
use bhojpur_build::language::{Go, Package};
use bhojpur_monitor::Outcome;

use crate::Failure;

/// What is written about one package: the output of its test program and the lines about it.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    text: Arc<Mutex<Vec<u8>>>,
    /// `go tool test2json`, which writes JSON in place of us.
    converter: Option<Arc<Mutex<Child>>>,
    live: bool,
}

impl Lines {
    /// Through the converter when there is one.
    pub(super) fn new(live: bool, converter: Option<Command>) -> Result<Self, Failure> {
        let start = |mut command: Command| command.stdin(Stdio::piped()).spawn();
        let converter = converter.map(start).transpose().map_err(|error| {
            Failure::new(format!("cannot run {}: {error}", Go::TEST2JSON))
                .advise("leave -json away, or mend the installation of Go")
        })?;
        let converter = converter.map(|child| Arc::new(Mutex::new(child)));
        Ok(Self { text: Arc::default(), converter, live })
    }

    /// What the test program has said.
    fn text(&self) -> Vec<u8> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(converter) = &self.converter else { return io::stdout().write_all(bytes) };
        match &mut converter.lock().unwrap_or_else(PoisonError::into_inner).stdin {
            Some(input) => input.write_all(bytes),
            None => Ok(()),
        }
    }

    fn print(&self, bytes: impl AsRef<[u8]>) {
        // A reader that went away has seen enough.
        let _ = self.show(bytes.as_ref());
    }

    /// There is no more; the converter concludes from that how the package fared.
    fn close(self) {
        let Some(converter) = self.converter else { return };
        // It says itself what went wrong, and the lines are lost either way.
        let _ = converter.lock().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// The test program's output; it is kept, and shown at once when that is wanted.
impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.live {
            self.show(bytes)?;
        }
        self.text.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.live { io::stdout().flush() } else { Ok(()) }
    }
}

/// The report of a run over packages.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    failed: bool,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, failed: false }
    }

    pub(super) fn no_tests(&mut self, package: &Package, lines: Lines) {
        lines.print(format!("?   \t{}\t[no test files]\n", package.import_path));
        lines.close();
    }

    pub(super) fn broken(&mut self, package: &Package, output: &str, lines: Lines) {
        self.failed = true;
        eprintln!("{}", output.trim_end());
        lines.print(format!("FAIL\t{} [build failed]\n", package.import_path));
        lines.close();
    }

    pub(super) fn ran(
        &mut self,
        package: &Package,
        outcome: &Outcome,
        lines: Lines,
        time: Duration,
    ) {
        let (path, seconds) = (&package.import_path, time.as_secs_f64());
        let output = lines.text();
        if *outcome == Outcome::Exited(Exit::Status(0)) {
            // "PASS" alone says no more than the line that follows.
            let notes = notes(&String::from_utf8_lossy(&output));
            lines.print(format!("ok  \t{path}\t{seconds:.3}s{notes}\n"));
            lines.close();
            return;
        }
        self.failed = true;
        if !lines.live {
            lines.print(output);
        }
        lines.print(ending(outcome));
        lines.print(format!("FAIL\t{path}\t{seconds:.3}s\n"));
        lines.close();
    }

    /// Whether all is well.
    pub(super) fn finish(self) -> bool {
        // `go test -json` says nothing about all packages either.
        if self.failed && !self.json {
            // A reader that went away has seen enough.
            let _ = io::stdout().write_all(b"FAIL\n");
        }
        !self.failed
    }
}

/// How a test program ended that did not succeed; that tests failed needs no words.
fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited(Exit::Status(1)) => String::new(),
        Outcome::Exited(Exit::Status(status)) => format!("exit status {status}\n"),
        Outcome::Exited(Exit::Signal(signal)) => format!("killed by signal {signal}\n"),
        Outcome::Panicked => "kernel panic\n".to_owned(),
        Outcome::TimedOut => "*** Test killed: ran too long\n".to_owned(),
        Outcome::Stopped(_) | Outcome::OutputClosed | Outcome::OutputRefused(_) => {
            "stopped\n".to_owned()
        }
        Outcome::Lost { status, messages, tail } => format!(
            "the guest ended without an exit status ({status}) {messages}\n{}\n",
            tail.join("\n")
        ),
    }
}

/// What `go test` takes from the output of tests that passed into its own line.
fn notes(output: &str) -> String {
    let line = |what: &str| output.lines().find(|line| line.contains(what));
    let coverage =
        line("coverage: ").and_then(|line| line.find("coverage: ").map(|at| &line[at..]));
    let coverage = coverage.map(|text| format!("\t{text}")).unwrap_or_default();
    let none = if line("no tests to run").is_some() { " [no tests to run]" } else { "" };
    coverage + none
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_and_missing_tests_are_noted() {
        assert_eq!(notes("PASS\n"), "");
        assert_eq!(
            notes("PASS\ncoverage: 66.7% of statements\n"),
            "\tcoverage: 66.7% of statements"
        );
        assert_eq!(notes("testing: warning: no tests to run\nPASS\n"), " [no tests to run]");
    }
}
