// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lines that `go test` writes.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bhojpur_abi::control::Exit;
use bhojpur_build::language::Package;
use bhojpur_monitor::Outcome;

/// Keeps the output of a test program, and shows it at once when that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    text: Arc<Mutex<Vec<u8>>>,
    live: bool,
}

impl Capture {
    pub(super) fn new(live: bool) -> Self {
        Self { text: Arc::default(), live }
    }

    /// What is still to be shown.
    pub(super) fn into_text(self) -> Vec<u8> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if self.live { Vec::new() } else { std::mem::take(&mut text) }
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.live {
            return io::stdout().write(bytes);
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
    verbose: bool,
    failed: bool,
}

impl Report {
    pub(super) fn new(verbose: bool) -> Self {
        Self { verbose, failed: false }
    }

    pub(super) fn no_tests(&mut self, package: &Package) {
        print(&format!("?   \t{}\t[no test files]\n", package.import_path));
    }

    pub(super) fn broken(&mut self, package: &Package, output: &str) {
        self.failed = true;
        eprintln!("{}", output.trim_end());
        print(&format!("FAIL\t{} [build failed]\n", package.import_path));
    }

    pub(super) fn ran(
        &mut self,
        package: &Package,
        outcome: &Outcome,
        output: &[u8],
        time: Duration,
    ) {
        let (path, seconds) = (&package.import_path, time.as_secs_f64());
        if *outcome == Outcome::Exited(Exit::Status(0)) {
            // "PASS" alone says no more than the line that follows.
            let note = if output.windows(16).any(|window| window == b"no tests to run\n") {
                " [no tests to run]"
            } else {
                ""
            };
            print(&format!("ok  \t{path}\t{seconds:.3}s{note}\n"));
            return;
        }
        self.failed = true;
        if !self.verbose {
            write(output);
        }
        match outcome {
            Outcome::Exited(Exit::Status(1)) => {}
            Outcome::Exited(Exit::Status(status)) => print(&format!("exit status {status}\n")),
            Outcome::Exited(Exit::Signal(signal)) => print(&format!("killed by signal {signal}\n")),
            Outcome::Panicked => print("kernel panic\n"),
            Outcome::TimedOut => print("*** Test killed: ran too long\n"),
            Outcome::Stopped(_) | Outcome::OutputClosed | Outcome::OutputRefused(_) => {
                print("stopped\n");
            }
            Outcome::Lost { status, messages, tail } => {
                print(&format!(
                    "the guest ended without an exit status ({status}) {messages}\n{}\n",
                    tail.join("\n")
                ));
            }
        }
        print(&format!("FAIL\t{path}\t{seconds:.3}s\n"));
    }

    /// Whether all is well.
    pub(super) fn finish(self) -> bool {
        if self.failed {
            print("FAIL\n");
        }
        !self.failed
    }
}

fn print(text: &str) {
    write(text.as_bytes());
}

fn write(bytes: &[u8]) {
    // A reader that went away has seen enough.
    let _ = io::stdout().write_all(bytes);
}
