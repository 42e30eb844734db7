// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Progress and results for the user, on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shows the steps of a command.
#[derive(Debug)]
pub struct Printer {
    quiet: bool,
    terminal: bool,
    step: Option<(String, Instant)>,
}

impl Printer {
    /// A printer that is silent when the user wants that.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal(), step: None }
    }

    /// Begins a step; the one before is over.
    pub fn step(&mut self, title: impl Into<String>) {
        self.finish();
        let title = title.into();
        if !self.quiet && self.terminal {
            self.write(&format!("{title} ..."));
        }
        self.step = Some((title, Instant::now()));
    }

    /// Ends the last step and says how long it took.
    pub fn finish(&mut self) {
        let Some((title, start)) = self.step.take() else { return };
        // A log needs the result alone, which follows as a line of its own.
        if !self.quiet && self.terminal {
            self.write(&format!("\r\x1b[K{title:<44} {}\n", duration(start.elapsed())));
        }
    }

    /// A line of its own.
    pub fn line(&mut self, text: &str) {
        self.finish();
        if !self.quiet {
            self.write(&format!("{text}\n"));
        }
    }

    /// A line that is shown even when the user wants silence.
    pub fn warn(&mut self, text: &str) {
        self.abandon();
        self.write(&format!("warning: {text}\n"));
    }

    /// Clears an unfinished step away, for an error message.
    fn abandon(&mut self) {
        if self.step.take().is_some() && !self.quiet && self.terminal {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        // Progress that nobody can see is no reason to fail.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// A duration as humans read it.
#[must_use]
pub fn duration(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis < 1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}
