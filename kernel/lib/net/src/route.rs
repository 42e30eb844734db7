// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses and routes: a value that is replaced as a whole when it changes,
//! so that the data path reads a snapshot.

use crate::interface::Interface;
use crate::ip::Ip;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{Errno, Instant, Result};

/// One address of an interface.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) ip: Ip,
    pub(crate) prefix: u8,
    pub(crate) interface: u32,
    /// Duplicate address detection runs (RFC 4862, 5.4): not to be used yet.
    pub(crate) tentative: bool,
    /// End of the valid lifetime.
    pub(crate) valid_until: Instant,
    /// End of the preferred lifetime.
    pub(crate) preferred_until: Instant,
}

/// One route.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) network: Ip,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ip>,
    pub(crate) interface: u32,
    pub(crate) metric: u32,
    pub(crate) valid_until: Instant,
}

/// The configuration of the stack at a moment.
#[derive(Clone, Default)]
pub(crate) struct Config {
    pub(crate) interfaces: Vec<Arc<Interface>>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) routes: Vec<Route>,
}

/// Where packets to a destination go.
#[derive(Clone)]
pub(crate) struct Path {
    pub(crate) interface: Arc<Interface>,
    pub(crate) next_hop: Ip,
    /// The source that fits, when the socket has none.
    pub(crate) source: Ip,
    /// Link address of the next hop, when it is known.
    pub(crate) mac: Option<[u8; 6]>,
    /// Stack generation that this was computed in.
    pub(crate) generation: u64,
    /// When the link address has to be asked for again.
    pub(crate) fresh_until: Instant,
}

/// What a destination address of an arriving packet is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// An address of ours.
    Unicast,
    /// Broadcast of a network of ours.
    Broadcast,
    /// Multicast group.
    Multicast,
    /// Not ours.
    Other,
}

impl Config {
    pub(crate) fn interface(&self, index: u32) -> Option<&Arc<Interface>> {
        self.interfaces.iter().find(|i| i.index == index)
    }

    /// True for an address that packets may be sent from and to on this host.
    pub(crate) fn is_local(&self, ip: Ip) -> bool {
        (ip.is_v4() && ip.is_loopback())
            || self.addresses.iter().any(|a| a.ip == ip && !a.tentative)
    }

    pub(crate) fn classify(&self, ip: Ip) -> Destination {
        if self.is_local(ip) {
            Destination::Unicast
        } else if ip.is_multicast() {
            Destination::Multicast
        } else if self.is_broadcast(ip) {
            Destination::Broadcast
        } else {
            Destination::Other
        }
    }

    pub(crate) fn is_broadcast(&self, ip: Ip) -> bool {
        ip == Ip::BROADCAST4
            || (ip.is_v4()
                && self
                    .addresses
                    .iter()
                    .any(|a| a.ip.is_v4() && a.prefix < 31 && a.ip.broadcast_of(a.prefix) == ip))
    }

    pub(crate) fn addresses_of(&self, interface: u32) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |a| a.interface == interface)
    }

    /// Finds the way to `destination`; `interface` is that of a scope or of
    /// SO_BINDTODEVICE, or 0.
    pub(crate) fn route(
        &self,
        destination: Ip,
        interface: u32,
        now: Instant,
    ) -> Result<(Arc<Interface>, Ip, Ip)> {
        let loopback = || self.interfaces.iter().find(|i| i.is_loopback());
        if self.is_local(destination) {
            let lo = loopback().ok_or(Errno::ENETUNREACH)?;
            return Ok((lo.clone(), destination, destination));
        }
        let direct = destination.is_link_scope()
            || destination == Ip::BROADCAST4
            || destination.is_multicast();
        if direct {
            let via = match interface {
                0 => self.default_interface(destination.is_v4()),
                index => self.interface(index),
            };
            let via = via.ok_or(Errno::ENETUNREACH)?;
            return Ok((via.clone(), destination, self.source_for(via.index, destination, now)));
        }
        let best = self
            .routes
            .iter()
            .filter(|r| destination.is_in(r.network, r.prefix))
            .filter(|r| interface == 0 || r.interface == interface)
            .filter(|r| r.valid_until > now)
            .max_by_key(|r| (r.prefix, core::cmp::Reverse(r.metric)));
        let route = best.ok_or(Errno::ENETUNREACH)?;
        let via = self.interface(route.interface).ok_or(Errno::ENETUNREACH)?;
        let source = self.source_for(via.index, destination, now);
        if source.is_unspecified() && !destination.is_v4() {
            return Err(Errno::ENETUNREACH);
        }
        Ok((via.clone(), route.gateway.unwrap_or(destination), source))
    }

    /// The interface of the default route, else the first that is no loopback.
    fn default_interface(&self, v4: bool) -> Option<&Arc<Interface>> {
        self.routes
            .iter()
            .filter(|r| r.prefix == 0 && r.network.is_v4() == v4)
            .find_map(|r| self.interface(r.interface))
            .or_else(|| self.interfaces.iter().find(|i| !i.is_loopback()))
            .or_else(|| self.interfaces.first())
    }

    /// Source address selection (RFC 6724, 5, rules 1-3 and 8).
    pub(crate) fn source_for(&self, interface: u32, destination: Ip, now: Instant) -> Ip {
        let any = if destination.is_v4() { Ip::ANY4 } else { Ip::ANY };
        let usable = |a: &&Address| {
            a.ip.is_v4() == destination.is_v4() && !a.tentative && a.valid_until > now
        };
        let rank = |a: &&Address| {
            (
                a.ip == destination,
                a.ip.is_link_scope() == destination.is_link_scope(),
                a.preferred_until > now,
                a.ip.common_prefix(destination),
            )
        };
        self.addresses_of(interface)
            .filter(usable)
            .max_by_key(rank)
            .or_else(|| {
                let not_loopback = |a: &&Address| !a.ip.is_loopback() && !a.ip.is_link_local();
                self.addresses.iter().filter(usable).find(not_loopback)
            })
            .map_or(any, |a| a.ip)
    }
}
