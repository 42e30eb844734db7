// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What sockets of all kinds share: creation, addresses, interface ioctls.

use crate::interface::Interface;
use crate::ip::{Endpoint, Ip};
use crate::netlink::NetlinkSocket;
use crate::raw::RawSocket;
use crate::stack::Stack;
use crate::tcp::TcpSocket;
use crate::udp::UdpSocket;
use alloc::sync::Arc;
use alloc::vec;
use core::net::{SocketAddrV4, SocketAddrV6};
use kio::{Errno, Result, Socket, SocketAddress, UserWords};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const AF_PACKET: u16 = 17;

/// socket(2).
pub(crate) fn create(
    stack: &Stack,
    domain: u16,
    socket_type: u16,
    protocol: u16,
) -> Result<Arc<dyn Socket>> {
    let arc = stack.arc()?;
    let icmp = if domain == AF_INET { 1 } else { 58 };
    Ok(match (domain, socket_type, protocol) {
        (AF_INET | AF_INET6, 1, 0 | 6) => TcpSocket::new(arc, domain),
        (AF_INET | AF_INET6, 2, 0 | 17) => UdpSocket::new(arc, domain),
        (AF_INET | AF_INET6, 2, p) if p == icmp => RawSocket::ping(arc, domain),
        (AF_INET | AF_INET6, 3, p) if p != 0 && p < 256 => RawSocket::raw(arc, domain, p as u8),
        (AF_INET | AF_INET6, 1..=3, _) => return Err(Errno::EPROTONOSUPPORT),
        (AF_INET | AF_INET6, ..) => return Err(Errno::ESOCKTNOSUPPORT),
        (AF_NETLINK, 2 | 3, 0) => NetlinkSocket::new(arc, socket_type),
        (AF_NETLINK, 2 | 3, _) => return Err(Errno::EPROTONOSUPPORT),
        (AF_NETLINK, ..) => return Err(Errno::ESOCKTNOSUPPORT),
        (AF_PACKET, 2 | 3, p) => RawSocket::packet(arc, socket_type, p),
        (AF_PACKET, ..) => return Err(Errno::ESOCKTNOSUPPORT),
        _ => return Err(Errno::EAFNOSUPPORT),
    })
}

/// An address from a program, with its scope. IPv4-mapped addresses become
/// IPv4 here.
pub(crate) fn internal(domain: u16, address: &SocketAddress) -> Result<(Endpoint, u32)> {
    match (domain, address) {
        (AF_INET, SocketAddress::Inet(a)) => Ok((Endpoint::new(Ip::v4(*a.ip()), a.port()), 0)),
        (AF_INET6, SocketAddress::Inet6(a)) => {
            Ok((Endpoint::new(Ip::v6(*a.ip()), a.port()), a.scope_id()))
        }
        (AF_INET6, SocketAddress::Inet(_)) => Err(Errno::EINVAL),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// An address for a program of `domain`.
pub(crate) fn external(domain: u16, at: Endpoint, scope: u32) -> SocketAddress {
    if domain == AF_INET {
        let ip = if at.ip == Ip::ANY { Ip::ANY4 } else { at.ip };
        return SocketAddress::Inet(SocketAddrV4::new(ip.to_v4(), at.port));
    }
    let scope = if at.ip.is_link_scope() { scope } else { 0 };
    SocketAddress::Inet6(SocketAddrV6::new(at.ip.to_v6(), at.port, 0, scope))
}

/// IFF_* of an interface.
pub(crate) fn interface_flags(interface: &Interface) -> u32 {
    const UP: u32 = 0x1;
    const BROADCAST: u32 = 0x2;
    const LOOPBACK: u32 = 0x8;
    const RUNNING: u32 = 0x40;
    const MULTICAST: u32 = 0x1000;
    const LOWER_UP: u32 = 0x1_0000;
    if interface.is_loopback() {
        return UP | LOOPBACK | RUNNING | LOWER_UP;
    }
    let carrier = if interface.link_up() { RUNNING | LOWER_UP } else { 0 };
    UP | BROADCAST | MULTICAST | carrier
}

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;

/// The ioctls of netdevice(7).
pub(crate) fn common_ioctl(stack: &Stack, request: u32, argument: &dyn UserWords) -> Result<u64> {
    if !(0x8900..0x8a00).contains(&request) {
        return Err(Errno::ENOTTY);
    }
    if request == SIOCGIFCONF {
        return interface_list(stack, argument);
    }
    let mut ifreq = [0u8; 40];
    argument.load(&mut ifreq)?;
    let config = stack.config();
    let found = if request == SIOCGIFNAME {
        let index = u32::from_ne_bytes([ifreq[16], ifreq[17], ifreq[18], ifreq[19]]);
        config.interface(index)
    } else {
        let name = ifreq[..16].split(|b| *b == 0).next().unwrap_or(&[]);
        config.interfaces.iter().find(|i| i.name.as_bytes() == name)
    };
    let interface = found.ok_or(Errno::ENODEV)?;
    let address = config.addresses_of(interface.index).find(|a| a.ip.is_v4());
    let sockaddr = |ip: Ip| {
        let mut s = [0u8; 16];
        s[..2].copy_from_slice(&AF_INET.to_ne_bytes());
        s[4..8].copy_from_slice(&ip.low32().to_be_bytes());
        s
    };
    let data: [u8; 16] = match request {
        SIOCGIFNAME => {
            let n = interface.name.len().min(15);
            ifreq[..16].fill(0);
            ifreq[..n].copy_from_slice(&interface.name.as_bytes()[..n]);
            argument.store(&ifreq)?;
            return Ok(0);
        }
        SIOCGIFFLAGS => pad(&(interface_flags(interface) as u16).to_ne_bytes()),
        SIOCGIFADDR => sockaddr(address.ok_or(Errno::EADDRNOTAVAIL)?.ip),
        SIOCGIFNETMASK => {
            let prefix = address.ok_or(Errno::EADDRNOTAVAIL)?.prefix;
            sockaddr(Ip::BROADCAST4.mask(prefix))
        }
        SIOCGIFBRDADDR => {
            let address = address.ok_or(Errno::EADDRNOTAVAIL)?;
            let none = interface.is_loopback();
            sockaddr(if none { Ip::ANY4 } else { address.ip.broadcast_of(address.prefix) })
        }
        SIOCGIFMETRIC => pad(&0u32.to_ne_bytes()),
        SIOCGIFMTU => pad(&(interface.mtu as u32).to_ne_bytes()),
        SIOCGIFINDEX => pad(&interface.index.to_ne_bytes()),
        SIOCGIFTXQLEN => pad(&1000u32.to_ne_bytes()),
        SIOCGIFHWADDR => {
            let mut s = [0u8; 16];
            // ARPHRD_LOOPBACK or ARPHRD_ETHER.
            let kind: u16 = if interface.is_loopback() { 772 } else { 1 };
            s[..2].copy_from_slice(&kind.to_ne_bytes());
            s[2..8].copy_from_slice(&interface.mac);
            s
        }
        _ => return Err(Errno::ENOTTY),
    };
    ifreq[16..32].copy_from_slice(&data);
    argument.store(&ifreq)?;
    Ok(0)
}

fn pad(bytes: &[u8]) -> [u8; 16] {
    let mut data = [0; 16];
    data[..bytes.len()].copy_from_slice(bytes);
    data
}

/// SIOCGIFCONF: only the length can be told, as the buffer lies behind a
/// pointer that an object may not follow. With no buffer that is the answer.
fn interface_list(stack: &Stack, argument: &dyn UserWords) -> Result<u64> {
    let mut ifconf = [0u8; 16];
    argument.load(&mut ifconf)?;
    let config = stack.config();
    let count = config.addresses.iter().filter(|a| a.ip.is_v4()).count();
    let pointer = &ifconf[8..16];
    if pointer != [0; 8] {
        return Err(Errno::EOPNOTSUPP);
    }
    ifconf[..4].copy_from_slice(&((count * 40) as i32).to_ne_bytes());
    argument.store(&ifconf)?;
    Ok(0)
}

/// The records that SIOCGIFCONF stores behind its pointer, for the system
/// call layer that can follow it.
pub(crate) fn interface_records(stack: &Stack) -> alloc::vec::Vec<u8> {
    let config = stack.config();
    let mut all = vec![];
    for address in config.addresses.iter().filter(|a| a.ip.is_v4()) {
        let Some(interface) = config.interface(address.interface) else { continue };
        let mut record = [0u8; 40];
        let n = interface.name.len().min(15);
        record[..n].copy_from_slice(&interface.name.as_bytes()[..n]);
        record[16..18].copy_from_slice(&AF_INET.to_ne_bytes());
        record[20..24].copy_from_slice(&address.ip.low32().to_be_bytes());
        all.extend_from_slice(&record);
    }
    all
}
