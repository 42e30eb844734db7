// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading, writing and positions.

mod copy;
mod splice;

pub(super) use copy::{copy_file_range, sendfile};
pub(super) use splice::{splice, tee};

use super::Args;
use crate::files::OpenFile;
use crate::mm::file_pages;
use crate::signal;
use crate::thread::Thread;
use crate::user::UserBuffers;
use crate::wait::wait_for_socket;
use kio::{Errno, Events, FileKind, Result};
use ksignal::{SigInfo, Signal};
use kvfs::{Change, OpenFlags};

const RWF_NOWAIT: u32 = 8;
const RWF_APPEND: u32 = 16;
const RWF_KNOWN: u32 = 0x1f;

#[inline]
fn readable(open: &OpenFile) -> Result<()> {
    if open.flags().readable() { Ok(()) } else { Err(Errno::EBADF) }
}

#[inline]
fn writable(open: &OpenFile) -> Result<()> {
    if open.flags().writable() { Ok(()) } else { Err(Errno::EBADF) }
}

/// Runs `step` until it counts bytes, and goes on where only a missing page
/// ended it. `step` gets what was done before.
fn transfer(
    buffers: &mut UserBuffers,
    to_user: bool,
    mut step: impl FnMut(&mut UserBuffers, u64) -> Result<usize>,
) -> Result<usize> {
    let mut done = 0;
    loop {
        match step(buffers, done as u64) {
            Ok(count) => {
                done += count;
                let more = count > 0 && !buffers.is_empty();
                if !more || !buffers.resolve_missing(to_user).unwrap_or(false) {
                    return Ok(done);
                }
            }
            Err(Errno::EFAULT) => match buffers.resolve_missing(to_user) {
                Ok(true) => {}
                Ok(false) if done == 0 => return Err(Errno::EFAULT),
                Err(error) if done == 0 => return Err(error),
                _ => return Ok(done),
            },
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
        }
    }
}

/// Reads at `offset`; waits if the file and its flags say so.
#[inline(always)]
fn read_file(
    open: &OpenFile,
    offset: u64,
    buffers: &mut UserBuffers,
    nowait: bool,
) -> Result<usize> {
    let file = open.file();
    // Reading nothing from a socket ends at once, as in sock_read_iter.
    if buffers.is_empty() && file.as_socket().is_some() {
        return Ok(0);
    }
    // Mostly the first attempt is all there is to do.
    match buffers.attempt(|buffers| file.read_at(offset, buffers), |count| *count) {
        Ok(count) if count == 0 || !buffers.is_stopped() => Ok(count),
        Err(Errno::EAGAIN) if nowait || open.nonblocking() => Err(Errno::EAGAIN),
        first => read_rest(open, offset, buffers, nowait, first),
    }
}

/// What is left to do after a first attempt.
#[inline(never)]
fn read_rest(
    open: &OpenFile,
    offset: u64,
    buffers: &mut UserBuffers,
    nowait: bool,
    first: Result<usize>,
) -> Result<usize> {
    let file = open.file();
    let nonblocking = nowait || open.nonblocking();
    let deadline = open.socket.deadline(false);
    let mut first = First::new(first);
    transfer(buffers, true, |buffers, done| {
        if let Some(result) = first.result.take() {
            return result;
        }
        // Behind a missing page there may be no more: no reason to wait.
        let nonblocking = nonblocking || done > 0;
        wait_for_socket(file, Events::READABLE | Events::RDHUP, nonblocking, deadline, || {
            first.again()?;
            buffers.attempt(|buffers| file.read_at(offset + done, buffers), |count| *count)
        })
    })
}

/// A first attempt and what came of it.
struct First {
    /// What has to be looked at.
    result: Option<Result<usize>>,
    /// It would have had to wait: waiting begins without another attempt.
    would_wait: bool,
}

impl First {
    fn new(result: Result<usize>) -> Self {
        let would_wait = result == Err(Errno::EAGAIN);
        Self { result: Some(result).filter(|_| !would_wait), would_wait }
    }

    fn again(&mut self) -> Result<()> {
        if core::mem::take(&mut self.would_wait) { Err(Errno::EAGAIN) } else { Ok(()) }
    }
}

/// O_DSYNC and O_SYNC: what was written is on the disk.
#[inline]
fn durable(open: &OpenFile, count: usize) -> Result<usize> {
    if count > 0 && open.flags().contains(OpenFlags::DSYNC) && open.is_seekable() {
        open.file().sync(!open.flags().contains(OpenFlags::SYNC_ATTRIBUTES))?;
    }
    Ok(count)
}

#[inline(always)]
fn write_file(
    thread: &Thread,
    open: &OpenFile,
    offset: u64,
    buffers: &mut UserBuffers,
    nowait: bool,
) -> Result<usize> {
    let file = open.file();
    match buffers.attempt(|buffers| file.write_at(offset, buffers), |count| *count) {
        Ok(count) if buffers.is_empty() => durable(open, count),
        Err(Errno::EAGAIN) if nowait || open.nonblocking() => Err(Errno::EAGAIN),
        first => write_rest(thread, open, offset, buffers, nowait, first),
    }
}

/// What is left to do after a first attempt.
#[inline(never)]
fn write_rest(
    thread: &Thread,
    open: &OpenFile,
    offset: u64,
    buffers: &mut UserBuffers,
    nowait: bool,
    first: Result<usize>,
) -> Result<usize> {
    let file = open.file();
    let seekable = open.is_seekable();
    let nonblocking = nowait || open.nonblocking();
    let deadline = open.socket.deadline(true);
    let mut first = First::new(first);
    let mut total = 0;
    // A blocking stream takes everything, piece by piece.
    loop {
        let result = transfer(buffers, false, |buffers, done| {
            if let Some(result) = first.result.take() {
                return result;
            }
            wait_for_socket(file, Events::WRITABLE, nonblocking, deadline, || {
                first.again()?;
                buffers.attempt(|buffers| file.write_at(offset + done, buffers), |count| *count)
            })
        });
        match result {
            Ok(count) => {
                total += count;
                if seekable || nonblocking || count == 0 || buffers.is_empty() {
                    return durable(open, total);
                }
            }
            Err(Errno::EPIPE) => {
                // Of sockets only streams, and only when nothing went out.
                let quiet = file.as_socket().is_some_and(|s| s.socket_type() != 1 || total > 0);
                if !quiet {
                    raise_sigpipe(thread);
                }
                return if total > 0 { Ok(total) } else { Err(Errno::EPIPE) };
            }
            Err(_) if total > 0 => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}

/// SIGPIPE for the running thread.
pub(super) fn raise_sigpipe(thread: &Thread) {
    let info = SigInfo::kill(Signal::SIGPIPE, thread.process.pid as i32, 0);
    let _ = signal::send_to_thread(&khal::tasks::current_arc(), info);
}

#[inline(always)]
fn read_sequential(thread: &Thread, fd: i32, mut buffers: UserBuffers) -> Result<u64> {
    let open = thread.process.files.open_file(fd)?;
    readable(&open)?;
    if !open.is_seekable() {
        return read_file(&open, 0, &mut buffers, false).map(|count| accessed(&open, count));
    }
    // The position is locked over the read: two readers get disjoint parts.
    // A seekable file never waits, so the lock is short.
    let mut position = open.offset();
    let count = read_file(&open, *position, &mut buffers, false)?;
    *position += count as u64;
    drop(position);
    Ok(accessed(&open, count))
}

fn append_file(open: &OpenFile, buffers: &mut UserBuffers) -> Result<usize> {
    let mut end = 0;
    let count = transfer(buffers, false, |buffers, _| {
        let append = |buffers: &mut UserBuffers| open.file().append(buffers);
        let (count, new_end) = buffers.attempt(append, |(count, _)| *count)?;
        end = new_end;
        Ok(count)
    })?;
    *open.offset() = end;
    durable(open, count)
}

/// Tells who watches the file.
#[inline]
fn accessed(open: &OpenFile, count: usize) -> u64 {
    if kvfs::is_watched() && count > 0 {
        open.changed(Change::ACCESS);
    }
    count as u64
}

/// Tells who watches the file.
#[inline]
fn modified(open: &OpenFile, count: usize) -> u64 {
    if kvfs::is_watched() && count > 0 {
        open.changed(Change::MODIFY);
    }
    count as u64
}

#[inline(always)]
fn write_sequential(thread: &Thread, fd: i32, mut buffers: UserBuffers) -> Result<u64> {
    let open = thread.process.files.open_file(fd)?;
    writable(&open)?;
    if !open.is_seekable() {
        let count = write_file(thread, &open, 0, &mut buffers, false)?;
        return Ok(modified(&open, count));
    }
    if open.flags().contains(OpenFlags::APPEND) {
        return append_file(&open, &mut buffers).map(|count| modified(&open, count));
    }
    let mut position = open.offset();
    let count = write_file(thread, &open, *position, &mut buffers, false)?;
    *position += count as u64;
    drop(position);
    Ok(modified(&open, count))
}

pub(super) fn read(thread: &Thread, a: Args) -> Result<u64> {
    read_sequential(thread, a.i32(0), UserBuffers::one(a.u64(1), a.usize(2)))
}

pub(super) fn write(thread: &Thread, a: Args) -> Result<u64> {
    write_sequential(thread, a.i32(0), UserBuffers::one(a.u64(1), a.usize(2)))
}

pub(super) fn readv(thread: &Thread, a: Args) -> Result<u64> {
    read_sequential(thread, a.i32(0), UserBuffers::vector(a.u64(1), a.usize(2))?)
}

pub(super) fn writev(thread: &Thread, a: Args) -> Result<u64> {
    write_sequential(thread, a.i32(0), UserBuffers::vector(a.u64(1), a.usize(2))?)
}

fn read_at(
    thread: &Thread,
    fd: i32,
    offset: i64,
    mut buffers: UserBuffers,
    nowait: bool,
) -> Result<u64> {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let open = thread.process.files.open_file(fd)?;
    readable(&open)?;
    if !open.is_seekable() {
        return Err(Errno::ESPIPE);
    }
    read_file(&open, offset, &mut buffers, nowait).map(|count| accessed(&open, count))
}

fn write_at(
    thread: &Thread,
    fd: i32,
    offset: i64,
    mut buffers: UserBuffers,
    nowait: bool,
) -> Result<u64> {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let open = thread.process.files.open_file(fd)?;
    writable(&open)?;
    if !open.is_seekable() {
        return Err(Errno::ESPIPE);
    }
    // Linux appends here too: pwrite(2), BUGS.
    if open.flags().contains(OpenFlags::APPEND) {
        let position = *open.offset();
        let count = append_file(&open, &mut buffers)?;
        *open.offset() = position;
        return Ok(modified(&open, count));
    }
    write_file(thread, &open, offset, &mut buffers, nowait).map(|count| modified(&open, count))
}

pub(super) fn pread(thread: &Thread, a: Args) -> Result<u64> {
    read_at(thread, a.i32(0), a.i64(3), UserBuffers::one(a.u64(1), a.usize(2)), false)
}

pub(super) fn pwrite(thread: &Thread, a: Args) -> Result<u64> {
    write_at(thread, a.i32(0), a.i64(3), UserBuffers::one(a.u64(1), a.usize(2)), false)
}

/// preadv(2), and preadv2(2) with its flags and "current position".
pub(super) fn preadv(thread: &Thread, a: Args, second: bool) -> Result<u64> {
    let buffers = UserBuffers::vector(a.u64(1), a.usize(2))?;
    let flags = if second { a.u32(5) } else { 0 };
    if flags & !RWF_KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if second && a.i64(3) == -1 {
        return read_sequential(thread, a.i32(0), buffers);
    }
    read_at(thread, a.i32(0), a.i64(3), buffers, flags & RWF_NOWAIT != 0)
}

/// pwritev(2) and pwritev2(2).
pub(super) fn pwritev(thread: &Thread, a: Args, second: bool) -> Result<u64> {
    let mut buffers = UserBuffers::vector(a.u64(1), a.usize(2))?;
    let flags = if second { a.u32(5) } else { 0 };
    if flags & !RWF_KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if flags & RWF_APPEND != 0 {
        let open = thread.process.files.open_file(a.i32(0))?;
        writable(&open)?;
        return append_file(&open, &mut buffers).map(|count| modified(&open, count));
    }
    if second && a.i64(3) == -1 {
        return write_sequential(thread, a.i32(0), buffers);
    }
    write_at(thread, a.i32(0), a.i64(3), buffers, flags & RWF_NOWAIT != 0)
}

pub(super) fn lseek(thread: &Thread, a: Args) -> Result<u64> {
    const SEEK_DATA: u32 = 3;
    const SEEK_HOLE: u32 = 4;
    let open = thread.process.files.usable(a.i32(0))?;
    let is_directory = || open.file().stat().is_ok_and(|s| s.kind == FileKind::Directory);
    if !open.is_seekable() && !is_directory() {
        return Err(Errno::ESPIPE);
    }
    let size = || open.file().stat().map(|s| s.size as i64);
    let offset = a.i64(1);
    let base = match a.u32(2) {
        0 => 0,
        1 => *open.offset() as i64,
        2 => size()?,
        whence @ (SEEK_DATA | SEEK_HOLE) => {
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let to = open.file().seek_hole(offset, whence == SEEK_HOLE)?;
            *open.offset() = to;
            return Ok(to);
        }
        _ => return Err(Errno::EINVAL),
    };
    let to = base.checked_add(offset).ok_or(Errno::EOVERFLOW)?;
    let to = u64::try_from(to).map_err(|_| Errno::EINVAL)?;
    *open.offset() = to;
    Ok(to)
}

pub(super) fn sync(thread: &Thread, a: Args, data_only: bool) -> Result<u64> {
    thread.process.files.usable(a.i32(0))?.file().sync(data_only).map(|()| 0)
}

pub(super) fn ftruncate(thread: &Thread, a: Args) -> Result<u64> {
    let open = thread.process.files.usable(a.i32(0))?;
    let size = u64::try_from(a.i64(1)).map_err(|_| Errno::EINVAL)?;
    if !open.flags().writable() {
        return Err(Errno::EINVAL);
    }
    let file = &**open.file();
    file_pages::truncate(file, size, || file.truncate(size))?;
    open.changed(Change::MODIFY);
    Ok(0)
}

pub(super) fn fallocate(thread: &Thread, a: Args) -> Result<u64> {
    const PUNCH_HOLE: u32 = 2;
    let open = thread.process.files.usable(a.i32(0))?;
    writable(&open)?;
    let (offset, length) = (a.i64(2), a.i64(3));
    if offset < 0 || length <= 0 {
        return Err(Errno::EINVAL);
    }
    let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
    match open.file().stat()?.kind {
        FileKind::Regular => {}
        FileKind::Fifo => return Err(Errno::ESPIPE),
        FileKind::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    if a.u32(1) & PUNCH_HOLE != 0 {
        file_pages::before_hole(&**open.file(), offset as u64..end as u64)?;
    }
    open.file().allocate(a.u32(1), offset as u64, length as u64)?;
    open.changed(Change::MODIFY);
    Ok(0)
}

pub(super) fn advise(thread: &Thread, a: Args) -> Result<u64> {
    const NOREUSE: i32 = 5;
    let open = thread.process.files.usable(a.i32(0))?;
    if open.file().stat()?.kind == FileKind::Fifo {
        return Err(Errno::ESPIPE);
    }
    if (0..=NOREUSE).contains(&a.i32(3)) { Ok(0) } else { Err(Errno::EINVAL) }
}

pub(super) fn readahead(thread: &Thread, a: Args) -> Result<u64> {
    let open = thread.process.files.usable(a.i32(0))?;
    readable(&open)?;
    if open.file().stat()?.kind == FileKind::Regular { Ok(0) } else { Err(Errno::EINVAL) }
}
