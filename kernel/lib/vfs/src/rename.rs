// SPDX-License-Identifier: Apache-2.0 OR MIT
//! renameat2(2), the one operation that locks two directories.

use crate::dentry::Children;
use crate::notify::{self, Move};
use crate::walk::Tail;
use crate::{Dentry, Namespace, RenameFlags, Start};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use kio::{Errno, FileKind, Result};
use ksync::SpinGuard;

/// The locked directories: one guard when both are the same.
struct Locked<'a> {
    from: SpinGuard<'a, Children>,
    to: Option<SpinGuard<'a, Children>>,
}

impl Locked<'_> {
    fn to(&mut self) -> &mut Children {
        match &mut self.to {
            Some(to) => to,
            None => &mut self.from,
        }
    }
}

/// Locks both in the order of the crate's rule. Ancestry is stable because the
/// caller holds the rename lock, or because both are the same.
fn lock_both<'a>(from: &'a Arc<Dentry>, to: &'a Arc<Dentry>) -> Locked<'a> {
    if Arc::ptr_eq(from, to) {
        return Locked { from: from.children.lock(), to: None };
    }
    let from_first = if from.is_at_or_above(to) {
        true
    } else if to.is_at_or_above(from) {
        false
    } else {
        Arc::as_ptr(from) < Arc::as_ptr(to)
    };
    if from_first {
        let from = from.children.lock();
        Locked { from, to: Some(to.children.lock()) }
    } else {
        let to = to.children.lock();
        Locked { from: from.children.lock(), to: Some(to) }
    }
}

impl Namespace {
    /// renameat2(2).
    pub fn rename(
        &self,
        old_start: Start<'_>,
        old_path: &[u8],
        new_start: Start<'_>,
        new_path: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        if !known.contains(flags) || flags == known {
            return Err(Errno::EINVAL);
        }
        let old = self.resolve_parent(old_start, old_path)?;
        let new = self.resolve_parent(new_start, new_path)?;
        if !Arc::ptr_eq(&old.directory.mount, &new.directory.mount) {
            return Err(Errno::EXDEV);
        }
        if !old.is_name() {
            return Err(Errno::EBUSY);
        }
        if !new.is_name() {
            let exists = flags.contains(RenameFlags::NOREPLACE);
            return Err(if exists { Errno::EEXIST } else { Errno::EBUSY });
        }
        old.directory.mount.check_writable()?;
        // Only a move between directories changes who lies below whom.
        let same = Arc::ptr_eq(&old.directory.dentry, &new.directory.dentry);
        let ancestry = (!same).then(|| self.rename.lock());
        let renamed = rename_locked(&old, &new, flags)?;
        drop(ancestry);
        if let Some(renamed) = renamed {
            renamed.tell(&old, &new, flags.contains(RenameFlags::EXCHANGE));
        }
        Ok(())
    }
}

/// What a rename did.
struct Renamed {
    moved: Arc<Dentry>,
    replaced: Option<Arc<Dentry>>,
}

impl Renamed {
    fn tell(&self, old: &Tail<'_>, new: &Tail<'_>, exchange: bool) {
        let from = (&*old.directory.dentry, old.name());
        let to = (&*new.directory.dentry, new.name());
        let replaced = self.replaced.as_ref();
        let gone = replaced.filter(|_| !exchange);
        notify::moved(&Move { dentry: &self.moved, from, to, replaced: gone });
        if let Some(other) = replaced.filter(|_| exchange) {
            notify::moved(&Move { dentry: other, from: to, to: from, replaced: None });
        }
    }
}

/// `None` when there was nothing to do.
fn rename_locked(old: &Tail<'_>, new: &Tail<'_>, flags: RenameFlags) -> Result<Option<Renamed>> {
    let (from, to) = (&old.directory.dentry, &new.directory.dentry);
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    let mut locked = lock_both(from, to);
    let moved = from.child_locked(&mut locked.from, old.name())?;
    let replaced = match to.child_locked(locked.to(), new.name()) {
        Ok(dentry) => Some(dentry),
        Err(Errno::ENOENT) => None,
        Err(e) => return Err(e),
    };
    check_names(old, new, &moved, replaced.as_ref(), flags)?;
    if let Some(replaced) = &replaced {
        if Arc::ptr_eq(moved.inode(), replaced.inode()) {
            // Two names of one file: rename(2) says to do nothing.
            return Ok(None);
        }
        if !exchange {
            match (is_directory(&moved), is_directory(replaced)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
        }
    }
    if to.is_dead() {
        return Err(Errno::ENOENT);
    }
    let busy = |d: &Arc<Dentry>| d.mounts.load(Ordering::Relaxed) > 0;
    if busy(&moved) || replaced.as_ref().is_some_and(busy) {
        return Err(Errno::EBUSY);
    }
    let inner =
        replaced.as_ref().filter(|r| !exchange && is_directory(r)).map(|r| r.children.lock());
    from.inode().rename(old.name(), to.inode(), new.name(), flags)?;
    if let (Some(_), Some(replaced)) = (&inner, &replaced) {
        replaced.set_dead();
    }
    drop(inner);
    from.unhash(&mut locked.from, old.name());
    to.unhash(locked.to(), new.name());
    moved.set_place(to, new.name());
    to.hash(locked.to(), &moved, new.name());
    match &replaced {
        Some(replaced) if exchange => {
            replaced.set_place(from, old.name());
            from.hash(&mut locked.from, replaced, old.name());
        }
        Some(replaced) => replaced.mark_unlinked(),
        None => {}
    }
    Ok(Some(Renamed { moved, replaced }))
}

fn is_directory(dentry: &Arc<Dentry>) -> bool {
    dentry.kind() == FileKind::Directory
}

/// The refusals that follow from the names alone, in Linux's order.
fn check_names(
    old: &Tail<'_>,
    new: &Tail<'_>,
    moved: &Arc<Dentry>,
    replaced: Option<&Arc<Dentry>>,
    flags: RenameFlags,
) -> Result<()> {
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    match replaced {
        Some(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST),
        None if exchange => return Err(Errno::ENOENT),
        _ => {}
    }
    if exchange && new.slash && !replaced.is_some_and(is_directory) {
        return Err(Errno::ENOTDIR);
    }
    if !is_directory(moved) && (old.slash || (!exchange && new.slash)) {
        return Err(Errno::ENOTDIR);
    }
    if moved.is_at_or_above(&new.directory.dentry) {
        return Err(Errno::EINVAL);
    }
    if replaced.is_some_and(|r| r.is_at_or_above(&old.directory.dentry)) {
        return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    Ok(())
}
