// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets that nobody should send: the stack survives them and goes on.

use super::network::{A, B, CLEAN, Dice, Network, listen, transfer, udp, v4};
use core::time::Duration;
use std::vec::Vec;

/// Frames of all kinds, as two hosts send them to each other.
fn frames(network: &Network) -> Vec<Vec<u8>> {
    *network.link.log.lock() = Some(Vec::new());
    let (client, server) = network.pair(80);
    transfer(network, &*client, &*server, 20_000, Duration::from_secs(60));
    let datagram = udp(&network.a);
    super::network::send_to(&*datagram, &[1; 5000], &v4(B, 7)).unwrap();
    let ping = network.a.socket(2, 2, 1).unwrap();
    super::network::send_to(&*ping, &[8, 0, 0, 0, 0, 0, 0, 1], &v4(B, 0)).unwrap();
    network.b.start_dhcp(2, None).unwrap();
    network.run(Duration::from_secs(5));
    client.close();
    server.close();
    network.run(Duration::from_secs(5));
    let log = network.link.log.lock().take().unwrap();
    log.into_iter().map(|l| l.2).collect()
}

#[test]
fn mutated_frames_do_no_harm() {
    let network = Network::new(77, CLEAN);
    let frames = frames(&network);
    assert!(frames.len() > 40);
    let _listener = listen(&network.b, 80, 16);
    let dice = Dice::new(5);
    for n in 0..60_000 {
        let mut frame = frames[dice.next() as usize % frames.len()].clone();
        for _ in 0..1 + dice.next() % 4 {
            let at = dice.next() as usize % frame.len();
            frame[at] = match dice.next() % 3 {
                0 => 0xff,
                1 => 0,
                _ => dice.next() as u8,
            };
        }
        if dice.chance(200) {
            frame.truncate(dice.next() as usize % frame.len());
        }
        network.link.inject_trusted((n % 2) as usize, frame);
        if n % 64 == 0 {
            network.run(Duration::from_millis(20));
        }
    }
    network.run(Duration::from_secs(200));
    // Still good for something.
    network.a.configure(2, A.into(), 24, None).unwrap();
    network.b.configure(2, B.into(), 24, None).unwrap();
    network.run(Duration::from_secs(60));
    let (client, server) = network.pair(81);
    transfer(&network, &*client, &*server, 100_000, Duration::from_secs(60));
}
