// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One function of a PCI device.

use crate::register::{
    CAPABILITIES, CLASS, COMMAND, COMMAND_INTX_DISABLE, COMMAND_MASTER, HEADER_DEVICE, HEADER_KIND,
    HEADER_TYPE, INTERRUPT_LINE, INTERRUPT_PIN, STATUS, STATUS_CAPABILITIES, SUBSYSTEM, VENDOR,
};
use crate::{Address, ConfigAccess};
use alloc::sync::Arc;
use core::fmt;
use kdevice::{InterruptLine, Polarity, Trigger};

/// A function that answered.
#[derive(Clone)]
pub struct Function {
    access: Arc<dyn ConfigAccess>,
    address: Address,
    vendor: u16,
    device: u16,
}

/// A structure in the list of capabilities (PCI 3.0, 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Which one.
    pub id: u8,
    /// Where it starts in configuration space.
    pub offset: u16,
}

impl Function {
    /// The function at `address`, if there is one.
    pub fn new(access: Arc<dyn ConfigAccess>, address: Address) -> Option<Self> {
        let ids = access.read(address, VENDOR);
        let (vendor, device) = (ids as u16, (ids >> 16) as u16);
        (vendor != u16::MAX && vendor != 0).then_some(Self { access, address, vendor, device })
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        self.address
    }
    /// Who made it.
    pub fn vendor(&self) -> u16 {
        self.vendor
    }
    /// Which of the maker's it is.
    pub fn device(&self) -> u16 {
        self.device
    }
    /// Base class, subclass and programming interface, as 0xccsspp.
    pub fn class(&self) -> u32 {
        self.read32(CLASS) >> 8
    }
    /// Subsystem vendor and device; zeroes on a bridge.
    pub fn subsystem(&self) -> (u16, u16) {
        if self.header_kind() != HEADER_DEVICE {
            return (0, 0);
        }
        let ids = self.read32(SUBSYSTEM);
        (ids as u16, (ids >> 16) as u16)
    }

    pub(crate) fn header_kind(&self) -> u8 {
        self.read8(HEADER_TYPE) & HEADER_KIND
    }

    /// Reads four bytes at a multiple of four.
    pub fn read32(&self, offset: u16) -> u32 {
        self.access.read(self.address, offset)
    }
    /// Reads two bytes at a multiple of two.
    pub fn read16(&self, offset: u16) -> u16 {
        (self.read32(offset & !3) >> (8 * (offset & 2))) as u16
    }
    /// Reads one byte.
    pub fn read8(&self, offset: u16) -> u8 {
        (self.read32(offset & !3) >> (8 * (offset & 3))) as u8
    }
    /// Writes four bytes at a multiple of four.
    pub fn write32(&self, offset: u16, value: u32) {
        self.access.write(self.address, offset, value);
    }
    /// Writes two bytes at a multiple of two. The other half of the word is
    /// written back, but for the status register, whose bits are cleared by
    /// ones and so get zeroes.
    pub fn write16(&self, offset: u16, value: u16) {
        let word = offset & !3;
        let shift = 8 * (offset & 2);
        let other = match word {
            COMMAND => 0,
            _ => self.read32(word) & !(0xffff << shift),
        };
        self.write32(word, other | u32::from(value) << shift);
    }

    /// The capabilities, at most as many as fit into 256 bytes.
    pub fn capabilities(&self) -> impl Iterator<Item = Capability> + '_ {
        let listed = self.read16(STATUS) & STATUS_CAPABILITIES != 0;
        let mut next = if listed { u16::from(self.read8(CAPABILITIES) & !3) } else { 0 };
        let mut left = (256 - 64) / 4;
        core::iter::from_fn(move || {
            if next < 64 || left == 0 {
                return None;
            }
            left -= 1;
            let header = self.read32(next);
            let found = Capability { id: header as u8, offset: next };
            next = (header >> 8) as u16 & 0xfc;
            Some(found)
        })
    }

    /// The first capability `id`.
    pub fn capability(&self, id: u8) -> Option<Capability> {
        self.capabilities().find(|capability| capability.id == id)
    }

    /// Lets the function read and write memory by itself.
    pub fn enable_bus_master(&self) {
        self.write16(COMMAND, self.read16(COMMAND) | COMMAND_MASTER);
    }

    /// Turns the interrupt pin on or off.
    pub fn set_intx(&self, on: bool) {
        let command = self.read16(COMMAND);
        let off = if on { 0 } else { COMMAND_INTX_DISABLE };
        self.write16(COMMAND, command & !COMMAND_INTX_DISABLE | off);
    }

    /// The line that the firmware routed the interrupt pin to, in terms of the
    /// ISA interrupts. The routing of an I/O APIC would need the interpreter of
    /// ACPI; MSI-X and MSI need none of it.
    pub fn interrupt_line(&self) -> Option<InterruptLine> {
        let gsi = u32::from(self.read8(INTERRUPT_LINE));
        let usable = self.read8(INTERRUPT_PIN) != 0 && (1..16).contains(&gsi);
        usable.then_some(InterruptLine { gsi, trigger: Trigger::Level, polarity: Polarity::High })
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{:04x}:{:04x}]", self.address, self.vendor, self.device)
    }
}
