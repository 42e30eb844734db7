// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files in memory, as tmpfs(5): pages are frames, shared with the programs
//! that map them; holes cost nothing; a limit gives `ENOSPC`.
//!
//! Such a file system can lie over a read-only one, as overlayfs does, with
//! [`Tmpfs::over`]. It shows the lower files, reads and maps them where they
//! are, and takes over page by page what is written. As with overlayfs, a
//! mapping made before a file was first opened for writing keeps the lower
//! pages; later ones share what is written. Other than there, a descriptor from
//! before sees the changes, inode numbers never change, and directories of the
//! lower file system can be renamed.
//!
//! **Lock order** (all below the locks of `kvfs`): the rename lock of the file
//! system, which every operation takes that locks more than one directory;
//! directories; the write lock of a file; its page map. The page map's lock is
//! held for look-ups alone, so that readers do not wait for writers.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod attributes;
mod directory;
mod lower;
mod node;
mod page_map;
mod regular;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use kio::{Clock, Errno, FileKind, Result};
use ksync::SpinLock;
use kvfs::{FileSystem, FsStat, Inode};
use node::Node;

const TMPFS_MAGIC: u64 = 0x0102_1994;
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;
/// Numbers of files made over a lower file system; its own are below.
const FIRST_OVERLAY_INODE: u64 = 1 << 40;
const PAGE: u64 = kmm::FRAME_SIZE as u64;

/// How much a file system may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of file contents.
    pub bytes: u64,
    /// Files, directories and the like.
    pub inodes: u64,
}

impl Limits {
    /// Half of the machine's memory, and one inode for each page of it, as
    /// Linux has it.
    pub fn of_this_machine() -> Self {
        let half = kmm::memory_info().total_frames as u64 / 2;
        Self { bytes: half * PAGE, inodes: half }
    }
}

/// What the nodes of one file system share.
pub(crate) struct Shared {
    device: u64,
    clock: Arc<dyn Clock>,
    max_pages: u64,
    max_inodes: u64,
    used_pages: AtomicU64,
    used_inodes: AtomicU64,
    next_inode: AtomicU64,
    rename: SpinLock<()>,
    /// Nodes of lower files with several names, by inode number: what changed
    /// has to show under the names that were not looked up yet. Emptied with
    /// the [`Tmpfs`], since nodes hold what is shared.
    linked: SpinLock<BTreeMap<u64, Arc<Node>>>,
}

fn charge(used: &AtomicU64, count: u64, limit: u64) -> Result<()> {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        used.checked_add(count).filter(|&n| n <= limit)
    })
    .map(|_| ())
    .map_err(|_| Errno::ENOSPC)
}

impl Shared {
    fn new(clock: Arc<dyn Clock>, limits: Limits, first_inode: u64) -> Arc<Self> {
        Arc::new(Self {
            device: kvfs::new_device_number(),
            clock,
            max_pages: limits.bytes / PAGE,
            max_inodes: limits.inodes,
            used_pages: AtomicU64::new(0),
            used_inodes: AtomicU64::new(0),
            next_inode: AtomicU64::new(first_inode),
            rename: SpinLock::new(()),
            linked: SpinLock::new(BTreeMap::new()),
        })
    }
    fn charge_page(&self) -> Result<()> {
        charge(&self.used_pages, 1, self.max_pages)
    }
    fn uncharge_pages(&self, count: u64) {
        self.used_pages.fetch_sub(count, Ordering::Relaxed);
    }
    fn charge_inode(&self) -> Result<()> {
        /// About what a node and its name take of the kernel's memory.
        const NODE_SIZE: usize = 1024;
        if !kmm::kernel_can_spare(NODE_SIZE) {
            return Err(Errno::ENOSPC);
        }
        charge(&self.used_inodes, 1, self.max_inodes)
    }
    fn now(&self) -> u64 {
        u64::try_from(self.clock.realtime().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A file system in memory.
pub struct Tmpfs {
    shared: Arc<Shared>,
    root: Arc<Node>,
    name: &'static str,
}

impl Tmpfs {
    /// An empty file system whose root has `permissions`.
    pub fn new(clock: Arc<dyn Clock>, limits: Limits, permissions: u32) -> Result<Arc<Self>> {
        Self::with_name(clock, limits, permissions, "tmpfs")
    }

    /// As [`new`](Self::new), with another name in /proc/mounts ("devtmpfs").
    pub fn with_name(
        clock: Arc<dyn Clock>,
        limits: Limits,
        permissions: u32,
        name: &'static str,
    ) -> Result<Arc<Self>> {
        let shared = Shared::new(clock, limits, 1);
        let root = Node::directory(&shared, permissions)?;
        Ok(Arc::new(Self { shared, root, name }))
    }

    /// A file system that shows `lower`, with all changes in memory.
    pub fn over(
        lower: &dyn FileSystem,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<Arc<Self>> {
        let shared = Shared::new(clock, limits, FIRST_OVERLAY_INODE);
        let root = Node::over(&shared, lower.root())?;
        Ok(Arc::new(Self { shared, root, name: "overlay" }))
    }

    /// A regular file without a name, for memfd_create(2) and for shared
    /// anonymous mappings. It lives as long as someone has it.
    pub fn anonymous_file(&self, permissions: u32) -> Result<Arc<dyn Inode>> {
        let node = Node::new(&self.shared, FileKind::Regular, permissions, 0)?;
        node.attributes.set_links(0);
        Ok(node)
    }

    /// `st_dev` of its files.
    pub fn device(&self) -> u64 {
        self.shared.device
    }
}

impl FileSystem for Tmpfs {
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn statfs(&self) -> FsStat {
        let shared = &self.shared;
        let free = |max: u64, used: &AtomicU64| max.saturating_sub(used.load(Ordering::Relaxed));
        FsStat {
            magic: if self.name == "overlay" { OVERLAYFS_MAGIC } else { TMPFS_MAGIC },
            block_size: PAGE,
            blocks: shared.max_pages,
            free_blocks: free(shared.max_pages, &shared.used_pages),
            inodes: shared.max_inodes,
            free_inodes: free(shared.max_inodes, &shared.used_inodes),
            name_max: kvfs::NAME_MAX as u64,
        }
    }

    fn options(&self) -> String {
        let root = self.root.attributes.permissions();
        alloc::format!(",size={}k,mode={root:o},inode64", self.shared.max_pages * (PAGE / 1024))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let linked = core::mem::take(&mut *self.shared.linked.lock());
        drop(linked);
    }
}

impl fmt::Debug for Tmpfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tmpfs({} pages)", self.shared.used_pages.load(Ordering::Relaxed))
    }
}
