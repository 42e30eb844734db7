// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong with a volume: a kind to decide by, a sentence, and advice.

use std::fmt;
use std::io;
use std::path::Path;

use rsext4::{Ext4Error, Ext4ErrorKind};

/// The result of an operation on a volume.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller has to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such image, or no such file in it.
    NotFound,
    /// There is something of that name already.
    Exists,
    /// The volume or the disk under it is full.
    NoSpace,
    /// The image contradicts itself.
    Corrupt,
    /// What was asked for makes no sense, or is not supported.
    Invalid,
    /// Another program has the volume.
    Busy,
    /// The operating system failed, on the image or on the other end of a stream.
    Io,
}

/// A failed operation.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    advice: Option<String>,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), advice: None, source: None }
    }

    pub(crate) fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(advice.to_string());
        self
    }

    /// A failure of the operating system while doing `what`.
    pub(crate) fn io(what: impl fmt::Display, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ErrorKind::NoSpace,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ErrorKind::Invalid,
            _ => ErrorKind::Io,
        };
        let message = format!("{what}: {error}");
        let error = Self { kind, message, advice: None, source: Some(error) };
        match kind {
            ErrorKind::NoSpace => error.advise("free some space on this disk, then try again"),
            _ => error,
        }
    }

    /// A failure of the file system's engine while doing `what`.
    pub(crate) fn engine(what: impl fmt::Display, error: Ext4Error) -> Self {
        use Ext4ErrorKind as Kind;
        let (kind, advice) = match error.kind() {
            Kind::NoSpace | Kind::QuotaExceeded => {
                (ErrorKind::NoSpace, Some("make the volume larger, or put less into it"))
            }
            Kind::NotFound => (ErrorKind::NotFound, None),
            Kind::AlreadyExists => (ErrorKind::Exists, None),
            Kind::Busy => (ErrorKind::Busy, None),
            Kind::Io | Kind::NoMemory | Kind::Timeout => (ErrorKind::Io, None),
            Kind::Corrupted
            | Kind::ChecksumMismatch
            | Kind::BadSuperblock
            | Kind::InvalidMagic
            | Kind::JournalAborted
            | Kind::Overflow => (ErrorKind::Corrupt, Some(REPAIR)),
            Kind::UnsupportedFeature => (
                ErrorKind::Invalid,
                Some("make the volume with kernctl volume create, and copy the files over"),
            ),
            _ => (ErrorKind::Invalid, None),
        };
        let message = match error.context() {
            Some(rsext4::ErrorContext::Operation { op }) => {
                format!("{what}: {} ({op})", error.kind())
            }
            _ => format!("{what}: {}", error.kind()),
        };
        let error = Self::new(kind, message);
        match advice {
            Some(advice) => error.advise(advice),
            None => error,
        }
    }

    /// The same, naming the image of which it is told.
    pub(crate) fn about(mut self, path: &Path) -> Self {
        if self.kind == ErrorKind::Corrupt && !self.message.starts_with(&*path.to_string_lossy()) {
            self.message = format!("{}: {}", path.display(), self.message);
        }
        self
    }

    /// The image contradicts itself.
    pub(crate) fn corrupt(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, what).advise(REPAIR)
    }

    pub(crate) fn busy(path: &Path) -> Self {
        Self::new(
            ErrorKind::Busy,
            format_args!("the volume {} is in use by another program", path.display()),
        )
        .advise("stop the instance that has it, then try again")
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

/// What helps against damage.
const REPAIR: &str = "restore the volume from a copy, or try e2fsck -f on a copy of its image";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}
