// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packet path: a hostile network talks to a stack with open sockets. The
//! input is a list of deeds; TCP segments are built near the window of a
//! connection that is really there, so that the state machine is reached.

use crate::take::Input;
use kio::{
    Clock, Events, Instant, MessageFlags, Shutdown, SliceSource, Socket, SocketAddress, TimerId,
    Timers, VecSink, Wake,
};
use knet::device::{Capabilities, MacAddress, NetDevice, RxPacket, TxError, TxPacket, Uplink};
use knet::{Environment, Random, Stack};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const OURS: [u8; 4] = [10, 0, 0, 2];
const PEER: [u8; 4] = [10, 0, 0, 1];
const OUR_MAC: MacAddress = [2, 0, 0, 0, 0, 2];
const PEER_MAC: MacAddress = [2, 0, 0, 0, 0, 1];
const SERVER_PORT: u16 = 80;
const PEER_PORT: u16 = 4000;
/// Deeds of one input; more take time and find nothing new.
const DEEDS: usize = 200;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Agenda = BTreeMap<(Instant, u64), (Arc<dyn Wake>, u64)>;

/// Time and chance, as the input has them.
#[derive(Default)]
struct World {
    now: AtomicU64,
    next: AtomicU64,
    agenda: Mutex<Agenda>,
}

impl World {
    fn advance(&self, by: Duration) {
        let end = self.monotonic() + by;
        // A timer may arm another; a stack that does so for ever is found.
        for _ in 0..10_000 {
            let due = {
                let mut agenda = lock(&self.agenda);
                let first = agenda.keys().next().copied().filter(|(at, _)| *at <= end);
                first.and_then(|key| agenda.remove(&key).map(|timer| (key.0, timer)))
            };
            let Some((at, (target, key))) = due else {
                self.now.store(end.as_nanos(), Ordering::Relaxed);
                return;
            };
            self.now.fetch_max(at.as_nanos(), Ordering::Relaxed);
            target.wake(key, Events::IN);
        }
        panic!("timers fire without end");
    }
}

impl Clock for World {
    fn monotonic(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Relaxed))
    }

    fn realtime(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }
}

impl Timers for World {
    fn arm(&self, at: Instant, target: Arc<dyn Wake>, key: u64) -> TimerId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.agenda).insert((at, id), (target, key));
        TimerId(id)
    }

    fn cancel(&self, id: TimerId) -> bool {
        let mut agenda = lock(&self.agenda);
        let key = agenda.keys().find(|k| k.1 == id.0).copied();
        key.is_some_and(|k| agenda.remove(&k).is_some())
    }
}

impl Random for World {
    fn fill(&self, bytes: &mut [u8]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = self.next.fetch_add(0x9e37, Ordering::Relaxed).to_le_bytes()[i % 2];
        }
    }
}

/// The card: remembers the last TCP segment that the stack sent.
#[derive(Default)]
struct Card {
    uplink: Mutex<Option<Arc<dyn Uplink>>>,
    /// Sequence number behind the last segment to the peer, what it
    /// acknowledged, and its source port.
    last: Mutex<(u32, u32, u16)>,
    full: Mutex<bool>,
}

impl NetDevice for Card {
    fn mac(&self) -> MacAddress {
        OUR_MAC
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { tx_checksum: true, tso4_max: 65535, tso6_max: 0 }
    }

    fn attach(&self, uplink: Arc<dyn Uplink>) {
        *lock(&self.uplink) = Some(uplink);
    }

    fn transmit(&self, packet: &TxPacket<'_>) -> Result<(), TxError> {
        if *lock(&self.full) {
            return Err(TxError::Full);
        }
        let mut bytes = vec![0; packet.len()];
        let copied = packet.copy_to(&mut bytes).expect("the buffer has the packet's size");
        assert_eq!(copied, bytes.len());
        assert!(bytes.len() <= 14 + 65535, "a packet of {} bytes", bytes.len());
        if bytes.len() >= 54 && bytes[12..14] == [8, 0] && bytes[23] == 6 {
            let word = |at: usize| {
                u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            let data = bytes.len() - 34 - usize::from(bytes[46] >> 4) * 4;
            let flags = u32::from(bytes[47] & 3).count_ones();
            let behind =
                word(38).wrapping_add(u32::try_from(data).unwrap_or(0)).wrapping_add(flags);
            *lock(&self.last) = (behind, word(42), u16::from_be_bytes([bytes[34], bytes[35]]));
        }
        Ok(())
    }

    fn flush(&self) {}
}

impl Card {
    fn deliver(&self, bytes: &[u8], checksum_verified: bool) {
        let uplink = lock(&self.uplink).clone();
        if let Some(uplink) = uplink {
            uplink.receive(&RxPacket { bytes, checksum_verified });
        }
    }

    fn end_of_batch(&self) {
        let uplink = lock(&self.uplink).clone();
        if let Some(uplink) = uplink {
            uplink.end_of_batch();
            if !*lock(&self.full) {
                uplink.transmit_ready();
            }
        }
    }
}

/// Writes the header checksum of an IPv4 packet (RFC 791, section 3.1).
fn seal(frame: &mut [u8]) {
    let Some(header) = frame.get_mut(14..34) else { return };
    header[10..12].fill(0);
    let sum: u32 = header.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    header[10..12].copy_from_slice(&(!folded).to_be_bytes()[2..]);
}

fn ipv4(protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&OUR_MAC);
    frame.extend_from_slice(&PEER_MAC);
    frame.extend_from_slice(&[8, 0, 0x45, 0]);
    let length = u16::try_from(20 + body.len()).unwrap_or(u16::MAX);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0, 1, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&OURS);
    frame.extend_from_slice(body);
    seal(&mut frame);
    frame
}

fn ipv6(input: &mut Input<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    let multicast = input.u8() & 1 == 1;
    frame.extend_from_slice(if multicast { &[0x33, 0x33, 0, 0, 0, 1] } else { &OUR_MAC });
    frame.extend_from_slice(&PEER_MAC);
    frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
    let (next, body) = (input.u8(), input.u8());
    let body = input.bytes(body.into());
    frame.extend_from_slice(&u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&[next, 255]);
    let link_local = |last: [u8; 8]| [[0xfe, 0x80, 0, 0, 0, 0, 0, 0], last].concat();
    frame.extend_from_slice(&link_local([0, 0, 0, 0xff, 0xfe, 0, 0, 1]));
    match multicast {
        true => frame.extend_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        false => frame.extend_from_slice(&link_local([0, 0, 0, 0xff, 0xfe, 0, 0, 2])),
    }
    frame.extend_from_slice(body);
    frame
}

struct Scene {
    world: Arc<World>,
    card: Arc<Card>,
    stack: Arc<Stack>,
    sockets: Vec<Arc<dyn Socket>>,
}

impl Scene {
    fn new() -> Self {
        let world = Arc::new(World::default());
        let environment =
            Environment { clock: world.clone(), timers: world.clone(), random: world.clone() };
        let stack = Stack::new(environment);
        let card = Arc::new(Card::default());
        let interface = stack.add_interface("eth0", card.clone());
        let [address, gateway] = [OURS, PEER].map(|a| IpAddr::V4(Ipv4Addr::from(a)));
        stack.configure(interface, address, 24, Some(gateway)).expect("an address");
        let mut scene = Self { world, card, stack, sockets: Vec::new() };
        // The peer asks who we are, and so becomes known.
        let mut arp = Vec::new();
        arp.extend_from_slice(&[0xff; 6]);
        arp.extend_from_slice(&PEER_MAC);
        arp.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend_from_slice(&PEER_MAC);
        arp.extend_from_slice(&PEER);
        arp.extend_from_slice(&[0; 6]);
        arp.extend_from_slice(&OURS);
        scene.card.deliver(&arp, false);
        scene.card.end_of_batch();
        // AF_INET, SOCK_STREAM and SOCK_DGRAM.
        if let Some(listener) = scene.bound(2, 1, SERVER_PORT) {
            let _ = listener.listen(4);
            scene.sockets.push(listener);
        }
        let datagrams = scene.bound(2, 2, 53);
        scene.sockets.extend(datagrams);
        scene
    }

    fn bound(&self, domain: u16, kind: u16, port: u16) -> Option<Arc<dyn Socket>> {
        let socket = self.stack.socket(domain, kind, 0).ok()?;
        let any = SocketAddress::Inet(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        socket.bind(&any).ok().map(|()| socket)
    }

    fn tcp(&self, input: &mut Input<'_>) -> Vec<u8> {
        let (behind, acknowledged, port) = *lock(&self.card.last);
        let port = if port == 0 || input.u8() & 7 == 0 { SERVER_PORT } else { port };
        let flags = input.u8();
        let near = |base: u32, delta: u8| base.wrapping_add_signed(i32::from(delta.cast_signed()));
        let base = if acknowledged == 0 { 1000 } else { acknowledged };
        let sequence = near(base, input.u8() & if flags & 0x40 == 0 { 0 } else { 0xff });
        let acknowledgement = near(behind, input.u8() & if flags & 0x80 == 0 { 0 } else { 0xff });
        let options = input.u8();
        let options = input.bytes(usize::from(options % 11) * 4);
        let mut segment = Vec::new();
        segment.extend_from_slice(&PEER_PORT.to_be_bytes());
        segment.extend_from_slice(&port.to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&acknowledgement.to_be_bytes());
        let words = 5 + options.len().div_ceil(4);
        segment.push(u8::try_from(words << 4).unwrap_or(0xf0));
        segment.push(flags & 0x3f);
        segment.extend_from_slice(&input.u16().to_be_bytes());
        segment.extend_from_slice(&[0; 4]);
        segment.extend_from_slice(options);
        segment.resize(words * 4, 0);
        let payload = input.u8();
        segment.extend_from_slice(input.bytes(payload.into()));
        ipv4(6, &segment)
    }

    fn program(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.u8()) % (self.sockets.len() + 1);
        let deed = input.u8();
        let Some(socket) = self.sockets.get(which).cloned() else {
            // A connection of our own, to the peer.
            if let (Ok(socket), true) = (self.stack.socket(2, 1, 0), self.sockets.len() < 16) {
                let peer = SocketAddrV4::new(Ipv4Addr::from(PEER), PEER_PORT);
                let _ = socket.connect(&SocketAddress::Inet(peer));
                self.sockets.push(socket);
            }
            return;
        };
        match deed % 7 {
            0 => {
                if let Ok((accepted, _)) = socket.accept() {
                    self.sockets.push(accepted);
                }
            }
            1 => {
                let mut sink = VecSink::new(usize::from(input.u16()));
                let _ = socket.receive(&mut sink, MessageFlags::empty());
            }
            2 => {
                let bytes = vec![deed; usize::from(input.u16())];
                let _ = socket.send(
                    &mut SliceSource::new(&bytes),
                    None,
                    Vec::new(),
                    MessageFlags::empty(),
                );
            }
            3 => {
                let how =
                    [Shutdown::Read, Shutdown::Write, Shutdown::Both][usize::from(input.u8() % 3)];
                let _ = socket.shutdown(how);
            }
            4 => {
                self.sockets.remove(which).close();
            }
            5 => {
                let (level, name) = (input.u8(), input.u8());
                let _ = socket.set_option(level.into(), name.into(), &input.u32().to_ne_bytes());
                let _ = socket.option(level.into(), name.into(), &mut [0; 64]);
            }
            _ => {
                let _ = (socket.take_error(), socket.local_address(), socket.peer_address());
            }
        }
    }

    fn deed(&mut self, input: &mut Input<'_>) {
        match input.u8() % 10 {
            0 | 1 => {
                let length = input.u16() % 2000;
                let mut frame = input.bytes(length.into()).to_vec();
                if input.u8() & 1 == 1 {
                    seal(&mut frame);
                }
                self.card.deliver(&frame, input.u8() & 1 == 1);
            }
            2..=4 => {
                let frame = self.tcp(input);
                self.card.deliver(&frame, true);
            }
            5 => {
                let (protocol, length) = (input.u8(), input.u8());
                let mut frame =
                    ipv4([1, 2, 6, 17][usize::from(protocol % 4)], input.bytes(length.into()));
                // Fragments too (RFC 791, section 3.2).
                if input.u8() & 1 == 1 {
                    frame[20..22].copy_from_slice(&input.u16().to_be_bytes());
                    seal(&mut frame);
                }
                self.card.deliver(&frame, true);
            }
            6 => {
                let frame = ipv6(input);
                self.card.deliver(&frame, true);
            }
            7 => self.world.advance(Duration::from_millis(1 << (input.u8() % 18))),
            8 => self.program(input),
            _ => *lock(&self.card.full) = input.u8() & 1 == 1,
        }
        self.card.end_of_batch();
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut scene = Scene::new();
    let mut input = Input(data);
    for _ in 0..DEEDS {
        if input.is_empty() {
            break;
        }
        scene.deed(&mut input);
    }
    *lock(&scene.card.full) = false;
    for socket in scene.sockets.drain(..) {
        socket.close();
    }
    // Whatever is left must come to rest.
    scene.world.advance(Duration::from_secs(600));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let syn = [2, 0, 2, 0, 0, 1, 2, 4, 5, 180, 0, 64, 0];
    let ack = [2, 1, 0x10, 0, 0, 0, 0, 64, 0];
    let data = [2, 1, 0x18, 0, 0, 0, 0, 64, 5, b'h', b'e', b'l', b'l', b'o'];
    let fin = [2, 1, 0x11, 0, 0, 0, 0, 64, 0];
    let accept = [8, 0, 0];
    let read = [8, 2, 1, 0, 16];
    let write = [8, 2, 2, 0, 64];
    let close = [8, 2, 4];
    let wait = [7, 9];
    let connect = [8, 2, 0, 2, 1, 0x12, 0, 0, 0, 0, 64, 0];
    let ping = [5, 0, 8, 8, 0, 0, 0, 1, 2, 3, 4, 0];
    let datagram = [5, 3, 12, 0x0f, 0xa0, 0, 53, 0, 12, 0, 0, b'd', b'a', b't', b'a', 0];
    let advertisement = [6, 1, 58, 16, 134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    vec![
        [&syn[..], &ack, &accept, &data, &read, &write, &ack, &fin, &close, &wait].concat(),
        [&connect[..], &ack, &data, &read, &fin, &wait].concat(),
        [&ping[..], &datagram, &advertisement, &wait].concat(),
        [&syn[..], &ack, &accept, &write, &wait, &wait, &ack, &data, &data, &close].concat(),
    ]
}
