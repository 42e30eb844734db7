// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Times of inodes with all their bits, read from the inode table: the core
//! tells seconds of 32 bits.
//!
//! An inode that this mount changed may be newer in the journal than in its
//! table, so the volume remembers what was changed when a node goes.

use crate::disk::Disk;
use crate::label::{read_start, u16_at, u32_at};
use alloc::collections::BTreeMap;
use kio::Errno;

/// Nanoseconds since 1970 of access, contents and attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
    pub(crate) changed: u64,
}

const SECOND: u64 = 1_000_000_000;
/// Remembered inodes at most: 2.5 MiB.
const REMEMBERED: usize = 64 << 10;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
/// Offsets in an inode.
const ACCESSED: (usize, usize) = (0x08, 0x8c);
const CHANGED: (usize, usize) = (0x0c, 0x84);
const MODIFIED: (usize, usize) = (0x10, 0x88);
const EXTRA_SIZE_AT: usize = 0x80;

/// Where inodes are.
struct Layout {
    block_size: u64,
    inodes_per_group: u32,
    inode_size: u64,
    descriptor_size: u64,
    descriptors_at: u64,
    wide: bool,
}

/// Finds times of inodes on the disk.
pub(crate) struct Stamps {
    layout: Option<Layout>,
}

impl Stamps {
    /// For a file system that mounts, so that its superblock is sound.
    pub(crate) fn new(disk: &mut Disk) -> Result<Self, Errno> {
        let block = read_start(disk)?;
        let incompat = u32_at(&block, 0x60);
        let shift = u32_at(&block, 0x18).min(6);
        let block_size = 1024u64 << shift;
        let first = u64::from(u32_at(&block, 0x14));
        let wide = incompat & INCOMPAT_64BIT != 0;
        let descriptor_size = if wide { u64::from(u16_at(&block, 0xfe)) } else { 32 };
        let layout = Layout {
            block_size,
            inodes_per_group: u32_at(&block, 0x28),
            inode_size: u64::from(u16_at(&block, 0x58)),
            descriptor_size,
            descriptors_at: (first + 1) * block_size,
            wide: wide && descriptor_size >= 64,
        };
        let usable = incompat & INCOMPAT_META_BG == 0
            && layout.inodes_per_group > 0
            && layout.inode_size >= 128
            && descriptor_size >= 32;
        Ok(Self { layout: usable.then_some(layout) })
    }

    /// A symbolic link whose length has upper bits, which the core does not
    /// tell, is none: its text is in a block.
    pub(crate) fn is_endless_link(&self, disk: &mut Disk, inode: u32) -> bool {
        const SIZE_HIGH_AT: usize = 0x6c;
        let record = self.layout.as_ref().and_then(|layout| layout.read(disk, inode));
        record.is_some_and(|record| u32_at(&record, SIZE_HIGH_AT) != 0)
    }

    /// The times of an inode, of which `seconds` are known from the core:
    /// access, contents, attributes.
    pub(crate) fn of(&self, disk: &mut Disk, inode: u32, seconds: [u32; 3]) -> Times {
        let whole = |s: u32| u64::try_from(s as i32).unwrap_or(0) * SECOND;
        let plain = Times {
            accessed: whole(seconds[0]),
            modified: whole(seconds[1]),
            changed: whole(seconds[2]),
        };
        let record = self.layout.as_ref().and_then(|layout| layout.read(disk, inode));
        let Some(record) = record else { return plain };
        let pick = |place, known: u32, plain| match time(&record, place) {
            Some((low, nanos)) if low == known => nanos,
            _ => plain,
        };
        Times {
            accessed: pick(ACCESSED, seconds[0], plain.accessed),
            modified: pick(MODIFIED, seconds[1], plain.modified),
            changed: pick(CHANGED, seconds[2], plain.changed),
        }
    }
}

/// Times of inodes that changed and whose nodes are gone.
#[derive(Default)]
pub(crate) struct Remembered(BTreeMap<u32, Times>);

impl Remembered {
    pub(crate) fn find(&self, inode: u32) -> Option<Times> {
        self.0.get(&inode).copied()
    }

    pub(crate) fn keep(&mut self, inode: u32, times: Times) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_first();
        }
        self.0.insert(inode, times);
    }

    /// The inode was freed.
    pub(crate) fn forget(&mut self, inode: u32) {
        self.0.remove(&inode);
    }
}

impl Layout {
    fn read(&self, disk: &mut Disk, inode: u32) -> Option<[u8; 160]> {
        let index = inode.checked_sub(1)?;
        let (group, slot) = (index / self.inodes_per_group, index % self.inodes_per_group);
        let at = self.descriptors_at + u64::from(group) * self.descriptor_size;
        let mut descriptor = [0; 64];
        let len = if self.wide { 64 } else { 32 };
        disk.read_piece(at, &mut descriptor[..len]).ok()?;
        let high = if self.wide { u64::from(u32_at(&descriptor, 0x28)) } else { 0 };
        let table = high << 32 | u64::from(u32_at(&descriptor, 0x08));
        let at = table.checked_mul(self.block_size)?;
        let at = at.checked_add(u64::from(slot) * self.inode_size)?;
        let mut record = [0; 160];
        let len = self.inode_size.min(160) as usize;
        disk.read_piece(at, &mut record[..len]).ok()?;
        Some(record)
    }
}

/// The low 32 bits of the seconds, and the time in nanoseconds; "Inode
/// Timestamps" of ext4's documentation. Before 1970 is 1970.
fn time(record: &[u8], (at, extra_at): (usize, usize)) -> Option<(u32, u64)> {
    // Without room for more, what is behind the record is not read: zeroes.
    let has = usize::from(u16_at(record, EXTRA_SIZE_AT)) + 128 >= extra_at + 4;
    let low = u32_at(record, at);
    let extra = if has { u32_at(record, extra_at) } else { 0 };
    let seconds = i64::from(low as i32) + (i64::from(extra & 3) << 32);
    let nanos = u64::from(extra >> 2);
    if nanos >= SECOND {
        return None;
    }
    Some((low, u64::try_from(seconds).map_or(0, |s| s * SECOND + nanos)))
}

#[cfg(test)]
mod tests {
    use super::{ACCESSED, SECOND, time};

    #[test]
    fn times_reach_behind_2038() {
        let mut record = [0; 160];
        record[0x80] = 32;
        record[0x08..0x0c].copy_from_slice(&1u32.to_le_bytes());
        record[0x8c..0x90].copy_from_slice(&(7u32 << 2 | 1).to_le_bytes());
        assert_eq!(time(&record, ACCESSED), Some((1, ((1 << 32) + 1) * SECOND + 7)));
        record[0x80] = 0;
        assert_eq!(time(&record, ACCESSED), Some((1, SECOND)));
        record[0x08..0x0c].copy_from_slice(&(-5i32 as u32).to_le_bytes());
        assert_eq!(time(&record, ACCESSED), Some((-5i32 as u32, 0)));
    }
}
