// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pipes and FIFOs: pipe(7), fifo(7).

mod fifo;
mod ring;
mod splice;
#[cfg(test)]
mod tests;

pub use fifo::{Fifo, FifoOpening};
pub use ring::PIPE_BUF;
pub use splice::{Lent, PipeSink};

use crate::copy::{FIONREAD, next_inode, store_count};
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};
use kio::{Errno, Events, File, FileKind, Result, Sink, Source, Stat, UserWords, WaitQueue};
use ksync::SpinLock;
use ring::{PAGE, Ring};
use splice::Lending;

/// `/proc/sys/fs/pipe-max-size`.
const MAX_SIZE: usize = 1 << 20;
const DEFAULT_SLOTS: usize = 16;

/// How an end was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// O_RDONLY.
    Read,
    /// O_WRONLY.
    Write,
    /// O_RDWR, for FIFOs only.
    Both,
}

impl Access {
    fn reads(self) -> bool {
        self != Self::Write
    }

    fn writes(self) -> bool {
        self != Self::Read
    }
}

struct State {
    ring: Ring,
    lending: Lending,
    readers: u32,
    writers: u32,
    /// How often an end for reading was opened; a FIFO waits for a change.
    reader_opens: u64,
    writer_opens: u64,
}

impl State {
    fn open(&mut self, access: Access) {
        if access.reads() {
            self.readers += 1;
            self.reader_opens += 1;
        }
        if access.writes() {
            self.writers += 1;
            self.writer_opens += 1;
        }
    }
}

struct Pipe {
    state: SpinLock<State>,
    /// Who waits for data, for room, and for either. They are apart so that
    /// a writer that asks for all events does not hear of its own writes.
    readers: WaitQueue,
    writers: WaitQueue,
    both: WaitQueue,
    inode: u64,
}

impl Pipe {
    fn queue(&self, access: Access) -> &WaitQueue {
        match access {
            Access::Read => &self.readers,
            Access::Write => &self.writers,
            Access::Both => &self.both,
        }
    }

    fn notify_readers(&self, events: Events) {
        self.readers.notify(events);
        self.both.notify(events);
    }

    fn notify_writers(&self, events: Events) {
        self.writers.notify(events);
        self.both.notify(events);
    }

    fn new() -> Result<Arc<Self>> {
        let ring = Ring::new(DEFAULT_SLOTS)?;
        let state = State {
            ring,
            lending: Lending::No,
            readers: 0,
            writers: 0,
            reader_opens: 0,
            writer_opens: 0,
        };
        Ok(Arc::new(Self {
            state: SpinLock::new(state),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            both: WaitQueue::new(),
            inode: next_inode(),
        }))
    }
}

/// One open end of a pipe or FIFO: what one open file description refers to.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    access: Access,
    packets: AtomicBool,
    closed: AtomicBool,
    /// `writer_opens` at the time of a non-blocking open without a writer: no
    /// hang-up is reported before the first writer came.
    writers_unseen: Option<u64>,
}

/// The two ends of a new pipe, as pipe2(2): (reading, writing). `packets` is
/// O_DIRECT.
pub fn pipe(packets: bool) -> Result<(PipeEnd, PipeEnd)> {
    let pipe = Pipe::new()?;
    {
        let mut state = pipe.state.lock();
        state.open(Access::Read);
        state.open(Access::Write);
    }
    let reader = PipeEnd::new(pipe.clone(), Access::Read, packets);
    Ok((reader, PipeEnd::new(pipe, Access::Write, packets)))
}

impl PipeEnd {
    fn new(pipe: Arc<Pipe>, access: Access, packets: bool) -> Self {
        Self {
            pipe,
            access,
            packets: AtomicBool::new(packets),
            closed: AtomicBool::new(false),
            writers_unseen: None,
        }
    }

    /// How the end was opened.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Sets or clears O_DIRECT, as F_SETFL may.
    pub fn set_packets(&self, packets: bool) {
        self.packets.store(packets, Ordering::Relaxed);
    }

    /// F_GETPIPE_SZ.
    pub fn capacity(&self) -> usize {
        self.pipe.state.lock().ring.slots() * PAGE
    }

    /// F_SETPIPE_SZ; returns the capacity that was set.
    pub fn set_capacity(&self, bytes: usize) -> Result<usize> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = bytes.max(PAGE).next_power_of_two();
        if size > MAX_SIZE {
            return Err(Errno::EPERM);
        }
        self.pipe.state.lock().ring.resize(size / PAGE)?;
        // A full pipe that grew has room now.
        self.pipe.notify_writers(Events::WRITABLE);
        Ok(size)
    }
}

impl File for PipeEnd {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat { inode: self.pipe.inode, ..Stat::anonymous(FileKind::Fifo) })
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::EBADF);
        }
        if sink.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.pipe.state.lock();
        if !state.can_read()? {
            return Ok(0);
        }
        let was_full = state.ring.is_full();
        let result = state.ring.read(sink);
        let room = was_full && !state.ring.is_full();
        drop(state);
        if room {
            self.pipe.notify_writers(Events::WRITABLE);
        }
        result
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        if !self.access.writes() {
            return Err(Errno::EBADF);
        }
        if source.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.pipe.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let result = state.ring.write(source, self.packets.load(Ordering::Relaxed));
        drop(state);
        // Also when there was data before, and when nothing fitted, as Linux
        // does: edge-triggered watchers count on an event for each write.
        self.pipe.notify_readers(Events::READABLE);
        result
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        Ok((self.write_at(0, source)?, 0))
    }

    fn poll(&self) -> Events {
        let mut state = self.pipe.state.lock();
        let mut events = Events::empty();
        if self.access.reads() && !state.lending.is_away() {
            events.set(Events::READABLE, !state.ring.is_empty());
            let seen = self.writers_unseen != Some(state.writer_opens);
            events.set(Events::HUP, state.writers == 0 && seen);
        }
        if self.access.writes() {
            events.set(Events::WRITABLE, !state.ring.is_full());
            events.set(Events::ERR, state.readers == 0);
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.pipe.queue(self.access))
    }

    fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut state = self.pipe.state.lock();
        state.readers -= u32::from(self.access.reads());
        state.writers -= u32::from(self.access.writes());
        let (readers, writers) = (state.readers, state.writers);
        if readers == 0 && writers == 0 {
            state.ring.clear();
        }
        drop(state);
        if (readers == 0) != (writers == 0) {
            self.pipe.notify_readers(Events::READABLE | Events::HUP);
            self.pipe.notify_writers(Events::WRITABLE | Events::ERR);
        }
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        match request {
            FIONREAD => store_count(argument, self.pipe.state.lock().ring.len()),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        // An end that never became a descriptor (no free number) still counts.
        self.close();
    }
}
