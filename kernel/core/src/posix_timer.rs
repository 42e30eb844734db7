// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Timers that send signals: setitimer(2) and timer_create(2).

use crate::process::Process;
use crate::signal;
use crate::timers::SystemTime;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use khal::clock;
use kio::{Events, Instant, TimerId, Timers, Wake};
use ksignal::{SigInfo, Signal};
use ksync::SpinLock;

/// What happens when a timer expires.
#[derive(Clone, Copy, Debug)]
pub enum Notify {
    /// Nothing.
    None,
    /// A signal from the kernel to the process: setitimer.
    Kernel(Signal),
    /// SIGEV_SIGNAL.
    #[expect(missing_docs, reason = "fields of sigevent(7)")]
    Process { signal: Signal, id: i32, value: u64 },
    /// SIGEV_THREAD_ID.
    #[expect(missing_docs, reason = "fields of sigevent(7)")]
    Thread { signal: Signal, id: i32, value: u64, tid: u32 },
}

#[derive(Debug, Default)]
struct State {
    interval: Duration,
    next: Option<Instant>,
    armed: Option<TimerId>,
}

/// One timer.
#[derive(Debug)]
pub struct PosixTimer {
    /// CLOCK_* number.
    pub clock_id: i32,
    process: Weak<Process>,
    notify: Notify,
    state: SpinLock<State>,
    overrun: AtomicU32,
    own: Weak<Self>,
}

impl PosixTimer {
    /// A timer that does not run.
    pub fn new(process: &Arc<Process>, notify: Notify, clock_id: i32) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            clock_id,
            process: Arc::downgrade(process),
            notify,
            state: SpinLock::new(State::default()),
            overrun: AtomicU32::new(0),
            own: own.clone(),
        })
    }

    /// (interval, time left).
    pub fn setting(&self) -> (Duration, Duration) {
        let state = self.state.lock();
        let left = state.next.map_or(Duration::ZERO, |at| {
            // A timer that is due but has not fired yet still runs.
            at.saturating_since(clock::monotonic()).max(Duration::from_nanos(1))
        });
        (state.interval, left)
    }

    /// Expirations that the last delivered signal stands for, beyond one.
    pub fn overrun(&self) -> u32 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Its signal was delivered and stood for so many more expirations.
    pub fn delivered(&self, overrun: i32) {
        self.overrun.store(overrun.unsigned_abs(), Ordering::Relaxed);
    }

    /// Starts it anew, or stops it.
    pub fn set(&self, interval: Duration, at: Option<Instant>) {
        let mut state = self.state.lock();
        if let Some(id) = state.armed.take() {
            SystemTime.cancel(id);
        }
        state.interval = interval;
        self.arm(&mut state, at);
    }

    fn arm(&self, state: &mut State, at: Option<Instant>) {
        state.next = at;
        state.armed = at.and_then(|at| {
            let target: Arc<dyn Wake> = self.own.upgrade()?;
            Some(SystemTime.arm(at, target, 0))
        });
    }

    /// Tells of an expiration, and of those that were missed before it.
    fn send(&self, missed: i32) {
        let Some(process) = self.process.upgrade() else { return };
        // A queue that is full loses the expiration, as on Linux.
        let _ = match self.notify {
            Notify::None => Ok(()),
            Notify::Kernel(signal) => signal::send_to_process(&process, SigInfo::kernel(signal)),
            Notify::Process { signal, id, value } => {
                signal::send_to_process(&process, SigInfo::timer(signal, id, missed, value))
            }
            Notify::Thread { signal, id, value, tid } => match process.thread(tid) {
                Some(task) => {
                    signal::send_to_thread(&task, SigInfo::timer(signal, id, missed, value))
                }
                None => Ok(()),
            },
        };
    }
}

impl Wake for PosixTimer {
    fn wake(&self, _key: u64, _ready: Events) {
        let now = clock::monotonic();
        let mut state = self.state.lock();
        let Some(due) = state.next.filter(|at| *at <= now) else { return };
        state.armed = None;
        let mut missed = 0;
        if state.interval.is_zero() {
            state.next = None;
        } else {
            let late = now.saturating_since(due).as_nanos() / state.interval.as_nanos();
            missed = i32::try_from(late).unwrap_or(i32::MAX);
            let periods = missed.unsigned_abs().saturating_add(1);
            let next = due + state.interval.saturating_mul(periods);
            self.arm(&mut state, Some(next));
        }
        drop(state);
        self.send(missed);
    }
}
