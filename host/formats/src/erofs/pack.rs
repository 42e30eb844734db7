// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Places inodes in the metadata area and lays out directory blocks.

use bhojpur_abi::erofs::layout::{BLOCK_SIZE, DIRENT_SIZE, SLOT_SIZE};

const SLOT: usize = SLOT_SIZE as usize;
/// Blocks whose free room is remembered; older ones are nearly full.
const OPEN_MAX: usize = 64;

/// Gives out room for an inode and its inline data, never across a block.
#[derive(Debug)]
pub(super) struct Packer {
    end: usize,
    /// Start and length of free room, in whole slots.
    open: Vec<(usize, usize)>,
}

impl Packer {
    /// Starts behind the super block at `start`.
    pub(super) fn new(start: usize) -> Self {
        let end = start.next_multiple_of(BLOCK_SIZE);
        Self { end, open: vec![(start, end - start)] }
    }

    /// Offset of `len` bytes, at most a block: where they fit best.
    pub(super) fn place(&mut self, len: usize) -> usize {
        let len = len.next_multiple_of(SLOT);
        let best = (0..self.open.len())
            .filter(|&i| self.open[i].1 >= len)
            .min_by_key(|&i| (self.open[i].1, self.open[i].0));
        let index = best.unwrap_or_else(|| {
            if self.open.len() == OPEN_MAX {
                self.open.remove(0);
            }
            self.open.push((self.end, BLOCK_SIZE));
            self.end += BLOCK_SIZE;
            self.open.len() - 1
        });
        let (at, room) = self.open[index];
        if room == len {
            self.open.remove(index);
        } else {
            self.open[index] = (at + len, room - len);
        }
        at
    }

    /// End of the area, in whole blocks.
    pub(super) fn end(&self) -> usize {
        self.end
    }
}

/// A name of a directory with the index of its inode.
pub(super) type Name<'a> = (&'a [u8], usize, u8);

/// Splits sorted names into blocks and tells the size of the data: whole
/// blocks, but for the last.
pub(super) fn directory_blocks<'a, 'n>(names: &'n [Name<'a>]) -> (Vec<&'n [Name<'a>]>, usize) {
    let (mut blocks, mut start, mut used) = (Vec::new(), 0, 0);
    for (i, (name, _, _)) in names.iter().enumerate() {
        let need = DIRENT_SIZE + name.len();
        if used + need > BLOCK_SIZE {
            blocks.push(&names[start..i]);
            (start, used) = (i, 0);
        }
        used += need;
    }
    let size = blocks.len() * BLOCK_SIZE + used;
    blocks.push(&names[start..]);
    (blocks, size)
}

/// The bytes of a directory, zeroes behind its size left out.
pub(super) fn directory_bytes(names: &[Name<'_>], nid: impl Fn(usize) -> u64) -> Vec<u8> {
    let (blocks, size) = directory_blocks(names);
    let mut out = Vec::with_capacity(size);
    for block in blocks {
        out.resize(out.len().next_multiple_of(BLOCK_SIZE), 0);
        let mut at = block.len() * DIRENT_SIZE;
        for &(name, node, file_type) in block {
            out.extend_from_slice(&nid(node).to_le_bytes());
            out.extend_from_slice(&(at as u16).to_le_bytes());
            out.extend_from_slice(&[file_type, 0]);
            at += name.len();
        }
        block.iter().for_each(|(name, _, _)| out.extend_from_slice(name));
    }
    out
}
