// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory of requests: one slot for each descriptor that can start a chain.

use super::spec::{DISCARD, UNIT};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use kdevice::DmaBuffer;
use kmm::OutOfFrames;

/// Bytes of a slot: what follows, and a table of descriptors.
const SLOT: usize = 1024;
const HEADER: usize = 0;
pub(super) const HEADER_LEN: u32 = 16;
const RANGE: usize = 16;
pub(super) const RANGE_LEN: u32 = 16;
const STATUS: usize = 32;
const ID: usize = 40;
const TABLE: usize = 64;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;
/// A status that no device gives: it has not written any.
const NO_STATUS: u8 = 0xff;

/// Descriptors in the table of a slot.
pub(super) const TABLE_ENTRIES: usize = (SLOT - TABLE) / DESCRIPTOR;

/// The slots of a queue.
pub(super) struct Slots(DmaBuffer);

impl Slots {
    pub(super) fn allocate(count: u16) -> Result<Self, OutOfFrames> {
        DmaBuffer::allocate(usize::from(count) * SLOT).map(Self)
    }

    fn at(slot: u16, offset: usize) -> usize {
        usize::from(slot) * SLOT + offset
    }

    fn address(&self, slot: u16, offset: usize) -> u64 {
        self.0.address().as_u64() + Self::at(slot, offset) as u64
    }

    pub(super) fn header_address(&self, slot: u16) -> u64 {
        self.address(slot, HEADER)
    }
    pub(super) fn range_address(&self, slot: u16) -> u64 {
        self.address(slot, RANGE)
    }
    pub(super) fn status_address(&self, slot: u16) -> u64 {
        self.address(slot, STATUS)
    }
    pub(super) fn id_address(&self, slot: u16) -> u64 {
        self.address(slot, ID)
    }
    pub(super) fn table_address(&self, slot: u16) -> u64 {
        self.address(slot, TABLE)
    }

    /// Writes the header, and for a discard the range.
    pub(super) fn prepare(&self, slot: u16, kind: u32, unit: u64, discard_units: u32) {
        self.0.store(Self::at(slot, HEADER), kind, Relaxed);
        self.0.store(Self::at(slot, HEADER + 4), 0u32, Relaxed);
        // Only transfers have a place (5.2.6.1).
        let place = if kind == DISCARD { 0 } else { unit };
        self.0.store(Self::at(slot, HEADER + 8), place, Relaxed);
        self.0.store(Self::at(slot, STATUS), NO_STATUS, Relaxed);
        if kind == DISCARD {
            self.0.store(Self::at(slot, RANGE), unit, Relaxed);
            self.0.store(Self::at(slot, RANGE + 8), discard_units, Relaxed);
            self.0.store(Self::at(slot, RANGE + 12), 0u32, Relaxed);
        }
    }

    /// Writes entry `index` of the table of a slot.
    pub(super) fn set_entry(&self, slot: u16, index: usize, address: u64, len: u32, flags: u16) {
        debug_assert!(index < TABLE_ENTRIES);
        let at = Self::at(slot, TABLE + index * DESCRIPTOR);
        self.0.store(at, address, Relaxed);
        self.0.store(at + 8, len, Relaxed);
        self.0.store(at + 12, flags, Relaxed);
        self.0.store(at + 14, index as u16 + 1, Relaxed);
    }

    pub(super) fn status(&self, slot: u16) -> u8 {
        self.0.load(Self::at(slot, STATUS), Acquire)
    }

    /// The answer to GET_ID.
    pub(super) fn id(&self, slot: u16) -> [u8; 20] {
        let mut id = [0; 20];
        self.0.read(Self::at(slot, ID), &mut id);
        id
    }
}

/// Units for a number of sectors.
pub(super) fn units(sectors: u64, sector_size: u32) -> u64 {
    sectors * u64::from(sector_size / UNIT)
}
