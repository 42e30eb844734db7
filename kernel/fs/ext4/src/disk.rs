// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A block device as the file system's core wants it: calls that return when
//! they are done, with a cache of blocks that were read one by one.
//!
//! Writes return when the device has taken them, so that many are on their way
//! at once; whoever reads or writes the same place waits for them, and so does a
//! flush. A write that fails makes the disk fail for good: what was promised to
//! be there is not, and nothing that builds on it may be written.

use crate::volume::Environment;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use kdevice::{BlockDevice, BlockLimits, BlockOperation, BlockRequest, BlockSegment};
use kio::{Errno, Events, Wake};
use kmm::{FRAME_SIZE, Frame};
use ksync::SpinLock;
use rsext4::{BlockIo, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4Result, SectorId};

/// Writes on their way at most; behind that a write waits for the oldest.
const DEPTH: usize = 48;
/// Reads up to this size are remembered: metadata comes by blocks, contents in
/// runs, which have a cache of their own.
const CACHED_READ: usize = FRAME_SIZE;
/// Frames of the cache at most.
const CACHE_FRAMES: usize = 2048;

/// Frames that are read at once where one is wanted: tables of inodes and young
/// directories lie in one piece.
const READ_AHEAD: u64 = 8;
/// Looks at a request before its waiter sleeps: a fast disk has answered by then.
const LOOKS: u32 = 32;

/// Tells who waits.
struct Waker(Arc<dyn Environment>);

impl Wake for Waker {
    fn wake(&self, _key: u64, _ready: Events) {
        self.0.wake();
    }
}

struct InFlight {
    bytes: Range<u64>,
    request: Arc<BlockRequest>,
}

/// A disk with synchronous calls.
pub struct Disk {
    device: Arc<dyn BlockDevice>,
    environment: Arc<dyn Environment>,
    limits: BlockLimits,
    waker: Arc<Waker>,
    in_flight: VecDeque<InFlight>,
    /// Frames of the device by number; what is in flight is here or nowhere.
    cache: BTreeMap<u64, Frame>,
    /// The numbers in `cache`, oldest first.
    age: VecDeque<u64>,
    failed: Option<Errno>,
    read_only: bool,
    /// Metadata is read without a look at its checksums.
    lenient: bool,
}

impl Disk {
    /// Takes `device` over. `read_only` refuses writes whatever the device says.
    pub fn new(
        device: Arc<dyn BlockDevice>,
        environment: Arc<dyn Environment>,
        read_only: bool,
    ) -> Self {
        let limits = device.limits();
        let waker = Arc::new(Waker(environment.clone()));
        Self {
            device,
            environment,
            limits,
            waker,
            in_flight: VecDeque::new(),
            cache: BTreeMap::new(),
            age: VecDeque::new(),
            failed: None,
            read_only: read_only || limits.read_only,
            lenient: false,
        }
    }

    /// For a volume whose checksums are wrong, which is to be shown all the
    /// same: the superblock is read as one without the features of checksums.
    pub(crate) fn lenient(mut self) -> Self {
        self.lenient = true;
        self.read_only = true;
        self
    }

    fn soften(&self, offset: u64, buffer: &mut [u8]) {
        /// `s_feature_ro_compat`, and GDT_CSUM and METADATA_CSUM in it.
        const FEATURES_AT: u64 = 1024 + 0x64;
        const CHECKSUMS: u32 = 0x10 | 0x400;
        let Some(at) = FEATURES_AT.checked_sub(offset).map(|at| at as usize) else { return };
        if let Some(field) = buffer.get_mut(at..at + 4).filter(|_| self.lenient) {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(field);
            let features = u32::from_le_bytes(bytes) & !CHECKSUMS;
            field.copy_from_slice(&features.to_le_bytes());
        }
    }

    /// Reads `buffer.len()` bytes at `offset`, both multiples of the sector size.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        self.read_sectors(offset, buffer)?;
        self.soften(offset, buffer);
        Ok(())
    }

    fn read_sectors(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let bytes = self.range(offset, buffer.len())?;
        if self.copy_cached(offset, buffer) {
            return Ok(());
        }
        self.settle(&bytes)?;
        if buffer.len() <= CACHED_READ {
            let number = offset / FRAME_SIZE as u64;
            let last = (bytes.end - 1) / FRAME_SIZE as u64;
            if number == last && self.frame_inside(offset) {
                self.bring_in(number)?;
                if self.copy_cached(offset, buffer) {
                    return Ok(());
                }
            }
        }
        self.read_past_cache(offset, buffer)
    }

    /// Any bytes that lie in one frame.
    pub(crate) fn read_piece(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let end = offset.checked_add(buffer.len() as u64).ok_or(Errno::EIO)?;
        let one_frame = !buffer.is_empty()
            && offset / FRAME_SIZE as u64 == (end - 1) / FRAME_SIZE as u64
            && self.frame_inside(offset);
        if !one_frame {
            return Err(Errno::EIO);
        }
        if !self.copy_cached(offset, buffer) {
            self.bring_in(offset / FRAME_SIZE as u64)?;
        }
        if self.copy_cached(offset, buffer) { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Reads a frame into the cache, and those behind it when they can be had.
    fn bring_in(&mut self, number: u64) -> Result<(), Errno> {
        let most = READ_AHEAD.min(self.max_transfer() as u64 / FRAME_SIZE as u64);
        let end = (number + most).min(self.capacity() / FRAME_SIZE as u64);
        let next = self.cache.range(number..).next().map_or(u64::MAX, |(next, _)| *next);
        let ahead = end.min(next).saturating_sub(number).max(1);
        self.read_frames(number, ahead).or_else(|_| self.read_frames(number, 1))
    }

    fn read_frames(&mut self, number: u64, count: u64) -> Result<(), Errno> {
        let start = number * FRAME_SIZE as u64;
        let len = count as usize * FRAME_SIZE;
        self.settle(&(start..start + len as u64))?;
        let frames = frames_for(len)?;
        self.transfer(BlockOperation::Read, start, &frames)?;
        for (number, (frame, ..)) in (number..).zip(frames) {
            self.remember(number, frame);
        }
        Ok(())
    }

    /// A read of a run, which may cover frames of the cache: those are as the
    /// device has them, since writes go to both.
    fn read_past_cache(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let step = self.max_transfer();
        for (index, part) in buffer.chunks_mut(step).enumerate() {
            let frames = frames_for(part.len())?;
            let at = offset + (index * step) as u64;
            self.transfer(BlockOperation::Read, at, &frames)?;
            for (piece, (frame, _, len)) in part.chunks_mut(FRAME_SIZE).zip(&frames) {
                frame.read(0, &mut piece[..*len]);
            }
        }
        Ok(())
    }

    /// Writes `bytes` at `offset`, both multiples of the sector size. It is on
    /// its way when this returns, and on the disk after [`flush_all`](Self::flush_all).
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let range = self.range(offset, bytes.len())?;
        if self.read_only {
            return Err(Errno::EROFS);
        }
        self.settle(&range)?;
        let step = self.max_transfer();
        for (index, part) in bytes.chunks(step).enumerate() {
            let at = offset + (index * step) as u64;
            let frames = frames_for(part.len())?;
            for (piece, (frame, ..)) in part.chunks(FRAME_SIZE).zip(&frames) {
                frame.write(0, piece);
            }
            let request = self.start(BlockOperation::Write, at, &frames)?;
            self.in_flight.push_back(InFlight { bytes: at..at + part.len() as u64, request });
        }
        self.update_cache(offset, bytes);
        while self.in_flight.len() > DEPTH {
            let Some(oldest) = self.in_flight.pop_front() else { break };
            self.finish(&oldest.request)?;
        }
        Ok(())
    }

    /// Brings all that was written to the disk itself.
    pub fn flush_all(&mut self) -> Result<(), Errno> {
        self.settle(&(0..u64::MAX))?;
        if self.read_only || !self.limits.write_cache {
            return Ok(());
        }
        let request = self.start(BlockOperation::Flush, 0, &[])?;
        self.finish(&request)
    }

    /// True when the device says that completed writes may be lost.
    pub fn has_write_cache(&self) -> bool {
        self.limits.write_cache
    }

    /// True when nothing is written.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Bytes of the device.
    pub fn capacity(&self) -> u64 {
        self.limits.sectors.saturating_mul(u64::from(self.limits.sector_size))
    }

    fn range(&self, offset: u64, len: usize) -> Result<Range<u64>, Errno> {
        let sector = u64::from(self.limits.sector_size);
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.capacity());
        let end = end.ok_or(Errno::EIO)?;
        if len == 0 || !offset.is_multiple_of(sector) || !end.is_multiple_of(sector) {
            return Err(Errno::EINVAL);
        }
        Ok(offset..end)
    }

    /// True when the frame of the device around `offset` is wholly inside.
    fn frame_inside(&self, offset: u64) -> bool {
        (offset / FRAME_SIZE as u64 + 1) * FRAME_SIZE as u64 <= self.capacity()
    }

    fn max_transfer(&self) -> usize {
        FRAME_SIZE * self.limits.max_segments.clamp(1, 64)
    }

    fn copy_cached(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let Some(frame) = self.cache.get(&(at / FRAME_SIZE as u64)) else { return false };
            let inside = (at % FRAME_SIZE as u64) as usize;
            let len = (FRAME_SIZE - inside).min(buffer.len() - done);
            frame.read(inside, &mut buffer[done..done + len]);
            done += len;
        }
        true
    }

    fn remember(&mut self, number: u64, frame: Frame) {
        if self.cache.len() >= CACHE_FRAMES
            && let Some(oldest) = self.age.pop_front()
        {
            self.cache.remove(&oldest);
        }
        if self.cache.insert(number, frame).is_none() {
            self.age.push_back(number);
        }
    }

    /// Frames of the cache follow what is written; they are not the ones that
    /// the device reads.
    fn update_cache(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let inside = (at % FRAME_SIZE as u64) as usize;
            let len = (FRAME_SIZE - inside).min(bytes.len() - done);
            if let Some(frame) = self.cache.get(&(at / FRAME_SIZE as u64)) {
                frame.write(inside, &bytes[done..done + len]);
            }
            done += len;
        }
    }

    /// Waits for writes that touch `bytes`.
    fn settle(&mut self, bytes: &Range<u64>) -> Result<(), Errno> {
        let touches = |f: &InFlight| f.bytes.start < bytes.end && bytes.start < f.bytes.end;
        while let Some(at) = self.in_flight.iter().position(touches) {
            let Some(entry) = self.in_flight.remove(at) else { break };
            self.finish(&entry.request)?;
        }
        match self.failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn transfer(
        &mut self,
        operation: BlockOperation,
        offset: u64,
        frames: &[(Frame, usize, usize)],
    ) -> Result<(), Errno> {
        let request = self.start(operation, offset, frames)?;
        self.wait(&request)
    }

    /// Gives a request to the device, waiting for room.
    fn start(
        &mut self,
        operation: BlockOperation,
        offset: u64,
        frames: &[(Frame, usize, usize)],
    ) -> Result<Arc<BlockRequest>, Errno> {
        let mut segments = Vec::new();
        segments.try_reserve_exact(frames.len()).map_err(|_| Errno::ENOMEM)?;
        segments.extend(frames.iter().map(|(frame, at, len)| BlockSegment {
            frame: frame.clone(),
            offset: *at as u32,
            len: *len as u32,
        }));
        let sector = offset / u64::from(self.limits.sector_size);
        let request =
            Arc::new(BlockRequest::new(operation, sector, segments, self.waker.clone(), 0));
        loop {
            match self.device.submit(request.clone()) {
                Ok(()) => return Ok(request),
                Err(Errno::EAGAIN) => self.look(),
                Err(error) => return Err(self.fail(operation, error)),
            }
        }
    }

    fn look(&self) {
        self.device.poll();
        self.environment.relax();
    }

    fn wait(&self, request: &BlockRequest) -> Result<(), Errno> {
        let mut looks = 0;
        loop {
            self.device.poll();
            match request.result() {
                Some(result) => return result,
                None if looks < LOOKS => self.environment.relax(),
                None => self.environment.sleep(&|| request.result().is_some()),
            }
            looks += 1;
        }
    }

    /// Waits for a write or flush.
    fn finish(&mut self, request: &Arc<BlockRequest>) -> Result<(), Errno> {
        let result = self.wait(request);
        result.map_err(|error| self.fail(request.operation, error))
    }

    fn fail(&mut self, operation: BlockOperation, error: Errno) -> Errno {
        if operation != BlockOperation::Read && error != Errno::ENOMEM {
            self.failed.get_or_insert(error);
        }
        error
    }
}

/// Fresh frames for `len` bytes.
fn frames_for(len: usize) -> Result<Vec<(Frame, usize, usize)>, Errno> {
    let mut frames = Vec::new();
    frames.try_reserve_exact(len.div_ceil(FRAME_SIZE)).map_err(|_| Errno::ENOMEM)?;
    let mut left = len;
    while left > 0 {
        let part = left.min(FRAME_SIZE);
        frames.push((Frame::allocate().map_err(|_| Errno::ENOMEM)?, 0, part));
        left -= part;
    }
    Ok(frames)
}

fn as_error(errno: Errno) -> Ext4Error {
    match errno {
        Errno::EROFS => Ext4Error::read_only(),
        Errno::ENOMEM => Ext4Error::no_memory(),
        _ => Ext4Error::io(),
    }
}

/// The disk as the core holds it, next to what reads beside the core. The
/// core's lock is held by both, so this one is always free.
#[derive(Clone, Debug)]
pub(crate) struct SharedDisk(pub(crate) Arc<SpinLock<Disk>>);

impl SharedDisk {
    fn offset_of(disk: &Disk, sector: SectorId) -> Ext4Result<u64> {
        sector.raw().checked_mul(u64::from(disk.limits.sector_size)).ok_or_else(Ext4Error::overflow)
    }
}

impl BlockIo for SharedDisk {
    fn write(&mut self, buffer: &[u8], sector: SectorId, _count: u32) -> Ext4Result<()> {
        let mut disk = self.0.lock();
        let offset = Self::offset_of(&disk, sector)?;
        disk.write_at(offset, buffer).map_err(as_error)
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, _count: u32) -> Ext4Result<()> {
        let mut disk = self.0.lock();
        let offset = Self::offset_of(&disk, sector)?;
        disk.read_at(offset, buffer).map_err(as_error)
    }

    fn geometry(&self) -> DeviceGeometry {
        let limits = self.0.lock().limits;
        DeviceGeometry::new(limits.sector_size, limits.sectors)
    }

    /// A flush is always offered: on a device without a cache there is nothing
    /// to do for it.
    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities {
            read_only: self.0.lock().read_only,
            flush: true,
            ..DeviceCapabilities::default()
        }
    }

    fn flush(&mut self) -> Ext4Result<()> {
        self.0.lock().flush_all().map_err(as_error)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({} bytes, {} writes on their way)", self.capacity(), self.in_flight.len())
    }
}
