// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bytes through TCP over links of all kinds.

use super::network::{B, CLEAN, Faults, Network, connect, listen, read, transfer, write};
use core::time::Duration;
use kio::{Errno, Events, Shutdown};
use std::collections::VecDeque;
use std::vec::Vec;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn clean_link_is_fast() {
    let network = Network::new(1, CLEAN);
    let (client, server) = network.pair(80);
    let start = network.world.time();
    transfer(&network, &*client, &*server, 1 << 20, MINUTE);
    let took = network.world.time() - start;
    assert!(took < Duration::from_millis(100), "{took:?} for 1 MiB at 1 ms");
    transfer(&network, &*server, &*client, 1 << 20, MINUTE);
}

#[test]
fn every_fault_alone_and_together() {
    let each = [
        Faults { loss: 30, ..CLEAN },
        Faults { reorder: 100, ..CLEAN },
        Faults { duplicate: 100, ..CLEAN },
        Faults { corrupt: 30, ..CLEAN },
        Faults { loss: 20, reorder: 50, duplicate: 50, corrupt: 10, ..CLEAN },
        Faults { loss: 150, reorder: 100, ..CLEAN },
        Faults { offload: true, loss: 20, ..CLEAN },
        Faults { queue: 4, ..CLEAN },
        Faults { queue: 2, loss: 20, offload: true, ..CLEAN },
        Faults { delay: Duration::from_millis(80), loss: 5, ns_per_byte: 800, ..CLEAN },
    ];
    for (n, faults) in each.into_iter().enumerate() {
        for seed in 0..3 {
            let network = Network::new(100 * n as u64 + seed, faults);
            let (client, server) = network.pair(80);
            transfer(&network, &*client, &*server, 300_000, 20 * MINUTE);
            transfer(&network, &*server, &*client, 300_000, 20 * MINUTE);
        }
    }
}

#[test]
fn without_sack_and_timestamps_too() {
    // A middle box that takes the options out of the SYN: kind 4 and 8.
    for loss in [0, 30] {
        let network = Network::new(7, Faults { loss, ..CLEAN });
        *network.link.filter.lock() = None;
        let (client, server) = super::states::pair_without_options(&network, 80);
        transfer(&network, &*client, &*server, 200_000, 20 * MINUTE);
        transfer(&network, &*server, &*client, 200_000, 20 * MINUTE);
    }
}

#[test]
fn loss_costs_round_trips_not_timeouts() {
    // 1 % loss at 20 ms: fast retransmit keeps the pipe going.
    let faults = Faults { loss: 10, delay: Duration::from_millis(10), ..CLEAN };
    let network = Network::new(5, faults);
    let (client, server) = network.pair(80);
    let start = network.world.time();
    transfer(&network, &*client, &*server, 2 << 20, MINUTE);
    let took = network.world.time() - start;
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[test]
fn a_lost_tail_comes_soon() {
    let network = Network::new(9, CLEAN);
    let (client, server) = network.pair(80);
    transfer(&network, &*client, &*server, 50_000, MINUTE);
    network.run(Duration::from_secs(1));
    let mut dropped = false;
    *network.link.filter.lock() = Some(std::boxed::Box::new(move |side, bytes| {
        let data = side == 0 && bytes.len() > 100;
        let drop = data && !dropped;
        dropped |= data;
        drop
    }));
    let start = network.world.time();
    write(&*client, &[7; 1000]).unwrap();
    assert!(network.until(MINUTE, || server.poll().contains(Events::IN)));
    let took = network.world.time() - start;
    assert!(took < Duration::from_millis(120), "{took:?}: the probe comes before the timeout");
}

#[test]
fn zero_window_opens_again() {
    for loss in [0, 200] {
        let network = Network::new(11 + loss, Faults { loss, ..CLEAN });
        let (client, server) = network.pair(80);
        let block = [5u8; 32_768];
        let mut sent = 0;
        while network.until(Duration::from_secs(5), || client.poll().contains(Events::OUT)) {
            while let Ok(n) = write(&*client, &block) {
                sent += n;
            }
        }
        // The peer reads nothing for ten minutes: probes keep it alive.
        network.run(10 * MINUTE);
        assert_eq!(client.take_error(), None);
        let mut got = 0;
        let done = network.until(10 * MINUTE, || {
            while let Ok(bytes) = read(&*server, 65_536) {
                got += bytes.len();
            }
            got == sent
        });
        assert!(done, "{got} of {sent}");
    }
}

#[test]
fn small_writes_are_coalesced_unless_no_delay() {
    let count = |no_delay: i32| {
        let network = Network::new(3, CLEAN);
        let (client, server) = network.pair(80);
        client.set_option(6, 1, &no_delay.to_ne_bytes()).unwrap();
        network.run(Duration::from_secs(1));
        *network.link.log.lock() = Some(Vec::new());
        for _ in 0..100 {
            write(&*client, b"x").unwrap();
        }
        network.run(Duration::from_secs(1));
        assert_eq!(read(&*server, 1000).unwrap().len(), 100);
        let log = network.link.log.lock().take().unwrap();
        let data = |b: &[u8]| b.len() > 66 && b[12..14] == [8, 0];
        log.iter().filter(|(_, side, bytes)| *side == 0 && data(bytes)).count()
    };
    assert!(count(0) <= 3, "Nagle sends one, then the rest");
    assert_eq!(count(1), 100);
}

#[test]
fn cork_holds_until_it_is_pulled() {
    let network = Network::new(3, CLEAN);
    let (client, server) = network.pair(80);
    client.set_option(6, 3, &1i32.to_ne_bytes()).unwrap();
    write(&*client, b"head").unwrap();
    network.run(Duration::from_millis(100));
    assert_eq!(read(&*server, 100), Err(Errno::EAGAIN));
    write(&*client, b"body").unwrap();
    client.set_option(6, 3, &0i32.to_ne_bytes()).unwrap();
    network.run(Duration::from_millis(5));
    assert_eq!(read(&*server, 100).unwrap(), b"headbody");
    // And at most 200 ms.
    client.set_option(6, 3, &1i32.to_ne_bytes()).unwrap();
    write(&*client, b"tail").unwrap();
    network.run(Duration::from_millis(210));
    assert_eq!(read(&*server, 100).unwrap(), b"tail");
}

#[test]
fn acknowledgements_ride_on_answers() {
    let network = Network::new(3, CLEAN);
    let (client, server) = network.pair(80);
    network.run(Duration::from_secs(1));
    *network.link.log.lock() = Some(Vec::new());
    for _ in 0..50 {
        write(&*client, &[1; 100]).unwrap();
        assert!(network.until(MINUTE, || server.poll().contains(Events::IN)));
        read(&*server, 1000).unwrap();
        write(&*server, &[2; 200]).unwrap();
        assert!(network.until(MINUTE, || client.poll().contains(Events::IN)));
        read(&*client, 1000).unwrap();
    }
    let packets = network.link.log.lock().take().unwrap().len();
    assert_eq!(packets, 100, "a request and an answer each time, nothing else");
}

#[test]
fn soak_of_64_connections() {
    // Requests and answers on 64 connections, some of which close each time,
    // over a lossy link: all of them get all their answers.
    let faults = Faults { loss: 10, reorder: 20, duplicate: 10, ..CLEAN };
    let network = Network::new(64, faults);
    let listener = listen(&network.b, 80, 128);
    let mut servers: VecDeque<std::sync::Arc<dyn kio::Socket>> = VecDeque::new();
    let mut clients: Vec<_> =
        (0..64).map(|_| (connect(&network.a, B, 80), 0usize, false)).collect();
    let mut answers = 0;
    let done = network.until(60 * MINUTE, || {
        while let Ok((socket, _)) = listener.accept() {
            servers.push_back(socket);
        }
        servers.retain(|s| match read(&**s, 4096) {
            Ok(bytes) if bytes.is_empty() => {
                s.close();
                false
            }
            Ok(bytes) => {
                let answer: Vec<u8> = bytes.iter().flat_map(|b| [*b; 10]).collect();
                assert_eq!(write(&**s, &answer).unwrap(), answer.len());
                true
            }
            Err(Errno::EAGAIN) => true,
            Err(e) => panic!("server: {e}"),
        });
        for (n, (socket, got, asked)) in clients.iter_mut().enumerate() {
            let ready = socket.poll();
            assert!(!ready.contains(Events::ERR), "{:?}", socket.take_error());
            if !*asked && ready.contains(Events::OUT) {
                write(&**socket, &[n as u8; 100]).unwrap();
                (*asked, *got) = (true, 0);
            }
            while let Ok(bytes) = read(&**socket, 4096) {
                if bytes.is_empty() {
                    break;
                }
                assert!(bytes.iter().all(|b| *b == n as u8));
                *got += bytes.len();
            }
            if *asked && *got == 1000 {
                answers += 1;
                *asked = false;
                if n % 2 == 0 {
                    socket.close();
                    *socket = connect(&network.a, B, 80);
                }
            }
        }
        answers > 5000
    });
    assert!(done, "stalled after {answers} answers");
    listener.close();
    clients.iter().for_each(|c| c.0.close());
    servers.iter().for_each(|s| s.close());
    network.run(10 * MINUTE);
    network.assert_no_connections();
    assert_eq!(network.a.tcp_counts().1 + network.b.tcp_counts().1, 0);
}

#[test]
fn half_close_still_receives() {
    let network = Network::new(2, CLEAN);
    let (client, server) = network.pair(80);
    write(&*client, b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    network.run(Duration::from_millis(10));
    assert!(server.poll().contains(Events::IN | Events::RDHUP));
    assert!(!server.poll().contains(Events::HUP));
    assert_eq!(read(&*server, 100).unwrap(), b"question");
    assert_eq!(read(&*server, 100).unwrap(), b"");
    transfer(&network, &*server, &*client, 500_000, MINUTE);
    server.close();
    network.run(Duration::from_millis(10));
    assert_eq!(read(&*client, 10).unwrap(), b"");
    client.close();
    network.run(2 * MINUTE);
    network.assert_no_connections();
}
