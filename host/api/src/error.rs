// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors on the wire.

use serde::{Deserialize, Serialize};

/// What a client can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the request cannot be read.
    BadRequest,
    /// 401: no token, or a wrong one.
    Unauthorized,
    /// 403: the token's role does not allow it.
    Forbidden,
    /// 404: no such image, instance, volume or path.
    NotFound,
    /// 405: not with this method.
    MethodNotAllowed,
    /// 408: the request took too long to arrive.
    Timeout,
    /// 409: its state, or somebody else's, does not allow it.
    Conflict,
    /// 413: the request is too large.
    TooLarge,
    /// 422: it can be read and makes no sense.
    Invalid,
    /// 422: the program cannot be built; its compiler says why.
    BuildFailed,
    /// 429 or 503: too many requests at once.
    Busy,
    /// 501: this provider cannot do it.
    Unsupported,
    /// 503: the provider is not installed or not set up.
    NotReady,
    /// 507: no room on the daemon's disk, or none at the provider.
    Exhausted,
    /// 502: the hypervisor or cloud failed.
    ProviderFailed,
    /// 500: a fault of the daemon.
    Internal,
}

impl Code {
    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Invalid | Self::BuildFailed => 422,
            Self::Busy | Self::NotReady => 503,
            Self::Unsupported => 501,
            Self::Exhausted => 507,
            Self::ProviderFailed => 502,
            Self::Internal => 500,
        }
    }
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// What a program tells apart.
    pub code: Code,
    /// What failed, on what, and why.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}
