// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images.

use serde::{Deserialize, Serialize};

/// An image: one bootable ELF and the names that it goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Image {
    /// The SHA-256 digest of the ELF.
    pub id: String,
    /// `NAME:TAG`, none or several.
    pub names: Vec<String>,
    /// What it was made from: `go`, `binary`, ...
    pub language: String,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Its environment, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Where the program listens, as its project file says.
    #[serde(default)]
    pub ports: Vec<ExposedPort>,
    /// Size of the ELF.
    pub size_bytes: u64,
    /// Without this much memory it does not start.
    pub least_memory_mib: u64,
    /// What an instance gets when nobody says.
    pub usual_memory_mib: u64,
    /// How many processors an instance gets when nobody says.
    #[serde(default = "one")]
    pub usual_cpus: u32,
    /// When it was made here.
    pub created: String,
    /// Providers that have it.
    pub staged: Vec<StagedAt>,
}

fn one() -> u32 {
    1
}

/// A port of the guest on which a program listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExposedPort {
    /// The port in the guest.
    pub guest: u16,
    /// The transport.
    #[serde(default)]
    pub protocol: crate::Protocol,
}

/// Where an image is staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StagedAt {
    /// The provider's name.
    pub provider: String,
    /// Where, in the provider's words.
    pub locator: String,
}

/// What a build wants beside its context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, utoipa::IntoParams))]
#[serde(default, deny_unknown_fields)]
pub struct BuildQuery {
    /// `NAME[:TAG]`.
    pub name: String,
    /// The directory in the context that holds the program; the context itself when empty.
    pub path: String,
    /// Found out from the files when empty.
    pub language: String,
    /// The provider for which it is staged; the daemon's default when empty.
    pub provider: String,
    /// Arguments of the program, as a JSON array of strings.
    pub args: String,
    /// Environment of the program, as a JSON array of `NAME=VALUE`.
    pub env: String,
    /// Files of the context to include, as a JSON array of `CONTEXT:GUEST`.
    pub include: String,
    /// What is mounted when it starts, as a JSON array of `SOURCE:GUEST`: `tmpfs`, a device,
    /// `LABEL=x` or `UUID=x`.
    pub mounts: String,
    /// Where the program listens, as a JSON array of `PORT[/udp]`.
    pub ports: String,
    /// Memory of an instance when nobody says; what the image needs when absent.
    pub memory_mib: Option<u64>,
    /// Processors of an instance when nobody says; 1 when absent.
    pub cpus: Option<u32>,
    /// Flags for the language's build command, as a JSON array of strings.
    pub flags: String,
    /// Take the name away from another image.
    pub force: bool,
}

/// What an import wants beside the ELF.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema, utoipa::IntoParams))]
#[serde(default, deny_unknown_fields)]
pub struct ImportQuery {
    /// `NAME[:TAG]`.
    pub name: String,
    /// The provider for which it is staged; the daemon's default when empty.
    pub provider: String,
    /// Take the name away from another image.
    pub force: bool,
}

/// What a build says while it goes on; the last one is `Done` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum BuildEvent {
    /// A step begins.
    Step {
        /// What it does.
        title: String,
    },
    /// A line of a tool, or a warning.
    Output {
        /// The line.
        line: String,
    },
    /// A transfer goes on.
    Progress {
        /// What is transferred.
        what: String,
        /// Bytes that are through.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The image is there.
    Done {
        /// It.
        image: Box<Image>,
    },
    /// There is no image.
    Failed {
        /// Why.
        error: crate::ErrorBody,
    },
}

/// What went when a name of an image, or the image, was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ImageRemoval {
    /// The names that lead to no image any more.
    pub untagged: Vec<String>,
    /// The id of the image, when it went itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
    /// The instances that were ended and removed for it.
    pub instances: Vec<String>,
}

/// Gives an image another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TagRequest {
    /// `NAME[:TAG]`.
    #[cfg_attr(feature = "schema", schema(min_length = 1, max_length = 256))]
    pub name: String,
}
