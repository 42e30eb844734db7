// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clocks, sleeping, and timers that send signals.

mod posix;

pub(super) use posix::{
    alarm, getitimer, setitimer, timer_create, timer_delete, timer_getoverrun, timer_gettime,
    timer_settime,
};

use super::Args;
use crate::thread::Thread;
use crate::{user, wait};
use core::time::Duration;
use khal::clock;
use kio::{Errno, Instant, Result};
use linux_raw_sys::general as nr;

const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
const CLOCK_MONOTONIC_RAW: i32 = 4;
const CLOCK_REALTIME_COARSE: i32 = 5;
const CLOCK_MONOTONIC_COARSE: i32 = 6;
const CLOCK_BOOTTIME: i32 = 7;
const CLOCK_REALTIME_ALARM: i32 = 8;
const CLOCK_BOOTTIME_ALARM: i32 = 9;
const CLOCK_TAI: i32 = 11;
/// Clock ticks in a second, for times(2).
const TICKS: u64 = 100;

/// A `struct timespec` of a time that is not negative.
pub(super) fn read_timespec(address: u64) -> Result<Duration> {
    let [seconds, nanos] = user::read_words::<2>(address)?;
    if (seconds as i64) < 0 || nanos >= 1_000_000_000 {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::new(seconds, nanos as u32))
}

/// Writes a `struct timespec`.
pub(super) fn write_timespec(address: u64, time: Duration) -> Result<()> {
    user::write_words(address, [time.as_secs(), u64::from(time.subsec_nanos())])
}

fn read_timeval(address: u64) -> Result<Duration> {
    let [seconds, micros] = user::read_words::<2>(address)?;
    if (seconds as i64) < 0 || micros >= 1_000_000 {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::new(seconds, micros as u32 * 1000))
}

fn write_timeval(address: u64, time: Duration) -> Result<()> {
    user::write_words(address, [time.as_secs(), u64::from(time.subsec_micros())])
}

/// Time on a clock.
fn now(thread: &Thread, clock_id: i32) -> Result<Duration> {
    Ok(match clock_id {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_REALTIME_ALARM | CLOCK_TAI => {
            clock::realtime()
        }
        CLOCK_MONOTONIC
        | CLOCK_MONOTONIC_RAW
        | CLOCK_MONOTONIC_COARSE
        | CLOCK_BOOTTIME
        | CLOCK_BOOTTIME_ALARM => Duration::from_nanos(clock::monotonic().as_nanos()),
        CLOCK_PROCESS_CPUTIME_ID => thread.process.cpu_time(),
        CLOCK_THREAD_CPUTIME_ID => thread.cpu_time(),
        // Negative ids name the CPU clock of a process or thread.
        ..0 => {
            let pid = !(clock_id >> 3) as u32;
            let own = pid == 0 || pid == thread.process.pid || pid == thread.tid();
            if !own {
                return Err(Errno::EINVAL);
            }
            if clock_id & 4 != 0 { thread.cpu_time() } else { thread.process.cpu_time() }
        }
        _ => return Err(Errno::EINVAL),
    })
}

pub(super) fn clock_gettime(thread: &Thread, a: Args) -> Result<u64> {
    write_timespec(a.u64(1), now(thread, a.i32(0))?).map(|()| 0)
}

pub(super) fn clock_getres(a: Args) -> Result<u64> {
    if a.i32(0) > CLOCK_TAI || a.i32(0) == 10 {
        return Err(Errno::EINVAL);
    }
    if a.u64(1) != 0 {
        write_timespec(a.u64(1), Duration::from_nanos(1))?;
    }
    Ok(0)
}

pub(super) fn set_clock(number: u32, a: Args) -> Result<u64> {
    let time = match number {
        nr::__NR_clock_settime if a.i32(0) == CLOCK_REALTIME => read_timespec(a.u64(1))?,
        nr::__NR_settimeofday if a.u64(0) != 0 => read_timeval(a.u64(0))?,
        nr::__NR_settimeofday => return Ok(0),
        _ => return Err(Errno::EINVAL),
    };
    clock::set_realtime(time);
    crate::vdso::follow_clock();
    Ok(0)
}

pub(super) fn gettimeofday(a: Args) -> Result<u64> {
    if a.u64(0) != 0 {
        write_timeval(a.u64(0), clock::realtime())?;
    }
    if a.u64(1) != 0 {
        user::write_u64(a.u64(1), 0)?;
    }
    Ok(0)
}

pub(super) fn time(a: Args) -> Result<u64> {
    let seconds = clock::realtime().as_secs();
    if a.u64(0) != 0 {
        user::write_u64(a.u64(0), seconds)?;
    }
    Ok(seconds)
}

/// Sleeps; on a signal tells what is left and fails with `EINTR`.
fn sleep(deadline: Instant, remaining: u64) -> Result<u64> {
    match wait::sleep_until(Some(deadline)) {
        Ok(()) => Ok(0),
        Err(error) => {
            if remaining != 0 {
                write_timespec(remaining, deadline.saturating_since(clock::monotonic()))?;
            }
            // Restarting with the same relative time would sleep too long.
            Err(if error == Errno::ERESTARTSYS { Errno::EINTR } else { error })
        }
    }
}

/// How much later than asked a sleep may end, so that wake-ups come together:
/// the default of PR_SET_TIMERSLACK.
const TIMER_SLACK: Duration = Duration::from_micros(50);

pub(super) fn nanosleep(a: Args) -> Result<u64> {
    sleep(clock::monotonic() + read_timespec(a.u64(0))? + TIMER_SLACK, a.u64(1))
}

pub(super) fn clock_nanosleep(a: Args) -> Result<u64> {
    const TIMER_ABSTIME: u32 = 1;
    let time = read_timespec(a.u64(2))?;
    let realtime = match a.i32(0) {
        CLOCK_REALTIME | CLOCK_REALTIME_ALARM | CLOCK_TAI => true,
        CLOCK_MONOTONIC | CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => false,
        CLOCK_PROCESS_CPUTIME_ID => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    if a.u32(1) & TIMER_ABSTIME == 0 {
        return sleep(clock::monotonic() + time, a.u64(3));
    }
    let offset =
        if realtime { Duration::from_nanos(clock::realtime_offset()) } else { Duration::ZERO };
    let deadline = Instant::ZERO + time.saturating_sub(offset);
    wait::sleep_until(Some(deadline)).map_err(|_| Errno::ERESTARTNOHAND).map(|()| 0)
}

pub(super) fn times(thread: &Thread, a: Args) -> Result<u64> {
    let ticks = |time: Duration| time.as_nanos() as u64 / (1_000_000_000 / TICKS);
    if a.u64(0) != 0 {
        let process = &thread.process;
        let (own, children) = (process.cpu_time(), process.family.children_cpu_time());
        user::write_words(a.u64(0), [ticks(own), 0, ticks(children), 0])?;
    }
    Ok(ticks(Duration::from_nanos(clock::monotonic().as_nanos())))
}

pub(super) fn getrusage(thread: &Thread, a: Args) -> Result<u64> {
    const SELF: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    let time = match a.i32(0) {
        SELF => thread.process.cpu_time(),
        THREAD => thread.cpu_time(),
        CHILDREN => thread.process.family.children_cpu_time(),
        _ => return Err(Errno::EINVAL),
    };
    let (_, resident) = thread.space().usage();
    write_usage(a.u64(1), time, resident).map(|()| 0)
}

/// Writes a `struct rusage` with CPU time and resident bytes.
pub(super) fn write_usage(address: u64, time: Duration, resident: u64) -> Result<()> {
    let mut words = [0; 18];
    words[0] = time.as_secs();
    words[1] = u64::from(time.subsec_micros());
    words[4] = resident / 1024;
    user::write_words(address, words)
}
