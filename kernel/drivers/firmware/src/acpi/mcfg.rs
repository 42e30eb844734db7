// SPDX-License-Identifier: Apache-2.0 OR MIT
//! MCFG (PCI Firmware Specification 3.3, 4.1.2): configuration space in memory.

use super::HEADER;
use crate::bytes::{u8_at, u16_at, u64_at};
use alloc::vec::Vec;

/// A region of memory that shows configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McfgRegion {
    /// Address of bus 0, even when the first bus is another.
    pub base: u64,
    /// Segment group.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

/// The regions of a table whose header was checked.
pub fn mcfg_regions(table: &[u8]) -> Vec<McfgRegion> {
    let entries = table.get(HEADER + 8..).unwrap_or_default().chunks_exact(16);
    let regions = entries.take(64).filter_map(|entry| {
        let region = McfgRegion {
            base: u64_at(entry, 0)?,
            segment: u16_at(entry, 8)?,
            first_bus: u8_at(entry, 10)?,
            last_bus: u8_at(entry, 11)?,
        };
        (region.base != 0 && region.first_bus <= region.last_bus).then_some(region)
    });
    regions.collect()
}
