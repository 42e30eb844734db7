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

/// What becomes of the output of a test program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// It is shown at once; `go test` does not look at it in the local directory mode.
    Through,
    /// It is shown at once, and looked at.
    Live,
    /// It is shown when the tests fail.
    Failed,
}

/// What is written about one package: the output of its test program and the lines about it.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    text: Arc<Mutex<Vec<u8>>>,
    /// `go tool test2json`, which writes JSON in place of us.
    converter: Option<Arc<Mutex<Child>>>,
    how: Show,
}

impl Lines {
    /// Through the converter when there is one.
    pub(super) fn new(how: Show, converter: Option<Command>) -> Result<Self, Failure> {
        let start = |mut command: Command| command.stdin(Stdio::piped()).spawn();
        let converter = converter.map(start).transpose().map_err(|error| {
            Failure::new(format!("cannot run {}: {error}", Go::TEST2JSON))
                .advise("leave -json away, or mend the installation of Go")
        })?;
        let converter = converter.map(|child| Arc::new(Mutex::new(child)));
        Ok(Self { text: Arc::default(), converter, how })
    }

    /// What the test program has said, as far as it is looked at.
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
        if self.how != Show::Failed {
            self.show(bytes)?;
        }
        if self.how == Show::Through {
            return Ok(bytes.len());
        }
        self.text.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.how == Show::Failed { Ok(()) } else { io::stdout().flush() }
    }
}

/// The report of a run over packages.
#[derive(Debug)]
pub(super) struct Report {
    /// Whether nothing is said about all packages together.
    single: bool,
    failed: bool,
}

impl Report {
    pub(super) fn new(single: bool) -> Self {
        Self { single, failed: false }
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
        let silent = output.is_empty();
        if lines.how == Show::Failed {
            lines.print(output);
        }
        lines.print(ending(outcome, silent));
        lines.print(format!("FAIL\t{path}\t{seconds:.3}s\n"));
        lines.close();
    }

    /// Whether all is well.
    pub(super) fn finish(self) -> bool {
        if self.failed && !self.single {
            // A reader that went away has seen enough.
            let _ = io::stdout().write_all(b"FAIL\n");
        }
        !self.failed
    }
}

/// How a test program ended that did not succeed. Its status is told where it has said nothing
/// that `go test` has looked at.
fn ending(outcome: &Outcome, silent: bool) -> String {
    match outcome {
        Outcome::Exited(Exit::Status(_)) if !silent => String::new(),
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
    fn the_status_is_told_when_nothing_else_was() {
        let status = |status| Outcome::Exited(Exit::Status(status));
        assert_eq!(ending(&status(1), true), "exit status 1\n");
        assert_eq!(ending(&status(2), false), "");
        assert_eq!(ending(&Outcome::Panicked, false), "kernel panic\n");
    }

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
