// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How large a volume has to be for a tree of files.

use std::collections::HashMap;

use crate::layout::{BLOCK, INODE};
use crate::stream::Item;
use crate::{CreateOptions, MINIMUM_SIZE, Result};

/// Text of a symbolic link that fits into its inode.
const SHORT_LINK: usize = 59;
/// The largest journal and the tables of the groups have room in this, beside a fiftieth.
const SMALL_JOURNAL: u64 = 8 << 20;
const JOURNAL: u64 = 72 << 20;

/// What a tree of files needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of contents and directories, in whole blocks.
    pub bytes: u64,
    /// Files, directories and links.
    pub files: u64,
}

impl Estimate {
    /// The size of an image with room for the tree, and for half as much again.
    #[must_use]
    pub fn image_size(&self) -> u64 {
        let contents = self.bytes.saturating_add(self.files.saturating_mul(INODE));
        let wanted = contents.saturating_add(contents / 2);
        let journal = if wanted < 64 << 20 { SMALL_JOURNAL } else { JOURNAL };
        let all = wanted.saturating_add(wanted / 50).saturating_add(journal);
        all.max(MINIMUM_SIZE).checked_next_multiple_of(1 << 20).unwrap_or(u64::MAX)
    }

    /// Options for a volume with room for the tree.
    #[must_use]
    pub fn options(&self, uuid: [u8; 16]) -> CreateOptions {
        CreateOptions::new(self.image_size(), uuid).files(self.files + self.files / 2)
    }
}

/// Adds up what passes by.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    estimate: Estimate,
    /// Bytes of the entries of each directory.
    directories: HashMap<Vec<u8>, u64>,
}

impl Counter {
    pub(crate) fn add(&mut self, path: &[Vec<u8>], size: u64, item: &Item<'_>) -> Result<()> {
        let blocks = |bytes: u64| bytes.div_ceil(BLOCK).saturating_mul(BLOCK);
        let bytes = match item {
            Item::Directory => {
                self.directories.entry(path.join(&b'/')).or_default();
                0
            }
            Item::File(_) => blocks(size),
            Item::Symlink(target) if target.len() > SHORT_LINK => BLOCK,
            Item::Symlink(_) | Item::HardLink(_) => 0,
            Item::Other(_) => return Ok(()),
        };
        self.estimate.bytes = self.estimate.bytes.saturating_add(bytes);
        self.estimate.files += 1;
        let mut parents = path;
        let mut name = path.last().map_or(0, Vec::len) as u64;
        while let Some((_, above)) = parents.split_last() {
            let known = self.directories.get_mut(&above.join(&b'/'));
            let is_known = known.is_some();
            let entry = (8 + name).next_multiple_of(4);
            match known {
                Some(bytes) => *bytes += entry,
                None => {
                    self.directories.insert(above.join(&b'/'), entry);
                    self.estimate.files += 1;
                }
            }
            if is_known {
                break;
            }
            name = above.last().map_or(0, Vec::len) as u64;
            parents = above;
        }
        Ok(())
    }

    /// Blocks of a large directory are half full, because full ones are split.
    pub(crate) fn total(mut self) -> Estimate {
        for bytes in self.directories.into_values() {
            let blocks = (bytes * 2).div_ceil(BLOCK) + 1;
            self.estimate.bytes = self.estimate.bytes.saturating_add(blocks * BLOCK);
        }
        self.estimate
    }
}
