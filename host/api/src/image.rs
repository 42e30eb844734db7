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
    /// Ports that the project file names.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Size of the ELF.
    pub size_bytes: u64,
    /// Without this much memory it does not start.
    pub least_memory_mib: u64,
    /// What an instance gets when nobody says.
    pub usual_memory_mib: u64,
    /// When it was made here.
    pub created: String,
    /// Providers that have it.
    pub staged: Vec<StagedAt>,
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

/// Gives an image another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TagRequest {
    /// `NAME[:TAG]`.
    pub name: String,
}
