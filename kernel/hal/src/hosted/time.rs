// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's clocks. Programs have to ask for the time, and nothing wakes a CPU.

pub use super::scale::Scale;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use kio::Instant;
use std::sync::OnceLock;
use std::time::{self, SystemTime, UNIX_EPOCH};

static GENERATION: AtomicU64 = AtomicU64::new(0);
static REALTIME_OFFSET: OnceLock<AtomicU64> = OnceLock::new();

/// None: programs have to ask.
pub fn scale() -> Option<Scale> {
    None
}

/// Changes whenever the date does.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Time since the first call.
pub fn monotonic() -> Instant {
    static START: OnceLock<time::Instant> = OnceLock::new();
    let nanos = START.get_or_init(time::Instant::now).elapsed().as_nanos();
    Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Time since 1970.
pub fn realtime() -> Duration {
    Duration::from_nanos(realtime_offset() + monotonic().as_nanos())
}

fn offset() -> &'static AtomicU64 {
    REALTIME_OFFSET.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        AtomicU64::new(since_start(now))
    })
}

fn since_start(now: Duration) -> u64 {
    let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    nanos.saturating_sub(monotonic().as_nanos())
}

/// Nanoseconds to add to the time since the first call.
pub fn realtime_offset() -> u64 {
    offset().load(Ordering::Relaxed)
}

/// Sets the date, as time since 1970.
pub fn set_realtime(now: Duration) {
    offset().store(since_start(now), Ordering::Relaxed);
    GENERATION.fetch_add(2, Ordering::Relaxed);
}

/// There is no timer.
pub fn set_deadline(_at: Option<Instant>) {}

/// Waits.
pub fn busy_wait(duration: Duration) {
    std::thread::sleep(duration);
}
