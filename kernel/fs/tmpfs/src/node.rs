// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A file, directory, link or special file: the inode of this file system.

use crate::Shared;
use crate::attributes::Attributes;
use crate::directory::Directory;
use crate::regular::Regular;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};
use kio::{DirEntry, Errno, File, FileKind, Result, Sink, Source, Stat};
use kmm::Frame;
use ksync::{SpinGuard, SpinLock};
use kvfs::{Attachment, AttributeChange, Inode, OpenFlags, RenameFlags};

/// What Linux's tmpfs counts for a directory entry.
const ENTRY_SIZE: u64 = 20;

pub(crate) enum Content {
    Regular(Regular),
    Directory(SpinLock<Directory>),
    Symlink(Box<[u8]>),
    Special { device: u64, attachment: Attachment },
}

pub(crate) struct Node {
    shared: Arc<Shared>,
    this: Weak<Node>,
    number: u64,
    kind: FileKind,
    pub(crate) attributes: Attributes,
    /// Made by O_TMPFILE: it may get its first name.
    linkable: AtomicBool,
    content: Content,
}

impl Node {
    fn with_content(
        shared: &Arc<Shared>,
        kind: FileKind,
        permissions: u32,
        content: Content,
    ) -> Result<Arc<Self>> {
        shared.charge_inode()?;
        let links = if kind == FileKind::Directory { 2 } else { 1 };
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            number: shared.next_inode.fetch_add(1, Ordering::Relaxed),
            kind,
            attributes: Attributes::new(permissions, links, shared.now()),
            linkable: AtomicBool::new(false),
            content,
            shared: shared.clone(),
        }))
    }

    /// A node of any kind but a link.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        kind: FileKind,
        permissions: u32,
        device: u64,
    ) -> Result<Arc<Self>> {
        let content = match kind {
            FileKind::Regular => Content::Regular(Regular::default()),
            FileKind::Directory => Content::Directory(SpinLock::new(Directory::new(None))),
            FileKind::Symlink | FileKind::Anonymous => return Err(Errno::EINVAL),
            _ => Content::Special { device, attachment: SpinLock::new(None) },
        };
        Self::with_content(shared, kind, permissions, content)
    }

    /// A node that shows `lower` until it is changed. Names of one file give
    /// one node.
    pub(crate) fn over(shared: &Arc<Shared>, lower: Arc<dyn Inode>) -> Result<Arc<Self>> {
        let stat = lower.stat()?;
        let shares = stat.links > 1 && stat.kind != FileKind::Directory;
        let mut linked = shared.linked.lock();
        if shares && let Some(node) = linked.get(&stat.inode).cloned() {
            return Ok(node);
        }
        let content = match stat.kind {
            FileKind::Regular => Content::Regular(Regular::over(lower, stat.size)),
            FileKind::Directory => Content::Directory(SpinLock::new(Directory::new(Some(lower)))),
            FileKind::Symlink => Content::Symlink(lower.read_link()?.into()),
            _ => Content::Special { device: stat.device_node, attachment: SpinLock::new(None) },
        };
        // Looking at the lower file system is free of the limit.
        shared.used_inodes.fetch_add(1, Ordering::Relaxed);
        let node = Arc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            number: stat.inode,
            kind: stat.kind,
            attributes: Attributes::of(&stat),
            linkable: AtomicBool::new(false),
            content,
            shared: shared.clone(),
        });
        if shares {
            linked.insert(stat.inode, node.clone());
        }
        Ok(node)
    }

    pub(crate) fn directory(shared: &Arc<Shared>, permissions: u32) -> Result<Arc<Self>> {
        Self::new(shared, FileKind::Directory, permissions, 0)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn file_kind(&self) -> FileKind {
        self.kind
    }

    fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    fn regular(&self) -> Result<&Regular> {
        match &self.content {
            Content::Regular(regular) => Ok(regular),
            Content::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    fn entries(&self) -> Result<SpinGuard<'_, Directory>> {
        match &self.content {
            Content::Directory(directory) => Ok(directory.lock()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Puts a new node into this directory.
    fn add(&self, name: &[u8], make: impl FnOnce() -> Result<Arc<Node>>) -> Result<Arc<dyn Inode>> {
        let mut entries = self.entries()?;
        entries.check_free(&self.shared, name)?;
        let node = make()?;
        node.attributes.inherit(&self.attributes, node.kind);
        if node.is_directory() {
            self.attributes.add_links(1);
        }
        entries.insert(name, node.clone());
        self.attributes.touch(self.shared.now());
        Ok(node)
    }

    /// One name fewer. A directory loses its own "." with it.
    fn lose_name(&self, now: u64) {
        if self.is_directory() {
            self.attributes.set_links(0);
        } else {
            self.attributes.add_links(-1);
            if self.attributes.links() == 0 {
                let last = self.shared.linked.lock().remove(&self.number);
                drop(last);
            }
        }
        self.attributes.touch_attributes(now);
    }

    /// Marks a directory as removed, or says `ENOTEMPTY`.
    fn end_directory(&self) -> Result<()> {
        let mut entries = self.entries()?;
        if !entries.is_empty()? {
            return Err(Errno::ENOTEMPTY);
        }
        entries.removed = true;
        Ok(())
    }
}

/// The node behind an inode of this file system.
fn node_of(inode: &Arc<dyn Inode>) -> Result<&Node> {
    inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
}

impl File for Node {
    fn stat(&self) -> Result<Stat> {
        let mut stat = Stat::anonymous(self.kind);
        stat.device = self.shared.device;
        stat.inode = self.number;
        self.attributes.fill(&mut stat);
        match &self.content {
            Content::Regular(regular) => {
                stat.size = regular.size();
                stat.blocks = regular.block_count();
            }
            Content::Directory(directory) => {
                stat.size = (directory.lock().own_len() as u64 + 2) * ENTRY_SIZE;
            }
            Content::Symlink(target) => stat.size = target.len() as u64,
            Content::Special { device, .. } => stat.device_node = *device,
        }
        Ok(stat)
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let count = self.regular()?.read(offset, sink)?;
        self.attributes.touch_accessed(|| self.shared.now());
        Ok(count)
    }

    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        let count = self.regular()?.write(&self.shared, offset, source)?;
        if count > 0 {
            self.attributes.touch(self.shared.now());
        }
        Ok(count)
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        let done = self.regular()?.append(&self.shared, source)?;
        if done.0 > 0 {
            self.attributes.touch(self.shared.now());
        }
        Ok(done)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek_hole(&self, offset: u64, hole: bool) -> Result<u64> {
        self.regular()?.seek_hole(offset, hole)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.regular()?.truncate(&self.shared, size)?;
        self.attributes.touch(self.shared.now());
        Ok(())
    }

    fn allocate(&self, mode: u32, offset: u64, length: u64) -> Result<()> {
        let regular = self.regular().map_err(|_| Errno::ENODEV)?;
        regular.allocate(&self.shared, mode, offset, length)?;
        self.attributes.touch(self.shared.now());
        Ok(())
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn read_dir(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        self.entries()?.list(cursor, emit)?;
        self.attributes.touch_accessed(|| self.shared.now());
        Ok(())
    }

    fn map_page(&self, index: u64, for_write: bool) -> Result<Frame> {
        self.regular().map_err(|_| Errno::ENODEV)?.map_page(&self.shared, index, for_write)
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
        Ok(self.entries()?.lookup(&self.shared, name)?)
    }

    fn create(
        &self,
        name: &[u8],
        kind: FileKind,
        permissions: u32,
        device: u64,
    ) -> Result<Arc<dyn Inode>> {
        self.add(name, || Node::new(&self.shared, kind, permissions, device))
    }

    fn symlink(&self, name: &[u8], target: &[u8]) -> Result<Arc<dyn Inode>> {
        self.add(name, || {
            let content = Content::Symlink(target.into());
            Node::with_content(&self.shared, FileKind::Symlink, 0o777, content)
        })
    }

    fn create_unnamed(&self, permissions: u32, linkable: bool) -> Result<Arc<dyn Inode>> {
        drop(self.entries()?);
        let node = Node::new(&self.shared, FileKind::Regular, permissions, 0)?;
        node.attributes.set_links(0);
        node.attributes.inherit(&self.attributes, node.kind);
        node.linkable.store(linkable, Ordering::Relaxed);
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = node_of(target)?;
        if target.is_directory() {
            return Err(Errno::EPERM);
        }
        let node = target.this.upgrade().ok_or(Errno::ENOENT)?;
        if !Arc::ptr_eq(&node.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        let mut entries = self.entries()?;
        entries.check_free(&self.shared, name)?;
        if node.attributes.links() == 0 && !node.linkable.swap(false, Ordering::Relaxed) {
            return Err(Errno::ENOENT);
        }
        let now = self.shared.now();
        node.attributes.add_links(1);
        node.attributes.touch_attributes(now);
        entries.insert(name, node);
        self.attributes.touch(now);
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        let mut entries = self.entries()?;
        if entries.lookup(&self.shared, name)?.is_directory() {
            return Err(Errno::EISDIR);
        }
        let now = self.shared.now();
        let gone = entries.remove(name);
        drop(entries);
        self.attributes.touch(now);
        if let Some(node) = gone {
            node.lose_name(now);
        }
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        let _order = self.shared.rename.lock();
        let mut entries = self.entries()?;
        let node = entries.lookup(&self.shared, name)?;
        node.end_directory()?;
        let now = self.shared.now();
        node.lose_name(now);
        let gone = entries.remove(name);
        self.attributes.add_links(-1);
        self.attributes.touch(now);
        drop(entries);
        drop(gone);
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        to: &Arc<dyn Inode>,
        to_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let to = node_of(to)?;
        if !Arc::ptr_eq(&to.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        let _order = self.shared.rename.lock();
        let mut pair = Pair::lock(self, to)?;
        match flags.contains(RenameFlags::EXCHANGE) {
            true => pair.exchange(name, to_name),
            false => pair.replace(name, to_name, flags),
        }
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.content {
            Content::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn set_attributes(&self, change: &AttributeChange) -> Result<()> {
        self.attributes.change(change, self.kind, self.shared.now());
        Ok(())
    }

    fn open(&self, flags: OpenFlags) -> Result<Option<Arc<dyn File>>> {
        if let (Content::Regular(regular), true) = (&self.content, flags.writable()) {
            regular.leave_lower();
        }
        Ok(None)
    }

    fn attachment(&self) -> Option<&Attachment> {
        match &self.content {
            Content::Special { attachment, .. } => Some(attachment),
            _ => None,
        }
    }
}

/// The two directories of a rename, locked; one guard when they are the same.
struct Pair<'a> {
    from: &'a Node,
    to: &'a Node,
    from_entries: SpinGuard<'a, Directory>,
    to_entries: Option<SpinGuard<'a, Directory>>,
}

impl<'a> Pair<'a> {
    /// The rename lock makes the order of the two locks free.
    fn lock(from: &'a Node, to: &'a Node) -> Result<Self> {
        let from_entries = from.entries()?;
        let to_entries = match core::ptr::eq(from, to) {
            true => None,
            false => Some(to.entries()?),
        };
        Ok(Self { from, to, from_entries, to_entries })
    }

    fn target_entries(&mut self) -> &mut Directory {
        self.to_entries.as_mut().unwrap_or(&mut self.from_entries)
    }

    fn exchange(&mut self, name: &[u8], to_name: &[u8]) -> Result<()> {
        let first = self.from_entries.lookup(&self.from.shared, name)?;
        let shared = self.from.shared.clone();
        let second = self.target_entries().lookup(&shared, to_name)?;
        let shift = i32::from(second.is_directory()) - i32::from(first.is_directory());
        self.from.attributes.add_links(shift);
        self.to.attributes.add_links(-shift);
        self.finish(&[&first, &second]);
        self.from_entries.insert(name, second);
        self.target_entries().insert(to_name, first);
        Ok(())
    }

    fn replace(&mut self, name: &[u8], to_name: &[u8], flags: RenameFlags) -> Result<()> {
        let moved = self.from_entries.lookup(&self.from.shared, name)?;
        let shared = self.from.shared.clone();
        let to_entries = self.target_entries();
        if to_entries.removed {
            return Err(Errno::ENOENT);
        }
        let replaced = match to_entries.lookup(&shared, to_name) {
            Ok(node) => Some(node),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        if let Some(replaced) = &replaced {
            if flags.contains(RenameFlags::NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            if Arc::ptr_eq(replaced, &moved) {
                return Ok(());
            }
            match (moved.is_directory(), replaced.is_directory()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => replaced.end_directory()?,
                (false, false) => {}
            }
            replaced.lose_name(shared.now());
        }
        if moved.is_directory() {
            self.from.attributes.add_links(-1);
            // A replaced directory had its ".." here already.
            self.to.attributes.add_links(i32::from(replaced.is_none()));
        }
        self.finish(&[&moved]);
        self.from_entries.remove(name);
        self.target_entries().insert(to_name, moved);
        Ok(())
    }

    fn finish(&self, moved: &[&Arc<Node>]) {
        let now = self.from.shared.now();
        self.from.attributes.touch(now);
        self.to.attributes.touch(now);
        moved.iter().for_each(|node| node.attributes.touch_attributes(now));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.used_inodes.fetch_sub(1, Ordering::Relaxed);
        match &mut self.content {
            Content::Regular(regular) => self.shared.uncharge_pages(regular.page_count()),
            Content::Directory(directory) => {
                // A deep tree is taken down in a loop: the stack is small.
                let mut pending = directory.get_mut().drain();
                while let Some(node) = pending.pop() {
                    if let Some(mut node) = Arc::into_inner(node)
                        && let Content::Directory(inner) = &mut node.content
                    {
                        pending.append(&mut inner.get_mut().drain());
                    }
                }
            }
            _ => {}
        }
    }
}
