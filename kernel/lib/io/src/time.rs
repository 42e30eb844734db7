// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Time as a value that is passed in: nanoseconds since boot.

use crate::Wake;
use alloc::sync::Arc;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment on the monotonic clock, in nanoseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// Boot.
    pub const ZERO: Self = Self(0);
    /// Later than every timer.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// From nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to here, zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

/// Where objects that keep time read it; the kernel's clock, or a test's.
pub trait Clock: Send + Sync {
    /// Now, on the monotonic clock.
    fn monotonic(&self) -> Instant;
    /// Now, as time since 1970-01-01 00:00 UTC.
    fn realtime(&self) -> Duration;
}

/// Names one armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

/// The kernel's timer service: one-shot wake-ups at a moment.
pub trait Timers: Send + Sync {
    /// Calls `target.wake(key, Events::IN)` once `at` has come, from a context
    /// that holds no locks.
    fn arm(&self, at: Instant, target: Arc<dyn Wake>, key: u64) -> TimerId;

    /// Takes a timer back; false when it fired already (or is about to).
    fn cancel(&self, id: TimerId) -> bool;
}
