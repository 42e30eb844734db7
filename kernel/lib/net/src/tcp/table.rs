// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connection table, the listeners, and TIME-WAIT.

use super::seq::Seq;
use super::socket::TcpSocket;
use crate::hash::HashKey;
use crate::ip::{Endpoint, Ip};
use crate::stack::Stack;
use crate::timer::Expire;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use hashbrown::HashTable;
use kio::Instant;
use ksync::SpinLock;

const SHARDS: usize = 64;
/// TCP_TIMEWAIT_LEN of Linux.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);
/// Records that are kept; the oldest go first.
const TIME_WAIT_LIMIT: usize = 8192;

/// Counters of the port selection: the size of its table in RFC 6056, 3.3.4.
const PORT_COUNTERS: usize = 256;

/// A connection in TIME-WAIT.
#[derive(Clone, Debug)]
pub(super) struct TimeWait {
    pub(super) id: u64,
    pub(super) next_send: Seq,
    pub(super) next_receive: Seq,
    pub(super) window: u16,
    /// Timestamp of the peer, and our offset.
    pub(super) timestamps: Option<(u32, u32)>,
    pub(super) since: Instant,
}

enum Slot {
    Connection(Arc<TcpSocket>),
    TimeWait(Box<TimeWait>),
}

struct Entry {
    local: Endpoint,
    remote: Endpoint,
    slot: Slot,
}

/// What the table has for a tuple.
pub(super) enum Found {
    Connection(Arc<TcpSocket>),
    TimeWait(TimeWait),
    Nothing,
}

/// A listening socket, with what decides whether a SYN is for it.
#[derive(Clone)]
pub(super) struct Listening {
    pub(super) ip: Ip,
    pub(super) v6_only: bool,
    pub(super) device: u32,
    pub(super) socket: Arc<TcpSocket>,
}

struct Queued {
    expires: Instant,
    local: Endpoint,
    remote: Endpoint,
    id: u64,
}

#[derive(Default)]
struct Reaper {
    queue: VecDeque<Queued>,
    armed: bool,
}

/// All TCP sockets that packets can reach.
pub(crate) struct TcpTable {
    shards: Vec<SpinLock<HashTable<Entry>>>,
    listeners: SpinLock<BTreeMap<u16, Vec<Listening>>>,
    reaper: SpinLock<Reaper>,
    next_id: AtomicU64,
    time_waits: AtomicUsize,
    /// Where the search for a local port begins, by groups of destinations.
    port_counters: [AtomicU32; PORT_COUNTERS],
}

impl TcpTable {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| SpinLock::new(HashTable::new())).collect(),
            listeners: SpinLock::default(),
            reaper: SpinLock::default(),
            next_id: AtomicU64::new(1),
            time_waits: AtomicUsize::new(0),
            port_counters: [const { AtomicU32::new(0) }; PORT_COUNTERS],
        }
    }

    fn shard(&self, hash: u64) -> &SpinLock<HashTable<Entry>> {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// Where to look first for a local port to `remote`, and the counter to be
    /// moved on (RFC 6056, 3.3.4, double-hash port selection): ports that ascend
    /// for one destination, and say nothing of those for others.
    pub(super) fn port_offset(
        &self,
        key: &HashKey,
        source: Ip,
        remote: Endpoint,
    ) -> (u32, &AtomicU32) {
        let hash = key.words(&[key.tuple(Endpoint::new(source, 0), remote), 0x706f_7274]);
        let counter = &self.port_counters[(hash >> 32) as usize % PORT_COUNTERS];
        ((hash as u32).wrapping_add(counter.load(Ordering::Relaxed)), counter)
    }

    pub(super) fn find(&self, key: &HashKey, local: Endpoint, remote: Endpoint) -> Found {
        let hash = key.tuple(local, remote);
        let shard = self.shard(hash).lock();
        match shard.find(hash, |e| e.local == local && e.remote == remote).map(|e| &e.slot) {
            Some(Slot::Connection(socket)) => Found::Connection(socket.clone()),
            Some(Slot::TimeWait(record)) => Found::TimeWait(TimeWait::clone(record)),
            None => Found::Nothing,
        }
    }

    /// Adds a connection; false when the tuple is taken. A TIME-WAIT record is
    /// replaced when `replaces` says so of it.
    pub(super) fn insert(
        &self,
        key: &HashKey,
        local: Endpoint,
        remote: Endpoint,
        socket: Arc<TcpSocket>,
        replaces: impl FnOnce(&TimeWait) -> bool,
    ) -> bool {
        let hash = key.tuple(local, remote);
        let mut shard = self.shard(hash).lock();
        if let Some(entry) = shard.find_mut(hash, |e| e.local == local && e.remote == remote) {
            match &entry.slot {
                Slot::TimeWait(record) if replaces(record) => {
                    entry.slot = Slot::Connection(socket);
                    self.time_waits.fetch_sub(1, Ordering::Relaxed);
                    return true;
                }
                _ => return false,
            }
        }
        let entry = Entry { local, remote, slot: Slot::Connection(socket) };
        shard.insert_unique(hash, entry, |e| key.tuple(e.local, e.remote));
        true
    }

    pub(super) fn remove(&self, key: &HashKey, local: Endpoint, remote: Endpoint) {
        let gone = self.take(key, local, remote, |slot| matches!(slot, Slot::Connection(_)));
        // May be the last reference to a socket: not under the lock.
        drop(gone);
    }

    fn take(
        &self,
        key: &HashKey,
        local: Endpoint,
        remote: Endpoint,
        is: impl Fn(&Slot) -> bool,
    ) -> Option<Slot> {
        let hash = key.tuple(local, remote);
        let mut shard = self.shard(hash).lock();
        let found = shard
            .find_entry(hash, |e| e.local == local && e.remote == remote && is(&e.slot))
            .ok()?;
        let (entry, _) = found.remove();
        if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
            shard.shrink_to(32, |e| key.tuple(e.local, e.remote));
        }
        Some(entry.slot)
    }

    /// Replaces a connection by its TIME-WAIT record.
    pub(super) fn enter_time_wait(
        &self,
        stack: &Stack,
        local: Endpoint,
        remote: Endpoint,
        mut record: TimeWait,
    ) {
        record.id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (id, expires) = (record.id, record.since + TIME_WAIT);
        let hash = stack.hash.tuple(local, remote);
        let mut shard = self.shard(hash).lock();
        let entry = Entry { local, remote, slot: Slot::TimeWait(Box::new(record)) };
        let old = match shard.find_mut(hash, |e| e.local == local && e.remote == remote) {
            Some(found) => Some(core::mem::replace(&mut found.slot, entry.slot)),
            None => {
                shard.insert_unique(hash, entry, |e| stack.hash.tuple(e.local, e.remote));
                None
            }
        };
        drop(shard);
        drop(old);
        self.time_waits.fetch_add(1, Ordering::Relaxed);
        let mut reaper = self.reaper.lock();
        reaper.queue.push_back(Queued { expires, local, remote, id });
        let oldest =
            if reaper.queue.len() > TIME_WAIT_LIMIT { reaper.queue.pop_front() } else { None };
        let arm = !core::mem::replace(&mut reaper.armed, true);
        drop(reaper);
        if let Some(old) = oldest {
            self.forget(&stack.hash, &old);
        }
        if arm {
            stack.timers.arm(expires, Arc::new(ReaperTimer { stack: stack.me.clone() }));
        }
    }

    fn forget(&self, key: &HashKey, queued: &Queued) {
        let is = |slot: &Slot| matches!(slot, Slot::TimeWait(r) if r.id == queued.id);
        if self.take(key, queued.local, queued.remote, is).is_some() {
            self.time_waits.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends the TIME-WAIT of a tuple.
    pub(super) fn end_time_wait(&self, key: &HashKey, local: Endpoint, remote: Endpoint) {
        let is = |slot: &Slot| matches!(slot, Slot::TimeWait(_));
        if self.take(key, local, remote, is).is_some() {
            self.time_waits.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn add_listener(&self, port: u16, listening: Listening) {
        self.listeners.lock().entry(port).or_default().push(listening);
    }

    pub(super) fn remove_listener(&self, port: u16, socket: &TcpSocket) {
        let mut listeners = self.listeners.lock();
        let Some(list) = listeners.get_mut(&port) else { return };
        let at = list.iter().position(|l| core::ptr::eq(&*l.socket, socket));
        let gone = at.map(|at| list.remove(at));
        if list.is_empty() {
            listeners.remove(&port);
        }
        drop(listeners);
        drop(gone);
    }

    /// The listener for a SYN: the most specific, of several (SO_REUSEPORT)
    /// the one that the hash of the tuple picks.
    pub(super) fn listener(
        &self,
        key: &HashKey,
        local: Endpoint,
        remote: Endpoint,
        interface: u32,
    ) -> Option<Arc<TcpSocket>> {
        let listeners = self.listeners.lock();
        let list = listeners.get(&local.port)?;
        let score = |l: &Listening| -> u32 {
            let device = match l.device {
                0 => 1,
                d if d == interface => 5,
                _ => return 0,
            };
            let address = if l.ip == local.ip {
                3
            } else if l.ip == Ip::ANY4 && local.ip.is_v4() {
                2
            } else if l.ip == Ip::ANY && !(l.v6_only && local.ip.is_v4()) {
                1
            } else {
                return 0;
            };
            device * 4 + address
        };
        let best = list.iter().map(score).max().filter(|s| *s > 0)?;
        let group = || list.iter().filter(|l| score(l) == best);
        let pick = match group().count() {
            1 => 0,
            n => (key.tuple(local, remote) % n as u64) as usize,
        };
        group().nth(pick).map(|l| l.socket.clone())
    }

    /// All connections and listeners, for /proc/net/tcp.
    pub(crate) fn sockets(&self) -> Vec<Arc<TcpSocket>> {
        let mut all: Vec<_> =
            self.listeners.lock().values().flatten().map(|l| l.socket.clone()).collect();
        for shard in &self.shards {
            all.extend(shard.lock().iter().filter_map(|e| match &e.slot {
                Slot::Connection(socket) => Some(socket.clone()),
                Slot::TimeWait(_) => None,
            }));
        }
        all
    }

    /// Tuples in TIME-WAIT with the time that is left, for /proc/net/tcp.
    pub(crate) fn time_waits(&self, now: Instant) -> Vec<(Endpoint, Endpoint, Duration)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().iter().filter_map(|e| match &e.slot {
                Slot::TimeWait(r) => {
                    Some((e.local, e.remote, (r.since + TIME_WAIT).saturating_since(now)))
                }
                Slot::Connection(_) => None,
            }));
        }
        all
    }

    /// Connections and TIME-WAIT records.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let all: usize = self.shards.iter().map(|s| s.lock().len()).sum();
        let waits = self.time_waits.load(Ordering::Relaxed);
        (all.saturating_sub(waits), waits)
    }
}

struct ReaperTimer {
    stack: Weak<Stack>,
}

impl Expire for ReaperTimer {
    fn expire(self: Arc<Self>, now: Instant) {
        let Some(stack) = self.stack.upgrade() else { return };
        loop {
            let mut reaper = stack.tcp.reaper.lock();
            let Some(first) = reaper.queue.front() else {
                reaper.armed = false;
                reaper.queue = VecDeque::new();
                return;
            };
            if first.expires > now {
                // A little later, so that many go at once.
                let at = first.expires + Duration::from_millis(100);
                drop(reaper);
                stack.timers.arm(at, self);
                return;
            }
            let first = reaper.queue.pop_front();
            drop(reaper);
            if let Some(first) = first {
                stack.tcp.forget(&stack.hash, &first);
            }
        }
    }
}
