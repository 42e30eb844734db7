// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control block of a connection.

use super::buffer::Ring;
use super::congestion::{Congestion, RoundTrip};
use super::listener::Listener;
use super::options::TcpOptions;
use super::reassembly::EarlyData;
use super::scoreboard::Scoreboard;
use super::seq::Seq;
use super::socket::TcpSocket;
use crate::ip::Endpoint;
use crate::options::SocketOptions;
use crate::route::Path;
use crate::stack::Stack;
use crate::timer::TimerKey;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use kio::{Errno, Events, Instant};

/// States of RFC 9293, 3.3.2. TIME-WAIT lives in the connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
}

impl State {
    /// Data may be sent or may still be in the send buffer.
    pub(super) fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::SynSent | Self::SynReceived)
    }

    /// The number in /proc/net/tcp and TCP_INFO.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Established => 1,
            Self::SynSent => 2,
            Self::SynReceived => 3,
            Self::FinWait1 => 4,
            Self::FinWait2 => 5,
            Self::Closed => 7,
            Self::CloseWait => 8,
            Self::LastAck => 9,
            Self::Listen => 10,
            Self::Closing => 11,
        }
    }
}

/// What the retransmission timer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Acknowledgement of what is out, for a full timeout.
    Timeout,
    /// The same, shortly: then a probe of the tail (RFC 8985, 7).
    TailProbe,
    /// The window to open.
    Persist,
}

/// Everything about sending.
#[derive(Debug)]
pub(super) struct Sending {
    /// Bytes from `base` on that are not acknowledged.
    pub(super) buffer: Ring,
    pub(super) base: Seq,
    pub(super) una: Seq,
    pub(super) nxt: Seq,
    pub(super) initial: Seq,
    /// Window of the peer, scaled.
    pub(super) window: usize,
    pub(super) largest_window: usize,
    pub(super) wl1: Seq,
    pub(super) wl2: Seq,
    pub(super) scale: u8,
    pub(super) mss: usize,
    /// The program will send no more.
    pub(super) fin_queued: bool,
    pub(super) fin_sent: bool,
    /// A write met a full buffer: the writer waits for OUT.
    pub(super) no_space: bool,
    /// Cut short segments may not go out yet (MSG_MORE).
    pub(super) more: bool,
    pub(super) board: Scoreboard,
    pub(super) congestion: Congestion,
    pub(super) rtt: RoundTrip,
    /// A segment whose acknowledgement measures the round trip.
    pub(super) timed: Option<(Seq, Instant)>,
    pub(super) duplicate_acks: u32,
    /// End of the recovery that is going on.
    pub(super) recover: Option<Seq>,
    /// In recovery because of a timeout: slow start instead of a fixed window.
    pub(super) timeout_recovery: bool,
    /// Where the tail probe ended.
    pub(super) probe_end: Option<Seq>,
    pub(super) window_limited: bool,
    /// The persist timer expired: send whatever the window takes.
    pub(super) override_window: bool,
    pub(super) last_sent: Instant,
    pub(super) retries: u32,
    /// When the first of the current retries was.
    pub(super) retry_start: Option<Instant>,
    pub(super) probes: u32,
    pub(super) retransmits_total: u32,
}

/// Everything about receiving.
#[derive(Debug)]
pub(super) struct Receiving {
    /// Bytes up to `nxt` that the program has not read, and early ones behind.
    pub(super) buffer: Ring,
    pub(super) early: EarlyData,
    pub(super) nxt: Seq,
    pub(super) initial: Seq,
    /// Right edge of the window that was advertised.
    pub(super) edge: Seq,
    pub(super) scale: u8,
    /// Largest segment seen: what the peer's segments are like.
    pub(super) mss: usize,
    /// Acknowledged so far.
    pub(super) acked: Seq,
    pub(super) ack_now: bool,
    /// Limit of the buffer.
    pub(super) limit: usize,
    /// Bytes read since `measured`, to size the buffer.
    pub(super) read: usize,
    pub(super) measured: Instant,
    /// FIN received, at the end of the data.
    pub(super) fin: bool,
    /// Sequence number of a FIN that came too early.
    pub(super) early_fin: Option<Seq>,
    /// Received anything, for keep-alive.
    pub(super) last: Instant,
    pub(super) challenges: (u64, u32),
}

/// Timestamps (RFC 7323).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timestamps {
    pub(super) on: bool,
    pub(super) recent: u32,
    pub(super) recent_at: Instant,
    pub(super) offset: u32,
    /// Echo to be sent: the timestamp of the last segment that advanced the ack.
    pub(super) last_ack: Seq,
}

/// The deadlines, all driven by one timer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadlines {
    pub(super) retransmit: Option<(WaitAt, Instant)>,
    pub(super) delayed_ack: Option<Instant>,
    pub(super) keepalive: Option<Instant>,
    /// FIN-WAIT-2 of a closed socket.
    pub(super) linger: Option<Instant>,
    /// A cut short segment goes out in spite of MSG_MORE and TCP_CORK.
    pub(super) cork: Option<Instant>,
}

pub(super) type WaitAt = Wait;

impl Deadlines {
    pub(super) fn next(&self) -> Option<Instant> {
        [self.retransmit.map(|r| r.1), self.delayed_ack, self.keepalive, self.linger, self.cork]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The control block, behind the lock of its socket.
pub(crate) struct Tcb {
    pub(super) state: State,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    /// The local port is held in the port table.
    pub(super) bound: bool,
    /// The program chose the address or the port itself: they stay when the
    /// connection ends (SOCK_BINDADDR_LOCK and SOCK_BINDPORT_LOCK of Linux).
    pub(super) address_locked: bool,
    pub(super) port_locked: bool,
    /// In the connection table.
    pub(super) hashed: bool,
    /// The program closed its last descriptor.
    pub(super) orphan: bool,
    pub(super) shut_read: bool,
    pub(super) shut_write: bool,
    pub(super) error: Option<Errno>,
    /// An error that only counts when the connection dies of a timeout.
    pub(super) soft_error: Option<Errno>,
    pub(super) options: SocketOptions,
    pub(super) tcp: TcpOptions,
    pub(super) sack: bool,
    pub(super) send: Sending,
    pub(super) receive: Receiving,
    pub(super) timestamps: Timestamps,
    pub(super) deadlines: Deadlines,
    pub(super) timer: Option<TimerKey>,
    pub(super) keepalive_probes: u32,
    pub(super) path: Option<Path>,
    /// Largest packet on the path, when ICMP told us.
    pub(super) path_mtu: usize,
    pub(super) in_batch: bool,
    pub(super) wake: Events,
    pub(super) listener: Option<Box<Listener>>,
    /// The listener that this connection came in through, until it is accepted.
    pub(super) parent: Option<Weak<TcpSocket>>,
    pub(super) waiting_for_room: bool,
    /// The handshake is done, but TCP_DEFER_ACCEPT waits for data.
    pub(super) deferred: bool,
}

/// What every operation on a control block needs.
pub(super) struct Context<'a> {
    pub(super) stack: &'a Stack,
    pub(super) socket: &'a TcpSocket,
    pub(super) now: Instant,
}

impl Context<'_> {
    pub(super) fn arc(&self) -> Option<Arc<TcpSocket>> {
        self.socket.me.upgrade()
    }
}

impl Tcb {
    pub(super) fn new(options: SocketOptions, tcp: TcpOptions) -> Self {
        let limit = options.receive_buffer;
        Self {
            state: State::Closed,
            local: Endpoint::NONE,
            remote: Endpoint::NONE,
            bound: false,
            address_locked: false,
            port_locked: false,
            hashed: false,
            orphan: false,
            shut_read: false,
            shut_write: false,
            error: None,
            soft_error: None,
            options,
            tcp,
            sack: false,
            send: Sending {
                buffer: Ring::default(),
                base: Seq(0),
                una: Seq(0),
                nxt: Seq(0),
                initial: Seq(0),
                window: 0,
                largest_window: 0,
                wl1: Seq(0),
                wl2: Seq(0),
                scale: 0,
                mss: 536,
                fin_queued: false,
                fin_sent: false,
                no_space: false,
                more: false,
                board: Scoreboard::default(),
                congestion: Congestion::new(536),
                rtt: RoundTrip::default(),
                timed: None,
                duplicate_acks: 0,
                recover: None,
                timeout_recovery: false,
                probe_end: None,
                window_limited: false,
                override_window: false,
                last_sent: Instant::ZERO,
                retries: 0,
                retry_start: None,
                probes: 0,
                retransmits_total: 0,
            },
            receive: Receiving {
                buffer: Ring::default(),
                early: EarlyData::default(),
                nxt: Seq(0),
                initial: Seq(0),
                edge: Seq(0),
                scale: 0,
                mss: 536,
                acked: Seq(0),
                ack_now: false,
                limit,
                read: 0,
                measured: Instant::ZERO,
                fin: false,
                early_fin: None,
                last: Instant::ZERO,
                challenges: (0, 0),
            },
            timestamps: Timestamps::default(),
            deadlines: Deadlines::default(),
            timer: None,
            keepalive_probes: 0,
            path: None,
            path_mtu: usize::MAX,
            in_batch: false,
            wake: Events::empty(),
            listener: None,
            parent: None,
            waiting_for_room: false,
            deferred: false,
        }
    }

    /// Sequence number behind the last byte that the program gave us.
    pub(super) fn data_end(&self) -> Seq {
        self.send.base + self.send.buffer.len()
    }

    /// Bytes that are out and not acknowledged.
    pub(super) fn flight(&self) -> usize {
        self.send.nxt.distance(self.send.una)
    }

    /// Room in the send buffer.
    pub(super) fn send_room(&self) -> usize {
        self.options.send_buffer.saturating_sub(self.send.buffer.len())
    }

    /// At least a third of the buffer is free, as sk_stream_is_writeable.
    pub(super) fn is_writable(&self) -> bool {
        self.send_room() * 2 >= self.send.buffer.len()
    }

    /// Bytes or an end of file to be had.
    pub(super) fn is_readable(&self) -> bool {
        let enough = self.tcp.low_water.clamp(1, (self.receive.limit / 2).max(1));
        self.receive.buffer.len() >= enough
            || self.receive.fin
            || self.shut_read
            || (!self.receive.buffer.is_empty() && self.state == State::Closed)
    }

    /// poll(2), as tcp_poll of Linux.
    pub(super) fn poll(&mut self) -> Events {
        let mut events = Events::empty();
        if self.error.is_some() {
            events |= Events::ERR;
        }
        if self.state == State::Listen {
            if self.listener.as_ref().is_some_and(|l| !l.ready.is_empty()) {
                events |= Events::READABLE;
            }
            return events;
        }
        let receive_shut = self.shut_read || self.receive.fin || self.is_dead();
        if self.state == State::Closed || (receive_shut && self.shut_write) {
            events |= Events::HUP;
        }
        if receive_shut {
            events |= Events::READABLE | Events::RDHUP;
        }
        if matches!(self.state, State::SynSent | State::SynReceived) {
            return events;
        }
        if self.is_readable() {
            events |= Events::READABLE;
        }
        if self.shut_write || self.is_writable() {
            events |= Events::WRITABLE;
        } else {
            self.send.no_space = true;
        }
        events
    }

    /// Was connected, and is no more.
    pub(super) fn is_dead(&self) -> bool {
        self.state == State::Closed && self.remote.port != 0
    }

    /// Sets the wake-up for the end of the batch.
    pub(super) fn notify(&mut self, events: Events) {
        self.wake |= events;
    }

    /// Drops everything that belongs to the connection and makes the socket
    /// CLOSED. Unread data stays for the reader.
    pub(super) fn destroy(&mut self, context: &Context<'_>) {
        if self.hashed {
            self.hashed = false;
            context.stack.tcp.remove(&context.stack.hash, self.local, self.remote);
        }
        if self.bound && (self.orphan || !self.port_locked) {
            self.bound = false;
            context.stack.tcp_ports.lock().release(self.local.port, context.socket.inode);
        }
        if let Some(timer) = self.timer.take() {
            context.stack.timers.cancel(timer);
        }
        self.deadlines = Deadlines::default();
        self.state = State::Closed;
        self.send.buffer.clear();
        self.send.board.reset(self.send.una);
        self.receive.early.clear();
        if self.orphan {
            self.receive.buffer.clear();
        }
        self.path = None;
        if let Some(parent) = self.parent.take().and_then(|p| p.upgrade()) {
            parent.half_open.fetch_sub(1, core::sync::atomic::Ordering::AcqRel);
        }
        self.shut_write = true;
        self.notify(
            Events::all().difference(Events::NVAL | Events::PRI | Events::RDBAND | Events::ERR),
        );
    }

    /// Ends the connection with an error for the program.
    pub(super) fn fail(&mut self, context: &Context<'_>, errno: Errno) {
        self.error = Some(errno);
        self.receive.fin = true;
        self.destroy(context);
        self.notify(Events::ERR);
    }

    /// Arms the timer for the next deadline, unless it will fire before that.
    pub(super) fn schedule(&mut self, context: &Context<'_>) {
        let Some(next) = self.deadlines.next() else { return };
        if let Some(timer) = self.timer {
            if timer.at() <= next {
                return;
            }
            context.stack.timers.cancel(timer);
        }
        self.timer = context.arc().map(|me| context.stack.timers.arm(next, me));
    }

    /// Milliseconds for a timestamp.
    pub(super) fn timestamp(&self, now: Instant) -> u32 {
        ((now.as_nanos() / 1_000_000) as u32).wrapping_add(self.timestamps.offset)
    }
}
