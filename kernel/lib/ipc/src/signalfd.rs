// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Signals that are read: signalfd(2).

use crate::copy::put_all;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use kio::{Errno, Events, File, FileKind, Result, Sink, Stat, WaitQueue};

/// The pending signals of whoever calls; the kernel implements it.
pub trait PendingSignals: Send + Sync {
    /// Signals pending for the calling thread or its process, bit n - 1 for
    /// signal n.
    fn pending(&self) -> u64;

    /// Hands the next pending signal of `mask` to `deliver` as a
    /// `struct signalfd_siginfo`, and takes it if that succeeds. `Ok(false)`
    /// when none is pending.
    fn take(&self, mask: u64, deliver: &mut dyn FnMut(&[u8; 128]) -> Result<()>) -> Result<bool>;

    /// Notified with IN when a signal became pending.
    fn wait_queue(&self) -> &WaitQueue;
}

/// A descriptor that takes the signals of its mask.
pub struct SignalFd {
    mask: AtomicU64,
    signals: Arc<dyn PendingSignals>,
}

/// SIGKILL and SIGSTOP are never read.
const UNREADABLE: u64 = 1 << 8 | 1 << 18;

impl SignalFd {
    /// Reads the signals of `mask`.
    pub fn new(mask: u64, signals: Arc<dyn PendingSignals>) -> Self {
        Self { mask: AtomicU64::new(mask & !UNREADABLE), signals }
    }

    /// Changes the mask, as signalfd(2) on an existing descriptor does.
    pub fn set_mask(&self, mask: u64) {
        self.mask.store(mask & !UNREADABLE, Ordering::Release);
        self.signals.wait_queue().notify(Events::IN);
    }

    fn mask(&self) -> u64 {
        self.mask.load(Ordering::Acquire)
    }
}

impl File for SignalFd {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat::anonymous(FileKind::Anonymous))
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < 128 {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        while sink.remaining() >= 128 {
            match self.signals.take(self.mask(), &mut |info| put_all(sink, info)) {
                Ok(true) => done += 128,
                Ok(false) => break,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn poll(&self) -> Events {
        let ready = self.signals.pending() & self.mask() != 0;
        if ready { Events::IN } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.signals.wait_queue())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
