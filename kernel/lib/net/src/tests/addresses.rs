// SPDX-License-Identifier: Apache-2.0 OR MIT
//! DHCP, neighbours, IPv6 configuration, netlink.

use super::network::{
    A, CLEAN, Faults, Network, read, receive, send_to, tcp, transfer, udp, v4, write,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use core::time::Duration;
use kio::{Errno, Events, SocketAddress};
use ksync::SpinLock;
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};
use std::sync::Arc;
use std::vec::Vec;

const SECOND: Duration = Duration::from_secs(1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 15);

/// Answers what is in the socket's queue, as a server on host A.
fn serve(
    network: &Network,
    socket: &dyn kio::Socket,
    refuse: bool,
    log: &mut Vec<DhcpMessageType>,
) {
    while let Ok((bytes, info)) = receive(socket) {
        let packet = DhcpPacket::new_checked(&bytes[..]).unwrap();
        let request = DhcpRepr::parse(&packet).unwrap();
        log.push(request.message_type);
        let message_type = match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request if refuse => DhcpMessageType::Nak,
            _ => DhcpMessageType::Ack,
        };
        let mut reply = DhcpRepr {
            message_type,
            your_ip: GIVEN,
            server_ip: SERVER,
            router: Some(SERVER),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(SERVER),
            parameter_request_list: None,
            dns_servers: Some(Default::default()),
            max_size: None,
            lease_duration: Some(600),
            additional_options: &[],
            client_hardware_address: EthernetAddress([2, 0, 0, 0, 0, 2]),
            ..request
        };
        reply.dns_servers.as_mut().unwrap().push(Ipv4Addr::new(10, 0, 0, 3)).unwrap();
        let mut out = std::vec![0; reply.buffer_len()];
        reply.emit(&mut DhcpPacket::new_unchecked(&mut out[..])).unwrap();
        let to = match info.from {
            Some(SocketAddress::Inet(from)) if !from.ip().is_unspecified() => *from.ip(),
            _ => Ipv4Addr::BROADCAST,
        };
        send_to(socket, &out, &v4(to, 68)).unwrap();
    }
    let _ = network;
}

#[test]
fn dhcp_gives_keeps_and_takes_an_address() {
    for loss in [0, 300] {
        let network = Network::bare(21, CLEAN);
        network.a.configure(2, IpAddr::V4(A), 24, None).unwrap();
        network.link.faults.lock().loss = loss;
        let server = udp(&network.a);
        server.set_option(1, 6, &1i32.to_ne_bytes()).unwrap();
        server.bind(&v4(Ipv4Addr::UNSPECIFIED, 67)).unwrap();
        let seen = Arc::new(SpinLock::new(Vec::new()));
        let observer = seen.clone();
        network.b.set_hostname("guest");
        network
            .b
            .start_dhcp(2, Some(Arc::new(move |_, lease| observer.lock().push(lease.cloned()))))
            .unwrap();
        let mut log = Vec::new();
        let bound = network.until(300 * SECOND, || {
            serve(&network, &*server, false, &mut log);
            network.b.lease(2).is_some()
        });
        assert!(bound);
        let lease = network.b.lease(2).unwrap();
        assert_eq!((lease.address, lease.prefix), (GIVEN, 24));
        assert_eq!(lease.gateway, Some(SERVER));
        assert_eq!(lease.dns, [Ipv4Addr::new(10, 0, 0, 3)]);
        assert!(
            network.b.routes().iter().any(|r| r.prefix == 0 && r.gateway == Some(SERVER.into()))
        );
        // Renewed for an hour.
        network.link.faults.lock().loss = 0;
        let renewals = log.len();
        network.until(3600 * SECOND, || {
            serve(&network, &*server, false, &mut log);
            false
        });
        assert!((10..20).contains(&(log.len() - renewals)), "{}", log.len() - renewals);
        assert!(network.b.lease(2).is_some());
        // The server is gone: the address goes with the lease.
        server.close();
        network.run(700 * SECOND);
        assert!(network.b.lease(2).is_none());
        assert_eq!(seen.lock().last(), Some(&None));
        let left = network.b.interfaces()[1].addresses.clone();
        assert!(left.iter().all(|(ip, _)| ip.is_ipv6()), "{left:?}");
    }
}

#[test]
fn dhcp_starts_over_when_refused() {
    let network = Network::bare(22, CLEAN);
    network.a.configure(2, IpAddr::V4(A), 24, None).unwrap();
    let server = udp(&network.a);
    server.set_option(1, 6, &1i32.to_ne_bytes()).unwrap();
    server.bind(&v4(Ipv4Addr::UNSPECIFIED, 67)).unwrap();
    network.b.start_dhcp(2, None).unwrap();
    assert_eq!(network.b.start_dhcp(2, None), Err(Errno::EALREADY));
    let mut log = Vec::new();
    network.until(20 * SECOND, || {
        serve(&network, &*server, true, &mut log);
        false
    });
    assert!(network.b.lease(2).is_none());
    assert!(log.iter().filter(|m| **m == DhcpMessageType::Discover).count() > 3);
    assert!(network.until(20 * SECOND, || {
        serve(&network, &*server, false, &mut log);
        network.b.lease(2).is_some()
    }));
}

fn link_local(network: &Network, side: usize) -> Ipv6Addr {
    let stack = if side == 0 { &network.a } else { &network.b };
    let found = stack.interfaces()[1].addresses.iter().find_map(|(ip, _)| match ip {
        IpAddr::V6(ip) => Some(*ip),
        IpAddr::V4(_) => None,
    });
    found.unwrap()
}

#[test]
fn ipv6_link_local_works_with_a_scope() {
    for loss in [0, 20] {
        let network = Network::bare(5, Faults { loss: 0, ..CLEAN });
        network.run(3 * SECOND);
        network.link.faults.lock().loss = loss;
        let to = link_local(&network, 1);
        assert_eq!(to, "fe80::ff:fe00:2".parse::<Ipv6Addr>().unwrap());
        let listener = network.b.socket(10, 1, 0).unwrap();
        listener
            .bind(&SocketAddress::Inet6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 80, 0, 0)))
            .unwrap();
        listener.listen(5).unwrap();
        let client = network.a.socket(10, 1, 0).unwrap();
        let to = SocketAddress::Inet6(SocketAddrV6::new(to, 80, 0, 2));
        assert_eq!(client.connect(&to), Err(Errno::EINPROGRESS));
        let mut server = None;
        assert!(network.until(100 * SECOND, || {
            server = listener.accept().ok();
            server.is_some()
        }));
        let (server, from) = server.unwrap();
        let SocketAddress::Inet6(from) = from else { panic!() };
        assert_eq!(*from.ip(), link_local(&network, 0));
        assert!(network.until(100 * SECOND, || client.poll().contains(Events::OUT)));
        transfer(&network, &*client, &*server, 100_000, 600 * SECOND);
        transfer(&network, &*server, &*client, 100_000, 600 * SECOND);
    }
}

#[test]
fn router_advertisements_configure() {
    let network = Network::bare(5, CLEAN);
    network.run(2 * SECOND);
    let raw = network.a.socket(10, 3, 58).unwrap();
    // Hop limit 255, or it is not believed.
    let mut advertisement = std::vec![134u8, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    advertisement.extend_from_slice(&[1, 1, 2, 0, 0, 0, 0, 1]);
    advertisement.extend_from_slice(&[3, 4, 64, 0xc0]);
    advertisement.extend_from_slice(&3600u32.to_be_bytes());
    advertisement.extend_from_slice(&1800u32.to_be_bytes());
    advertisement.extend_from_slice(&[0; 4]);
    advertisement.extend_from_slice(&"2001:db8::".parse::<Ipv6Addr>().unwrap().octets());
    let all = SocketAddress::Inet6(SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, 2));
    send_to(&*raw, &advertisement, &all).unwrap();
    network.run(2 * SECOND);
    assert!(network.b.routes().iter().all(|r| r.gateway.is_none()), "hop limit 64");
    raw.set_option(41, 16, &255i32.to_ne_bytes()).unwrap();
    send_to(&*raw, &advertisement, &all).unwrap();
    network.run(2 * SECOND);
    let addresses = network.b.interfaces()[1].addresses.clone();
    let global: IpAddr = "2001:db8::ff:fe00:2".parse().unwrap();
    assert!(addresses.contains(&(global, 64)), "{addresses:?}");
    let gateway = IpAddr::V6(link_local(&network, 0));
    assert!(network.b.routes().iter().any(|r| r.prefix == 0 && r.gateway == Some(gateway)));
    let socket = network.b.socket(10, 2, 0).unwrap();
    let far = SocketAddrV6::new("2001:db8:1::1".parse().unwrap(), 53, 0, 0);
    socket.connect(&SocketAddress::Inet6(far)).unwrap();
    let SocketAddress::Inet6(local) = socket.local_address().unwrap() else { panic!() };
    assert_eq!(IpAddr::V6(*local.ip()), global);
}

#[test]
fn duplicate_address_is_dropped() {
    let network = Network::bare(5, CLEAN);
    // Both have the same: what A checks, B answers for, and so on.
    *network.link.log.lock() = Some(Vec::new());
    network.run(2 * SECOND);
    let mine = link_local(&network, 0);
    let socket = network.b.socket(10, 3, 58).unwrap();
    socket.set_option(41, 16, &255i32.to_ne_bytes()).unwrap();
    let third = Network::bare(6, CLEAN);
    let raw = third.b.socket(10, 3, 58).unwrap();
    raw.set_option(41, 16, &255i32.to_ne_bytes()).unwrap();
    third.run(Duration::from_millis(1200));
    let mut claim = std::vec![136u8, 0, 0, 0, 0x20, 0, 0, 0];
    claim.extend_from_slice(&mine.octets());
    claim.extend_from_slice(&[2, 1, 2, 0, 0, 0, 0, 9]);
    let all = SocketAddress::Inet6(SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, 2));
    send_to(&*raw, &claim, &all).unwrap();
    third.run(SECOND);
    // It was settled already: the address stays.
    assert_eq!(link_local(&third, 0), mine);
}

#[test]
fn netlink_lists_links_addresses_and_routes() {
    let network = Network::new(1, CLEAN);
    let socket = network.a.socket(16, 3, 0).unwrap();
    socket.bind(&SocketAddress::Netlink { port: 0, groups: 0 }).unwrap();
    let dump = |kind: u16, family: u8| {
        let mut request = Vec::new();
        request.extend_from_slice(&17u32.to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&0x301u16.to_ne_bytes());
        request.extend_from_slice(&7u32.to_ne_bytes());
        request.extend_from_slice(&0u32.to_ne_bytes());
        request.push(family);
        write(&*socket, &request).unwrap();
        let mut kinds = Vec::new();
        while let Ok(bytes) = read(&*socket, 65_536) {
            let mut at = 0;
            while at < bytes.len() {
                let length = u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
                assert!(length >= 16 && length.is_multiple_of(4));
                let header = &bytes[at..at + 16];
                assert_eq!(header[8..12], 7u32.to_ne_bytes());
                kinds.push(u16::from_ne_bytes(header[4..6].try_into().unwrap()));
                at += length;
            }
        }
        kinds
    };
    assert_eq!(dump(18, 0), [16, 16, 3]);
    assert_eq!(dump(22, 2), [20, 20, 3]);
    assert_eq!(dump(22, 0), [20, 20, 20, 20, 3]);
    assert_eq!(dump(26, 2), [24, 3]);
    assert_eq!(dump(99, 0), [2]);
}

#[test]
fn a_neighbour_that_moves_is_found_again() {
    let network = Network::new(1, CLEAN);
    let (client, server) = network.pair(80);
    transfer(&network, &*client, &*server, 1000, 10 * SECOND);
    for _ in 0..5 {
        network.run(60 * SECOND);
        transfer(&network, &*client, &*server, 1000, 10 * SECOND);
    }
    assert!(network.a.neighbours(2).iter().any(|(_, mac)| *mac == Some([2, 0, 0, 0, 0, 2])));
    let _ = tcp(&network.a);
}
