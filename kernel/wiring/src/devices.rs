// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Firmware tables, devices, the other CPUs.

use crate::disks::Disks;
use crate::generation::Generation;
use abi::config::FW_CFG_FILE;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::time::Duration;
use kcore::random::Random;
use kcore::timers::SystemTime;
use kcore::{info, sched, warn};
use kdevice::{BlockDevice, EntropySource, SystemMemory};
use kdrv_firmware::FwCfg;
use kdrv_firmware::acpi::{Madt, PowerControl, Tables};
use kdrv_pci::{ConfigAccess, PortAccess};
use kdrv_virtio::{
    Device, MmioSlot, VirtioBlock, VirtioNet, VirtioRng, mmio_slots, probe_mmio, probe_pci,
};
use kio::{Events, Timers, Wake};
use ksync::Once;

/// Bytes of entropy that are asked of a device at the start.
const SEED: usize = 64;

/// What the firmware tells.
pub(crate) struct Firmware {
    tables: Option<Tables>,
    madt: Option<Madt>,
    fw_cfg: Option<FwCfg>,
}

/// Devices by kind.
#[derive(Default)]
pub(crate) struct Found {
    /// Network cards, in the order of the machine.
    pub(crate) networks: Vec<Arc<VirtioNet>>,
    /// Sources of random bytes.
    pub(crate) entropy: Vec<Arc<VirtioRng>>,
    /// Disks, in the order of the machine.
    disks: Vec<Arc<VirtioBlock>>,
}

/// How often the generator gets fresh entropy.
const RESEED_INTERVAL: Duration = Duration::from_secs(300);

/// Owns the devices that nobody else does, and mixes their entropy in.
struct Keeper {
    found: Found,
    generation: Option<Arc<Generation>>,
    random: Arc<Random>,
    own: Weak<Self>,
}

impl Keeper {
    fn reseed(&self) {
        if let Some(generation) = &self.generation {
            generation.check();
        }
        for source in &self.found.entropy {
            mix_in(&**source, &self.random);
        }
        if let Some(own) = self.own.upgrade() {
            SystemTime.arm(khal::clock::monotonic() + RESEED_INTERVAL, own, 0);
        }
    }
}

impl Wake for Keeper {
    fn wake(&self, _key: u64, _ready: Events) {
        self.reseed();
    }
}

fn mix_in(source: &dyn EntropySource, random: &Random) {
    let mut seed = [0; SEED];
    let count = source.take(&mut seed);
    random.mix(&seed[..count]);
}

/// Keeps the devices for as long as the machine runs.
pub(crate) fn keep(found: Found, generation: Option<Arc<Generation>>, random: &Arc<Random>) {
    static KEEPER: Once<Arc<Keeper>> = Once::new();
    let keeper = Arc::new_cyclic(|own| Keeper {
        found,
        generation,
        random: random.clone(),
        own: own.clone(),
    });
    keeper.reseed();
    let _ = KEEPER.set(keeper);
}

impl Firmware {
    /// Looks for tables and for QEMU's configuration device.
    pub(crate) fn find() -> Self {
        let boot = khal::boot_info();
        let tables = Tables::find(&SystemMemory, boot.rsdp);
        let madt = tables.as_ref().and_then(|t| t.madt(&SystemMemory));
        for apic in madt.iter().flat_map(|m| &m.io_apics) {
            khal::machine::add_io_apic(u64::from(apic.address), apic.gsi_base);
        }
        let power = tables.as_ref().and_then(|t| t.power_control(&SystemMemory));
        if let Some(power) = power.filter(PowerControl::can_power_off) {
            kcore::exit::set_power_off(move || power.power_off(&kdevice::SystemPorts));
        }
        // Firecracker logs each access to a port where nothing is.
        let fw_cfg = if boot.is_firecracker() { None } else { FwCfg::probe() };
        Self { tables, madt, fw_cfg }
    }

    /// The tables, on a machine that has some.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        self.tables.as_ref()
    }

    /// The record that overrides the one in the image.
    pub(crate) fn configuration(&self) -> Option<Vec<u8>> {
        let device = self.fw_cfg.as_ref()?;
        device.contents(&device.file(FW_CFG_FILE)?, abi::config::MAX_LEN)
    }

    /// What the monitor wants mounted, one item for each volume.
    pub(crate) fn volumes(&self) -> Vec<Vec<u8>> {
        /// The name of an item without its number, and the longest text.
        const NAME: &str = "opt/org.bhojpur/volume";
        const MAX: usize = 4096;
        let Some(device) = &self.fw_cfg else { return Vec::new() };
        let files = device.files();
        let find = |number| {
            let name = alloc::format!("{NAME}/{number}");
            files.iter().find(|file| file.name == name)
        };
        (0..).map_while(find).filter_map(|file| device.contents(file, MAX)).collect()
    }

    /// Starts the drivers of all devices.
    pub(crate) fn probe_devices(&self, random: &Random) -> Found {
        let mut found = Found::default();
        for slot in self.mmio_slots() {
            match probe_mmio(&slot) {
                Ok(Some(device)) => found.add(device, random),
                Ok(None) => {}
                Err(error) => warn!("virtio-mmio at {:#x}: {error:?}", slot.base),
            }
        }
        // `pci=off` is what monitors without a PCI bus append (Firecracker).
        let line = khal::boot_info().command_line();
        if self.tables.is_some() && abi::cmdline::option(line, "pci") != Some("off") {
            self.probe_pci(&mut found, random);
        }
        found
    }

    fn mmio_slots(&self) -> Vec<MmioSlot> {
        let line = khal::boot_info().command_line();
        let mut slots: Vec<MmioSlot> = mmio_slots(line).collect();
        if slots.is_empty() {
            let devices = self.tables.as_ref().map(|t| t.virtio_mmio(&SystemMemory));
            let as_slot = |d: kdrv_firmware::acpi::MmioDevice| MmioSlot {
                base: d.base,
                size: d.size,
                irq: d.gsi,
                id: None,
            };
            slots.extend(devices.into_iter().flatten().map(as_slot));
        }
        slots
    }

    fn probe_pci(&self, found: &mut Found, random: &Random) {
        let access: Arc<dyn ConfigAccess> = Arc::new(PortAccess::new());
        for function in kdrv_pci::enumerate(&access) {
            match probe_pci(&function, function.interrupt_line()) {
                Ok(Some(device)) => found.add(device, random),
                Ok(None) => {}
                Err(error) => warn!("virtio at {:?}: {error:?}", function.address()),
            }
        }
    }

    /// Starts the other CPUs.
    pub(crate) fn start_cpus(&self) {
        let ids: Vec<u32> = match &self.madt {
            Some(madt) => madt.cpus.iter().filter(|c| c.enabled).map(|c| c.apic_id).collect(),
            None => (0..self.fw_cfg.as_ref().map_or(1, FwCfg::cpu_count)).collect(),
        };
        if ids.len() > 1 {
            let count = khal::cpus::start_others(ids.into_iter(), || sched::start_this_cpu());
            info!("{count} CPUs");
        }
    }
}

impl Found {
    /// The disks by name. A driver that was started stays, because the device
    /// knows its memory.
    pub(crate) fn take_disks(&self) -> Arc<Disks> {
        let as_device = |disk: &Arc<VirtioBlock>| -> Arc<dyn BlockDevice> { disk.clone() };
        Disks::new(self.disks.iter().map(as_device).collect())
    }

    fn add(&mut self, device: Device, random: &Random) {
        match device {
            Device::Network(card) => self.networks.push(card),
            Device::Entropy(source) => {
                mix_in(&*source, random);
                self.entropy.push(source);
            }
            Device::Block(disk) => self.disks.push(disk),
        }
    }
}
