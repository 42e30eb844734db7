// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What /proc/net shows, as values.

use crate::stack::Stack;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::Ordering;

/// One interface, for /proc/net/dev and /proc/net/if_inet6.
#[derive(Clone, Debug)]
pub struct InterfaceReport {
    /// Index, from 1.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: usize,
    /// IFF_* bits.
    pub flags: u32,
    /// Addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// rx packets, bytes, errors, dropped, multicast.
    pub received: [u64; 5],
    /// tx packets, bytes, dropped.
    pub sent: [u64; 3],
}

/// One route, for /proc/net/route and /proc/net/ipv6_route.
#[derive(Clone, Debug)]
pub struct RouteReport {
    /// Network.
    pub network: IpAddr,
    /// Length of its prefix.
    pub prefix: u8,
    /// Gateway, if not on the link.
    pub gateway: Option<IpAddr>,
    /// Interface.
    pub interface: u32,
}

/// One socket, for /proc/net/tcp, tcp6, udp and udp6.
#[derive(Clone, Debug)]
pub struct SocketReport {
    /// AF_INET or AF_INET6.
    pub domain: u16,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Number of the state, as in /proc/net/tcp.
    pub state: u8,
    /// Bytes not acknowledged.
    pub send_queue: usize,
    /// Bytes not read.
    pub receive_queue: usize,
    /// Retransmissions of the segment that is due.
    pub retransmits: u32,
    /// Inode of the socket.
    pub inode: u64,
}

fn address(at: crate::ip::Endpoint, domain: u16) -> SocketAddr {
    let ip = match domain {
        2 if at.ip.is_v4() => IpAddr::V4(at.ip.to_v4()),
        2 => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(at.ip.to_v6()),
    };
    SocketAddr::new(ip, at.port)
}

impl Stack {
    /// All interfaces.
    pub fn interfaces(&self) -> Vec<InterfaceReport> {
        let config = self.config();
        let load = |c: &core::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
        let report = |i: &alloc::sync::Arc<crate::interface::Interface>| {
            let c = &i.counters;
            InterfaceReport {
                index: i.index,
                name: i.name.clone(),
                mac: i.mac,
                mtu: i.mtu,
                flags: crate::socket::interface_flags(i),
                addresses: config
                    .addresses_of(i.index)
                    .map(|a| (a.ip.to_addr(), a.prefix))
                    .collect(),
                received: [
                    load(&c.rx_packets),
                    load(&c.rx_bytes),
                    load(&c.rx_errors),
                    load(&c.rx_dropped),
                    load(&c.rx_multicast),
                ],
                sent: [load(&c.tx_packets), load(&c.tx_bytes), load(&c.tx_dropped)],
            }
        };
        config.interfaces.iter().map(report).collect()
    }

    /// All routes.
    pub fn routes(&self) -> Vec<RouteReport> {
        let report = |r: &crate::route::Route| RouteReport {
            network: r.network.to_addr(),
            prefix: r.prefix,
            gateway: r.gateway.map(|g| g.to_addr()),
            interface: r.interface,
        };
        self.config().routes.iter().map(report).collect()
    }

    /// Neighbours of an interface with their link addresses, for /proc/net/arp.
    pub fn neighbours(&self, interface: u32) -> Vec<(IpAddr, Option<[u8; 6]>)> {
        let config = self.config();
        let Some(interface) = config.interface(interface) else { return Vec::new() };
        let list = interface.neighbours.lock().list();
        list.into_iter().map(|(ip, mac)| (ip.to_addr(), mac)).collect()
    }

    /// All TCP sockets, those in TIME-WAIT included.
    pub fn tcp_sockets(&self) -> Vec<SocketReport> {
        let mut all = Vec::new();
        for socket in self.tcp.sockets() {
            let (domain, inode) = socket.domain_and_inode();
            let (state, local, remote, send_queue, receive_queue, retransmits) = socket.summary();
            all.push(SocketReport {
                domain,
                local: address(local, domain),
                remote: address(remote, domain),
                state: state.number(),
                send_queue,
                receive_queue,
                retransmits,
                inode,
            });
        }
        for (local, remote, _left) in self.tcp.time_waits(self.now()) {
            let domain = if local.ip.is_v4() { 2 } else { 10 };
            all.push(SocketReport {
                domain,
                local: address(local, domain),
                remote: address(remote, domain),
                state: 6,
                send_queue: 0,
                receive_queue: 0,
                retransmits: 0,
                inode: 0,
            });
        }
        all
    }

    /// All UDP sockets.
    pub fn udp_sockets(&self) -> Vec<SocketReport> {
        let report = |socket: alloc::sync::Arc<crate::udp::UdpSocket>| {
            let (domain, inode) = socket.domain_and_inode();
            let (local, remote, receive_queue) = socket.summary();
            SocketReport {
                domain,
                local: address(local, domain),
                remote: address(remote, domain),
                state: if remote.port == 0 { 7 } else { 1 },
                send_queue: 0,
                receive_queue,
                retransmits: 0,
                inode,
            }
        };
        self.udp.sockets().into_iter().map(report).collect()
    }

    /// Connections (half-open ones included) and TIME-WAIT records.
    pub fn tcp_counts(&self) -> (usize, usize) {
        self.tcp.counts()
    }

    /// What SIOCGIFCONF stores behind the pointer of its argument: records of
    /// `struct ifreq` (40 bytes each). The system call layer copies them.
    pub fn interface_records(&self) -> Vec<u8> {
        crate::socket::interface_records(self)
    }
}
