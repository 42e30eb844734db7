// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ways into configuration space: I/O ports and memory (ECAM).

use alloc::vec::Vec;
use core::fmt;
use kdevice::{Mmio, PortIo, SystemPorts};
use kmm::PhysAddr;
use ksync::SpinLock;

/// Names a function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Segment group, 0 on most machines.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device on the bus, below 32.
    pub device: u8,
    /// Function of the device, below 8.
    pub function: u8,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

/// Reads and writes configuration space in aligned words of four bytes.
pub trait ConfigAccess: Send + Sync {
    /// Reads a word; all ones where there is nothing.
    fn read(&self, address: Address, offset: u16) -> u32;
    /// Writes a word.
    fn write(&self, address: Address, offset: u16, value: u32);
    /// The first bus of each root: (segment, bus).
    fn roots(&self) -> Vec<(u16, u8)>;
}

const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// The ports 0xCF8 and 0xCFC (PCI 3.0, 3.2.2.3.2): segment 0, 256 bytes.
pub struct PortAccess<P: PortIo = SystemPorts> {
    ports: SpinLock<P>,
}

impl PortAccess {
    /// The ports of the machine.
    pub const fn new() -> Self {
        Self { ports: SpinLock::new(SystemPorts) }
    }
}

impl Default for PortAccess {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: PortIo> PortAccess<P> {
    /// Other ports, for tests.
    pub const fn over(ports: P) -> Self {
        Self { ports: SpinLock::new(ports) }
    }

    /// True when the ports answer: a machine without PCI leaves them floating.
    pub fn is_present(&self) -> bool {
        let ports = self.ports.lock();
        ports.write32(ADDRESS_PORT, ENABLE);
        ports.read32(ADDRESS_PORT) == ENABLE
    }
}

/// What goes to the address port, if the function can be reached that way.
fn port_address(address: Address, offset: u16) -> Option<u32> {
    let reachable = address.segment == 0 && offset < 256;
    reachable.then(|| {
        ENABLE
            | u32::from(address.bus) << 16
            | u32::from(address.device & 31) << 11
            | u32::from(address.function & 7) << 8
            | u32::from(offset & !3)
    })
}

impl<P: PortIo> ConfigAccess for PortAccess<P> {
    fn read(&self, address: Address, offset: u16) -> u32 {
        let Some(selector) = port_address(address, offset) else { return u32::MAX };
        let ports = self.ports.lock();
        ports.write32(ADDRESS_PORT, selector);
        ports.read32(DATA_PORT)
    }

    fn write(&self, address: Address, offset: u16, value: u32) {
        let Some(selector) = port_address(address, offset) else { return };
        let ports = self.ports.lock();
        ports.write32(ADDRESS_PORT, selector);
        ports.write32(DATA_PORT, value);
    }

    fn roots(&self) -> Vec<(u16, u8)> {
        if self.is_present() { [(0, 0)].into() } else { Vec::new() }
    }
}

/// A region of memory that shows configuration space, from ACPI's MCFG table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcamRegion {
    /// Address of bus 0, even when the first bus is another.
    pub base: u64,
    /// Segment group.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

/// Bytes for each bus (PCIe, 7.2.2).
const BUS_BYTES: usize = 1 << 20;

/// Configuration space in memory. A bus is mapped when it is first used.
pub struct Ecam {
    regions: Vec<EcamRegion>,
    mapped: SpinLock<Vec<(u16, u8, Option<Mmio>)>>,
}

impl Ecam {
    /// From the regions of the machine.
    pub fn new(regions: Vec<EcamRegion>) -> Self {
        Self { regions, mapped: SpinLock::new(Vec::new()) }
    }

    fn bus(&self, segment: u16, bus: u8) -> Option<Mmio> {
        let mut mapped = self.mapped.lock();
        if let Some((_, _, window)) = mapped.iter().find(|m| (m.0, m.1) == (segment, bus)) {
            return *window;
        }
        let region = self.regions.iter().find(|region| {
            region.segment == segment && (region.first_bus..=region.last_bus).contains(&bus)
        })?;
        let window = region
            .base
            .checked_add(u64::from(bus) * BUS_BYTES as u64)
            .and_then(|base| Mmio::map(PhysAddr::new(base), BUS_BYTES).ok());
        mapped.push((segment, bus, window));
        window
    }

    fn place(&self, address: Address, offset: u16) -> Option<(Mmio, usize)> {
        let within = usize::from(address.device & 31) << 15
            | usize::from(address.function & 7) << 12
            | usize::from(offset & 0xffc);
        Some((self.bus(address.segment, address.bus)?, within))
    }
}

impl ConfigAccess for Ecam {
    fn read(&self, address: Address, offset: u16) -> u32 {
        self.place(address, offset).map_or(u32::MAX, |(window, at)| window.read(at))
    }

    fn write(&self, address: Address, offset: u16, value: u32) {
        if let Some((window, at)) = self.place(address, offset) {
            window.write(at, value);
        }
    }

    fn roots(&self) -> Vec<(u16, u8)> {
        self.regions.iter().map(|region| (region.segment, region.first_bus)).collect()
    }
}
