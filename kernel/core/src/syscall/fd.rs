// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptors: close, dup, fcntl, ioctl, pipes and files in memory.

mod control;
mod lock;

pub(super) use control::{fcntl, ioctl};
pub(super) use lock::flock;

use super::Args;
use crate::files::OpenFile;
use crate::limits;
use crate::memory_file::MemoryFile;
use crate::thread::Thread;
use crate::user;
use alloc::sync::Arc;
use kio::{Errno, Result};
use kvfs::OpenFlags;

fn limit(thread: &Thread) -> u64 {
    thread.process.limits.soft(limits::NOFILE)
}

/// A new descriptor for a description; the lowest that is free.
fn install(thread: &Thread, open: Arc<OpenFile>, close_on_exec: bool) -> Result<i32> {
    thread.process.files.insert(open, close_on_exec, 0, limit(thread))
}

/// The description behind `fd` unless it is only a place (O_PATH).
pub(super) fn usable(thread: &Thread, fd: i32) -> Result<Arc<OpenFile>> {
    thread.process.files.usable(fd)
}

pub(super) fn close(thread: &Thread, a: Args) -> Result<u64> {
    thread.process.files.close(a.i32(0)).map(|()| 0)
}

pub(super) fn close_range(thread: &Thread, a: Args) -> Result<u64> {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    let (first, last, flags) = (a.u32(0), a.u32(1), a.u32(2));
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    thread.process.files.close_range(first, last, flags & CLOEXEC != 0);
    Ok(0)
}

pub(super) fn dup(thread: &Thread, a: Args) -> Result<u64> {
    let open = thread.process.files.open_file(a.i32(0))?;
    install(thread, open, false).map(|fd| fd as u64)
}

fn replace(thread: &Thread, old: i32, new: i32, close_on_exec: bool) -> Result<u64> {
    // Linux looks at the new number first; both are EBADF.
    let open = thread.process.files.open_file(old)?;
    thread.process.files.replace(new, open, close_on_exec, limit(thread))?;
    Ok(new as u64)
}

pub(super) fn dup2(thread: &Thread, a: Args) -> Result<u64> {
    let (old, new) = (a.i32(0), a.i32(1));
    if old == new {
        return thread.process.files.open_file(old).map(|_| new as u64);
    }
    replace(thread, old, new, false)
}

pub(super) fn dup3(thread: &Thread, a: Args) -> Result<u64> {
    let (old, new, flags) = (a.i32(0), a.i32(1), a.u32(2));
    if flags & !OpenFlags::CLOEXEC.bits() != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    replace(thread, old, new, flags != 0)
}

/// pipe2(2), and pipe(2) with no flags.
pub(super) fn pipe(thread: &Thread, address: u64, flags: u32) -> Result<u64> {
    let flags = OpenFlags::from_bits_retain(flags);
    let kept = OpenFlags::NONBLOCK | OpenFlags::DIRECT;
    // O_EXCL asks for a notification pipe, which no kernel has to have.
    if flags.contains(OpenFlags::EXCL) {
        return Err(Errno::ENOPKG);
    }
    if !(kept | OpenFlags::CLOEXEC).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let close_on_exec = flags.contains(OpenFlags::CLOEXEC);
    let (reader, writer) = kipc::pipe(flags.contains(OpenFlags::DIRECT))?;
    let reader = OpenFile::new(Arc::new(reader), None, flags & kept);
    let writer = OpenFile::new(Arc::new(writer), None, flags & kept | OpenFlags::WRONLY);
    let files = &thread.process.files;
    let reader = install(thread, reader, close_on_exec)?;
    let writer = install(thread, writer, close_on_exec).inspect_err(|_| {
        let _ = files.close(reader);
    })?;
    let pair = u64::from(reader as u32) | u64::from(writer as u32) << 32;
    user::write_u64(address, pair).inspect_err(|_| {
        let _ = files.close(reader);
        let _ = files.close(writer);
    })?;
    Ok(0)
}

pub(super) fn memfd_create(thread: &Thread, a: Args) -> Result<u64> {
    const CLOEXEC: u32 = 1;
    const ALLOW_SEALING: u32 = 2;
    const HUGETLB: u32 = 4;
    const NAME_MAX: usize = 249;
    let flags = a.u32(1);
    if flags & HUGETLB != 0 {
        return Err(Errno::ENOSYS);
    }
    if flags & !(CLOEXEC | ALLOW_SEALING) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = user::read_string(a.u64(0), NAME_MAX + 1, Errno::EINVAL)?;
    let content = thread.process.services.provider.anonymous_file()?;
    let file = MemoryFile::new(content, flags & ALLOW_SEALING != 0);
    let path = [b"/memfd:", name.as_slice(), b" (deleted)"].concat();
    let location = kvfs::anonymous_location(file.clone(), path);
    let flags_of_open = OpenFlags::RDWR | OpenFlags::LARGEFILE;
    let open = OpenFile::new(file, Some(location), flags_of_open);
    install(thread, open, flags & CLOEXEC != 0).map(|fd| fd as u64)
}
