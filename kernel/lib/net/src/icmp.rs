// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ICMP (RFC 792) and the part of ICMPv6 (RFC 4443) that is not neighbour
//! discovery: echo, and errors in both directions.

use crate::device::ETHERNET_HEADER;
use crate::interface::Interface;
use crate::ip::{Endpoint, HeaderBuffer, Incoming, Ip, Outgoing, be16, be32, checksum, protocol};
use crate::route::{Destination, Path};
use crate::stack::Stack;
use core::sync::atomic::{AtomicU64, Ordering};
use kio::{Errno, Instant};

const ECHO_REPLY4: u8 = 0;
const UNREACHABLE4: u8 = 3;
const ECHO_REQUEST4: u8 = 8;
const TIME_EXCEEDED4: u8 = 11;
const PARAMETER4: u8 = 12;
const UNREACHABLE6: u8 = 1;
const TOO_BIG6: u8 = 2;
const TIME_EXCEEDED6: u8 = 3;
const PARAMETER6: u8 = 4;
const ECHO_REQUEST6: u8 = 128;
const ECHO_REPLY6: u8 = 129;

/// An error that a packet met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathError {
    pub(crate) errno: Errno,
    /// The connection is over, as opposed to: it may recover.
    pub(crate) hard: bool,
    /// MTU of the path, when the packet was too large.
    pub(crate) mtu: Option<usize>,
}

/// Which unreachable to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    Port,
    Protocol,
}

/// At most this many errors a second leave us (RFC 1812, 4.3.2.8).
const ERRORS_PER_SECOND: u64 = 1000;

/// Counts errors by the second.
#[derive(Default)]
pub(crate) struct RateLimit(AtomicU64);

impl RateLimit {
    fn allows(&self, now: Instant) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        let old = self.0.load(Ordering::Relaxed);
        let count = if old >> 16 == second { old & 0xffff } else { 0 };
        if count >= ERRORS_PER_SECOND {
            return false;
        }
        self.0.store(second << 16 | (count + 1), Ordering::Relaxed);
        true
    }
}

impl Stack {
    pub(crate) fn receive_icmp(&self, incoming: &Incoming<'_>, destination: Destination) {
        let p = incoming.payload;
        if p.len() < 8 || !checksum::of(p).is_valid() {
            return;
        }
        match p[0] {
            ECHO_REQUEST4 if destination == Destination::Unicast => {
                self.send_echo_reply(incoming, ECHO_REPLY4);
            }
            ECHO_REPLY4 => self.raw.deliver_echo(incoming),
            UNREACHABLE4 | TIME_EXCEEDED4 | PARAMETER4 => {
                if let Some(error) = classify_v4(p) {
                    self.transport_error(&p[8..], error);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn receive_icmpv6(&self, incoming: &Incoming<'_>) {
        let p = incoming.payload;
        let header = &incoming.header;
        if p.len() < 8 {
            return;
        }
        let mut sum =
            checksum::pseudo_header(header.source, header.destination, protocol::ICMPV6, p.len());
        sum.add(p);
        if !sum.is_valid() {
            return;
        }
        match p[0] {
            ECHO_REQUEST6 => self.send_echo_reply(incoming, ECHO_REPLY6),
            ECHO_REPLY6 => self.raw.deliver_echo(incoming),
            UNREACHABLE6 | TOO_BIG6 | TIME_EXCEEDED6 | PARAMETER6 => {
                if let Some(error) = classify_v6(p) {
                    self.transport_error(&p[8..], error);
                }
            }
            133..=137 => self.receive_ndisc(incoming),
            _ => {}
        }
    }

    fn send_echo_reply(&self, incoming: &Incoming<'_>, kind: u8) {
        let h = &incoming.header;
        let config = self.config();
        let now = self.now();
        let scope = incoming.interface.index;
        let Ok(mut path) =
            self.path(h.source, if h.source.is_link_scope() { scope } else { 0 }, now)
        else {
            return;
        };
        let source = if config.is_local(h.destination) { h.destination } else { path.source };
        let mut buffer = HeaderBuffer::new();
        buffer.push(&[kind, 0, 0, 0]);
        self.send_icmp(&mut path, source, h.source, buffer, &incoming.payload[4..], now);
    }

    /// Sends an ICMP message of either version: header in `buffer`, with the
    /// checksum still 0, and body.
    pub(crate) fn send_icmp(
        &self,
        path: &mut Path,
        source: Ip,
        destination: Ip,
        mut buffer: HeaderBuffer,
        body: &[u8],
        now: Instant,
    ) {
        let v4 = destination.is_v4();
        let protocol = if v4 { protocol::ICMP } else { protocol::ICMPV6 };
        let length = buffer.transport().len() + body.len();
        let mut sum = if v4 {
            checksum::Sum::default()
        } else {
            checksum::pseudo_header(source, destination, protocol, length)
        };
        sum.add(buffer.transport());
        sum.add(body);
        let value = sum.complement();
        if let Some(field) = buffer.transport_mut().get_mut(2..4) {
            field.copy_from_slice(&value);
        }
        let ndisc = !v4 && buffer.transport().first().is_some_and(|t| (133..=137).contains(t));
        let out = Outgoing {
            source,
            destination,
            protocol,
            hops: if ndisc { 255 } else { 64 },
            tos: 0,
            dont_fragment: false,
            payload: [body, &[]],
            checksum_at: None,
            segment: None,
        };
        let _ = self.send(path, &out, &mut buffer, now);
    }

    /// Tells the sender that nobody is there (RFC 1122, 3.2.2: never about
    /// groups, ICMP errors, or without a source).
    pub(crate) fn send_unreachable(&self, incoming: &Incoming<'_>, what: Unreachable) {
        let h = &incoming.header;
        let now = self.now();
        if h.source.is_unspecified()
            || h.destination.is_multicast()
            || !self.icmp_errors.allows(now)
        {
            return;
        }
        let scope = if h.source.is_link_scope() { incoming.interface.index } else { 0 };
        let Ok(mut path) = self.path(h.source, scope, now) else { return };
        let mut buffer = HeaderBuffer::new();
        match (h.source.is_v4(), what) {
            (true, Unreachable::Port) => buffer.push(&[UNREACHABLE4, 3, 0, 0, 0, 0, 0, 0]),
            (true, Unreachable::Protocol) => buffer.push(&[UNREACHABLE4, 2, 0, 0, 0, 0, 0, 0]),
            (false, Unreachable::Port) => buffer.push(&[UNREACHABLE6, 4, 0, 0, 0, 0, 0, 0]),
            (false, Unreachable::Protocol) => buffer.push(&[PARAMETER6, 1, 0, 0, 0, 0, 0, 6]),
        }
        // As much of the packet as fits into the least MTU.
        let limit = if h.source.is_v4() { 548 } else { 1232 };
        let quote = &incoming.packet[..incoming.packet.len().min(limit)];
        self.send_icmp(&mut path, h.destination, h.source, buffer, quote, now);
    }

    /// An error about a packet of ours, of which `quote` is the start.
    fn transport_error(&self, quote: &[u8], error: PathError) {
        let Some((protocol, local, remote, transport)) = parse_quote(quote) else { return };
        match protocol {
            protocol::TCP => self.tcp_error(local, remote, be32(transport, 4), error),
            protocol::UDP => self.udp_error(local, remote, error),
            _ => {}
        }
    }

    /// A neighbour did not answer: the same to sockets as an ICMP error.
    pub(crate) fn report_unreachable(&self, frame: &[u8]) {
        let error = PathError { errno: Errno::EHOSTUNREACH, hard: false, mtu: None };
        if let Some(packet) = frame.get(ETHERNET_HEADER..) {
            self.transport_error(packet, error);
        }
    }

    /// For neighbours and interfaces that are not known to a path.
    pub(crate) fn path_on(&self, interface: &Interface, destination: Ip) -> Option<Path> {
        self.path(destination, interface.index, self.now()).ok()
    }
}

/// Protocol, our end, the other end and transport header of a packet of ours
/// that was cut short.
fn parse_quote(p: &[u8]) -> Option<(u8, Endpoint, Endpoint, &[u8])> {
    let (source, destination, protocol, length) = match p.first()? >> 4 {
        4 if p.len() >= 20 => {
            let source = Ip::from_v4_bytes([p[12], p[13], p[14], p[15]]);
            let destination = Ip::from_v4_bytes([p[16], p[17], p[18], p[19]]);
            (source, destination, p[9], usize::from(p[0] & 0xf) * 4)
        }
        6 if p.len() >= 40 => {
            let address = |at: usize| {
                let mut b = [0; 16];
                b.copy_from_slice(&p[at..at + 16]);
                Ip(u128::from_be_bytes(b))
            };
            (address(8), address(24), p[6], 40)
        }
        _ => return None,
    };
    let transport = p.get(length..)?;
    if transport.len() < 8 {
        return None;
    }
    let local = Endpoint::new(source, be16(transport, 0));
    let remote = Endpoint::new(destination, be16(transport, 2));
    Some((protocol, local, remote, transport))
}

fn error(errno: Errno, hard: bool) -> Option<PathError> {
    Some(PathError { errno, hard, mtu: None })
}

/// As icmp_err_convert of Linux: see ip(7) and RFC 1122, 4.2.3.9.
fn classify_v4(p: &[u8]) -> Option<PathError> {
    match (p[0], p[1]) {
        (UNREACHABLE4, 0 | 6 | 11) => error(Errno::ENETUNREACH, false),
        (UNREACHABLE4, 1 | 5 | 8 | 12) => error(Errno::EHOSTUNREACH, false),
        (UNREACHABLE4, 2) => error(Errno::ENOPROTOOPT, true),
        (UNREACHABLE4, 3) => error(Errno::ECONNREFUSED, true),
        (UNREACHABLE4, 4) => Some(PathError {
            errno: Errno::EMSGSIZE,
            hard: false,
            mtu: Some(usize::from(be16(p, 6)).max(552)),
        }),
        (UNREACHABLE4, 9 | 10 | 13..=15) => error(Errno::EHOSTUNREACH, true),
        (TIME_EXCEEDED4, _) => error(Errno::EHOSTUNREACH, false),
        (PARAMETER4, _) => error(Errno::EPROTO, true),
        _ => None,
    }
}

/// As icmpv6_err_convert of Linux.
fn classify_v6(p: &[u8]) -> Option<PathError> {
    match (p[0], p[1]) {
        (UNREACHABLE6, 0) => error(Errno::ENETUNREACH, false),
        (UNREACHABLE6, 1) => error(Errno::EACCES, true),
        (UNREACHABLE6, 2 | 3) => error(Errno::EHOSTUNREACH, false),
        (UNREACHABLE6, 4) => error(Errno::ECONNREFUSED, true),
        (UNREACHABLE6, 5 | 6) => error(Errno::EACCES, true),
        (TOO_BIG6, _) => Some(PathError {
            errno: Errno::EMSGSIZE,
            hard: false,
            mtu: Some((be32(p, 4) as usize).max(1280)),
        }),
        (TIME_EXCEEDED6, _) => error(Errno::EHOSTUNREACH, false),
        (PARAMETER6, _) => error(Errno::EPROTO, true),
        _ => None,
    }
}
