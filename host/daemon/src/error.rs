// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong in the daemon: one clear error, the same on the command line and in JSON.

use std::fmt;
use std::io;

use bhojpur_api::{Code, ErrorBody};
use bhojpur_provider::ErrorKind;

/// The result of an operation of the daemon.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation: what failed, on what, why, and what to do.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: String,
    advice: Option<String>,
}

impl Error {
    /// A failure.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), advice: None }
    }

    /// There is no such thing.
    pub(crate) fn not_found(what: &str, reference: &str) -> Self {
        let missing = Self::new(Code::NotFound, format!("there is no {what} {reference:?}"));
        match what {
            "instance" => missing.advise("`kernctl ps -a` lists all instances"),
            "image" => {
                missing.advise("`kernctl images` lists all images, `kernctl build` makes them")
            }
            "volume" => missing.advise("`kernctl volume ls` lists all volumes"),
            "token" => missing.advise("`kernctl daemon token ls` lists all tokens"),
            _ => missing,
        }
    }

    /// Its state, or somebody else's, does not allow it.
    pub(crate) fn conflict(message: impl fmt::Display) -> Self {
        Self::new(Code::Conflict, message)
    }

    /// It can be read and makes no sense.
    pub(crate) fn invalid(message: impl fmt::Display) -> Self {
        Self::new(Code::Invalid, message)
    }

    /// A fault of the daemon.
    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self::new(Code::Internal, message)
    }

    /// A failure of the operating system while doing `what`.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let failed = Self::new(Code::Internal, format!("{what}: {error}"));
        if is_full(error) { failed.full() } else { failed }
    }

    fn full(self) -> Self {
        Self { code: Code::Exhausted, ..self }
            .advise("make room on the disk of the daemon's directory, then try again")
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// What a client can tell apart.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// As it goes over the wire.
    #[must_use]
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody { code: self.code, message: self.message.clone(), advice: self.advice.clone() }
    }
}

/// Whether a disk, or what we may have of it, is full. A limit on the size of files counts too.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<bhojpur_provider::Error> for Error {
    fn from(error: bhojpur_provider::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::Conflict => Code::Conflict,
            ErrorKind::Invalid => Code::Invalid,
            ErrorKind::Unsupported => Code::Unsupported,
            ErrorKind::NotReady => Code::NotReady,
            ErrorKind::Exhausted => Code::Exhausted,
            ErrorKind::Failed => Code::ProviderFailed,
        };
        Self { code, message: error.to_string(), advice: error.advice().map(str::to_owned) }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let failed = Self::internal(format!("cannot use the database: {error}"));
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => failed.full(),
            // A limit on the size of files, and some file systems that are full, show as this.
            Some(ErrorCode::SystemIoFailure) => failed.full(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self { code: Code::Busy, ..failed }
            }
            _ => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_and_advised() {
        let full = Error::io("cannot write x", &io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.code(), Code::Exhausted);
        assert!(full.advice().unwrap().contains("make room"));
        let other = Error::io("cannot write x", &io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(other.code(), Code::Internal);
    }

    #[test]
    fn what_a_provider_says_reaches_the_client() {
        let failed = bhojpur_provider::Error::new(ErrorKind::NotReady, "no qemu").advise("get it");
        let body = Error::from(failed).body();
        assert_eq!((body.code, body.message.as_str()), (Code::NotReady, "no qemu"));
        assert_eq!(body.advice.as_deref(), Some("get it"));
    }
}
