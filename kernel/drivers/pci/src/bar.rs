// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Base address registers (PCI 3.0, 6.2.5.1).

use crate::register::{BAR0, COMMAND, COMMAND_IO, COMMAND_MEMORY, HEADER_BRIDGE};
use crate::{Error, Function};
use kdevice::Mmio;
use kmm::PhysAddr;

/// What a base address register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// A window in memory.
    Memory {
        /// Where; 0 when nobody assigned it.
        address: u64,
        /// It takes two registers.
        wide: bool,
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// I/O ports.
    Io {
        /// The first one.
        port: u32,
    },
}

impl Function {
    /// How many base address registers the header has.
    pub(crate) fn bar_count(&self) -> u8 {
        if self.header_kind() == HEADER_BRIDGE { 2 } else { 6 }
    }

    /// Register `index`; `None` for one that is not there. The upper half of a
    /// wide one is not told from another register: step over it.
    pub fn bar(&self, index: u8) -> Option<Bar> {
        if index >= self.bar_count() {
            return None;
        }
        let at = BAR0 + 4 * u16::from(index);
        let low = self.read32(at);
        if low & 1 != 0 {
            return Some(Bar::Io { port: low & !3 });
        }
        let wide = low & 0b110 == 0b100;
        if wide && index + 1 >= self.bar_count() {
            return None;
        }
        let high = if wide { u64::from(self.read32(at + 4)) } else { 0 };
        let address = high << 32 | u64::from(low & !15);
        Some(Bar::Memory { address, wide, prefetchable: low & 8 != 0 })
    }

    /// Size in bytes of what register `index` decodes; 0 when it is not
    /// implemented. The function does not decode while it is asked.
    pub fn bar_size(&self, index: u8) -> u64 {
        let Some(bar) = self.bar(index) else { return 0 };
        let at = BAR0 + 4 * u16::from(index);
        let command = self.read16(COMMAND);
        self.write16(COMMAND, command & !(COMMAND_IO | COMMAND_MEMORY));
        let low = self.probe_bits(at);
        let size = match bar {
            Bar::Memory { wide: true, .. } => {
                let mask = u64::from(self.probe_bits(at + 4)) << 32 | u64::from(low & !15);
                mask & mask.wrapping_neg()
            }
            Bar::Memory { .. } => u64::from(low & !15 & (low & !15).wrapping_neg()),
            Bar::Io { .. } => u64::from(low & !3 & (low & !3).wrapping_neg()),
        };
        self.write16(COMMAND, command);
        size
    }

    /// Which bits of a register can be set.
    fn probe_bits(&self, at: u16) -> u32 {
        let before = self.read32(at);
        self.write32(at, u32::MAX);
        let bits = self.read32(at);
        self.write32(at, before);
        bits
    }

    /// Maps `len` bytes of the memory window of register `index`, and lets the
    /// function decode memory.
    pub fn map_bar(&self, index: u8, offset: u64, len: usize) -> Result<Mmio, Error> {
        let Some(Bar::Memory { address, .. }) = self.bar(index) else { return Err(Error::NoBar) };
        if address == 0 {
            return Err(Error::NotAssigned);
        }
        let end = offset.checked_add(len as u64).ok_or(Error::Malformed)?;
        if len == 0 || end > self.bar_size(index) {
            return Err(Error::Malformed);
        }
        let start = address.checked_add(offset).ok_or(Error::Malformed)?;
        self.write16(COMMAND, self.read16(COMMAND) | COMMAND_MEMORY);
        Mmio::map(PhysAddr::new(start), len).map_err(|_| Error::NotAssigned)
    }
}
