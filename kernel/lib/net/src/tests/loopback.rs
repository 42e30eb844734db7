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

/// Wakes that are counted, as epoll sees them.
#[derive(Default)]
struct Edges(ksync::SpinLock<Vec<Events>>);

impl kio::Wake for Edges {
    fn wake(&self, _key: u64, ready: Events) {
        self.0.lock().push(ready);
    }
}

#[test]
fn edges_are_told_each_time() {
    let network = Network::bare(1, CLEAN);
    let listener = listen(&network.a, 80, 16);
    let edges = std::sync::Arc::new(Edges::default());
    let all = Events::IN | Events::OUT | Events::RDHUP;
    let watch = |s: &dyn kio::Socket| {
        s.wait_queue().unwrap().register(edges.clone(), 0, all, false);
    };
    let taken = || core::mem::take(&mut *edges.0.lock());
    let told = |e: Events| taken().iter().any(|w| w.contains(e));
    watch(&*listener);
    let client = tcp(&network.a);
    watch(&*client);
    client.set_option(6, 1, &1i32.to_ne_bytes()).unwrap();
    let _ = client.connect(&v4(LO, 80));
    assert!(told(Events::IN | Events::RDNORM) || told(Events::OUT));
    let (server, _) = listener.accept().unwrap();
    watch(&*server);
    // Data that comes while older data is unread is an edge too.
    for _ in 0..3 {
        let _ = taken();
        write(&*client, b"more").unwrap();
        assert!(told(Events::IN));
    }
    // A writer that met a full buffer hears of room, once it is worth it.
    let block = std::vec![1u8; 1 << 20];
    while write(&*client, &block).is_ok() {}
    assert!(!client.poll().contains(Events::OUT));
    let _ = taken();
    let mut rounds = 0;
    while !told(Events::OUT) {
        rounds += 1;
        assert!(rounds < 1000, "no edge for the writer");
        if read(&*server, 65_536).is_err() {
            network.run(core::time::Duration::from_millis(50));
        }
    }
    assert!(client.poll().contains(Events::OUT));
    let _ = taken();
    client.shutdown(kio::Shutdown::Write).unwrap();
    while read(&*server, 1 << 20).is_ok_and(|b| !b.is_empty()) {}
    network.run(core::time::Duration::from_millis(300));
    while read(&*server, 1 << 20).is_ok_and(|b| !b.is_empty()) {}
    network.run(core::time::Duration::from_millis(300));
    assert!(told(Events::RDHUP));
    let _ = udp(&network.a);
}

/// Threads that use one stack at once neither deadlock nor lose a byte.
#[test]
fn many_cpus_at_once() {
    let network = Network::bare(1, CLEAN);
    let listener = listen(&network.a, 80, 128);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The only one that moves time.
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                network.run(core::time::Duration::from_millis(1));
                std::thread::yield_now();
            }
        });
        let servers = (0..2).map(|_| {
            scope.spawn(|| {
                let mut open: Vec<std::sync::Arc<dyn kio::Socket>> = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    while let Ok((s, _)) = listener.accept() {
                        open.push(s);
                    }
                    open.retain(|s| match read(&**s, 4096) {
                        Ok(b) if b.is_empty() => {
                            s.close();
                            false
                        }
                        Ok(b) => write(&**s, &b).is_ok(),
                        Err(e) => e == Errno::EAGAIN,
                    });
                    std::thread::yield_now();
                }
                open.iter().for_each(|s| s.close());
            })
        });
        let servers: Vec<_> = servers.collect();
        let clients: Vec<_> = (0..4u8)
            .map(|id| {
                let network = &network;
                scope.spawn(move || {
                    for round in 0..200u32 {
                        let c = tcp(&network.a);
                        let _ = c.connect(&v4(LO, 80));
                        while !c.poll().contains(Events::OUT) {
                            std::thread::yield_now();
                        }
                        for _ in 0..5 {
                            let data = [id ^ round as u8; 700];
                            write(&*c, &data).unwrap();
                            let mut got = 0;
                            while got < data.len() {
                                match read(&*c, 4096) {
                                    Ok(b) => {
                                        assert!(b.iter().all(|x| *x == data[0]) && !b.is_empty());
                                        got += b.len();
                                    }
                                    Err(Errno::EAGAIN) => std::thread::yield_now(),
                                    Err(e) => panic!("{e}"),
                                }
                            }
                        }
                        c.close();
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|c| c.join().unwrap());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        servers.into_iter().for_each(|s| s.join().unwrap());
    });
    listener.close();
    network.run(core::time::Duration::from_secs(300));
    network.assert_no_connections();
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
        network.run(core::time::Duration::from_millis(1));
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
