// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of one socket, and what happens to it from both sides.

use super::{Credentials, UnixKind, UnixNames};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering};
use kio::{Errno, Events, WaitQueue};
use ksync::SpinLock;

/// `net.core.wmem_default`.
const DEFAULT_SEND_BUFFER: usize = 212_992;
/// `net.unix.max_dgram_qlen`: a queue beyond it takes from its peer only.
const DATAGRAM_BACKLOG: usize = 10;

bitflags! {
    /// Which directions were shut down.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) struct Down: u8 {
        const READ = 1;
        const WRITE = 2;
        const BOTH = 3;
    }
}

/// Passed descriptors, opaque here.
pub(super) type Rights = Vec<Arc<dyn Any + Send + Sync>>;

/// Bytes on their way.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    pub(super) rights: Rights,
    pub(super) credentials: Credentials,
    /// Whose send buffer it counts against.
    pub(super) sender: Arc<Node>,
    /// The sender's name when it was sent.
    pub(super) from: Vec<u8>,
}

impl Message {
    /// What was not read yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

pub(super) struct Listening {
    pub(super) backlog: usize,
    /// Connected, not yet accepted.
    pub(super) arrived: VecDeque<Arc<Node>>,
}

pub(super) enum Phase {
    /// Not connected (streams, sequenced packets), or a datagram socket.
    Open,
    Listening(Listening),
    Connected,
}

pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) peer: Option<Arc<Node>>,
    pub(super) messages: VecDeque<Message>,
    pub(super) down: Down,
    pub(super) closed: bool,
    pub(super) error: Option<Errno>,
    pub(super) name: Vec<u8>,
    /// What the address table has it under.
    pub(super) key: Vec<u8>,
    pub(super) peer_name: Vec<u8>,
    pub(super) peer_credentials: Credentials,
    pub(super) pass_credentials: bool,
    /// Found the backlog or the queue full; told when there is room.
    pub(super) turned_away: Vec<Weak<Node>>,
    /// Memory of a message that was read, for the next one that arrives.
    pub(super) spare: Vec<u8>,
}

pub(super) struct Node {
    pub(super) kind: UnixKind,
    pub(super) credentials: Credentials,
    pub(super) state: SpinLock<State>,
    pub(super) queue: WaitQueue,
    /// Bytes of this socket that lie in other sockets' queues.
    in_flight: AtomicUsize,
    pub(super) send_buffer: AtomicUsize,
}

impl State {
    /// Remembers who has to hear when there is room.
    pub(super) fn turn_away(&mut self, node: &Arc<Node>) {
        if self.turned_away.iter().all(|known| known.as_ptr() != Arc::as_ptr(node)) {
            self.turned_away.push(Arc::downgrade(node));
        }
    }
}

/// There is room again; no locks may be held.
pub(super) fn call_back(turned_away: Vec<Weak<Node>>) {
    for node in turned_away.iter().filter_map(Weak::upgrade) {
        node.queue.notify(Events::WRITABLE | Events::WRBAND);
    }
}

impl Node {
    pub(super) fn new(kind: UnixKind, credentials: Credentials) -> Self {
        Self {
            kind,
            credentials,
            state: SpinLock::new(State {
                phase: Phase::Open,
                peer: None,
                messages: VecDeque::new(),
                down: Down::empty(),
                closed: false,
                error: None,
                name: Vec::new(),
                key: Vec::new(),
                peer_name: Vec::new(),
                peer_credentials: Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX },
                pass_credentials: false,
                turned_away: Vec::new(),
                spare: Vec::new(),
            }),
            queue: WaitQueue::new(),
            in_flight: AtomicUsize::new(0),
            send_buffer: AtomicUsize::new(DEFAULT_SEND_BUFFER),
        }
    }

    /// Connects this side to `peer`.
    pub(super) fn join(self: &Arc<Self>, peer: &Arc<Self>, who: Credentials, name: Vec<u8>) {
        let mut state = self.state.lock();
        state.peer = Some(peer.clone());
        state.peer_credentials = who;
        state.peer_name = name;
        if self.kind != UnixKind::Datagram {
            state.phase = Phase::Connected;
        }
    }

    /// Gives a datagram socket another peer, or none. What came from the old
    /// one is lost, and the old one hears of that if it was connected to us.
    pub(super) fn disconnect(self: &Arc<Self>, peer: Option<Arc<Self>>, name: Vec<u8>) {
        let mut state = self.state.lock();
        let same = match (&state.peer, &peer) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, _) => old.is_none(),
        };
        let old = core::mem::replace(&mut state.peer, peer);
        state.peer_name = name;
        if same {
            return;
        }
        let lost = core::mem::take(&mut state.messages);
        let waiting = core::mem::take(&mut state.turned_away);
        drop(state);
        call_back(waiting);
        if let Some(old) = old.filter(|_| !lost.is_empty()) {
            let mut other = old.state.lock();
            let mutual = other.peer.as_ref().is_some_and(|p| Arc::ptr_eq(p, self));
            if mutual && !other.closed {
                other.error = Some(Errno::ECONNRESET);
                drop(other);
                old.queue.notify(Events::ERR);
            }
        }
        for message in lost {
            message.sender.release(message.rest().len());
        }
    }

    pub(super) fn used(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Room in the send buffer.
    pub(super) fn room(&self) -> usize {
        self.send_buffer.load(Ordering::Relaxed).saturating_sub(self.used())
    }

    pub(super) fn charge(&self, bytes: usize) {
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of this socket were read; wakes its writers when a good part of
    /// the buffer is free. No locks may be held.
    pub(super) fn release(&self, bytes: usize) {
        self.in_flight.fetch_sub(bytes, Ordering::Relaxed);
        if self.is_writable() {
            self.queue.notify(Events::WRITABLE | Events::WRBAND);
        }
    }

    /// As Linux: three quarters of the buffer are free.
    fn is_writable(&self) -> bool {
        self.used().saturating_mul(4) <= self.send_buffer.load(Ordering::Relaxed)
    }

    /// True when a datagram queue takes no more from strangers.
    pub(super) fn is_crowded(state: &State) -> bool {
        state.messages.len() > DATAGRAM_BACKLOG
    }

    /// Adds to what is shut down and tells who waits.
    pub(super) fn shut(&self, what: Down) {
        let mut state = self.state.lock();
        state.down |= what;
        let mut events = Events::READABLE | Events::WRITABLE | Events::RDHUP;
        events.set(Events::HUP, state.down == Down::BOTH);
        drop(state);
        self.queue.notify(events);
    }

    pub(super) fn poll(self: &Arc<Self>) -> Events {
        let state = self.state.lock();
        let mut events = Events::empty();
        let arrived = match &state.phase {
            Phase::Listening(listening) => !listening.arrived.is_empty(),
            _ => !state.messages.is_empty(),
        };
        let read_down = state.down.contains(Down::READ);
        events.set(Events::ERR, state.error.is_some());
        events.set(Events::READABLE, arrived || read_down);
        events.set(Events::RDHUP, read_down);
        let unconnected = self.kind != UnixKind::Datagram && matches!(state.phase, Phase::Open);
        events.set(Events::HUP, state.down == Down::BOTH || unconnected);
        let listening = matches!(state.phase, Phase::Listening(_));
        let peer = state.peer.clone().filter(|_| self.kind != UnixKind::Stream);
        drop(state);
        let blocked = peer.is_some_and(|peer| {
            let mut other = peer.state.lock();
            let mutual = other.peer.as_ref().is_some_and(|p| Arc::ptr_eq(p, self));
            let blocked = !mutual && !other.closed && Self::is_crowded(&other);
            if blocked {
                other.turn_away(self);
            }
            blocked
        });
        let writable = !listening && !blocked && self.is_writable();
        events.set(Events::WRITABLE | Events::WRBAND, writable);
        events
    }

    /// The last descriptor is gone.
    pub(super) fn close(self: &Arc<Self>, names: &UnixNames) {
        let mut state = self.state.lock();
        if core::mem::replace(&mut state.closed, true) {
            return;
        }
        state.down = Down::BOTH;
        let messages = core::mem::take(&mut state.messages);
        let peer = state.peer.take();
        let phase = core::mem::replace(&mut state.phase, Phase::Open);
        state.name = Vec::new();
        let key = core::mem::take(&mut state.key);
        let turned_away = core::mem::take(&mut state.turned_away);
        drop(state);
        names.forget(&key, self);
        let reset = (!messages.is_empty()).then_some(Errno::ECONNRESET);
        for message in messages {
            message.sender.release(message.rest().len());
        }
        if let Some(peer) = peer.filter(|_| self.kind != UnixKind::Datagram) {
            peer.hang_up(reset);
        }
        if let Phase::Listening(listening) = phase {
            for embryo in listening.arrived {
                let client = embryo.state.lock().peer.clone();
                embryo.close(names);
                if let Some(client) = client {
                    client.hang_up(Some(Errno::ECONNRESET));
                }
            }
        }
        // They find nobody when they look again.
        call_back(turned_away);
        self.queue.notify(Events::READABLE | Events::WRITABLE | Events::HUP);
    }

    /// The peer of a connection was closed.
    fn hang_up(&self, error: Option<Errno>) {
        let mut state = self.state.lock();
        if error.is_some() {
            state.error = error;
        }
        drop(state);
        self.shut(Down::BOTH);
    }
}
