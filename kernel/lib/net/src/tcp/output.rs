// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sending: what may go out now, and putting it on the wire.

use super::segment::{ACK, CHECKSUM_AT, FIN, Fields, Options, PSH, RST, SYN, Segment};
use super::seq::Seq;
use super::state::{Context, State, Tcb, Wait};
use crate::ip::{Endpoint, Outgoing, SendError, protocol};
use crate::stack::Stack;
use core::time::Duration;
use kio::Instant;

/// Most time that a cut short segment waits under TCP_CORK (tcp(7)).
const CORK: Duration = Duration::from_millis(200);

/// What one step of output did.
enum Step {
    Sent,
    Idle,
    Full,
}

impl Tcb {
    /// Sends all that may be sent: lost data again, new data, FIN, and the
    /// acknowledgement if one is due and nothing carried it.
    pub(super) fn output(&mut self, context: &Context<'_>) {
        if self.state.is_synchronized() {
            loop {
                match self.step(context) {
                    Step::Sent => {}
                    Step::Idle => break,
                    Step::Full => break,
                }
            }
            if self.receive.ack_now {
                self.send_ack(context);
            }
            self.set_retransmit_timer(context.now);
        }
        self.schedule(context);
    }

    fn step(&mut self, context: &Context<'_>) -> Step {
        let in_flight = self.send.board.in_flight(self.send.una, self.send.nxt);
        let room = self.send.congestion.window.saturating_sub(in_flight);
        if let Some((start, end)) = self.send.board.next_lost(self.send.una) {
            // The first retransmission of a recovery always goes.
            let first = self.send.board.retransmitted == self.send.una;
            if room < self.send.mss && !first {
                return Step::Idle;
            }
            return self.retransmit(context, start, end.distance(start).min(self.send.mss));
        }
        self.send_new(context, room, in_flight)
    }

    /// Sends `[start, start + length)` again; the FIN may be in it.
    pub(super) fn retransmit_range(
        &mut self,
        context: &Context<'_>,
        start: Seq,
        length: usize,
    ) -> bool {
        let data_end = self.data_end();
        let data = length.min(data_end.distance(start));
        let mut flags = ACK;
        if self.send.fin_sent && start + length == data_end + 1 {
            flags |= FIN;
        }
        if start + data == data_end {
            flags |= PSH;
        }
        // Karn's algorithm: what is out is no measure any more.
        self.send.timed = None;
        self.send.retransmits_total += 1;
        self.emit(context, start, data, flags).is_ok()
    }

    fn retransmit(&mut self, context: &Context<'_>, start: Seq, length: usize) -> Step {
        if !self.retransmit_range(context, start, length) {
            return Step::Full;
        }
        self.send.board.retransmitted = start + length;
        Step::Sent
    }

    fn send_new(&mut self, context: &Context<'_>, room: usize, in_flight: usize) -> Step {
        if self.send.fin_sent {
            return Step::Idle;
        }
        let mss = self.send.mss;
        let unsent = self.data_end().distance(self.send.nxt);
        let fin = self.send.fin_queued;
        if unsent == 0 {
            return if fin { self.send_fin(context) } else { Step::Idle };
        }
        let open = (self.send.una + self.send.window).distance(self.send.nxt);
        let allowed = open.min(room);
        let mut length = unsent.min(allowed);
        if length > mss {
            let largest = self.largest_burst(context);
            length = length.min(largest);
            // Whole segments, but for the end of the data.
            if length < unsent {
                length -= length % mss;
            }
        }
        if length < unsent.min(mss) {
            self.send.window_limited |= room < open && room < mss;
            // Silly window avoidance (RFC 9293, 3.8.6.2.1): half of the largest
            // window is worth sending, less only when the timer says so.
            let half = (self.send.largest_window / 2).min(mss);
            let worth = length >= half.max(1) && room >= length;
            if length == 0
                || room < mss.min(unsent) && in_flight > 0
                || !(worth || self.send.override_window)
            {
                return Step::Idle;
            }
        }
        let last = length == unsent;
        if last && !length.is_multiple_of(mss) && !fin && self.holds_short(in_flight, context.now) {
            // Of a long run only the short end waits.
            length -= length % mss;
            if length == 0 {
                return Step::Idle;
            }
        }
        let mut flags = ACK;
        let ends = self.send.nxt + length == self.data_end();
        if ends {
            flags |= PSH;
            if fin {
                flags |= FIN;
            }
        }
        if self.emit(context, self.send.nxt, length, flags).is_err() {
            return Step::Full;
        }
        if self.send.timed.is_none() {
            self.send.timed = Some((self.send.nxt + length, context.now));
        }
        self.send.nxt += length;
        if flags & FIN != 0 {
            self.send.nxt += 1;
            self.send.fin_sent = true;
        }
        self.send.last_sent = context.now;
        Step::Sent
    }

    /// Nagle's algorithm, TCP_CORK and MSG_MORE: whether a segment that is cut
    /// short has to wait.
    fn holds_short(&mut self, in_flight: usize, now: Instant) -> bool {
        if self.tcp.cork || self.send.more {
            let until = *self.deadlines.cork.get_or_insert(now + CORK);
            return now < until;
        }
        self.deadlines.cork = None;
        !self.tcp.no_delay && in_flight > 0
    }

    fn send_fin(&mut self, context: &Context<'_>) -> Step {
        if self.emit(context, self.send.nxt, 0, ACK | FIN).is_err() {
            return Step::Full;
        }
        self.send.nxt += 1;
        self.send.fin_sent = true;
        self.send.last_sent = context.now;
        Step::Sent
    }

    /// Payload that may be handed to the device at once.
    fn largest_burst(&mut self, context: &Context<'_>) -> usize {
        if !self.find_path(context) {
            return self.send.mss;
        }
        let v4 = self.local.ip.is_v4();
        let Some(path) = &self.path else { return self.send.mss };
        let packet = path.interface.largest_segment(v4);
        if packet <= path.interface.mtu {
            return self.send.mss;
        }
        let payload = packet.saturating_sub(if v4 { 20 } else { 40 } + 60);
        (payload - payload % self.send.mss).max(self.send.mss)
    }

    /// Makes sure that there is a current path.
    pub(super) fn find_path(&mut self, context: &Context<'_>) -> bool {
        if self.path.as_ref().is_some_and(|p| context.stack.path_is_current(p)) {
            return true;
        }
        let scope = self.options.device;
        match context.stack.path(self.remote.ip, scope, context.now) {
            Ok(path) => {
                self.path = Some(path);
                true
            }
            Err(errno) => {
                self.soft_error = Some(errno);
                false
            }
        }
    }

    /// Sends an empty acknowledgement.
    pub(super) fn send_ack(&mut self, context: &Context<'_>) {
        let _ = self.emit(context, self.send.nxt, 0, ACK);
    }

    /// Makes the other side answer: a byte that it has already (as Linux).
    pub(super) fn send_probe(&mut self, context: &Context<'_>) {
        let _ = self.emit(context, self.send.una - 1, 0, ACK);
    }

    pub(super) fn send_syn(&mut self, context: &Context<'_>) {
        let flags = if self.state == State::SynSent { SYN } else { SYN | ACK };
        let initial = self.send.initial;
        let _ = self.emit(context, initial, 0, flags);
    }

    /// Puts one segment, or several of one size for the device to cut, on the
    /// wire. `Err` means that there was no room and the socket waits for it.
    fn emit(
        &mut self,
        context: &Context<'_>,
        seq: Seq,
        length: usize,
        flags: u8,
    ) -> Result<(), ()> {
        if !self.find_path(context) {
            // As good as lost: the timer tries again.
            return if flags & SYN != 0 || length == 0 { Ok(()) } else { Err(()) };
        }
        let fields = Fields {
            source_port: self.local.port,
            destination_port: self.remote.port,
            seq,
            ack: if flags & ACK != 0 { self.receive.nxt } else { Seq(0) },
            flags,
            window: self.advertise(flags),
            options: self.options_for(flags, length, context),
        };
        let untold = self.sack && !self.receive.early.is_empty() && fields.options.sack_count == 0;
        let mut header = fields.put();
        let Some(mut path) = self.path.take() else { return Err(()) };
        let offset = seq.distance(self.send.base).min(self.send.buffer.len());
        let v4 = self.local.ip.is_v4();
        let out = Outgoing {
            source: self.local.ip,
            destination: self.remote.ip,
            protocol: protocol::TCP,
            hops: self.options.hops(v4),
            tos: self.options.tos(v4),
            dont_fragment: true,
            payload: self.send.buffer.slices(offset, length),
            checksum_at: Some(CHECKSUM_AT),
            segment: (length > self.send.mss).then_some(self.send.mss),
        };
        let mut sent = context.stack.send(&mut path, &out, &mut header, context.now);
        if sent == Err(SendError::Full) && !self.waiting_for_room {
            // Registered first, tried again after: the room may have come in
            // between, and then nobody would call.
            if let Some(me) = context.arc() {
                path.interface.wait_for_room(me);
                self.waiting_for_room = true;
                sent = context.stack.send(&mut path, &out, &mut header, context.now);
            }
        }
        self.path = Some(path);
        match sent {
            Ok(()) | Err(SendError::Dropped) => {}
            Err(SendError::Full) => return Err(()),
            Err(SendError::TooLarge(mtu)) => {
                self.path_mtu = mtu;
                self.limit_mss(mtu);
                return Err(());
            }
        }
        if flags & ACK != 0 {
            self.receive.acked = self.receive.nxt;
            self.timestamps.last_ack = self.receive.nxt;
            // Data left no room for what arrived early: it needs a segment.
            self.receive.ack_now &= untold;
            self.deadlines.delayed_ack = None;
        }
        Ok(())
    }

    /// Fits the segments into packets of `mtu` bytes.
    pub(super) fn limit_mss(&mut self, mtu: usize) {
        let headers = if self.local.ip.is_v4() { 40 } else { 60 };
        let options = if self.timestamps.on { 12 } else { 0 };
        self.send.mss = self.send.mss.min(mtu.saturating_sub(headers + options)).max(48);
    }

    /// Options of a segment with `length` bytes of data. The MSS counts the
    /// timestamps in, but not SACK blocks: they go where there is room.
    fn options_for(&mut self, flags: u8, length: usize, context: &Context<'_>) -> Options {
        let mut options = Options::default();
        let syn = flags & SYN != 0;
        let reply = flags & ACK != 0;
        if syn {
            options.mss = Some(self.offered_mss(context) as u16);
            let first = !reply;
            options.window_scale = (first || self.receive.scale > 0).then_some(self.receive.scale);
            options.sack_permitted = first || self.sack;
        }
        if self.timestamps.on {
            let echo = if reply { self.timestamps.recent } else { 0 };
            options.timestamps = Some((self.timestamp(context.now), echo));
        }
        if !syn && self.sack && !self.receive.early.is_empty() {
            let most = if self.timestamps.on { 3 } else { 4 };
            let room = if length == 0 { usize::MAX } else { self.send.mss.saturating_sub(length) };
            // Two NOPs, kind and length come before the blocks.
            let limit = most.min(room.saturating_sub(4) / 8);
            for (slot, block) in options.sack.iter_mut().zip(self.receive.early.blocks(limit)) {
                *slot = block;
                options.sack_count += 1;
            }
        }
        options
    }

    /// The MSS that we can receive.
    pub(super) fn offered_mss(&self, _context: &Context<'_>) -> usize {
        let headers = if self.local.ip.is_v4() { 40 } else { 60 };
        let mtu = self.path.as_ref().map_or(1500, |p| p.interface.mtu).min(65_535);
        let mss = mtu - headers;
        if self.tcp.max_segment > 0 { mss.min(self.tcp.max_segment) } else { mss }
    }

    /// The window field. The right edge never moves back, and forward only by
    /// what is worth it (RFC 9293, 3.8.6.2.2).
    fn advertise(&mut self, flags: u8) -> u16 {
        let mut free = self.receive.limit.saturating_sub(self.receive.buffer.len());
        if flags & SYN != 0 {
            // Not scaled: what cannot be said must not be meant.
            free = free.min(65_535);
        }
        let edge = self.receive.nxt + free;
        if self.receive.edge.lt(edge) {
            let gain = edge.distance(self.receive.edge);
            if gain >= self.receive.mss.min(self.receive.limit / 2) {
                self.receive.edge = edge;
            }
        }
        let window = self.receive.edge.distance(self.receive.nxt);
        if flags & SYN != 0 {
            return window.min(65_535) as u16;
        }
        // Rounded up: rounded down the edge would move back.
        let unit = 1 << self.receive.scale;
        let window = window.div_ceil(unit).min(65_535);
        if window == 65_535 {
            self.receive.edge = self.receive.nxt + (window << self.receive.scale);
        }
        window as u16
    }

    /// Sets or clears the retransmission timer after output.
    pub(super) fn set_retransmit_timer(&mut self, now: Instant) {
        if self.flight() > 0 {
            if matches!(self.deadlines.retransmit, None | Some((Wait::Persist, _))) {
                self.restart_retransmit_timer(now);
            }
        } else if self.data_end().distance(self.send.nxt) > 0 && self.deadlines.cork.is_none() {
            // Something to send, nothing out: only a window or a path is missing.
            if self.deadlines.retransmit.is_none_or(|(w, _)| w != Wait::Persist) {
                self.deadlines.retransmit = Some((Wait::Persist, now + self.send.rtt.timeout()));
            }
        } else if self.send.fin_queued && !self.send.fin_sent {
            self.deadlines.retransmit = Some((Wait::Persist, now + self.send.rtt.timeout()));
        } else {
            self.deadlines.retransmit = None;
        }
    }

    /// Starts the timer anew: first as a tail probe when nothing is lost.
    pub(super) fn restart_retransmit_timer(&mut self, now: Instant) {
        let timeout = self.send.rtt.timeout();
        let probe = match self.send.rtt.smoothed() {
            Some(rtt)
                if self.send.recover.is_none()
                    && self.send.probe_end.is_none()
                    && self.sack
                    && self.send.rtt.backoff == 0 =>
            {
                // RFC 8985, 7.2, with the delayed acknowledgement for one segment.
                let mut wait = rtt * 2 + Duration::from_millis(2);
                if self.flight() <= self.send.mss {
                    wait += Duration::from_millis(50);
                }
                Some(wait).filter(|w| *w < timeout)
            }
            _ => None,
        };
        self.deadlines.retransmit = Some(match probe {
            Some(wait) => (Wait::TailProbe, now + wait),
            None => (Wait::Timeout, now + timeout),
        });
    }

    /// Sends a reset for this connection.
    pub(super) fn send_reset(&mut self, context: &Context<'_>) {
        let seq = self.send.nxt;
        let _ = self.emit(context, seq, 0, RST | ACK);
    }
}

impl Stack {
    /// Answers a segment that belongs to nobody (RFC 9293, 3.10.7.1).
    pub(super) fn send_tcp_reset(
        &self,
        local: Endpoint,
        remote: Endpoint,
        segment: &Segment<'_>,
        interface: u32,
    ) {
        if segment.has(RST) {
            return;
        }
        let (seq, ack, flags) = if segment.has(ACK) {
            (segment.ack, Seq(0), RST)
        } else {
            (Seq(0), segment.seq + segment.length(), RST | ACK)
        };
        let fields = Fields {
            source_port: local.port,
            destination_port: remote.port,
            seq,
            ack,
            flags,
            window: 0,
            options: Options::default(),
        };
        self.send_tcp_bare(local, remote, fields, interface);
    }

    /// Sends a segment without data and without a connection.
    pub(super) fn send_tcp_bare(
        &self,
        local: Endpoint,
        remote: Endpoint,
        fields: Fields,
        interface: u32,
    ) {
        let now = self.now();
        let scope = if remote.ip.is_link_scope() { interface } else { 0 };
        let Ok(mut path) = self.path(remote.ip, scope, now) else { return };
        let out = Outgoing {
            source: local.ip,
            destination: remote.ip,
            protocol: protocol::TCP,
            hops: 64,
            tos: 0,
            dont_fragment: true,
            payload: [&[], &[]],
            checksum_at: Some(CHECKSUM_AT),
            segment: None,
        };
        let _ = self.send(&mut path, &out, &mut fields.put(), now);
    }
}
