// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Page tables as the CPU reads them (Intel SDM vol. 3, 4.5).

use bitflags::bitflags;
use core::sync::atomic::{AtomicU64, Ordering};
use kmm::PhysAddr;

/// Entries in a table.
pub const ENTRIES: usize = 512;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

bitflags! {
    /// Bits of an entry.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        const PRESENT = 1;
        const WRITE = 1 << 1;
        const USER = 1 << 2;
        const UNCACHED = 1 << 3 | 1 << 4;
        const ACCESSED = 1 << 5;
        const DIRTY = 1 << 6;
        const HUGE = 1 << 7;
        const GLOBAL = 1 << 8;
        /// Ours: not present, but the frame is kept (PROT_NONE).
        const HIDDEN = 1 << 9;
        const NO_EXECUTE = 1 << 63;
    }
}

/// One entry of any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    pub const EMPTY: Self = Self(0);

    pub fn table(next: PhysAddr) -> Self {
        Self(next.as_u64() | (Flags::PRESENT | Flags::WRITE | Flags::USER).bits())
    }
    pub fn page(at: PhysAddr, flags: Flags) -> Self {
        Self(at.as_u64() | flags.bits())
    }
    pub fn huge(at: PhysAddr, flags: Flags) -> Self {
        Self(at.as_u64() | flags.bits() | Flags::HUGE.bits())
    }
    pub fn is_present(self) -> bool {
        self.flags().contains(Flags::PRESENT)
    }
    /// Present, or hidden from the CPU only.
    pub fn is_used(self) -> bool {
        self.flags().intersects(Flags::PRESENT | Flags::HIDDEN)
    }
    pub fn is_huge(self) -> bool {
        self.flags().contains(Flags::HUGE)
    }
    pub fn flags(self) -> Flags {
        Flags::from_bits_truncate(self.0)
    }
    pub fn address(self) -> PhysAddr {
        PhysAddr::new(self.0 & ADDRESS)
    }
}

/// A table in memory; the CPU sets accessed and dirty bits in it at any time.
#[repr(C, align(4096))]
pub struct Table([AtomicU64; ENTRIES]);

impl Table {
    #[inline]
    pub fn get(&self, slot: usize) -> Entry {
        Entry(self.0[slot].load(Ordering::Relaxed))
    }
    #[inline]
    pub fn set(&self, slot: usize, entry: Entry) {
        self.0[slot].store(entry.0, Ordering::Release);
    }
    #[inline]
    pub fn swap(&self, slot: usize, entry: Entry) -> Entry {
        Entry(self.0[slot].swap(entry.0, Ordering::AcqRel))
    }
}

/// The table at a physical address, through the direct map.
#[inline]
pub fn of(at: PhysAddr) -> &'static Table {
    let virt = super::memory::direct_map(at);
    // SAFETY: private to this crate, and called only with addresses that come
    // from table entries or fresh frames; table memory is freed only when no
    // CPU has its root loaded and its owner is being dropped.
    unsafe { &*(virt as *const Table) }
}

/// Slot of `virt` in a table of `level` (0 has the 4 KiB pages).
#[inline]
pub const fn slot(virt: u64, level: u32) -> usize {
    (virt >> (12 + 9 * level)) as usize & (ENTRIES - 1)
}
