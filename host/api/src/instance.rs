// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads into an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The address of the host that listens; loopback unless told.
    #[serde(default = "loopback")]
    pub host_address: String,
    /// The port of the host; 0 in a request: one that is free.
    pub host: u16,
    /// The port in the guest.
    pub guest: u16,
    /// The transport.
    #[serde(default)]
    pub protocol: Protocol,
}

fn loopback() -> String {
    "127.0.0.1".to_owned()
}

/// A volume in an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Name or id of the volume.
    pub volume: String,
    /// The directory in the guest.
    pub mount_point: String,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
}

/// When an instance that ended is started again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", tag = "name", deny_unknown_fields)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its status is not 0.
    OnFailure {
        /// How many times in a row; without limit when 0.
        #[serde(default)]
        max_retries: u32,
    },
    /// Whenever it was not stopped by a person.
    Always,
}

/// How health is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase", tag = "type", deny_unknown_fields)]
pub enum Probe {
    /// A connection to this port of the guest succeeds. Through a port that QEMU's user network
    /// publishes, a refusal is noticed, but not that the guest hangs.
    Tcp {
        /// The port in the guest.
        port: u16,
    },
    /// A GET is answered with 200 to 399.
    Http {
        /// The port in the guest.
        port: u16,
        /// The path; `/` unless told.
        #[serde(default)]
        path: String,
    },
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// How it is asked.
    pub probe: Probe,
    /// Time between two questions.
    #[serde(default = "ten_seconds")]
    pub interval_ms: u64,
    /// How long an answer may take.
    #[serde(default = "two_seconds")]
    pub timeout_ms: u64,
    /// Failures in a row that make it unhealthy.
    #[serde(default = "three")]
    pub retries: u32,
    /// Failures in this time after the start do not count.
    #[serde(default = "ten_seconds")]
    pub start_period_ms: u64,
    /// Whether the restart policy applies to an instance that became unhealthy.
    #[serde(default)]
    pub restart: bool,
}

fn ten_seconds() -> u64 {
    10_000
}

fn two_seconds() -> u64 {
    2000
}

fn three() -> u32 {
    3
}

/// What a health check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not known yet.
    Starting,
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// How an instance is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase", tag = "mode", deny_unknown_fields)]
pub enum Network {
    /// What the provider does when nothing is said.
    #[default]
    Default,
    /// Not at all.
    None,
    /// A tap device that exists.
    Tap {
        /// Its name.
        device: String,
    },
    /// A bridge that exists.
    Bridge {
        /// Its name.
        bridge: String,
    },
}

/// Asks for an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RunRequest {
    /// Name or id of the image.
    #[cfg_attr(feature = "schema", schema(min_length = 1))]
    pub image: String,
    /// A name of its own; one is made up when empty.
    pub name: String,
    /// The provider; the one that has the image when empty.
    pub provider: String,
    /// Arguments after the program's name, instead of the image's.
    pub args: Option<Vec<String>>,
    /// Environment on top of the image's.
    pub env: BTreeMap<String, String>,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// Memory; what the image needs when absent.
    pub memory_mib: Option<u64>,
    /// Virtual processors; 1 when absent.
    pub cpus: Option<u32>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Lead a free port of the host into each port on which the image listens and that no other
    /// leads into.
    pub publish_all: bool,
    /// Volumes.
    pub volumes: Vec<Mount>,
    /// The network.
    pub network: Network,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Whether it is asked how it is.
    pub health: Option<HealthCheck>,
    /// Remove it when it ends.
    pub remove: bool,
    /// Make it and do not start it.
    pub create_only: bool,
    /// Wait for a debugger on this port of the daemon's loopback.
    pub debug_port: Option<u16>,
    /// Time between asking it to stop and ending it.
    pub stop_grace_s: Option<u64>,
}

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Being made.
    Creating,
    /// Made, never started.
    Created,
    /// Being started.
    Starting,
    /// Running.
    Running,
    /// Held.
    Paused,
    /// Being stopped.
    Stopping,
    /// Ended, and about to be started again: by its policy, or because it is restarted.
    Restarting,
    /// Ended.
    Stopped,
    /// Could not be made, started or ended; `error` says why.
    Error,
    /// Being removed.
    Deleting,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image's name as it was asked for, or its id.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The provider.
    pub provider: String,
    /// What it is doing.
    pub state: InstanceState,
    /// How it ended: 0-255, 128+n for signal n.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Why it is in error, how it ended without a status, or what the kernel in it said about the
    /// end of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the health check found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// When it was made.
    pub created: String,
    /// When it was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How often its policy has started it again.
    pub restarts: u32,
    /// Arguments instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Names of the environment on top of the image's. Values are secrets more often than not
    /// and do not come back.
    pub env_names: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its memory.
    pub memory_mib: u64,
    /// Its processors.
    pub cpus: u32,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Its volumes.
    pub volumes: Vec<Mount>,
    /// Its network.
    pub network: Network,
    /// Its policy.
    pub restart: RestartPolicy,
    /// Its health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// Gives an instance another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// The name.
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    )]
    pub name: String,
}

/// What an instance uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Stats {
    /// When this was measured.
    pub time: String,
    /// Processors busy since the measurement before, 1.0 is one of them all the time.
    pub cpu: f64,
    /// Processor time since the start.
    pub cpu_time_ns: u64,
    /// Memory of the host.
    pub memory_bytes: u64,
    /// What it may use.
    pub memory_limit_bytes: u64,
    /// Bytes received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_received_bytes: Option<u64>,
    /// Bytes sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_sent_bytes: Option<u64>,
}

/// Asks for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Its name.
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    )]
    pub name: String,
}

/// A saved instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was saved.
    pub created: String,
    /// What it takes on disk.
    pub size_bytes: u64,
}
