// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest as Firecracker is told of it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The tap device of all guests, and the addresses at its two ends.
pub(super) const TAP: &str = "tap0";
/// The tap device of a second network card.
pub(super) const SPARE_TAP: &str = "tap1";
pub(super) const HOST: &str = "172.16.0.1";
pub(super) const GUEST: &str = "172.16.0.2";

/// A machine and its command line.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) image: &'static str,
    pub(super) arguments: &'static str,
    pub(super) cpus: u32,
    pub(super) memory_mib: u32,
    /// How often its disk is there, under other names.
    pub(super) disks: u32,
    /// A second network card, which nothing is connected to.
    pub(super) spare_network: bool,
    pub(super) network: bool,
    /// Its disk, a file of the job.
    pub(super) disk: Option<Disk>,
    /// Devices are on a PCI bus instead of in MMIO slots.
    pub(super) pci: bool,
    pub(super) metadata: Option<Value>,
}

/// A disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    pub(super) file: &'static str,
    pub(super) read_only: bool,
}

impl Guest {
    pub(super) const fn new(image: &'static str, arguments: &'static str) -> Self {
        Self {
            image,
            arguments,
            cpus: 1,
            memory_mib: 128,
            disks: 1,
            spare_network: false,
            network: false,
            disk: None,
            pci: false,
            metadata: None,
        }
    }

    /// The configuration file.
    pub(super) fn configuration(&self) -> String {
        let mut line = "bhojpur.control=serial bhojpur.log=info".to_owned();
        let mut configuration = json!({
            "machine-config": {"vcpu_count": self.cpus, "mem_size_mib": self.memory_mib},
            "drives": [],
            "entropy": {},
        });
        if self.network {
            line += &format!(" ip={GUEST}::{HOST}:255.255.255.0::eth0:off");
            configuration["network-interfaces"] = json!([{"iface_id": "eth0", "host_dev_name": TAP, "guest_mac": "06:00:ac:10:00:02"}]);
            if let (true, Some(cards)) =
                (self.spare_network, configuration["network-interfaces"].as_array_mut())
            {
                cards.push(json!({"iface_id": "eth1", "host_dev_name": SPARE_TAP, "guest_mac": "06:00:ac:10:01:02"}));
            }
        }
        if self.metadata.is_some() {
            line += " bhojpur.mmds";
            configuration["mmds-config"] = json!({"version": "V2", "network_interfaces": ["eth0"]});
        }
        if let Some(Disk { file, read_only }) = self.disk {
            let drive = |number| {
                json!({
                    "drive_id": format!("data{number}"), "path_on_host": file,
                    "is_root_device": false, "is_read_only": read_only,
                })
            };
            configuration["drives"] = (0..self.disks).map(drive).collect();
        }
        let line = format!("{line} {}", self.arguments);
        configuration["boot-source"] = json!({"kernel_image_path": self.image, "boot_args": line});
        format!("{configuration:#}\n")
    }
}

/// The note that leads to the PVH entry: owner, sizes, XEN_ELFNOTE_PHYS32_ENTRY.
const NOTE: [u8; 16] = *b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0";
const NOTE_TYPE: usize = 8;

/// Where the image's note has the address of the PVH entry.
pub(crate) fn pvh_note(image: &[u8]) -> Result<usize> {
    let at = image.windows(NOTE.len()).position(|window| window == NOTE);
    Ok(at.context("the image has no PVH note")? + NOTE.len())
}

/// The image without the note, so that it is entered as Linux's 64-bit kernels are.
pub(super) fn without_pvh(image: &[u8]) -> Result<Vec<u8>> {
    let at = pvh_note(image)? - NOTE.len();
    let mut changed = image.to_vec();
    changed[at + NOTE_TYPE] = 0x7f;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::{Disk, Guest, NOTE, without_pvh};
    use serde_json::{Value, json};

    #[test]
    fn the_note_alone_is_changed() {
        let image = [b"before", &NOTE[..], b"behind"].concat();
        let changed = without_pvh(&image).unwrap();
        let differ = image.iter().zip(&changed).filter(|(a, b)| a != b).count();
        assert_eq!((differ, changed.len()), (1, image.len()));
        assert!(without_pvh(&changed).is_err());
    }

    #[test]
    fn a_configuration_has_what_was_asked_for() {
        let parsed =
            |guest: &Guest| -> Value { serde_json::from_str(&guest.configuration()).unwrap() };
        let plain = parsed(&Guest::new("a.elf", "-- exit 1"));
        assert_eq!(
            plain["boot-source"]["boot_args"],
            "bhojpur.control=serial bhojpur.log=info -- exit 1"
        );
        assert!(plain.get("network-interfaces").is_none());
        let all = Guest {
            cpus: 4,
            network: true,
            disk: Some(Disk { file: "disk", read_only: true }),
            metadata: Some(json!({})),
            ..Guest::new("a.elf", "")
        };
        let full = parsed(&all);
        assert_eq!(full["machine-config"]["vcpu_count"], 4);
        assert_eq!(full["mmds-config"]["version"], "V2");
        assert_eq!(full["drives"][0]["path_on_host"], "disk");
    }
}
