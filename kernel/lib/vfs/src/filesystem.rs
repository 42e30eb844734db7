// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a mounted file system offers as a whole.

use crate::{Inode, MountFlags};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use kio::Result;

/// What statfs(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsStat {
    /// Magic number of the type.
    pub magic: u64,
    /// Bytes in a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Inodes in all.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// Longest name.
    pub name_max: u64,
}

impl FsStat {
    /// A file system without blocks, as proc.
    pub const fn without_blocks(magic: u64) -> Self {
        Self {
            magic,
            block_size: 4096,
            blocks: 0,
            free_blocks: 0,
            inodes: 0,
            free_inodes: 0,
            name_max: crate::NAME_MAX as u64,
        }
    }
}

/// A file system, ready to be mounted.
pub trait FileSystem: Send + Sync {
    /// The root directory; the same inode each time.
    fn root(&self) -> Arc<dyn Inode>;

    /// The type as /proc/filesystems has it.
    fn name(&self) -> &'static str;

    /// statfs(2).
    fn statfs(&self) -> FsStat;

    /// What is mounted, as /proc/mounts shows it: a device, or the type again.
    fn source(&self) -> &str {
        self.name()
    }

    /// sync(2): everything is on the disk when this returns.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Flags that every mount of it has.
    fn flags(&self) -> MountFlags {
        MountFlags::empty()
    }

    /// The options that /proc/mounts shows behind `rw` or `ro`, with a comma
    /// in front of each.
    fn options(&self) -> alloc::string::String {
        alloc::string::String::new()
    }
}

/// A fresh number for `st_dev` of a file system without a device: major 0, as
/// Linux's anonymous devices.
pub fn new_device_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(20);
    let minor = NEXT.fetch_add(1, Ordering::Relaxed) & 0xfffff;
    (minor & 0xff) | (minor & 0xfff00) << 12
}
