// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CUBIC (RFC 9438) in integers, and the round trip estimator (RFC 6298).

use core::time::Duration;
use kio::Instant;

/// Linux's TCP_RTO_MIN; RFC 6298 says one second, which nobody does.
const RTO_MIN: Duration = Duration::from_millis(200);
const RTO_MAX: Duration = Duration::from_secs(120);
/// Before the first measurement (RFC 6298, 2.1).
const RTO_INITIAL: Duration = Duration::from_secs(1);

/// Smoothed round trip time and its variation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip {
    smoothed: u64,
    variation: u64,
    /// Doublings since the last measurement.
    pub(super) backoff: u32,
}

impl RoundTrip {
    pub(super) fn sample(&mut self, rtt: Duration) {
        let rtt = (rtt.as_nanos() as u64).max(1);
        if self.smoothed == 0 {
            self.smoothed = rtt;
            self.variation = rtt / 2;
        } else {
            let error = self.smoothed.abs_diff(rtt);
            self.variation = (3 * self.variation + error) / 4;
            self.smoothed = (7 * self.smoothed + rtt) / 8;
        }
        self.backoff = 0;
    }

    pub(super) fn smoothed(&self) -> Option<Duration> {
        (self.smoothed != 0).then(|| Duration::from_nanos(self.smoothed))
    }

    pub(super) fn variation(&self) -> Duration {
        Duration::from_nanos(self.variation)
    }

    /// The retransmission timeout, with back-off.
    pub(super) fn timeout(&self) -> Duration {
        let base = if self.smoothed == 0 {
            RTO_INITIAL
        } else {
            // The variation alone has the floor, as on Linux.
            let spread = Duration::from_nanos(4 * self.variation).max(RTO_MIN);
            Duration::from_nanos(self.smoothed) + spread
        };
        (base * (1 << self.backoff.min(10))).min(RTO_MAX)
    }
}

/// The congestion window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    pub(super) window: usize,
    pub(super) threshold: usize,
    /// Window before the last reduction.
    largest: usize,
    /// Start of the current growth, with the window then.
    epoch: Option<Instant>,
    /// Time in ms from the epoch until `largest` is reached again.
    plateau_ms: u64,
    /// What Reno would have.
    reno: usize,
}

/// Ten segments (RFC 6928).
pub(super) fn initial_window(mss: usize) -> usize {
    10 * mss
}

fn cube_root(n: u128) -> u64 {
    let (mut low, mut high) = (0u128, 1u128 << 40);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if middle * middle * middle <= n { low = middle } else { high = middle - 1 }
    }
    low as u64
}

impl Congestion {
    pub(super) fn new(mss: usize) -> Self {
        Self {
            window: initial_window(mss),
            threshold: usize::MAX,
            largest: 0,
            epoch: None,
            plateau_ms: 0,
            reno: 0,
        }
    }

    /// `acked` bytes left the network while the window was in use.
    pub(super) fn acknowledged(&mut self, acked: usize, mss: usize, rtt: Duration, now: Instant) {
        if self.window < self.threshold {
            // Slow start with appropriate byte counting (RFC 3465, L = 2 and
            // more, as segmentation offload acknowledges many at once).
            self.window += acked.min(self.threshold - self.window);
            return;
        }
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.reno = self.window;
            if self.largest <= self.window {
                self.largest = self.window;
                self.plateau_ms = 0;
            } else {
                // K = cbrt((W_max - cwnd) / C), C = 0.4 segments/s^3.
                let gap = (self.largest - self.window) as u128 * 10 / (4 * mss.max(1) as u128);
                self.plateau_ms = cube_root(gap * 1_000_000_000);
            }
            now
        });
        let t = ((now - epoch) + rtt).as_millis() as i128 - i128::from(self.plateau_ms);
        let t = t.clamp(-1_000_000, 1_000_000);
        let delta = t * t * t * 4 * mss as i128 / 10_000_000_000;
        let target = (self.largest as i128 + delta).clamp(0, 1 << 32) as usize;
        let target = target.min(self.window + self.window / 2);
        // alpha = 3 (1 - beta) / (1 + beta) = 9/17 for beta = 0.7.
        self.reno += 9 * mss * acked / (17 * self.window.max(1));
        let grow = target.saturating_sub(self.window) * acked / self.window.max(1);
        self.window = (self.window + grow).max(self.reno);
    }

    /// A loss was seen.
    pub(super) fn reduce(&mut self, mss: usize) {
        // Fast convergence (RFC 9438, 4.7).
        self.largest = if self.window < self.largest { self.window * 17 / 20 } else { self.window };
        self.threshold = (self.window * 7 / 10).max(2 * mss);
        self.window = self.threshold;
        self.epoch = None;
    }

    /// The retransmission timer expired.
    pub(super) fn timed_out(&mut self, mss: usize) {
        self.reduce(mss);
        self.window = mss;
    }

    /// Nothing was sent for more than a timeout (RFC 5681, 4.1).
    pub(super) fn restart(&mut self, mss: usize) {
        self.window = self.window.min(initial_window(mss));
        self.epoch = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{Congestion, RoundTrip, cube_root};
    use core::time::Duration;
    use kio::Instant;

    #[test]
    fn timeout_has_a_floor_and_backs_off() {
        let mut r = RoundTrip::default();
        assert_eq!(r.timeout(), Duration::from_secs(1));
        for _ in 0..100 {
            r.sample(Duration::from_millis(10));
        }
        assert!((205..=215).contains(&r.timeout().as_millis()));
        r.backoff = 3;
        assert!((1640..=1720).contains(&r.timeout().as_millis()));
        r.backoff = 100;
        assert_eq!(r.timeout(), Duration::from_secs(120));
    }

    #[test]
    fn cubic_returns_to_the_old_window_and_beyond() {
        const MSS: usize = 1000;
        let mut c = Congestion::new(MSS);
        let mut now = Instant::ZERO;
        let rtt = Duration::from_millis(50);
        c.window = 100 * MSS;
        c.reduce(MSS);
        assert_eq!(c.window, 70 * MSS);
        // K = cbrt(30 / 0.4) = 4.2 s.
        let mut reached = None;
        for _ in 0..200 {
            now = now + rtt;
            c.acknowledged(c.window, MSS, rtt, now);
            if c.window >= 99 * MSS && reached.is_none() {
                reached = Some(now.as_nanos() / 1_000_000);
            }
        }
        assert!((2000..5000).contains(&reached.unwrap()), "{reached:?}");
        assert!(c.window > 110 * MSS);
        assert_eq!(cube_root(27_000), 30);
    }
}
