// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which socket a datagram is for.

use super::Datagram;
use super::socket::UdpSocket;
use crate::icmp::{PathError, Unreachable};
use crate::interface::count;
use crate::ip::{Endpoint, Incoming, Ip, be16, checksum, protocol};
use crate::route::Destination;
use crate::stack::Stack;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ksync::SpinLock;

const SHARDS: usize = 32;

/// What decides whether a datagram is for a socket.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) local: Ip,
    pub(super) remote: Endpoint,
    pub(super) v6_only: bool,
    pub(super) device: u32,
    pub(super) socket: Arc<UdpSocket>,
}

/// All bound UDP sockets, by port.
pub(crate) struct UdpTable {
    shards: Vec<SpinLock<BTreeMap<u16, Vec<Entry>>>>,
}

impl Entry {
    /// 0 when the datagram is not for it, more the better it fits.
    fn score(&self, local: Ip, remote: Endpoint, interface: u32) -> u32 {
        let mut score = 1;
        if self.device != 0 {
            if self.device != interface {
                return 0;
            }
            score += 4;
        }
        match self.local {
            Ip::ANY if self.v6_only && local.is_v4() => return 0,
            Ip::ANY => {}
            Ip::ANY4 if !local.is_v4() => return 0,
            Ip::ANY4 => score += 1,
            ip if ip == local => score += 2,
            _ => return 0,
        }
        if self.remote.port != 0 {
            if self.remote != remote {
                return 0;
            }
            score += 8;
        }
        score
    }
}

impl UdpTable {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| SpinLock::default()).collect() }
    }

    fn shard(&self, port: u16) -> &SpinLock<BTreeMap<u16, Vec<Entry>>> {
        &self.shards[usize::from(port) % SHARDS]
    }

    /// Adds a socket, or changes what it takes.
    pub(super) fn set(&self, port: u16, entry: Entry) {
        let mut shard = self.shard(port).lock();
        let list = shard.entry(port).or_default();
        let old = list.iter().position(|e| Arc::ptr_eq(&e.socket, &entry.socket));
        let old = match old {
            Some(at) => Some(core::mem::replace(&mut list[at], entry)),
            None => {
                list.push(entry);
                None
            }
        };
        drop(shard);
        drop(old);
    }

    pub(super) fn remove(&self, port: u16, socket: &UdpSocket) {
        let mut shard = self.shard(port).lock();
        let Some(list) = shard.get_mut(&port) else { return };
        let at = list.iter().position(|e| core::ptr::eq(&*e.socket, socket));
        let gone = at.map(|at| list.remove(at));
        if list.is_empty() {
            shard.remove(&port);
        }
        drop(shard);
        drop(gone);
    }

    fn best(
        &self,
        hash: u64,
        local: Endpoint,
        remote: Endpoint,
        interface: u32,
    ) -> Option<Arc<UdpSocket>> {
        let shard = self.shard(local.port).lock();
        let list = shard.get(&local.port)?;
        let score = |e: &Entry| e.score(local.ip, remote, interface);
        let best = list.iter().map(score).max().filter(|s| *s > 0)?;
        let group = || list.iter().filter(|e| score(e) == best);
        let pick = match group().count() {
            1 => 0,
            n => (hash % n as u64) as usize,
        };
        group().nth(pick).map(|e| e.socket.clone())
    }

    /// All that a group datagram is for.
    fn all(&self, local: Endpoint, remote: Endpoint, interface: u32) -> Vec<Arc<UdpSocket>> {
        let shard = self.shard(local.port).lock();
        let Some(list) = shard.get(&local.port) else { return Vec::new() };
        list.iter()
            .filter(|e| e.score(local.ip, remote, interface) > 0)
            .map(|e| e.socket.clone())
            .collect()
    }

    /// All sockets, for /proc/net/udp.
    pub(crate) fn sockets(&self) -> Vec<Arc<UdpSocket>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|s| s.lock().values().flatten().map(|e| e.socket.clone()).collect::<Vec<_>>())
            .collect()
    }
}

impl Stack {
    pub(crate) fn receive_udp(&self, incoming: &Incoming<'_>, destination: Destination) {
        let p = incoming.payload;
        let h = &incoming.header;
        let length = usize::from(be16(p, 4));
        if p.len() < 8 || length < 8 || length > p.len() {
            return count(&incoming.interface.counters.rx_errors, 1);
        }
        let p = &p[..length];
        let unchecked = h.source.is_v4() && be16(p, 6) == 0;
        if !incoming.checksum_verified && !unchecked {
            let mut sum = checksum::pseudo_header(h.source, h.destination, protocol::UDP, length);
            sum.add(p);
            if !sum.is_valid() {
                return count(&incoming.interface.counters.rx_errors, 1);
            }
        }
        let local = Endpoint::new(h.destination, be16(p, 2));
        let remote = Endpoint::new(h.source, be16(p, 0));
        let interface = incoming.interface.index;
        let datagram = |bytes: &[u8]| {
            let mut copy = Vec::new();
            copy.try_reserve_exact(bytes.len()).ok()?;
            copy.extend_from_slice(bytes);
            let d = Datagram {
                bytes: copy,
                from: remote,
                to: h.destination,
                interface,
                hops: h.hops,
                tos: h.tos,
            };
            Some(d)
        };
        if destination == Destination::Unicast {
            let hash = self.hash.tuple(local, remote);
            match self.udp.best(hash, local, remote, interface) {
                Some(socket) => {
                    if let Some(d) = datagram(&p[8..]) {
                        socket.deliver(d);
                    }
                }
                None => self.send_unreachable(incoming, Unreachable::Port),
            }
            return;
        }
        for socket in self.udp.all(local, remote, interface) {
            if let Some(d) = datagram(&p[8..]) {
                socket.deliver_group(d, destination);
            }
        }
    }

    /// Multicast that this host sends reaches its own members, the sender
    /// too when it joined.
    pub(crate) fn deliver_local_multicast(
        &self,
        from: Endpoint,
        to: Endpoint,
        interface: u32,
        bytes: &[u8],
    ) {
        for socket in self.udp.all(to, from, interface) {
            let datagram =
                Datagram { bytes: bytes.to_vec(), from, to: to.ip, interface, hops: 1, tos: 0 };
            socket.deliver_group(datagram, Destination::Multicast);
        }
    }

    /// An error that a datagram of ours met.
    pub(crate) fn udp_error(&self, local: Endpoint, remote: Endpoint, error: PathError) {
        let hash = self.hash.tuple(local, remote);
        if let Some(socket) = self.udp.best(hash, local, remote, 0) {
            socket.path_error(remote, error);
        }
    }
}
