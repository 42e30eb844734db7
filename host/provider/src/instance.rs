// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An instance as a provider sees it: what it shall be, and what it is.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Attachment, InstanceId, StagedImage};

/// The transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// A port of the host that leads into an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Port {
    /// The address of the host that listens.
    pub host_address: IpAddr,
    /// The port there.
    pub host: u16,
    /// The port in the guest.
    pub guest: u16,
    /// Its transport.
    pub protocol: Protocol,
}

/// How an instance is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Network {
    /// What the provider does when nothing is said. On this machine that never changes how the
    /// machine's own network works.
    #[default]
    Default,
    /// No network.
    None,
    /// A tap device of the host that exists already.
    Tap {
        /// Its name.
        device: String,
    },
    /// A bridge of the host.
    Bridge {
        /// Its name.
        bridge: String,
    },
}

/// Everything that makes one instance. It is given whole at each start, because volumes may
/// have been attached or detached while the instance was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Who it is.
    pub id: InstanceId,
    /// Its name for people.
    pub name: String,
    /// What it runs.
    pub image: StagedImage,
    /// Arguments of the program instead of the image's; `None` leaves those.
    pub args: Option<Vec<String>>,
    /// Environment, on top of the image's.
    pub env: Vec<(String, String)>,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// Ports of the host that lead into it.
    pub ports: Vec<Port>,
    /// Volumes, in the order of their disks.
    pub volumes: Vec<Attachment>,
    /// How it is connected.
    pub network: Network,
    /// Wait for a debugger on this TCP port of loopback before the first instruction.
    pub debug_port: Option<u16>,
}

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there and was never started.
    Created,
    /// It runs.
    Running,
    /// It is held, its memory kept.
    Paused,
    /// It has ended.
    Stopped,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Ended {
    /// The program's own status: 0-255, 128+n when signal n killed it.
    Exited {
        /// The status.
        code: u8,
    },
    /// The kernel panicked.
    Panicked {
        /// What it said.
        message: String,
    },
    /// It was ended from outside, by us or by somebody else.
    Killed,
    /// It ended and did not say how.
    Lost {
        /// What the hypervisor said.
        message: String,
    },
}

/// An instance as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Where it can be reached, once that is known. Behind ports of the host it is the
    /// address of the host.
    pub address: Option<IpAddr>,
    /// How it ended, when it was started and has ended.
    pub ended: Option<Ended>,
    /// Why its program could not run or was ended, in the words of the guest's kernel.
    pub reason: Option<String>,
    /// When it was last started.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
}

/// What an instance uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time since its start, in nanoseconds, of all processors together.
    pub cpu_time_ns: u64,
    /// Memory of the host in bytes.
    pub memory_bytes: u64,
    /// Bytes received, when known.
    pub network_received_bytes: Option<u64>,
    /// Bytes sent, when known.
    pub network_sent_bytes: Option<u64>,
}
