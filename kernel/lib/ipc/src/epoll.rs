// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Event polling: epoll(7).
//!
//! A wake-up puts the item on the ready list and nothing more; waiting goes
//! through the list and asks the files themselves. So the cost of waiting
//! is that of the ready items, however many are registered.
//!
//! Locks: the state lock comes after object locks and wait queues, because
//! [`Wake::wake`] runs under them. So it is never held while a file is asked,
//! registered, unregistered or dropped.

mod list;
mod nesting;
mod state;
#[cfg(test)]
mod tests;

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use core::any::Any;
use kio::{Errno, Events, File, FileKind, Registration, Result, Stat, WaitQueue, Wake};
use ksync::SpinLock;
use nesting::Parents;
use state::{Entry, State, Token};

bitflags! {
    /// The input flags of epoll_ctl(2) beside [`Events`], with Linux's values.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct EpollFlags: u32 {
        /// One waiter of many for each wake-up.
        const EXCLUSIVE = 1 << 28;
        /// Keep the machine awake; a unikernel never suspends.
        const WAKEUP = 1 << 29;
        /// Report once, then wait for EPOLL_CTL_MOD.
        const ONESHOT = 1 << 30;
        /// Report changes, not states.
        const ET = 1 << 31;
    }
}

/// What an EPOLLEXCLUSIVE registration may contain.
const EXCLUSIVE_ALLOWED: u32 = Events::IN.bits()
    | Events::OUT.bits()
    | Events::ALWAYS.bits()
    | EpollFlags::WAKEUP.bits()
    | EpollFlags::ET.bits()
    | EpollFlags::EXCLUSIVE.bits();

/// The registrations that one open file description takes part in. The
/// description owns it and calls [`release`](Self::release) when its last
/// descriptor is closed.
#[derive(Default)]
pub struct Watchers(SpinLock<Vec<(Weak<Core>, Token)>>);

impl Watchers {
    /// No registrations.
    pub const fn new() -> Self {
        Self(SpinLock::new(Vec::new()))
    }

    /// Ends all registrations: the description is closed.
    pub fn release(&self) {
        let all = core::mem::take(&mut *self.0.lock());
        for (core, token) in all {
            if let Some(core) = core.upgrade() {
                core.remove(token);
            }
        }
    }

    fn reserve(&self) -> Result<()> {
        let mut stale = Vec::new();
        let mut list = self.0.lock();
        if list.len() == list.capacity() {
            // Instances that were closed leave their entries behind. Weak
            // references free memory when they go: not under the lock.
            let (live, gone) = list.drain(..).partition(|(core, _)| core.strong_count() > 0);
            (*list, stale) = (live, gone);
        }
        let result = list.try_reserve(1).map_err(|_| Errno::ENOMEM);
        drop(list);
        drop(stale);
        result
    }

    fn forget(&self, core: &Arc<Core>, token: Token) {
        let mut list = self.0.lock();
        let at = list.iter().position(|(c, t)| *t == token && c.as_ptr() == Arc::as_ptr(core));
        let gone = at.map(|at| list.swap_remove(at));
        drop(list);
        drop(gone);
    }
}

/// A file as epoll_ctl(2) names it.
pub struct Target<'a> {
    /// The descriptor's number.
    pub fd: i32,
    /// Identity of the open file description, unique while it is open.
    pub identity: u64,
    /// The object.
    pub file: &'a Arc<dyn File>,
    /// The registrations of the description.
    pub watchers: &'a Watchers,
}

/// What the wait queues of the watched files refer to.
struct Core {
    state: SpinLock<State>,
    /// Those who sleep in epoll_wait.
    sleepers: WaitQueue,
    /// Those who poll this instance: poll(2) and outer instances.
    pollers: WaitQueue,
    parents: Parents,
}

impl Wake for Core {
    fn wake(&self, key: u64, ready: Events) {
        if self.state.lock().wake(Token(key), ready) {
            self.notify();
        }
    }
}

impl Core {
    fn notify(&self) {
        self.sleepers.notify(Events::READABLE);
        self.pollers.notify(Events::READABLE);
    }

    /// Takes one registration out; false when it is gone already.
    fn remove(&self, token: Token) -> bool {
        let Some(entry) = self.state.lock().remove(token) else { return false };
        self.retire(entry);
        true
    }

    /// Undoes what surrounds an entry, without locks.
    fn retire(&self, entry: Entry) {
        if let (Some(registration), Some(queue)) = (entry.registration, entry.file.wait_queue()) {
            queue.unregister(registration);
        }
        if let Some(inner) = entry.file.as_any().downcast_ref::<Epoll>() {
            inner.core.parents.remove(self);
        }
    }

    fn clear(&self) {
        loop {
            let Some(entry) = self.state.lock().remove_any() else { return };
            self.retire(entry);
        }
    }

    /// Queues the item if its file is ready now; a change of the file from
    /// here on arrives as a wake-up.
    fn check(&self, token: Token, file: &dyn File) {
        let ready = file.poll();
        // No events would mean "unknown" to `wake`.
        if !ready.is_empty() && self.state.lock().wake(token, ready) {
            self.notify();
        }
    }
}

/// An epoll instance.
pub struct Epoll {
    core: Arc<Core>,
}

impl Default for Epoll {
    fn default() -> Self {
        Self::new()
    }
}

impl Epoll {
    /// An instance that watches nothing.
    pub fn new() -> Self {
        Self {
            core: Arc::new(Core {
                state: SpinLock::new(State::default()),
                sleepers: WaitQueue::new(),
                pollers: WaitQueue::new(),
                parents: Parents::default(),
            }),
        }
    }

    /// EPOLL_CTL_ADD. `events` are the raw bits of `struct epoll_event`.
    pub fn add(&self, target: &Target<'_>, events: u32, data: u64) -> Result<()> {
        let flags = EpollFlags::from_bits_truncate(events);
        let queue = target.file.wait_queue().ok_or(Errno::EPERM)?;
        let inner = target.file.as_any().downcast_ref::<Self>();
        let exclusive = flags.contains(EpollFlags::EXCLUSIVE);
        if inner.is_some_and(|inner| Arc::ptr_eq(&inner.core, &self.core))
            || (exclusive && (inner.is_some() || events & !EXCLUSIVE_ALLOWED != 0))
        {
            return Err(Errno::EINVAL);
        }
        let interest = Events::from_bits_truncate(events) | Events::ALWAYS;
        target.watchers.reserve()?;
        let entry = Entry::new(target, interest, flags, data);
        let token = match inner {
            Some(inner) => nesting::link(&self.core, &inner.core, entry)?,
            None => self.core.state.lock().insert(entry)?,
        };
        target.watchers.0.lock().push((Arc::downgrade(&self.core), token));
        // All events: EPOLL_CTL_MOD changes the interest without a new place
        // in the queue. Exclusive waiters cannot be modified, and must not
        // swallow wake-ups that they do not want.
        let wanted = if exclusive { interest } else { Events::all() };
        let registration = queue.register(self.core.clone(), token.0, wanted, exclusive);
        if let Err(late) = self.core.state.lock().set_registration(token, registration) {
            queue.unregister(late);
            return Ok(());
        }
        self.core.check(token, &**target.file);
        Ok(())
    }

    /// EPOLL_CTL_MOD.
    pub fn modify(&self, target: &Target<'_>, events: u32, data: u64) -> Result<()> {
        let flags = EpollFlags::from_bits_truncate(events);
        target.file.wait_queue().ok_or(Errno::EPERM)?;
        let itself = target.file.as_any().downcast_ref::<Self>();
        if itself.is_some_and(|other| Arc::ptr_eq(&other.core, &self.core))
            || flags.contains(EpollFlags::EXCLUSIVE)
        {
            return Err(Errno::EINVAL);
        }
        let mut state = self.core.state.lock();
        let token = state.find(target.fd, target.identity).ok_or(Errno::ENOENT)?;
        let entry = state.entry_mut(token).ok_or(Errno::ENOENT)?;
        if entry.flags.contains(EpollFlags::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        entry.interest = Events::from_bits_truncate(events) | Events::ALWAYS;
        entry.flags = flags;
        entry.data = data;
        drop(state);
        self.core.check(token, &**target.file);
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    pub fn remove(&self, target: &Target<'_>) -> Result<()> {
        target.file.wait_queue().ok_or(Errno::EPERM)?;
        let itself = target.file.as_any().downcast_ref::<Self>();
        if itself.is_some_and(|other| Arc::ptr_eq(&other.core, &self.core)) {
            return Err(Errno::EINVAL);
        }
        let found = self.core.state.lock().find(target.fd, target.identity);
        let token = found.ok_or(Errno::ENOENT)?;
        target.watchers.forget(&self.core, token);
        if self.core.remove(token) { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// Reports up to `max` ready files to `emit` and says how many. `emit`
    /// returns false when it could not take the event, which then stays:
    /// `EFAULT` if it was the first. Never blocks: `Ok(0)` when none is ready.
    /// `emit` runs under the lock of this instance.
    pub fn wait(&self, max: usize, emit: &mut dyn FnMut(Events, u64) -> bool) -> Result<usize> {
        let mut state = self.core.state.lock();
        let scan = state.next_scan();
        let mut budget = state.ready_count();
        let (mut count, mut refused) = (0, false);
        while budget > 0 && count < max && !refused {
            budget -= 1;
            let Some((token, file, wakes)) = state.next_ready(scan) else { break };
            drop(state);
            let ready = file.poll();
            drop(file);
            state = self.core.state.lock();
            match state.report((token, wakes), ready, scan, emit) {
                Some(true) => count += 1,
                Some(false) => refused = true,
                None => {}
            }
        }
        let more = state.ready_count() > 0;
        drop(state);
        if more && !self.core.sleepers.is_empty() {
            // Other threads may sleep although items were put back meanwhile.
            self.core.sleepers.notify(Events::READABLE);
        }
        if refused && count == 0 { Err(Errno::EFAULT) } else { Ok(count) }
    }

    /// Where epoll_wait sleeps: register exclusively for IN, look again with
    /// [`wait`](Self::wait), sleep.
    pub fn sleepers(&self) -> &WaitQueue {
        &self.core.sleepers
    }
}

impl File for Epoll {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat::anonymous(FileKind::Anonymous))
    }

    fn poll(&self) -> Events {
        loop {
            let Some((token, file, wakes)) = self.core.state.lock().first_ready() else {
                return Events::empty();
            };
            let ready = file.poll();
            drop(file);
            if self.core.state.lock().settle(token, ready, wakes) {
                return Events::READABLE;
            }
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.core.pollers)
    }

    fn close(&self) {
        self.core.clear();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        self.core.clear();
    }
}
