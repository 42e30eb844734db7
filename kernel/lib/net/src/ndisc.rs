// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IPv6 neighbour discovery (RFC 4861) and address configuration (RFC 4862).

use crate::interface::Interface;
use crate::ip::{HeaderBuffer, Incoming, Ip, be32};
use crate::route::{Address, Path};
use crate::stack::Stack;
use crate::timer::Expire;
use alloc::sync::{Arc, Weak};
use core::time::Duration;
use kio::Instant;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
const OPTION_PREFIX: u8 = 3;

/// RFC 4861, 10: RETRANS_TIMER, and RTR_SOLICITATION_INTERVAL.
const RETRANSMIT: Duration = Duration::from_secs(1);
const ROUTER_INTERVAL: Duration = Duration::from_secs(4);
const ROUTER_SOLICITATIONS: u32 = 3;
/// Addresses that advertisements may give one interface.
const ADDRESSES: usize = 16;

/// The options of a message, each with its body.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        let length = usize::from(*bytes.get(1)?) * 8;
        if length == 0 || length > bytes.len() {
            return None;
        }
        let (option, rest) = bytes.split_at(length);
        bytes = rest;
        Some((option[0], &option[2..]))
    })
}

fn link_address(bytes: &[u8], kind: u8) -> Option<[u8; 6]> {
    let (_, body) = options(bytes).find(|o| o.0 == kind)?;
    let mut mac = [0; 6];
    mac.copy_from_slice(body.get(..6)?);
    (mac[0] & 1 == 0).then_some(mac)
}

fn target_of(p: &[u8]) -> Option<Ip> {
    let mut b = [0; 16];
    b.copy_from_slice(p.get(8..24)?);
    Some(Ip(u128::from_be_bytes(b)))
}

/// Interface identifier from an Ethernet address (RFC 4291, appendix A).
fn interface_id(mac: [u8; 6]) -> u128 {
    let [a, b, c, d, e, f] = mac;
    u128::from(u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]))
}

fn lifetime(now: Instant, seconds: u32) -> Instant {
    if seconds == u32::MAX {
        Instant::FAR_FUTURE
    } else {
        now + Duration::from_secs(seconds.into())
    }
}

impl Stack {
    /// Makes the link-local address and looks for routers.
    pub(crate) fn start_ipv6(&self, interface: &Arc<Interface>) {
        let ip = Ip(0xfe80 << 112 | interface_id(interface.mac));
        self.add_tentative(interface, ip, 64, Instant::FAR_FUTURE, Instant::FAR_FUTURE);
        let solicitor =
            Solicitor { interface: Arc::downgrade(interface), left: ROUTER_SOLICITATIONS };
        self.timers.arm(self.now() + RETRANSMIT + Duration::from_millis(100), Arc::new(solicitor));
    }

    fn add_tentative(
        &self,
        interface: &Arc<Interface>,
        ip: Ip,
        prefix: u8,
        valid_until: Instant,
        preferred_until: Instant,
    ) {
        self.add_address(Address {
            ip,
            prefix,
            interface: interface.index,
            tentative: true,
            valid_until,
            preferred_until,
        });
        // Duplicate address detection: one probe (RFC 4862, 5.4).
        let mut buffer = HeaderBuffer::new();
        buffer.push(&[NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
        buffer.push(&ip.0.to_be_bytes());
        self.send_group(interface, Ip::ANY, ip.solicited_node(), buffer);
        let settle = Settle { interface: Arc::downgrade(interface), ip };
        self.timers.arm(self.now() + RETRANSMIT, Arc::new(settle));
    }

    fn send_group(&self, interface: &Arc<Interface>, source: Ip, group: Ip, buffer: HeaderBuffer) {
        let now = self.now();
        let mut path = Path {
            interface: interface.clone(),
            next_hop: group,
            source,
            mac: Some(group.multicast_mac()),
            generation: 0,
            fresh_until: Instant::FAR_FUTURE,
        };
        self.send_icmp(&mut path, source, group, buffer, &[], now);
    }

    /// Asks for the link address of `ip`, everybody or only the one who had it.
    pub(crate) fn send_neighbour_solicitation(
        &self,
        interface: &Arc<Interface>,
        ip: Ip,
        to: Option<[u8; 6]>,
    ) {
        let now = self.now();
        let source = self.config().source_for(interface.index, ip, now);
        let mut buffer = HeaderBuffer::new();
        buffer.push(&[NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
        buffer.push(&ip.0.to_be_bytes());
        buffer.push(&[OPTION_SOURCE, 1]);
        buffer.push(&interface.mac);
        let group = ip.solicited_node();
        let (destination, mac) = match to {
            Some(mac) => (ip, mac),
            None => (group, group.multicast_mac()),
        };
        let mut path = Path {
            interface: interface.clone(),
            next_hop: destination,
            source,
            mac: Some(mac),
            generation: 0,
            fresh_until: Instant::FAR_FUTURE,
        };
        self.send_icmp(&mut path, source, destination, buffer, &[], now);
    }

    pub(crate) fn receive_ndisc(&self, incoming: &Incoming<'_>) {
        // From the link itself only (RFC 4861, 6.1 and 7.1).
        if incoming.header.hops != 255 || incoming.payload[1] != 0 {
            return;
        }
        match incoming.payload[0] {
            ROUTER_ADVERTISEMENT => self.receive_advertisement(incoming),
            NEIGHBOUR_SOLICITATION => self.receive_solicitation(incoming),
            NEIGHBOUR_ADVERTISEMENT => self.receive_neighbour(incoming),
            _ => {}
        }
    }

    fn receive_solicitation(&self, incoming: &Incoming<'_>) {
        let p = incoming.payload;
        let Some(target) = target_of(p) else { return };
        let config = self.config();
        let index = incoming.interface.index;
        let Some(interface) = config.interface(index) else { return };
        let Some(address) = config.addresses_of(index).find(|a| a.ip == target) else { return };
        let source = incoming.header.source;
        if address.tentative {
            // Somebody else checks or has the same address.
            if source.is_unspecified() {
                self.remove_address(index, target);
            }
            return;
        }
        let now = self.now();
        let mac = link_address(&p[24..], OPTION_SOURCE);
        if let Some(mac) = mac.filter(|_| !source.is_unspecified()) {
            self.learn_neighbour(incoming.interface, source, mac, true, now);
        }
        let solicited = !source.is_unspecified();
        let mut buffer = HeaderBuffer::new();
        let flags = if solicited { 0x60 } else { 0x20 };
        buffer.push(&[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]);
        buffer.push(&target.0.to_be_bytes());
        buffer.push(&[OPTION_TARGET, 1]);
        buffer.push(&interface.mac);
        if !solicited {
            return self.send_group(interface, target, Ip::ALL_NODES6, buffer);
        }
        if let Some(mut path) = self.path_on(incoming.interface, source) {
            self.send_icmp(&mut path, target, source, buffer, &[], now);
        }
    }

    fn receive_neighbour(&self, incoming: &Incoming<'_>) {
        let p = incoming.payload;
        let Some(target) = target_of(p) else { return };
        let config = self.config();
        let index = incoming.interface.index;
        let ours = config.addresses_of(index).find(|a| a.ip == target);
        if let Some(address) = ours {
            if address.tentative {
                self.remove_address(index, target);
            }
            return;
        }
        if let Some(mac) = link_address(&p[24..], OPTION_TARGET) {
            self.learn_neighbour(incoming.interface, target, mac, false, self.now());
        }
    }

    fn receive_advertisement(&self, incoming: &Incoming<'_>) {
        let p = incoming.payload;
        let router = incoming.header.source;
        if p.len() < 16 || !router.is_link_local() {
            return;
        }
        let config = self.config();
        let Some(interface) = config.interface(incoming.interface.index) else { return };
        let now = self.now();
        if let Some(mac) = link_address(&p[16..], OPTION_SOURCE) {
            self.learn_neighbour(incoming.interface, router, mac, true, now);
        }
        let seconds = u32::from(crate::ip::be16(p, 6));
        if seconds > 0 {
            self.add_route(Ip::ANY, 0, Some(router), interface.index, lifetime(now, seconds));
        } else {
            let index = interface.index;
            self.change(|c| {
                c.routes.retain(|r| r.gateway != Some(router) || r.interface != index);
            });
        }
        for (_, body) in options(&p[16..]).filter(|o| o.0 == OPTION_PREFIX) {
            self.take_prefix(interface, body, now);
        }
    }

    /// A prefix option (RFC 4861, 4.6.2; RFC 4862, 5.5.3).
    fn take_prefix(&self, interface: &Arc<Interface>, body: &[u8], now: Instant) {
        if body.len() < 30 {
            return;
        }
        let (length, flags) = (body[0], body[1]);
        let (valid, preferred) = (be32(body, 2), be32(body, 6));
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&body[14..30]);
        let prefix = Ip(u128::from_be_bytes(prefix));
        if prefix.is_link_scope() || prefix.is_multicast() || prefix.is_v4() || preferred > valid {
            return;
        }
        if flags & 0x80 != 0 && length <= 128 && length > 0 {
            self.add_route(prefix, length, None, interface.index, lifetime(now, valid));
        }
        if flags & 0x40 == 0 || length != 64 || valid == 0 {
            return;
        }
        let ip = Ip(prefix.mask(64).0 | interface_id(interface.mac));
        let (valid, preferred) = (lifetime(now, valid), lifetime(now, preferred));
        let config = self.config();
        if config.addresses_of(interface.index).any(|a| a.ip == ip) {
            return self.change(|c| {
                for a in c.addresses.iter_mut().filter(|a| a.ip == ip) {
                    a.valid_until = valid;
                    a.preferred_until = preferred;
                }
            });
        }
        if config.addresses_of(interface.index).count() < ADDRESSES {
            self.add_tentative(interface, ip, 64, valid, preferred);
        }
    }
}

/// Ends duplicate address detection: nobody objected.
struct Settle {
    interface: Weak<Interface>,
    ip: Ip,
}

impl Expire for Settle {
    fn expire(self: Arc<Self>, _now: Instant) {
        let Some(interface) = self.interface.upgrade() else { return };
        let Some(stack) = interface.stack() else { return };
        let index = interface.index;
        stack.change(|c| {
            for a in c.addresses.iter_mut().filter(|a| a.ip == self.ip && a.interface == index) {
                a.tentative = false;
            }
        });
    }
}

/// Asks for routers a few times.
struct Solicitor {
    interface: Weak<Interface>,
    left: u32,
}

impl Expire for Solicitor {
    fn expire(self: Arc<Self>, now: Instant) {
        let Some(interface) = self.interface.upgrade() else { return };
        let Some(stack) = interface.stack() else { return };
        let config = stack.config();
        let index = interface.index;
        let known = config.routes.iter().any(|r| {
            r.interface == index && r.prefix == 0 && !r.network.is_v4() && r.valid_until > now
        });
        if known {
            return;
        }
        let source = config.source_for(index, Ip::ALL_ROUTERS6, now);
        let mut buffer = HeaderBuffer::new();
        buffer.push(&[ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
        if !source.is_unspecified() {
            buffer.push(&[OPTION_SOURCE, 1]);
            buffer.push(&interface.mac);
        }
        stack.send_group(&interface, source, Ip::ALL_ROUTERS6, buffer);
        stack.flush();
        if self.left > 1 {
            let next = Self { interface: self.interface.clone(), left: self.left - 1 };
            stack.timers.arm(now + ROUTER_INTERVAL, Arc::new(next));
        }
    }
}
