// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pending signals of a thread or of a process.

use crate::{Origin, SigInfo, Signal, SignalSet, code};
use alloc::collections::VecDeque;
use kio::{Errno, Result};

/// What became of a signal that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It is pending now.
    Added,
    /// A standard signal that was pending already, or the signal of a timer
    /// that was, which now stands for one more expiration.
    Coalesced,
}

/// Signals that were sent and not yet delivered.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    set: SignalSet,
    /// In the order of sending. A member of `set` without an entry here was
    /// sent when there was no memory or quota for its details.
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// Nothing pending.
    pub const fn new() -> Self {
        Self { set: SignalSet::EMPTY, queue: VecDeque::new() }
    }

    /// The pending signals.
    pub fn set(&self) -> SignalSet {
        self.set
    }

    /// Entries in the queue, for RLIMIT_SIGPENDING.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Adds a signal. Standard signals coalesce. Of real-time signals those
    /// beyond `limit` queued ones fail with `EAGAIN` when they came from
    /// sigqueue(3), and lose their details when they came from kill(2).
    pub fn send(&mut self, info: SigInfo, limit: usize) -> Result<Queued> {
        let signal = info.signal;
        if self.set.contains(signal) && self.overrun(&info) {
            return Ok(Queued::Coalesced);
        }
        if !signal.is_realtime() && self.set.contains(signal) {
            return Ok(Queued::Coalesced);
        }
        // The kernel's own standard signals keep their details beyond the
        // limit: there are at most 31 of them.
        let room = self.queue.len() < limit || (!signal.is_realtime() && info.code >= 0);
        if room && self.queue.try_reserve(1).is_ok() {
            self.queue.push_back(info);
        } else if signal.is_realtime() && info.code != code::SI_USER {
            return Err(Errno::EAGAIN);
        }
        self.set.insert(signal);
        Ok(Queued::Added)
    }

    /// Counts an expiration of a timer whose signal is pending still:
    /// timer_getoverrun(2). True when there is one.
    fn overrun(&mut self, info: &SigInfo) -> bool {
        let Origin::Timer { id, overrun: missed, .. } = info.origin else { return false };
        self.queue.iter_mut().filter(|queued| queued.signal == info.signal).any(|queued| {
            match &mut queued.origin {
                Origin::Timer { id: of, overrun, .. } if *of == id => {
                    *overrun = overrun.saturating_add(missed).saturating_add(1);
                    true
                }
                _ => false,
            }
        })
    }

    /// Drops all pending signals of `set`.
    pub fn discard(&mut self, set: SignalSet) {
        if (self.set & set).is_empty() {
            return;
        }
        self.set = self.set & !set;
        self.queue.retain(|info| !set.contains(info.signal));
    }

    /// The signal that [`take`](Self::take) would take.
    pub fn peek(&self, wanted: SignalSet) -> Option<SigInfo> {
        let signal = (self.set & wanted).first()?;
        Some(self.details(signal).map_or(SigInfo::kill(signal, 0, 0), |at| self.queue[at]))
    }

    /// Takes the next signal out of those `wanted`: synchronous ones first,
    /// then the lowest, of equals the oldest.
    pub fn take(&mut self, wanted: SignalSet) -> Option<SigInfo> {
        let signal = (self.set & wanted).first()?;
        Some(self.take_signal(signal))
    }

    /// Takes a signal that a fault of this thread caused, if one is pending:
    /// it belongs to the present registers and comes before all others.
    pub fn take_fault(&mut self, wanted: SignalSet) -> Option<SigInfo> {
        let wanted = self.set & wanted & SignalSet::SYNCHRONOUS;
        if wanted.is_empty() {
            return None;
        }
        let mut faults = self.queue.iter();
        let fault = faults.find(|i| !i.is_from_user() && wanted.contains(i.signal))?;
        Some(self.take_signal(fault.signal))
    }

    fn details(&self, signal: Signal) -> Option<usize> {
        self.queue.iter().position(|info| info.signal == signal)
    }

    fn take_signal(&mut self, signal: Signal) -> SigInfo {
        let info = self.details(signal).and_then(|at| self.queue.remove(at));
        if self.details(signal).is_none() {
            self.set.remove(signal);
        }
        info.unwrap_or(SigInfo::kill(signal, 0, 0))
    }
}
