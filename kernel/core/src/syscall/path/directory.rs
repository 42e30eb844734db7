// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Working and root directory, and listing.

use super::{AT_FDCWD, locate, namespace};
use crate::process::FsContext;
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user;
use alloc::vec::Vec;
use kio::{DirEntry, Errno, FileKind, Result};
use kvfs::{Change, Location};

fn directory(at: Location) -> Result<Location> {
    if at.kind() == FileKind::Directory { Ok(at) } else { Err(Errno::ENOTDIR) }
}

/// Puts a directory in a slot of the process; the old one goes after the lock.
fn change(thread: &Thread, at: Location, slot: fn(&mut FsContext) -> &mut Location) {
    let old = thread.process.fs.with(|fs| core::mem::replace(slot(fs), at));
    drop(old);
}

pub(in crate::syscall) fn chdir(thread: &Thread, a: Args) -> Result<u64> {
    let at = directory(locate(thread, AT_FDCWD, a.u64(0), 0)?)?;
    change(thread, at, |fs| &mut fs.cwd);
    Ok(0)
}

pub(in crate::syscall) fn fchdir(thread: &Thread, a: Args) -> Result<u64> {
    let at = thread.process.files.open_file(a.i32(0))?.opened_location();
    change(thread, directory(at.ok_or(Errno::ENOTDIR)?)?, |fs| &mut fs.cwd);
    Ok(0)
}

pub(in crate::syscall) fn chroot(thread: &Thread, a: Args) -> Result<u64> {
    let at = directory(locate(thread, AT_FDCWD, a.u64(0), 0)?)?;
    change(thread, at, |fs| &mut fs.root);
    Ok(0)
}

pub(in crate::syscall) fn getcwd(thread: &Thread, a: Args) -> Result<u64> {
    let fs = thread.process.places();
    let mut path = namespace(thread).working_directory(&fs.root, &fs.cwd)?;
    path.push(0);
    if path.len() > a.usize(1) {
        return Err(Errno::ERANGE);
    }
    user::write(a.u64(0), &path)?;
    Ok(path.len() as u64)
}

/// `struct linux_dirent64` before the name.
const HEADER: usize = 19;
/// What one call gives at most; C libraries ask for this or less.
const LIST_MAX: usize = 32 << 10;

/// Entries as getdents64(2) writes them, up to a limit.
struct Listing {
    bytes: Vec<u8>,
    limit: usize,
    /// Where the next call goes on.
    cursor: u64,
    full: bool,
}

impl Listing {
    /// Adds an entry, or says that there is no room.
    fn push(&mut self, entry: &DirEntry<'_>) -> bool {
        let len = (HEADER + entry.name.len() + 1).next_multiple_of(8);
        if len > self.limit - self.bytes.len() {
            self.full = true;
            return false;
        }
        let end = self.bytes.len() + len;
        self.bytes.extend_from_slice(&entry.inode.to_le_bytes());
        self.bytes.extend_from_slice(&entry.next.to_le_bytes());
        self.bytes.extend_from_slice(&(len as u16).to_le_bytes());
        // DT_* is the type of st_mode, shifted.
        self.bytes.push((entry.kind as u32 >> 12) as u8);
        self.bytes.extend_from_slice(entry.name);
        self.bytes.resize(end, 0);
        self.cursor = entry.next;
        true
    }

    /// "." and "..", which file systems leave out.
    fn push_dots(&mut self, thread: &Thread, at: &Location) -> Result<()> {
        let from = self.cursor;
        let mut dot = |name: &[u8], next: u64, at: &Location| -> Result<bool> {
            let inode = at.inode().stat()?.inode;
            Ok(self.push(&DirEntry { name, inode, kind: FileKind::Directory, next }))
        };
        if from == 0 && !dot(b".", 1, at)? {
            return Ok(());
        }
        if from <= 1 {
            let root = thread.process.fs.with(|fs| fs.root.clone());
            dot(b"..", 2, &namespace(thread).parent_of(&root, at))?;
        }
        Ok(())
    }
}

pub(in crate::syscall) fn getdents64(thread: &Thread, a: Args) -> Result<u64> {
    let open = thread.process.files.open_file(a.i32(0))?;
    if !open.flags().readable() {
        return Err(Errno::EBADF);
    }
    let at = open.opened_location().ok_or(Errno::ENOTDIR).and_then(directory)?;
    if at.dentry().is_unlinked() {
        return Err(Errno::ENOENT);
    }
    let limit = (a.u32(2) as usize).min(LIST_MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve(limit).map_err(|_| Errno::ENOMEM)?;
    let cursor = *open.offset();
    let mut listing = Listing { bytes, limit, cursor, full: false };
    if cursor < 2 {
        listing.push_dots(thread, &at)?;
    }
    if !listing.full {
        open.file().read_dir(listing.cursor, &mut |entry| listing.push(&entry))?;
    }
    if listing.bytes.is_empty() && listing.full {
        return Err(Errno::EINVAL);
    }
    user::write(a.u64(1), &listing.bytes)?;
    *open.offset() = listing.cursor;
    open.changed(Change::ACCESS);
    Ok(listing.bytes.len() as u64)
}
