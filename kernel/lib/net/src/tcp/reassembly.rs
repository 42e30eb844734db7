// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which bytes arrived too early; the bytes themselves lie in the receive ring.

use super::seq::Seq;
use alloc::vec::Vec;

/// Ranges that are kept; what does not fit is dropped and sent again.
const RANGES: usize = 64;

/// Disjoint ranges in ascending order, all behind what is in order.
#[derive(Debug, Default)]
pub(super) struct EarlyData {
    ranges: Vec<(Seq, Seq)>,
    recent: Seq,
}

impl EarlyData {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// End of the last range.
    pub(super) fn end(&self) -> Option<Seq> {
        self.ranges.last().map(|r| r.1)
    }

    /// Notes that `[start, end)` arrived; false when it cannot be kept.
    pub(super) fn add(&mut self, start: Seq, end: Seq) -> bool {
        let first = self.ranges.partition_point(|r| r.1.lt(start));
        let last = self.ranges.partition_point(|r| r.0.le(end));
        if first == last && self.ranges.len() >= RANGES {
            return false;
        }
        let mut merged = (start, end);
        for r in &self.ranges[first..last] {
            merged = (merged.0.min(r.0), merged.1.max(r.1));
        }
        self.ranges.splice(first..last, core::iter::once(merged));
        self.recent = start;
        true
    }

    /// The bytes up to `next` are in order now: gives the end of what follows
    /// them without a gap.
    pub(super) fn advance(&mut self, mut next: Seq) -> Seq {
        let mut used = 0;
        for r in &self.ranges {
            if next.lt(r.0) {
                break;
            }
            next = next.max(r.1);
            used += 1;
        }
        self.ranges.drain(..used);
        if self.ranges.is_empty() {
            self.ranges = Vec::new();
        }
        next
    }

    /// Blocks for a SACK option, the most recent first (RFC 2018, 4).
    pub(super) fn blocks(&self, limit: usize) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        let is_recent = |r: &&(Seq, Seq)| r.0.le(self.recent) && self.recent.lt(r.1);
        let recent = self.ranges.iter().find(is_recent);
        let others = self.ranges.iter().filter(move |r| !is_recent(r));
        recent.into_iter().chain(others).take(limit).copied()
    }

    pub(super) fn clear(&mut self) {
        self.ranges = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::{EarlyData, Seq};

    #[test]
    fn merges_and_advances_across_the_wrap() {
        let base = Seq(u32::MAX - 50);
        let mut e = EarlyData::default();
        assert!(e.add(base + 100, base + 200));
        assert!(e.add(base + 300, base + 400));
        assert!(e.add(base + 200, base + 250));
        assert_eq!(e.blocks(4).count(), 2);
        assert_eq!(e.blocks(4).next(), Some((base + 100, base + 250)));
        assert_eq!(e.advance(base + 50), base + 50);
        assert_eq!(e.advance(base + 120), base + 250);
        assert!(e.add(base + 250, base + 300));
        assert_eq!(e.advance(base + 250), base + 400);
        assert!(e.is_empty());
    }

    #[test]
    fn ranges_are_bounded() {
        let mut e = EarlyData::default();
        let kept = (0..1000usize).filter(|i| e.add(Seq(0) + i * 10, Seq(0) + (i * 10 + 5))).count();
        assert_eq!(kept, 64);
        assert!(e.add(Seq(5), Seq(10)), "closing a gap needs no room");
    }
}
