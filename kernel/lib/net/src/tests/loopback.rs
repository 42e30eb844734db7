// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loopback, and the cost of a request on it.

use super::network::{CLEAN, Network, listen, read, tcp, udp, v4, write};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use kio::{Errno, Events, SocketAddress};
use std::vec::Vec;

const LO: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn connects_at_once() {
    let network = Network::bare(1, CLEAN);
    let listener = listen(&network.a, 80, 16);
    let client = tcp(&network.a);
    assert_eq!(client.connect(&v4(LO, 80)), Err(Errno::EINPROGRESS));
    assert!(client.poll().contains(Events::OUT));
    let (server, from) = listener.accept().unwrap();
    assert_eq!(from, client.local_address().unwrap());
    write(&*client, b"ping").unwrap();
    assert_eq!(read(&*server, 10).unwrap(), b"ping");
    // Large writes go through without deep recursion or a stall.
    let mut left = 4 << 20;
    let block = std::vec![7u8; 300_000];
    while left > 0 {
        if let Ok(n) = write(&*client, &block[..block.len().min(left)]) {
            left -= n;
        }
        while let Ok(bytes) = read(&*server, 100_000) {
            assert!(bytes.iter().all(|b| *b == 7));
        }
    }
}

#[test]
fn dual_stack_listener_sees_mapped_addresses() {
    let network = Network::bare(1, CLEAN);
    let listener = network.a.socket(10, 1, 0).unwrap();
    let any = SocketAddress::Inet6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 80, 0, 0));
    listener.bind(&any).unwrap();
    listener.listen(5).unwrap();
    let client = tcp(&network.a);
    assert_eq!(client.connect(&v4(LO, 80)), Err(Errno::EINPROGRESS));
    let (server, from) = listener.accept().unwrap();
    let SocketAddress::Inet6(from) = from else { panic!() };
    assert_eq!(from.ip().to_ipv4_mapped(), Some(LO));
    let SocketAddress::Inet6(local) = server.local_address().unwrap() else { panic!() };
    assert_eq!(local.ip().to_ipv4_mapped(), Some(LO));
    let client = network.a.socket(10, 1, 0).unwrap();
    let to = SocketAddress::Inet6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, 0));
    assert_eq!(client.connect(&to), Err(Errno::EINPROGRESS));
    assert!(listener.accept().is_ok());
    // IPV6_V6ONLY refuses IPv4.
    let only = network.a.socket(10, 1, 0).unwrap();
    only.set_option(41, 26, &1i32.to_ne_bytes()).unwrap();
    only.bind(&SocketAddress::Inet6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 81, 0, 0))).unwrap();
    only.listen(5).unwrap();
    let client = tcp(&network.a);
    let _ = client.connect(&v4(LO, 81));
    assert_eq!(client.take_error(), Some(Errno::ECONNREFUSED));
    // And leaves the port to an IPv4 listener.
    listen(&network.a, 81, 1);
}

#[test]
fn reuse_port_spreads() {
    let network = Network::bare(1, CLEAN);
    let listeners: Vec<_> = (0..4)
        .map(|_| {
            let s = tcp(&network.a);
            s.set_option(1, 15, &1i32.to_ne_bytes()).unwrap();
            s.bind(&v4(Ipv4Addr::UNSPECIFIED, 80)).unwrap();
            s.listen(128).unwrap();
            s
        })
        .collect();
    for _ in 0..200 {
        let c = tcp(&network.a);
        let _ = c.connect(&v4(LO, 80));
        assert!(c.poll().contains(Events::OUT));
    }
    for l in &listeners {
        let n = std::iter::from_fn(|| l.accept().ok()).count();
        assert!((20..90).contains(&n), "{n} of 200");
    }
}

#[test]
fn udp_errors_come_back() {
    let network = Network::bare(1, CLEAN);
    let socket = udp(&network.a);
    socket.connect(&v4(LO, 9)).unwrap();
    write(&*socket, b"x").unwrap();
    assert!(socket.poll().contains(Events::ERR));
    assert_eq!(read(&*socket, 10), Err(Errno::ECONNREFUSED));
    assert_eq!(read(&*socket, 10), Err(Errno::EAGAIN));
}

/// Prints what a request and its answer cost.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_request() {
    let network = Network::bare(1, CLEAN);
    let listener = listen(&network.a, 80, 16);
    let many: Vec<_> = (0..10_000)
        .map(|_| {
            let c = tcp(&network.a);
            let _ = c.connect(&v4(LO, 80));
            (c, listener.accept().unwrap().0)
        })
        .collect();
    for active in [1, many.len()] {
        const ROUNDS: usize = 200_000;
        let start = std::time::Instant::now();
        for n in 0..ROUNDS {
            let (client, server) = &many[n * 7919 % active];
            write(&**client, &[1; 100]).unwrap();
            read(&**server, 4096).unwrap();
            write(&**server, &[1; 1000]).unwrap();
            read(&**client, 4096).unwrap();
        }
        let each = start.elapsed().as_nanos() / ROUNDS as u128;
        std::println!("{active} connections: {each} ns for a request with its answer");
    }
    let start = std::time::Instant::now();
    for _ in 0..20_000 {
        let client = tcp(&network.a);
        let _ = client.connect(&v4(LO, 80));
        let (server, _) = listener.accept().unwrap();
        write(&*client, &[1; 100]).unwrap();
        read(&*server, 4096).unwrap();
        write(&*server, &[1; 1000]).unwrap();
        server.close();
        read(&*client, 4096).unwrap();
        client.close();
    }
    std::println!("{} ns for a connection", start.elapsed().as_nanos() / 20_000);
}
