// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Directories: blocks of sorted entries, followed by their names.

use super::layout::{BLOCK_SIZE, DIRENT_SIZE, NAME_MAX, dirent};
use super::{Error, Inode, Kind, Nid};
use crate::bytes::{slice, u16_at, u64_at};
use core::cmp::Ordering;

/// One name of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name, of 1 to 255 bytes without `/` and NUL.
    pub name: &'a [u8],
    /// Number of the inode.
    pub nid: Nid,
    /// What the inode is, if the entry tells.
    pub kind: Option<Kind>,
}

/// One block of a directory, with its number of entries.
#[derive(Clone, Copy, Debug)]
struct Block<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Block<'a> {
    fn of(directory: &Inode<'a>, index: usize) -> Result<Self, Error> {
        let run = directory.data_at((index * BLOCK_SIZE) as u64);
        let bytes = run.get(..BLOCK_SIZE).unwrap_or(run);
        // The first name follows the last entry, so it tells their number.
        let names = usize::from(u16_at(bytes, dirent::NAME_OFFSET).ok_or(BAD)?);
        if names < DIRENT_SIZE || names % DIRENT_SIZE != 0 || names >= bytes.len() {
            return Err(BAD);
        }
        Ok(Self { bytes, count: names / DIRENT_SIZE })
    }

    fn name_offset(&self, index: usize) -> Result<usize, Error> {
        u16_at(self.bytes, index * DIRENT_SIZE + dirent::NAME_OFFSET).map(usize::from).ok_or(BAD)
    }

    fn entry(&self, index: usize) -> Result<Entry<'a>, Error> {
        let raw = slice(self.bytes, index * DIRENT_SIZE, DIRENT_SIZE).ok_or(BAD)?;
        let start = self.name_offset(index)?;
        let last = index + 1 == self.count;
        let end = if last { self.bytes.len() } else { self.name_offset(index + 1)? };
        let mut name = self.bytes.get(start..end).ok_or(BAD)?;
        if last {
            let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
            name = name.get(..len).ok_or(BAD)?;
        }
        if start < self.count * DIRENT_SIZE
            || name.is_empty()
            || name.len() > NAME_MAX
            || name.contains(&0)
            || name.contains(&b'/')
        {
            return Err(BAD);
        }
        Ok(Entry {
            name,
            nid: u64_at(raw, dirent::NID).ok_or(BAD)?,
            kind: raw.get(dirent::FILE_TYPE).copied().and_then(Kind::from_file_type),
        })
    }
}

const BAD: Error = Error::Corrupt("directory block");

fn block_count(directory: &Inode<'_>) -> Result<usize, Error> {
    if directory.kind() != Kind::Directory {
        return Err(Error::NotDirectory);
    }
    let (head, tail) = directory.data();
    Ok((head.len() + tail.len()).div_ceil(BLOCK_SIZE))
}

/// Finds the last block whose first name is not behind `name`, then the entry
/// in it.
pub(super) fn lookup<'a>(directory: &Inode<'a>, name: &[u8]) -> Result<Option<Entry<'a>>, Error> {
    let (mut low, mut high) = (0, block_count(directory)?);
    if name.is_empty() || name.len() > NAME_MAX {
        return Ok(None);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        let block = Block::of(directory, middle)?;
        match block.entry(0)?.name.cmp(name) {
            Ordering::Equal => return block.entry(0).map(Some),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    match low.checked_sub(1) {
        Some(index) => lookup_in(&Block::of(directory, index)?, name),
        None => Ok(None),
    }
}

fn lookup_in<'a>(block: &Block<'a>, name: &[u8]) -> Result<Option<Entry<'a>>, Error> {
    let (mut low, mut high) = (0, block.count);
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = block.entry(middle)?;
        match entry.name.cmp(name) {
            Ordering::Equal => return Ok(Some(entry)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Ok(None)
}

/// The entries of a directory, `.` and `..` among them, in the order of their
/// names' bytes. After an error there are none.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    directory: Inode<'a>,
    blocks: usize,
    block: usize,
    index: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn new(directory: &Inode<'a>, position: u64) -> Result<Self, Error> {
        let blocks = block_count(directory)?;
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(Self {
            directory: *directory,
            blocks,
            block: position / BLOCK_SIZE,
            index: position % BLOCK_SIZE / DIRENT_SIZE,
        })
    }

    /// Where the next entry is: what getdents64(2) gives as `d_off` of the
    /// entry before.
    pub fn position(&self) -> u64 {
        (self.block * BLOCK_SIZE + self.index * DIRENT_SIZE) as u64
    }

    fn step(&mut self) -> Result<Option<Entry<'a>>, Error> {
        while self.block < self.blocks {
            let block = Block::of(&self.directory, self.block)?;
            if self.index < block.count {
                let entry = block.entry(self.index)?;
                self.index += 1;
                return Ok(Some(entry));
            }
            self.block += 1;
            self.index = 0;
        }
        Ok(None)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.block = self.blocks;
        }
        step.transpose()
    }
}
