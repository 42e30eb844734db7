// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors as the user sees them: what went wrong, on what, why, and what to do.

use std::fmt;
use std::process::ExitCode;

/// Exit statuses of the tools. `kernel run` gives the program's own status, so what is the
/// tool's fault lies where few programs end.
pub mod status {
    /// A command failed.
    pub const FAILED: u8 = 1;
    /// The command line was wrong.
    pub const USAGE: u8 = 2;
    /// `kernel run` gave up on the guest after the time that it was given.
    pub const TIMED_OUT: u8 = 124;
    /// `kernel run` could not start the guest.
    pub const NOT_STARTED: u8 = 125;
    /// The guest ended and did not say how.
    pub const LOST: u8 = 126;
    /// The kernel panicked.
    pub const PANICKED: u8 = 127;
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    what: String,
    advice: Option<String>,
    status: u8,
}

impl Failure {
    /// A failure with the status of failed commands.
    pub fn new(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), advice: None, status: status::FAILED }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// Ends the tool with another status.
    #[must_use]
    pub fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    fn of(what: impl fmt::Display, advice: Option<String>) -> Self {
        Self { what: what.to_string(), advice, status: status::FAILED }
    }

    /// Tells the user, and gives the status.
    pub fn report(&self, tool: &str) -> ExitCode {
        use std::io::Write;
        let mut text = format!("{tool}: error: {}\n", self.what.trim_end());
        if let Some(advice) = &self.advice {
            text.push_str(&format!("{tool}: help: {advice}\n"));
        }
        // One write: lines of the guest must not come between. Nobody reads when this fails.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<bhojpur_build::language::Error> for Failure {
    fn from(error: bhojpur_build::language::Error) -> Self {
        Self::of(&error, error.advice())
    }
}

impl From<bhojpur_build::shared::Error> for Failure {
    fn from(error: bhojpur_build::shared::Error) -> Self {
        Self::of(&error, error.advice())
    }
}

impl From<bhojpur_build::assemble::Error> for Failure {
    fn from(error: bhojpur_build::assemble::Error) -> Self {
        Self::of(&error, error.advice())
    }
}

impl From<bhojpur_monitor::QemuError> for Failure {
    fn from(error: bhojpur_monitor::QemuError) -> Self {
        Self::of(&error, error.advice()).with_status(status::NOT_STARTED)
    }
}

impl From<bhojpur_monitor::PortError> for Failure {
    fn from(error: bhojpur_monitor::PortError) -> Self {
        Self::of(&error, error.advice()).with_status(status::NOT_STARTED)
    }
}

impl From<bhojpur_monitor::VolumeError> for Failure {
    fn from(error: bhojpur_monitor::VolumeError) -> Self {
        Self::of(&error, error.advice()).with_status(status::NOT_STARTED)
    }
}

impl From<bhojpur_monitor::SessionError> for Failure {
    fn from(error: bhojpur_monitor::SessionError) -> Self {
        Self::of(&error, None).with_status(status::NOT_STARTED)
    }
}

impl From<crate::image::Error> for Failure {
    fn from(error: crate::image::Error) -> Self {
        Self::of(&error, error.advice())
    }
}
