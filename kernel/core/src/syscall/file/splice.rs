// SPDX-License-Identifier: Apache-2.0 OR MIT
//! To and from pipes, without losing what the other side does not take: splice, tee.

use super::copy::{CHUNK, Position, copy, tell, write_all};
use super::{raise_sigpipe, readable, writable};
use crate::files::OpenFile;
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user::MAX_COUNT;
use crate::wait::wait_for;
use alloc::sync::Arc;
use kio::{Errno, Events, File, Result, Sink};
use kipc::PipeEnd;
use kvfs::OpenFlags;

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_F_ALL: u32 = 15;

pub(super) fn pipe_end(open: &OpenFile) -> Option<&PipeEnd> {
    open.file().as_any().downcast_ref()
}

pub(in crate::syscall) fn splice(thread: &Thread, a: Args) -> Result<u64> {
    let (count, flags) = (a.usize(4).min(MAX_COUNT), a.u32(5));
    if count == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let from = thread.process.files.open_file(a.i32(0))?;
    let to = thread.process.files.open_file(a.i32(2))?;
    readable(&from)?;
    writable(&to)?;
    let ends = (pipe_end(&from), pipe_end(&to));
    if ends.0.is_none() && ends.1.is_none() {
        return Err(Errno::EINVAL);
    }
    let source = Position::read(&from, a.u64(1))?;
    let target = Position::read(&to, a.u64(3))?;
    let asked = flags & SPLICE_F_NONBLOCK != 0;
    let moved = match ends {
        (Some(source), Some(target)) => {
            let nonblocking = asked || from.nonblocking() || to.nonblocking();
            between(thread, &from, &to, nonblocking, || source.splice(target, count))
        }
        (Some(_), None) if to.flags().contains(OpenFlags::APPEND) => Err(Errno::EINVAL),
        (Some(end), None) => {
            let nonblocking = asked || from.nonblocking();
            from_pipe(thread, (&from, end), (&to, target.at), count, nonblocking)
        }
        (None, Some(end)) if !from.is_seekable() => {
            into_pipe(thread, &from, (&to, end), count, asked || to.nonblocking())
        }
        _ => room(thread, &to, asked || to.nonblocking())
            .and_then(|()| copy(thread, &from, &to, source.at, target.at, count.min(CHUNK))),
    }?;
    source.advance(&from, moved)?;
    target.advance(&to, moved)?;
    Ok(moved as u64)
}

pub(in crate::syscall) fn tee(thread: &Thread, a: Args) -> Result<u64> {
    let (count, flags) = (a.usize(2).min(MAX_COUNT), a.u32(3));
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let from = thread.process.files.open_file(a.i32(0))?;
    let to = thread.process.files.open_file(a.i32(1))?;
    readable(&from)?;
    writable(&to)?;
    let ends = pipe_end(&from).zip(pipe_end(&to));
    let (source, target) = ends.ok_or(Errno::EINVAL)?;
    let nonblocking = flags & SPLICE_F_NONBLOCK != 0 || from.nonblocking() || to.nonblocking();
    let copied = between(thread, &from, &to, nonblocking, || source.tee(target, count))?;
    Ok(copied as u64)
}

/// Calls `attempt`, which moves from pipe to pipe, until it moves something or will not.
fn between(
    thread: &Thread,
    from: &OpenFile,
    to: &OpenFile,
    nonblocking: bool,
    attempt: impl Fn() -> Result<usize>,
) -> Result<usize> {
    loop {
        match attempt() {
            Err(Errno::EAGAIN) => {
                ready(from.file(), Events::READABLE, nonblocking)?;
                ready(to.file(), Events::WRITABLE, nonblocking)?;
            }
            Err(Errno::EPIPE) => {
                raise_sigpipe(thread);
                return Err(Errno::EPIPE);
            }
            result => return result,
        }
    }
}

/// Waits until `file` has one of the `wanted` events; `EAGAIN` if it may not wait.
fn ready(file: &Arc<dyn File>, wanted: Events, nonblocking: bool) -> Result<()> {
    wait_for(file, wanted, nonblocking, None, || {
        let now = file.poll().intersects(wanted | Events::ALWAYS);
        if now { Ok(()) } else { Err(Errno::EAGAIN) }
    })
}

/// Waits until the pipe `to` has room.
fn room(thread: &Thread, to: &OpenFile, nonblocking: bool) -> Result<()> {
    ready(to.file(), Events::WRITABLE, nonblocking)?;
    if to.file().poll().contains(Events::ERR) {
        raise_sigpipe(thread);
        return Err(Errno::EPIPE);
    }
    Ok(())
}

/// Moves what a pipe has to something that is none. It waits for the first bytes only.
fn from_pipe(
    thread: &Thread,
    (from, end): (&OpenFile, &PipeEnd),
    (to, at): (&Arc<OpenFile>, u64),
    count: usize,
    nonblocking: bool,
) -> Result<usize> {
    let mut done = 0;
    while done < count {
        let (want, patient) = (CHUNK.min(count - done), done == 0 && !nonblocking);
        let lent = wait_for(from.file(), Events::READABLE, !patient, None, || end.lend(want));
        let moved = lent.and_then(|lent| {
            let written = write_all(thread, to, at + done as u64, lent.bytes())?;
            let more = written > 0 && written == lent.bytes().len();
            lent.consume(written);
            done += written;
            Ok(more)
        });
        match moved {
            Ok(true) => {}
            Err(error) if done == 0 => return Err(error),
            Ok(false) | Err(_) => break,
        }
    }
    tell(from, to, done);
    Ok(done)
}

/// Moves what a stream has to a pipe, as much as has room: what was read cannot go back.
pub(super) fn into_pipe(
    thread: &Thread,
    from: &OpenFile,
    (to, end): (&OpenFile, &PipeEnd),
    count: usize,
    nonblocking: bool,
) -> Result<usize> {
    let mut sink = end.sink(count);
    loop {
        room(thread, to, nonblocking)?;
        let file = from.file();
        let result = wait_for(file, Events::READABLE, from.nonblocking(), None, || {
            if sink.remaining() == 0 { Err(Errno::EFAULT) } else { file.read_at(0, &mut sink) }
        });
        match result {
            _ if sink.taken() > 0 => break,
            // Another writer was faster.
            Ok(_) | Err(Errno::EFAULT) if sink.remaining() == 0 => {}
            Ok(_) => break,
            Err(error) => return Err(error),
        }
    }
    tell(from, to, sink.taken());
    Ok(sink.taken())
}
