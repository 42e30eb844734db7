// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How a TCP socket opens and closes, and what reading does to its window.

use super::socket::{RECEIVE_BUFFER_MAX, TcpSocket};
use super::state::{Context, State, Tcb, Wait};
use super::table::TimeWait;
use crate::ip::{Endpoint, Ip};
use crate::port::Binding;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;
use kio::{Errno, Result};

impl TcpSocket {
    pub(super) fn start_connect(&self, to: Endpoint, scope: u32) -> Result<()> {
        self.with(|tcb, context| {
            match tcb.state {
                State::Closed => {}
                State::Listen => return Err(Errno::EISCONN),
                State::SynSent | State::SynReceived => return Err(Errno::EALREADY),
                _ => return Err(Errno::EISCONN),
            }
            if let Some(error) = tcb.error.take() {
                tcb.reset_for_reuse();
                return Err(error);
            }
            if tcb.remote.port != 0 {
                tcb.reset_for_reuse();
            }
            let mut to = to;
            if to.ip.is_unspecified() {
                // Connecting to the wildcard means this host (ip(7)).
                to.ip =
                    if to.ip.is_v4() || self.domain == 2 { Ip::LOOPBACK4 } else { Ip::LOOPBACK6 };
            }
            if to.port == 0 {
                return Err(Errno::ECONNREFUSED);
            }
            if to.ip.is_multicast() || context.stack.config().is_broadcast(to.ip) {
                return Err(Errno::ENETUNREACH);
            }
            if scope != 0 {
                tcb.options.device = scope;
            }
            let path = context.stack.path(to.ip, tcb.options.device, context.now)?;
            let source = match tcb.local.ip {
                ip if tcb.address_locked => ip,
                _ if path.source.is_unspecified() => return Err(Errno::EADDRNOTAVAIL),
                _ => path.source,
            };
            if source.is_v4() != to.ip.is_v4() {
                return Err(Errno::ENETUNREACH);
            }
            tcb.path = Some(path);
            self.take_tuple(tcb, context, source, to)?;
            tcb.state = State::SynSent;
            tcb.shut_write = false;
            tcb.start_sequence(context);
            tcb.timestamps.on = true;
            tcb.receive.edge = tcb.receive.nxt + tcb.receive.limit.min(65_535);
            tcb.send_syn(context);
            tcb.send.last_sent = context.now;
            tcb.send.timed = Some((tcb.send.nxt, context.now));
            let wait = tcb.send.rtt.timeout();
            tcb.deadlines.retransmit = Some((Wait::Timeout, context.now + wait));
            tcb.schedule(context);
            Err(Errno::EINPROGRESS)
        })
    }

    /// connect(2) to AF_UNSPEC: back to a socket that is at most bound.
    pub(super) fn disconnect(&self) {
        let orphans = self.with(|tcb, context| {
            let ready = if tcb.state == State::Listen {
                self.close_listener(tcb, context)
            } else {
                if tcb.hashed && tcb.state != State::SynSent {
                    tcb.send_reset(context);
                }
                tcb.destroy(context);
                Vec::new()
            };
            tcb.reset_for_reuse();
            ready
        });
        self.abort_all(orphans);
    }

    /// Puts the connection into the table, choosing a port when there is none.
    pub(super) fn take_tuple(
        &self,
        tcb: &mut Tcb,
        context: &Context<'_>,
        source: Ip,
        to: Endpoint,
    ) -> Result<()> {
        let me = context.arc().ok_or(Errno::ENETDOWN)?;
        let stack = context.stack;
        // tcp_tw_reuse: a second is enough when timestamps tell old from new.
        let replaces = |w: &TimeWait| {
            w.timestamps.is_some() && context.now - w.since >= Duration::from_secs(1)
        };
        if tcb.bound {
            let local = Endpoint::new(source, tcb.local.port);
            if !stack.tcp.insert(&stack.hash, local, to, me, replaces) {
                return Err(Errno::EADDRNOTAVAIL);
            }
            tcb.local = local;
        } else {
            let binding = Binding { reuse_address: true, ..self.binding(tcb, source) };
            // The table of connections decides whether a tuple is free; the
            // port table only says which ports have owners.
            let (offset, counter) = stack.tcp.port_offset(&stack.hash, source, to);
            let (port, tries) = stack.tcp_ports.lock().connect_any(binding, offset, |port| {
                let local = Endpoint::new(source, port);
                stack.tcp.insert(&stack.hash, local, to, me.clone(), replaces)
            })?;
            counter.fetch_add(tries, Ordering::Relaxed);
            tcb.local = Endpoint::new(source, port);
            tcb.bound = true;
        }
        tcb.remote = to;
        tcb.hashed = true;
        Ok(())
    }

    pub(super) fn close_listener(&self, tcb: &mut Tcb, context: &Context<'_>) -> Vec<Arc<Self>> {
        self.stack.tcp.remove_listener(tcb.local.port, self);
        let ready = tcb.listener.take().map(|l| l.ready.into_iter().collect());
        tcb.destroy(context);
        ready.unwrap_or_default()
    }

    /// Resets connections that nobody will accept.
    pub(super) fn abort_all(&self, connections: Vec<Arc<Self>>) {
        for connection in connections {
            connection.with(|tcb, context| {
                tcb.orphan = true;
                if tcb.hashed {
                    tcb.send_reset(context);
                    tcb.destroy(context);
                }
            });
        }
    }
}

impl Tcb {
    /// Forgets a connection that failed, so that another may be tried.
    pub(super) fn reset_for_reuse(&mut self) {
        let (options, tcp) = (self.options.clone(), self.tcp.clone());
        let old = core::mem::replace(self, Self::new(options, tcp));
        self.receive.limit = old.receive.limit;
        // A deferred end of batch finds nothing to do, but it is still due.
        self.in_batch = old.in_batch;
        self.waiting_for_room = old.waiting_for_room;
        (self.bound, self.port_locked) = (old.bound, old.port_locked);
        self.address_locked = old.address_locked;
        if self.address_locked {
            self.local.ip = old.local.ip;
        } else if self.bound {
            self.local.ip = if old.local.ip.is_v4() { Ip::ANY4 } else { Ip::ANY };
        }
        if self.bound {
            self.local.port = old.local.port;
        }
    }

    /// The program took `count` bytes: the window may open.
    pub(super) fn consume(&mut self, context: &Context<'_>, count: usize) {
        let ahead = !self.receive.early.is_empty();
        self.receive.buffer.consume(count, ahead);
        self.grow_receive_buffer(context, count);
        if !self.hashed || self.receive.fin {
            return;
        }
        let open = self.receive.edge.distance(self.receive.nxt);
        let free = self.receive.limit.saturating_sub(self.receive.buffer.len());
        // An update is worth a segment when little of the window is left; before
        // that the acknowledgements of data carry it. (A new connection has
        // half of its buffer advertised: a SYN cannot say more.)
        if free >= 4 * open.max(1) && free - open >= self.receive.mss.min(self.receive.limit / 2) {
            self.send_ack(context);
        }
    }

    /// Dynamic right-sizing: a program that takes more than half the buffer in
    /// a round trip gets a larger one.
    pub(super) fn grow_receive_buffer(&mut self, context: &Context<'_>, count: usize) {
        if self.options.receive_buffer_locked || self.receive.limit >= RECEIVE_BUFFER_MAX {
            return;
        }
        self.receive.read += count;
        if self.receive.read < self.receive.limit {
            return;
        }
        let rtt = self.send.rtt.smoothed().unwrap_or(Duration::from_millis(50));
        if context.now - self.receive.measured < rtt * 2 {
            self.receive.limit = (self.receive.limit * 2).min(RECEIVE_BUFFER_MAX);
        }
        self.receive.read = 0;
        self.receive.measured = context.now;
    }

    /// Queues the FIN. Before the handshake is done it has to wait (RFC 9293,
    /// 3.10.4): until then our SYN is what is out, and no state of closing
    /// knows how to send that again. [`establish`](Self::establish) goes on.
    pub(super) fn finish_sending(&mut self, context: &Context<'_>) {
        if self.send.fin_queued {
            return;
        }
        self.state = match self.state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            other => other,
        };
        self.send.fin_queued = true;
        self.send.more = false;
        self.deadlines.cork = None;
        self.output(context);
    }
}
