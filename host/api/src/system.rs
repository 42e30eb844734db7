// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon itself, its providers, its tokens.

use serde::{Deserialize, Serialize};

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pong {
    /// The daemon's version.
    pub version: String,
    /// Versions of this interface that it speaks.
    pub api: Vec<String>,
}

/// What a daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Info {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Where its state lies.
    pub directory: String,
    /// The provider that is used when none is named.
    pub default_provider: String,
    /// How many images there are.
    pub images: u64,
    /// How many instances there are.
    pub instances: u64,
    /// How many of them run.
    pub running: u64,
    /// How many volumes there are.
    pub volumes: u64,
    /// When it was started.
    pub started: String,
    /// What the caller may do.
    pub role: Role,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Provider {
    /// Its name in commands.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Whether it works here.
    pub ready: bool,
    /// Whether there is a provider at all yet.
    pub available: bool,
    /// What was found, or what is missing.
    pub status: String,
    /// What it needs.
    pub needs: String,
    /// How to get what is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// What it can do, in words: ports, pause, snapshot, debug, console, volumes, host-network.
    pub capabilities: Vec<String>,
}

/// A language that can be built, for a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Compiler {
    /// `bhojpur-LANGUAGE-PROVIDER`, the form of the ancestor.
    pub name: String,
    /// The language.
    pub language: String,
    /// The provider.
    pub provider: String,
    /// Whether it can be used on this machine.
    pub ready: bool,
    /// What it does and needs.
    pub description: String,
}

/// What a token allows. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Build, run, stop, remove.
    Operate,
    /// Tokens as well.
    Admin,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Token {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created: String,
}

/// Asks for a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name.
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    )]
    pub name: String,
    /// What it shall allow.
    pub role: Role,
}

/// A new token, the only time that its secret is shown.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// What a client sends as `Authorization: Bearer SECRET`.
    pub secret: String,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
