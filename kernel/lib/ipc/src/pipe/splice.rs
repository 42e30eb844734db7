// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What moves to and from pipes inside the kernel: splice(2), tee(2). Nothing is lost and
//! nothing doubled when the other side takes or has only a part.

use super::{PipeEnd, State};
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{Errno, Events, Result, Sink, SliceSource};

impl PipeEnd {
    /// Copies up to `count` bytes to another pipe and keeps them here: tee(2). `EAGAIN` when
    /// nothing is there or nothing has room, `EPIPE` when nobody reads there.
    pub fn tee(&self, to: &Self, count: usize) -> Result<usize> {
        self.transfer(to, count, true)
    }

    /// Moves up to `count` bytes to another pipe: splice(2). Errors are those of
    /// [`tee`](Self::tee).
    pub fn splice(&self, to: &Self, count: usize) -> Result<usize> {
        self.transfer(to, count, false)
    }

    fn transfer(&self, to: &Self, count: usize, keep: bool) -> Result<usize> {
        if !self.access.reads() || !to.access.writes() {
            return Err(Errno::EBADF);
        }
        if Arc::ptr_eq(&self.pipe, &to.pipe) {
            return Err(Errno::EINVAL);
        }
        if count == 0 {
            return Ok(0);
        }
        // Two pipes are locked in the order of their addresses.
        let first = Arc::as_ptr(&self.pipe) < Arc::as_ptr(&to.pipe);
        let (mut source, mut target) = if first {
            let source = self.pipe.state.lock();
            (source, to.pipe.state.lock())
        } else {
            let target = to.pipe.state.lock();
            (self.pipe.state.lock(), target)
        };
        if target.readers == 0 {
            return Err(Errno::EPIPE);
        }
        if !source.can_read()? {
            return Ok(0);
        }
        if target.ring.is_full() {
            return Err(Errno::EAGAIN);
        }
        let done = source.ring.copy_to(&mut target.ring, count)?;
        let was_full = source.ring.is_full();
        if !keep {
            source.ring.discard(done);
        }
        let room = was_full && !source.ring.is_full();
        drop(source);
        drop(target);
        to.pipe.notify_readers(Events::READABLE);
        if room {
            self.pipe.notify_writers(Events::WRITABLE);
        }
        Ok(done)
    }

    /// Lends up to `count` bytes to somebody who tries to write them elsewhere, and meanwhile
    /// to nobody else. No bytes mean the end; `EAGAIN` that nothing is there.
    pub fn lend(&self, count: usize) -> Result<Lent<'_>> {
        if !self.access.reads() {
            return Err(Errno::EBADF);
        }
        let mut state = self.pipe.state.lock();
        let mut bytes = Vec::new();
        if count > 0 && state.can_read()? {
            state.ring.peek(count, &mut bytes)?;
            state.lending = Lending::Yes;
        }
        Ok(Lent { end: self, bytes })
    }

    /// A sink into the pipe, of at most `limit` bytes and what has room.
    pub fn sink(&self, limit: usize) -> PipeSink<'_> {
        PipeSink { end: self, left: limit, done: 0 }
    }
}

/// Whether a splice(2) has the first bytes of a pipe and may give them back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lending {
    #[default]
    No,
    Yes,
    /// Yes, and somebody who came for them was told that nothing is there.
    Missed,
}

impl Lending {
    /// Looks for others whether the bytes are away, and remembers that they did.
    #[inline(always)]
    pub(super) fn is_away(&mut self) -> bool {
        if *self == Self::No {
            return false;
        }
        *self = Self::Missed;
        true
    }
}

impl State {
    /// Whether there is something to read; `Ok(false)` at the end, `EAGAIN` when it may come.
    #[inline(always)]
    pub(super) fn can_read(&mut self) -> Result<bool> {
        if self.lending.is_away() || (self.ring.is_empty() && self.writers > 0) {
            return Err(Errno::EAGAIN);
        }
        Ok(!self.ring.is_empty())
    }
}

/// The first bytes of a pipe, still inside it.
pub struct Lent<'a> {
    end: &'a PipeEnd,
    bytes: Vec<u8>,
}

impl Lent<'_> {
    /// What was lent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the first `count` bytes out of the pipe and gives the others back.
    pub fn consume(self, count: usize) {
        let pipe = &self.end.pipe;
        let mut state = pipe.state.lock();
        let was_full = state.ring.is_full();
        state.ring.discard(count);
        let room = was_full && !state.ring.is_full();
        drop(state);
        if room {
            pipe.notify_writers(Events::WRITABLE);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let pipe = &self.end.pipe;
        let mut state = pipe.state.lock();
        let missed = core::mem::take(&mut state.lending) == Lending::Missed;
        let mut now = Events::empty();
        now.set(Events::READABLE, !state.ring.is_empty());
        if state.writers == 0 {
            now |= Events::READABLE | Events::HUP;
        }
        drop(state);
        if missed && !now.is_empty() {
            pipe.notify_readers(now);
        }
    }
}

/// Writes into a pipe what another object gives, under that object's lock.
pub struct PipeSink<'a> {
    end: &'a PipeEnd,
    left: usize,
    done: usize,
}

impl PipeSink<'_> {
    /// Bytes taken so far.
    pub fn taken(&self) -> usize {
        self.done
    }
}

impl Sink for PipeSink<'_> {
    fn remaining(&self) -> usize {
        self.left.min(self.end.pipe.state.lock().ring.room())
    }

    /// Other writers may have filled the pipe since `remaining` was asked: what has no room is
    /// not taken, as if the memory behind it were missing.
    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut state = self.end.pipe.state.lock();
        let count = bytes.len().min(self.left).min(state.ring.room());
        let taken = match state.ring.write(&mut SliceSource::new(&bytes[..count]), false) {
            Ok(taken) => taken,
            Err(Errno::EAGAIN) => return Err(Errno::EFAULT),
            Err(error) => return Err(error),
        };
        drop(state);
        self.left -= taken;
        self.done += taken;
        self.end.pipe.notify_readers(Events::READABLE);
        Ok(taken)
    }
}
