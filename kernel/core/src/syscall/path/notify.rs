// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Watching files and directories: inotify(7).

use super::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, locate};
use crate::files::OpenFile;
use crate::limits;
use crate::syscall::Args;
use crate::syscall::fd::usable;
use crate::thread::Thread;
use alloc::sync::Arc;
use kio::{Errno, FileKind, Result};
use kvfs::{Inotify, OpenFlags};

const ONLYDIR: u32 = 0x0100_0000;
const DONT_FOLLOW: u32 = 0x0200_0000;
const MASK_CREATE: u32 = 0x1000_0000;
const MASK_ADD: u32 = 0x2000_0000;
/// Every bit that has a meaning.
const KNOWN: u32 = 0xf700_efff;

pub(in crate::syscall) fn inotify_init(thread: &Thread, flags: u32) -> Result<u64> {
    let flags = OpenFlags::from_bits_retain(flags);
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let user = thread.credentials.lock().user.effective;
    let open = OpenFile::new(Arc::new(Inotify::new(user)?), None, flags);
    let limit = thread.process.limits.soft(limits::NOFILE);
    let close_on_exec = flags.contains(OpenFlags::CLOEXEC);
    thread.process.files.insert(open, close_on_exec, 0, limit).map(|fd| fd as u64)
}

fn instance_of(open: &OpenFile) -> Result<&Inotify> {
    open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

pub(in crate::syscall) fn inotify_add_watch(thread: &Thread, a: Args) -> Result<u64> {
    let mask = a.u32(2);
    let both = MASK_CREATE | MASK_ADD;
    if mask & !KNOWN != 0 || mask & KNOWN == 0 || mask & both == both {
        return Err(Errno::EINVAL);
    }
    let open = usable(thread, a.i32(0))?;
    let instance = instance_of(&open)?;
    let flags = if mask & DONT_FOLLOW != 0 { AT_SYMLINK_NOFOLLOW } else { 0 };
    let at = locate(thread, AT_FDCWD, a.u64(1), flags)?;
    if mask & ONLYDIR != 0 && at.kind() != FileKind::Directory {
        return Err(Errno::ENOTDIR);
    }
    instance.watch(&at, mask).map(|watch| watch as u64)
}

pub(in crate::syscall) fn inotify_rm_watch(thread: &Thread, a: Args) -> Result<u64> {
    instance_of(&*usable(thread, a.i32(0))?)?.unwatch(a.i32(1)).map(|()| 0)
}
