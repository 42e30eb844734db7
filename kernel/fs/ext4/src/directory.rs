// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names: looking up, making, taking away, moving, listing.

use crate::attributes::kind_of;
use crate::core_state::Core;
use crate::node::Node;
use crate::stamp::Times;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use kio::{DirEntry, Errno, FileKind, Result};
use kvfs::{Inode, RenameFlags};
use rsext4::{
    DeviceNumber, DirectoryCursor, Ext4Error, Ext4Result, FileName, FilePermissions, InodeInfo,
    MutationContext, RenameOptions, SpecialInodeKind, UnlinkOutcome,
};

/// Entries that one look at the directory gives.
const BATCH: usize = 64;
/// The cursors of "." and ".." are the caller's.
const FIRST_CURSOR: u64 = 3;
/// EXT4_HTREE_EOF_64BIT.
const END: u64 = 0x7fff_ffff_ffff_ffff;
/// Longest text of a symbolic link: a block.
const LINK_MAX: usize = 4096;

fn file_name(name: &[u8]) -> Result<FileName<'_>> {
    FileName::new(name).map_err(|_| Errno::EINVAL)
}

/// The position behind an entry as a number, as Linux's ext4 does it: bytes of a
/// plain directory, the hash of an indexed one.
fn to_cookie(cursor: DirectoryCursor) -> u64 {
    match cursor {
        DirectoryCursor::Start => 0,
        DirectoryCursor::Linear { offset } => offset,
        DirectoryCursor::HTree { major, minor, .. } => {
            (u64::from(major >> 1) << 32 | u64::from(minor)).clamp(FIRST_CURSOR, END - 1)
        }
        DirectoryCursor::End => END,
    }
}

fn from_cookie(cookie: u64, indexed: bool) -> DirectoryCursor {
    match cookie {
        0..FIRST_CURSOR => DirectoryCursor::Start,
        END.. => DirectoryCursor::End,
        _ if indexed => DirectoryCursor::HTree {
            major: ((cookie >> 32) as u32) << 1,
            minor: cookie as u32,
            collision: 0,
        },
        _ => DirectoryCursor::Linear { offset: cookie },
    }
}

impl Node {
    fn check_directory(&self) -> Result<()> {
        match self.file_kind() {
            FileKind::Directory => Ok(()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// This directory as the core has it after a change at `now`.
    fn follow_core(&self, core: &mut Core, now: u64) -> Ext4Result<()> {
        let number = rsext4::InodeNumber::new(self.number)?;
        let info = core.engine.inode(number)?;
        self.follow(&info, now, true);
        Ok(())
    }

    pub(crate) fn find(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.check_directory()?;
        let (number, name) = (self.inode()?, file_name(name)?);
        let node = self.volume.look_up(|core| {
            core.engine.lookup_child(number, name)?.ok_or_else(Ext4Error::not_found)
        })?;
        Ok(node)
    }

    /// The owner and mode of something new here: a set-group-ID directory passes
    /// its group on.
    fn inherited(&self, kind: FileKind, permissions: u32) -> (MutationContext, u16) {
        const SETGID: u32 = 0o2000;
        let attributes = self.attributes.lock();
        let passes = attributes.permissions & SETGID != 0;
        let gid = if passes { attributes.gid } else { 0 };
        let extra = if passes && kind == FileKind::Directory { SETGID } else { 0 };
        (MutationContext::new(0, gid, 0, 0), ((permissions | extra) & 0o7777) as u16)
    }

    /// Makes something with `work` and gives its node.
    fn make_with(
        &self,
        name: &[u8],
        work: impl FnOnce(&mut Core, FileName<'_>) -> Ext4Result<InodeInfo>,
    ) -> Result<Arc<Node>> {
        self.check_directory()?;
        let name = file_name(name)?;
        let now = self.volume.now();
        self.volume.change(|core| {
            core.set_time(now);
            let info = work(core, name)?;
            let times = Times { accessed: now, modified: now, changed: now };
            let node = self.volume.new_node(&info, times)?;
            node.attributes.lock().times_changed = true;
            self.follow_core(core, now)?;
            Ok(node)
        })
    }

    pub(crate) fn make(
        &self,
        name: &[u8],
        kind: FileKind,
        permissions: u32,
        device: u64,
    ) -> Result<Arc<dyn Inode>> {
        let parent = self.inode()?;
        let (context, mode) = self.inherited(kind, permissions);
        let mode = FilePermissions::new(mode).map_err(|_| Errno::EINVAL)?;
        let special = match kind {
            FileKind::Regular | FileKind::Directory => None,
            FileKind::Fifo => Some(SpecialInodeKind::Fifo),
            FileKind::Socket => Some(SpecialInodeKind::Socket),
            FileKind::CharDevice => Some(SpecialInodeKind::CharacterDevice(device_of(device)?)),
            FileKind::BlockDevice => Some(SpecialInodeKind::BlockDevice(device_of(device)?)),
            FileKind::Symlink | FileKind::Anonymous => return Err(Errno::EINVAL),
        };
        let node = self.make_with(name, |core, name| match special {
            Some(special) => core.engine.create_special_inode(context, parent, name, mode, special),
            None if kind == FileKind::Directory => {
                core.engine.create_directory(context, parent, name, mode)
            }
            None => core.engine.create_regular_file(context, parent, name, mode),
        })?;
        Ok(node)
    }

    pub(crate) fn make_symlink(&self, name: &[u8], target: &[u8]) -> Result<Arc<dyn Inode>> {
        if target.len() as u64 >= self.volume.block_size {
            return Err(Errno::ENAMETOOLONG);
        }
        let parent = self.inode()?;
        let (context, _) = self.inherited(FileKind::Symlink, 0o777);
        let node = self.make_with(name, |core, name| {
            core.engine.create_symlink(context, parent, name, target)
        })?;
        Ok(node)
    }

    /// A file that has a name for a moment within one transaction.
    pub(crate) fn make_unnamed(&self, permissions: u32, linkable: bool) -> Result<Arc<dyn Inode>> {
        let parent = self.inode()?;
        let (context, mode) = self.inherited(FileKind::Regular, permissions);
        let mode = FilePermissions::new(mode).map_err(|_| Errno::EINVAL)?;
        let name = format!(".#unnamed-{}", self.volume.now());
        let node = self.make_with(name.as_bytes(), |core, name| {
            let info = core.engine.create_regular_file(context, parent, name, mode)?;
            let _ = core.engine.unlink(parent, name)?;
            Ok(InodeInfo { links: 0, ..info })
        })?;
        node.linkable.store(linkable, Ordering::Relaxed);
        Ok(node)
    }

    pub(crate) fn add_link(&self, name: &[u8], target: &Node) -> Result<()> {
        self.check_directory()?;
        // linkat(2): what lost its last name gets none again.
        let first = target.is_unlinked();
        if first && !target.linkable.swap(false, Ordering::Relaxed) {
            return Err(Errno::ENOENT);
        }
        let outcome = self.add_link_to(name, target);
        target.linkable.store(first && outcome.is_err(), Ordering::Relaxed);
        if let Some(target) = target.this.upgrade().filter(|_| first) {
            self.volume.follow_name(&target);
        }
        outcome
    }

    fn add_link_to(&self, name: &[u8], target: &Node) -> Result<()> {
        let (parent, number, name) = (self.inode()?, target.inode()?, file_name(name)?);
        let now = self.volume.now();
        self.volume.change(|core| {
            core.set_time(now);
            let info = core.engine.hard_link(number, parent, name)?;
            target.follow_links(&info, now);
            self.follow_core(core, now)
        })
    }

    fn follow_links(&self, info: &InodeInfo, now: u64) {
        let mut attributes = self.attributes.lock();
        attributes.links = u32::from(info.links);
        attributes.touch_attributes(now);
        // The core wrote the time already.
        attributes.times_dirty = false;
    }

    /// What becomes of an inode that lost a name. Its node, if there is one, is
    /// handed back so that it does not end under the core's lock.
    fn lost_name(
        &self,
        core: &mut Core,
        outcome: UnlinkOutcome,
        now: u64,
    ) -> Ext4Result<Option<Arc<Node>>> {
        let known = self.volume.known(outcome.inode.raw());
        match &known {
            Some(node) => {
                let mut attributes = node.attributes.lock();
                let directory = node.file_kind() == FileKind::Directory;
                attributes.links = if directory { 0 } else { u32::from(outcome.remaining_links) };
                attributes.times.changed = now;
                attributes.times_changed = true;
                drop(attributes);
                self.volume.follow_name(node);
            }
            None if outcome.requires_reap() => core.reap(outcome.inode)?,
            None => {}
        }
        Ok(known)
    }

    pub(crate) fn take_name(&self, name: &[u8], directory: bool) -> Result<()> {
        self.check_directory()?;
        let (parent, name) = (self.inode()?, file_name(name)?);
        let now = self.volume.now();
        let gone = self.volume.change(|core| {
            core.set_time(now);
            let outcome = match directory {
                true => core.engine.remove_empty_directory(parent, name)?,
                false => core.engine.unlink(parent, name)?,
            };
            let gone = self.lost_name(core, outcome, now)?;
            self.follow_core(core, now)?;
            Ok(gone)
        })?;
        drop(gone);
        Ok(())
    }

    pub(crate) fn move_name(
        &self,
        name: &[u8],
        to: &Node,
        to_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        self.check_directory()?;
        to.check_directory()?;
        if !Arc::ptr_eq(&self.volume, &to.volume) {
            return Err(Errno::EXDEV);
        }
        let options = if flags.contains(RenameFlags::EXCHANGE) {
            RenameOptions::EXCHANGE
        } else if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        } else if flags.contains(RenameFlags::NOREPLACE) {
            RenameOptions::NO_REPLACE
        } else {
            RenameOptions::REPLACE
        };
        let (from, into) = (self.inode()?, to.inode()?);
        let (name, to_name) = (file_name(name)?, file_name(to_name)?);
        let now = self.volume.now();
        let gone = self.volume.change(|core| {
            core.set_time(now);
            let outcome = core.engine.rename(from, name, into, to_name, options)?;
            let mut users = Vec::new();
            if let Some(replaced) = outcome.replaced {
                users.extend(self.lost_name(core, replaced, now)?);
            }
            self.follow_core(core, now)?;
            if self.number != to.number {
                to.follow_core(core, now)?;
            }
            let moved = [(into, to_name), (from, name)];
            let count = if options.exchange() { 2 } else { 1 };
            for (directory, name) in moved.into_iter().take(count) {
                let Some(info) = core.engine.lookup_child(directory, name)? else { continue };
                let Some(node) = self.volume.known(info.number.raw()) else { continue };
                let mut attributes = node.attributes.lock();
                attributes.links = u32::from(info.links);
                attributes.times.changed = now;
                attributes.times_changed = true;
                drop(attributes);
                users.push(node);
            }
            Ok(users)
        })?;
        drop(gone);
        Ok(())
    }

    pub(crate) fn link_text(&self) -> Result<Vec<u8>> {
        if self.file_kind() != FileKind::Symlink {
            return Err(Errno::EINVAL);
        }
        let number = self.inode()?;
        let size = self.size();
        self.volume.with(|core| {
            let len = usize::try_from(size).ok().filter(|&size| size <= LINK_MAX);
            let len = len.ok_or_else(Ext4Error::corrupted)?;
            let mut text = alloc::vec![0; len];
            let count = core.engine.read_inode(number, 0, &mut text)?;
            text.truncate(count);
            Ok(text)
        })
    }

    pub(crate) fn list(
        &self,
        cursor: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.check_directory()?;
        let number = self.inode()?;
        let mut cursor = cursor;
        loop {
            let batch = self.volume.with(|core| {
                let info = core.engine.inode(number)?;
                let indexed = info.flags.contains(rsext4::InodeFlags::DIRECTORY_INDEX);
                let mut entries =
                    core.engine.read_directory(number, from_cookie(cursor, indexed), BATCH)?;
                for entry in entries.iter_mut().filter(|e| kind_of(e.file_type).is_none()) {
                    entry.file_type = core.engine.inode(entry.inode)?.file_type();
                }
                Ok(entries)
            })?;
            if batch.is_empty() {
                break;
            }
            for entry in &batch {
                let next = to_cookie(entry.next_cursor);
                cursor = next;
                if entry.name == b"." || entry.name == b".." {
                    continue;
                }
                let Some(kind) = kind_of(entry.file_type) else { continue };
                let inode = u64::from(entry.inode.raw());
                if !emit(DirEntry { name: &entry.name, inode, kind, next }) {
                    self.touch_accessed();
                    return Ok(());
                }
            }
        }
        self.touch_accessed();
        Ok(())
    }
}

/// A device number in the form of `st_rdev`.
fn device_of(device: u64) -> Result<DeviceNumber> {
    let major = (device >> 8 & 0xfff) as u32;
    let minor = (device & 0xff | device >> 12 & 0xf_ff00) as u32;
    DeviceNumber::new(major, minor).map_err(|_| Errno::EINVAL)
}
