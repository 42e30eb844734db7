// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Event counters: eventfd(2).

use crate::copy::{put_all, take_all};
use core::any::Any;
use kio::{Errno, Events, File, FileKind, Result, Sink, Source, Stat, WaitQueue};
use ksync::SpinLock;

/// A counter that reads take and writes add to.
pub struct EventFd {
    count: SpinLock<u64>,
    queue: WaitQueue,
    semaphore: bool,
}

impl EventFd {
    /// A counter that starts at `initial`; with `semaphore` (EFD_SEMAPHORE) a
    /// read takes one.
    pub fn new(initial: u32, semaphore: bool) -> Self {
        Self { count: SpinLock::new(u64::from(initial)), queue: WaitQueue::new(), semaphore }
    }

    /// Adds for the kernel itself, never failing: at the limit it stays there.
    pub fn signal(&self, amount: u64) {
        let mut count = self.count.lock();
        *count = count.saturating_add(amount);
        drop(count);
        self.queue.notify(Events::IN);
    }
}

impl File for EventFd {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat::anonymous(FileKind::Anonymous))
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(Errno::EAGAIN);
        }
        let taken = if self.semaphore { 1 } else { *count };
        put_all(sink, &taken.to_ne_bytes())?;
        *count -= taken;
        drop(count);
        self.queue.notify(Events::OUT);
        Ok(8)
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        if source.remaining() != 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 8];
        take_all(source, &mut bytes)?;
        let amount = u64::from_ne_bytes(bytes);
        if amount == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        if u64::MAX - *count <= amount {
            return Err(Errno::EAGAIN);
        }
        *count += amount;
        drop(count);
        self.queue.notify(Events::IN);
        Ok(8)
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        Ok((self.write_at(0, source)?, 0))
    }

    fn poll(&self) -> Events {
        let count = *self.count.lock();
        let mut events = Events::empty();
        events.set(Events::IN, count > 0);
        events.set(Events::ERR, count == u64::MAX);
        events.set(Events::OUT, count < u64::MAX - 1);
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
