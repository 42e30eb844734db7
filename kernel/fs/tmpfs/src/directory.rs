// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entries of a directory, with cursors that survive changes, on top of
//! the entries of a lower directory if there is one.

use crate::Shared;
use crate::node::Node;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{DirEntry, Errno, Result};
use kvfs::Inode;

/// The cursors of "." and ".." are the caller's.
const FIRST_CURSOR: u64 = 3;
/// Cursors from here on are of our own entries when there is a lower
/// directory; the ones below are its.
const OWN_CURSORS: u64 = 1 << 40;

struct Entry {
    /// The cursor; `None` for a name of the lower directory.
    number: Option<u64>,
    node: Arc<Node>,
}

/// A directory of the read-only file system below this one.
struct Lower {
    directory: Arc<dyn Inode>,
    /// Names of it that were taken away or replaced here.
    hidden: BTreeSet<Arc<[u8]>>,
}

impl Lower {
    /// True when none of its names shows.
    fn is_hidden(&self) -> Result<bool> {
        let mut all = true;
        self.directory.read_dir(0, &mut |entry| {
            all = self.hidden.contains(entry.name);
            all
        })?;
        Ok(all)
    }
}

/// Entries by name, and by a number that grows with each new entry: a listing
/// goes by number, so that whatever is removed or added meanwhile, it skips
/// and repeats nothing that stays.
///
/// Names of a lower directory come into `by_name` when they are looked up, and
/// have no number: listings take them from the lower directory.
pub(crate) struct Directory {
    by_name: BTreeMap<Arc<[u8]>, Entry>,
    by_number: BTreeMap<u64, (Arc<[u8]>, Arc<Node>)>,
    next: u64,
    lower: Option<Lower>,
    /// rmdir(2) took it away: nothing can be put in.
    pub(crate) removed: bool,
}

impl Directory {
    pub(crate) fn new(lower: Option<Arc<dyn Inode>>) -> Self {
        Self {
            by_name: BTreeMap::new(),
            by_number: BTreeMap::new(),
            next: if lower.is_some() { OWN_CURSORS } else { FIRST_CURSOR },
            lower: lower.map(|directory| Lower { directory, hidden: BTreeSet::new() }),
            removed: false,
        }
    }

    /// How many names were made here.
    pub(crate) fn own_len(&self) -> usize {
        self.by_number.len()
    }

    pub(crate) fn is_empty(&self) -> Result<bool> {
        let hidden = self.lower.as_ref().map_or(Ok(true), Lower::is_hidden)?;
        Ok(hidden && self.by_number.is_empty())
    }

    pub(crate) fn lookup(&mut self, shared: &Arc<Shared>, name: &[u8]) -> Result<Arc<Node>> {
        if let Some(entry) = self.by_name.get(name) {
            return Ok(entry.node.clone());
        }
        let lower = self.lower.as_ref().filter(|l| !l.hidden.contains(name));
        let inode = lower.ok_or(Errno::ENOENT)?.directory.lookup(name)?;
        let node = Node::over(shared, inode)?;
        self.by_name.insert(name.into(), Entry { number: None, node: node.clone() });
        Ok(node)
    }

    /// `ENOENT` in a removed directory, `EEXIST` for a name that is taken.
    pub(crate) fn check_free(&mut self, shared: &Arc<Shared>, name: &[u8]) -> Result<()> {
        if self.removed {
            return Err(Errno::ENOENT);
        }
        match self.lookup(shared, name) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Adds a name, in place of one that was looked up.
    pub(crate) fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        let gone = self.remove(name);
        let name: Arc<[u8]> = name.into();
        let number = self.next;
        self.next += 1;
        self.by_number.insert(number, (name.clone(), node.clone()));
        self.by_name.insert(name, Entry { number: Some(number), node });
        drop(gone);
    }

    /// Takes away a name that was looked up.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let (name, entry) = self.by_name.remove_entry(name)?;
        match (entry.number, &mut self.lower) {
            (Some(number), _) => drop(self.by_number.remove(&number)),
            (None, Some(lower)) => drop(lower.hidden.insert(name)),
            (None, None) => {}
        }
        Some(entry.node)
    }

    pub(crate) fn list(
        &self,
        cursor: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        if let Some(lower) = self.lower.as_ref().filter(|_| cursor < OWN_CURSORS) {
            let mut more = true;
            lower.directory.read_dir(cursor, &mut |entry| {
                more = lower.hidden.contains(entry.name) || emit(entry);
                more
            })?;
            if !more {
                return Ok(());
            }
        }
        for (&next, (name, node)) in self.by_number.range(cursor.saturating_add(1)..) {
            if !emit(DirEntry { name, inode: node.number(), kind: node.file_kind(), next }) {
                break;
            }
        }
        Ok(())
    }

    /// All entries, for the end of the directory.
    pub(crate) fn drain(&mut self) -> Vec<Arc<Node>> {
        self.by_number.clear();
        core::mem::take(&mut self.by_name).into_values().map(|e| e.node).collect()
    }
}
