// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The simulated world: a clock, timers, a seeded link with faults, and
//! short-hands for sockets.

use crate::device::{Capabilities, MacAddress, NetDevice, RxPacket, TxError, TxPacket, Uplink};
use crate::stack::{Environment, Random, Stack};
use core::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use kio::{
    Clock, Errno, Events, Instant, MessageFlags, Result, SliceSink, SliceSource, Socket,
    SocketAddress, TimerId, Timers, Wake,
};
use ksync::SpinLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

pub(super) const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// xorshift64*.
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    pub(super) fn next(&self) -> u64 {
        let mut x = self.0.load(Ordering::Relaxed);
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.store(x, Ordering::Relaxed);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// True `per_mille` times of a thousand.
    pub(super) fn chance(&self, per_mille: u64) -> bool {
        (self.next() >> 20) % 1000 < per_mille
    }
}

impl Random for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        for b in bytes {
            *b = (self.next() >> 24) as u8;
        }
    }
}

enum Event {
    Timer(Arc<dyn Wake>, u64),
    Packet(usize, Vec<u8>),
    Ready(usize),
}

#[derive(Default)]
struct Agenda {
    next: u64,
    events: BTreeMap<(Instant, u64), Event>,
}

/// Virtual time and all that is to happen.
#[derive(Default)]
pub(super) struct World {
    now: AtomicU64,
    agenda: SpinLock<Agenda>,
}

impl World {
    fn add(&self, at: Instant, event: Event) -> u64 {
        let mut agenda = self.agenda.lock();
        agenda.next += 1;
        let id = agenda.next;
        agenda.events.insert((at, id), event);
        id
    }

    pub(super) fn time(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Relaxed))
    }
}

impl Clock for World {
    fn monotonic(&self) -> Instant {
        self.time()
    }

    fn realtime(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }
}

impl Timers for World {
    fn arm(&self, at: Instant, target: Arc<dyn Wake>, key: u64) -> TimerId {
        TimerId(self.add(at.max(self.time()), Event::Timer(target, key)))
    }

    fn cancel(&self, id: TimerId) -> bool {
        let mut agenda = self.agenda.lock();
        let key = agenda.events.keys().find(|k| k.1 == id.0).copied();
        key.is_some_and(|k| agenda.events.remove(&k).is_some())
    }
}

/// What the link does to packets, in both directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    pub(super) reorder: u64,
    pub(super) corrupt: u64,
    pub(super) delay: Duration,
    pub(super) offload: bool,
    /// Packets that the transmit queue takes before it is full; 0: no limit.
    pub(super) queue: usize,
    /// Time that the link needs for a byte, in ns; 0: none.
    pub(super) ns_per_byte: u64,
}

pub(super) const CLEAN: Faults = Faults {
    loss: 0,
    duplicate: 0,
    reorder: 0,
    corrupt: 0,
    delay: Duration::from_micros(500),
    offload: false,
    queue: 0,
    ns_per_byte: 0,
};

/// A packet with its time and its sender.
type Sent = (Instant, usize, Vec<u8>);
type Filter = std::boxed::Box<dyn FnMut(usize, &[u8]) -> bool + Send>;

pub(super) struct Link {
    world: Arc<World>,
    dice: Dice,
    pub(super) faults: SpinLock<Faults>,
    ends: SpinLock<[Option<Arc<dyn Uplink>>; 2]>,
    queued: SpinLock<[usize; 2]>,
    busy_until: SpinLock<[Instant; 2]>,
    /// Everything that was sent, with its time, when recording.
    pub(super) log: SpinLock<Option<Vec<Sent>>>,
    rewrite: SpinLock<bool>,
    /// Drops the packets that it likes.
    pub(super) filter: SpinLock<Option<Filter>>,
}

impl Link {
    /// Takes SACK and timestamps out of SYNs.
    pub(super) fn rewrite_syn(&self) {
        *self.rewrite.lock() = true;
    }

    pub(super) fn keep_syn(&self) {
        *self.rewrite.lock() = false;
    }

    /// Puts a packet on the link, with right TCP and IPv4 checksums.
    pub(super) fn inject(&self, side: usize, mut bytes: Vec<u8>) {
        fix_tcp_checksum(&mut bytes);
        self.world.add(self.world.time(), Event::Packet(side, bytes));
    }
}

fn fix_tcp_checksum(bytes: &mut [u8]) {
    use crate::ip::{Ip, checksum};
    let end = 14 + usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let ip = |at: usize| Ip::from_v4_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut sum = checksum::pseudo_header(ip(26), ip(30), 6, end - 34);
    bytes[50..52].fill(0);
    sum.add(&bytes[34..end]);
    bytes[50..52].copy_from_slice(&sum.complement());
}

impl Link {
    /// Puts a frame on the link whose checksums the device vouches for, and
    /// whose IPv4 header is made right.
    pub(super) fn inject_trusted(&self, side: usize, mut bytes: Vec<u8>) {
        if bytes.len() >= 34 {
            bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, side as u8 + 1]);
        }
        if bytes.len() >= 34 && bytes[12..14] == [8, 0] {
            let header = 14 + usize::from(bytes[14] & 0xf) * 4;
            if (34..=bytes.len()).contains(&header) {
                bytes[24..26].fill(0);
                let sum = crate::ip::checksum::of(&bytes[14..header]).complement();
                bytes[24..26].copy_from_slice(&sum);
            }
        }
        let end = self.ends.lock()[side].clone().unwrap();
        end.receive(&RxPacket { bytes: &bytes, checksum_verified: true });
        end.end_of_batch();
    }
}

/// Replaces options of a SYN by NOPs.
fn strip_options(bytes: &mut [u8]) {
    let tcp4 = bytes.len() > 54 && bytes[12..14] == [8, 0] && bytes[23] == 6;
    if !tcp4 || bytes[47] & 2 == 0 {
        return;
    }
    let end = 34 + usize::from(bytes[46] >> 4) * 4;
    let mut at = 54;
    while at + 1 < end {
        let length = if bytes[at] <= 1 { 1 } else { usize::from(bytes[at + 1]) };
        if matches!(bytes[at], 4 | 8) {
            bytes[at..at + length].fill(1);
        }
        at += length;
    }
    fix_tcp_checksum(bytes);
}

struct Port {
    link: Arc<Link>,
    side: usize,
}

impl Link {
    fn put(&self, side: usize, packet: &TxPacket<'_>) -> core::result::Result<(), TxError> {
        let faults = *self.faults.lock();
        let mut queued = self.queued.lock();
        if faults.queue > 0 && queued[side] >= faults.queue {
            drop(queued);
            self.world.add(self.world.time() + Duration::from_micros(300), Event::Ready(side));
            return Err(TxError::Full);
        }
        queued[side] += 1;
        drop(queued);
        let mut bytes = vec![0; packet.len()];
        packet.copy_to(&mut bytes).unwrap();
        if let Some(c) = packet.checksum {
            assert!(faults.offload);
            if packet.segmentation.is_none() {
                finish_checksum(&mut bytes, c.start.into(), c.offset.into());
            }
        }
        for part in cut(bytes, packet) {
            self.carry(side, part, &faults);
        }
        Ok(())
    }

    fn carry(&self, side: usize, mut bytes: Vec<u8>, faults: &Faults) {
        assert!(bytes.len() <= 1514, "{} bytes on a wire of 1500", bytes.len());
        let now = self.world.time();
        if *self.rewrite.lock() {
            strip_options(&mut bytes);
        }
        if let Some(log) = &mut *self.log.lock() {
            log.push((now, side, bytes.clone()));
        }
        if let Some(filter) = &mut *self.filter.lock()
            && filter(side, &bytes)
        {
            return;
        }
        if self.dice.chance(faults.loss) {
            return;
        }
        if self.dice.chance(faults.corrupt) {
            let at = self.dice.next() as usize % bytes.len();
            bytes[at] ^= 1 << (self.dice.next() % 8);
        }
        let mut at = now + faults.delay;
        if faults.ns_per_byte > 0 {
            let mut busy = self.busy_until.lock();
            let start = busy[side].max(now);
            busy[side] = start + Duration::from_nanos(faults.ns_per_byte * bytes.len() as u64);
            at = busy[side] + faults.delay;
        }
        if self.dice.chance(faults.reorder) {
            at = at + faults.delay * (1 + self.dice.next() as u32 % 4);
        }
        if self.dice.chance(faults.duplicate) {
            self.world.add(at + faults.delay, Event::Packet(1 - side, bytes.clone()));
        }
        self.world.add(at, Event::Packet(1 - side, bytes));
    }
}

fn finish_checksum(bytes: &mut [u8], start: usize, offset: usize) {
    let sum = crate::ip::checksum::of(&bytes[start..]).complement();
    bytes[start + offset..start + offset + 2].copy_from_slice(&sum);
}

/// Plays a device that segments: TCP over IPv4.
fn cut(bytes: Vec<u8>, packet: &TxPacket<'_>) -> Vec<Vec<u8>> {
    let Some(s) = packet.segmentation else { return vec![bytes] };
    let c = packet.checksum.unwrap();
    let header = usize::from(s.header_length);
    let (head, data) = bytes.split_at(header);
    let tcp = usize::from(c.start);
    let seq = u32::from_be_bytes(head[tcp + 4..tcp + 8].try_into().unwrap());
    let size = usize::from(s.size);
    let count = data.len().div_ceil(size);
    let whole = data.len();
    data.chunks(size)
        .enumerate()
        .map(|(i, chunk)| {
            let mut part = head.to_vec();
            part.extend_from_slice(chunk);
            part[tcp + 4..tcp + 8].copy_from_slice(&(seq + (i * size) as u32).to_be_bytes());
            if i + 1 < count {
                part[tcp + 13] &= !0x09;
            }
            // The pseudo header's sum holds the length of the whole packet.
            let old = u16::from_ne_bytes(part[tcp + 16..tcp + 18].try_into().unwrap());
            let lengths = [whole, chunk.len()].map(|n| ((n + header - tcp) as u16).to_be());
            let sum = u32::from(old) + u32::from(!lengths[0]) + u32::from(lengths[1]);
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
            part[tcp + 16..tcp + 18].copy_from_slice(&sum.to_ne_bytes());
            finish_checksum(&mut part, tcp, 16);
            let ip = (part.len() - 14) as u16;
            part[16..18].copy_from_slice(&ip.to_be_bytes());
            part[24..26].fill(0);
            let sum = crate::ip::checksum::of(&part[14..34]).complement();
            part[24..26].copy_from_slice(&sum);
            part
        })
        .collect()
}

impl NetDevice for Port {
    fn mac(&self) -> MacAddress {
        [2, 0, 0, 0, 0, self.side as u8 + 1]
    }

    fn mtu(&self) -> usize {
        1500
    }

    fn capabilities(&self) -> Capabilities {
        if self.link.faults.lock().offload {
            Capabilities { tx_checksum: true, tso4_max: 65_535, tso6_max: 0 }
        } else {
            Capabilities::default()
        }
    }

    fn attach(&self, uplink: Arc<dyn Uplink>) {
        self.link.ends.lock()[self.side] = Some(uplink);
    }

    fn transmit(&self, packet: &TxPacket<'_>) -> core::result::Result<(), TxError> {
        self.link.put(self.side, packet)
    }

    fn flush(&self) {}
}

/// Two hosts on a link.
pub(super) struct Network {
    pub(super) world: Arc<World>,
    pub(super) link: Arc<Link>,
    pub(super) a: Arc<Stack>,
    pub(super) b: Arc<Stack>,
}

pub(super) fn environment(world: &Arc<World>, seed: u64) -> Environment {
    Environment { clock: world.clone(), timers: world.clone(), random: Arc::new(Dice::new(seed)) }
}

impl Network {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let network = Self::bare(seed, faults);
        network.a.configure(2, IpAddr::V4(A), 24, None).unwrap();
        network.b.configure(2, IpAddr::V4(B), 24, None).unwrap();
        network
    }

    /// Without IPv4 addresses.
    pub(super) fn bare(seed: u64, faults: Faults) -> Self {
        let world = Arc::new(World::default());
        world.now.store(1_000_000_000, Ordering::Relaxed);
        let link = Arc::new(Link {
            world: world.clone(),
            dice: Dice::new(seed),
            faults: SpinLock::new(faults),
            ends: SpinLock::default(),
            queued: SpinLock::default(),
            busy_until: SpinLock::default(),
            log: SpinLock::default(),
            rewrite: SpinLock::default(),
            filter: SpinLock::default(),
        });
        let stacks: Vec<_> = (0..2)
            .map(|side| {
                let stack = Stack::new(environment(&world, seed + 1 + side as u64));
                stack.add_interface("eth0", Arc::new(Port { link: link.clone(), side }));
                stack
            })
            .collect();
        Self { world, link, a: stacks[0].clone(), b: stacks[1].clone() }
    }

    /// Lets the next thing happen; false when there is none before `until`.
    pub(super) fn step(&self, until: Instant) -> bool {
        let mut agenda = self.world.agenda.lock();
        let Some(entry) = agenda.events.first_entry() else { return false };
        if entry.key().0 > until {
            return false;
        }
        let ((at, _), event) = entry.remove_entry();
        drop(agenda);
        self.world.now.fetch_max(at.as_nanos(), Ordering::Relaxed);
        match event {
            Event::Timer(target, key) => target.wake(key, Events::IN),
            Event::Packet(side, bytes) => {
                let mut queued = self.link.queued.lock();
                queued[1 - side] = queued[1 - side].saturating_sub(1);
                drop(queued);
                let end = self.link.ends.lock()[side].clone().unwrap();
                end.receive(&RxPacket { bytes: &bytes, checksum_verified: false });
                end.end_of_batch();
            }
            Event::Ready(side) => {
                self.link.queued.lock()[side] = 0;
                let end = self.link.ends.lock()[side].clone().unwrap();
                end.transmit_ready();
            }
        }
        true
    }

    /// Lets time pass.
    pub(super) fn run(&self, time: Duration) {
        let until = self.world.time() + time;
        while self.step(until) {}
        self.world.now.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }

    /// Lets time pass until `done`, at most `limit`.
    pub(super) fn until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let until = self.world.time() + limit;
        loop {
            if done() {
                return true;
            }
            if !self.step(until) {
                return done();
            }
        }
    }

    /// A connected pair: the client on A, the accepted one on B.
    pub(super) fn pair(&self, port: u16) -> (Arc<dyn Socket>, Arc<dyn Socket>) {
        let listener = listen(&self.b, port, 16);
        let client = connect(&self.a, B, port);
        let mut accepted = None;
        assert!(self.until(Duration::from_secs(120), || {
            accepted = listener.accept().ok().map(|a| a.0);
            accepted.is_some()
        }));
        assert!(self.until(Duration::from_secs(120), || client.poll().contains(Events::OUT)));
        listener.close();
        (client, accepted.unwrap())
    }

    /// Nothing is left of TCP on either side, apart from TIME-WAIT.
    pub(super) fn assert_no_connections(&self) {
        for stack in [&self.a, &self.b] {
            assert_eq!(stack.tcp_counts().0, 0, "{:?}", stack.tcp_sockets());
        }
    }
}

pub(super) fn v4(ip: Ipv4Addr, port: u16) -> SocketAddress {
    SocketAddress::Inet(SocketAddrV4::new(ip, port))
}

pub(super) fn tcp(stack: &Stack) -> Arc<dyn Socket> {
    stack.socket(2, 1, 0).unwrap()
}

pub(super) fn udp(stack: &Stack) -> Arc<dyn Socket> {
    stack.socket(2, 2, 0).unwrap()
}

pub(super) fn listen(stack: &Stack, port: u16, backlog: usize) -> Arc<dyn Socket> {
    let socket = tcp(stack);
    socket.set_option(1, 2, &1i32.to_ne_bytes()).unwrap();
    socket.bind(&v4(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    socket.listen(backlog).unwrap();
    socket
}

pub(super) fn connect(stack: &Stack, ip: Ipv4Addr, port: u16) -> Arc<dyn Socket> {
    let socket = tcp(stack);
    assert_eq!(socket.connect(&v4(ip, port)), Err(Errno::EINPROGRESS));
    socket
}

pub(super) fn write(socket: &dyn Socket, bytes: &[u8]) -> Result<usize> {
    socket.write_at(0, &mut SliceSource::new(bytes))
}

pub(super) fn read(socket: &dyn Socket, limit: usize) -> Result<Vec<u8>> {
    let mut buffer = vec![0; limit];
    let mut sink = SliceSink::new(&mut buffer);
    let n = socket.read_at(0, &mut sink)?;
    buffer.truncate(n);
    Ok(buffer)
}

pub(super) fn send_to(socket: &dyn Socket, bytes: &[u8], to: &SocketAddress) -> Result<usize> {
    let flags = MessageFlags::empty();
    socket.send(&mut SliceSource::new(bytes), Some(to), Vec::new(), flags)
}

pub(super) fn receive(socket: &dyn Socket) -> Result<(Vec<u8>, kio::Received)> {
    let mut buffer = vec![0; 70_000];
    let mut sink = SliceSink::new(&mut buffer);
    let received = socket.receive(&mut sink, MessageFlags::empty())?;
    let n = sink.filled();
    buffer.truncate(n);
    Ok((buffer, received))
}

/// Byte `at` of the stream that tests send.
pub(super) fn pattern(at: usize) -> u8 {
    (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0] ^ at as u8
}

/// Sends `total` bytes one way; both ends are driven by readiness only.
pub(super) fn transfer(
    network: &Network,
    from: &dyn Socket,
    to: &dyn Socket,
    total: usize,
    limit: Duration,
) {
    let (mut sent, mut got) = (0, 0);
    let done = network.until(limit, || {
        while sent < total {
            let end = (sent + 16_384).min(total);
            let chunk: Vec<u8> = (sent..end).map(pattern).collect();
            match write(from, &chunk) {
                Ok(n) => sent += n,
                Err(Errno::EAGAIN) => break,
                Err(e) => panic!("{e} after {sent} bytes"),
            }
        }
        loop {
            match read(to, 65_536) {
                Ok(bytes) => {
                    assert!(!bytes.is_empty(), "end of file after {got} bytes");
                    for b in bytes {
                        assert_eq!(b, pattern(got), "byte {got}");
                        got += 1;
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(e) => panic!("{e} after {got} bytes"),
            }
        }
        got == total
    });
    assert!(done, "stalled: {sent} of {total} sent, {got} received");
}
