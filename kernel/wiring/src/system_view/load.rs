// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Load averages, worked out when somebody reads them: a kernel without work
//! does not wake up to count.

use core::time::Duration;
use ksync::SpinLock;

/// Fixed point of Linux's averages: 1.0.
const ONE: u64 = 1 << 11;
/// Nanoseconds between two steps of the averages.
const STEP: u64 = 5_000_000_000;
/// e^(-5s/1min), e^(-5s/5min), e^(-5s/15min).
const DECAY: [u64; 3] = [1884, 2014, 2037];

#[derive(Default)]
struct State {
    averages: [u64; 3],
    /// Time and CPU time at the last step, in nanoseconds.
    at: u64,
    busy: u64,
}

/// Exponential averages over 1, 5 and 15 minutes of how many CPUs were busy.
/// Other than Linux's, threads that wait for a CPU do not count.
#[derive(Default)]
pub(super) struct LoadAverage(SpinLock<State>);

impl LoadAverage {
    /// In hundredths.
    pub(super) fn read(&self) -> [u32; 3] {
        let now = khal::clock::monotonic().as_nanos();
        let busy: Duration = super::cpu::busy_times().into_iter().sum();
        let busy = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.0.lock();
        state.advance(now, busy);
        state.averages.map(|a| (a * 100 / ONE) as u32)
    }
}

impl State {
    fn advance(&mut self, now: u64, busy: u64) {
        let elapsed = now.saturating_sub(self.at);
        let steps = elapsed / STEP;
        if steps == 0 {
            return;
        }
        let active = u128::from(busy.saturating_sub(self.busy)) * u128::from(ONE);
        let active = (active / u128::from(elapsed)) as u64;
        for (average, decay) in self.averages.iter_mut().zip(DECAY) {
            let rest = power(decay, steps);
            *average = (*average * rest + active * (ONE - rest)) / ONE;
        }
        (self.at, self.busy) = (now, busy);
    }
}

/// `base` to the power of `exponent`, in fixed point.
fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = ONE;
    while exponent > 0 {
        if exponent & 1 != 0 {
            result = result * base / ONE;
        }
        base = base * base / ONE;
        exponent >>= 1;
    }
    result
}
