// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The static tables of ACPI (Advanced Configuration and Power Interface
//! Specification 6.5; section numbers are its), without its interpreter.

mod dsdt;
mod fadt;
mod generation;
mod madt;
mod mcfg;
mod spcr;
#[cfg(test)]
mod tests;

pub use dsdt::{MmioDevice, SleepType, sleep_type, virtio_mmio_devices};
pub use fadt::{Fadt, PowerControl, Register};
pub use generation::{GENERATION_SIZE, event_lines, generation_address};
pub use madt::{Cpu, IoApic, Madt, Override};
pub use mcfg::{McfgRegion, mcfg_regions};
pub use spcr::{Spcr, Uart};

use crate::bytes::{sums_to_zero, u16_at, u32_at, u64_at};
use alloc::vec::Vec;
use kdevice::{InterruptLine, PhysicalMemory};

/// Bytes of the header of each table (5.2.6).
pub(crate) const HEADER: usize = 36;
/// No table of a real machine is larger; a length beyond it is an error.
const TABLE_MAX: usize = 1 << 20;
/// Tables that are looked at.
const TABLES_MAX: usize = 256;
/// Bytes of the root pointer, version 1 and 2 (5.2.5.3).
const RSDP_V1: usize = 20;
const RSDP_V2: usize = 36;

/// The tables of a machine: where each one is.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    entries: Vec<([u8; 4], u64)>,
}

impl Tables {
    /// From the root pointer at `rsdp` (as the PVH start info or UEFI gives
    /// it); without one, or when it is no good, searches where a BIOS puts it
    /// (5.2.5.1). `None` when the machine has no ACPI.
    pub fn find(memory: &dyn PhysicalMemory, rsdp: Option<u64>) -> Option<Self> {
        let given = rsdp.filter(|address| *address != 0);
        given
            .and_then(|address| Self::from_rsdp(memory, address))
            .or_else(|| search(memory).and_then(|address| Self::from_rsdp(memory, address)))
    }

    fn from_rsdp(memory: &dyn PhysicalMemory, address: u64) -> Option<Self> {
        let mut rsdp = [0; RSDP_V2];
        if !memory.read(address, &mut rsdp[..RSDP_V1]) || !is_rsdp(&rsdp[..RSDP_V1]) {
            return None;
        }
        let extended = rsdp[15] >= 2
            && memory.read(address, &mut rsdp)
            && sums_to_zero(&rsdp)
            && u64_at(&rsdp, 24) != Some(0);
        let (root, width) = match extended {
            true => (table(memory, u64_at(&rsdp, 24)?, b"XSDT"), 8),
            false => (None, 8),
        };
        let (root, width) = match root {
            Some(root) => (root, width),
            None => (table(memory, u64::from(u32_at(&rsdp, 16)?), b"RSDT")?, 4),
        };
        let entries = root[HEADER..].chunks_exact(width).take(TABLES_MAX).filter_map(|entry| {
            let address = match width {
                8 => u64_at(entry, 0)?,
                _ => u64::from(u32_at(entry, 0)?),
            };
            let mut signature = [0; 4];
            memory.read(address, &mut signature).then_some((signature, address))
        });
        Some(Self { entries: entries.collect() })
    }

    /// The bytes of the first table with this signature, header included.
    pub fn table(&self, memory: &dyn PhysicalMemory, signature: &[u8; 4]) -> Option<Vec<u8>> {
        self.tables(memory, signature).next()
    }

    /// All tables with this signature.
    pub fn tables<'a>(
        &'a self,
        memory: &'a dyn PhysicalMemory,
        signature: &'a [u8; 4],
    ) -> impl Iterator<Item = Vec<u8>> + 'a {
        let named = self.entries.iter().filter(move |(name, _)| name == signature);
        named.filter_map(move |(_, address)| table(memory, *address, signature))
    }

    /// The interrupt controllers and CPUs.
    pub fn madt(&self, memory: &dyn PhysicalMemory) -> Option<Madt> {
        Madt::parse(&self.table(memory, b"APIC")?)
    }

    /// The regions that show PCI configuration space.
    pub fn mcfg(&self, memory: &dyn PhysicalMemory) -> Vec<McfgRegion> {
        self.table(memory, b"MCFG").map_or_else(Vec::new, |table| mcfg_regions(&table))
    }

    /// The fixed hardware.
    pub fn fadt(&self, memory: &dyn PhysicalMemory) -> Option<Fadt> {
        Fadt::parse(&self.table(memory, b"FACP")?)
    }

    /// The console that the firmware uses.
    pub fn spcr(&self, memory: &dyn PhysicalMemory) -> Option<Spcr> {
        Spcr::parse(&self.table(memory, b"SPCR")?)
    }

    /// The definition blocks: DSDT first, then SSDTs, as bytes.
    pub fn definition_blocks(&self, memory: &dyn PhysicalMemory) -> Vec<Vec<u8>> {
        let dsdt = self.fadt(memory).and_then(|fadt| table(memory, fadt.dsdt, b"DSDT"));
        dsdt.into_iter().chain(self.tables(memory, b"SSDT")).collect()
    }

    /// How to switch the machine off and reset it.
    pub fn power_control(&self, memory: &dyn PhysicalMemory) -> Option<PowerControl> {
        let fadt = self.fadt(memory)?;
        let blocks = self.definition_blocks(memory);
        let soft_off = blocks.iter().find_map(|block| sleep_type(block, 5));
        Some(PowerControl::new(&fadt, soft_off))
    }

    /// Where the machine's generation lies, and the interrupts that may tell
    /// of a new one.
    pub fn generation(&self, memory: &dyn PhysicalMemory) -> Option<(u64, Vec<InterruptLine>)> {
        let blocks = self.definition_blocks(memory);
        let address = blocks.iter().find_map(|block| generation_address(block))?;
        Some((address, blocks.iter().flat_map(|block| event_lines(block)).collect()))
    }

    /// virtio-mmio devices that a definition block declares.
    pub fn virtio_mmio(&self, memory: &dyn PhysicalMemory) -> Vec<MmioDevice> {
        self.definition_blocks(memory).iter().flat_map(|block| virtio_mmio_devices(block)).collect()
    }
}

/// Reads and checks a table.
pub(crate) fn table(
    memory: &dyn PhysicalMemory,
    address: u64,
    signature: &[u8; 4],
) -> Option<Vec<u8>> {
    let mut header = [0; HEADER];
    if address == 0 || !memory.read(address, &mut header) || !header.starts_with(signature) {
        return None;
    }
    let len = u32_at(&header, 4)? as usize;
    if !(HEADER..=TABLE_MAX).contains(&len) {
        return None;
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    bytes.resize(len, 0);
    (memory.read(address, &mut bytes) && sums_to_zero(&bytes)).then_some(bytes)
}

fn is_rsdp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RSD PTR ") && sums_to_zero(&bytes[..RSDP_V1])
}

/// Looks through the first KiB of the extended BIOS data area, and the BIOS
/// area, at multiples of 16.
fn search(memory: &dyn PhysicalMemory) -> Option<u64> {
    const CHUNK: usize = 1024;
    let mut segment = [0; 2];
    let ebda =
        memory.read(0x40e, &mut segment).then(|| u64::from(u16_at(&segment, 0).unwrap_or(0)) << 4);
    let ebda = ebda.filter(|address| *address >= 0x400);
    let mut chunk = [0; CHUNK + 16];
    for base in ebda.into_iter().chain((0xe_0000..0x10_0000).step_by(CHUNK)) {
        // The last chunk ends with the area, and so does a pointer in it.
        let len = if base + (CHUNK as u64) < 0x10_0000 { CHUNK + 16 } else { CHUNK };
        if !memory.read(base, &mut chunk[..len]) {
            continue;
        }
        let found = (0..CHUNK)
            .step_by(16)
            .find(|at| chunk[..len].get(*at..at + RSDP_V1).is_some_and(is_rsdp));
        if let Some(at) = found {
            return Some(base + at as u64);
        }
    }
    None
}
