// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers of block devices (5.2), and what the configuration says.

use crate::{Error, Transport};
use kdevice::BlockLimits;
use kmm::FRAME_SIZE;

pub(super) mod feature {
    pub(crate) const SIZE_MAX: u64 = 1 << 1;
    pub(crate) const SEG_MAX: u64 = 1 << 2;
    pub(crate) const RO: u64 = 1 << 5;
    pub(crate) const BLK_SIZE: u64 = 1 << 6;
    pub(crate) const FLUSH: u64 = 1 << 9;
    pub(crate) const TOPOLOGY: u64 = 1 << 10;
    pub(crate) const DISCARD: u64 = 1 << 13;
}

pub(super) const WANTED: u64 = feature::SIZE_MAX
    | feature::SEG_MAX
    | feature::RO
    | feature::BLK_SIZE
    | feature::FLUSH
    | feature::TOPOLOGY
    | feature::DISCARD;

/// Types of requests (5.2.6).
pub(super) const IN: u32 = 0;
pub(super) const OUT: u32 = 1;
pub(super) const FLUSH: u32 = 4;
pub(super) const GET_ID: u32 = 8;
pub(super) const DISCARD: u32 = 11;

pub(super) const STATUS_OK: u8 = 0;
pub(super) const STATUS_UNSUPPORTED: u8 = 2;

/// Bytes of the unit that the interface counts in, whatever the sector size.
pub(super) const UNIT: u32 = 512;
/// Bytes of the answer to GET_ID.
pub(super) const ID_LEN: u32 = 20;

mod config {
    pub(super) const CAPACITY: usize = 0;
    pub(super) const SIZE_MAX: usize = 8;
    pub(super) const SEG_MAX: usize = 12;
    pub(super) const BLK_SIZE: usize = 20;
    pub(super) const PHYSICAL_BLOCK_EXP: usize = 24;
    pub(super) const OPT_IO_SIZE: usize = 28;
    pub(super) const MAX_DISCARD_SECTORS: usize = 36;
}

/// Reads the limits; `max_segments` is what the queue can do.
pub(super) fn limits(
    transport: &dyn Transport,
    features: u64,
    max_segments: usize,
) -> Result<BlockLimits, Error> {
    let has = |bit| features & bit != 0;
    let field = |bit, offset| if has(bit) { transport.config32(offset) } else { 0 };
    if has(feature::SIZE_MAX) && (field(feature::SIZE_MAX, config::SIZE_MAX) as usize) < FRAME_SIZE
    {
        // A part of a frame could not be named by one descriptor.
        return Err(Error::Features);
    }
    let units = transport.consistent(|t| {
        u64::from(t.config32(config::CAPACITY)) | u64::from(t.config32(config::CAPACITY + 4)) << 32
    });
    let sector_size = match field(feature::BLK_SIZE, config::BLK_SIZE) {
        size if size.is_power_of_two() && (UNIT..=1 << 16).contains(&size) => size,
        _ => UNIT,
    };
    let per_sector = sector_size / UNIT;
    let (exponent, optimal) = match has(feature::TOPOLOGY) {
        true => {
            (transport.config8(config::PHYSICAL_BLOCK_EXP), transport.config32(config::OPT_IO_SIZE))
        }
        false => (0, 0),
    };
    // Without the feature one segment is all that is sure to work.
    let segments = (field(feature::SEG_MAX, config::SEG_MAX) as usize).max(1);
    let discard = field(feature::DISCARD, config::MAX_DISCARD_SECTORS);
    Ok(BlockLimits {
        sector_size,
        sectors: units / u64::from(per_sector),
        read_only: has(feature::RO),
        physical_block_size: sector_size.checked_shl(u32::from(exponent)).unwrap_or(sector_size),
        optimal_io_size: optimal.saturating_mul(sector_size),
        max_segments: segments.min(max_segments),
        max_discard_sectors: discard / per_sector,
        write_cache: has(feature::FLUSH),
    })
}
