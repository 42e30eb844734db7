// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A peer that follows the connections it has and then does what it likes:
//! flags at random, numbers around the edges of windows, options that lie,
//! while the program and the timers go on.

use super::network::{A, B, CLEAN, Dice, Faults, Network, connect, listen, read, tcp, v4, write};
use core::time::Duration;
use kio::{Shutdown, Socket, SocketAddress};
use ksync::SpinLock;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::Vec;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What the peer knows of a connection, by its own port and ours.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// The first number and the one behind the last, of what we sent.
    first: u32,
    behind: u32,
    acknowledged: u32,
    window: u32,
    timestamp: u32,
}

type Flows = BTreeMap<(u16, u16), Flow>;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// Learns from a segment of the stack.
fn learn(flows: &mut Flows, frame: &[u8]) {
    let header = usize::from(frame[46] >> 4) * 4;
    let flags = frame[47];
    let ends = (half(frame, 36), half(frame, 34));
    if flags & RST != 0 {
        flows.remove(&ends);
        return;
    }
    let (seq, data) = (word(frame, 38), frame.len() - 34 - header);
    let behind = seq.wrapping_add(data as u32).wrapping_add((flags & 3).count_ones());
    let flow = flows.entry(ends).or_insert(Flow { first: seq, behind, ..Flow::default() });
    if flags & SYN != 0 {
        (flow.first, flow.behind) = (seq, behind);
    } else if behind.wrapping_sub(flow.behind) as i32 > 0 {
        flow.behind = behind;
    }
    if flags & ACK != 0 {
        flow.acknowledged = word(frame, 42);
    }
    // Scaled by an amount that the peer does not care to know.
    flow.window = u32::from(half(frame, 48));
    if let Some(at) = frame[54..34 + header].windows(4).position(|w| w == [1, 1, 8, 10])
        && 54 + at + 8 <= frame.len()
    {
        flow.timestamp = word(frame, 54 + at + 4);
    }
}

struct Attack {
    dice: Dice,
    network: Network,
    flows: Arc<SpinLock<Flows>>,
    sockets: Vec<Arc<dyn Socket>>,
}

impl Attack {
    fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let queue = if dice.chance(300) { 4 } else { 0 };
        let faults = Faults { offload: dice.chance(500), queue, ..CLEAN };
        let network = Network::new(seed, faults);
        // Each knows the link address of the other.
        let (one, two) = network.pair(79);
        one.close();
        two.close();
        network.run(Duration::from_secs(200));
        let flows = Arc::new(SpinLock::new(Flows::default()));
        let seen = flows.clone();
        *network.link.filter.lock() = Some(Box::new(move |side, frame| {
            let is_tcp = frame.len() >= 54 && frame[12..14] == [8, 0] && frame[23] == 6;
            if is_tcp && side == 0 {
                learn(&mut seen.lock(), frame);
            }
            is_tcp
        }));
        let sockets = std::vec![listen(&network.a, 80, 3), listen(&network.a, 81, 0)];
        Self { dice, network, flows, sockets }
    }

    fn below(&self, n: u64) -> u64 {
        (self.dice.next() >> 16) % n
    }

    /// Mostly exactly `base`, otherwise near it or near `base + span`.
    fn near(&self, base: u32, span: u32) -> u32 {
        match self.below(10) {
            0..=5 => base,
            6 => base.wrapping_add(self.below(5) as u32).wrapping_sub(2),
            7 => base.wrapping_add(span).wrapping_add(self.below(5) as u32).wrapping_sub(2),
            8 => base.wrapping_add(self.below(u64::from(span) + 1) as u32),
            _ => base.wrapping_add(self.below(400_000) as u32).wrapping_sub(200_000),
        }
    }

    fn flags(&self) -> u8 {
        match self.below(20) {
            0..=11 => ACK,
            12 | 13 => ACK | 1,
            14 => SYN,
            15 => SYN | ACK,
            16 => RST,
            17 => RST | ACK,
            _ => self.dice.next() as u8 & 0x3f,
        }
    }

    fn options(&self, flags: u8, flow: &Flow) -> Vec<u8> {
        let mut options = Vec::new();
        let pick = self.dice.next();
        let mut put = |kind: u8, value: &[u8]| {
            options.extend_from_slice(&[kind, value.len() as u8 + 2]);
            options.extend_from_slice(value);
        };
        if flags & SYN != 0 {
            let mss: [u16; 6] = [0, 1, 88, 536, 1460, 65_535];
            if pick & 1 != 0 {
                put(2, &mss[self.below(6) as usize].to_be_bytes());
            }
            if pick & 2 != 0 {
                put(3, &[self.below(20) as u8]);
            }
            if pick & 4 != 0 {
                put(4, &[]);
            }
        }
        if pick & 24 != 0 {
            let value = self.near(self.network.world.time().as_nanos() as u32 >> 20, 1000);
            let echo = self.near(flow.timestamp, 1000);
            put(8, &[value.to_be_bytes(), echo.to_be_bytes()].concat());
        }
        if pick & 96 == 96 {
            let sent = flow.behind.wrapping_sub(flow.first);
            let mut blocks = Vec::new();
            for _ in 0..self.below(3) {
                let start = flow.first.wrapping_add(self.below(u64::from(sent) + 1) as u32);
                blocks.extend_from_slice(&self.near(start, 100).to_be_bytes());
                blocks.extend_from_slice(&self.near(start.wrapping_add(500), sent).to_be_bytes());
            }
            put(5, &blocks);
        }
        if pick & 0x780 == 0 {
            put(self.dice.next() as u8, &[self.dice.next() as u8; 2]);
        }
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), 0);
        options
    }

    fn packet(&self) {
        let flows: Vec<_> = self.flows.lock().iter().map(|(k, v)| (*k, *v)).collect();
        let (ends, flow, flags) = if flows.is_empty() || self.dice.chance(50) {
            // A SYN for a listener.
            let ends = (4000 + self.below(6) as u16, 80 + self.below(2) as u16);
            (ends, Flow::default(), SYN)
        } else {
            let (ends, flow) = flows[self.below(flows.len() as u64) as usize];
            (ends, flow, self.flags())
        };
        let options = self.options(flags, &flow);
        let unacknowledged = flow.behind.wrapping_sub(flow.first);
        let payload = match self.below(4) {
            0 => self.below(1461) as usize,
            1 => self.below(4) as usize,
            _ => 0,
        };
        let window: [u16; 6] = [0, 1, 100, 1460, 20_000, 65_535];
        let mut frame = std::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        let length = (40 + options.len() + payload) as u16;
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend_from_slice(&B.octets());
        frame.extend_from_slice(&A.octets());
        frame.extend_from_slice(&ends.0.to_be_bytes());
        frame.extend_from_slice(&ends.1.to_be_bytes());
        frame.extend_from_slice(&self.near(flow.acknowledged, flow.window).to_be_bytes());
        let ack = match self.below(3) {
            0 => flow.first.wrapping_add(self.below(u64::from(unacknowledged) + 2) as u32),
            _ => self.near(flow.behind, unacknowledged.wrapping_neg()),
        };
        frame.extend_from_slice(&ack.to_be_bytes());
        frame.extend_from_slice(&[((20 + options.len()) * 4) as u8, flags]);
        frame.extend_from_slice(&window[self.below(6) as usize].to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&options);
        frame.resize(frame.len() + payload, 0x5a);
        self.network.link.inject_trusted(0, frame);
    }

    fn open(&mut self) {
        if self.sockets.len() >= 12 {
            return;
        }
        let port = 5000 + self.below(3) as u16;
        if self.dice.chance(500) {
            self.sockets.push(connect(&self.network.a, B, port));
            return;
        }
        // A port of its own, which the peer may know already.
        let socket = tcp(&self.network.a);
        let _ = socket.set_option(1, 2, &1i32.to_ne_bytes());
        let _ = socket.bind(&v4(A, 6000 + self.below(3) as u16));
        let _ = socket.connect(&v4(B, port));
        self.sockets.push(socket);
    }

    fn program(&mut self) {
        if self.dice.chance(100) {
            return self.open();
        }
        let which = self.below(self.sockets.len() as u64) as usize;
        let socket = self.sockets[which].clone();
        match self.below(24) {
            0..=4 => {
                if let Ok((accepted, _)) = socket.accept() {
                    self.sockets.push(accepted);
                }
            }
            5..=10 => drop(read(&*socket, self.below(100_000) as usize)),
            11..=16 => {
                let size = 1 << self.below(17);
                let _ = write(&*socket, &std::vec![7; size]);
            }
            17 => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
                let _ = socket.shutdown(how[self.below(3) as usize]);
            }
            // The listeners stay, nearly always.
            18 | 19 if which >= 2 || self.dice.chance(20) => {
                socket.close();
                self.sockets.remove(which);
                if which < 2 {
                    self.sockets.insert(which, listen(&self.network.a, 80 + which as u16, 2));
                }
            }
            20 if which >= 2 && self.dice.chance(100) => {
                let _ = socket.connect(&SocketAddress::Unspecified);
            }
            _ => self.set_option(&*socket),
        }
    }

    fn set_option(&self, socket: &dyn Socket) {
        let options = [
            (6, 1), // TCP_NODELAY
            (6, 2), // TCP_MAXSEG
            (6, 3), // TCP_CORK
            (6, 4), // TCP_KEEPIDLE
            (6, 5), // TCP_KEEPINTVL
            (6, 8), // TCP_LINGER2
            (6, 9), // TCP_DEFER_ACCEPT
            (6, 12),
            (6, 18), // TCP_USER_TIMEOUT
            (1, 7),  // SO_SNDBUF
            (1, 8),  // SO_RCVBUF
            (1, 9),  // SO_KEEPALIVE
            (1, 18), // SO_RCVLOWAT
        ];
        let values = [0, 1, 2, 100, 1000, 5000, 100_000];
        let (level, name) = options[self.below(options.len() as u64) as usize];
        let value: i32 = values[self.below(values.len() as u64) as usize];
        let _ = socket.set_option(level, name, &value.to_ne_bytes());
    }

    fn check(&self) {
        for socket in self.network.a.tcp.sockets() {
            socket.assert_sound();
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.below(10) {
                0..=4 => self.packet(),
                5..=7 => self.program(),
                _ => self.network.run(Duration::from_micros(1 << self.below(28))),
            }
            self.check();
        }
        for socket in self.sockets.drain(..) {
            socket.close();
        }
        self.network.run(Duration::from_secs(3600));
        assert_eq!(self.network.a.tcp_counts(), (0, 0), "{:?}", self.network.a.tcp_sockets());
        assert_eq!(self.network.a.tcp_ports.lock().len(), 0);
        assert_eq!(self.network.a.timers.len(), 0);
    }
}

#[test]
fn nothing_that_a_peer_does_breaks_a_connection_block() {
    let seeds: u64 = std::env::var("KNET_SEEDS").map_or(60, |s| s.parse().unwrap());
    let first: u64 = std::env::var("KNET_SEED").map_or(1, |s| s.parse().unwrap());
    for seed in first..first + seeds {
        std::println!("KNET_SEED={seed}");
        Attack::new(seed).run(1500);
    }
}
