// SPDX-License-Identifier: Apache-2.0 OR MIT
//! System calls that take a path: arguments, places, and names.

mod attributes;
mod directory;
mod mount;
mod notify;
mod open;
mod restricted;
mod stat;
#[cfg(test)]
mod tests;
mod xattr;

pub(super) use attributes::{
    access, chmod, chown, fchmod, fchown, old_utimes, truncate, umask, utimensat,
};
pub(super) use directory::{chdir, chroot, fchdir, getcwd, getdents64};
pub(super) use mount::{fstatfs, mount, statfs, sync, syncfs, umount};
pub(super) use notify::{inotify_add_watch, inotify_init, inotify_rm_watch};
pub(super) use open::{creat, open, openat2};
pub(super) use stat::{fstat, lstat, stat, statx};
pub(super) use xattr::xattr;

use crate::thread::Thread;
use crate::user;
use alloc::vec::Vec;
use core::ops::Deref;
use khal::user_memory::copy_from_user;
use kio::{Errno, FileKind, Result};
use kvfs::{Follow, Location, Namespace, RenameFlags, Start};

/// The working directory in place of a descriptor.
pub(super) const AT_FDCWD: i32 = -100;
/// Not what a symbolic link at the end leads to, but the link.
pub(super) const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
/// unlinkat(2) as rmdir(2).
pub(super) const AT_REMOVEDIR: u32 = 0x200;
/// linkat(2): follow a symbolic link at the end.
const AT_SYMLINK_FOLLOW: u32 = 0x400;
/// An empty path is the descriptor itself.
const AT_EMPTY_PATH: u32 = 0x1000;

const PAGE: u64 = 4096;
/// Paths up to this are kept on the stack.
const SHORT: usize = 128;

/// A path from the program's memory, without its NUL.
struct PathArgument {
    short: [u8; SHORT],
    len: usize,
    /// In place of `short` when that is too short.
    long: Vec<u8>,
}

impl Deref for PathArgument {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }
}

/// A path, for a call where an empty one has a meaning.
fn read_path_or_empty(address: u64) -> Result<PathArgument> {
    let mut path = PathArgument { short: [0; SHORT], len: 0, long: Vec::new() };
    // Not beyond the page: what follows may not be mapped.
    let want = SHORT.min((PAGE - address % PAGE) as usize);
    let got = copy_from_user(&mut path.short[..want], address);
    match path.short[..got].iter().position(|b| *b == 0) {
        Some(len) => path.len = len,
        None => path.long = user::read_path(address)?,
    }
    Ok(path)
}

fn read_path(address: u64) -> Result<PathArgument> {
    let path = read_path_or_empty(address)?;
    if path.is_empty() { Err(Errno::ENOENT) } else { Ok(path) }
}

/// Where a path starts, held so that a chdir(2) meanwhile changes nothing.
struct Places {
    root: Location,
    /// `None` when it does not matter: the path is absolute.
    base: Option<Location>,
}

impl Places {
    /// For `path`, relative to the descriptor `fd` or AT_FDCWD.
    fn new(thread: &Thread, fd: i32, path: &[u8]) -> Result<Self> {
        let absolute = path.first() == Some(&b'/');
        let here = !absolute && fd == AT_FDCWD;
        let (root, base) =
            thread.process.fs.with(|fs| (fs.root.clone(), here.then(|| fs.cwd.clone())));
        if absolute || here {
            return Ok(Self { root, base });
        }
        let base = thread.process.files.open_file(fd)?.opened_location();
        let base = base.filter(|b| b.kind() == FileKind::Directory).ok_or(Errno::ENOTDIR)?;
        Ok(Self { root, base: Some(base) })
    }

    fn start(&self) -> Start<'_> {
        Start { root: &self.root, base: self.base.as_ref().unwrap_or(&self.root) }
    }
}

fn namespace(thread: &Thread) -> &Namespace {
    &thread.process.services.namespace
}

/// Whether AT_* `flags` follow a symbolic link at the end.
fn follow(flags: u32) -> Follow {
    if flags & AT_SYMLINK_NOFOLLOW == 0 { Follow::Yes } else { Follow::No }
}

/// The place of a descriptor, or the working directory.
fn descriptor_location(thread: &Thread, fd: i32) -> Result<Location> {
    if fd == AT_FDCWD {
        return Ok(thread.process.fs.with(|fs| fs.cwd.clone()));
    }
    Ok(thread.process.files.open_file(fd)?.location())
}

/// The place that the path at `address` leads to. Looks at AT_EMPTY_PATH and
/// AT_SYMLINK_NOFOLLOW.
fn locate(thread: &Thread, fd: i32, address: u64, flags: u32) -> Result<Location> {
    let path = read_path_or_empty(address)?;
    if path.is_empty() {
        if flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        return descriptor_location(thread, fd);
    }
    let places = Places::new(thread, fd, &path)?;
    namespace(thread).resolve(places.start(), &path, follow(flags))
}

/// Permission bits of a new file.
fn masked(thread: &Thread, permissions: u32) -> u32 {
    permissions & 0o7777 & !thread.process.fs.with(|fs| fs.umask)
}

pub(super) fn readlink(
    thread: &Thread,
    fd: i32,
    address: u64,
    buffer: u64,
    size: i32,
) -> Result<u64> {
    let size = usize::try_from(size).ok().filter(|s| *s > 0).ok_or(Errno::EINVAL)?;
    let path = read_path_or_empty(address)?;
    let places = Places::new(thread, if path.is_empty() { AT_FDCWD } else { fd }, &path)?;
    let at = match path.is_empty() {
        // A link that was opened with O_PATH and O_NOFOLLOW.
        true => {
            let at = descriptor_location(thread, fd)?;
            (at.kind() == FileKind::Symlink).then_some(at).ok_or(Errno::ENOENT)?
        }
        false => namespace(thread).resolve(places.start(), &path, Follow::No)?,
    };
    let text = namespace(thread).read_link(places.start(), &at)?;
    let count = text.len().min(size);
    user::write(buffer, &text[..count])?;
    Ok(count as u64)
}

pub(super) fn mkdir(thread: &Thread, fd: i32, address: u64, mode: u32) -> Result<u64> {
    let path = read_path(address)?;
    let places = Places::new(thread, fd, &path)?;
    namespace(thread).make_directory(places.start(), &path, masked(thread, mode))?;
    Ok(0)
}

/// The kind that the S_IFMT bits of `mode` say, for mknod(2).
fn node_kind(mode: u32) -> Result<FileKind> {
    const S_IFMT: u32 = 0o170_000;
    let kinds = [
        FileKind::Regular,
        FileKind::CharDevice,
        FileKind::BlockDevice,
        FileKind::Fifo,
        FileKind::Socket,
    ];
    match mode & S_IFMT {
        0 => Ok(FileKind::Regular),
        bits if bits == FileKind::Directory as u32 => Err(Errno::EPERM),
        bits => kinds.into_iter().find(|k| *k as u32 == bits).ok_or(Errno::EINVAL),
    }
}

pub(super) fn mknod(thread: &Thread, fd: i32, address: u64, mode: u32, device: u64) -> Result<u64> {
    let kind = node_kind(mode)?;
    let device = match kind {
        FileKind::CharDevice | FileKind::BlockDevice => device & 0xffff_ffff,
        _ => 0,
    };
    let path = read_path(address)?;
    let places = Places::new(thread, fd, &path)?;
    let permissions = masked(thread, mode);
    namespace(thread).make_node(places.start(), &path, kind, permissions, device)?;
    Ok(0)
}

pub(super) fn unlink(thread: &Thread, fd: i32, address: u64, flags: u32) -> Result<u64> {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = read_path(address)?;
    let places = Places::new(thread, fd, &path)?;
    match flags {
        0 => namespace(thread).unlink(places.start(), &path)?,
        _ => namespace(thread).remove_directory(places.start(), &path)?,
    }
    Ok(0)
}

pub(super) fn rename(thread: &Thread, fds: [i32; 2], paths: [u64; 2], flags: u32) -> Result<u64> {
    const NOREPLACE: u32 = RenameFlags::NOREPLACE.bits();
    const EXCHANGE: u32 = RenameFlags::EXCHANGE.bits();
    const WHITEOUT: u32 = RenameFlags::WHITEOUT.bits();
    let contradictory = flags & EXCHANGE != 0 && flags & (NOREPLACE | WHITEOUT) != 0;
    if flags & !(NOREPLACE | EXCHANGE | WHITEOUT) != 0 || contradictory {
        return Err(Errno::EINVAL);
    }
    let (old, new) = (read_path(paths[0])?, read_path(paths[1])?);
    let old_places = Places::new(thread, fds[0], &old)?;
    let new_places = Places::new(thread, fds[1], &new)?;
    let flags = RenameFlags::from_bits_retain(flags);
    namespace(thread).rename(old_places.start(), &old, new_places.start(), &new, flags)?;
    Ok(0)
}

pub(super) fn link(thread: &Thread, fds: [i32; 2], paths: [u64; 2], flags: u32) -> Result<u64> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let nofollow = if flags & AT_SYMLINK_FOLLOW == 0 { AT_SYMLINK_NOFOLLOW } else { 0 };
    let old = locate(thread, fds[0], paths[0], flags & AT_EMPTY_PATH | nofollow)?;
    let path = read_path(paths[1])?;
    let places = Places::new(thread, fds[1], &path)?;
    namespace(thread).link(&old, places.start(), &path)?;
    Ok(0)
}

pub(super) fn symlink(thread: &Thread, target: u64, fd: i32, address: u64) -> Result<u64> {
    let target = read_path(target)?;
    let path = read_path(address)?;
    let places = Places::new(thread, fd, &path)?;
    namespace(thread).make_symlink(&target, places.start(), &path)?;
    Ok(0)
}
