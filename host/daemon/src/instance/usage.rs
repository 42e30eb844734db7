// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an instance uses, measured now and then, with a short memory.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bhojpur_provider::Usage;

use crate::clock::Timestamp;

/// Between two measurements.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);
/// Ten minutes.
const KEPT: usize = 300;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) time: Timestamp,
    /// Processors busy since the measurement before.
    pub(crate) cpu: f64,
    pub(crate) usage: Usage,
}

/// The last measurements of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
    last: Option<(Instant, u64)>,
}

impl History {
    /// Another measurement.
    pub(crate) fn add(&mut self, now: Instant, usage: Usage) {
        let cpu = match self.last {
            Some((before, time)) if usage.cpu_time_ns >= time => {
                let elapsed = now.saturating_duration_since(before).as_nanos().max(1);
                (usage.cpu_time_ns - time) as f64 / elapsed as f64
            }
            _ => 0.0,
        };
        self.last = Some((now, usage.cpu_time_ns));
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { time: Timestamp::now(), cpu, usage });
    }

    /// Another run begins; what the last one used stays to be seen.
    pub(crate) fn restart(&mut self) {
        self.last = None;
    }

    pub(crate) fn last(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Sample> {
        self.samples.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_processors_are_time_over_time() {
        let mut history = History::default();
        let start = Instant::now();
        let usage = |cpu_time_ns| Usage { cpu_time_ns, ..Usage::default() };
        history.add(start, usage(5_000_000_000));
        history.add(start + Duration::from_secs(2), usage(6_000_000_000));
        assert_eq!(history.all().map(|sample| sample.cpu).collect::<Vec<_>>(), [0.0, 0.5]);
        // Time that goes back is that of another process.
        history.add(start + Duration::from_secs(4), usage(1));
        assert_eq!(history.last().unwrap().cpu, 0.0);
        for _ in 0..2 * KEPT {
            history.add(start, usage(1));
        }
        assert_eq!(history.all().count(), KEPT);
    }
}
