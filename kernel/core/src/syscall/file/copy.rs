// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From one file to another: sendfile, copy_file_range.

use super::splice::{into_pipe, pipe_end};
use super::{raise_sigpipe, readable, writable};
use crate::files::OpenFile;
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user::{self, MAX_COUNT};
use crate::wait::wait_for;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{Errno, Events, FileKind, Result, SliceSource, VecSink};
use kvfs::{Change, OpenFlags};

/// What is moved at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// Moves up to `count` bytes from a file with positions through a kernel buffer. What went
/// before an error counts.
pub(super) fn copy(
    thread: &Thread,
    from: &Arc<OpenFile>,
    to: &Arc<OpenFile>,
    mut from_at: u64,
    mut to_at: u64,
    count: usize,
) -> Result<usize> {
    let mut done = 0;
    while done < count {
        let mut sink = VecSink::new(CHUNK.min(count - done));
        let source_file = from.file();
        let got = wait_for(source_file, Events::READABLE, from.nonblocking(), None, || {
            source_file.read_at(from_at, &mut sink)
        });
        let got = match got {
            Ok(0) => break,
            Ok(got) => got,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        };
        let bytes: Vec<u8> = sink.into_bytes();
        let written = match write_all(thread, to, to_at, &bytes[..got]) {
            Ok(written) => written,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        };
        from_at += written as u64;
        to_at += written as u64;
        done += written;
        if written < got {
            break;
        }
    }
    tell(from, to, done);
    Ok(done)
}

/// Tells watchers what was done to both files.
pub(super) fn tell(from: &OpenFile, to: &OpenFile, moved: usize) {
    if moved > 0 {
        from.changed(Change::ACCESS);
        to.changed(Change::MODIFY);
    }
}

pub(super) fn write_all(
    thread: &Thread,
    to: &Arc<OpenFile>,
    at: u64,
    bytes: &[u8],
) -> Result<usize> {
    let file = to.file();
    let mut done = 0;
    while done < bytes.len() {
        let mut source = SliceSource::new(&bytes[done..]);
        let result = wait_for(file, Events::WRITABLE, to.nonblocking(), None, || {
            file.write_at(at + done as u64, &mut source)
        });
        match result {
            Ok(count) => done += count,
            Err(Errno::EPIPE) => {
                raise_sigpipe(thread);
                return if done > 0 { Ok(done) } else { Err(Errno::EPIPE) };
            }
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A position: the caller's word when it gives one, else the file's own.
pub(super) struct Position {
    word: Option<u64>,
    pub(super) at: u64,
}

impl Position {
    pub(super) fn read(open: &OpenFile, address: u64) -> Result<Self> {
        if address == 0 {
            return Ok(Self { word: None, at: *open.offset() });
        }
        if !open.is_seekable() {
            return Err(Errno::ESPIPE);
        }
        let at = user::read_u64(address)?;
        if at > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { word: Some(address), at })
    }

    pub(super) fn advance(&self, open: &OpenFile, count: usize) -> Result<()> {
        let at = self.at + count as u64;
        match self.word {
            Some(address) => user::write_u64(address, at),
            None => {
                *open.offset() = at;
                Ok(())
            }
        }
    }
}

pub(in crate::syscall) fn sendfile(thread: &Thread, a: Args) -> Result<u64> {
    let to = thread.process.files.open_file(a.i32(0))?;
    let from = thread.process.files.open_file(a.i32(1))?;
    writable(&to)?;
    readable(&from)?;
    if to.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EINVAL);
    }
    let count = a.usize(3).min(MAX_COUNT);
    let position = Position::read(&from, a.u64(2))?;
    let to_at = *to.offset();
    let count = match pipe_end(&to) {
        // What comes from a stream would be lost when the target takes less of it.
        None if !from.is_seekable() => Err(Errno::EINVAL),
        Some(_) if pipe_end(&from).is_some() => Err(Errno::EINVAL),
        Some(end) if !from.is_seekable() => {
            into_pipe(thread, &from, (&to, end), count, to.nonblocking())
        }
        _ => copy(thread, &from, &to, position.at, to_at, count),
    }?;
    position.advance(&from, count)?;
    if to.file().is_seekable() {
        *to.offset() = to_at + count as u64;
    }
    Ok(count as u64)
}

pub(in crate::syscall) fn copy_file_range(thread: &Thread, a: Args) -> Result<u64> {
    let from = thread.process.files.open_file(a.i32(0))?;
    let to = thread.process.files.open_file(a.i32(2))?;
    readable(&from)?;
    writable(&to)?;
    let regular = |o: &OpenFile| o.file().stat().is_ok_and(|s| s.kind == FileKind::Regular);
    if a.u32(5) != 0 || !regular(&from) || !regular(&to) {
        return Err(Errno::EINVAL);
    }
    if to.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF);
    }
    let (source, target) = (Position::read(&from, a.u64(1))?, Position::read(&to, a.u64(3))?);
    let count = a.usize(4).min(MAX_COUNT);
    if same_file(&from, &to)? && source.at.abs_diff(target.at) < count as u64 {
        return Err(Errno::EINVAL);
    }
    let count = copy(thread, &from, &to, source.at, target.at, count)?;
    source.advance(&from, count)?;
    target.advance(&to, count)?;
    Ok(count as u64)
}

/// Whether both are descriptions of one file.
fn same_file(one: &OpenFile, other: &OpenFile) -> Result<bool> {
    let (one, other) = (one.stat()?, other.stat()?);
    Ok((one.device, one.inode) == (other.device, other.inode))
}
