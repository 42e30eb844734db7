// SPDX-License-Identifier: Apache-2.0 OR MIT
//! I/O ports and firmware memory, as traits so that their users are tested.

use crate::platform;
use kmm::PhysAddr;

/// The space of I/O ports: the machine's, or a test's model of it.
pub trait PortIo: Send + Sync {
    /// Reads one byte.
    fn read8(&self, port: u16) -> u8;
    /// Reads two bytes.
    fn read16(&self, port: u16) -> u16;
    /// Reads four bytes.
    fn read32(&self, port: u16) -> u32;
    /// Writes one byte.
    fn write8(&self, port: u16, value: u8);
    /// Writes two bytes.
    fn write16(&self, port: u16, value: u16);
    /// Writes four bytes.
    fn write32(&self, port: u16, value: u32);
}

/// The I/O ports of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemPorts;

impl PortIo for SystemPorts {
    fn read8(&self, port: u16) -> u8 {
        platform().port_read8(port)
    }
    fn read16(&self, port: u16) -> u16 {
        platform().port_read16(port)
    }
    fn read32(&self, port: u16) -> u32 {
        platform().port_read32(port)
    }
    fn write8(&self, port: u16, value: u8) {
        platform().port_write8(port, value);
    }
    fn write16(&self, port: u16, value: u16) {
        platform().port_write16(port, value);
    }
    fn write32(&self, port: u16, value: u32) {
        platform().port_write32(port, value);
    }
}

/// One I/O port of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Port(u16);

impl Port {
    /// The port with this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }
    /// Reads one byte.
    pub fn read8(self) -> u8 {
        SystemPorts.read8(self.0)
    }
    /// Reads two bytes.
    pub fn read16(self) -> u16 {
        SystemPorts.read16(self.0)
    }
    /// Reads four bytes.
    pub fn read32(self) -> u32 {
        SystemPorts.read32(self.0)
    }
    /// Writes one byte.
    pub fn write8(self, value: u8) {
        SystemPorts.write8(self.0, value);
    }
    /// Writes two bytes.
    pub fn write16(self, value: u16) {
        SystemPorts.write16(self.0, value);
    }
    /// Writes four bytes.
    pub fn write32(self, value: u32) {
        SystemPorts.write32(self.0, value);
    }
}

/// Physical memory to read tables from: the machine's, or a test's.
pub trait PhysicalMemory {
    /// Copies bytes out; false when some of them are not there.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;
}

/// The physical memory of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemMemory;

impl PhysicalMemory for SystemMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        platform().read_physical(PhysAddr::new(address), buffer).is_ok()
    }
}
