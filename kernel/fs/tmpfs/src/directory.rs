// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entries of a directory, with cursors that survive changes.

use crate::node::Node;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{DirEntry, Errno, Result};

/// The cursors of "." and ".." are the caller's.
const FIRST_CURSOR: u64 = 3;

/// Entries by name, and by a number that grows with each new entry: a listing
/// goes by number, so that whatever is removed or added meanwhile, it skips
/// and repeats nothing that stays.
pub(crate) struct Directory {
    by_name: BTreeMap<Arc<[u8]>, (u64, Arc<Node>)>,
    by_number: BTreeMap<u64, (Arc<[u8]>, Arc<Node>)>,
    next: u64,
    /// rmdir(2) took it away: nothing can be put in.
    pub(crate) removed: bool,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self {
            by_name: BTreeMap::new(),
            by_number: BTreeMap::new(),
            next: FIRST_CURSOR,
            removed: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn entry(&self, name: &[u8]) -> Result<&Arc<Node>> {
        self.by_name.get(name).map(|(_, node)| node).ok_or(Errno::ENOENT)
    }

    /// `ENOENT` in a removed directory, `EEXIST` for a name that is taken.
    pub(crate) fn check_free(&self, name: &[u8]) -> Result<()> {
        match (self.removed, self.by_name.contains_key(name)) {
            (true, _) => Err(Errno::ENOENT),
            (_, true) => Err(Errno::EEXIST),
            _ => Ok(()),
        }
    }

    /// Adds a name, in place of one that is there.
    pub(crate) fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        let gone = self.remove(name);
        let name: Arc<[u8]> = name.into();
        let number = self.next;
        self.next += 1;
        self.by_number.insert(number, (name.clone(), node.clone()));
        self.by_name.insert(name, (number, node));
        drop(gone);
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let (number, node) = self.by_name.remove(name)?;
        self.by_number.remove(&number);
        Some(node)
    }

    pub(crate) fn list(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) {
        let behind = cursor.max(FIRST_CURSOR - 1).saturating_add(1);
        for (&number, (name, node)) in self.by_number.range(behind..) {
            let entry =
                DirEntry { name, inode: node.number(), kind: node.file_kind(), next: number };
            if !emit(entry) {
                return;
            }
        }
    }

    /// All entries, for the end of the directory.
    pub(crate) fn drain(&mut self) -> Vec<Arc<Node>> {
        self.by_number.clear();
        core::mem::take(&mut self.by_name).into_values().map(|(_, node)| node).collect()
    }
}
