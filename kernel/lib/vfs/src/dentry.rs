// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Remembered names, and places in the tree of mounts.

use crate::{Inode, Mount, NAME_MAX, notify, watches};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use kio::{Errno, FileKind, Result};
use ksync::SpinLock;

/// Dentries that hang in a tree at present, of all trees.
static CACHED: AtomicUsize = AtomicUsize::new(0);

pub(crate) type Children = BTreeMap<Box<[u8]>, Arc<Dentry>>;

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Box<[u8]>,
    unlinked: bool,
}

/// One name in a directory and the inode that it stood for when it was looked
/// up. As long as it hangs in its parent it is right.
pub struct Dentry {
    inode: Arc<dyn Inode>,
    kind: FileKind,
    /// Entries are not remembered. So it is below a dynamic directory too: its
    /// dentries hang nowhere, and remembered children would keep them for ever.
    dynamic: bool,
    /// The directory was removed: nothing can be made in it any more. Changed
    /// under the lock of `children`.
    dead: AtomicBool,
    /// Mounts that sit on this dentry.
    pub(crate) mounts: AtomicUsize,
    place: SpinLock<Place>,
    /// The remembered names, and the lock of the directory.
    pub(crate) children: SpinLock<Children>,
}

impl Dentry {
    /// A dentry that does not hang in its parent.
    pub(crate) fn unhashed(
        inode: Arc<dyn Inode>,
        parent: Option<Arc<Dentry>>,
        name: &[u8],
    ) -> Arc<Self> {
        Arc::new(Self {
            kind: inode.kind(),
            dynamic: inode.is_dynamic() || parent.as_ref().is_some_and(|p| p.dynamic),
            inode,
            dead: AtomicBool::new(false),
            mounts: AtomicUsize::new(0),
            place: SpinLock::new(Place { parent, name: name.into(), unlinked: false }),
            children: SpinLock::new(BTreeMap::new()),
        })
    }

    /// The inode behind the name.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// Type of the inode.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// True once the name was removed or replaced.
    pub fn is_unlinked(&self) -> bool {
        self.place.lock().unlinked
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// To be called with the lock of `children` held.
    pub(crate) fn set_dead(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub(crate) fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    pub(crate) fn name(&self) -> Box<[u8]> {
        self.place.lock().name.clone()
    }

    /// The directory, the name there, and whether it was removed.
    pub(crate) fn place(&self) -> (Option<Arc<Dentry>>, Box<[u8]>, bool) {
        let place = self.place.lock();
        (place.parent.clone(), place.name.clone(), place.unlinked)
    }

    pub(crate) fn mark_unlinked(&self) {
        self.place.lock().unlinked = true;
    }

    pub(crate) fn set_place(&self, parent: &Arc<Dentry>, name: &[u8]) {
        let mut place = self.place.lock();
        let old = place.parent.replace(parent.clone());
        place.name = name.into();
        drop(place);
        // The last reference to a parent may free a chain of them.
        drop(old);
    }

    /// True when `self` is `other` or lies above it. Stable only under the
    /// rename lock.
    pub(crate) fn is_at_or_above(&self, other: &Arc<Dentry>) -> bool {
        let mut at = Some(other.clone());
        while let Some(dentry) = at {
            if core::ptr::eq(Arc::as_ptr(&dentry), self) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    /// The entry `name` of this directory.
    pub(crate) fn child(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        if self.kind != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if self.dynamic {
            return self.look_up(name);
        }
        self.child_locked(&mut self.children.lock(), name)
    }

    /// As [`child`](Self::child), for a caller that has the directory's lock.
    pub(crate) fn child_locked(
        self: &Arc<Self>,
        children: &mut Children,
        name: &[u8],
    ) -> Result<Arc<Dentry>> {
        if let Some(found) = children.get(name) {
            return Ok(found.clone());
        }
        let dentry = self.look_up(name)?;
        self.hash(children, &dentry, name);
        Ok(dentry)
    }

    fn look_up(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(Self::unhashed(self.inode.lookup(name)?, Some(self.clone()), name))
    }

    /// Hangs `dentry`, whose place is set, into this directory.
    pub(crate) fn hash(&self, children: &mut Children, dentry: &Arc<Dentry>, name: &[u8]) {
        if !self.dynamic && children.insert(name.into(), dentry.clone()).is_none() {
            CACHED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the name out of this directory.
    pub(crate) fn unhash(&self, children: &mut Children, name: &[u8]) {
        if children.remove(name).is_some() {
            CACHED.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets all names below, for the end of a tree.
    pub(crate) fn forget_all(self: &Arc<Self>) {
        let mut pending = alloc::vec![self.clone()];
        while let Some(dentry) = pending.pop() {
            let children = core::mem::take(&mut *dentry.children.lock());
            CACHED.fetch_sub(children.len(), Ordering::Relaxed);
            pending.extend(children.into_values());
        }
    }

    /// Forgets the names below that nobody uses or watches: not every file system gives the
    /// same inode again. Deepest first, so that a directory goes when all below it went.
    pub(crate) fn forget_unused(self: &Arc<Self>) {
        let mut directories: Vec<Arc<Dentry>> = alloc::vec![self.clone()];
        let mut next = 0;
        while let Some(dentry) = directories.get(next).cloned() {
            let children = dentry.children.lock();
            directories
                .extend(children.values().filter(|c| c.kind == FileKind::Directory).cloned());
            drop(children);
            next += 1;
        }
        while let Some(dentry) = directories.pop() {
            let mut children = dentry.children.lock();
            let before = children.len();
            // Nobody gains a reference while the lock of the parent is held:
            // the only one is in the map.
            children.retain(|_, c| {
                Arc::strong_count(c) > 1 || !c.children.lock().is_empty() || watches::has(c.inode())
            });
            CACHED.fetch_sub(before - children.len(), Ordering::Relaxed);
        }
    }

    /// How many dentries hang in trees.
    pub(crate) fn cached() -> usize {
        CACHED.load(Ordering::Relaxed)
    }
}

impl Drop for Dentry {
    /// Frees a chain of parents in a loop: a removed tree may be deeper than
    /// the kernel's stack.
    fn drop(&mut self) {
        let place = self.place.get_mut();
        let mut parent = place.parent.take();
        if place.unlinked {
            notify::unused(&self.inode);
        }
        while let Some(dentry) = parent {
            parent = Arc::into_inner(dentry).and_then(|mut d| d.place.get_mut().parent.take());
        }
    }
}

impl fmt::Debug for Dentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dentry({:?})", alloc::string::String::from_utf8_lossy(&self.name()))
    }
}

/// A place in the tree: a dentry, seen through one of the mounts that show it.
#[derive(Clone, Debug)]
pub struct Location {
    pub(crate) mount: Arc<Mount>,
    pub(crate) dentry: Arc<Dentry>,
}

impl Location {
    /// The inode at this place.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// The mount through which it is seen.
    pub fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// The remembered name.
    pub fn dentry(&self) -> &Arc<Dentry> {
        &self.dentry
    }

    /// Type of the inode.
    pub fn kind(&self) -> FileKind {
        self.dentry.kind()
    }

    /// True when both are the same name seen through the same mount.
    pub fn is(&self, other: &Location) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }
}
