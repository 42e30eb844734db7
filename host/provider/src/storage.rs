// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images and volumes on their way from the daemon's store to a provider.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ImageId, VolumeId};

/// A file in the daemon's store. It does not change while anything refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Where it lies: for an image a bootable ELF, for a volume a raw ext4 disk.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// An image where a provider can start it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedImage {
    /// Which image.
    pub id: ImageId,
    /// Where it is, in the provider's own words: a path, an AMI, an image of Glance.
    pub locator: String,
}

/// A volume where a provider can attach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedVolume {
    /// Which volume.
    pub id: VolumeId,
    /// Where it is, in the provider's own words: a path, an EBS volume.
    pub locator: String,
}

/// A volume at a place in an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The volume.
    pub volume: StagedVolume,
    /// The directory in the guest.
    pub mount_point: String,
    /// Whether the guest may only read.
    pub read_only: bool,
}
