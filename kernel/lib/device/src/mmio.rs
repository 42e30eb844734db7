// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Windows onto device registers.
#![expect(unsafe_code, reason = "accesses device memory that the platform mapped")]

use crate::{Refused, Word, platform};
use core::fmt;
use kmm::PhysAddr;

/// A set of device registers: a mapped window, or a test's model of a device.
pub trait Registers: Send + Sync {
    /// Reads one byte.
    fn read8(&self, offset: usize) -> u8;
    /// Reads two bytes.
    fn read16(&self, offset: usize) -> u16;
    /// Reads four bytes.
    fn read32(&self, offset: usize) -> u32;
    /// Writes one byte.
    fn write8(&self, offset: usize, value: u8);
    /// Writes two bytes.
    fn write16(&self, offset: usize, value: u16);
    /// Writes four bytes.
    fn write32(&self, offset: usize, value: u32);
    /// Size of the window in bytes.
    fn window(&self) -> usize;
}

/// A mapped window of device memory, uncached. It stays mapped for ever, so a
/// copy costs nothing.
#[derive(Clone, Copy)]
pub struct Mmio {
    base: *mut u8,
    len: usize,
    address: PhysAddr,
}

// SAFETY: device registers may be accessed from any CPU; what concurrent
// accesses mean is between the driver and its device.
unsafe impl Send for Mmio {}
// SAFETY: as for `Send`; all accesses are volatile.
unsafe impl Sync for Mmio {}

impl Mmio {
    /// Maps `[address, address + len)`.
    pub fn map(address: PhysAddr, len: usize) -> Result<Self, Refused> {
        address.as_u64().checked_add(len as u64).ok_or(Refused)?;
        let base = platform().map_mmio(address, len)?;
        Ok(Self { base, len, address })
    }

    /// A part of the window.
    pub fn part(&self, offset: usize, len: usize) -> Result<Self, Refused> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(Refused);
        }
        // SAFETY: the part lies inside of the mapped window.
        let base = unsafe { self.base.add(offset) };
        Ok(Self { base, len, address: self.address + offset as u64 })
    }

    /// Where it lies in physical memory.
    pub fn address(&self) -> PhysAddr {
        self.address
    }

    /// Size in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a window is made with a length")]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn at<W: Word>(&self, offset: usize) -> *mut u8 {
        let end = offset.checked_add(size_of::<W>());
        assert!(end.is_some_and(|end| end <= self.len), "outside of the device window");
        // SAFETY: the offset lies inside of the mapped window.
        let at = unsafe { self.base.add(offset) };
        assert!((at as usize).is_multiple_of(size_of::<W>()), "unaligned device access");
        at
    }

    /// Reads a register.
    ///
    /// # Panics
    /// When it is not inside the window or not aligned.
    #[inline]
    pub fn read<W: Word>(&self, offset: usize) -> W {
        // SAFETY: checked by `at`; the platform keeps the window mapped.
        unsafe { W::read_volatile(self.at::<W>(offset)) }
    }

    /// Writes a register.
    ///
    /// # Panics
    /// When it is not inside the window or not aligned.
    #[inline]
    pub fn write<W: Word>(&self, offset: usize, value: W) {
        // SAFETY: as in `read`.
        unsafe { W::write_volatile(self.at::<W>(offset), value) }
    }
}

impl Registers for Mmio {
    fn read8(&self, offset: usize) -> u8 {
        self.read(offset)
    }
    fn read16(&self, offset: usize) -> u16 {
        self.read(offset)
    }
    fn read32(&self, offset: usize) -> u32 {
        self.read(offset)
    }
    fn write8(&self, offset: usize, value: u8) {
        self.write(offset, value);
    }
    fn write16(&self, offset: usize, value: u16) {
        self.write(offset, value);
    }
    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }
    fn window(&self) -> usize {
        self.len
    }
}

impl fmt::Debug for Mmio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mmio({:?}, {:#x})", self.address, self.len)
    }
}
