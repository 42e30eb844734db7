// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who wants to know what happens to a name: the places where inotify(7) looks.
//!
//! An event goes to the watches of the inode, and to those of the directory in which the name
//! is that it came through, with that name. Without watches anywhere, all of this is one look
//! at a counter. No lock is held while watchers are told, but for what a caller holds who lets
//! go of a file.

use crate::watches::{self, count, tell};
use crate::{Dentry, Inode, Location};
use alloc::sync::Arc;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, Ordering};
use kio::FileKind;

bitflags! {
    /// What happened: IN_* of inotify(7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Change: u32 {
        /// It was read.
        const ACCESS = 0x1;
        /// Its contents changed.
        const MODIFY = 0x2;
        /// Its attributes changed, the count of its names too.
        const ATTRIB = 0x4;
        /// A descriptor that could write was closed.
        const CLOSE_WRITE = 0x8;
        /// Another descriptor was closed.
        const CLOSE_NOWRITE = 0x10;
        /// It was opened.
        const OPEN = 0x20;
        /// A name went from this directory.
        const MOVED_FROM = 0x40;
        /// A name came into this directory.
        const MOVED_TO = 0x80;
        /// A name was made in this directory.
        const CREATE = 0x100;
        /// A name of this directory was removed.
        const DELETE = 0x200;
        /// The last name of what is watched was removed.
        const DELETE_SELF = 0x400;
        /// What is watched has another name now.
        const MOVE_SELF = 0x800;
        /// What it happened to is a directory.
        const ISDIR = 0x4000_0000;
    }
}

/// Whether anybody watches anything.
#[inline]
pub fn is_watched() -> bool {
    count() > 0
}

fn of_kind(dentry: &Dentry, change: Change) -> Change {
    let directory = dentry.kind() == FileKind::Directory;
    if directory { change | Change::ISDIR } else { change }
}

/// Something happened to what is at a place.
#[inline]
pub fn changed(at: &Location, change: Change) {
    if count() > 0 {
        tell_both(at.dentry(), change);
    }
}

fn tell_both(dentry: &Dentry, change: Change) {
    let change = of_kind(dentry, change);
    let (parent, name, unlinked) = dentry.place();
    if let Some(parent) = parent {
        tell(parent.inode(), change, 0, &name, unlinked);
    }
    tell(dentry.inode(), change, 0, &[], unlinked);
}

/// `name` was made in a directory.
pub(crate) fn created(directory: &Dentry, dentry: &Dentry, name: &[u8]) {
    if count() > 0 {
        tell(directory.inode(), of_kind(dentry, Change::CREATE), 0, name, false);
    }
}

/// A file has one more name, or one less.
pub(crate) fn links_changed(inode: &Arc<dyn Inode>) {
    if count() > 0 {
        tell(inode, Change::ATTRIB, 0, &[], false);
    }
}

/// `name` was removed from a directory.
pub(crate) fn removed(directory: &Dentry, dentry: Arc<Dentry>, name: &[u8]) {
    if count() == 0 {
        return;
    }
    let change = of_kind(&dentry, Change::DELETE);
    if dentry.kind() != FileKind::Directory {
        links_changed(dentry.inode());
    }
    // Linux tells the end of the file before that of its name.
    drop(dentry);
    tell(directory.inode(), change, 0, name, false);
}

/// Nobody uses a name any more that was removed: if the file has no other, its watches end.
pub(crate) fn unused(inode: &Arc<dyn Inode>) {
    if !watches::has(inode) {
        return;
    }
    let named = inode.kind() != FileKind::Directory && inode.stat().is_ok_and(|s| s.links > 0);
    if !named {
        watches::end(inode);
    }
}

/// One name that moved.
pub(crate) struct Move<'a> {
    pub(crate) dentry: &'a Arc<Dentry>,
    pub(crate) from: (&'a Dentry, &'a [u8]),
    pub(crate) to: (&'a Dentry, &'a [u8]),
    /// What the name stood for before.
    pub(crate) replaced: Option<&'a Arc<Dentry>>,
}

/// A name moved.
pub(crate) fn moved(step: &Move<'_>) {
    static COOKIE: AtomicU32 = AtomicU32::new(0);
    if count() == 0 {
        return;
    }
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let change = |change| of_kind(step.dentry, change);
    tell(step.from.0.inode(), change(Change::MOVED_FROM), cookie, step.from.1, false);
    tell(step.to.0.inode(), change(Change::MOVED_TO), cookie, step.to.1, false);
    if let Some(replaced) = step.replaced {
        tell(replaced.inode(), of_kind(replaced, Change::ATTRIB), 0, &[], false);
    }
    tell(step.dentry.inode(), Change::MOVE_SELF, 0, &[], false);
}
