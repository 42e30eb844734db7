// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arriving segments (RFC 9293, 3.10.7).

use super::segment::{ACK, FIN, Fields, Options, RST, SYN, Segment};
use super::seq::Seq;
use super::socket::TcpSocket;
use super::state::{Context, State, Tcb};
use super::table::{Found, TimeWait};
use crate::icmp::PathError;
use crate::interface::count;
use crate::ip::{Endpoint, Incoming, be16, checksum, protocol};
use crate::stack::Stack;
use core::time::Duration;
use kio::{Errno, Events, Instant};

/// Most time that an acknowledgement waits for data to ride on.
const DELAYED_ACK: Duration = Duration::from_millis(40);
/// Challenge ACKs of one connection in a second (RFC 5961, 7).
const CHALLENGES: u32 = 10;
/// After that, PAWS does not apply (RFC 7323, 5.5).
const PAWS_IDLE: Duration = Duration::from_secs(24 * 24 * 3600);

fn ends(incoming: &Incoming<'_>) -> Option<(Endpoint, Endpoint)> {
    let p = incoming.payload;
    if p.len() < 20 {
        return None;
    }
    let local = Endpoint::new(incoming.header.destination, be16(p, 2));
    let remote = Endpoint::new(incoming.header.source, be16(p, 0));
    Some((local, remote))
}

fn is_sound(incoming: &Incoming<'_>) -> bool {
    if incoming.checksum_verified {
        return true;
    }
    let h = &incoming.header;
    let p = incoming.payload;
    let mut sum = checksum::pseudo_header(h.source, h.destination, protocol::TCP, p.len());
    sum.add(p);
    sum.is_valid()
}

impl Stack {
    /// A segment for a connection in the table; false when there is none.
    pub(crate) fn receive_tcp(&self, incoming: &Incoming<'_>) -> bool {
        let Some((local, remote)) = ends(incoming) else { return true };
        let found = self.tcp.find(&self.hash, local, remote);
        if matches!(found, Found::Nothing) {
            return false;
        }
        if !is_sound(incoming) {
            count(&incoming.interface.counters.rx_errors, 1);
            return true;
        }
        let Some(segment) = Segment::parse(incoming.payload) else { return true };
        match found {
            Found::Connection(socket) => {
                socket.receive_segment(self, &segment);
                true
            }
            Found::TimeWait(record) => self.receive_in_time_wait(
                local,
                remote,
                &record,
                &segment,
                incoming.interface.index,
            ),
            Found::Nothing => false,
        }
    }

    /// A segment for an address of ours, without a connection.
    pub(crate) fn receive_tcp_unknown(&self, incoming: &Incoming<'_>) {
        let Some((local, remote)) = ends(incoming) else { return };
        if !is_sound(incoming) {
            return count(&incoming.interface.counters.rx_errors, 1);
        }
        let Some(segment) = Segment::parse(incoming.payload) else { return };
        let index = incoming.interface.index;
        if segment.flags & (SYN | ACK | RST) == SYN
            && let Some(listener) = self.tcp.listener(&self.hash, local, remote, index)
        {
            return listener.receive_syn(self, local, remote, &segment, index);
        }
        self.send_tcp_reset(local, remote, &segment, index);
    }

    /// False when a new connection may start: a SYN that cannot be an old
    /// duplicate (RFC 6191).
    fn receive_in_time_wait(
        &self,
        local: Endpoint,
        remote: Endpoint,
        record: &TimeWait,
        segment: &Segment<'_>,
        interface: u32,
    ) -> bool {
        if segment.has(RST) {
            // RFC 1337: a reset does not end TIME-WAIT.
            return true;
        }
        if segment.flags & (SYN | ACK) == SYN {
            let newer = match (record.timestamps, segment.options.timestamps) {
                (Some((old, _)), Some((new, _))) => (new.wrapping_sub(old) as i32) > 0,
                _ => false,
            };
            if newer || record.next_receive.lt(segment.seq) {
                self.tcp.end_time_wait(&self.hash, local, remote);
                return false;
            }
        }
        if segment.length() == 0 && segment.seq == record.next_receive {
            return true;
        }
        let timestamps = record.timestamps.map(|(recent, offset)| {
            let now = (self.now().as_nanos() / 1_000_000) as u32;
            (now.wrapping_add(offset), recent)
        });
        let fields = Fields {
            source_port: local.port,
            destination_port: remote.port,
            seq: record.next_send,
            ack: record.next_receive,
            flags: ACK,
            window: record.window,
            options: Options { timestamps, ..Options::default() },
        };
        self.send_tcp_bare(local, remote, fields, interface);
        true
    }

    /// An error that a segment of ours met.
    pub(crate) fn tcp_error(&self, local: Endpoint, remote: Endpoint, seq: u32, error: PathError) {
        if let Found::Connection(socket) = self.tcp.find(&self.hash, local, remote) {
            socket.path_error(self, Seq(seq), error);
        }
    }
}

impl TcpSocket {
    fn receive_segment(self: alloc::sync::Arc<Self>, stack: &Stack, segment: &Segment<'_>) {
        let context = Context { stack, socket: &self, now: stack.now() };
        let mut tcb = self.inner.lock();
        if !tcb.hashed {
            // It was closed after it was found.
            return;
        }
        tcb.input(&context, segment);
        // Acknowledgement and wake-up wait for the end of the batch.
        let defer =
            (!tcb.wake.is_empty() || tcb.receive.ack_now || tcb.receive.acked != tcb.receive.nxt)
                && !tcb.in_batch;
        tcb.in_batch |= defer;
        drop(tcb);
        if defer {
            stack.defer(self);
        }
    }

    fn path_error(&self, stack: &Stack, seq: Seq, error: PathError) {
        let context = Context { stack, socket: self, now: stack.now() };
        let mut tcb = self.inner.lock();
        // Only about what is out (RFC 5927, 4.1).
        if !tcb.hashed || seq.lt(tcb.send.una) || tcb.send.nxt.le(seq) {
            return;
        }
        if let Some(mtu) = error.mtu {
            let headers = if tcb.local.ip.is_v4() { 40 } else { 60 };
            if mtu >= headers + 88 && mtu < tcb.path_mtu {
                tcb.path_mtu = mtu;
                tcb.limit_mss(mtu);
                let nxt = tcb.send.nxt;
                tcb.send.board.lost_edge = nxt;
                tcb.send.board.retransmitted = tcb.send.una;
                tcb.output(&context);
            }
            return;
        }
        let opening = matches!(tcb.state, State::SynSent | State::SynReceived);
        // RFC 5927, 5.2: no error ends a connection that stands.
        if opening
            && (error.hard
                || error.errno == Errno::EHOSTUNREACH
                || error.errno == Errno::ENETUNREACH)
        {
            tcb.fail(&context, error.errno);
            tcb.flush_wake(self);
        } else {
            tcb.soft_error = Some(error.errno);
        }
    }

    /// End of the batch: the acknowledgement, and one wake-up for all.
    pub(crate) fn finish_batch(&self, now: Instant) {
        let context = Context { stack: &self.stack, socket: self, now };
        let mut tcb = self.inner.lock();
        tcb.in_batch = false;
        if tcb.hashed && tcb.receive.acked != tcb.receive.nxt {
            let waiting = tcb.receive.nxt.distance(tcb.receive.acked);
            // Two segments (RFC 9293, 3.8.6.3), less when they are huge.
            let enough = (2 * tcb.receive.mss).min(tcb.receive.limit / 8);
            if waiting >= enough || tcb.tcp.quick_ack {
                tcb.receive.ack_now = true;
            } else if tcb.deadlines.delayed_ack.is_none() {
                tcb.deadlines.delayed_ack = Some(now + DELAYED_ACK);
            }
        }
        if tcb.hashed && tcb.receive.ack_now {
            tcb.send_ack(&context);
        }
        if tcb.hashed {
            tcb.schedule(&context);
        }
        tcb.flush_wake(self);
    }
}

impl Tcb {
    /// Tells the waiters; under the lock, so that events are in order.
    pub(super) fn flush_wake(&mut self, socket: &TcpSocket) {
        let events = core::mem::take(&mut self.wake);
        if !events.is_empty() {
            socket.wait.notify(events);
        }
    }

    fn input(&mut self, context: &Context<'_>, segment: &Segment<'_>) {
        self.receive.last = context.now;
        self.keepalive_probes = 0;
        match self.state {
            State::Closed | State::Listen => {}
            State::SynSent => self.input_syn_sent(context, segment),
            _ => self.input_synchronized(context, segment),
        }
    }

    fn input_syn_sent(&mut self, context: &Context<'_>, s: &Segment<'_>) {
        if s.has(ACK) && s.ack != self.send.initial + 1 {
            context.stack.send_tcp_reset(self.local, self.remote, s, 0);
            return;
        }
        if s.has(RST) {
            if s.has(ACK) {
                self.fail(context, Errno::ECONNREFUSED);
            }
            return;
        }
        if !s.has(SYN) {
            return;
        }
        self.accept_syn(context, s);
        if !s.has(ACK) {
            // Simultaneous open (RFC 9293, 3.5).
            self.state = State::SynReceived;
            self.send_syn(context);
            return;
        }
        self.send.una = s.ack;
        self.send.base = s.ack;
        self.send.nxt = s.ack;
        self.send.window = usize::from(s.window);
        self.establish(context, s);
        self.receive.ack_now = true;
        self.notify(Events::WRITABLE);
        self.output(context);
    }

    /// Takes what the SYN of the peer says.
    pub(super) fn accept_syn(&mut self, context: &Context<'_>, s: &Segment<'_>) {
        let o = &s.options;
        self.receive.initial = s.seq;
        self.receive.nxt = s.seq + 1;
        self.receive.acked = s.seq;
        self.receive.edge = self.receive.nxt + self.receive.limit.min(65_535);
        let default = if self.local.ip.is_v4() { 536 } else { 1220 };
        self.send.mss = usize::from(o.mss.unwrap_or(default)).max(48);
        match o.window_scale {
            Some(scale) => self.send.scale = scale,
            None => self.receive.scale = 0,
        }
        self.sack = o.sack_permitted;
        match o.timestamps {
            Some((value, _)) if self.timestamps.on => {
                self.timestamps.recent = value;
                self.timestamps.recent_at = context.now;
                // The options take their part of each segment.
                self.send.mss -= 12;
            }
            _ => self.timestamps.on = false,
        }
        self.find_path(context);
        let mtu = self.path.as_ref().map_or(1500, |p| p.interface.mtu).min(self.path_mtu);
        self.limit_mss(mtu);
        if self.tcp.max_segment > 0 {
            self.send.mss = self.send.mss.min(self.tcp.max_segment);
        }
        self.receive.mss = self.offered_mss(context).min(self.send.mss.max(536));
        self.send.congestion = super::congestion::Congestion::new(self.send.mss);
    }

    /// The handshake is done.
    pub(super) fn establish(&mut self, context: &Context<'_>, s: &Segment<'_>) {
        self.state = if self.send.fin_queued { State::FinWait1 } else { State::Established };
        self.send.wl1 = s.seq;
        self.send.wl2 = s.ack;
        self.send.largest_window = self.send.window;
        self.send.board.reset(self.send.una);
        self.send.retries = 0;
        self.send.retry_start = None;
        if self.send.rtt.backoff == 0
            && let Some((_, sent)) = self.send.timed.take()
        {
            self.send.rtt.sample(context.now - sent);
        }
        self.send.rtt.backoff = 0;
        self.send.timed = None;
        self.soft_error = None;
        self.deadlines.retransmit = None;
        self.receive.measured = context.now;
        self.set_keepalive(context.now);
    }

    fn input_synchronized(&mut self, context: &Context<'_>, s: &Segment<'_>) {
        if !self.is_acceptable(context, s) {
            return;
        }
        if s.has(RST) {
            return self.input_reset(context, s);
        }
        if s.has(SYN) {
            // A SYN of ours that was lost on the way back, or an attack.
            if self.state == State::SynReceived && s.seq == self.receive.initial {
                // With ACK it is the other half of a simultaneous open.
                return if s.has(ACK) { self.send_ack(context) } else { self.send_syn(context) };
            }
            return self.challenge(context);
        }
        if !s.has(ACK) {
            return;
        }
        if self.state == State::SynReceived && !self.input_handshake(context, s) {
            return;
        }
        if !self.input_ack(context, s) {
            return;
        }
        self.input_data(context, s);
        if self.state != State::Closed {
            self.output(context);
        }
    }

    /// Sequence number and timestamp checks.
    fn is_acceptable(&mut self, context: &Context<'_>, s: &Segment<'_>) -> bool {
        if let (true, Some((value, _))) = (self.timestamps.on, s.options.timestamps) {
            let old = (value.wrapping_sub(self.timestamps.recent) as i32) < 0;
            let idle = context.now - self.timestamps.recent_at > PAWS_IDLE;
            if old && !idle && !s.has(RST) && !s.has(SYN) {
                self.receive.ack_now = true;
                self.answer_now(context);
                return false;
            }
        }
        let end = s.seq + s.length();
        let inside = if s.length() == 0 {
            self.receive.nxt.le(s.seq)
                && (s.seq.lt(self.receive.edge)
                    || s.seq == self.receive.nxt
                    || s.seq == self.receive.edge)
        } else {
            self.receive.nxt.lt(end) && s.seq.lt(self.receive.edge)
        };
        if !inside {
            if s.has(SYN) && self.state == State::SynReceived && s.seq == self.receive.initial {
                return true;
            }
            if !s.has(RST) {
                // Keep-alives and window probes come here, and FINs sent again;
                // what they acknowledge counts still.
                // Of those with data or FIN only such as end at or behind what we
                // acknowledged, as tcp_sequence of Linux has it: in a
                // simultaneous close the FIN of the peer comes once more, with
                // the acknowledgement of ours.
                let recent = self.receive.acked.le(end) && s.seq.le(self.receive.edge);
                let counts = (s.length() == 0 || recent) && !s.has(SYN);
                if s.has(ACK) && counts && self.state.is_synchronized() {
                    self.input_ack(context, s);
                    if self.state == State::Closed {
                        return false;
                    }
                }
                self.receive.ack_now = true;
                self.answer_now(context);
            }
            return false;
        }
        if let (true, Some((value, _))) = (self.timestamps.on, s.options.timestamps) {
            // RFC 7323, 4.3: only from segments that touch the last ack.
            if s.seq.le(self.timestamps.last_ack) {
                self.timestamps.recent = value;
                self.timestamps.recent_at = context.now;
            }
        }
        true
    }

    fn answer_now(&mut self, context: &Context<'_>) {
        if self.receive.ack_now && self.state.is_synchronized() {
            self.output(context);
        } else if self.state == State::SynReceived {
            self.receive.ack_now = false;
            self.send_ack(context);
        }
    }

    fn input_reset(&mut self, context: &Context<'_>, s: &Segment<'_>) {
        if s.seq != self.receive.nxt {
            return self.challenge(context);
        }
        let errno = match self.state {
            State::SynReceived if self.parent.is_some() => {
                self.orphan = true;
                return self.destroy(context);
            }
            State::SynReceived => Errno::ECONNREFUSED,
            State::CloseWait => Errno::EPIPE,
            _ => Errno::ECONNRESET,
        };
        self.fail(context, errno);
    }

    /// RFC 5961: ask whether the peer meant it.
    fn challenge(&mut self, context: &Context<'_>) {
        let second = context.now.as_nanos() / 1_000_000_000;
        if self.receive.challenges.0 != second {
            self.receive.challenges = (second, 0);
        }
        if self.receive.challenges.1 < CHALLENGES {
            self.receive.challenges.1 += 1;
            self.send_ack(context);
        }
    }

    /// The last step of the handshake; false when the segment is done with.
    fn input_handshake(&mut self, context: &Context<'_>, s: &Segment<'_>) -> bool {
        if s.ack != self.send.initial + 1 {
            context.stack.send_tcp_reset(self.local, self.remote, s, 0);
            return false;
        }
        if self.parent.is_some() {
            if s.length() == 0 && self.send.retries < self.tcp.defer_accept {
                // TCP_DEFER_ACCEPT: the connection comes with its first data.
                self.deferred = true;
                return false;
            }
            if !self.hand_over(context) {
                return false;
            }
        }
        self.send.una = s.ack;
        self.send.base = s.ack;
        self.send.nxt = self.send.nxt.max(s.ack);
        self.send.window = usize::from(s.window) << self.send.scale;
        self.establish(context, s);
        self.notify(Events::WRITABLE);
        true
    }

    /// Payload and FIN.
    fn input_data(&mut self, context: &Context<'_>, s: &Segment<'_>) {
        let mut payload = s.payload;
        let mut seq = s.seq;
        let fin_at = s.has(FIN).then(|| s.seq + payload.len());
        if !payload.is_empty() {
            if !self.may_receive() {
                return;
            }
            // Data for a program that has closed: it can only be an error.
            if self.orphan && self.receive.nxt.lt(seq + payload.len()) {
                self.send_reset(context);
                return self.destroy(context);
            }
            if seq.lt(self.receive.nxt) {
                let old = self.receive.nxt.distance(seq).min(payload.len());
                payload = &payload[old..];
                seq += old;
                self.receive.ack_now = true;
            }
            let room = self.receive.edge.distance(seq);
            let cut = payload.len() > room;
            payload = &payload[..payload.len().min(room)];
            if !payload.is_empty() && !self.store(seq, payload) {
                self.receive.ack_now = true;
                return;
            }
            if cut {
                self.receive.ack_now = true;
                return;
            }
        }
        if let Some(at) = fin_at {
            if self.receive.nxt == at {
                self.input_fin(context);
            } else {
                self.receive.early_fin = Some(at);
                self.receive.ack_now = true;
            }
        } else if self.receive.early_fin == Some(self.receive.nxt) {
            self.input_fin(context);
        }
    }

    fn may_receive(&self) -> bool {
        matches!(self.state, State::Established | State::FinWait1 | State::FinWait2)
            && !self.receive.fin
    }

    /// Keeps payload; false when it had to be dropped.
    fn store(&mut self, seq: Seq, payload: &[u8]) -> bool {
        let r = &mut self.receive;
        let offset = r.buffer.len() + seq.distance(r.nxt);
        let early = r.early.end().map_or(0, |end| end.distance(r.nxt));
        let keep = r.buffer.len() + early;
        if r.buffer.reserve(offset + payload.len(), keep).is_err() {
            return false;
        }
        r.mss = r.mss.max(payload.len().min(65_535));
        if seq != r.nxt {
            r.ack_now = true;
            if !r.early.add(seq, seq + payload.len()) {
                return false;
            }
            r.buffer.write(offset, payload);
            return true;
        }
        r.buffer.write(offset, payload);
        let mut next = r.nxt + payload.len();
        if !r.early.is_empty() {
            // A gap closed: say so at once (RFC 5681, 4.2).
            next = r.early.advance(next);
            r.ack_now = true;
        }
        r.buffer.extend(next.distance(r.nxt));
        r.nxt = next;
        self.notify(Events::READABLE);
        true
    }

    fn input_fin(&mut self, context: &Context<'_>) {
        if self.receive.fin || !self.state.is_synchronized() {
            return;
        }
        self.receive.fin = true;
        self.receive.nxt += 1;
        self.receive.edge = self.receive.edge.max(self.receive.nxt);
        self.receive.ack_now = true;
        self.notify(Events::READABLE | Events::RDHUP);
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(context),
            _ => {}
        }
    }

    /// Leaves a record in the table and ends the connection.
    pub(super) fn enter_time_wait(&mut self, context: &Context<'_>) {
        self.send_ack(context);
        let record = TimeWait {
            id: 0,
            next_send: self.send.nxt,
            next_receive: self.receive.nxt,
            window: (self.receive.limit >> self.receive.scale).min(65_535) as u16,
            timestamps: self
                .timestamps
                .on
                .then_some((self.timestamps.recent, self.timestamps.offset)),
            since: context.now,
        };
        // The record takes the place of the connection in the table.
        self.hashed = false;
        context.stack.tcp.enter_time_wait(context.stack, self.local, self.remote, record);
        self.destroy(context);
    }
}
