// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Listening sockets: half-open connections and the accept queue.

use super::options::TcpOptions;
use super::segment::Segment;
use super::seq::Seq;
use super::socket::TcpSocket;
use super::state::{Context, State, Tcb, Wait};
use crate::ip::Endpoint;
use crate::stack::Stack;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::Ordering;
use core::time::Duration;
use kio::{Events, Instant};

/// net.core.somaxconn.
pub(super) const BACKLOG_MAX: usize = 4096;
/// Half-open connections of one listener: its backlog, within these bounds.
const HALF_OPEN_MIN: usize = 128;
const HALF_OPEN_MAX: usize = 1024;
/// Time that a half-open connection has before another may take its place.
const HALF_OPEN_GRACE: Duration = Duration::from_secs(1);

/// What a listening socket has besides.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Connections that wait for accept(2).
    pub(super) ready: VecDeque<Arc<TcpSocket>>,
    pub(super) backlog: usize,
    /// Half-open ones, oldest first; finished ones are still in here.
    pub(super) half_open: VecDeque<(Instant, Weak<TcpSocket>)>,
}

impl core::fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "TcpSocket({})", self.inode)
    }
}

impl Listener {
    pub(super) fn is_full(&self) -> bool {
        self.ready.len() > self.backlog
    }

    /// Makes room for a half-open connection. With too many, the oldest goes
    /// if it had time to answer; otherwise the new one is refused (`Err`), and
    /// its SYN comes again in a second.
    fn make_room(&mut self, live: usize, now: Instant) -> Result<Option<Arc<TcpSocket>>, ()> {
        let is_live = |s: &(Instant, Weak<TcpSocket>)| {
            s.1.upgrade().is_some_and(|s| s.is_half_open.load(Ordering::Relaxed))
        };
        if self.half_open.len() > 2 * live + 64 {
            self.half_open.retain(is_live);
        }
        if live < self.backlog.clamp(HALF_OPEN_MIN, HALF_OPEN_MAX) {
            return Ok(None);
        }
        while self.half_open.front().is_some_and(|s| !is_live(s)) {
            self.half_open.pop_front();
        }
        match self.half_open.front() {
            Some((since, _)) if now - *since < HALF_OPEN_GRACE => Err(()),
            _ => Ok(self.half_open.pop_front().and_then(|s| s.1.upgrade())),
        }
    }
}

impl TcpSocket {
    /// A SYN for this listener: makes a half-open connection.
    pub(super) fn receive_syn(
        self: &Arc<Self>,
        stack: &Stack,
        local: Endpoint,
        remote: Endpoint,
        segment: &Segment<'_>,
        interface: u32,
    ) {
        let mut tcb = self.inner.lock();
        let options = tcb.options.clone();
        let tcp: TcpOptions = tcb.tcp.clone();
        let Some(listener) = tcb.listener.as_mut() else {
            drop(tcb);
            return stack.send_tcp_reset(local, remote, segment, interface);
        };
        if listener.is_full() {
            // As Linux: the peer tries again.
            return;
        }
        let now = stack.now();
        let live = self.half_open.load(Ordering::Acquire);
        let Ok(victim) = listener.make_room(live, now) else { return };
        let Some(stack_arc) = stack.me.upgrade() else { return };
        let child = Self::make(stack_arc, self.domain, options, tcp);
        self.half_open.fetch_add(1, Ordering::AcqRel);
        child.is_half_open.store(true, Ordering::Relaxed);
        listener.half_open.push_back((now, Arc::downgrade(&child)));
        drop(tcb);
        if let Some(victim) = victim {
            victim.drop_half_open();
        }
        let context = Context { stack, socket: &child, now: stack.now() };
        let mut tcb = child.inner.lock();
        tcb.parent = Some(Arc::downgrade(self));
        tcb.local = local;
        tcb.remote = remote;
        if remote.ip.is_link_scope() && tcb.options.device == 0 {
            tcb.options.device = interface;
        }
        if !stack.tcp.insert(&stack.hash, local, remote, child.clone(), |_| true) {
            // The same SYN on another CPU came first.
            tcb.parent = None;
            self.half_open.fetch_sub(1, Ordering::AcqRel);
            child.is_half_open.store(false, Ordering::Relaxed);
            return;
        }
        tcb.hashed = true;
        tcb.state = State::SynReceived;
        tcb.start_sequence(&context);
        tcb.timestamps.on = segment.options.timestamps.is_some();
        tcb.accept_syn(&context, segment);
        tcb.send.window = usize::from(segment.window);
        tcb.send_syn(&context);
        tcb.send.last_sent = context.now;
        tcb.deadlines.retransmit = Some((Wait::Timeout, context.now + tcb.send.rtt.timeout()));
        tcb.send.timed = Some((tcb.send.nxt, context.now));
        tcb.schedule(&context);
    }

    fn drop_half_open(&self) {
        let context = Context { stack: &self.stack, socket: self, now: self.stack.now() };
        let mut tcb = self.inner.lock();
        if tcb.state == State::SynReceived {
            tcb.orphan = true;
            tcb.destroy(&context);
            self.is_half_open.store(false, Ordering::Relaxed);
        }
    }
}

impl Tcb {
    /// Puts the connection into the accept queue of its listener; false when
    /// it has to wait (queue full) or was dropped (no listener any more).
    pub(super) fn hand_over(&mut self, context: &Context<'_>) -> bool {
        let parent = self.parent.as_ref().and_then(Weak::upgrade);
        let Some((parent, me)) = parent.zip(context.arc()) else {
            self.abort_half_open(context);
            return false;
        };
        let mut listening = parent.inner.lock();
        let Some(listener) = listening.listener.as_mut() else {
            drop(listening);
            self.abort_half_open(context);
            return false;
        };
        if listener.is_full() {
            return false;
        }
        listener.ready.push_back(me);
        self.parent = None;
        context.socket.is_half_open.store(false, Ordering::Relaxed);
        parent.half_open.fetch_sub(1, Ordering::AcqRel);
        parent.wait.notify(Events::READABLE);
        true
    }

    fn abort_half_open(&mut self, context: &Context<'_>) {
        self.send_reset(context);
        self.orphan = true;
        self.destroy(context);
    }

    /// Chooses the initial sequence number (RFC 6528) and the timestamp offset.
    pub(super) fn start_sequence(&mut self, context: &Context<'_>) {
        let hash = context.stack.hash.tuple(self.local, self.remote);
        let hash = context.stack.hash.words(&[hash, 0x7365_7175_656e_6365]);
        // A tick each 64 ns.
        let clock = (context.now.as_nanos() >> 6) as u32;
        let initial = Seq((hash as u32).wrapping_add(clock));
        self.send.initial = initial;
        self.send.una = initial;
        self.send.nxt = initial + 1;
        self.send.base = initial + 1;
        self.send.board.reset(initial);
        // Per pair of hosts, so that they ascend over connections (RFC 7323, 7.1).
        let pair = context.stack.hash.words(&[
            context.stack.hash.address(self.local.ip),
            context.stack.hash.address(self.remote.ip),
        ]);
        self.timestamps.offset = pair as u32;
        self.receive.scale = self.window_scale();
    }

    fn window_scale(&self) -> u8 {
        let largest = if self.options.receive_buffer_locked {
            self.receive.limit
        } else {
            super::socket::RECEIVE_BUFFER_MAX
        };
        (0..14).find(|s| largest >> s <= 65_535).unwrap_or(14)
    }
}
