// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Message signalled interrupts (PCI 3.0, 6.8).

use crate::register::{CAPABILITY_MSI, CAPABILITY_MSIX};
use crate::{Error, Function};
use kdevice::{Mmio, MsiMessage};

const CONTROL: u16 = 2;
const MSIX_ENABLE: u16 = 1 << 15;
const MSIX_MASK_ALL: u16 = 1 << 14;
/// Bytes of an entry of the table.
const ENTRY: usize = 16;
const ENTRY_MASKED: u32 = 1;

/// The MSI-X table of a function: a message for each vector.
#[derive(Debug)]
pub struct Msix {
    function: Function,
    control: u16,
    table: Mmio,
    entries: u16,
}

impl Msix {
    /// Maps the table, with all vectors masked and MSI-X not yet on. `None`
    /// when the function has none.
    pub fn new(function: &Function) -> Result<Option<Self>, Error> {
        let Some(capability) = function.capability(CAPABILITY_MSIX) else { return Ok(None) };
        let control = capability.offset + CONTROL;
        let entries = (function.read16(control) & 0x7ff) + 1;
        let place = function.read32(capability.offset + 4);
        let (bar, offset) = ((place & 7) as u8, u64::from(place & !7));
        let table = function.map_bar(bar, offset, usize::from(entries) * ENTRY)?;
        let msix = Self { function: function.clone(), control, table, entries };
        (0..entries).for_each(|entry| msix.mask(entry));
        Ok(Some(msix))
    }

    /// How many vectors there are.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Masks a vector.
    pub fn mask(&self, entry: u16) {
        self.table.write(usize::from(entry) * ENTRY + 12, ENTRY_MASKED);
    }

    /// Sets the message of a vector and unmasks it.
    ///
    /// # Panics
    /// When there is no such vector.
    pub fn set(&self, entry: u16, message: MsiMessage) {
        let at = usize::from(entry) * ENTRY;
        self.mask(entry);
        self.table.write(at, message.address as u32);
        self.table.write(at + 4, (message.address >> 32) as u32);
        self.table.write(at + 8, message.data);
        self.table.write(at + 12, 0u32);
    }

    /// Turns MSI-X on and the pin off.
    pub fn enable(&self) {
        self.function.set_intx(false);
        let control = self.function.read16(self.control);
        self.function.write16(self.control, control & !MSIX_MASK_ALL | MSIX_ENABLE);
    }
}

const MSI_ENABLE: u16 = 1;
const MSI_MULTIPLE: u16 = 0b111 << 4;
const MSI_WIDE: u16 = 1 << 7;

/// The MSI capability of a function, used with one message.
#[derive(Debug)]
pub struct Msi {
    function: Function,
    offset: u16,
}

impl Msi {
    /// `None` when the function has none.
    pub fn new(function: &Function) -> Option<Self> {
        let capability = function.capability(CAPABILITY_MSI)?;
        Some(Self { function: function.clone(), offset: capability.offset })
    }

    /// Sets the message, turns MSI on and the pin off. False when the function
    /// cannot reach the address or send the data: MSI has 16 bits of it.
    pub fn enable(&self, message: MsiMessage) -> bool {
        let function = &self.function;
        let control = function.read16(self.offset + CONTROL);
        let wide = control & MSI_WIDE != 0;
        let Ok(data) = u16::try_from(message.data) else { return false };
        let high = (message.address >> 32) as u32;
        if !wide && high != 0 {
            return false;
        }
        function.write32(self.offset + 4, message.address as u32);
        if wide {
            function.write32(self.offset + 8, high);
        }
        function.write16(self.offset + if wide { 12 } else { 8 }, data);
        function.set_intx(false);
        function.write16(self.offset + CONTROL, control & !MSI_MULTIPLE | MSI_ENABLE);
        true
    }
}
