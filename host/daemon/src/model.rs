// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images, instances and volumes as the daemon thinks of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bhojpur_provider::{ImageId, InstanceId, Kind, Network, Port, VolumeId};
use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::clock::Timestamp;

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) id: ImageId,
    pub(crate) names: Vec<String>,
    pub(crate) about: About,
    pub(crate) size: u64,
    pub(crate) created: Timestamp,
    /// Providers that have it, and where.
    pub(crate) staged: Vec<(Kind, String)>,
}

/// What an image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) language: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) ports: Vec<Exposed>,
    pub(crate) least_memory_mib: u64,
    pub(crate) usual_memory_mib: u64,
    #[serde(default)]
    pub(crate) usual_cpus: Option<u32>,
}

/// A port on which a program listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Exposed {
    pub(crate) guest: u16,
    pub(crate) udp: bool,
}

/// What an instance is doing. The states that end in "ing" but for [`Phase::Running`] are
/// intents: they are in the database before anything happens, so that whoever comes after a
/// crash knows what to finish or undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    Creating,
    Created,
    Starting,
    Running,
    Paused,
    Stopping,
    Restarting,
    Stopped,
    Error,
    Deleting,
}

impl Phase {
    pub(crate) const ALL: [Self; 10] = [
        Self::Creating,
        Self::Created,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Restarting,
        Self::Stopped,
        Self::Error,
        Self::Deleting,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Deleting => "deleting",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// Whether a monitor of it may run.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused | Self::Stopping)
    }

    /// Whether it asks nothing of the daemon.
    pub(crate) fn is_at_rest(self) -> bool {
        matches!(self, Self::Created | Self::Stopped | Self::Error)
    }
}

/// When an instance that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Restart {
    #[default]
    No,
    /// On another status than 0, this many times in a row; without limit when 0.
    OnFailure(u32),
    Always,
}

/// How health is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Probe {
    Tcp { port: u16 },
    Http { port: u16, path: String },
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) probe: Probe,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) start_period: Duration,
    pub(crate) restart: bool,
}

/// What a health check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

impl Health {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What a person wants an instance to be; it does not change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) args: Option<Vec<String>>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) memory_mib: u64,
    pub(crate) cpus: u32,
    pub(crate) ports: Vec<Port>,
    pub(crate) network: Network,
    pub(crate) restart: Restart,
    pub(crate) health: Option<Check>,
    pub(crate) remove: bool,
    pub(crate) debug_port: Option<u16>,
    pub(crate) stop_grace: Option<Duration>,
}

/// A volume in an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) volume: VolumeId,
    pub(crate) name: String,
    pub(crate) mount_point: String,
    pub(crate) read_only: bool,
}

/// Where an instance is in its life. All of it is in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    pub(crate) phase: Phase,
    /// A person ended it: its policy does not apply.
    pub(crate) by_user: bool,
    /// A person restarts it: it is started as soon as it has ended.
    pub(crate) again: bool,
    /// It is being started from a snapshot.
    pub(crate) restoring: bool,
    /// When it is ended that is being asked to end.
    pub(crate) stop_by: Option<Timestamp>,
    pub(crate) exit_code: Option<u8>,
    pub(crate) error: Option<String>,
    pub(crate) restarts: u32,
    /// Ends in a row, as the policy counts them.
    pub(crate) streak: u32,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
}

impl Situation {
    /// About to be made.
    pub(crate) fn creating() -> Self {
        Self {
            phase: Phase::Creating,
            by_user: false,
            again: false,
            restoring: false,
            stop_by: None,
            exit_code: None,
            error: None,
            restarts: 0,
            streak: 0,
            started: None,
            ended: None,
        }
    }
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) name: String,
    pub(crate) image: ImageId,
    /// The image as it was asked for.
    pub(crate) image_name: String,
    pub(crate) provider: Kind,
    pub(crate) spec: Spec,
    pub(crate) env: Secret<Vec<(String, String)>>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) created: Timestamp,
    pub(crate) now: Situation,
    /// Where it can be reached; found out while it runs.
    pub(crate) address: Option<std::net::IpAddr>,
    /// What the health check found in this run.
    pub(crate) health: Option<Health>,
}

/// Where a volume is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VolumePhase {
    Creating,
    Ready,
    Deleting,
}

impl VolumePhase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Deleting => "deleting",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Creating, Self::Ready, Self::Deleting].into_iter().find(|phase| phase.name() == name)
    }
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) id: VolumeId,
    pub(crate) name: String,
    pub(crate) provider: Kind,
    /// Where the provider has it; empty while it is being made.
    pub(crate) locator: String,
    pub(crate) size: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) phase: VolumePhase,
    pub(crate) created: Timestamp,
    pub(crate) attachments: Vec<Attached>,
}

/// Where a volume is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) instance: InstanceId,
    pub(crate) instance_name: String,
    pub(crate) mount_point: String,
    pub(crate) read_only: bool,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Image,
    Instance,
    Volume,
    Daemon,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Instance => "instance",
            Self::Volume => "volume",
            Self::Daemon => "daemon",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Image, Self::Instance, Self::Volume, Self::Daemon]
            .into_iter()
            .find(|subject| subject.name() == name)
    }
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) time: Timestamp,
    pub(crate) subject: Subject,
    pub(crate) subject_id: String,
    pub(crate) name: String,
    pub(crate) action: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// What a token allows; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Read,
    Operate,
    Admin,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::Operate, Self::Admin].into_iter().find(|role| role.name() == name)
    }
}

/// A token; of its secret only the digest is kept.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) digest: Secret<[u8; 32]>,
    pub(crate) created: Timestamp,
}

/// A saved instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) size: u64,
}

/// Where a snapshot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotPhase {
    Saving {
        /// The instance ran before, and goes on afterwards.
        resume: bool,
    },
    Ready,
    Deleting,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_have_names_that_lead_back() {
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.name()), Some(phase));
            assert!(!(phase.is_live() && phase.is_at_rest()));
        }
        assert_eq!(Phase::parse("asleep"), None);
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
    }
}
