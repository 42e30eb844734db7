// SPDX-License-Identifier: Apache-2.0 OR MIT
//! UDP, ICMP and fragments between two hosts.

use super::network::{A, B, CLEAN, Faults, Network, read, receive, send_to, tcp, udp, v4, write};
use core::net::Ipv4Addr;
use core::time::Duration;
use kio::{Control, Errno, Events, MessageFlags, SliceSink, SocketAddress};
use std::vec::Vec;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn datagrams_of_all_sizes() {
    for offload in [false, true] {
        let network = Network::new(1, Faults { offload, ..CLEAN });
        let (one, two) = (udp(&network.a), udp(&network.b));
        two.bind(&v4(B, 53)).unwrap();
        for size in [0, 1, 1472, 1473, 9000, 65_507] {
            let data: Vec<u8> = (0..size).map(super::network::pattern).collect();
            assert_eq!(send_to(&*one, &data, &v4(B, 53)).unwrap(), size);
            network.run(SECOND);
            let (got, info) = receive(&*two).unwrap();
            assert!(got == data, "{size} bytes");
            assert!(matches!(info.from, Some(SocketAddress::Inet(a)) if *a.ip() == A));
        }
        let large = std::vec![0; 65_508];
        assert_eq!(send_to(&*one, &large, &v4(B, 53)), Err(Errno::EMSGSIZE));
    }
}

#[test]
fn truncation_and_peeking() {
    let network = Network::new(1, CLEAN);
    let (one, two) = (udp(&network.a), udp(&network.b));
    two.bind(&v4(B, 53)).unwrap();
    send_to(&*one, b"0123456789", &v4(B, 53)).unwrap();
    network.run(SECOND);
    let take = |flags| {
        let mut buffer = [0; 4];
        two.receive(&mut SliceSink::new(&mut buffer), flags).map(|r| (r.count, r.flags))
    };
    assert_eq!(take(MessageFlags::PEEK).unwrap(), (4, MessageFlags::TRUNC));
    let both = MessageFlags::PEEK | MessageFlags::TRUNC;
    assert_eq!(take(both).unwrap(), (10, MessageFlags::TRUNC));
    assert_eq!(take(MessageFlags::empty()).unwrap(), (4, MessageFlags::TRUNC));
    assert_eq!(take(MessageFlags::empty()), Err(Errno::EAGAIN));
}

#[test]
fn missing_memory_loses_nothing() {
    struct Hole;
    impl kio::Sink for Hole {
        fn remaining(&self) -> usize {
            100
        }
        fn put(&mut self, _bytes: &[u8]) -> kio::Result<usize> {
            Err(Errno::EFAULT)
        }
    }
    let network = Network::new(1, CLEAN);
    let (one, two) = (udp(&network.a), udp(&network.b));
    two.bind(&v4(B, 53)).unwrap();
    send_to(&*one, b"kept", &v4(B, 53)).unwrap();
    let (client, server) = network.pair(80);
    write(&*client, b"kept").unwrap();
    network.run(SECOND);
    for socket in [&two, &server] {
        assert_eq!(socket.read_at(0, &mut Hole), Err(Errno::EFAULT));
        assert_eq!(read(&**socket, 100).unwrap(), b"kept");
    }
}

#[test]
fn connected_sockets_win_and_filter() {
    let network = Network::new(1, CLEAN);
    let (general, special, sender) = (udp(&network.b), udp(&network.b), udp(&network.a));
    for s in [&general, &special] {
        s.set_option(1, 2, &1i32.to_ne_bytes()).unwrap();
        s.bind(&v4(B, 53)).unwrap();
    }
    sender.bind(&v4(A, 1000)).unwrap();
    special.connect(&v4(A, 1000)).unwrap();
    send_to(&*sender, b"x", &v4(B, 53)).unwrap();
    send_to(&*udp(&network.a), b"y", &v4(B, 53)).unwrap();
    network.run(SECOND);
    assert_eq!(read(&*special, 10).unwrap(), b"x");
    assert_eq!(read(&*general, 10).unwrap(), b"y");
    special.close();
    send_to(&*sender, b"z", &v4(B, 53)).unwrap();
    network.run(SECOND);
    assert_eq!(read(&*general, 10).unwrap(), b"z");
}

#[test]
fn port_unreachable_is_connection_refused() {
    let network = Network::new(1, CLEAN);
    let socket = udp(&network.a);
    socket.connect(&v4(B, 9)).unwrap();
    write(&*socket, b"x").unwrap();
    network.run(SECOND);
    assert!(socket.poll().contains(Events::ERR));
    assert_eq!(write(&*socket, b"x"), Err(Errno::ECONNREFUSED));
}

#[test]
fn broadcast_needs_permission() {
    let network = Network::new(1, CLEAN);
    let (one, two) = (udp(&network.a), udp(&network.b));
    two.bind(&v4(Ipv4Addr::UNSPECIFIED, 53)).unwrap();
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        assert_eq!(send_to(&*one, b"x", &v4(to, 53)), Err(Errno::EACCES));
    }
    one.set_option(1, 6, &1i32.to_ne_bytes()).unwrap();
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        send_to(&*one, b"all", &v4(to, 53)).unwrap();
        network.run(SECOND);
        assert_eq!(read(&*two, 10).unwrap(), b"all");
    }
}

#[test]
fn multicast_reaches_members_only() {
    let network = Network::new(1, CLEAN);
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let (one, two) = (udp(&network.a), udp(&network.b));
    two.bind(&v4(Ipv4Addr::UNSPECIFIED, 5353)).unwrap();
    send_to(&*one, b"early", &v4(group, 5353)).unwrap();
    network.run(SECOND);
    assert_eq!(read(&*two, 10), Err(Errno::EAGAIN));
    let mut request = group.octets().to_vec();
    request.extend_from_slice(&B.octets());
    two.set_option(0, 35, &request).unwrap();
    send_to(&*one, b"now", &v4(group, 5353)).unwrap();
    network.run(SECOND);
    assert_eq!(read(&*two, 10).unwrap(), b"now");
    // The member's own multicast comes back to it.
    send_to(&*two, b"self", &v4(group, 5353)).unwrap();
    assert_eq!(read(&*two, 10).unwrap(), b"self");
}

#[test]
fn packet_information() {
    let network = Network::new(1, CLEAN);
    let (one, two) = (udp(&network.a), udp(&network.b));
    two.bind(&v4(Ipv4Addr::UNSPECIFIED, 53)).unwrap();
    for option in [8, 12] {
        two.set_option(0, option, &1i32.to_ne_bytes()).unwrap();
    }
    send_to(&*one, b"x", &v4(B, 53)).unwrap();
    network.run(SECOND);
    let (_, info) = receive(&*two).unwrap();
    let raw: Vec<_> = info
        .control
        .iter()
        .map(|c| match c {
            Control::Raw { level, kind, data } => (*level, *kind, data.clone()),
            Control::Rights(_) => panic!(),
        })
        .collect();
    assert_eq!(raw[0].0, 0);
    assert_eq!(
        (raw[0].1, &raw[0].2[..4], &raw[0].2[8..]),
        (8, &2i32.to_ne_bytes()[..], &B.octets()[..])
    );
    assert_eq!(raw[1], (0, 2, 64i32.to_ne_bytes().to_vec()));
}

#[test]
fn ping_sockets_and_raw_sockets() {
    let network = Network::new(1, CLEAN);
    let ping = network.a.socket(2, 2, 1).unwrap();
    let raw = network.a.socket(2, 3, 1).unwrap();
    let echo = [8, 0, 0, 0, 0, 0, 0, 1, b'd', b'a', b't', b'a'];
    send_to(&*ping, &echo, &v4(B, 0)).unwrap();
    network.run(SECOND);
    let (reply, _) = receive(&*ping).unwrap();
    assert_eq!((reply[0], &reply[6..]), (0, &echo[6..]));
    let (reply, _) = receive(&*raw).unwrap();
    assert_eq!((reply[0], reply[20], &reply[26..]), (0x45, 0, &echo[6..]));
    raw.close();
    ping.close();
}

#[test]
fn udp_queue_is_bounded() {
    let network = Network::new(1, CLEAN);
    let (one, two) = (udp(&network.a), udp(&network.b));
    two.bind(&v4(B, 53)).unwrap();
    for _ in 0..2000 {
        send_to(&*one, &[0; 1000], &v4(B, 53)).unwrap();
        network.run(Duration::from_millis(1));
    }
    let n = std::iter::from_fn(|| read(&*two, 2000).ok()).count();
    assert!((100..200).contains(&n), "{n}");
}

#[test]
fn unknown_options_and_wrong_families() {
    let network = Network::new(1, CLEAN);
    let socket = tcp(&network.a);
    assert_eq!(socket.set_option(6, 999, &[0; 4]), Err(Errno::ENOPROTOOPT));
    assert_eq!(socket.set_option(1, 9, &[0; 2]), Err(Errno::EINVAL));
    assert_eq!(socket.set_option(6, 4, &0i32.to_ne_bytes()), Err(Errno::EINVAL));
    let wrong = network.a.socket(99, 1, 0).map(|_| ()).unwrap_err();
    assert_eq!(wrong, Errno::EAFNOSUPPORT);
    let wrong = network.a.socket(2, 1, 17).map(|_| ()).unwrap_err();
    assert_eq!(wrong, Errno::EPROTONOSUPPORT);
    assert_eq!(socket.bind(&SocketAddress::Unix(Vec::new())), Err(Errno::EAFNOSUPPORT));
    assert_eq!(socket.bind(&v4(Ipv4Addr::new(9, 9, 9, 9), 1)), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(read(&*socket, 10), Err(Errno::ENOTCONN));
    assert_eq!(write(&*socket, b"x"), Err(Errno::EPIPE));
    assert!(socket.poll().contains(Events::HUP | Events::OUT));
}
