// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a provider can do, and whether it can do it here.

use serde::{Deserialize, Serialize};

/// What a provider can do. The daemon refuses the rest with one error, before anything is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Ports of this machine can lead into an instance.
    pub ports: bool,
    /// Instances can be paused and resumed.
    pub pause: bool,
    /// The state of an instance can be saved to disk, and continued from there.
    pub snapshot: bool,
    /// A debugger can be attached.
    pub debug: bool,
    /// Programs can read what a person types.
    pub console: bool,
    /// Volumes can be attached.
    pub volumes: bool,
    /// Instances can be put on a tap device or a bridge of the host.
    pub host_network: bool,
}

/// Whether a provider works on this machine, found out by looking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Readiness {
    /// It works.
    Ready {
        /// What was found: version, and what executes guests.
        found: String,
    },
    /// Something is missing.
    Missing {
        /// What, and why it is needed.
        reason: String,
        /// How to get it: a command where there is one.
        advice: String,
    },
}
