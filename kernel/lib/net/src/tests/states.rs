// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TCP states: opening and closing in all orders, resets, timeouts, bounds.

use super::network::{A, B, CLEAN, Faults, Network, connect, listen, read, tcp, v4, write};
use core::time::Duration;
use kio::{Errno, Events, Shutdown, Socket};
use ksync::SpinLock;
use std::boxed::Box;
use std::sync::Arc;
use std::vec::Vec;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A pair whose SYNs lost SACK and timestamps on the way.
pub(super) fn pair_without_options(
    network: &Network,
    port: u16,
) -> (Arc<dyn Socket>, Arc<dyn Socket>) {
    network.link.rewrite_syn();
    let pair = network.pair(port);
    network.link.keep_syn();
    pair
}

#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    ShutWrite,
    ShutBoth,
}

#[test]
fn all_orders_of_closing_leave_nothing() {
    let ends = [End::Close, End::ShutWrite, End::ShutBoth];
    let gaps = [0, 100, 600, 5000];
    for loss in [0, 100] {
        for first in ends {
            for second in ends {
                for gap in gaps {
                    for data in [0, 3000] {
                        let network = Network::new(gap + loss, Faults { loss, ..CLEAN });
                        let (client, server) = network.pair(80);
                        network.run(SECOND * 10);
                        if data > 0 {
                            write(&*client, &std::vec![1; data]).unwrap();
                            write(&*server, &std::vec![1; data]).unwrap();
                        }
                        finish(&*client, first);
                        network.run(Duration::from_micros(gap));
                        finish(&*server, second);
                        network.run(SECOND * 20);
                        let _ = read(&*client, 10_000);
                        let _ = read(&*server, 10_000);
                        client.close();
                        server.close();
                        network.run(20 * MINUTE);
                        network.assert_no_connections();
                        assert_eq!(network.a.tcp_counts().1 + network.b.tcp_counts().1, 0);
                        assert_eq!(network.a.timers.len() + network.b.timers.len(), 0);
                        assert_eq!(network.a.tcp_ports.lock().len(), 0);
                    }
                }
            }
        }
    }
}

fn finish(socket: &dyn Socket, how: End) {
    match how {
        End::Close => socket.close(),
        End::ShutWrite => {
            let _ = socket.shutdown(Shutdown::Write);
        }
        End::ShutBoth => {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn refused_and_unreachable() {
    let network = Network::new(1, CLEAN);
    let client = connect(&network.a, B, 9);
    network.run(SECOND);
    assert!(client.poll().contains(Events::ERR | Events::HUP | Events::IN | Events::OUT));
    assert_eq!(client.take_error(), Some(Errno::ECONNREFUSED));
    assert_eq!(client.take_error(), None);
    // Nobody answers ARP: after three seconds.
    let client = connect(&network.a, core::net::Ipv4Addr::new(10, 0, 0, 77), 9);
    network.run(SECOND * 4);
    assert_eq!(client.take_error(), Some(Errno::EHOSTUNREACH));
    let client = tcp(&network.a);
    let far = v4(core::net::Ipv4Addr::new(192, 0, 2, 1), 9);
    assert_eq!(client.connect(&far), Err(Errno::ENETUNREACH));
}

#[test]
fn connect_times_out_after_six_retries() {
    let network = Network::new(1, CLEAN);
    let _warm = network.pair(80);
    *network.link.filter.lock() = Some(Box::new(|_, p| p[12..14] == [8, 0]));
    let start = network.world.time();
    let client = connect(&network.a, B, 80);
    assert!(network.until(10 * MINUTE, || client.poll().contains(Events::ERR)));
    let took = (network.world.time() - start).as_secs();
    assert_eq!(client.take_error(), Some(Errno::ETIMEDOUT));
    assert!((100..140).contains(&took), "Linux gives up after 127 s, this after {took}");
}

#[test]
fn retransmissions_back_off_from_200_ms() {
    let network = Network::new(1, CLEAN);
    let (client, _server) = network.pair(80);
    super::streams_warm(&network, &*client, &*_server);
    *network.link.filter.lock() = Some(Box::new(|_, p| p[12..14] == [8, 0]));
    *network.link.log.lock() = Some(Vec::new());
    write(&*client, &[1; 10]).unwrap();
    network.run(SECOND * 10);
    let log = network.link.log.lock().take().unwrap();
    let times: Vec<u64> = log
        .iter()
        .filter(|l| l.1 == 0 && l.2.len() > 66 && l.2[12..14] == [8, 0])
        .map(|l| l.0.as_nanos() / 1_000_000)
        .collect();
    let gaps: Vec<u64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    // The tail probe, then timeouts that double.
    assert!(gaps[0] < 100, "{gaps:?}");
    assert!((195..260).contains(&gaps[1]), "{gaps:?}");
    for pair in gaps[1..].windows(2) {
        assert!((18..22).contains(&(pair[1] * 10 / pair[0])), "{gaps:?}");
    }
    // A quarter of an hour later it is over.
    network.run(20 * MINUTE);
    assert_eq!(client.take_error(), Some(Errno::ETIMEDOUT));
}

#[test]
fn user_timeout_ends_it_sooner() {
    let network = Network::new(1, CLEAN);
    let (client, _server) = network.pair(80);
    client.set_option(6, 18, &3000i32.to_ne_bytes()).unwrap();
    *network.link.filter.lock() = Some(Box::new(|_, _| true));
    write(&*client, &[1; 10]).unwrap();
    network.run(SECOND * 8);
    assert_eq!(client.take_error(), Some(Errno::ETIMEDOUT));
}

#[test]
fn keepalive_notices_a_dead_peer_and_spares_a_live_one() {
    let network = Network::new(1, CLEAN);
    let (client, _server) = network.pair(80);
    client.set_option(1, 9, &1i32.to_ne_bytes()).unwrap();
    for (option, value) in [(4, 15i32), (5, 5), (6, 3)] {
        client.set_option(6, option, &value.to_ne_bytes()).unwrap();
    }
    network.run(10 * MINUTE);
    assert_eq!(client.take_error(), None);
    *network.link.filter.lock() = Some(Box::new(|_, _| true));
    network.run(SECOND * 15);
    assert_eq!(client.take_error(), None);
    network.run(SECOND * 25);
    assert_eq!(client.take_error(), Some(Errno::ETIMEDOUT));
}

#[test]
fn unread_data_and_linger_zero_reset() {
    let network = Network::new(1, CLEAN);
    let (client, server) = network.pair(80);
    write(&*client, b"never read").unwrap();
    network.run(SECOND);
    server.close();
    network.run(SECOND);
    assert_eq!(read(&*client, 10), Err(Errno::ECONNRESET));
    assert_eq!(write(&*client, b"x"), Err(Errno::EPIPE));
    let (client, server) = network.pair(81);
    let mut linger = [0u8; 8];
    linger[0] = 1;
    client.set_option(1, 13, &linger).unwrap();
    client.close();
    network.run(SECOND);
    assert!(server.poll().contains(Events::ERR | Events::HUP | Events::RDHUP));
    assert_eq!(read(&*server, 10), Err(Errno::ECONNRESET));
    network.assert_no_connections();
    assert_eq!(network.a.tcp_counts().1, 0, "a reset leaves no TIME-WAIT");
}

#[test]
fn backlog_is_a_bound_and_overflow_recovers() {
    let network = Network::new(1, CLEAN);
    let listener = listen(&network.b, 80, 4);
    let clients: Vec<_> = (0..40).map(|_| connect(&network.a, B, 80)).collect();
    network.run(SECOND * 3);
    let mut taken = Vec::new();
    let done = network.until(5 * MINUTE, || {
        // One in a while.
        if let Ok((socket, _)) = listener.accept() {
            taken.push(socket);
        }
        taken.len() == clients.len()
    });
    assert!(done, "{} of {} accepted", taken.len(), clients.len());
    for client in &clients {
        assert!(client.poll().contains(Events::OUT));
    }
}

#[test]
fn half_open_connections_are_bounded() {
    let network = Network::new(1, CLEAN);
    let listener = listen(&network.b, 80, 32);
    // The answers never arrive: B holds half-open connections only.
    let _warm = connect(&network.a, B, 80);
    network.run(SECOND);
    let _ = listener.accept();
    *network.link.filter.lock() = Some(Box::new(|side, _| side == 1));
    let _clients: Vec<_> = (0..1000).map(|_| connect(&network.a, B, 80)).collect();
    network.run(Duration::from_millis(100));
    let (connections, _) = network.b.tcp_counts();
    assert!(connections <= 130, "{connections}");
    *network.link.filter.lock() = None;
    // And a new one still gets in.
    let client = connect(&network.a, B, 80);
    assert!(network.until(SECOND * 20, || {
        while listener.accept().is_ok() {}
        client.poll().contains(Events::OUT)
    }));
}

#[test]
fn closing_the_listener_resets_those_that_wait() {
    let network = Network::new(1, CLEAN);
    let listener = listen(&network.b, 80, 4);
    let client = connect(&network.a, B, 80);
    network.run(SECOND);
    assert!(client.poll().contains(Events::OUT));
    listener.close();
    network.run(SECOND);
    assert_eq!(client.take_error(), Some(Errno::ECONNRESET));
    network.assert_no_connections();
}

#[test]
fn time_wait_is_bounded_and_reused() {
    let network = Network::new(1, CLEAN);
    let listener = listen(&network.b, 80, 64);
    for n in 0..9000 {
        // The client side closes first, always from the same few ports.
        let client = tcp(&network.a);
        client.set_option(1, 2, &1i32.to_ne_bytes()).unwrap();
        client.bind(&v4(A, 20_000 + (n % 4500) as u16)).unwrap();
        assert_eq!(client.connect(&v4(B, 80)), Err(Errno::EINPROGRESS), "connection {n}");
        let mut server = None;
        assert!(network.until(SECOND * 10, || {
            server = listener.accept().ok();
            server.is_some()
        }));
        client.close();
        network.run(Duration::from_millis(2));
        server.unwrap().0.close();
        network.run(Duration::from_millis(2));
    }
    let (open, waits) = network.a.tcp_counts();
    assert_eq!(open, 0);
    assert!(waits <= 8192 && waits > 1000, "{waits}");
    network.run(2 * MINUTE);
    assert_eq!(network.a.tcp_counts(), (0, 0));
}

#[test]
fn simultaneous_open_and_close() {
    let network = Network::new(1, CLEAN);
    let _warm = network.pair(99);
    let (one, two) = (tcp(&network.a), tcp(&network.b));
    one.bind(&v4(A, 4000)).unwrap();
    two.bind(&v4(B, 5000)).unwrap();
    assert_eq!(one.connect(&v4(B, 5000)), Err(Errno::EINPROGRESS));
    assert_eq!(two.connect(&v4(A, 4000)), Err(Errno::EINPROGRESS));
    network.run(SECOND);
    assert!(one.poll().contains(Events::OUT) && two.poll().contains(Events::OUT));
    assert_eq!((one.take_error(), two.take_error()), (None, None));
    write(&*one, b"hello").unwrap();
    network.run(SECOND);
    assert_eq!(read(&*two, 10).unwrap(), b"hello");
    one.close();
    two.close();
    network.run(3 * MINUTE);
}

#[test]
fn blind_resets_and_syns_are_challenged() {
    let network = Network::new(1, CLEAN);
    let (client, server) = network.pair(80);
    network.run(SECOND);
    *network.link.log.lock() = Some(Vec::new());
    write(&*client, b"x").unwrap();
    network.run(SECOND);
    let log = network.link.log.lock().take().unwrap();
    let packet = log.iter().find(|l| l.1 == 0).unwrap().2.clone();
    for flags in [0x04u8, 0x02] {
        let mut forged = packet.clone();
        // In the window, but not its start.
        let seq = u32::from_be_bytes(forged[38..42].try_into().unwrap());
        forged[38..42].copy_from_slice(&(seq + 1000).to_be_bytes());
        forged[47] = flags;
        network.link.inject(1, forged);
        network.run(SECOND);
    }
    assert_eq!(read(&*server, 10).unwrap(), b"x");
    write(&*server, b"alive").unwrap();
    network.run(SECOND);
    assert_eq!(read(&*client, 10).unwrap(), b"alive");
}

/// Two sockets that connect to each other at the same time, a moment after
/// their SYNs have crossed.
fn crossed(network: &Network) -> (Arc<dyn Socket>, Arc<dyn Socket>) {
    // Both know the link address of the other already.
    let (one, two) = network.pair(79);
    one.close();
    two.close();
    network.run(SECOND);
    let open = |stack, from, to| {
        let socket = tcp(stack);
        socket.bind(&v4(from, 80)).unwrap();
        assert_eq!(socket.connect(&v4(to, 80)), Err(Errno::EINPROGRESS));
        socket
    };
    let pair = (open(&network.a, A, B), open(&network.b, B, A));
    network.run(CLEAN.delay + Duration::from_micros(10));
    pair
}

#[test]
fn a_socket_closed_in_a_simultaneous_open_sends_its_fin_later() {
    for end in [End::Close, End::ShutWrite, End::ShutBoth] {
        let network = Network::new(3, CLEAN);
        let (one, two) = crossed(&network);
        finish(&*one, end);
        network.run(SECOND);
        assert!(two.poll().contains(Events::OUT | Events::IN | Events::RDHUP), "{:?}", two.poll());
        assert_eq!(read(&*two, 10), Ok(Vec::new()));
        two.close();
        one.close();
        network.run(5 * MINUTE);
        network.assert_no_connections();
    }
}

#[test]
fn a_simultaneous_open_that_nobody_answers_is_given_up_after_close() {
    for end in [End::Close, End::ShutWrite] {
        let network = Network::new(4, CLEAN);
        let (one, _two) = crossed(&network);
        *network.link.filter.lock() = Some(Box::new(|_, _| true));
        finish(&*one, end);
        network.run(5 * MINUTE);
        assert_eq!(network.a.tcp_counts().0, 0);
        one.close();
    }
}

#[test]
fn an_old_fin_may_acknowledge_ours() {
    let network = Network::new(5, CLEAN);
    let (one, two) = network.pair(80);
    network.run(SECOND);
    let log: Arc<SpinLock<Vec<Vec<u8>>>> = Arc::default();
    let seen = log.clone();
    *network.link.filter.lock() = Some(Box::new(move |side, frame| {
        let is_tcp = frame[12..14] == [8, 0];
        if is_tcp && side == 1 {
            seen.lock().push(frame.to_vec());
        }
        is_tcp
    }));
    // Both close at once; then the FIN of B is sent again with another ack.
    one.close();
    two.close();
    network.run(Duration::from_millis(1));
    let mut fin = log.lock()[0].clone();
    network.link.inject(0, fin.clone());
    network.run(Duration::from_millis(1));
    let ack = u32::from_be_bytes(fin[42..46].try_into().unwrap()) + 1;
    fin[42..46].copy_from_slice(&ack.to_be_bytes());
    network.link.inject(0, fin);
    network.run(Duration::from_millis(1));
    assert_eq!(network.a.tcp_counts(), (0, 1), "closed but for TIME-WAIT");
}

#[test]
fn ports_last_for_each_destination() {
    const RANGE: usize = 28_232;
    let network = Network::new(1, CLEAN);
    let (one, two) = network.pair(79);
    one.close();
    two.close();
    network.run(SECOND);
    *network.link.filter.lock() = Some(Box::new(|_, _| true));
    let mut sockets = Vec::new();
    let mut first = Vec::new();
    for port in [80, 81, 82] {
        for n in 0..RANGE {
            let socket = connect(&network.a, B, port);
            if n < 3 {
                let kio::SocketAddress::Inet(at) = socket.local_address().unwrap() else {
                    panic!()
                };
                first.push(at.port());
            }
            sockets.push(socket);
        }
        let socket = tcp(&network.a);
        assert_eq!(socket.connect(&v4(B, port)), Err(Errno::EADDRNOTAVAIL));
    }
    // RFC 6056, 3.3.4: in order for one destination, elsewhere for others.
    assert!(first[1] == first[0] + 1 || first[0] == 60_999, "{first:?}");
    assert!(first[0] != first[3] && first[3] != first[6], "{first:?}");
    for socket in sockets {
        socket.close();
    }
    assert_eq!(network.a.tcp_ports.lock().len(), 0);
}

/// Only the timers of the stack keep time here: see the counts of tcp(7).
fn deferring(network: &Network, seconds: i32) -> Arc<dyn Socket> {
    let listener = listen(&network.b, 80, 4);
    listener.set_option(6, 9, &seconds.to_ne_bytes()).unwrap();
    listener
}

#[test]
fn deferred_connections_come_with_their_data() {
    let network = Network::new(6, CLEAN);
    let listener = deferring(&network, 10);
    let mut value = [0; 4];
    assert_eq!(listener.option(6, 9, &mut value), Ok(4));
    assert_eq!(i32::from_ne_bytes(value), 15, "what the retransmissions make of it, as Linux");
    let client = connect(&network.a, B, 80);
    network.run(SECOND * 3);
    assert!(client.poll().contains(Events::OUT));
    assert_eq!(listener.accept().err(), Some(Errno::EAGAIN));
    write(&*client, b"now").unwrap();
    network.run(Duration::from_millis(100));
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(read(&*accepted, 10).unwrap(), b"now");
}

#[test]
fn deferring_ends_with_the_time_given() {
    let network = Network::new(7, CLEAN);
    let listener = deferring(&network, 3);
    let _client = connect(&network.a, B, 80);
    network.run(Duration::from_millis(2900));
    assert_eq!(listener.accept().err(), Some(Errno::EAGAIN));
    network.run(SECOND);
    assert!(listener.accept().is_ok());
}
