// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Acknowledgements: what left the network, what was lost, how fast to go on
//! (RFC 5681, RFC 6675, RFC 6582, RFC 8985 in part).

use super::segment::Segment;
use super::seq::Seq;
use super::state::{Context, State, Tcb};
use core::time::Duration;
use kio::Events;

const DUPLICATE_THRESHOLD: usize = 3;
/// Most that a send buffer grows to by itself.
const SEND_BUFFER_MAX: usize = 4 << 20;

impl Tcb {
    /// Processes the acknowledgement; false when the segment is done with.
    pub(super) fn input_ack(&mut self, context: &Context<'_>, s: &Segment<'_>) -> bool {
        if self.send.nxt.lt(s.ack) {
            self.receive.ack_now = true;
            self.output(context);
            return false;
        }
        // RFC 5961, 5.2: much too old.
        if (s.ack + self.send.largest_window.max(65_535)).lt(self.send.una) {
            return false;
        }
        let old_window = self.send.window;
        let una_before = self.send.una;
        self.update_window(s);
        let news = self.take_sack(s);
        if self.send.una.lt(s.ack) {
            self.acknowledge(context, s);
        } else if s.ack == self.send.una && self.flight() > 0 {
            let plain = s.payload.is_empty() && s.length() == 0 && self.send.window == old_window;
            if news || (plain && !self.sack) {
                self.duplicate(context);
            }
        }
        self.detect_loss(context);
        if una_before != self.send.una || self.send.window > old_window {
            self.send.probes = 0;
        }
        self.advance_state(context)
    }

    fn update_window(&mut self, s: &Segment<'_>) {
        let send = &mut self.send;
        let newer = send.wl1.lt(s.seq) || (send.wl1 == s.seq && send.wl2.le(s.ack));
        if !newer || s.ack.lt(send.una) {
            return;
        }
        let window = usize::from(s.window) << send.scale;
        if window > send.window
            && self.deadlines.retransmit.is_some_and(|(w, _)| w == super::state::Wait::Persist)
        {
            self.deadlines.retransmit = None;
            send.rtt.backoff = 0;
        }
        send.window = window;
        send.largest_window = send.largest_window.max(window);
        send.wl1 = s.seq;
        send.wl2 = s.ack;
    }

    /// Notes SACK blocks; true when one says something new.
    fn take_sack(&mut self, s: &Segment<'_>) -> bool {
        if !self.sack {
            return false;
        }
        let mut news = false;
        for (start, end) in &s.options.sack[..s.options.sack_count] {
            // Blocks below are duplicates (RFC 2883), others are nonsense.
            let sane = start.lt(*end) && s.ack.lt(*end) && end.le(self.send.nxt);
            if sane && self.send.una.lt(*end) {
                news |= self.send.board.add(start.max(self.send.una), *end);
            }
        }
        news
    }

    /// New data is acknowledged.
    fn acknowledge(&mut self, context: &Context<'_>, s: &Segment<'_>) {
        let ack = s.ack;
        let acked = ack.distance(self.send.una);
        let data_end = self.data_end();
        let data = ack.min(data_end).distance(self.send.base);
        self.send.buffer.consume(data, false);
        self.send.base += data;
        self.send.una = ack;
        self.send.board.advance(ack);
        self.send.duplicate_acks = 0;
        self.send.retries = 0;
        self.send.retry_start = None;
        self.soft_error = None;
        self.measure(context, s, ack);
        if self.send.probe_end.is_some_and(|end| end.le(ack)) {
            self.send.probe_end = None;
        }
        match self.send.recover {
            Some(recover) if ack.lt(recover) => self.partial(context, acked),
            Some(_) => {
                self.send.recover = None;
                self.send.timeout_recovery = false;
                self.send.board.duplicate_bytes = 0;
                self.send.board.lost_edge = ack;
                self.send.board.retransmitted = ack;
            }
            None => self.grow(context, acked),
        }
        self.send.rtt.backoff = 0;
        self.deadlines.retransmit = None;
        if self.flight() > 0 {
            self.restart_retransmit_timer(context.now);
        }
        self.make_writable();
    }

    /// An acknowledgement within recovery.
    fn partial(&mut self, context: &Context<'_>, acked: usize) {
        if self.send.timeout_recovery {
            self.grow(context, acked);
        }
        if !self.sack && !self.send.timeout_recovery {
            // RFC 6582: the next segment is lost too; what left deflates.
            let board = &mut self.send.board;
            board.duplicate_bytes = board.duplicate_bytes.saturating_sub(acked);
            board.lost_edge = (self.send.una + self.send.mss).min(self.send.nxt);
            board.retransmitted = self.send.una;
        }
    }

    fn grow(&mut self, context: &Context<'_>, acked: usize) {
        let used = self.send.window_limited
            || acked + self.flight() + self.send.mss >= self.send.congestion.window
            || (self.send.congestion.window < self.send.congestion.threshold
                && self.send.congestion.window < 2 * (acked + self.flight()));
        if used {
            let rtt = self.send.rtt.smoothed().unwrap_or(Duration::from_millis(100));
            self.send.congestion.acknowledged(acked, self.send.mss, rtt, context.now);
            self.send.window_limited = false;
        }
        if !self.options.send_buffer_locked {
            let want = (2 * self.send.congestion.window).min(SEND_BUFFER_MAX);
            self.options.send_buffer = self.options.send_buffer.max(want);
        }
    }

    fn measure(&mut self, context: &Context<'_>, s: &Segment<'_>, ack: Seq) {
        if let Some((end, sent)) = self.send.timed
            && end.le(ack)
        {
            self.send.timed = None;
            self.send.rtt.sample(context.now - sent);
            return;
        }
        // After a retransmission only the timestamp tells.
        if self.send.rtt.backoff > 0
            && self.timestamps.on
            && let Some((_, echo)) = s.options.timestamps.filter(|t| t.1 != 0)
        {
            // The echo is of the first copy that arrived. When acknowledgements
            // were lost over and over, that is no round trip any more.
            let ms = self.timestamp(context.now).wrapping_sub(echo);
            if ms < 3000 {
                self.send.rtt.sample(Duration::from_millis(u64::from(ms).max(1)));
            }
        }
    }

    /// Wakes a writer that met a full buffer, once there is room worth it.
    fn make_writable(&mut self) {
        if self.send.no_space && self.is_writable() && !self.shut_write {
            self.send.no_space = false;
            self.notify(Events::WRITABLE);
        }
    }

    /// Something left the network, but not in order.
    fn duplicate(&mut self, _context: &Context<'_>) {
        self.send.duplicate_acks += 1;
        if !self.sack {
            let limit = self.flight().saturating_sub(self.send.mss);
            let board = &mut self.send.board;
            board.duplicate_bytes = (board.duplicate_bytes + self.send.mss).min(limit);
        }
    }

    fn detect_loss(&mut self, context: &Context<'_>) {
        if self.flight() == 0 || self.send.timeout_recovery {
            return;
        }
        let mss = self.send.mss;
        let segments = self.flight().div_ceil(mss);
        // Early retransmit (RFC 5827) for small windows with nothing to send.
        let idle = self.data_end().le(self.send.nxt);
        let threshold = if idle && segments <= DUPLICATE_THRESHOLD {
            segments.saturating_sub(1).max(1)
        } else {
            DUPLICATE_THRESHOLD
        };
        if self.sack {
            if self.send.board.is_empty() {
                return;
            }
            // More than (threshold - 1) segments above: a byte more, as the
            // last segment may be short.
            self.send.board.mark_lost((threshold - 1) * mss + 1);
            if let Some(end) = self.send.probe_end
                && self.send.board.covers(end - 1)
            {
                // The tail arrived, what is before it did not.
                let edge = self.send.board.last_start().unwrap_or(self.send.una);
                self.send.board.lost_edge = self.send.board.lost_edge.max(edge);
                self.send.probe_end = None;
            }
        } else if self.send.duplicate_acks as usize >= threshold && self.send.recover.is_none() {
            self.send.board.lost_edge = (self.send.una + mss).min(self.send.nxt);
        }
        if self.send.recover.is_none() && self.send.board.next_lost(self.send.una).is_some() {
            self.send.recover = Some(self.send.nxt);
            self.send.congestion.reduce(mss);
            self.send.board.retransmitted = self.send.una;
            self.restart_retransmit_timer(context.now);
        }
    }

    /// State changes by the acknowledgement of our FIN; false at the end.
    fn advance_state(&mut self, context: &Context<'_>) -> bool {
        let fin_acked = self.send.fin_sent && self.send.una == self.send.nxt;
        if !fin_acked {
            return true;
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if self.orphan {
                    self.deadlines.linger = Some(context.now + self.tcp.linger2());
                }
                true
            }
            State::Closing => {
                self.enter_time_wait(context);
                false
            }
            State::LastAck => {
                self.destroy(context);
                false
            }
            _ => true,
        }
    }
}
