// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mounts, and the tree they make.

use crate::executed::Executed;
use crate::{Dentry, FileSystem, Inode, Location, MountFlags, OpenFlags};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use kio::{Errno, File, FileKind, Result};
use ksync::SpinLock;

/// Remembered names above which unused ones are forgotten.
const CACHE_LIMIT: usize = 32 * 1024;

/// The dentries of one file system, shared by its mounts.
struct Tree {
    file_system: Arc<dyn FileSystem>,
    root: Arc<Dentry>,
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Children and parents hold each other.
        self.root.forget_all();
    }
}

/// A file system, or a part of it, at a place in the tree.
pub struct Mount {
    id: u64,
    tree: Arc<Tree>,
    root: Arc<Dentry>,
    place: Option<Location>,
    flags: MountFlags,
}

impl Mount {
    fn new(
        tree: Arc<Tree>,
        root: Arc<Dentry>,
        place: Option<Location>,
        flags: MountFlags,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(21);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, tree, root, place, flags })
    }

    /// A mount without a place in the tree.
    pub(crate) fn detached(file_system: Arc<dyn FileSystem>, flags: MountFlags) -> Arc<Self> {
        let root = Dentry::unhashed(file_system.root(), None, b"");
        Self::new(Arc::new(Tree { file_system, root: root.clone() }), root, None, flags)
    }

    /// The number of the mount in mountinfo.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The file system.
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.tree.file_system
    }

    /// Flags of the mount and of its file system, which may have become read-only since.
    pub fn flags(&self) -> MountFlags {
        self.flags | self.tree.file_system.flags()
    }

    /// What it sits on; `None` for the root.
    pub fn mount_point(&self) -> Option<&Location> {
        self.place.as_ref()
    }

    /// The top of what it shows.
    pub fn root(self: &Arc<Self>) -> Location {
        Location { mount: self.clone(), dentry: self.root.clone() }
    }

    pub(crate) fn is_top(&self, dentry: &Arc<Dentry>) -> bool {
        Arc::ptr_eq(&self.root, dentry)
    }

    /// `EROFS` for a read-only mount.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.flags().contains(MountFlags::RDONLY) {
            true => Err(Errno::EROFS),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mount({}, {})", self.id, self.tree.file_system.name())
    }
}

/// Opens what file systems only name: the kernel's part of a device node or
/// FIFO that lies on an ordinary file system.
pub trait SpecialFiles: Send + Sync {
    /// The device with number `device` (in the form of `st_rdev`); `ENXIO` when
    /// there is none.
    fn open_device(&self, kind: FileKind, device: u64, flags: OpenFlags) -> Result<Arc<dyn File>>;

    /// An end of the pipe behind the FIFO `inode`, kept in its
    /// [`attachment`](Inode::attachment); `ENXIO` as fifo(7) says.
    fn open_fifo(&self, inode: &Arc<dyn Inode>, flags: OpenFlags) -> Result<Arc<dyn File>>;
}

/// The tree of mounts that processes see.
pub struct Namespace {
    mounts: SpinLock<Vec<Arc<Mount>>>,
    /// Held while a directory changes its parent, so that ancestry is stable.
    pub(crate) rename: SpinLock<()>,
    pub(crate) special: Arc<dyn SpecialFiles>,
    pub(crate) executed: Executed,
    cache_limit: AtomicUsize,
}

impl Namespace {
    /// A tree whose root is `root`.
    pub fn new(
        root: Arc<dyn FileSystem>,
        flags: MountFlags,
        special: Arc<dyn SpecialFiles>,
    ) -> Self {
        Self {
            mounts: SpinLock::new(alloc::vec![Mount::detached(root, flags)]),
            rename: SpinLock::new(()),
            special,
            executed: Executed::default(),
            cache_limit: AtomicUsize::new(CACHE_LIMIT),
        }
    }

    /// The root directory.
    pub fn root(&self) -> Location {
        let mounts = self.mounts.lock();
        let root = mounts[0].clone();
        drop(mounts);
        self.cross(root.root())
    }

    /// All mounts, in the order they were made.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.mounts.lock().clone()
    }

    /// Puts `file_system` on `at`; both must be directories or both not.
    pub fn mount(
        &self,
        file_system: Arc<dyn FileSystem>,
        at: &Location,
        flags: MountFlags,
    ) -> Result<()> {
        // The second mount of a file system shares the names of the first.
        let known =
            self.mounts.lock().iter().find_map(|m| {
                Arc::ptr_eq(&m.tree.file_system, &file_system).then(|| m.tree.clone())
            });
        let tree = known.unwrap_or_else(|| {
            let root = Dentry::unhashed(file_system.root(), None, b"");
            Arc::new(Tree { file_system, root })
        });
        let root = tree.root.clone();
        self.attach(tree, root, at, flags)
    }

    /// Shows what is at `source` at `at` too.
    pub fn bind(&self, source: &Location, at: &Location, flags: MountFlags) -> Result<()> {
        self.attach(source.mount.tree.clone(), source.dentry.clone(), at, flags)
    }

    fn attach(
        &self,
        tree: Arc<Tree>,
        root: Arc<Dentry>,
        at: &Location,
        flags: MountFlags,
    ) -> Result<()> {
        let is_directory = |kind| kind == FileKind::Directory;
        if is_directory(at.kind()) != is_directory(root.kind()) {
            return Err(Errno::ENOTDIR);
        }
        if at.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        let at = self.cross(at.clone());
        let mut mounts = self.mounts.lock();
        at.dentry.mounts.fetch_add(1, Ordering::Release);
        mounts.push(Mount::new(tree, root, Some(at), flags));
        Ok(())
    }

    /// Takes away the mount whose top is `at`: `EINVAL` when it is none, `EBUSY`
    /// when it is in use, unless `detach` asks for it nevertheless (its users
    /// keep it).
    pub fn unmount(&self, at: &Location, detach: bool) -> Result<()> {
        let mut mounts = self.mounts.lock();
        let index = mounts
            .iter()
            .position(|m| Arc::ptr_eq(m, &at.mount))
            .filter(|_| Arc::ptr_eq(&at.dentry, &at.mount.root))
            .ok_or(Errno::EINVAL)?;
        let Some(place) = &at.mount.place else { return Err(Errno::EBUSY) };
        // One reference is the table's and one is the caller's.
        if !detach && Arc::strong_count(&at.mount) > 2 {
            return Err(Errno::EBUSY);
        }
        place.dentry.mounts.fetch_sub(1, Ordering::Release);
        let gone = mounts.remove(index);
        drop(mounts);
        drop(gone);
        Ok(())
    }

    /// Goes to the top of the mounts that sit on `at`.
    pub(crate) fn cross(&self, mut at: Location) -> Location {
        while at.dentry.mounts.load(Ordering::Acquire) > 0 {
            let mounts = self.mounts.lock();
            // The newest is on top when a bind shows one dentry twice.
            let Some(next) =
                mounts.iter().rev().find(|m| m.place.as_ref().is_some_and(|p| p.is(&at))).cloned()
            else {
                break;
            };
            drop(mounts);
            at = next.root();
        }
        at
    }

    /// Forgets unused names when there are many; called where no lock is held.
    pub(crate) fn limit_cache(&self) {
        if Dentry::cached() <= self.cache_limit.load(Ordering::Relaxed) {
            return;
        }
        self.forget_unused();
        // When most are in use, looking again soon would be a waste.
        self.cache_limit.store(CACHE_LIMIT.max(Dentry::cached() * 2), Ordering::Relaxed);
    }

    /// Forgets the remembered names that nobody uses, to give memory back.
    pub fn forget_unused(&self) {
        for mount in self.mounts() {
            mount.tree.root.forget_unused();
        }
    }

    /// The path of `at` as a process with the root directory `root` sees it,
    /// in the form of the links of /proc/self/fd: " (deleted)" behind it when
    /// the name is gone, "(unreachable)" in front when it lies outside.
    pub fn path_of(&self, root: &Location, at: &Location) -> Vec<u8> {
        let mut names = Vec::new();
        let stable = self.rename.lock();
        let unlinked = at.dentry.is_unlinked();
        let reachable = collect_names(root, at, &mut names);
        drop(stable);
        let mut path = Vec::new();
        match names.last() {
            // An object without a place has a name alone.
            Some(name) if !reachable && names.len() == 1 && at.dentry.parent().is_none() => {
                return name.to_vec();
            }
            _ if !reachable => path.extend_from_slice(b"(unreachable)"),
            _ => {}
        }
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if names.is_empty() {
            path.push(b'/');
        }
        if unlinked {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    /// getcwd(2): `ENOENT` when the directory was removed.
    pub fn working_directory(&self, root: &Location, at: &Location) -> Result<Vec<u8>> {
        match at.dentry.is_dead() || at.dentry.is_unlinked() {
            true => Err(Errno::ENOENT),
            false => Ok(self.path_of(root, at)),
        }
    }
}

/// The names from `at` up to `root`, or to the top (then false).
fn collect_names(root: &Location, at: &Location, names: &mut Vec<alloc::boxed::Box<[u8]>>) -> bool {
    let mut at = at.clone();
    loop {
        if at.is(root) {
            return true;
        }
        if at.mount.is_top(&at.dentry) {
            let Some(place) = at.mount.place.clone() else {
                let name = at.dentry.name();
                if !name.is_empty() {
                    names.push(name);
                }
                return false;
            };
            at = place;
            continue;
        }
        names.push(at.dentry.name());
        match at.dentry.parent() {
            Some(parent) => at.dentry = parent,
            None => return false,
        }
    }
}
