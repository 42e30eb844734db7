// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stack's timers, multiplexed onto one timer of the kernel.
//!
//! Timers are lazy: whoever moves a deadline *later* only notes it and finds,
//! when the timer fires, that it has to be set again. So the retransmission
//! and keep-alive timers of a busy connection cost nothing for each packet.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use kio::{Events, Instant, TimerId, Timers, Wake};
use ksync::SpinLock;

/// What a timer calls, without locks held.
pub(crate) trait Expire: Send + Sync {
    /// The moment has come (or is past).
    fn expire(self: Arc<Self>, now: Instant);
}

/// Names an armed timer: its place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    at: Instant,
    id: u64,
}

impl TimerKey {
    pub(crate) fn at(self) -> Instant {
        self.at
    }
}

struct Queue {
    next_id: u64,
    entries: BTreeMap<TimerKey, Arc<dyn Expire>>,
    armed: Option<Armed>,
}

/// The timer of the kernel that stands for the first of ours.
struct Armed {
    at: Instant,
    id: TimerId,
    generation: u64,
}

/// The queue of all timers. Its lock comes behind all socket locks.
pub(crate) struct TimerQueue {
    queue: SpinLock<Queue>,
    timers: Arc<dyn Timers>,
    clock: Arc<dyn kio::Clock>,
    me: Weak<Self>,
}

impl TimerQueue {
    pub(crate) fn new(timers: Arc<dyn Timers>, clock: Arc<dyn kio::Clock>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            queue: SpinLock::new(Queue { next_id: 0, entries: BTreeMap::new(), armed: None }),
            timers,
            clock,
            me: me.clone(),
        })
    }

    /// Has `target` called at `at`.
    pub(crate) fn arm(&self, at: Instant, target: Arc<dyn Expire>) -> TimerKey {
        let mut queue = self.queue.lock();
        let key = TimerKey { at, id: queue.next_id };
        queue.next_id += 1;
        queue.entries.insert(key, target);
        self.rearm(&mut queue);
        key
    }

    /// Takes a timer back.
    pub(crate) fn cancel(&self, key: TimerKey) {
        let gone = self.queue.lock().entries.remove(&key);
        // May be the last reference: not under the lock.
        drop(gone);
    }

    fn rearm(&self, queue: &mut Queue) {
        let Some((first, _)) = queue.entries.first_key_value() else { return };
        let first = first.at;
        if let Some(armed) = &queue.armed {
            if armed.at <= first {
                return;
            }
            self.timers.cancel(armed.id);
        }
        if let Some(me) = self.me.upgrade() {
            queue.next_id += 1;
            let generation = queue.next_id;
            let id = self.timers.arm(first, me, generation);
            queue.armed = Some(Armed { at: first, id, generation });
        }
    }

    fn take_due(&self, generation: u64, now: Instant) -> Vec<Arc<dyn Expire>> {
        let mut queue = self.queue.lock();
        // This wake-up spent the timer, even if it came a little early.
        if queue.armed.as_ref().is_some_and(|a| a.generation == generation) {
            queue.armed = None;
        }
        let mut due = Vec::new();
        while let Some(entry) = queue.entries.first_entry() {
            if entry.key().at > now {
                break;
            }
            due.push(entry.remove());
        }
        self.rearm(&mut queue);
        due
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().entries.len()
    }
}

impl Wake for TimerQueue {
    fn wake(&self, key: u64, _ready: Events) {
        let now = self.clock.monotonic();
        for target in self.take_due(key, now) {
            target.expire(now);
        }
    }
}
