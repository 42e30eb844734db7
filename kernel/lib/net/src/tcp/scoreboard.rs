// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the peer said it has (RFC 2018), and what is thought lost
//! (RFC 6675, with one edge below which all that is not acknowledged is lost).

use super::seq::Seq;
use alloc::vec::Vec;

const RANGES: usize = 128;

/// The sender's view of the bytes in flight.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    sacked: Vec<(Seq, Seq)>,
    /// Without SACK: segments that left the network, by duplicate ACKs.
    pub(super) duplicate_bytes: usize,
    /// Below this, everything that is not acknowledged is lost.
    pub(super) lost_edge: Seq,
    /// Below this, what was lost was sent again.
    pub(super) retransmitted: Seq,
}

impl Scoreboard {
    pub(super) fn reset(&mut self, una: Seq) {
        self.sacked = Vec::new();
        self.duplicate_bytes = 0;
        self.lost_edge = una;
        self.retransmitted = una;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sacked.is_empty()
    }

    /// Everything up to `una` is acknowledged.
    pub(super) fn advance(&mut self, una: Seq) {
        let gone = self.sacked.partition_point(|r| r.1.le(una));
        self.sacked.drain(..gone);
        if let Some(first) = self.sacked.first_mut() {
            first.0 = first.0.max(una);
        }
        if self.sacked.is_empty() && self.sacked.capacity() > 0 {
            self.sacked = Vec::new();
        }
        self.lost_edge = self.lost_edge.max(una);
        self.retransmitted = self.retransmitted.max(una);
    }

    /// Notes a SACK block; true when it says something new.
    pub(super) fn add(&mut self, start: Seq, end: Seq) -> bool {
        let first = self.sacked.partition_point(|r| r.1.lt(start));
        let last = self.sacked.partition_point(|r| r.0.le(end));
        if let Some(r) = self.sacked.get(first)
            && r.0.le(start)
            && end.le(r.1)
        {
            return false;
        }
        if first == last && self.sacked.len() >= RANGES {
            return false;
        }
        let mut merged = (start, end);
        for r in &self.sacked[first..last] {
            merged = (merged.0.min(r.0), merged.1.max(r.1));
        }
        self.sacked.splice(first..last, core::iter::once(merged));
        true
    }

    /// Bytes that the peer has beyond the acknowledgement.
    pub(super) fn sacked_bytes(&self) -> usize {
        self.sacked.iter().map(|r| r.1.distance(r.0)).sum()
    }

    /// Moves the lost edge: a byte is lost when `threshold` bytes above it
    /// have arrived.
    pub(super) fn mark_lost(&mut self, threshold: usize) {
        let mut above = 0;
        for r in self.sacked.iter().rev() {
            above += r.1.distance(r.0);
            if above >= threshold {
                self.lost_edge = self.lost_edge.max(r.0);
                return;
            }
        }
    }

    /// Start of the last range that the peer has.
    pub(super) fn last_start(&self) -> Option<Seq> {
        self.sacked.last().map(|r| r.0)
    }

    #[cfg(test)]
    pub(super) fn ranges(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.sacked.iter().copied()
    }

    pub(super) fn covers(&self, seq: Seq) -> bool {
        self.sacked.iter().any(|r| r.0.le(seq) && seq.lt(r.1))
    }

    /// The first range from `from` on that the peer lacks, below `end`.
    pub(super) fn hole(&self, from: Seq, end: Seq) -> Option<(Seq, Seq)> {
        let mut start = from;
        for r in &self.sacked {
            if r.1.le(start) {
                continue;
            }
            if start.lt(r.0) {
                return start.lt(end).then(|| (start, r.0.min(end)));
            }
            start = r.1;
        }
        start.lt(end).then_some((start, end))
    }

    /// Bytes thought to be in the network (RFC 6675, SetPipe).
    pub(super) fn in_flight(&self, una: Seq, nxt: Seq) -> usize {
        let flight = nxt.distance(una);
        if self.sacked.is_empty() && self.lost_edge.le(una) {
            return flight.saturating_sub(self.duplicate_bytes);
        }
        let mut lost = 0;
        let mut from = self.retransmitted.max(una);
        while let Some((start, end)) = self.hole(from, self.lost_edge) {
            lost += end.distance(start);
            from = end;
        }
        flight.saturating_sub(self.sacked_bytes() + lost + self.duplicate_bytes)
    }

    /// What to send again next: a hole below the lost edge.
    pub(super) fn next_lost(&self, una: Seq) -> Option<(Seq, Seq)> {
        self.hole(self.retransmitted.max(una), self.lost_edge)
    }
}

#[cfg(test)]
mod tests {
    use super::{Scoreboard, Seq};

    const UNA: Seq = Seq(1000);

    #[test]
    fn three_segments_above_make_a_loss() {
        let mut s = Scoreboard::default();
        s.reset(UNA);
        s.add(UNA + 100, UNA + 200);
        s.mark_lost(300);
        assert!(s.next_lost(UNA).is_none());
        s.add(UNA + 300, UNA + 500);
        s.mark_lost(300);
        assert_eq!(s.next_lost(UNA), Some((UNA, UNA + 100)));
        // 1000 out, 300 sacked, 100 lost and not yet sent again.
        assert_eq!(s.in_flight(UNA, UNA + 1000), 600);
        s.retransmitted = UNA + 100;
        assert!(s.next_lost(UNA).is_none());
        assert_eq!(s.in_flight(UNA, UNA + 1000), 700);
        s.advance(UNA + 250);
        assert_eq!(s.hole(UNA + 250, UNA + 900), Some((UNA + 250, UNA + 300)));
        assert_eq!(s.hole(UNA + 300, UNA + 900), Some((UNA + 500, UNA + 900)));
    }

    #[test]
    fn repeated_blocks_are_nothing_new() {
        let mut s = Scoreboard::default();
        s.reset(UNA);
        assert!(s.add(UNA + 10, UNA + 20));
        assert!(!s.add(UNA + 10, UNA + 20));
        assert!(!s.add(UNA + 12, UNA + 18));
        assert!(s.add(UNA + 12, UNA + 28));
    }
}
