// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who wants to know what happens to a name: the places where inotify(7) looks.
//!
//! A watch hangs on a dentry, and an event goes to those of the dentry and to those
//! of its directory, with the name. Without watches anywhere, all of this is one look
//! at a counter. No lock is held while watchers are told.

use crate::inotify::Instance;
use crate::{Dentry, Location};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use kio::FileKind;
use ksync::SpinLock;

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

/// Watches that hang on dentries at present.
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// One watch: an instance of inotify, and its number there.
struct Watch {
    instance: Weak<Instance>,
    number: i32,
}

/// The watches of a dentry.
#[derive(Default)]
pub(crate) struct Watches(SpinLock<Vec<Watch>>);

impl Watches {
    pub(crate) fn add(&self, instance: &Arc<Instance>, number: i32) {
        let watch = Watch { instance: Arc::downgrade(instance), number };
        self.0.lock().push(watch);
        WATCHES.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, instance: *const Instance, number: i32) {
        let mut watches = self.0.lock();
        let before = watches.len();
        watches.retain(|w| !(w.number == number && core::ptr::eq(w.instance.as_ptr(), instance)));
        WATCHES.fetch_sub(before - watches.len(), Ordering::Relaxed);
    }

    fn tell(&self, change: Change, cookie: u32, name: &[u8], unlinked: bool) {
        let watchers: Vec<(Arc<Instance>, i32)> = {
            let watches = self.0.lock();
            watches.iter().filter_map(|w| Some((w.instance.upgrade()?, w.number))).collect()
        };
        for (instance, number) in watchers {
            instance.event(number, change, cookie, name, unlinked);
        }
    }

    /// What hangs here is gone: the watches end.
    fn end(&self) {
        let watches = core::mem::take(&mut *self.0.lock());
        for watch in watches {
            WATCHES.fetch_sub(1, Ordering::Relaxed);
            if let Some(instance) = watch.instance.upgrade() {
                instance.ended(watch.number);
            }
        }
    }
}

/// Whether anybody watches anything.
#[inline]
pub fn is_watched() -> bool {
    count() > 0
}

/// How many watches there are; 0 spares all work.
pub(crate) fn count() -> usize {
    WATCHES.load(Ordering::Relaxed)
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

fn tell_both(dentry: &Arc<Dentry>, change: Change) {
    let change = of_kind(dentry, change);
    let (parent, name, unlinked) = dentry.place();
    if let Some(parent) = parent {
        parent.watches.tell(change, 0, &name, unlinked);
    }
    dentry.watches.tell(change, 0, &[], unlinked);
}

/// `name` was made in a directory.
pub(crate) fn created(directory: &Dentry, dentry: &Dentry, name: &[u8]) {
    if count() > 0 {
        directory.watches.tell(of_kind(dentry, Change::CREATE), 0, name, false);
    }
}

/// A file has one more name.
pub(crate) fn linked(dentry: &Dentry) {
    if count() > 0 {
        dentry.watches.tell(Change::ATTRIB, 0, &[], false);
    }
}

/// `name` was removed from a directory.
pub(crate) fn removed(directory: &Dentry, dentry: &Dentry, name: &[u8]) {
    if count() == 0 {
        return;
    }
    if dentry.kind() != FileKind::Directory {
        dentry.watches.tell(Change::ATTRIB, 0, &[], false);
    }
    directory.watches.tell(of_kind(dentry, Change::DELETE), 0, name, false);
    end_if_gone(dentry);
}

/// The watches of what has no name any more end.
fn end_if_gone(dentry: &Dentry) {
    let named = dentry.kind() != FileKind::Directory
        && dentry.inode().stat().is_ok_and(|stat| stat.links > 0);
    if !named {
        // Linux tells this one without saying that it is a directory.
        dentry.watches.tell(Change::DELETE_SELF, 0, &[], false);
        dentry.watches.end();
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
    step.from.0.watches.tell(change(Change::MOVED_FROM), cookie, step.from.1, false);
    step.to.0.watches.tell(change(Change::MOVED_TO), cookie, step.to.1, false);
    if let Some(replaced) = step.replaced {
        replaced.watches.tell(of_kind(replaced, Change::ATTRIB), 0, &[], false);
    }
    step.dentry.watches.tell(Change::MOVE_SELF, 0, &[], false);
    if let Some(replaced) = step.replaced {
        end_if_gone(replaced);
    }
}
