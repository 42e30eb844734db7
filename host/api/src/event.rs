// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What streams carry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// An image.
    Image,
    /// An instance.
    Instance,
    /// A volume.
    Volume,
    /// The daemon itself.
    Daemon,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its number, growing by one; `since` in a request starts after it.
    pub id: u64,
    /// When.
    pub time: String,
    /// What it is about.
    pub subject: Subject,
    /// Whose id.
    pub subject_id: String,
    /// Its name.
    pub name: String,
    /// What happened: create, start, die, stop, restart, pause, resume, health, delete, build,
    /// import, tag, attach, detach, error, ...
    pub action: String,
    /// More: `exit_code`, `provider`, `health`, ...
    pub attributes: BTreeMap<String, String>,
}

/// A piece of the output of an instance, cut anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogChunk {
    /// How much the instance had printed before it since it was made, whatever was cut off since.
    pub offset: u64,
    /// The bytes where they are UTF-8; what is not comes in `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes, RFC 4648 section 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}
