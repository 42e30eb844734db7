// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A file, directory, link or special file of a volume.

use crate::attributes::{Attributes, kind_of};
use crate::cache::Pages;
use crate::stamp::Times;
use crate::volume::Volume;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use kio::{DirEntry, Errno, File, FileKind, Result, Sink, Source, Stat};
use kmm::Frame;
use ksync::SpinLock;
use kvfs::{Attachment, AttributeChange, Inode, RenameFlags, XattrMode};
use rsext4::{Ext4Error, Ext4Result, FilePermissions, InodeInfo, InodeMetadataUpdate, InodeNumber};

/// The inode of this file system. There is one for each inode that somebody
/// has, however many names it has.
pub(crate) struct Node {
    pub(crate) volume: Arc<Volume>,
    pub(crate) this: Weak<Node>,
    pub(crate) number: u32,
    kind: FileKind,
    pub(crate) pages: SpinLock<Pages>,
    pub(crate) attributes: SpinLock<Attributes>,
    attachment: Attachment,
    /// It was freed, or is on the list for that.
    reaped: AtomicBool,
    /// It was made without a name, and may get its first.
    pub(crate) linkable: AtomicBool,
}

impl Node {
    pub(crate) fn new(
        volume: Arc<Volume>,
        info: &InodeInfo,
        attributes: Attributes,
    ) -> Ext4Result<Arc<Self>> {
        let kind = kind_of(info.file_type()).ok_or_else(Ext4Error::corrupted)?;
        Ok(Arc::new_cyclic(|this| Self {
            volume,
            this: this.clone(),
            number: info.number.raw(),
            kind,
            pages: SpinLock::default(),
            attributes: SpinLock::new(attributes),
            attachment: SpinLock::new(None),
            reaped: AtomicBool::new(false),
            linkable: AtomicBool::new(false),
        }))
    }

    /// For the core.
    pub(crate) fn inode(&self) -> Result<InodeNumber> {
        InodeNumber::new(self.number).map_err(|_| Errno::EIO)
    }

    pub(crate) fn file_kind(&self) -> FileKind {
        self.kind
    }

    pub(crate) fn is_unlinked(&self) -> bool {
        self.attributes.lock().links == 0
    }

    /// True for the one who frees the inode.
    pub(crate) fn take_reaping(&self) -> bool {
        !self.reaped.swap(true, Ordering::Relaxed)
    }

    /// The times when this mount changed them.
    pub(crate) fn changed_times(&self) -> Option<Times> {
        let attributes = self.attributes.lock();
        attributes.times_changed.then_some(attributes.times)
    }

    pub(crate) fn size(&self) -> u64 {
        self.attributes.lock().size
    }

    /// The volume has to write this node.
    pub(crate) fn set_dirty(&self) {
        if let Some(this) = self.this.upgrade() {
            self.volume.set_dirty(&this);
        }
    }

    /// The core changed the inode as part of another operation, at `now`: what
    /// is kept here follows.
    pub(crate) fn follow(&self, info: &InodeInfo, now: u64, contents: bool) {
        let mut attributes = self.attributes.lock();
        attributes.links = u32::from(info.links);
        attributes.blocks = info.blocks;
        attributes.disk_size = info.size;
        if self.kind == FileKind::Directory {
            attributes.size = info.size;
        }
        attributes.times.changed = now;
        attributes.times_changed = true;
        if contents {
            attributes.times.modified = now;
        }
    }

    /// relatime; a volume that is not written keeps its times.
    pub(crate) fn touch_accessed(&self) {
        if self.volume.check_writable().is_err() {
            return;
        }
        let moved = self.attributes.lock().touch_accessed(self.volume.now());
        if moved {
            self.set_dirty();
        }
    }

    fn change_attributes(&self, change: &AttributeChange) -> Result<()> {
        let number = self.inode()?;
        let now = self.volume.now();
        let mut next = *self.attributes.lock();
        next.change(change, self.kind, now);
        let permissions = FilePermissions::new(next.permissions as u16);
        let permissions = permissions.map_err(|_| Errno::EINVAL)?;
        let changes_owner = change.uid.is_some() || change.gid.is_some();
        let times = next.times;
        self.volume.change(|core| {
            core.set_time(now);
            let stamp = crate::attributes::timestamp;
            let update = InodeMetadataUpdate {
                permissions: Some(permissions),
                owner: changes_owner.then_some((next.uid, next.gid)),
                atime: Some(stamp(times.accessed)),
                mtime: Some(stamp(times.modified)),
                ..InodeMetadataUpdate::default()
            };
            core.engine.update_inode_metadata(number, update)?;
            if changes_owner {
                // A change of owner takes set-ID bits away by its own rules.
                let update = InodeMetadataUpdate {
                    permissions: Some(permissions),
                    ..InodeMetadataUpdate::default()
                };
                core.engine.update_inode_metadata(number, update)?;
            }
            let mut attributes = self.attributes.lock();
            attributes.permissions = next.permissions;
            attributes.uid = next.uid;
            attributes.gid = next.gid;
            attributes.times = times;
            attributes.times_changed = true;
            Ok(())
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.forget_pages();
        let volume = self.volume.clone();
        volume.node_ended(self);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.number)
    }
}

/// The node behind an inode of this file system.
pub(crate) fn node_of(inode: &Arc<dyn Inode>) -> Result<&Node> {
    inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
}

impl File for Node {
    fn stat(&self) -> Result<Stat> {
        let mut stat = Stat::anonymous(self.kind);
        stat.device = self.volume.options.device_number;
        stat.inode = u64::from(self.number);
        stat.block_size = crate::PAGE as u32;
        self.attributes.lock().fill(&mut stat);
        if stat.blocks == 0 && stat.kind == FileKind::Regular {
            // What waits to be written counts already, as with Linux's delayed allocation.
            stat.blocks = self.pages.lock().dirty_count() * (crate::PAGE / 512);
        }
        Ok(stat)
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let count = self.read(offset, sink)?;
        self.touch_accessed();
        Ok(count)
    }

    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.write(Some(offset), source).map(|(count, _)| count)
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        self.write(None, source)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek_hole(&self, offset: u64, hole: bool) -> Result<u64> {
        self.seek(offset, hole)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.set_size(size)
    }

    fn allocate(&self, mode: u32, offset: u64, length: u64) -> Result<()> {
        self.change_range(mode, offset, length)
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        if self.volume.check_writable().is_err() {
            return Ok(());
        }
        self.write_back()?;
        self.volume.with(crate::core_state::Core::commit)
    }

    fn read_dir(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        self.list(cursor, emit)
    }

    fn map_page(&self, index: u64, for_write: bool) -> Result<Frame> {
        self.page_for_map(index, for_write)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Inode for Node {
    fn kind(&self) -> FileKind {
        self.kind
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.find(name)
    }

    fn create(
        &self,
        name: &[u8],
        kind: FileKind,
        permissions: u32,
        device: u64,
    ) -> Result<Arc<dyn Inode>> {
        self.make(name, kind, permissions, device)
    }

    fn symlink(&self, name: &[u8], target: &[u8]) -> Result<Arc<dyn Inode>> {
        self.make_symlink(name, target)
    }

    fn create_unnamed(&self, permissions: u32, linkable: bool) -> Result<Arc<dyn Inode>> {
        self.make_unnamed(permissions, linkable)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.add_link(name, node_of(target)?)
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.take_name(name, false)
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.take_name(name, true)
    }

    fn rename(
        &self,
        name: &[u8],
        to: &Arc<dyn Inode>,
        to_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        self.move_name(name, node_of(to)?, to_name, flags)
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        self.link_text()
    }

    fn set_attributes(&self, change: &AttributeChange) -> Result<()> {
        self.change_attributes(change)
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.read_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.write_xattr(name, value, mode)
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        self.delete_xattr(name)
    }

    fn list_xattrs(&self) -> Result<Vec<u8>> {
        self.xattr_names()
    }

    fn attachment(&self) -> Option<&Attachment> {
        match self.kind {
            FileKind::Regular | FileKind::Directory | FileKind::Symlink => None,
            _ => Some(&self.attachment),
        }
    }
}
