// SPDX-License-Identifier: Apache-2.0 OR MIT
//! setitimer(2), alarm(2) and timer_create(2).

use super::super::Args;
use super::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, read_timespec, read_timeval, write_timespec, write_timeval,
};
use crate::posix_timer::{Notify, PosixTimer};
use crate::thread::Thread;
use crate::user;
use core::time::Duration;
use khal::clock;
use kio::{Errno, Result};
use ksignal::Signal;

/// Timers of setitimer are kept under these keys, those of timer_create from 0.
const ITIMER_REAL: i32 = -1;
const TIMERS_MAX: usize = 65_536;

/// The key of an interval timer. Those on CPU time run on real time, which is
/// never earlier for a busy thread and keeps profilers working.
fn interval_timer(which: i32) -> Result<(i32, Signal)> {
    match which {
        0 => Ok((ITIMER_REAL, Signal::SIGALRM)),
        1 => Ok((ITIMER_REAL - 1, Signal::SIGVTALRM)),
        2 => Ok((ITIMER_REAL - 2, Signal::SIGPROF)),
        _ => Err(Errno::EINVAL),
    }
}

fn set_interval(
    thread: &Thread,
    which: i32,
    interval: Duration,
    value: Duration,
) -> Result<(Duration, Duration)> {
    let (key, signal) = interval_timer(which)?;
    let process = &thread.process;
    let timer = process.timers.lock().get(&key).cloned();
    let timer = match timer {
        Some(timer) => timer,
        None => {
            let timer = PosixTimer::new(process, Notify::Kernel(signal), CLOCK_MONOTONIC);
            process.timers.lock().insert(key, timer.clone());
            timer
        }
    };
    let old = timer.setting();
    timer.set(interval, (!value.is_zero()).then(|| clock::monotonic() + value));
    Ok(old)
}

pub(in super::super) fn setitimer(thread: &Thread, a: Args) -> Result<u64> {
    let (interval, value) = match a.u64(1) {
        0 => (Duration::ZERO, Duration::ZERO),
        at => (read_timeval(at)?, read_timeval(at + 16)?),
    };
    let (old_interval, old_value) = set_interval(thread, a.i32(0), interval, value)?;
    if a.u64(2) != 0 {
        write_timeval(a.u64(2), old_interval)?;
        write_timeval(a.u64(2) + 16, old_value)?;
    }
    Ok(0)
}

pub(in super::super) fn getitimer(thread: &Thread, a: Args) -> Result<u64> {
    let (key, _) = interval_timer(a.i32(0))?;
    let timer = thread.process.timers.lock().get(&key).cloned();
    let (interval, value) = timer.map_or((Duration::ZERO, Duration::ZERO), |t| t.setting());
    write_timeval(a.u64(1), interval)?;
    write_timeval(a.u64(1) + 16, value).map(|()| 0)
}

pub(in super::super) fn alarm(thread: &Thread, a: Args) -> Result<u64> {
    let value = Duration::from_secs(u64::from(a.u32(0)));
    let (_, old) = set_interval(thread, 0, Duration::ZERO, value)?;
    // Rounded, but never to zero while it runs.
    let rounded = old.as_secs() + u64::from(old.subsec_nanos() >= 500_000_000);
    Ok(if old.is_zero() { 0 } else { rounded.max(1) })
}

pub(in super::super) fn timer_create(thread: &Thread, a: Args) -> Result<u64> {
    const SIGEV_SIGNAL: u32 = 0;
    const SIGEV_NONE: u32 = 1;
    const SIGEV_THREAD_ID: u32 = 4;
    let clock_id = a.i32(0);
    // Negative numbers are CPU clocks of a process or thread.
    super::now(thread, clock_id)?;
    let mut timers = thread.process.timers.lock();
    let behind_last = timers.last_key_value().map_or(0, |(last, _)| last.wrapping_add(1).max(0));
    let id = (behind_last..).find(|id| !timers.contains_key(id)).unwrap_or(0);
    if timers.len() >= TIMERS_MAX || !kmm::kernel_can_spare(size_of::<PosixTimer>()) {
        return Err(Errno::EAGAIN);
    }
    drop(timers);
    let notify = if a.u64(1) == 0 {
        Notify::Process { signal: Signal::SIGALRM, id, value: id as u64 }
    } else {
        let [value, words] = user::read_words::<2>(a.u64(1))?;
        let (number, how) = (words as u32, (words >> 32) as u32);
        let signal = Signal::new(number).ok_or(Errno::EINVAL);
        match how {
            SIGEV_NONE => Notify::None,
            SIGEV_SIGNAL => Notify::Process { signal: signal?, id, value },
            SIGEV_THREAD_ID => {
                let tid = user::read_u32(a.u64(1) + 16)?;
                thread.process.thread(tid).ok_or(Errno::EINVAL)?;
                Notify::Thread { signal: signal?, id, value, tid }
            }
            _ => return Err(Errno::EINVAL),
        }
    };
    let timer = PosixTimer::new(&thread.process, notify, clock_id);
    timers = thread.process.timers.lock();
    timers.insert(id, timer);
    drop(timers);
    user::write_u32(a.u64(2), id as u32).map(|()| 0)
}

fn timer_of(thread: &Thread, id: i32) -> Result<alloc::sync::Arc<PosixTimer>> {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    thread.process.timers.lock().get(&id).cloned().ok_or(Errno::EINVAL)
}

pub(in super::super) fn timer_settime(thread: &Thread, a: Args) -> Result<u64> {
    const TIMER_ABSTIME: u32 = 1;
    let timer = timer_of(thread, a.i32(0))?;
    let (interval, value) = (read_timespec(a.u64(2))?, read_timespec(a.u64(2) + 16)?);
    let old = timer.setting();
    let at = if value.is_zero() {
        None
    } else if a.u32(1) & TIMER_ABSTIME == 0 {
        Some(clock::monotonic() + value)
    } else {
        let realtime = timer.clock_id == CLOCK_REALTIME;
        let offset = if realtime { clock::realtime_offset() } else { 0 };
        Some(kio::Instant::ZERO + value.saturating_sub(Duration::from_nanos(offset)))
    };
    timer.set(interval, at);
    if a.u64(3) != 0 {
        write_timespec(a.u64(3), old.0)?;
        write_timespec(a.u64(3) + 16, old.1)?;
    }
    Ok(0)
}

pub(in super::super) fn timer_gettime(thread: &Thread, a: Args) -> Result<u64> {
    let (interval, value) = timer_of(thread, a.i32(0))?.setting();
    write_timespec(a.u64(1), interval)?;
    write_timespec(a.u64(1) + 16, value).map(|()| 0)
}

pub(in super::super) fn timer_getoverrun(thread: &Thread, a: Args) -> Result<u64> {
    Ok(u64::from(timer_of(thread, a.i32(0))?.overrun()))
}

pub(in super::super) fn timer_delete(thread: &Thread, a: Args) -> Result<u64> {
    let timer = timer_of(thread, a.i32(0))?;
    timer.set(Duration::ZERO, None);
    thread.process.timers.lock().remove(&a.i32(0));
    Ok(0)
}
