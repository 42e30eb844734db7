// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Permissions, owners, times and sizes by path.

use super::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, locate, namespace};
use crate::mm::file_pages;
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user;
use core::time::Duration;
use kio::{Errno, File, FileKind, Result};
use kvfs::{AttributeChange, SetTime};
use linux_raw_sys::general as nr;

const KNOWN: u32 = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;

pub(in crate::syscall) fn access(
    thread: &Thread,
    fd: i32,
    address: u64,
    mode: u32,
    flags: u32,
) -> Result<u64> {
    const AT_EACCESS: u32 = 0x200;
    const MODES: u32 = 7;
    if mode & !MODES != 0 || flags & !(KNOWN | AT_EACCESS) != 0 {
        return Err(Errno::EINVAL);
    }
    let at = locate(thread, fd, address, flags)?;
    namespace(thread).access(&at, mode).map(|()| 0)
}

/// Changes the object behind a path.
fn change_path(
    thread: &Thread,
    fd: i32,
    address: u64,
    flags: u32,
    change: &AttributeChange,
) -> Result<u64> {
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let at = locate(thread, fd, address, flags)?;
    if at.kind() == FileKind::Symlink && change.permissions.is_some() {
        return Err(Errno::EOPNOTSUPP);
    }
    namespace(thread).set_attributes(&at, change).map(|()| 0)
}

fn change_descriptor(thread: &Thread, fd: i32, change: &AttributeChange) -> Result<u64> {
    match thread.process.files.usable(fd)?.opened_location() {
        Some(at) => namespace(thread).set_attributes(&at, change).map(|()| 0),
        // Pipes and sockets: nobody can see it, for root passes all checks.
        None => Ok(0),
    }
}

fn permissions(mode: u32) -> AttributeChange {
    AttributeChange { permissions: Some(mode & 0o7777), ..AttributeChange::default() }
}

/// -1 leaves an id as it is.
fn owners([uid, gid]: [u32; 2]) -> AttributeChange {
    let id = |id: u32| (id != u32::MAX).then_some(id);
    AttributeChange { uid: id(uid), gid: id(gid), ..AttributeChange::default() }
}

pub(in crate::syscall) fn chmod(
    thread: &Thread,
    fd: i32,
    address: u64,
    mode: u32,
    flags: u32,
) -> Result<u64> {
    change_path(thread, fd, address, flags, &permissions(mode))
}

pub(in crate::syscall) fn fchmod(thread: &Thread, a: Args) -> Result<u64> {
    change_descriptor(thread, a.i32(0), &permissions(a.u32(1)))
}

pub(in crate::syscall) fn chown(
    thread: &Thread,
    fd: i32,
    address: u64,
    ids: [u32; 2],
    flags: u32,
) -> Result<u64> {
    change_path(thread, fd, address, flags, &owners(ids))
}

pub(in crate::syscall) fn fchown(thread: &Thread, a: Args) -> Result<u64> {
    change_descriptor(thread, a.i32(0), &owners([a.u32(1), a.u32(2)]))
}

const UTIME_NOW: u64 = 0x3fff_ffff;
const UTIME_OMIT: u64 = 0x3fff_fffe;
const NANOS: u64 = 1_000_000_000;

/// A time before 1970 becomes 1970: file systems here know no other.
fn time(seconds: u64, nanoseconds: u64) -> SetTime {
    let seconds = if (seconds as i64) < 0 { 0 } else { seconds };
    SetTime::At(Duration::new(seconds, nanoseconds as u32))
}

/// One `struct timespec` of utimensat(2). `Err` is told only after the path was
/// looked up, as Linux does.
fn spec_time([seconds, nanoseconds]: [u64; 2]) -> Result<Option<SetTime>> {
    match nanoseconds {
        UTIME_NOW => Ok(Some(SetTime::Now)),
        UTIME_OMIT => Ok(None),
        0..NANOS => Ok(Some(time(seconds, nanoseconds))),
        _ => Err(Errno::EINVAL),
    }
}

type Times = [Result<Option<SetTime>>; 2];

const NOW: Times = [Ok(Some(SetTime::Now)); 2];

/// utimensat(2) with its arguments read; no path is the descriptor.
fn set_times(thread: &Thread, fd: i32, address: u64, flags: u32, times: Times) -> Result<u64> {
    let change = || -> Result<AttributeChange> {
        let [accessed, modified] = times;
        Ok(AttributeChange {
            accessed: accessed?,
            modified: modified?,
            ..AttributeChange::default()
        })
    };
    if address == 0 && fd != AT_FDCWD {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        thread.process.files.usable(fd)?;
        return change_descriptor(thread, fd, &change()?);
    }
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let at = locate(thread, fd, address, flags)?;
    namespace(thread).set_attributes(&at, &change()?).map(|()| 0)
}

pub(in crate::syscall) fn utimensat(thread: &Thread, a: Args) -> Result<u64> {
    let times = match a.u64(2) {
        0 => NOW,
        address => {
            let [s0, n0, s1, n1] = user::read_words::<4>(address)?;
            if n0 == UTIME_OMIT && n1 == UTIME_OMIT {
                return Ok(0);
            }
            [spec_time([s0, n0]), spec_time([s1, n1])]
        }
    };
    set_times(thread, a.i32(0), a.u64(1), a.u32(3), times)
}

/// The `struct timeval` pair of utimes(2).
fn read_timevals(address: u64) -> Result<Times> {
    const MICROS: u64 = 1_000_000;
    if address == 0 {
        return Ok(NOW);
    }
    let [s0, m0, s1, m1] = user::read_words::<4>(address)?;
    if m0 >= MICROS || m1 >= MICROS {
        return Err(Errno::EINVAL);
    }
    Ok([Ok(Some(time(s0, m0 * 1000))), Ok(Some(time(s1, m1 * 1000)))])
}

/// utime(2), utimes(2), futimesat(2).
pub(in crate::syscall) fn old_utimes(thread: &Thread, number: u32, a: Args) -> Result<u64> {
    match number {
        nr::__NR_utime => {
            let times = match a.u64(1) {
                0 => NOW,
                address => user::read_words::<2>(address)?.map(|s| Ok(Some(time(s, 0)))),
            };
            set_times(thread, AT_FDCWD, a.u64(0), 0, times)
        }
        nr::__NR_utimes => set_times(thread, AT_FDCWD, a.u64(0), 0, read_timevals(a.u64(1))?),
        _ => set_times(thread, a.i32(0), a.u64(1), 0, read_timevals(a.u64(2))?),
    }
}

pub(in crate::syscall) fn truncate(thread: &Thread, a: Args) -> Result<u64> {
    let size = u64::try_from(a.i64(1)).map_err(|_| Errno::EINVAL)?;
    let at = locate(thread, AT_FDCWD, a.u64(0), 0)?;
    let inode: &dyn File = &**at.inode();
    file_pages::truncate(inode, size, || namespace(thread).truncate(&at, size)).map(|()| 0)
}

pub(in crate::syscall) fn umask(thread: &Thread, a: Args) -> Result<u64> {
    let mask = a.u32(0) & 0o777;
    let old = thread.process.fs.with(|fs| core::mem::replace(&mut fs.umask, mask));
    Ok(u64::from(old))
}
