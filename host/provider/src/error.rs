// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong at a provider: what failed, on what, why, and what to do.

use std::fmt;

/// The result of a provider's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller has to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The provider has no such instance, image or volume.
    NotFound,
    /// The state of the thing does not allow it: running, in use, taken.
    Conflict,
    /// What was asked for makes no sense for this provider.
    Invalid,
    /// This provider cannot do it at all.
    Unsupported,
    /// The hypervisor, a tool or a right is missing.
    NotReady,
    /// No room or too many: disk, memory, quota.
    Exhausted,
    /// The hypervisor or cloud failed or did not answer.
    Failed,
}

/// A failed operation.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    advice: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure; the message says what failed, on what, and why.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), advice: None, source: None }
    }

    /// A failure of the operating system while doing `what`.
    pub fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory => ErrorKind::Exhausted,
            Io::NotFound => ErrorKind::NotFound,
            Io::AddrInUse | Io::AlreadyExists => ErrorKind::Conflict,
            _ => ErrorKind::Failed,
        };
        Self {
            kind,
            message: format!("{what}: {error}"),
            advice: None,
            source: Some(Box::new(error)),
        }
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// The same with another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What the caller has to tell apart.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
