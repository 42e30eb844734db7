// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bodies of Firecracker's API, as `src/firecracker/swagger/firecracker.yaml` of version 1.17
//! defines them. Only what we send is here; what has a default and is not wanted is left out,
//! so that versions from 1.1 on understand us.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `PUT /boot-source`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSource {
    /// The kernel.
    pub kernel_image_path: String,
    /// Its command line.
    pub boot_args: String,
}

/// `PUT` and `GET /machine-config`. There is no CPU template: those are for Intel's and AMD's
/// own models, and are refused on others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfiguration {
    /// Virtual processors, 1 to 32.
    pub vcpu_count: u8,
    /// Memory in MiB.
    pub mem_size_mib: u64,
}

/// When the guest's flushes go to the disk of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheType {
    /// Never.
    Unsafe,
    /// At each flush.
    Writeback,
}

/// `PUT /drives/{drive_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// Letters, digits, underscores.
    pub drive_id: String,
    /// The disk.
    pub path_on_host: String,
    /// Whether `root=` is added to the command line.
    pub is_root_device: bool,
    /// Whether the guest may only read.
    pub is_read_only: bool,
    /// What a flush means.
    pub cache_type: CacheType,
}

/// `PUT /network-interfaces/{iface_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// Letters, digits, underscores.
    pub iface_id: String,
    /// The tap device.
    pub host_dev_name: String,
    /// The guest's hardware address.
    pub guest_mac: String,
}

/// `PUT /mmds/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataConfiguration {
    /// `V2`: with session tokens.
    pub version: String,
    /// The interfaces on which it answers.
    pub network_interfaces: Vec<String>,
    /// The address at which it answers.
    pub ipv4_address: String,
}

/// `PUT /mmds`: the store itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The document that the guest asks for.
    pub bhojpur: Document,
}

/// What the guest's kernel reads from the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Arguments behind the program's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Environment on top of the image's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// `PUT /entropy`: a virtio-rng without limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entropy {}

/// What [`Action`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionType {
    /// Starts the machine.
    InstanceStart,
    /// Presses three keys.
    SendCtrlAltDel,
}

/// `PUT /actions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Which one.
    pub action_type: ActionType,
}

/// What [`Vm`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmState {
    /// Hold.
    Paused,
    /// Go on.
    Resumed,
}

/// `PATCH /vm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// What it shall do.
    pub state: VmState,
}

/// `PUT /snapshot/create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// Processors and devices.
    pub snapshot_path: String,
    /// The memory.
    pub mem_file_path: String,
}

/// Where a snapshot's memory comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryBackend {
    /// The file.
    pub backend_path: String,
    /// `File`.
    pub backend_type: String,
}

/// A tap device with another name than the one in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkOverride {
    /// The interface.
    pub iface_id: String,
    /// Its tap device now.
    pub host_dev_name: String,
}

/// `PUT /snapshot/load`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotLoad {
    /// Processors and devices.
    pub snapshot_path: String,
    /// The memory. It is mapped, so the file has to stay while the machine runs.
    pub mem_backend: MemoryBackend,
    /// Whether it runs at once.
    pub resume_vm: bool,
    /// Tap devices that have other names now; Firecracker 1.12 and later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_overrides: Vec<NetworkOverride>,
}

/// The answer of `GET /`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceInfo {
    /// What was given as `--id`.
    pub id: String,
    /// `Not started`, `Running` or `Paused`.
    pub state: String,
    /// The version.
    pub vmm_version: String,
    /// `Firecracker`.
    pub app_name: String,
}

/// What comes with a status of 400 and more.
#[derive(Clone, Debug, Deserialize)]
pub struct Fault {
    /// What is wrong.
    pub fault_message: String,
}
