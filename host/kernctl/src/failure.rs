// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors as the user sees them: one message, one line of help, one exit status; the same as
//! JSON for programs.

use std::fmt;
use std::io::Write as _;

use bhojpur_api::{Code, ErrorBody};

/// Exit statuses. docs/kernctl.md lists them.
pub(crate) mod status {
    /// A command failed.
    pub(crate) const FAILED: u8 = 1;
    /// The command line or what it names makes no sense.
    pub(crate) const USAGE: u8 = 2;
    /// There is no such image, instance or volume.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// The state of things does not allow it.
    pub(crate) const CONFLICT: u8 = 4;
    /// The daemon cannot be reached, or not be trusted.
    pub(crate) const UNREACHABLE: u8 = 5;
    /// The provider is not ready, or there is no room.
    pub(crate) const NOT_READY: u8 = 6;
    /// The token is missing, wrong, or does not allow it.
    pub(crate) const FORBIDDEN: u8 = 7;
    /// It cannot be done here, or not yet.
    pub(crate) const UNSUPPORTED: u8 = 8;
    /// `run` could not start the program.
    pub(crate) const NOT_STARTED: u8 = 125;
    /// The program ended and nobody knows how.
    pub(crate) const LOST: u8 = 126;
    /// The kernel under the program panicked.
    pub(crate) const PANICKED: u8 = 127;
}

/// A failed command.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What programs tell apart: a [`Code`] of the daemon, or one of ours.
    code: String,
    message: String,
    advice: Option<String>,
    status: u8,
    /// Nobody reads our output any more, which is no failure.
    silent: bool,
}

impl Failure {
    fn with_code(code: &str, message: impl fmt::Display, status: u8) -> Self {
        let message = message.to_string().trim_end().to_owned();
        Self { code: code.to_owned(), message, advice: None, status, silent: false }
    }

    /// Something failed.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self::with_code("failed", message, status::FAILED)
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::with_code("usage", message, status::USAGE)
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl fmt::Display) -> Self {
        Self::with_code("not_found", message, status::NOT_FOUND)
    }

    /// The state of things does not allow it.
    pub(crate) fn conflict(message: impl fmt::Display) -> Self {
        Self::with_code("conflict", message, status::CONFLICT)
    }

    /// It cannot be done.
    pub(crate) fn unsupported(message: impl fmt::Display) -> Self {
        Self::with_code("unsupported", message, status::UNSUPPORTED)
    }

    /// Nobody answers.
    pub(crate) fn unreachable(message: impl fmt::Display) -> Self {
        Self::with_code("unreachable", message, status::UNREACHABLE)
    }

    /// A file or stream failed.
    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(format!("{what}: {error}"))
    }

    /// Our output failed: a reader that went away has what it wanted.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        let failure = Self::new(format!("cannot write the output: {error}"));
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { status: 0, silent: true, ..failure };
        }
        failure
    }

    /// What the daemon said.
    pub(crate) fn of_body(body: &ErrorBody) -> Self {
        let code = serde_json::to_value(body.code).ok();
        let code = code.as_ref().and_then(|code| code.as_str()).unwrap_or("internal");
        let mut failure = Self::with_code(code, &body.message, status_of(body.code));
        failure.advice.clone_from(&body.advice);
        failure
    }

    /// Says what to do about it.
    #[must_use]
    pub(crate) fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// Ends with another status.
    #[must_use]
    pub(crate) fn with_status(mut self, status: u8) -> Self {
        if !self.silent {
            self.status = status;
        }
        self
    }

    /// The exit status that goes with it.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    /// Whether there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code == "not_found"
    }

    /// Whether nobody knows what became of what was asked for.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.code == "unreachable"
    }

    /// Whether nobody reads our output any more.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Tells the user.
    pub(crate) fn report(&self, json: bool) {
        if self.silent {
            return;
        }
        let text = if json {
            let mut body = serde_json::json!({ "code": self.code, "message": self.message });
            if let Some(advice) = &self.advice {
                body["advice"] = advice.clone().into();
            }
            format!("{body}\n")
        } else {
            let mut text = format!("kernctl: error: {}\n", self.message);
            if let Some(advice) = &self.advice {
                text.push_str(&format!("kernctl: help: {advice}\n"));
            }
            text
        };
        // One write: lines of others must not come between. Nobody reads when this fails.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn status_of(code: Code) -> u8 {
    match code {
        Code::BadRequest | Code::Invalid | Code::TooLarge | Code::MethodNotAllowed => status::USAGE,
        Code::Unauthorized | Code::Forbidden => status::FORBIDDEN,
        Code::NotFound => status::NOT_FOUND,
        Code::Conflict => status::CONFLICT,
        Code::Busy | Code::NotReady | Code::Exhausted => status::NOT_READY,
        Code::Unsupported => status::UNSUPPORTED,
        Code::BuildFailed | Code::Timeout | Code::ProviderFailed | Code::Internal => status::FAILED,
    }
}

impl From<bhojpur_client::Error> for Failure {
    fn from(error: bhojpur_client::Error) -> Self {
        use bhojpur_client::Error;
        let failure = match &error {
            Error::Refused(body) => return Self::of_body(body),
            Error::Unreachable { .. }
            | Error::Untrusted { .. }
            | Error::TimedOut { .. }
            | Error::Broken { .. } => Self::unreachable(&error),
            Error::Setup(_) | Error::Answer(_) | Error::Upload(_) => Self::new(&error),
        };
        error.advice().into_iter().fold(failure, Self::advise)
    }
}

impl From<bhojpur_daemon::Error> for Failure {
    fn from(error: bhojpur_daemon::Error) -> Self {
        Self::of_body(&ErrorBody {
            code: error.code(),
            message: error.to_string(),
            advice: error.advice().map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let error = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let failure = Failure::output(&error).with_status(status::NOT_STARTED);
        assert!(failure.silent && failure.status() == 0);
        let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Failure::output(&error).status(), status::FAILED);
    }

    #[test]
    fn codes_of_the_daemon_become_statuses() {
        let body = |code| ErrorBody { code, message: "no\n".into(), advice: None };
        for (code, name, status) in [
            (Code::NotFound, "not_found", 3),
            (Code::Conflict, "conflict", 4),
            (Code::NotReady, "not_ready", 6),
            (Code::Unauthorized, "unauthorized", 7),
            (Code::Unsupported, "unsupported", 8),
            (Code::Invalid, "invalid", 2),
            (Code::BuildFailed, "build_failed", 1),
            (Code::Internal, "internal", 1),
        ] {
            let failure = Failure::of_body(&body(code));
            assert_eq!((failure.code.as_str(), failure.status()), (name, status));
            assert_eq!(failure.message, "no");
        }
    }
}
