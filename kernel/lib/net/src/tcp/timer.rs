// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What happens when a deadline of a connection has come.

use super::socket::TcpSocket;
use super::state::{Context, State, Tcb, Wait};
use crate::timer::Expire;
use alloc::sync::Arc;
use core::time::Duration;
use kio::{Errno, Instant};

/// tcp_retries2 of Linux: about a quarter of an hour.
const RETRIES: u32 = 15;
/// tcp_orphan_retries.
const ORPHAN_RETRIES: u32 = 8;
/// tcp_synack_retries.
const SYN_ACK_RETRIES: u32 = 5;
const PROBE_MAX: Duration = Duration::from_secs(120);

impl Expire for TcpSocket {
    fn expire(self: Arc<Self>, now: Instant) {
        let stack = self.stack.clone();
        let context = Context { stack: &stack, socket: &self, now };
        let mut tcb = self.inner.lock();
        if tcb.timer.is_none_or(|t| t.at() <= now) {
            tcb.timer = None;
        }
        tcb.expire(&context);
        if tcb.state != State::Closed {
            tcb.schedule(&context);
        }
        tcb.flush_wake(&self);
        drop(tcb);
        stack.flush();
    }
}

fn due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

impl Tcb {
    fn expire(&mut self, context: &Context<'_>) {
        let now = context.now;
        // An idle connection holds no buffers.
        self.send.buffer.release();
        if self.receive.early.is_empty() {
            self.receive.buffer.release();
        }
        if due(self.deadlines.linger, now) {
            // FIN-WAIT-2 without a reader: Linux drops it (tcp_fin_timeout).
            return self.destroy(context);
        }
        if due(self.deadlines.delayed_ack, now) {
            self.deadlines.delayed_ack = None;
            self.send_ack(context);
        }
        if due(self.deadlines.cork, now) {
            self.output(context);
            self.deadlines.cork = None;
            if self.state.is_synchronized() {
                // Whatever did not go out has to wait for something else now.
                self.set_retransmit_timer(now);
            }
        }
        if due(self.deadlines.keepalive, now) {
            self.expire_keepalive(context);
        }
        if let Some((wait, at)) = self.deadlines.retransmit
            && at <= now
        {
            match wait {
                Wait::Timeout => self.expire_retransmit(context),
                Wait::TailProbe => self.expire_tail_probe(context),
                Wait::Persist => self.expire_persist(context),
            }
        }
    }

    fn gives_up(&self, now: Instant) -> bool {
        let limit = match self.state {
            State::SynSent => self.tcp.syn_retries,
            State::SynReceived if self.deferred => SYN_ACK_RETRIES.max(self.tcp.defer_accept),
            State::SynReceived => SYN_ACK_RETRIES,
            _ if self.orphan => ORPHAN_RETRIES,
            _ => RETRIES,
        };
        let too_long = self
            .tcp
            .user_timeout
            .is_some_and(|limit| self.send.retry_start.is_some_and(|start| now - start >= limit));
        // The listener that it came in through is closed.
        let unwanted = self.parent.as_ref().is_some_and(|p| p.strong_count() == 0);
        self.send.retries >= limit || too_long || unwanted
    }

    fn expire_retransmit(&mut self, context: &Context<'_>) {
        let now = context.now;
        self.deadlines.retransmit = None;
        if self.gives_up(now) {
            if self.state == State::SynReceived && self.parent.is_some() {
                self.orphan = true;
                return self.destroy(context);
            }
            let errno = self.soft_error.unwrap_or(Errno::ETIMEDOUT);
            return self.fail(context, errno);
        }
        self.send.retry_start.get_or_insert(self.send.last_sent);
        self.send.retries += 1;
        self.send.rtt.backoff += 1;
        self.send.timed = None;
        if matches!(self.state, State::SynSent | State::SynReceived) {
            // Perhaps the way changed.
            self.path = None;
            // One that only waits for data needs no SYN-ACK until its time is
            // up; then the answer to that completes it.
            if !self.deferred || self.send.retries >= self.tcp.defer_accept {
                self.send.retransmits_total += 1;
                self.send_syn(context);
            }
            self.deadlines.retransmit = Some((Wait::Timeout, now + self.send.rtt.timeout()));
            return;
        }
        if self.send.retries > 2 {
            // The peer may have dropped what it said it has (RFC 2018, 8).
            self.send.board.reset(self.send.una);
            self.path = None;
        }
        if !self.send.timeout_recovery {
            self.send.congestion.timed_out(self.send.mss);
        } else {
            self.send.congestion.window = self.send.mss;
        }
        self.send.timeout_recovery = true;
        self.send.recover = Some(self.send.nxt);
        self.send.probe_end = None;
        self.send.duplicate_acks = 0;
        self.send.board.duplicate_bytes = 0;
        self.send.board.lost_edge = self.send.nxt;
        self.send.board.retransmitted = self.send.una;
        self.output(context);
        if self.state != State::Closed {
            self.deadlines.retransmit = Some((Wait::Timeout, now + self.send.rtt.timeout()));
        }
    }

    /// Sends new data, or the last segment again, so that the peer's answer
    /// shows what is missing.
    fn expire_tail_probe(&mut self, context: &Context<'_>) {
        let before = self.send.nxt;
        self.deadlines.retransmit = Some((Wait::Timeout, context.now + self.send.rtt.timeout()));
        self.output(context);
        if self.send.nxt == before && self.flight() > 0 {
            let length = self.flight().min(self.send.mss);
            let start = self.send.nxt - length;
            self.retransmit_range(context, start, length);
        }
        self.send.probe_end = Some(self.send.nxt);
        self.send.timed = None;
    }

    fn expire_persist(&mut self, context: &Context<'_>) {
        self.deadlines.retransmit = None;
        if self.flight() > 0 {
            return self.set_retransmit_timer(context.now);
        }
        let before = self.send.nxt;
        self.send.override_window = true;
        self.output(context);
        self.send.override_window = false;
        if self.send.nxt != before {
            return;
        }
        self.send.retry_start.get_or_insert(context.now);
        self.send.probes += 1;
        let limit = if self.orphan { ORPHAN_RETRIES } else { RETRIES };
        let silent = context.now - self.receive.last > PROBE_MAX;
        let too_long = self.tcp.user_timeout.is_some_and(|limit| {
            self.send.retry_start.is_some_and(|start| context.now - start >= limit)
        });
        if (self.send.probes > limit && (silent || self.orphan)) || too_long {
            let errno = self.soft_error.unwrap_or(Errno::ETIMEDOUT);
            return self.fail(context, errno);
        }
        self.send_probe(context);
        self.send.rtt.backoff = (self.send.rtt.backoff + 1).min(10);
        let wait = self.send.rtt.timeout().min(PROBE_MAX);
        self.deadlines.retransmit = Some((Wait::Persist, context.now + wait));
    }

    /// Starts or stops keep-alive.
    pub(super) fn set_keepalive(&mut self, now: Instant) {
        let on = self.options.keep_alive && self.state.is_synchronized();
        self.deadlines.keepalive = on.then(|| now + self.tcp.keep_idle);
    }

    fn expire_keepalive(&mut self, context: &Context<'_>) {
        let now = context.now;
        if !self.options.keep_alive || !self.state.is_synchronized() {
            self.deadlines.keepalive = None;
            return;
        }
        // Data that is out is a probe by itself.
        if self.flight() > 0 || self.data_end() != self.send.nxt {
            self.deadlines.keepalive = Some(now + self.tcp.keep_idle);
            return;
        }
        let idle_until = self.receive.last + self.tcp.keep_idle;
        if self.keepalive_probes == 0 && idle_until > now {
            self.deadlines.keepalive = Some(idle_until);
            return;
        }
        let too_long = match self.tcp.user_timeout {
            Some(limit) => now - self.receive.last >= limit && self.keepalive_probes > 0,
            None => self.keepalive_probes >= self.tcp.keep_count,
        };
        if too_long {
            self.send_reset(context);
            return self.fail(context, Errno::ETIMEDOUT);
        }
        self.keepalive_probes += 1;
        self.send_probe(context);
        self.deadlines.keepalive = Some(now + self.tcp.keep_interval);
    }
}
