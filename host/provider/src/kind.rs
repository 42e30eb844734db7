// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ten kinds of providers, as data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A hypervisor or cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// QEMU on this machine.
    Qemu,
    /// Firecracker on this machine.
    Firecracker,
    /// ukvm, today `solo5-hvt`, on this machine.
    Ukvm,
    /// Xen, from its control domain.
    Xen,
    /// Oracle VirtualBox on this machine.
    VirtualBox,
    /// Amazon EC2.
    Aws,
    /// Google Compute Engine.
    GCloud,
    /// VMware vSphere.
    Vsphere,
    /// OpenStack.
    OpenStack,
    /// VMware Photon Controller.
    Photon,
}

/// How far a kind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// There is a provider for it.
    Available,
    /// Its place is kept.
    Planned,
}

struct Row {
    kind: Kind,
    name: &'static str,
    title: &'static str,
    stage: Stage,
    needs: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        kind: Kind::Qemu,
        name: "qemu",
        title: "QEMU",
        stage: Stage::Available,
        needs: "qemu-system-x86_64 in the path; /dev/kvm makes it fast",
    },
    Row {
        kind: Kind::Firecracker,
        name: "firecracker",
        title: "Firecracker",
        stage: Stage::Available,
        needs: "firecracker in the path or in FIRECRACKER, /dev/kvm, and the right to make tap devices",
    },
    Row {
        kind: Kind::Ukvm,
        name: "ukvm",
        title: "ukvm (solo5-hvt)",
        stage: Stage::Planned,
        needs: "solo5-hvt in the path and /dev/kvm",
    },
    Row {
        kind: Kind::Xen,
        name: "xen",
        title: "Xen",
        stage: Stage::Planned,
        needs: "to run in the control domain of Xen 4.17 or later, with xl in the path",
    },
    Row {
        kind: Kind::VirtualBox,
        name: "virtualbox",
        title: "VirtualBox",
        stage: Stage::Planned,
        needs: "VBoxManage in the path",
    },
    Row {
        kind: Kind::Aws,
        name: "aws",
        title: "Amazon EC2",
        stage: Stage::Planned,
        needs: "credentials, a region and a zone",
    },
    Row {
        kind: Kind::GCloud,
        name: "gcloud",
        title: "Google Compute Engine",
        stage: Stage::Planned,
        needs: "application default credentials, a project and a zone",
    },
    Row {
        kind: Kind::Vsphere,
        name: "vsphere",
        title: "VMware vSphere",
        stage: Stage::Planned,
        needs: "the address of a vCenter or ESXi, a user, a datastore and a network",
    },
    Row {
        kind: Kind::OpenStack,
        name: "openstack",
        title: "OpenStack",
        stage: Stage::Planned,
        needs: "the OS_* variables of a project, with Glance and Nova",
    },
    Row {
        kind: Kind::Photon,
        name: "photon",
        title: "Photon Controller",
        stage: Stage::Planned,
        needs: "the address of a Photon Controller and a project",
    },
];

impl Kind {
    /// All ten, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.kind)
    }

    fn row(self) -> &'static Row {
        // Each kind has a row: the test below holds that.
        ROWS.iter().find(|row| row.kind == self).unwrap_or(&ROWS[0])
    }

    /// Its name in commands, configuration files and addresses.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// Whether there is a provider for it yet.
    #[must_use]
    pub fn stage(self) -> Stage {
        self.row().stage
    }

    /// What has to be there before it works.
    #[must_use]
    pub fn needs(self) -> &'static str {
        self.row().needs
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no provider {word:?}; providers are {names}", word = .0, names = names())]
pub struct ParseKindError(pub String);

fn names() -> String {
    Kind::all().map(Kind::name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseKindError> {
        Self::all()
            .find(|kind| kind.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| ParseKindError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_and_its_serde_name() {
        assert_eq!(Kind::all().count(), 10);
        for kind in Kind::all() {
            assert_eq!(kind.row().kind, kind);
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert!("vmware".parse::<Kind>().unwrap_err().to_string().contains("vsphere"));
    }
}
