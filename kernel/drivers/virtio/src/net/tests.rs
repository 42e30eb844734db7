// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network card against a device that is played by the test.

use super::{VirtioNet, feature, general};
use crate::Error;
use crate::spec::status;
use crate::testing::{DeviceQueue, FakeDevice, Random};
use core::sync::atomic::{AtomicUsize, Ordering};
use kdevice::hosted;
use knet::device::{
    ChecksumOffload, NetDevice, RxPacket, Segmentation, SegmentationKind, TxError, TxPacket, Uplink,
};
use ksync::SpinLock;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CONFIG: [u8; 12] = [0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 1, 0, 0xdc, 0x05];
const LENGTHS: [usize; 7] = [60, 1514, 2035, 2036, 2037, 4084, 4085];
const ALL: u64 = feature::CSUM
    | feature::GUEST_CSUM
    | feature::MAC
    | feature::STATUS
    | feature::MRG_RXBUF
    | feature::HOST_TSO4
    | feature::HOST_TSO6
    | feature::GUEST_TSO4
    | feature::GUEST_TSO6
    | general::EVENT_IDX
    | 1 << 17
    | 1 << 22;

#[derive(Default)]
struct Stack {
    received: SpinLock<Vec<(Vec<u8>, bool)>>,
    batches: AtomicUsize,
    ready: AtomicUsize,
    link_changes: AtomicUsize,
}

impl Uplink for Stack {
    fn receive(&self, packet: &RxPacket<'_>) {
        self.received.lock().push((packet.bytes.to_vec(), packet.checksum_verified));
    }
    fn end_of_batch(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }
    fn transmit_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }
    fn link_changed(&self) {
        self.link_changes.fetch_add(1, Ordering::Relaxed);
    }
}

struct Bench {
    device: FakeDevice,
    net: Arc<VirtioNet>,
    stack: Arc<Stack>,
    rx: DeviceQueue,
    tx: DeviceQueue,
}

fn bench(version: u32, features: u64) -> Bench {
    let device = FakeDevice::new(version, 1, 3, features, &CONFIG);
    let net = VirtioNet::start(device.transport(), MAC).unwrap();
    assert_ne!(device.status() & status::DRIVER_OK, 0);
    let stack = Arc::new(Stack::default());
    net.attach(stack.clone());
    assert_eq!(device.take_notifications(), [0]);
    let (rx, tx) = (device.queue(0), device.queue(1));
    Bench { device, net, stack, rx, tx }
}

impl Drop for Bench {
    fn drop(&mut self) {
        hosted::disconnect_line(self.device.gsi);
    }
}

impl Bench {
    /// Sends a packet to the driver, as a header with `flags` and `bytes`.
    fn deliver(&mut self, header_len: usize, flags: u8, bytes: &[u8]) -> bool {
        let mut data = vec![0; header_len];
        data[0] = flags;
        data.extend_from_slice(bytes);
        let mut chains = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let chain = self.rx.pop().expect("a receive buffer");
            let len = data.len().min(at + chain.parts[0].len as usize);
            chains.push((chain, at..len));
            at = len;
        }
        if header_len == 12 {
            data[10..12].copy_from_slice(&(chains.len() as u16).to_le_bytes());
        }
        let mut wants = false;
        for (chain, range) in chains {
            let written = chain.fill(&data[range]);
            wants |= self.rx.push(chain.head, written);
        }
        wants
    }

    fn received(&self) -> Vec<(Vec<u8>, bool)> {
        core::mem::take(&mut *self.stack.received.lock())
    }
}

fn packet(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..len).map(|_| random.below(256) as u8).collect()
}

fn plain(bytes: &[u8]) -> TxPacket<'_> {
    TxPacket { header: bytes, payload: [&[], &[]], checksum: None, segmentation: None }
}

#[test]
fn comes_up_on_both_interfaces_with_what_is_useful() {
    let modern = bench(2, ALL);
    assert_eq!(modern.net.mac(), CONFIG[..6]);
    assert_eq!(modern.net.mtu(), 1500);
    assert_eq!(modern.net.capabilities().tso4_max, 65535);
    assert_eq!(modern.device.accepted(), ALL & !(1 << 17 | 1 << 22) | general::VERSION_1);
    let legacy = bench(1, feature::STATUS);
    assert_eq!(legacy.net.mac(), MAC);
    assert!(legacy.net.link_up());
    assert_eq!(legacy.net.capabilities().tso4_max, 0);
    let disk = FakeDevice::new(2, 2, 1, 0, &[]);
    assert_eq!(VirtioNet::start(disk.transport(), MAC).err(), Some(Error::WrongType));
}

#[test]
fn packets_come_up_in_one_batch_with_one_interrupt() {
    for (version, features, header) in [(2, ALL, 12), (2, 0, 12), (1, 0, 10), (1, ALL, 12)] {
        let mut bench = bench(version, features);
        let sent: Vec<_> = (0..5).map(|i| packet(60 + 300 * i, i as u64 + 1)).collect();
        let interrupts = sent.iter().filter(|p| bench.deliver(header, 2, p)).count();
        assert_eq!(interrupts, if features & general::EVENT_IDX != 0 { 1 } else { 5 });
        bench.device.interrupt();
        let expected: Vec<_> = sent.into_iter().map(|p| (p, true)).collect();
        assert_eq!(bench.received(), expected);
        assert_eq!(bench.stack.batches.load(Ordering::Relaxed), 1);
        assert!(bench.device.take_notifications().len() <= 1);
    }
}

#[test]
fn large_packets_are_put_together() {
    let mut bench = bench(2, ALL);
    let large = packet(65535 + 14, 3);
    bench.deliver(12, 1, &large);
    bench.deliver(12, 0, &large[..100]);
    bench.device.interrupt();
    assert_eq!(bench.received(), [(large.clone(), true), (large[..100].to_vec(), false)]);
}

#[test]
fn traffic_goes_on_for_many_rings() {
    let mut bench = bench(2, ALL);
    let mut random = Random(5);
    for round in 0..400 {
        let sent: Vec<_> = (0..random.below(60))
            .map(|i| packet(14 + random.below(4000), round * 64 + i as u64 + 1))
            .collect();
        let interrupt = sent.iter().filter(|p| bench.deliver(12, 0, p)).count();
        assert_eq!(interrupt, usize::from(!sent.is_empty()));
        bench.device.interrupt();
        assert!(bench.received().into_iter().map(|(bytes, _)| bytes).eq(sent));
    }
}

#[test]
fn a_full_ring_is_one_bounded_interrupt() {
    let mut bench = bench(2, ALL);
    let mut count = 0;
    while let Some(chain) = bench.rx.pop() {
        chain.fill(&[0; 74]);
        bench.rx.push(chain.head, 74);
        count += 1;
    }
    assert_eq!(count, usize::from(bench.rx.size));
    bench.device.interrupt();
    assert_eq!(bench.received().len(), count);
    assert_eq!(bench.stack.batches.load(Ordering::Relaxed), 1);
    let again = core::iter::from_fn(|| bench.rx.pop()).count();
    assert_eq!(again, count, "all buffers are with the device again");
}

#[test]
fn what_is_sent_is_what_arrives_and_one_kick_tells_of_all() {
    let mut bench = bench(2, ALL);
    let bytes = packet(60_054, 11);
    let large = TxPacket {
        header: &bytes[..54],
        payload: [&bytes[54..20_000], &bytes[20_000..]],
        checksum: Some(ChecksumOffload { start: 34, offset: 16 }),
        segmentation: Some(Segmentation {
            kind: SegmentationKind::Tcp4,
            size: 1460,
            header_length: 54,
        }),
    };
    bench.net.transmit(&large).unwrap();
    for len in LENGTHS {
        bench.net.transmit(&plain(&bytes[..len])).unwrap();
    }
    assert_eq!(bench.device.take_notifications(), []);
    bench.net.flush();
    bench.net.flush();
    assert_eq!(bench.device.take_notifications(), [1]);
    let first = bench.tx.pop().unwrap().readable();
    assert_eq!(first[..12], [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0]);
    assert_eq!(first[12..], bytes);
    for len in LENGTHS {
        let chain = bench.tx.pop().unwrap();
        assert_eq!(chain.parts.len(), (len + 12usize).div_ceil(2048));
        assert_eq!(chain.readable()[12..], bytes[..len]);
    }
    let too_long = vec![0; 400_000];
    assert_eq!(bench.net.transmit(&plain(&too_long)), Err(TxError::Dropped));
}

#[test]
fn a_full_queue_waits_for_most_of_it_to_be_sent() {
    for features in [ALL, ALL & !general::EVENT_IDX] {
        let mut bench = bench(2, features);
        let bytes = packet(100, 1);
        let fill = |net: &VirtioNet| {
            (0..10_000).find(|_| net.transmit(&plain(&bytes)) == Err(TxError::Full)).unwrap()
        };
        let count = fill(&bench.net);
        assert_eq!(count, usize::from(bench.tx.size));
        assert_eq!(bench.device.take_notifications(), [1], "a full queue is announced");
        let mut interrupts = 0;
        while let Some(chain) = bench.tx.pop() {
            if bench.tx.push(chain.head, 0) {
                interrupts += 1;
                bench.device.interrupt();
            }
        }
        assert_eq!(bench.stack.ready.load(Ordering::Relaxed), 1);
        if features & general::EVENT_IDX != 0 {
            assert_eq!(interrupts, 1);
        }
        // Sent buffers come back without any interrupt.
        assert!(fill(&bench.net) >= count - 1);
    }
}

#[test]
fn the_link_goes_down_and_up() {
    let bench = bench(2, ALL);
    assert!(bench.net.link_up());
    bench.device.change_config(6, &[0]);
    assert!(!bench.net.link_up());
    bench.device.change_config(6, &[1]);
    assert!(bench.net.link_up());
    assert_eq!(bench.stack.link_changes.load(Ordering::Relaxed), 2);
    bench.device.demand_reset();
    assert!(!bench.net.link_up());
    assert_eq!(bench.device.status(), 0);
    assert_eq!(bench.net.transmit(&plain(&[0; 60])), Err(TxError::Dropped));
    bench.net.flush();
}

#[test]
fn a_broken_ring_takes_the_link_down() {
    let mut bench = bench(2, ALL);
    bench.rx.push_raw(5000, 60);
    bench.device.interrupt();
    assert!(!bench.net.link_up());
    assert_eq!(bench.device.status(), 0, "reset, so that it writes no more");
    bench.device.interrupt();
    assert_eq!(bench.stack.link_changes.load(Ordering::Relaxed), 1);
}

#[test]
fn random_devices_never_panic() {
    let mut random = Random(1234);
    for _ in 0..300 {
        let mut bench = bench(2, ALL);
        for _ in 0..40 {
            let queue = if random.below(2) == 0 { &mut bench.rx } else { &mut bench.tx };
            match random.below(5) {
                0 | 1 => {
                    if let Some(chain) = queue.pop() {
                        let junk = packet(random.below(3000), random.below(1 << 20) as u64 + 1);
                        chain.fill(&junk);
                        queue.push_raw(u32::from(chain.head), random.below(70_000) as u32);
                    }
                }
                2 if random.below(8) == 0 => queue.push_raw(random.below(300) as u32, 64),
                3 => drop(bench.net.transmit(&plain(&[0; 3000]))),
                _ => bench.device.interrupt(),
            }
        }
        bench.net.flush();
    }
}
