// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes an empty ext4 file system (ext4's documentation, "Layout", "Global Structures",
//! "Dynamic Structures").
//!
//! The engine's own formatter gives every file system the same UUID and the same hash seed,
//! and the UUID is in every checksum. Here both come from the caller, and only blocks that
//! are not zero are written, so that the image stays sparse.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rsext4::crc32c::crc32c_append;

use crate::layout::{
    BLOCK, BLOCKS_PER_GROUP, DESCRIPTOR, FIRST_INODE, Group, INODE, LOST_AND_FOUND_BLOCKS, Layout,
};

pub(crate) const SUPERBLOCK_AT: u64 = 1024;
const ROOT: u32 = 2;
const JOURNAL: u32 = 8;
const LOST_AND_FOUND: u32 = FIRST_INODE as u32;
/// HAS_JOURNAL, EXT_ATTR, DIR_INDEX.
const COMPAT: u32 = 0x4 | 0x8 | 0x20;
/// FILETYPE, EXTENTS, 64BIT.
const INCOMPAT: u32 = 0x2 | 0x40 | 0x80;
/// SPARSE_SUPER, LARGE_FILE, HUGE_FILE, DIR_NLINK, EXTRA_ISIZE, METADATA_CSUM.
const RO_COMPAT: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;
/// BG_INODE_ZEROED: the inode table is zeroes, as a new file is.
const INODE_ZEROED: u16 = 4;
const EXTENTS_FLAG: u32 = 0x8_0000;
const EXTENT_MAGIC: u16 = 0xf30a;
const EXTRA_SIZE: u16 = 32;
const DIRECTORY: u8 = 2;

/// What a new file system is told.
pub(crate) struct Identity {
    pub(crate) uuid: [u8; 16],
    pub(crate) label: [u8; 16],
    /// Seconds since 1970.
    pub(crate) time: u32,
}

struct Writer<'a> {
    file: &'a File,
    layout: Layout,
    identity: &'a Identity,
    /// What checksums of metadata begin with.
    seed: u32,
}

/// Writes a file system to `file`, whose bytes are all zero.
pub(crate) fn format(file: &File, layout: Layout, identity: &Identity) -> io::Result<()> {
    let seed = crc32c_append(!0, &identity.uuid);
    Writer { file, layout, identity, seed }.write()
}

impl Writer<'_> {
    fn write(&self) -> io::Result<()> {
        let first = self.layout.group(0);
        let root = first.contents;
        let lost_and_found = root + 1;
        let journal = lost_and_found + LOST_AND_FOUND_BLOCKS;
        let journal_inode = self.journal_inode(journal);

        self.write_directories(root, lost_and_found)?;
        self.write_journal(journal)?;
        self.write_inode(first, JOURNAL, &journal_inode)?;
        self.write_inode(first, ROOT, &self.directory_inode(0o755, 3, root, 1))?;
        let inode = self.directory_inode(0o700, 2, lost_and_found, LOST_AND_FOUND_BLOCKS);
        self.write_inode(first, LOST_AND_FOUND, &inode)?;

        let mut table = Vec::new();
        let mut free_blocks = 0;
        for index in 0..self.layout.groups {
            let (descriptor, free) = self.write_group(index)?;
            table.extend_from_slice(&descriptor);
            free_blocks += free;
        }
        // The superblock of group 0 comes last: without it there is no file system.
        for index in (0..self.layout.groups).rev() {
            let group = self.layout.group(index);
            if group.has_superblock {
                self.file.write_all_at(&table, (group.start + 1) * BLOCK)?;
                let block = self.superblock(index, free_blocks, &journal_inode);
                let at = if index == 0 { SUPERBLOCK_AT } else { group.start * BLOCK };
                self.file.write_all_at(&block, at)?;
            }
        }
        Ok(())
    }

    /// Writes the bitmaps of a group; returns its descriptor and its free blocks.
    fn write_group(&self, index: u64) -> io::Result<([u8; DESCRIPTOR as usize], u64)> {
        let group = self.layout.group(index);
        let own = if index == 0 { self.layout.own_contents() } else { 0 };
        let used = group.contents - group.start + own;
        let mut blocks = vec![0; BLOCK as usize];
        mark(&mut blocks, 0, used);
        mark(&mut blocks, group.blocks, BLOCKS_PER_GROUP);
        self.file.write_all_at(&blocks, group.block_bitmap * BLOCK)?;

        let used_inodes = if index == 0 { FIRST_INODE } else { 0 };
        let mut inodes = vec![0; BLOCK as usize];
        mark(&mut inodes, 0, used_inodes);
        mark(&mut inodes, self.layout.inodes_per_group, 8 * BLOCK);
        self.file.write_all_at(&inodes, group.inode_bitmap * BLOCK)?;

        let free = group.blocks - used;
        let free_inodes = self.layout.inodes_per_group - used_inodes;
        let block_sum = crc32c_append(self.seed, &blocks);
        let inode_sum =
            crc32c_append(self.seed, &inodes[..self.layout.inodes_per_group as usize / 8]);
        let directories: u16 = if index == 0 { 2 } else { 0 };
        let mut d = [0; DESCRIPTOR as usize];
        put(&mut d, 0x00, &low(group.block_bitmap));
        put(&mut d, 0x04, &low(group.inode_bitmap));
        put(&mut d, 0x08, &low(group.inode_table));
        put(&mut d, 0x0c, &(free as u16).to_le_bytes());
        put(&mut d, 0x0e, &(free_inodes as u16).to_le_bytes());
        put(&mut d, 0x10, &directories.to_le_bytes());
        put(&mut d, 0x12, &INODE_ZEROED.to_le_bytes());
        put(&mut d, 0x18, &(block_sum as u16).to_le_bytes());
        put(&mut d, 0x1a, &(inode_sum as u16).to_le_bytes());
        put(&mut d, 0x1c, &(free_inodes as u16).to_le_bytes());
        put(&mut d, 0x20, &high(group.block_bitmap));
        put(&mut d, 0x24, &high(group.inode_bitmap));
        put(&mut d, 0x28, &high(group.inode_table));
        put(&mut d, 0x38, &((block_sum >> 16) as u16).to_le_bytes());
        put(&mut d, 0x3a, &((inode_sum >> 16) as u16).to_le_bytes());
        let sum = crc32c_append(self.seed, &(index as u32).to_le_bytes());
        let sum = crc32c_append(sum, &d);
        put(&mut d, 0x1e, &(sum as u16).to_le_bytes());
        Ok((d, free))
    }

    fn write_directories(&self, root: u64, lost_and_found: u64) -> io::Result<()> {
        let tail = BLOCK as usize - 12;
        let mut block = vec![0; BLOCK as usize];
        let at = entry(&mut block, 0, ROOT, b".", 12);
        let at = entry(&mut block, at, ROOT, b"..", 12);
        entry(&mut block, at, LOST_AND_FOUND, b"lost+found", (tail - at) as u16);
        self.write_directory_block(ROOT, root, block)?;

        for index in 0..LOST_AND_FOUND_BLOCKS {
            let mut block = vec![0; BLOCK as usize];
            if index == 0 {
                let at = entry(&mut block, 0, LOST_AND_FOUND, b".", 12);
                entry(&mut block, at, ROOT, b"..", (tail - at) as u16);
            } else {
                put(&mut block, 4, &(tail as u16).to_le_bytes());
            }
            self.write_directory_block(LOST_AND_FOUND, lost_and_found + index, block)?;
        }
        Ok(())
    }

    fn write_directory_block(&self, inode: u32, at: u64, mut block: Vec<u8>) -> io::Result<()> {
        let tail = BLOCK as usize - 12;
        put(&mut block, tail + 4, &12u16.to_le_bytes());
        block[tail + 7] = 0xde;
        let sum = crc32c_append(self.inode_seed(inode), &block[..tail]);
        put(&mut block, tail + 8, &sum.to_le_bytes());
        self.file.write_all_at(&block, at * BLOCK)
    }

    /// An empty journal: "Journal (jbd2)", "Super Block"; big endian.
    fn write_journal(&self, at: u64) -> io::Result<()> {
        // REVOKE, 64BIT and CSUM_V3, which Linux would add when it mounts.
        const FEATURES: u32 = 0x1 | 0x2 | 0x10;
        const CRC32C: u8 = 4;
        let mut block = [0; 1024];
        let mut word = |at: usize, value: u32| put(&mut block, at, &value.to_be_bytes());
        word(0x00, 0xc03b_3998);
        word(0x04, 4);
        word(0x0c, BLOCK as u32);
        word(0x10, self.layout.journal_blocks as u32);
        word(0x14, 1);
        word(0x18, 1);
        word(0x28, FEATURES);
        word(0x40, 1);
        put(&mut block, 0x30, &self.identity.uuid);
        block[0x50] = CRC32C;
        let sum = crc32c_append(!0, &block);
        put(&mut block, 0xfc, &sum.to_be_bytes());
        self.file.write_all_at(&block, at * BLOCK)
    }

    fn directory_inode(&self, mode: u16, links: u16, at: u64, blocks: u64) -> Vec<u8> {
        self.inode(0o040_000 | mode, links, at, blocks)
    }

    fn journal_inode(&self, at: u64) -> Vec<u8> {
        self.inode(0o100_600, 1, at, self.layout.journal_blocks)
    }

    /// An inode of one extent.
    fn inode(&self, mode: u16, links: u16, at: u64, blocks: u64) -> Vec<u8> {
        let mut inode = vec![0; INODE as usize];
        let time = self.identity.time.to_le_bytes();
        put(&mut inode, 0x00, &mode.to_le_bytes());
        put(&mut inode, 0x04, &low(blocks * BLOCK));
        for at in [0x08, 0x0c, 0x10, 0x90] {
            put(&mut inode, at, &time);
        }
        put(&mut inode, 0x1a, &links.to_le_bytes());
        put(&mut inode, 0x1c, &low(blocks * (BLOCK / 512)));
        put(&mut inode, 0x20, &EXTENTS_FLAG.to_le_bytes());
        put(&mut inode, 0x28, &EXTENT_MAGIC.to_le_bytes());
        put(&mut inode, 0x2a, &1u16.to_le_bytes());
        put(&mut inode, 0x2c, &4u16.to_le_bytes());
        put(&mut inode, 0x38, &(blocks as u16).to_le_bytes());
        put(&mut inode, 0x3a, &((at >> 32) as u16).to_le_bytes());
        put(&mut inode, 0x3c, &low(at));
        put(&mut inode, 0x80, &EXTRA_SIZE.to_le_bytes());
        inode
    }

    fn write_inode(&self, group: Group, number: u32, inode: &[u8]) -> io::Result<()> {
        let sum = crc32c_append(self.inode_seed(number), inode);
        let mut inode = inode.to_vec();
        put(&mut inode, 0x7c, &(sum as u16).to_le_bytes());
        put(&mut inode, 0x82, &((sum >> 16) as u16).to_le_bytes());
        let at = group.inode_table * BLOCK + u64::from(number - 1) * INODE;
        self.file.write_all_at(&inode, at)
    }

    /// Checksums of what belongs to an inode begin with its number and generation 0.
    fn inode_seed(&self, number: u32) -> u32 {
        let sum = crc32c_append(self.seed, &number.to_le_bytes());
        crc32c_append(sum, &[0; 4])
    }

    fn superblock(&self, group: u64, free_blocks: u64, journal_inode: &[u8]) -> Vec<u8> {
        let layout = &self.layout;
        let mut block = vec![0; 1024];
        let mut word = |at: usize, value: u32| put(&mut block, at, &value.to_le_bytes());
        let time = self.identity.time;
        word(0x00, layout.inodes() as u32);
        word(0x04, layout.blocks as u32);
        word(0x0c, free_blocks as u32);
        word(0x10, (layout.inodes() - FIRST_INODE) as u32);
        // Block size and cluster size, as shifts of 1 KiB.
        word(0x18, 2);
        word(0x1c, 2);
        word(0x20, BLOCKS_PER_GROUP as u32);
        word(0x24, BLOCKS_PER_GROUP as u32);
        word(0x28, layout.inodes_per_group as u32);
        word(0x30, time);
        word(0x40, time);
        // Dynamic inode sizes.
        word(0x4c, 1);
        word(0x54, FIRST_INODE as u32);
        word(0x5c, COMPAT);
        word(0x60, INCOMPAT);
        word(0x64, RO_COMPAT);
        word(0xe0, JOURNAL);
        word(0x108, time);
        word(0x150, (layout.blocks >> 32) as u32);
        word(0x158, (free_blocks >> 32) as u32);
        // Names are hashed as signed characters.
        word(0x160, 1);
        let mut half = |at: usize, value: u16| put(&mut block, at, &value.to_le_bytes());
        half(0x36, u16::MAX);
        half(0x38, rsext4::EXT4_SUPER_MAGIC);
        // Clean; on an error go on read-only.
        half(0x3a, 1);
        half(0x3c, 2);
        half(0x58, INODE as u16);
        half(0x5a, group as u16);
        half(0xfe, DESCRIPTOR as u16);
        half(0x15c, EXTRA_SIZE);
        half(0x15e, EXTRA_SIZE);
        put(&mut block, 0x68, &self.identity.uuid);
        put(&mut block, 0x78, &self.identity.label);
        put(&mut block, 0xec, &self.hash_seed());
        // Half MD4, and a copy of the journal's inode.
        block[0xfc] = 1;
        block[0xfd] = 1;
        put(&mut block, 0x10c, &journal_inode[0x28..0x64]);
        put(&mut block, 0x10c + 60, &journal_inode[0x6c..0x70]);
        put(&mut block, 0x10c + 64, &journal_inode[0x04..0x08]);
        // Checksums are CRC-32C.
        block[0x175] = 1;
        let sum = crc32c_append(!0, &block[..0x3fc]);
        put(&mut block, 0x3fc, &sum.to_le_bytes());
        block
    }

    /// Against names made to collide, the seed has only to be unknown to who makes them.
    fn hash_seed(&self) -> [u8; 16] {
        let mut seed = [0; 16];
        for (index, part) in seed.chunks_mut(4).enumerate() {
            let sum = crc32c_append(self.seed ^ index as u32, &self.identity.uuid[index * 4..]);
            part.copy_from_slice(&sum.to_le_bytes());
        }
        seed
    }
}

/// Sets the bits `from..to`.
fn mark(bitmap: &mut [u8], from: u64, to: u64) {
    for bit in from..to {
        bitmap[(bit / 8) as usize] |= 1 << (bit % 8);
    }
}

/// Writes a directory's entry at `at`; returns where the next one begins.
fn entry(block: &mut [u8], at: usize, inode: u32, name: &[u8], length: u16) -> usize {
    put(block, at, &inode.to_le_bytes());
    put(block, at + 4, &length.to_le_bytes());
    block[at + 6] = name.len() as u8;
    block[at + 7] = DIRECTORY;
    put(block, at + 8, name);
    at + usize::from(length)
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    buffer[at..at + bytes.len()].copy_from_slice(bytes);
}

fn low(value: u64) -> [u8; 4] {
    (value as u32).to_le_bytes()
}

fn high(value: u64) -> [u8; 4] {
    ((value >> 32) as u32).to_le_bytes()
}
