// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk that keeps writes apart from what a loss of power leaves.

use super::Random;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kdevice::{BlockDevice, BlockLimits, BlockOperation, BlockRequest};
use kio::{Errno, WaitQueue};
use ksync::SpinLock;

const SECTOR: usize = 512;

struct Contents {
    /// As reads see it.
    seen: Vec<u8>,
    /// As it was at the last flush.
    durable: Vec<u8>,
    /// Writes since then, in order.
    pending: Vec<(usize, Vec<u8>)>,
}

pub(crate) struct FakeDisk {
    contents: SpinLock<Contents>,
    room: WaitQueue,
    pub(crate) writes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) fail_writes: AtomicBool,
    /// The power goes at the write or flush with this number.
    pub(crate) lose_power_at: AtomicU64,
    random: SpinLock<Random>,
    lost: SpinLock<Option<Vec<u8>>>,
    sectors: u64,
}

impl FakeDisk {
    pub(crate) fn new(image: Vec<u8>) -> Arc<Self> {
        let sectors = (image.len() / SECTOR) as u64;
        let contents = Contents { seen: image.clone(), durable: image, pending: Vec::new() };
        Arc::new(Self {
            contents: SpinLock::new(contents),
            room: WaitQueue::new(),
            writes: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            fail_writes: AtomicBool::new(false),
            lose_power_at: AtomicU64::new(u64::MAX),
            random: SpinLock::new(Random(0x9e37_79b9)),
            lost: SpinLock::new(None),
            sectors,
        })
    }

    /// What the loss of power left, once it has come.
    pub(crate) fn lost(&self) -> Option<Vec<u8>> {
        self.lost.lock().clone()
    }

    pub(crate) fn has_lost_power(&self) -> bool {
        self.lost.lock().is_some()
    }

    /// Power goes at request `at`; what arrives follows from `seed`.
    pub(crate) fn lose_power(&self, at: u64, seed: u64) {
        self.lose_power_at.store(at, Ordering::Relaxed);
        *self.random.lock() = Random(seed | 1);
    }

    fn count(&self) {
        if self.lose_power_at.fetch_sub(1, Ordering::Relaxed) == 0 {
            let image = self.after_power_loss(&mut self.random.lock());
            *self.lost.lock() = Some(image);
        }
    }

    /// What is there after the last flush.
    pub(crate) fn durable(&self) -> Vec<u8> {
        self.contents.lock().durable.clone()
    }

    /// What is there after a loss of power: each sector that was written since
    /// the last flush may have arrived or not, in any order.
    pub(crate) fn after_power_loss(&self, random: &mut Random) -> Vec<u8> {
        let contents = self.contents.lock();
        let mut image = contents.durable.clone();
        // How eager the disk was, from nothing to all.
        let eagerness = random.below(5);
        for (at, bytes) in &contents.pending {
            let whole = random.below(4) > 0;
            let all = random.below(4) < eagerness;
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                let arrives = if whole { all } else { random.below(4) < eagerness };
                if arrives {
                    let at = at + index * SECTOR;
                    image[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        image
    }

    fn run(&self, request: &BlockRequest) -> Result<(), Errno> {
        if request.operation != BlockOperation::Read {
            self.count();
        }
        let mut contents = self.contents.lock();
        let mut at = request.sector as usize * SECTOR;
        match request.operation {
            BlockOperation::Read => {
                for part in &request.segments {
                    let end = at + part.len as usize;
                    part.frame.write(part.offset as usize, &contents.seen[at..end]);
                    at = end;
                }
            }
            BlockOperation::Write => {
                if self.fail_writes.load(Ordering::Relaxed) {
                    return Err(Errno::EIO);
                }
                self.writes.fetch_add(1, Ordering::Relaxed);
                for part in &request.segments {
                    let mut bytes = alloc::vec![0; part.len as usize];
                    part.frame.read(part.offset as usize, &mut bytes);
                    contents.seen[at..at + bytes.len()].copy_from_slice(&bytes);
                    let start = at;
                    at += bytes.len();
                    contents.pending.push((start, bytes));
                }
            }
            BlockOperation::Flush => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
                let pending = core::mem::take(&mut contents.pending);
                for (at, bytes) in pending {
                    contents.durable[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
            BlockOperation::Discard { .. } => return Err(Errno::EOPNOTSUPP),
        }
        Ok(())
    }
}

impl BlockDevice for FakeDisk {
    fn limits(&self) -> BlockLimits {
        BlockLimits {
            sector_size: SECTOR as u32,
            sectors: self.sectors,
            read_only: false,
            physical_block_size: SECTOR as u32,
            optimal_io_size: 0,
            max_segments: 30,
            max_discard_sectors: 0,
            write_cache: true,
        }
    }

    fn submit(&self, request: Arc<BlockRequest>) -> Result<(), Errno> {
        if request.operation != BlockOperation::Flush {
            assert!(request.bytes() > 0 && request.bytes().is_multiple_of(SECTOR as u64));
            assert!(request.sector + request.bytes() / SECTOR as u64 <= self.sectors);
        }
        let result = self.run(&request);
        request.complete(result);
        Ok(())
    }

    fn room(&self) -> &WaitQueue {
        &self.room
    }

    fn poll(&self) {}

    fn identity(&self) -> &str {
        "fake"
    }
}
