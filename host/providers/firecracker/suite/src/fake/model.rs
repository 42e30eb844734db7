// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bodies of requests, with every field that the real one has and no other.
//!
//! Written from Firecracker's own definitions, not from what the provider sends, so that the
//! two are checked against each other.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! body {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    };
}

body!(
    /// `PUT /boot-source`.
    BootSource {
        /// Opened at once.
        kernel_image_path: String,
        /// Opened at once.
        initrd_path: Option<String>,
        /// Checked at once.
        boot_args: Option<String>,
    }
);

/// CPU templates; all but `None` are refused at the start on a CPU that they were not made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum CpuTemplate {
    C3,
    T2,
    T2S,
    T2CL,
    T2A,
    V1N1,
    None,
}

/// Pages of the host under a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum HugePages {
    #[default]
    None,
    Transparent,
    #[serde(rename = "2M")]
    Hugetlbfs2M,
}

body!(
    /// `PUT /machine-config`.
    MachineConfig {
        /// 1 to 32.
        vcpu_count: u8,
        /// Not 0.
        mem_size_mib: usize,
        /// Hyper-threads.
        #[serde(default)]
        smt: bool,
        /// Deprecated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cpu_template: Option<CpuTemplate>,
        /// For diff snapshots.
        #[serde(default)]
        track_dirty_pages: bool,
        /// The host's pages.
        #[serde(default)]
        huge_pages: HugePages,
    }
);

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            vcpu_count: 1,
            mem_size_mib: 128,
            smt: false,
            cpu_template: None,
            track_dirty_pages: false,
            huge_pages: HugePages::None,
        }
    }
}

/// What a flush means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum CacheType {
    #[default]
    Unsafe,
    Writeback,
}

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum IoEngine {
    Sync,
    Async,
}

body!(
    /// `PUT /drives/{id}`.
    Drive {
        /// Equal to the one in the path.
        drive_id: String,
        /// Of the root device.
        partuuid: Option<String>,
        /// Whether `root=` is added.
        is_root_device: bool,
        /// What a flush means.
        #[serde(default)]
        cache_type: CacheType,
        /// Opened so.
        is_read_only: Option<bool>,
        /// The file.
        path_on_host: Option<String>,
        /// Limits.
        rate_limiter: Option<Value>,
        /// How it is read.
        io_engine: Option<IoEngine>,
        /// vhost-user.
        socket: Option<String>,
    }
);

body!(
    /// `PUT /network-interfaces/{id}`.
    NetworkInterface {
        /// Equal to the one in the path.
        iface_id: String,
        /// The tap device.
        host_dev_name: String,
        /// Hardware address.
        guest_mac: Option<String>,
        /// Largest packet.
        mtu: Option<u16>,
        /// Limits.
        rx_rate_limiter: Option<Value>,
        /// Limits.
        tx_rate_limiter: Option<Value>,
    }
);

/// Versions of the metadata service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum MmdsVersion {
    #[default]
    V1,
    V2,
}

body!(
    /// `PUT /mmds/config`.
    MmdsConfig {
        /// With tokens or without.
        #[serde(default)]
        version: MmdsVersion,
        /// Interfaces on which it answers.
        network_interfaces: Vec<String>,
        /// Its address.
        ipv4_address: Option<Ipv4Addr>,
        /// EC2's ways.
        #[serde(default)]
        imds_compat: bool,
    }
);

body!(
    /// `PUT /entropy`.
    Entropy {
        /// Limits.
        rate_limiter: Option<Value>,
    }
);

body!(
    /// `PUT /serial`.
    Serial {
        /// Instead of standard output.
        serial_out_path: Option<PathBuf>,
        /// Limits.
        rate_limiter: Option<Value>,
    }
);

body!(
    /// `PUT /logger`.
    Logger {
        /// A file or FIFO.
        log_path: Option<PathBuf>,
        /// How much.
        level: Option<String>,
        /// Shown.
        show_level: Option<bool>,
        /// Shown.
        show_log_origin: Option<bool>,
        /// Only this one.
        module: Option<String>,
    }
);

/// Actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ActionType {
    FlushMetrics,
    InstanceStart,
    SendCtrlAltDel,
}

body!(
    /// `PUT /actions`.
    Action {
        /// Which one.
        action_type: ActionType,
    }
);

/// States that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum VmState {
    Paused,
    Resumed,
}

body!(
    /// `PATCH /vm`.
    Vm {
        /// Which one.
        state: VmState,
    }
);

/// Kinds of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum SnapshotType {
    Diff,
    #[default]
    Full,
}

body!(
    /// `PUT /snapshot/create`.
    SnapshotCreate {
        /// Everything or what changed.
        #[serde(default)]
        snapshot_type: SnapshotType,
        /// The state.
        snapshot_path: PathBuf,
        /// The memory.
        mem_file_path: PathBuf,
    }
);

/// Where memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum BackendType {
    File,
    Uffd,
}

body!(
    /// Where memory comes from.
    MemoryBackend {
        /// A file or socket.
        backend_path: PathBuf,
        /// Which of them.
        backend_type: BackendType,
    }
);

/// Another tap device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NetworkOverride {
    /// The interface.
    pub iface_id: String,
    /// Its device.
    pub host_dev_name: String,
}

body!(
    /// `PUT /snapshot/load`.
    SnapshotLoad {
        /// The state.
        snapshot_path: PathBuf,
        /// Deprecated.
        mem_file_path: Option<PathBuf>,
        /// The memory.
        mem_backend: Option<MemoryBackend>,
        /// Deprecated.
        #[serde(default)]
        enable_diff_snapshots: bool,
        /// For diff snapshots.
        #[serde(default)]
        track_dirty_pages: bool,
        /// Whether it runs at once.
        #[serde(default)]
        resume_vm: bool,
        /// Other tap devices.
        #[serde(default)]
        network_overrides: Vec<NetworkOverride>,
        /// Another socket.
        vsock_override: Option<Value>,
        /// Moves the clock on.
        #[serde(default)]
        clock_realtime: bool,
        /// The host's pages.
        #[serde(default)]
        huge_pages: Option<String>,
    }
);
