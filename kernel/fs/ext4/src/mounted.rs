// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A volume as the tree of mounts sees it.

use crate::node::Node;
use crate::volume::Volume;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use kio::Result;
use kvfs::{FileSystem, FsStat, Inode, MountFlags};

/// A volume with its root directory, for the tree of mounts. The volume ends
/// with its last user, be that a mount or an open file.
#[derive(Debug)]
pub struct Mounted {
    volume: Arc<Volume>,
    root: Arc<Node>,
}

impl Mounted {
    pub(crate) fn new(volume: Arc<Volume>, root: Arc<Node>) -> Self {
        Self { volume, root }
    }

    /// The volume.
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }
}

impl FileSystem for Mounted {
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn name(&self) -> &'static str {
        "ext4"
    }

    fn statfs(&self) -> FsStat {
        let core = self.volume.lock_core();
        let stat = core.engine.statfs();
        drop(core);
        let reserved = self.volume.reserved.load(Ordering::Relaxed);
        FsStat {
            magic: crate::MAGIC,
            block_size: stat.block_size,
            blocks: stat.total_blocks,
            free_blocks: stat.free_blocks.saturating_sub(reserved),
            inodes: u64::from(stat.total_inodes),
            free_inodes: u64::from(stat.free_inodes),
            name_max: kvfs::NAME_MAX as u64,
        }
    }

    fn flags(&self) -> MountFlags {
        match self.volume.check_writable() {
            Ok(()) => MountFlags::empty(),
            Err(_) => MountFlags::RDONLY,
        }
    }

    fn source(&self) -> &str {
        &self.volume.options.source
    }

    fn sync(&self) -> Result<()> {
        self.volume.sync()
    }
}
