// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A volume: an ext4 file system that outlives instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Volume {
    /// Its id, also the UUID of its file system.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The provider that has it.
    pub provider: String,
    /// Its size.
    pub size_bytes: u64,
    /// The instances to which it is attached: one, or several that only read.
    #[serde(default)]
    pub attachments: Vec<VolumeAttachment>,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: String,
    /// In the answer that it was made: a sentence for each thing that was left out of what was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What became of files that were put into a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Written {
    /// A sentence for each thing that was left out: devices, pipes, sockets.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Where a volume is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VolumeAttachment {
    /// The instance's name.
    pub instance: String,
    /// Where it is mounted there.
    pub mount_point: String,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// What a new volume wants beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, utoipa::IntoParams))]
#[serde(default, deny_unknown_fields)]
pub struct VolumeQuery {
    /// Its name.
    pub name: String,
    /// The provider; the daemon's default when empty.
    pub provider: String,
    /// Its size; when absent as large as the content needs, with room to spare.
    pub size_bytes: Option<u64>,
    /// Labels, as a JSON object of strings.
    pub labels: String,
    /// The content is a disk image with an ext4 file system, taken as it is.
    pub raw: bool,
}

/// A file of a volume, as it is behind symbolic links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Bytes of its content.
    pub size_bytes: u64,
    /// Its permissions, the lower 12 bits of its mode.
    pub mode: u32,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A device, pipe or socket.
    Special,
}

/// Attaches a volume to a stopped instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AttachRequest {
    /// Name or id of the instance.
    pub instance: String,
    /// The directory in the guest.
    pub mount_point: String,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
}
