// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the parts of a new file system lie (ext4's documentation, "Layout").

use crate::{Error, ErrorKind, MINIMUM_SIZE, Result};

pub(crate) const BLOCK: u64 = 4096;
pub(crate) const INODE: u64 = 256;
/// A bitmap of one block covers this many blocks.
pub(crate) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK;
pub(crate) const DESCRIPTOR: u64 = 64;
/// Blocks of `lost+found`, as mke2fs makes it: e2fsck puts files there without allocating.
pub(crate) const LOST_AND_FOUND_BLOCKS: u64 = 4;
/// The first inode that is not reserved, `s_first_ino`.
pub(crate) const FIRST_INODE: u64 = 11;
/// Bytes for each inode unless somebody says how many there are, as mke2fs counts.
const BYTES_PER_INODE: u64 = 16 << 10;
/// A last group that has no room for this much beside its own tables is left off.
const LEAST_OF_A_GROUP: u64 = 64;
/// Largest size: what has been tried.
pub(crate) const MAXIMUM_SIZE: u64 = 4 << 40;

/// The plan of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) blocks: u64,
    pub(crate) groups: u64,
    pub(crate) inodes_per_group: u64,
    pub(crate) descriptor_blocks: u64,
    pub(crate) journal_blocks: u64,
}

/// Where the parts of a group lie; block numbers of the file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) start: u64,
    pub(crate) blocks: u64,
    pub(crate) has_superblock: bool,
    pub(crate) block_bitmap: u64,
    pub(crate) inode_bitmap: u64,
    pub(crate) inode_table: u64,
    /// The first block that is for contents.
    pub(crate) contents: u64,
}

impl Layout {
    /// Plans a file system of `size` bytes with room for `files` files.
    pub(crate) fn new(size: u64, files: Option<u64>) -> Result<Self> {
        if size < MINIMUM_SIZE {
            return Err(Error::new(
                ErrorKind::Invalid,
                format_args!("a volume of {size} bytes is too small"),
            )
            .advise(format_args!("make it {} MiB or larger", MINIMUM_SIZE >> 20)));
        }
        if size > MAXIMUM_SIZE {
            return Err(Error::new(
                ErrorKind::Invalid,
                format_args!("a volume of {size} bytes is too large"),
            )
            .advise(format_args!("make it {} TiB or smaller", MAXIMUM_SIZE >> 40)));
        }
        let mut blocks = size / BLOCK;
        loop {
            let layout = Self::of_blocks(blocks, files);
            let last = layout.group(layout.groups - 1);
            let own = last.contents - last.start;
            if layout.groups == 1 || last.blocks >= own + LEAST_OF_A_GROUP {
                return layout.checked(size, files);
            }
            blocks = last.start;
        }
    }

    fn of_blocks(blocks: u64, files: Option<u64>) -> Self {
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let usual = blocks * BLOCK / BYTES_PER_INODE;
        let most = groups * BLOCKS_PER_GROUP;
        let inodes = files.unwrap_or(0).min(most).saturating_add(FIRST_INODE + 1).max(usual);
        // Whole blocks of the inode table; a bitmap of one block.
        let per_block = BLOCK / INODE;
        let inodes_per_group =
            inodes.div_ceil(groups).next_multiple_of(per_block).min(BLOCKS_PER_GROUP);
        let descriptor_blocks = (groups * DESCRIPTOR).div_ceil(BLOCK);
        Self {
            blocks,
            groups,
            inodes_per_group,
            descriptor_blocks,
            journal_blocks: journal_blocks(blocks),
        }
    }

    /// Has room for as many files, and in the first group for the journal in one piece.
    fn checked(self, size: u64, files: Option<u64>) -> Result<Self> {
        let first = self.group(0);
        let fits = first.contents + self.own_contents() < first.start + first.blocks;
        if fits && files.unwrap_or(0) <= self.inodes() - FIRST_INODE {
            return Ok(self);
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format_args!("a volume of {size} bytes has no room for so many files"),
        )
        .advise("make it larger"))
    }

    /// Blocks of contents in the first group from the start: root directory,
    /// `lost+found`, journal.
    pub(crate) fn own_contents(&self) -> u64 {
        1 + LOST_AND_FOUND_BLOCKS + self.journal_blocks
    }

    pub(crate) fn inodes(&self) -> u64 {
        self.groups * self.inodes_per_group
    }

    pub(crate) fn group(&self, index: u64) -> Group {
        let start = index * BLOCKS_PER_GROUP;
        let blocks = (self.blocks - start).min(BLOCKS_PER_GROUP);
        let has_superblock = has_superblock(index);
        let copies = if has_superblock { 1 + self.descriptor_blocks } else { 0 };
        let block_bitmap = start + copies;
        let inode_table = block_bitmap + 2;
        Group {
            start,
            blocks,
            has_superblock,
            block_bitmap,
            inode_bitmap: block_bitmap + 1,
            inode_table,
            contents: inode_table + self.inodes_per_group * INODE / BLOCK,
        }
    }
}

/// RO_COMPAT_SPARSE_SUPER: groups 0, 1 and the powers of 3, 5 and 7 have copies.
fn has_superblock(group: u64) -> bool {
    let is_power = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || is_power(3) || is_power(5) || is_power(7)
}

/// As mke2fs chooses, up to what fits into one group with all that is there already.
fn journal_blocks(blocks: u64) -> u64 {
    match blocks {
        0..32_768 => 1024,
        32_768..262_144 => 4096,
        262_144..524_288 => 8192,
        _ => 16_384,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_are_refused_with_the_least() {
        let error = Layout::new(MINIMUM_SIZE - 1, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.advice().unwrap().contains("8 MiB"));
        assert!(Layout::new(MAXIMUM_SIZE + 1, None).is_err());
        assert!(Layout::new(MINIMUM_SIZE, Some(1_000_000)).is_err());
        assert!(Layout::new(MINIMUM_SIZE, Some(u64::MAX)).is_err());
        Layout::new(MINIMUM_SIZE, None).unwrap();
        Layout::new(MAXIMUM_SIZE, None).unwrap();
    }

    #[test]
    fn a_last_group_without_room_is_left_off() {
        let layout = Layout::new((BLOCKS_PER_GROUP + 10) * BLOCK, None).unwrap();
        assert_eq!((layout.groups, layout.blocks), (1, BLOCKS_PER_GROUP));
        let layout = Layout::new((BLOCKS_PER_GROUP + 2048) * BLOCK, None).unwrap();
        assert_eq!(layout.groups, 2);
    }

    #[test]
    fn copies_of_the_superblock_are_where_linux_looks() {
        let groups: Vec<u64> = (0..130).filter(|&g| has_superblock(g)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }
}
