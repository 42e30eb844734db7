// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Blocking, written once: sleep on wait queues until something works, a
//! signal comes, or time is up.

use crate::sched::{self, current_thread};
use crate::timers::SystemTime;
use alloc::sync::Arc;
use kio::{Errno, Events, File, Instant, Registration, Result, TimerId, Timers, WaitQueue};

/// Wakes the running thread at a deadline; taken back when dropped.
#[derive(Debug)]
pub struct Alarm {
    id: Option<TimerId>,
    at: Instant,
}

impl Alarm {
    /// An alarm at `at`, or none.
    pub fn new(at: Option<Instant>) -> Self {
        let Some(at) = at.filter(|at| *at != Instant::FAR_FUTURE) else {
            return Self { id: None, at: Instant::FAR_FUTURE };
        };
        let id = current_thread().map(|t| SystemTime.arm(at, t.waker(), 0));
        Self { id, at }
    }

    /// True when the deadline has passed.
    pub fn rang(&self) -> bool {
        self.at != Instant::FAR_FUTURE && khal::clock::monotonic() >= self.at
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            SystemTime.cancel(id);
        }
    }
}

/// A place in a wait queue, given back when dropped.
struct Place<'a> {
    queue: &'a WaitQueue,
    registration: Registration,
}

impl<'a> Place<'a> {
    fn take(queue: &'a WaitQueue, interest: Events, exclusive: bool) -> Option<Self> {
        let waker = current_thread()?.waker();
        let registration = queue.register(waker, 0, interest, exclusive);
        Some(Self { queue, registration })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.unregister(self.registration);
    }
}

/// True when the running thread has a signal to take or has to end.
pub fn interrupted() -> bool {
    current_thread().is_some_and(|t| t.must_end() || t.signals.has_deliverable(t))
}

/// Tries `attempt` until it gives something else than `EAGAIN`, sleeping on
/// `queue` in between. `ETIMEDOUT` at the deadline, `ERESTARTSYS` on a signal.
pub fn wait_on<T>(
    queue: &WaitQueue,
    interest: Events,
    deadline: Option<Instant>,
    attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    wait(queue, interest, true, deadline, attempt)
}

/// [`wait_on`] where each notification may concern any of the waiters, so that
/// all look: advisory locks.
pub fn wait_on_all<T>(
    queue: &WaitQueue,
    interest: Events,
    deadline: Option<Instant>,
    attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    wait(queue, interest, false, deadline, attempt)
}

fn wait<T>(
    queue: &WaitQueue,
    interest: Events,
    exclusive: bool,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    match attempt() {
        Err(Errno::EAGAIN) => {}
        done => return done,
    }
    let _place = Place::take(queue, interest, exclusive);
    let alarm = Alarm::new(deadline);
    loop {
        // After registering: what happened in between is seen here.
        match attempt() {
            Err(Errno::EAGAIN) => {}
            done => return done,
        }
        if interrupted() {
            return Err(Errno::ERESTARTSYS);
        }
        if alarm.rang() {
            return Err(Errno::ETIMEDOUT);
        }
        sched::park();
    }
}

/// Sleeps on `queue` until `done`, whatever signals come; false when the thread has to end.
pub fn wait_through_signals(queue: &WaitQueue, done: impl Fn() -> bool) -> bool {
    let _place = Place::take(queue, Events::READABLE, false);
    loop {
        if done() {
            return true;
        }
        if current_thread().is_none_or(|thread| thread.must_end()) {
            return false;
        }
        sched::park();
    }
}

/// [`wait_on`] for an operation of a file; one without a queue never waits.
pub fn wait_for<T>(
    file: &Arc<dyn File>,
    interest: Events,
    nonblocking: bool,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    match file.wait_queue() {
        // All look: one that leaves data behind would not wake the next.
        Some(queue) if !nonblocking => wait_on_all(queue, interest, deadline, attempt),
        _ => attempt(),
    }
}

/// [`wait_for`] with the deadline of a socket (SO_RCVTIMEO, SO_SNDTIMEO):
/// `EAGAIN` when it has passed, and a call with one is not restarted after a
/// signal: signal(7).
pub fn wait_for_socket<T>(
    file: &Arc<dyn File>,
    interest: Events,
    nonblocking: bool,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    if deadline.is_none() {
        return wait_for(file, interest, nonblocking, None, attempt);
    }
    // A connection can time out by itself, which is told as it is.
    let mut own = false;
    let result = wait_for(file, interest, nonblocking, deadline, || {
        attempt().inspect_err(|error| own = *error == Errno::ETIMEDOUT)
    });
    match result {
        Err(Errno::ETIMEDOUT) if !own => Err(Errno::EAGAIN),
        Err(Errno::ERESTARTSYS) => Err(Errno::EINTR),
        result => result,
    }
}

/// Sleeps until `deadline`, a wake-up or a signal. `Ok` at the deadline,
/// `ERESTARTSYS` on a signal.
pub fn sleep_until(deadline: Option<Instant>) -> Result<()> {
    let alarm = Alarm::new(deadline);
    loop {
        if alarm.rang() {
            return Ok(());
        }
        if interrupted() {
            return Err(Errno::ERESTARTSYS);
        }
        sched::park();
    }
}
