// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The address table: abstract names and absolute paths.

use super::UnixKind;
use super::node::Node;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use kio::{Errno, Result};
use ksync::SpinLock;

/// Longest name: `sun_path`.
const MAX_NAME: usize = 108;

/// Which socket has which name. Names that begin with a zero byte are
/// abstract; others are paths, for which the kernel makes the inode before it
/// calls bind, and answers ENOENT itself when it finds none.
#[derive(Default)]
pub struct UnixNames {
    table: SpinLock<Table>,
}

#[derive(Default)]
struct Table {
    bound: BTreeMap<Vec<u8>, Weak<Node>>,
    next_automatic: u32,
}

impl UnixNames {
    /// An empty table.
    pub const fn new() -> Self {
        Self { table: SpinLock::new(Table { bound: BTreeMap::new(), next_automatic: 0 }) }
    }

    /// Names a socket; an empty name asks for an abstract one: unix(7),
    /// "autobind". It is found under `key`, or else under its name.
    pub(super) fn bind(&self, node: &Arc<Node>, name: &[u8], key: Option<&[u8]>) -> Result<()> {
        if name.len() > MAX_NAME {
            return Err(Errno::EINVAL);
        }
        let mut state = node.state.lock();
        let mut table = self.table.lock();
        if !state.name.is_empty() {
            // Autobind of a socket that has a name changes nothing.
            return if name.is_empty() { Ok(()) } else { Err(Errno::EINVAL) };
        }
        let name = if name.is_empty() { table.automatic()? } else { Vec::from(name) };
        let key = key.map_or_else(|| name.clone(), Vec::from);
        if table.bound.get(&key).is_some_and(|old| old.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        table.bound.insert(key.clone(), Arc::downgrade(node));
        (state.name, state.key) = (name, key);
        Ok(())
    }

    /// The socket with a name: `ECONNREFUSED` when there is none, `EPROTOTYPE`
    /// for a path of another type (abstract names are apart for each type).
    pub(super) fn find(&self, name: &[u8], kind: UnixKind) -> Result<Arc<Node>> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(Errno::EINVAL);
        }
        let found = self.table.lock().bound.get(name).and_then(Weak::upgrade);
        let node = found.ok_or(Errno::ECONNREFUSED)?;
        match node.kind == kind {
            true => Ok(node),
            false if name[0] == 0 => Err(Errno::ECONNREFUSED),
            false => Err(Errno::EPROTOTYPE),
        }
    }

    /// The kernel removed the inode of a path: its socket can no more be found.
    pub fn unlink(&self, path: &[u8]) {
        let gone = self.table.lock().bound.remove(path);
        drop(gone);
    }

    pub(super) fn forget(&self, name: &[u8], node: &Arc<Node>) {
        let mut table = self.table.lock();
        // The path may have been unlinked and bound again by another socket.
        let gone = match table.bound.get(name) {
            Some(owner) if owner.as_ptr() == Arc::as_ptr(node) => table.bound.remove(name),
            _ => None,
        };
        drop(table);
        drop(gone);
    }
}

impl Table {
    /// A free abstract name of five hexadecimal digits.
    fn automatic(&mut self) -> Result<Vec<u8>> {
        for _ in 0..1 << 20 {
            self.next_automatic = (self.next_automatic + 1) & 0xf_ffff;
            let name = format!("\0{:05x}", self.next_automatic).into_bytes();
            if !self.bound.contains_key(&name) {
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }
}
