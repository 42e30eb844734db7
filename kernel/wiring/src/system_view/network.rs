// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lines of /proc/net/*, with the formats of Linux.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use knet::{InterfaceReport, RouteReport, SocketReport, Stack};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

pub(super) fn table(stack: &Stack, name: &str) -> String {
    match name {
        "tcp" => sockets(stack.tcp_sockets(), AF_INET, tcp_line),
        "tcp6" => sockets(stack.tcp_sockets(), AF_INET6, tcp_line),
        "udp" => sockets(stack.udp_sockets(), AF_INET, udp_line),
        "udp6" => sockets(stack.udp_sockets(), AF_INET6, udp_line),
        "dev" => stack.interfaces().iter().map(interface_line).collect(),
        "if_inet6" => addresses(&stack.interfaces()),
        "route" => routes(stack),
        "ipv6_route" => routes6(stack),
        "arp" => neighbours(stack),
        _ => String::new(),
    }
}

/// An address as Linux prints it: words in network order read as native ones.
fn words(ip: IpAddr) -> String {
    let mut text = String::new();
    let mut push = |octets: &[u8]| {
        for word in octets.chunks_exact(4) {
            let value = word.iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b));
            let _ = write!(text, "{value:08X}");
        }
    };
    match ip {
        IpAddr::V4(ip) => push(&ip.octets()),
        IpAddr::V6(ip) => push(&ip.octets()),
    }
    text
}

fn endpoint(at: &SocketAddr) -> String {
    format!("{}:{:04X}", words(at.ip()), at.port())
}

fn sockets(
    all: alloc::vec::Vec<SocketReport>,
    domain: u16,
    line: fn(usize, &SocketReport) -> String,
) -> String {
    let wanted = all.iter().filter(|s| s.domain == domain).enumerate();
    wanted.map(|(at, socket)| line(at, socket)).collect()
}

/// The columns up to the inode, which TCP and UDP share.
fn socket_columns(s: &SocketReport) -> String {
    format!(
        "{} {} {:02X} {:08X}:{:08X} 00:00000000 {:08X} {:5} {:8} {}",
        endpoint(&s.local),
        endpoint(&s.remote),
        s.state,
        s.send_queue,
        s.receive_queue,
        s.retransmits,
        0,
        0,
        s.inode
    )
}

/// IPv4 lines are padded to a fixed width; those of IPv6 are not.
fn pad(line: String, domain: u16, width: usize) -> String {
    if domain == AF_INET { format!("{line:<width$}\n") } else { line + "\n" }
}

fn tcp_line(at: usize, s: &SocketReport) -> String {
    let line = format!("{at:4}: {} 1 0000000000000000 100 0 0 10 0", socket_columns(s));
    pad(line, s.domain, 149)
}

fn udp_line(at: usize, s: &SocketReport) -> String {
    pad(format!("{at:5}: {} 2 0000000000000000 0", socket_columns(s)), s.domain, 127)
}

fn interface_line(i: &InterfaceReport) -> String {
    let [packets, bytes, errors, dropped, multicast] = i.received;
    let [sent_packets, sent_bytes, sent_dropped] = i.sent;
    let none = 0;
    format!(
        "{:>6}: {bytes:7} {packets:7} {errors:4} {dropped:4} {none:4} {none:5} {none:10} \
         {multicast:9} {sent_bytes:8} {sent_packets:7} {none:4} {sent_dropped:4} {none:4} \
         {none:5} {none:7} {none:10}\n",
        i.name
    )
}

/// The octets of an IPv6 address without colons.
fn hex(ip: Ipv6Addr) -> String {
    ip.octets().iter().map(|b| format!("{b:02x}")).collect()
}

fn addresses(interfaces: &[InterfaceReport]) -> String {
    const LINK: u32 = 0x20;
    const HOST: u32 = 0x10;
    const PERMANENT: u32 = 0x80;
    let mut text = String::new();
    for i in interfaces {
        for (ip, prefix) in &i.addresses {
            let IpAddr::V6(ip) = ip else { continue };
            let scope = match ip {
                ip if ip.is_loopback() => HOST,
                ip if ip.is_unicast_link_local() => LINK,
                _ => 0,
            };
            let _ = writeln!(
                text,
                "{} {:02x} {prefix:02x} {scope:02x} {PERMANENT:02x} {:>8}",
                hex(*ip),
                i.index,
                i.name
            );
        }
    }
    text
}

const RTF_UP: u32 = 1;
const RTF_GATEWAY: u32 = 2;
const RTF_HOST: u32 = 4;

fn route_flags(r: &RouteReport, width: u8) -> u32 {
    let gateway = if r.gateway.is_some() { RTF_GATEWAY } else { 0 };
    RTF_UP | gateway | if r.prefix == width { RTF_HOST } else { 0 }
}

fn name_of(interfaces: &[InterfaceReport], index: u32) -> &str {
    interfaces.iter().find(|i| i.index == index).map_or("lo", |i| &i.name)
}

/// Routes of the loopback interface are in another table of Linux's.
fn routes(stack: &Stack) -> String {
    const LOOPBACK: u32 = 1;
    let interfaces = stack.interfaces();
    let mut routes = stack.routes();
    routes.retain(|r| r.network.is_ipv4() && r.interface != LOOPBACK);
    routes.sort_by_key(|r| r.network);
    let mut text = String::new();
    for r in &routes {
        let unspecified = IpAddr::from([0, 0, 0, 0]);
        let mask = u32::MAX.checked_shl(32 - u32::from(r.prefix)).unwrap_or(0);
        let line = format!(
            "{}\t{}\t{}\t{:04X}\t0\t0\t0\t{}\t0\t0\t0",
            name_of(&interfaces, r.interface),
            words(r.network),
            words(r.gateway.unwrap_or(unspecified)),
            route_flags(r, 32),
            words(IpAddr::from(mask.to_be_bytes())),
        );
        let _ = writeln!(text, "{line:<127}");
    }
    text
}

fn routes6(stack: &Stack) -> String {
    let interfaces = stack.interfaces();
    let mut text = String::new();
    for r in stack.routes() {
        let IpAddr::V6(network) = r.network else { continue };
        let gateway = match r.gateway {
            Some(IpAddr::V6(ip)) => ip,
            _ => Ipv6Addr::UNSPECIFIED,
        };
        let _ = writeln!(
            text,
            "{} {:02x} {} 00 {} 00000400 00000001 00000000 {:08x} {:>8}",
            hex(network),
            r.prefix,
            hex(Ipv6Addr::UNSPECIFIED),
            hex(gateway),
            route_flags(&r, 128),
            name_of(&interfaces, r.interface),
        );
    }
    text
}

fn neighbours(stack: &Stack) -> String {
    const COMPLETE: u32 = 2;
    let mut text = String::new();
    for i in stack.interfaces() {
        for (ip, mac) in stack.neighbours(i.index) {
            if !ip.is_ipv4() {
                continue;
            }
            let flags = if mac.is_some() { COMPLETE } else { 0 };
            let [a, b, c, d, e, f] = mac.unwrap_or_default();
            let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
            let address = format!("{ip}");
            let _ = writeln!(
                text,
                "{address:<16} 0x{:<10}0x{flags:<10}{mac:<17}     *        {}",
                1, i.name
            );
        }
    }
    text
}
