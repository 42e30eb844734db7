// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What stat(2) tells of a node, kept in memory while the node is.

use crate::stamp::Times;
use core::time::Duration;
use kio::{FileKind, Stat};
use kvfs::{AttributeChange, SetTime};
use rsext4::{DirectoryEntryType, Ext4Timestamp, InodeInfo};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 24 * 60 * 60 * SECOND;

/// Attributes of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) permissions: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    /// The size that programs see.
    pub(crate) size: u64,
    /// The size on the disk, which follows when pages are written.
    pub(crate) disk_size: u64,
    /// Blocks of 512 bytes on the disk.
    pub(crate) blocks: u64,
    pub(crate) times: Times,
    /// Times in memory are newer than those of the disk.
    pub(crate) times_dirty: bool,
    /// This mount changed the times.
    pub(crate) times_changed: bool,
    pub(crate) device_node: u64,
}

impl Attributes {
    pub(crate) fn of(info: &InodeInfo, times: Times) -> Self {
        let device_node = info.device_number.map_or(0, |d| {
            let (major, minor) = (u64::from(d.major()), u64::from(d.minor()));
            minor & 0xff | major << 8 | (minor & !0xff) << 12
        });
        Self {
            permissions: u32::from(info.mode) & 0o7777,
            uid: info.uid,
            gid: info.gid,
            links: u32::from(info.links),
            size: info.size,
            disk_size: info.size,
            blocks: info.blocks,
            times,
            times_dirty: false,
            times_changed: false,
            device_node,
        }
    }

    /// The contents changed.
    pub(crate) fn touch(&mut self, now: u64) {
        self.times.modified = now;
        self.touch_attributes(now);
    }

    /// The attributes changed.
    pub(crate) fn touch_attributes(&mut self, now: u64) {
        self.times.changed = now;
        self.times_dirty = true;
        self.times_changed = true;
    }

    /// The contents were read: relatime, as mount(8) describes it. True when
    /// the time moved.
    pub(crate) fn touch_accessed(&mut self, now: u64) -> bool {
        let Times { accessed, modified, changed } = self.times;
        if accessed > modified.max(changed) && now.saturating_sub(accessed) < DAY {
            return false;
        }
        self.times.accessed = now.max(modified.max(changed) + 1);
        self.times_dirty = true;
        self.times_changed = true;
        true
    }

    /// chmod(2), chown(2), utimensat(2).
    pub(crate) fn change(&mut self, change: &AttributeChange, kind: FileKind, now: u64) {
        if let Some(permissions) = change.permissions {
            self.permissions = permissions & 0o7777;
        }
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        if (change.uid.is_some() || change.gid.is_some()) && kind != FileKind::Directory {
            // chown(2): a set-ID program does not change hands.
            let group = if self.permissions & 0o010 != 0 { 0o2000 } else { 0 };
            self.permissions &= !(0o4000 | group);
        }
        let nanos = |time: SetTime| match time {
            SetTime::Now => now,
            SetTime::At(at) => u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
        };
        self.times.accessed = change.accessed.map_or(self.times.accessed, nanos);
        self.times.modified = change.modified.map_or(self.times.modified, nanos);
        self.touch_attributes(now);
    }

    pub(crate) fn fill(&self, stat: &mut Stat) {
        stat.permissions = self.permissions;
        stat.uid = self.uid;
        stat.gid = self.gid;
        stat.links = self.links;
        stat.size = self.size;
        stat.blocks = self.blocks;
        stat.device_node = self.device_node;
        stat.accessed = Duration::from_nanos(self.times.accessed);
        stat.modified = Duration::from_nanos(self.times.modified);
        stat.changed = Duration::from_nanos(self.times.changed);
    }
}

/// As the core takes it.
pub(crate) fn timestamp(nanos: u64) -> Ext4Timestamp {
    Ext4Timestamp::new((nanos / SECOND) as i64, (nanos % SECOND) as u32)
}

/// The kind of a directory entry or an inode; `None` for what has none.
pub(crate) fn kind_of(kind: DirectoryEntryType) -> Option<FileKind> {
    Some(match kind {
        DirectoryEntryType::Unknown => return None,
        DirectoryEntryType::RegularFile => FileKind::Regular,
        DirectoryEntryType::Directory => FileKind::Directory,
        DirectoryEntryType::CharacterDevice => FileKind::CharDevice,
        DirectoryEntryType::BlockDevice => FileKind::BlockDevice,
        DirectoryEntryType::Fifo => FileKind::Fifo,
        DirectoryEntryType::Socket => FileKind::Socket,
        DirectoryEntryType::Symlink => FileKind::Symlink,
    })
}
