// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which inodes are watched, and by which instances of inotify(7).
//!
//! A watch is of an inode and not of a name, so that it sees what comes through other names,
//! and outlives the one it was made with. The instance keeps the inode, whose address stands
//! for it here. So an entry goes before the instance lets go of the inode.
//!
//! The lock of the table comes after that of an instance.

use crate::Inode;
use crate::inotify::Instance;
use crate::notify::Change;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use ksync::SpinLock;

/// All watches, by the address of the inode.
static WATCHED: SpinLock<BTreeMap<usize, Vec<Watch>>> = SpinLock::new(BTreeMap::new());
/// How many there are, for a look without the lock.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// One watch: an instance of inotify, and its number there.
struct Watch {
    instance: Weak<Instance>,
    number: i32,
}

impl Watch {
    fn is_of(&self, instance: &Instance) -> bool {
        core::ptr::eq(self.instance.as_ptr(), instance)
    }
}

fn address(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).addr()
}

/// How many watches there are; 0 spares all work.
#[inline]
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

/// Whether an inode is watched.
pub(crate) fn has(inode: &Arc<dyn Inode>) -> bool {
    count() > 0 && WATCHED.lock().contains_key(&address(inode))
}

/// The number of the watch that `instance` has on an inode.
pub(crate) fn find(inode: &Arc<dyn Inode>, instance: &Instance) -> Option<i32> {
    let watched = WATCHED.lock();
    let watch = watched.get(&address(inode))?.iter().find(|w| w.is_of(instance))?;
    Some(watch.number)
}

pub(crate) fn add(inode: &Arc<dyn Inode>, instance: &Arc<Instance>, number: i32) {
    let watch = Watch { instance: Arc::downgrade(instance), number };
    WATCHED.lock().entry(address(inode)).or_default().push(watch);
    COUNT.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn remove(inode: &Arc<dyn Inode>, instance: &Instance, number: i32) {
    let mut watched = WATCHED.lock();
    let Some(watches) = watched.get_mut(&address(inode)) else { return };
    let before = watches.len();
    watches.retain(|w| w.number != number || !w.is_of(instance));
    COUNT.fetch_sub(before - watches.len(), Ordering::Relaxed);
    if watches.is_empty() {
        watched.remove(&address(inode));
    }
}

fn watchers(inode: &Arc<dyn Inode>) -> Vec<(Arc<Instance>, i32)> {
    let watched = WATCHED.lock();
    let watches = watched.get(&address(inode)).into_iter().flatten();
    watches.filter_map(|w| Some((w.instance.upgrade()?, w.number))).collect()
}

/// Tells those who watch an inode. `unlinked` says that the name it came through is gone.
pub(crate) fn tell(
    inode: &Arc<dyn Inode>,
    change: Change,
    cookie: u32,
    name: &[u8],
    unlinked: bool,
) {
    for (instance, number) in watchers(inode) {
        instance.event(number, change, cookie, name, unlinked);
    }
}

/// An inode is gone: its watches end.
pub(crate) fn end(inode: &Arc<dyn Inode>) {
    for (instance, number) in watchers(inode) {
        instance.gone(number);
    }
}
