// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Named pipes: the rendezvous of open(2) as fifo(7) describes it.

use super::{Access, Pipe, PipeEnd};
use alloc::sync::Arc;
use kio::{Errno, Events, Result, WaitQueue};

/// The pipe behind a FIFO inode; the file system keeps one for each.
pub struct Fifo {
    pipe: Arc<Pipe>,
}

/// An open(2) of a FIFO under way. Dropped before it is
/// [finished](Self::finish) (a signal came), it is taken back.
pub struct FifoOpening {
    end: PipeEnd,
    /// The count of the other side's opens that has to change.
    awaited: Option<u64>,
}

impl Fifo {
    /// A FIFO that nobody has open.
    pub fn new() -> Result<Self> {
        Ok(Self { pipe: Pipe::new()? })
    }

    /// Starts to open; `ENXIO` for a non-blocking writer without a reader.
    pub fn open(&self, access: Access, nonblocking: bool) -> Result<FifoOpening> {
        let mut state = self.pipe.state.lock();
        if access == Access::Write && nonblocking && state.readers == 0 {
            return Err(Errno::ENXIO);
        }
        state.open(access);
        let mut end = PipeEnd::new(self.pipe.clone(), access, false);
        let mut awaited = None;
        match access {
            Access::Read if state.writers == 0 && nonblocking => {
                end.writers_unseen = Some(state.writer_opens);
            }
            Access::Read if state.writers == 0 => awaited = Some(state.writer_opens),
            Access::Write if state.readers == 0 => awaited = Some(state.reader_opens),
            _ => {}
        }
        drop(state);
        self.pipe.notify_readers(Events::READABLE);
        self.pipe.notify_writers(Events::WRITABLE);
        Ok(FifoOpening { end, awaited })
    }
}

impl FifoOpening {
    /// True once the other side was opened; until then the caller sleeps on
    /// the [queue](Self::wait_queue), for IN and OUT.
    pub fn is_ready(&self) -> bool {
        let state = self.end.pipe.state.lock();
        let opens = match self.end.access {
            Access::Read => state.writer_opens,
            _ => state.reader_opens,
        };
        self.awaited.is_none_or(|old| old != opens)
    }

    /// Notified when [`is_ready`](Self::is_ready) may have changed.
    pub fn wait_queue(&self) -> &WaitQueue {
        self.end.pipe.queue(self.end.access)
    }

    /// The open end, or the opening back while it is not ready.
    pub fn finish(self) -> core::result::Result<PipeEnd, Self> {
        if self.is_ready() { Ok(self.end) } else { Err(self) }
    }
}
