// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Wait queues: who wants to hear when an object becomes ready.

use crate::Events;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use ksync::SpinLock;

/// Something that can be told that an object became ready: a sleeping thread,
/// an epoll item, a test.
///
/// `wake` is called with the locks of the object that became ready held, so it
/// must not call back into objects; it may take scheduler locks and locks of
/// its own.
pub trait Wake: Send + Sync {
    /// `ready` became true of the object that was registered under `key`.
    fn wake(&self, key: u64, ready: Events);
}

struct Waiter {
    id: u64,
    key: u64,
    interest: Events,
    exclusive: bool,
    target: Arc<dyn Wake>,
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    waiters: Vec<Waiter>,
}

/// The waiters of one object. Lock order: an object's own locks come before
/// its wait queue; the locks of what is woken come after.
#[derive(Default)]
pub struct WaitQueue {
    count: AtomicUsize,
    inner: SpinLock<Inner>,
}

/// Names one registration, to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration(u64);

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            inner: SpinLock::new(Inner { next_id: 0, waiters: Vec::new() }),
        }
    }

    /// Adds a waiter for any of `interest` (ERR and HUP are always included).
    /// Of the exclusive waiters only one is woken for each notification. The
    /// caller must look at the object's state *after* it registered.
    pub fn register(
        &self,
        target: Arc<dyn Wake>,
        key: u64,
        interest: Events,
        exclusive: bool,
    ) -> Registration {
        let mut inner = self.inner.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.waiters.push(Waiter {
            id,
            key,
            interest: interest | Events::ALWAYS,
            exclusive,
            target,
        });
        self.count.store(inner.waiters.len(), Ordering::SeqCst);
        Registration(id)
    }

    /// Takes a registration back; does nothing when it is gone already.
    pub fn unregister(&self, registration: Registration) {
        let mut inner = self.inner.lock();
        let gone = inner
            .waiters
            .iter()
            .position(|w| w.id == registration.0)
            .map(|at| inner.waiters.remove(at));
        self.count.store(inner.waiters.len(), Ordering::SeqCst);
        drop(inner);
        // The last reference to a waiter may run a destructor: not under the lock.
        drop(gone);
    }

    /// Tells the waiters that `ready` is now true of the object: all that are
    /// not exclusive, and the exclusive one that has waited longest.
    pub fn notify(&self, ready: Events) {
        core::sync::atomic::fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut inner = self.inner.lock();
        let mut woken_exclusive = None;
        for (at, waiter) in inner.waiters.iter().enumerate() {
            if !waiter.interest.intersects(ready) || (waiter.exclusive && woken_exclusive.is_some())
            {
                continue;
            }
            if waiter.exclusive {
                woken_exclusive = Some(at);
            }
            waiter.target.wake(waiter.key, ready);
        }
        // Fairness among exclusive waiters: the woken one goes to the back.
        if let Some(at) = woken_exclusive {
            let waiter = inner.waiters.remove(at);
            inner.waiters.push(waiter);
        }
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaitQueue({} waiting)", self.count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::{WaitQueue, Wake};
    use crate::Events;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use ksync::SpinLock;

    #[derive(Default)]
    struct Log(SpinLock<Vec<u64>>);

    impl Wake for Log {
        fn wake(&self, key: u64, _ready: Events) {
            self.0.lock().push(key);
        }
    }

    #[test]
    fn wakes_by_interest_and_one_exclusive_in_turn() {
        let queue = WaitQueue::new();
        let log = Arc::new(Log::default());
        queue.register(log.clone(), 1, Events::IN, false);
        queue.register(log.clone(), 2, Events::OUT, false);
        queue.register(log.clone(), 3, Events::IN, true);
        let last = queue.register(log.clone(), 4, Events::IN, true);
        queue.notify(Events::IN);
        queue.notify(Events::IN);
        assert_eq!(*log.0.lock(), [1, 3, 1, 4]);
        queue.unregister(last);
        queue.notify(Events::HUP);
        assert_eq!(log.0.lock()[4..], [1, 2, 3]);
    }
}
