// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong between a client and its daemon.

use std::io;

use bhojpur_api::{Code, ErrorBody};

use crate::Address;

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon said no.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// Nobody answers there.
    #[error("cannot reach the daemon at {address}: {reason}")]
    Unreachable {
        /// Where it should be.
        address: Address,
        /// What the system said.
        reason: io::Error,
    },
    /// Somebody answers, and is not the daemon that was meant.
    #[error("the daemon at {address} is not trusted: {reason}")]
    Untrusted {
        /// Where it is.
        address: Address,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// What this side brings along cannot be used.
    #[error("{0}")]
    Setup(String),
    /// The daemon takes longer than it should.
    #[error("the daemon at {address} did not answer within {seconds} seconds")]
    TimedOut {
        /// Where it is.
        address: Address,
        /// How long it was given.
        seconds: u64,
    },
    /// The connection ended before the answer did.
    #[error("the connection to the daemon at {address} broke: {reason}")]
    Broken {
        /// Where it is.
        address: Address,
        /// What happened.
        reason: String,
    },
    /// What came is not what version 1 of the interface says.
    #[error("the daemon's answer cannot be understood: {0}")]
    Answer(String),
    /// What should be sent could not be read.
    #[error("{0}")]
    Upload(io::Error),
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let text = match self {
            Self::Refused(body) => return body.advice.clone(),
            Self::Unreachable { address: Address::Unix(path), reason } => match reason.kind() {
                io::ErrorKind::PermissionDenied => {
                    format!("{} belongs to another user; use your own daemon, or a token over TLS", path.display())
                }
                _ => "start it with `kernctl daemon`, or choose another with `kernctl target`".to_owned(),
            },
            Self::Unreachable { reason, .. } => match reason.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "start `kernctl daemon --listen` there, or choose another with `kernctl target`".to_owned()
                }
                _ => "check the name, the port and the firewall; `kernctl target --show` tells what is used".to_owned(),
            },
            Self::Untrusted { .. } => {
                "name its authority or its fingerprint: `kernctl target --ca FILE` or `--fingerprint SHA256`".to_owned()
            }
            Self::TimedOut { .. } | Self::Broken { .. } => {
                "the daemon's log tells what it was doing".to_owned()
            }
            Self::Answer(_) => "compare `kernctl version` here with the daemon's".to_owned(),
            Self::Setup(_) | Self::Upload(_) => return None,
        };
        Some(text)
    }

    /// What the daemon called it.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(body) => Some(body.code),
            _ => None,
        }
    }

    /// Whether nobody listens on a socket of this machine, so that a daemon could be started.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Unreachable { address: Address::Unix(_), reason } => {
                matches!(reason.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
            }
            _ => false,
        }
    }
}
