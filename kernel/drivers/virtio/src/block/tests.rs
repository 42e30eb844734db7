// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The disk against a device that is played by the test.

use super::VirtioBlock;
use super::spec::{self, feature};
use crate::spec::{feature as general, status};
use crate::testing::{Chain, DeviceQueue, FakeDevice, Random};
use core::sync::atomic::{AtomicUsize, Ordering};
use kdevice::hosted::{self, ram_read, ram_write};
use kdevice::{BlockDevice, BlockOperation, BlockRequest, BlockSegment};
use kio::{Errno, Events, Wake};
use kmm::Frame;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

const SECTORS: usize = 4096;
const ALL: u64 = feature::SEG_MAX
    | feature::BLK_SIZE
    | feature::FLUSH
    | feature::TOPOLOGY
    | feature::DISCARD
    | general::EVENT_IDX
    | general::INDIRECT_DESC;

#[derive(Default)]
struct Woken {
    done: AtomicUsize,
    room: AtomicUsize,
}

impl Wake for Woken {
    fn wake(&self, _key: u64, ready: Events) {
        let count = if ready.contains(Events::IN) { &self.done } else { &self.room };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

struct Bench {
    device: FakeDevice,
    disk: Arc<VirtioBlock>,
    woken: Arc<Woken>,
    queue: DeviceQueue,
    bytes: Vec<u8>,
    flushes: usize,
}

impl Drop for Bench {
    fn drop(&mut self) {
        hosted::disconnect_line(self.device.gsi);
    }
}

fn config(block_size: u32) -> Vec<u8> {
    let mut config = vec![0; 60];
    config[..8].copy_from_slice(&(SECTORS as u64).to_le_bytes());
    config[12..16].copy_from_slice(&30u32.to_le_bytes());
    config[20..24].copy_from_slice(&block_size.to_le_bytes());
    config[24] = 3;
    config[28..32].copy_from_slice(&16u32.to_le_bytes());
    config[36..40].copy_from_slice(&256u32.to_le_bytes());
    config
}

fn bench(version: u32, features: u64, block_size: u32) -> Bench {
    let device = FakeDevice::new(version, 2, 1, features, &config(block_size));
    let disk = VirtioBlock::start(device.transport()).unwrap();
    assert_ne!(device.status() & status::DRIVER_OK, 0);
    let queue = device.queue(0);
    let bytes = (0..SECTORS * 512).map(|i| (i / 512 * 31 + i) as u8).collect();
    Bench { device, disk, woken: Arc::default(), queue, bytes, flushes: 0 }
}

impl Bench {
    fn request(
        &self,
        operation: BlockOperation,
        sector: u64,
        parts: &[(Frame, u32, u32)],
    ) -> Arc<BlockRequest> {
        let segment = |(frame, offset, len): &(Frame, u32, u32)| BlockSegment {
            frame: frame.clone(),
            offset: *offset,
            len: *len,
        };
        let segments = parts.iter().map(segment).collect();
        Arc::new(BlockRequest::new(operation, sector, segments, self.woken.clone(), 1))
    }

    /// Does what a request says, as a device does.
    fn serve(&mut self, chain: &Chain) -> u32 {
        let header = chain.parts[0];
        assert_eq!((header.len, header.writable), (16, false));
        let mut fields = [0; 16];
        ram_read(header.address, &mut fields);
        let kind = u32::from_le_bytes(fields[..4].try_into().unwrap());
        let mut at = u64::from_le_bytes(fields[8..].try_into().unwrap()) as usize * 512;
        let (last, data) = chain.parts[1..].split_last().unwrap();
        assert_eq!((last.len, last.writable), (1, true));
        let mut written = 1;
        for part in data {
            let bytes = &mut self.bytes[at..at + part.len as usize];
            match kind {
                spec::IN => ram_write(part.address, bytes),
                spec::OUT => ram_read(part.address, bytes),
                spec::GET_ID => ram_write(part.address, b"disk-7\0xxxxxxxxxxxxx"),
                spec::DISCARD => {
                    let mut range = [0; 16];
                    ram_read(part.address, &mut range);
                    let first = u64::from_le_bytes(range[..8].try_into().unwrap()) as usize;
                    let count = u32::from_le_bytes(range[8..12].try_into().unwrap()) as usize;
                    self.bytes[first * 512..(first + count) * 512].fill(0);
                }
                _ => panic!("request {kind} with data"),
            }
            written += if part.writable { part.len } else { 0 };
            at += part.len as usize;
        }
        self.flushes += usize::from(kind == spec::FLUSH);
        ram_write(last.address, &[0]);
        written
    }

    /// Serves all that is queued, in a random order.
    fn serve_all(&mut self, random: &mut Random) {
        let mut chains: Vec<_> = core::iter::from_fn(|| self.queue.pop()).collect();
        while !chains.is_empty() {
            let chain = chains.swap_remove(random.below(chains.len()));
            let written = self.serve(&chain);
            if self.queue.push(chain.head, written) {
                self.device.interrupt();
            }
        }
    }
}

fn frame(fill: u8) -> Frame {
    let frame = Frame::allocate().unwrap();
    frame.write(0, &[fill; 4096]);
    frame
}

#[test]
fn limits_come_from_the_device() {
    let bench = bench(2, ALL, 4096);
    let limits = bench.disk.limits();
    assert_eq!((limits.sector_size, limits.sectors), (4096, SECTORS as u64 / 8));
    assert_eq!((limits.physical_block_size, limits.optimal_io_size), (32768, 65536));
    assert_eq!((limits.max_segments, limits.max_discard_sectors), (30, 32));
    assert!(limits.write_cache && !limits.read_only);
}

#[test]
fn the_name_comes_without_waiting() {
    let mut bench = bench(2, ALL, 512);
    assert_eq!(bench.disk.identity(), "");
    bench.serve_all(&mut Random(1));
    assert_eq!(bench.disk.identity(), "disk-7");
}

/// What is written is read back, whatever the order of completion.
#[test]
fn many_requests_in_flight_complete_in_any_order() {
    for (version, features) in
        [(2, ALL), (1, ALL), (2, ALL & !general::INDIRECT_DESC), (2, 0), (1, feature::SEG_MAX)]
    {
        let mut bench = bench(version, features, 512);
        let mut random = Random(42);
        bench.serve_all(&mut random);
        let segments = bench.disk.limits().max_segments.min(4);
        let mut model = bench.bytes.clone();
        for round in 0..60u64 {
            // Requests of one round touch places of their own.
            let mut reads = Vec::new();
            let mut all = Vec::new();
            for slot in 0..10usize {
                let sector = slot * 400 + random.below(300);
                let parts: Vec<_> = (0..=random.below(segments))
                    .map(|i| {
                        (
                            frame(round as u8 ^ i as u8),
                            512 * random.below(4) as u32,
                            512 * (1 + random.below(4)) as u32,
                        )
                    })
                    .collect();
                let write = random.below(2) == 0;
                let operation = if write { BlockOperation::Write } else { BlockOperation::Read };
                let request = bench.request(operation, sector as u64, &parts);
                bench.disk.submit(request.clone()).unwrap();
                let mut at = sector * 512;
                for (frame, offset, len) in &parts {
                    let range = at..at + *len as usize;
                    match write {
                        true => frame.read(*offset as usize, &mut model[range]),
                        false => reads.push((frame.clone(), *offset, range)),
                    }
                    at += *len as usize;
                }
                all.push(request);
            }
            bench.serve_all(&mut random);
            bench.disk.poll();
            assert!(all.iter().all(|request| request.result() == Some(Ok(()))));
            for (frame, offset, range) in reads {
                let mut bytes = vec![0; range.len()];
                frame.read(offset as usize, &mut bytes);
                assert_eq!(bytes, model[range]);
            }
            assert_eq!(bench.woken.done.load(Ordering::Relaxed) as u64, 10 * (round + 1));
        }
        assert_eq!(bench.bytes, model);
    }
}

#[test]
fn flush_and_discard() {
    let mut bench = bench(2, ALL, 4096);
    let flush = bench.request(BlockOperation::Flush, 0, &[]);
    let discard = bench.request(BlockOperation::Discard { sectors: 2 }, 3, &[]);
    bench.disk.submit(flush.clone()).unwrap();
    bench.disk.submit(discard.clone()).unwrap();
    bench.serve_all(&mut Random(3));
    assert_eq!((flush.result(), discard.result()), (Some(Ok(())), Some(Ok(()))));
    assert_eq!(bench.flushes, 1);
    let zeroes: Vec<_> = bench.bytes.chunks(4096).map(|c| c.iter().all(|b| *b == 0)).collect();
    assert_eq!(zeroes[2..6], [false, true, true, false]);
    // A device without a cache has nothing to flush.
    let plain = self::bench(2, 0, 512);
    let flush = plain.request(BlockOperation::Flush, 0, &[]);
    plain.disk.submit(flush.clone()).unwrap();
    assert_eq!(flush.result(), Some(Ok(())));
}

#[test]
fn bad_requests_are_refused() {
    let bench = bench(2, ALL, 512);
    let part = |offset, len| [(frame(0), offset, len)];
    let read = |sector, parts: &[_]| {
        bench.disk.submit(bench.request(BlockOperation::Read, sector, parts)).err()
    };
    let last = SECTORS as u64 - 1;
    assert_eq!(read(last, &part(0, 512)), None);
    assert_eq!(read(last, &part(0, 1024)), Some(Errno::EINVAL));
    assert_eq!(read(u64::MAX, &part(0, 512)), Some(Errno::EINVAL));
    assert_eq!(read(0, &part(0, 100)), Some(Errno::EINVAL));
    assert_eq!(read(0, &part(3584, 1024)), Some(Errno::EINVAL));
    assert_eq!(read(0, &part(u32::MAX, 512)), Some(Errno::EINVAL));
    assert_eq!(read(0, &[]), Some(Errno::EINVAL));
    assert_eq!(read(0, &vec![(frame(0), 0, 512); 31]), Some(Errno::EINVAL));
    let discard = bench.request(BlockOperation::Discard { sectors: 257 }, 0, &[]);
    assert_eq!(bench.disk.submit(discard), Err(Errno::EINVAL));
    let read_only = self::bench(2, feature::RO, 512);
    let write = read_only.request(BlockOperation::Write, 0, &part(0, 512));
    assert_eq!(read_only.disk.submit(write), Err(Errno::EROFS));
    let discard = read_only.request(BlockOperation::Discard { sectors: 1 }, 0, &[]);
    assert_eq!(read_only.disk.submit(discard), Err(Errno::EOPNOTSUPP));
}

#[test]
fn a_full_queue_says_when_there_is_room() {
    for features in [ALL, 0] {
        let mut bench = bench(2, features, 512);
        bench.disk.room().register(bench.woken.clone(), 0, Events::OUT, false);
        let page = frame(0);
        let mut taken = 0;
        let refused = loop {
            let request = bench.request(BlockOperation::Read, 0, &[(page.clone(), 0, 512)]);
            match bench.disk.submit(request) {
                Ok(()) => taken += 1,
                Err(errno) => break errno,
            }
        };
        assert_eq!(refused, Errno::EAGAIN);
        assert!(taken >= 20);
        bench.serve_all(&mut Random(9));
        assert_eq!(bench.woken.done.load(Ordering::Relaxed), taken);
        assert_eq!(bench.woken.room.load(Ordering::Relaxed), 1);
        assert_eq!(page.references(), 1, "requests that are done hold no memory");
    }
}

#[test]
fn errors_of_the_device_are_errors_of_the_request() {
    let mut bench = bench(2, ALL, 512);
    bench.serve_all(&mut Random(2));
    for (answer, errno) in [(1u8, Errno::EIO), (2, Errno::EOPNOTSUPP), (0xff, Errno::EIO)] {
        let request = bench.request(BlockOperation::Read, 0, &[(frame(0), 0, 512)]);
        bench.disk.submit(request.clone()).unwrap();
        let chain = bench.queue.pop().unwrap();
        ram_write(chain.parts.last().unwrap().address, &[answer]);
        bench.queue.push(chain.head, 1);
        bench.device.interrupt();
        assert_eq!(request.result(), Some(Err(errno)));
    }
}

#[test]
fn a_broken_device_fails_what_it_has() {
    for break_it in
        [(|bench: &mut Bench| bench.queue.push_raw(9999, 0)) as fn(&mut Bench), |bench| {
            bench.device.demand_reset();
        }]
    {
        let mut bench = bench(2, ALL, 512);
        let request = bench.request(BlockOperation::Read, 0, &[(frame(0), 0, 512)]);
        bench.disk.submit(request.clone()).unwrap();
        break_it(&mut bench);
        bench.device.interrupt();
        assert_eq!(request.result(), Some(Err(Errno::EIO)));
        assert_eq!(bench.device.status(), 0);
        let another = bench.request(BlockOperation::Read, 0, &[(frame(0), 0, 512)]);
        assert_eq!(bench.disk.submit(another), Err(Errno::EIO));
    }
}
