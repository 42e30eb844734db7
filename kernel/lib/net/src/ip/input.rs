// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a frame to the transport that it is for.

use super::{Header, be16, ethertype, parse, protocol};
use crate::device::{ETHERNET_HEADER, RxPacket};
use crate::interface::{Interface, count};
use crate::route::Destination;
use crate::stack::Stack;

/// A transport packet that came in.
pub(crate) struct Incoming<'a> {
    pub(crate) interface: &'a Interface,
    pub(crate) header: Header,
    /// The IP packet from its header on (without, when it was reassembled).
    pub(crate) packet: &'a [u8],
    /// The transport packet.
    pub(crate) payload: &'a [u8],
    pub(crate) checksum_verified: bool,
}

impl Stack {
    /// An Ethernet frame.
    pub(crate) fn receive_frame(&self, interface: &Interface, packet: &RxPacket<'_>) {
        let frame = packet.bytes;
        if frame.len() < ETHERNET_HEADER {
            return count(&interface.counters.rx_errors, 1);
        }
        let (ethernet, body) = frame.split_at(ETHERNET_HEADER);
        let group = ethernet[0] & 1 != 0;
        if group {
            count(&interface.counters.rx_multicast, 1);
        } else if ethernet[..6] != interface.mac {
            return;
        }
        self.raw.deliver_frame(interface, frame);
        match be16(ethernet, 12) {
            ethertype::ARP => self.receive_arp(interface, body),
            ethertype::IPV4 if body.first().is_some_and(|b| b >> 4 == 4) => {
                self.receive_ip(interface, body, packet.checksum_verified);
            }
            ethertype::IPV6 if body.first().is_some_and(|b| b >> 4 == 6) => {
                self.receive_ip(interface, body, packet.checksum_verified);
            }
            _ => count(&interface.counters.rx_dropped, 1),
        }
    }

    /// An IP packet, with padding behind it perhaps.
    pub(crate) fn receive_ip(&self, interface: &Interface, packet: &[u8], verified: bool) {
        let Some(header) = parse(packet) else {
            return count(&interface.counters.rx_errors, 1);
        };
        // Addresses that must not appear on a wire (RFC 1122, 3.2.1.3).
        let loopback = header.source.is_loopback() || header.destination.is_loopback();
        if (loopback && !interface.is_loopback()) || header.source.is_multicast() {
            return count(&interface.counters.rx_dropped, 1);
        }
        let payload = &packet[header.header_length..header.total_length];
        let packet = &packet[..header.total_length];
        if header.fragment.is_none() {
            let incoming =
                Incoming { interface, header, packet, payload, checksum_verified: verified };
            return self.receive_transport(&incoming);
        }
        let whole = self.reassembler.lock().add(&header, payload, self.now());
        if let Some(whole) = whole {
            let incoming = Incoming {
                interface,
                header,
                packet: &packet[..header.header_length],
                payload: &whole,
                checksum_verified: false,
            };
            self.receive_transport(&incoming);
        }
    }

    fn receive_transport(&self, incoming: &Incoming<'_>) {
        let header = &incoming.header;
        // The connection table knows our addresses itself: the common case.
        if header.protocol == protocol::TCP && self.receive_tcp(incoming) {
            return;
        }
        let v4 = header.source.is_v4();
        if v4 && header.protocol == protocol::UDP && self.receive_dhcp(incoming) {
            return;
        }
        let destination = self.config().classify(header.destination);
        let accepted = match destination {
            Destination::Unicast | Destination::Broadcast | Destination::Multicast => true,
            // Neighbour discovery checks addresses that are tentative.
            Destination::Other => !v4 && self.is_tentative(header.destination),
        };
        if !accepted {
            return count(&incoming.interface.counters.rx_dropped, 1);
        }
        self.raw.deliver(incoming);
        match header.protocol {
            protocol::TCP if destination == Destination::Unicast => {
                self.receive_tcp_unknown(incoming);
            }
            protocol::UDP => self.receive_udp(incoming, destination),
            protocol::ICMP if v4 => self.receive_icmp(incoming, destination),
            protocol::ICMPV6 if !v4 => self.receive_icmpv6(incoming),
            protocol::TCP | protocol::IGMP => {}
            _ if destination == Destination::Unicast => {
                self.send_unreachable(incoming, crate::icmp::Unreachable::Protocol);
            }
            _ => {}
        }
    }

    fn is_tentative(&self, ip: super::Ip) -> bool {
        self.config().addresses.iter().any(|a| a.ip == ip && a.tentative)
    }
}
