// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Timers that are read: timerfd_create(2).

use crate::copy::put_all;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::time::Duration;
use kio::{
    Clock, Errno, Events, File, FileKind, Instant, Result, Sink, Stat, TimerId, Timers, WaitQueue,
    Wake,
};
use ksync::SpinLock;

/// Which clock a timer follows; the alarm clocks are their plain forms here,
/// as a unikernel never sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerClock {
    /// CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM.
    Monotonic,
    /// CLOCK_REALTIME, CLOCK_REALTIME_ALARM.
    Realtime,
}

/// `struct itimerspec`; all zero means disarmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TimerSetting {
    /// Period; zero: one shot.
    pub interval: Duration,
    /// Time to the first expiration, or with TFD_TIMER_ABSTIME its date.
    pub value: Duration,
}

struct State {
    /// The next expiration that was not counted yet.
    next: Option<Instant>,
    interval: Duration,
    expirations: u64,
    armed: Option<TimerId>,
    /// Date of an absolute realtime timer, which a clock change moves.
    date: Option<Duration>,
    cancel_on_set: bool,
    canceled: bool,
    /// Names the present setting: firings of older ones do not count.
    generation: u64,
}

struct Inner {
    state: SpinLock<State>,
    queue: WaitQueue,
    itself: Weak<Inner>,
}

/// A timer object.
pub struct TimerFd {
    inner: Arc<Inner>,
    follows: TimerClock,
    clock: Arc<dyn Clock>,
    timers: Arc<dyn Timers>,
}

impl Wake for Inner {
    fn wake(&self, key: u64, _ready: Events) {
        let mut state = self.state.lock();
        if state.generation != key {
            return;
        }
        state.armed = None;
        drop(state);
        self.queue.notify(Events::IN);
    }
}

impl State {
    /// Counts the expirations up to `now`.
    fn advance(&mut self, now: Instant) {
        let Some(next) = self.next.filter(|next| *next <= now) else { return };
        let period = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let Some(more) = (now - next).as_nanos().checked_div(u128::from(period)) else {
            self.expirations = self.expirations.saturating_add(1);
            self.next = None;
            return;
        };
        let count = u64::try_from(more).unwrap_or(u64::MAX).saturating_add(1);
        self.expirations = self.expirations.saturating_add(count);
        self.next =
            Some(Instant::from_nanos(next.as_nanos().saturating_add(period.saturating_mul(count))));
    }
}

impl TimerFd {
    /// A disarmed timer.
    pub fn new(follows: TimerClock, clock: Arc<dyn Clock>, timers: Arc<dyn Timers>) -> Self {
        let state = State {
            next: None,
            interval: Duration::ZERO,
            expirations: 0,
            armed: None,
            date: None,
            cancel_on_set: false,
            canceled: false,
            generation: 0,
        };
        let inner = Arc::new_cyclic(|itself| Inner {
            state: SpinLock::new(state),
            queue: WaitQueue::new(),
            itself: itself.clone(),
        });
        Self { inner, follows, clock, timers }
    }

    /// The monotonic moment of a date.
    fn moment_of(&self, date: Duration) -> Instant {
        let (now, today) = (self.clock.monotonic(), self.clock.realtime());
        match date.checked_sub(today) {
            Some(ahead) => now + ahead,
            None => Instant::from_nanos(
                now.as_nanos()
                    .saturating_sub(u64::try_from((today - date).as_nanos()).unwrap_or(u64::MAX)),
            ),
        }
    }

    /// timerfd_settime(2): returns the old setting. `cancel_on_set` is
    /// TFD_TIMER_CANCEL_ON_SET; it matters for absolute realtime timers only.
    pub fn set(&self, setting: TimerSetting, absolute: bool, cancel_on_set: bool) -> TimerSetting {
        let now = self.clock.monotonic();
        let dated = absolute && self.follows == TimerClock::Realtime;
        let next = match setting.value {
            Duration::ZERO => None,
            date if dated => Some(self.moment_of(date)),
            moment if absolute => Some(Instant::ZERO + moment),
            delay => Some(now + delay),
        };
        let mut state = self.inner.state.lock();
        state.advance(now);
        let old = remaining(&state, now);
        state.generation += 1;
        let stale = state.armed.take();
        state.next = next;
        state.interval = setting.interval;
        state.expirations = 0;
        state.canceled = false;
        state.date = (dated && next.is_some()).then_some(setting.value);
        state.cancel_on_set = dated && cancel_on_set;
        drop(state);
        if let Some(id) = stale {
            self.timers.cancel(id);
        }
        self.arm();
        old
    }

    /// timerfd_gettime(2).
    pub fn setting(&self) -> TimerSetting {
        let now = self.clock.monotonic();
        let mut state = self.inner.state.lock();
        state.advance(now);
        remaining(&state, now)
    }

    /// The kernel says that the realtime clock was set: dated timers move, and
    /// those with cancel-on-set fail their next read with `ECANCELED`.
    pub fn clock_was_set(&self) {
        let mut state = self.inner.state.lock();
        let Some(date) = state.date else { return };
        let canceled = state.cancel_on_set;
        state.canceled |= canceled;
        let stale = state.armed.take();
        state.generation += 1;
        if state.expirations == 0 && state.next.is_some() {
            state.next = Some(self.moment_of(date));
        }
        drop(state);
        if let Some(id) = stale {
            self.timers.cancel(id);
        }
        self.arm();
        if canceled {
            self.inner.queue.notify(Events::IN);
        }
    }

    /// Arms the wake-up for the next expiration, if none is armed. The timer
    /// service may fire at once, so not under the lock.
    fn arm(&self) {
        let state = self.inner.state.lock();
        let (Some(next), None) = (state.next, state.armed) else { return };
        let generation = state.generation;
        drop(state);
        let Some(target) = self.inner.itself.upgrade() else { return };
        let id = self.timers.arm(next, target, generation);
        let mut state = self.inner.state.lock();
        if state.generation == generation && state.armed.is_none() {
            state.armed = Some(id);
        } else {
            drop(state);
            self.timers.cancel(id);
        }
    }
}

fn remaining(state: &State, now: Instant) -> TimerSetting {
    let value = state.next.map_or(Duration::ZERO, |next| next - now);
    TimerSetting { interval: state.interval, value }
}

impl File for TimerFd {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat::anonymous(FileKind::Anonymous))
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let now = self.clock.monotonic();
        let mut state = self.inner.state.lock();
        if state.canceled {
            state.canceled = false;
            state.expirations = 0;
            return Err(Errno::ECANCELED);
        }
        state.advance(now);
        if state.expirations == 0 {
            drop(state);
            // The service may have fired a little early.
            self.arm();
            return Err(Errno::EAGAIN);
        }
        put_all(sink, &state.expirations.to_ne_bytes())?;
        state.expirations = 0;
        drop(state);
        self.arm();
        Ok(8)
    }

    fn poll(&self) -> Events {
        let now = self.clock.monotonic();
        let mut state = self.inner.state.lock();
        state.advance(now);
        let ready = state.expirations > 0 || state.canceled;
        drop(state);
        if ready {
            return Events::IN;
        }
        self.arm();
        Events::empty()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.inner.queue)
    }

    fn close(&self) {
        self.set(TimerSetting::default(), false, false);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        self.close();
    }
}
