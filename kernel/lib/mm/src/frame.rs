// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frames of physical memory, counted by reference.
#![expect(unsafe_code, reason = "owns physical memory and shows it as bytes")]

use crate::buddy::Buddy;
use crate::heap;
use crate::{FRAME_SIZE, PhysAddr};
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use ksync::{Once, SpinLock};

pub(crate) const FREE_FLAG: u32 = 1 << 31;

/// What the kernel knows of one frame: its reference count, or that it starts
/// a free block of some order.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Metadata(AtomicU32);

impl Metadata {
    pub(crate) fn state(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
    pub(crate) fn set_free(&self, order: usize) {
        self.0.store(FREE_FLAG | order as u32, Ordering::Relaxed);
    }
    pub(crate) fn clear_free(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

struct Memory {
    direct_map: usize,
    metadata: &'static [Metadata],
    total_frames: usize,
}

static MEMORY: Once<Memory> = Once::new();
static BUDDY: SpinLock<Buddy> = SpinLock::new(Buddy::empty());
/// Copy of what the allocator counts, for a look without its lock.
pub(crate) static FREE_FRAMES: AtomicUsize = AtomicUsize::new(0);
/// Frames that only the kernel itself may take, so that a program that eats
/// all memory meets `ENOMEM` before the kernel does.
static RESERVE: AtomicUsize = AtomicUsize::new(0);

/// No frame is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfFrames;

/// What a region of physical memory holds at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Free RAM.
    Usable,
    /// RAM that holds the kernel, the root image or boot data. It has
    /// metadata, so that it can be mapped, but is never handed out.
    InUse,
}

/// A region of RAM, `[start, end)` in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRegion {
    /// First byte.
    pub start: PhysAddr,
    /// Behind the last byte.
    pub end: PhysAddr,
    /// What it holds.
    pub kind: RegionKind,
}

/// Sets up physical memory from the regions of the machine, which do not
/// overlap. The metadata array is put into the first usable region with room.
///
/// # Safety
/// Every byte of `regions` must be mapped at `direct_map +` its address, and
/// nothing else may use the usable ones. To be called once.
pub unsafe fn init(direct_map: usize, regions: &[MemoryRegion]) -> Result<(), OutOfFrames> {
    let frames = |r: &MemoryRegion| {
        let first = r.start.as_u64().div_ceil(FRAME_SIZE as u64) as usize;
        (first, r.end.frame_number())
    };
    let top = regions.iter().map(|r| frames(r).1).max().unwrap_or(0);
    let metadata_frames = (top * size_of::<Metadata>()).div_ceil(FRAME_SIZE);
    let usable = || regions.iter().filter(|r| r.kind == RegionKind::Usable).map(frames);
    let (home, _) =
        usable().find(|(start, end)| *end >= start + metadata_frames).ok_or(OutOfFrames)?;
    let free = || {
        usable().map(|(start, end)| {
            let taken = if start == home { metadata_frames } else { 0 };
            ((start + taken).min(end), end)
        })
    };
    let base = (direct_map + home * FRAME_SIZE) as *mut MaybeUninit<u32>;
    // SAFETY: the home frames are usable RAM, mapped and ours by the contract
    // of this function.
    let counts = unsafe { core::slice::from_raw_parts_mut(base, top) };
    // What is not free RAM (the kernel, devices) has a count of its own that
    // never drops to zero. Plain words are filled many at a time.
    counts.fill(MaybeUninit::new(1));
    for (start, end) in free() {
        counts[start..end].fill(MaybeUninit::new(0));
    }
    // SAFETY: as above; all of it is written, and any word is a valid `Metadata`.
    let metadata: &'static [Metadata] =
        unsafe { core::slice::from_raw_parts(base.cast_const().cast(), top) };
    let mut total_frames = 0;
    let mut buddy = BUDDY.lock();
    // SAFETY: the contract of this function covers that of `set_up`.
    unsafe { buddy.set_up(metadata, direct_map) };
    for (start, end) in free() {
        buddy.free_range(start, end);
        total_frames += end - start;
    }
    drop(buddy);
    RESERVE.store((total_frames / 64).clamp(64, 4096), Ordering::Relaxed);
    MEMORY.set(Memory { direct_map, metadata, total_frames }).map_err(|_| OutOfFrames)
}

fn memory() -> &'static Memory {
    MEMORY.get().expect("kmm::init runs before the first frame is asked for")
}

/// The kernel address of a physical address of RAM, in the direct map.
#[inline]
pub fn phys_to_virt(address: PhysAddr) -> *mut u8 {
    (memory().direct_map + address.as_u64() as usize) as *mut u8
}

/// The physical address behind an address of the direct map.
#[inline]
pub fn virt_to_phys(address: *const u8) -> PhysAddr {
    PhysAddr::new((address as usize - memory().direct_map) as u64)
}

/// How much memory there is, in frames.
#[derive(Clone, Copy, Debug)]
pub struct MemoryInfo {
    /// Frames under management.
    pub total_frames: usize,
    /// Frames that are free.
    pub free_frames: usize,
    /// Of the free ones, those that programs cannot have.
    pub reserved_frames: usize,
}

/// A snapshot of the counts.
pub fn memory_info() -> MemoryInfo {
    MemoryInfo {
        total_frames: MEMORY.get().map_or(0, |m| m.total_frames),
        free_frames: BUDDY.lock().free_frames,
        reserved_frames: RESERVE.load(Ordering::Relaxed),
    }
}

/// Whether the kernel may take `bytes` for what a program makes it keep, such as a
/// descriptor or a mapping, so that half of its reserve is left. Not exact, since others take
/// memory at the same time; the other half is for that.
#[inline]
pub fn kernel_can_spare(bytes: usize) -> bool {
    let enough = || {
        let left = FREE_FRAMES.load(Ordering::Relaxed).saturating_sub(bytes.div_ceil(FRAME_SIZE));
        left > RESERVE.load(Ordering::Relaxed) / 2
    };
    // Another CPU may have trimmed in between.
    enough() || {
        heap::trim();
        enough()
    }
}

/// One frame, shared by reference count: a clone is the same frame. It is
/// freed with the last handle.
pub struct Frame(usize);

impl Frame {
    /// A frame for the kernel, with unknown contents.
    pub fn allocate() -> Result<Self, OutOfFrames> {
        let frame = BUDDY.lock().allocate(0).ok_or(OutOfFrames)?;
        memory().metadata[frame].0.store(1, Ordering::Relaxed);
        Ok(Self(frame))
    }

    /// A frame for a program or for its files, zeroed; fails while the kernel
    /// still has its reserve.
    pub fn allocate_zeroed_for_user() -> Result<Self, OutOfFrames> {
        let mut frame = Self::allocate_for_user()?;
        frame.zero();
        Ok(frame)
    }

    /// The heap may have frames that it does not need any more.
    #[cold]
    fn allocate_when_scarce() -> Result<Self, OutOfFrames> {
        heap::trim();
        let mut buddy = BUDDY.lock();
        if buddy.free_frames <= RESERVE.load(Ordering::Relaxed) {
            return Err(OutOfFrames);
        }
        let frame = buddy.allocate(0).ok_or(OutOfFrames)?;
        drop(buddy);
        memory().metadata[frame].0.store(1, Ordering::Relaxed);
        Ok(Self(frame))
    }

    /// Like [`allocate_zeroed_for_user`](Self::allocate_zeroed_for_user), with
    /// unknown contents, for a caller that writes all of it.
    pub fn allocate_for_user() -> Result<Self, OutOfFrames> {
        let mut buddy = BUDDY.lock();
        if buddy.free_frames <= RESERVE.load(Ordering::Relaxed) {
            drop(buddy);
            return Self::allocate_when_scarce();
        }
        let frame = buddy.allocate(0).ok_or(OutOfFrames)?;
        drop(buddy);
        memory().metadata[frame].0.store(1, Ordering::Relaxed);
        Ok(Self(frame))
    }

    /// A handle for RAM that is in use for ever, such as the root image.
    ///
    /// # Safety
    /// `address` must lie in a region that was given to [`init`] as
    /// [`RegionKind::InUse`].
    pub unsafe fn of_region_in_use(address: PhysAddr) -> Self {
        let frame = address.frame_number();
        memory().metadata[frame].0.fetch_add(1, Ordering::Relaxed);
        Self(frame)
    }

    /// The first byte of the frame.
    pub fn address(&self) -> PhysAddr {
        PhysAddr::from_frame_number(self.0)
    }

    /// How many handles there are, this one included.
    pub fn references(&self) -> u32 {
        memory().metadata[self.0].0.load(Ordering::Acquire)
    }

    /// The kernel's view of the frame. Programs that have it mapped, and other
    /// handles, may change it at any time: copy, do not trust.
    pub fn as_ptr(&self) -> *mut u8 {
        phys_to_virt(self.address())
    }

    /// Copies out of the frame.
    ///
    /// # Panics
    /// When the range is not inside the frame.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) {
        assert!(offset + buffer.len() <= FRAME_SIZE);
        // SAFETY: the range lies in the frame, which this handle keeps alive;
        // bytes have no invalid values, and races with user code move bytes only.
        unsafe { self.as_ptr().add(offset).copy_to(buffer.as_mut_ptr(), buffer.len()) }
    }

    /// Copies into the frame.
    ///
    /// # Panics
    /// When the range is not inside the frame.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= FRAME_SIZE);
        // SAFETY: as in `read`.
        unsafe { self.as_ptr().add(offset).copy_from(bytes.as_ptr(), bytes.len()) }
    }

    /// The bytes of the frame, for short uses such as handing them to a
    /// [`Sink`](../kio/trait.Sink.html) without a copy.
    pub fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: the frame lives as long as this handle; concurrent writers
        // only exist where a program shares the page, and then any byte is as
        // good as another.
        f(unsafe { core::slice::from_raw_parts(self.as_ptr(), FRAME_SIZE) })
    }

    /// The bytes of the frame, to be filled by a `Source` without a copy.
    pub fn with_bytes_mut<R>(&self, f: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: as in `with_bytes`; the owner of the object that the frame
        // belongs to serialises its writers.
        f(unsafe { core::slice::from_raw_parts_mut(self.as_ptr(), FRAME_SIZE) })
    }

    /// Fills the frame with zeroes.
    pub fn zero(&mut self) {
        // SAFETY: the frame is 4 KiB of mapped RAM that this handle owns.
        unsafe { self.as_ptr().write_bytes(0, FRAME_SIZE) }
    }

    /// Gives up the handle without dropping the reference: a page table entry
    /// holds it from now on.
    pub fn into_raw(self) -> PhysAddr {
        let address = self.address();
        core::mem::forget(self);
        address
    }

    /// Takes over the reference that [`into_raw`](Self::into_raw) left behind.
    ///
    /// # Safety
    /// `address` must come from `into_raw`, once for each call.
    pub unsafe fn from_raw(address: PhysAddr) -> Self {
        Self(address.frame_number())
    }
}

/// The count of a frame that the heap owns: nobody else has it.
pub(crate) fn count_of(address: PhysAddr) -> &'static AtomicU32 {
    &memory().metadata[address.frame_number()].0
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        memory().metadata[self.0].0.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if memory().metadata[self.0].0.fetch_sub(1, Ordering::AcqRel) == 1 {
            BUDDY.lock().free(self.0, 0);
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:?})", self.address())
    }
}

/// 2^order frames in a row, aligned to their size, owned by one handle.
pub struct FrameBlock {
    first: usize,
    order: usize,
}

impl FrameBlock {
    /// A block for the kernel, with unknown contents.
    pub fn allocate(order: usize) -> Result<Self, OutOfFrames> {
        let first = BUDDY.lock().allocate(order).ok_or(OutOfFrames)?;
        Ok(Self::claim(first, order))
    }

    /// A block for a program, with unknown contents; leaves the reserve alone.
    pub fn allocate_for_user(order: usize) -> Result<Self, OutOfFrames> {
        let mut buddy = BUDDY.lock();
        if buddy.free_frames <= RESERVE.load(Ordering::Relaxed) + (1 << order) {
            return Err(OutOfFrames);
        }
        let first = buddy.allocate(order).ok_or(OutOfFrames)?;
        drop(buddy);
        Ok(Self::claim(first, order))
    }

    fn claim(first: usize, order: usize) -> Self {
        for m in &memory().metadata[first..first + (1 << order)] {
            m.0.store(1, Ordering::Relaxed);
        }
        Self { first, order }
    }

    /// The first byte.
    pub fn address(&self) -> PhysAddr {
        PhysAddr::from_frame_number(self.first)
    }

    /// The kernel's view.
    pub fn as_ptr(&self) -> *mut u8 {
        phys_to_virt(self.address())
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        FRAME_SIZE << self.order
    }

    /// Never: a block has at least one frame.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Fills the block with zeroes.
    pub fn zero(&mut self) {
        // SAFETY: the block is mapped RAM that this handle owns alone.
        unsafe { self.as_ptr().write_bytes(0, self.len()) }
    }

    /// Gives up the handle: each of the frames now has one reference, to be
    /// taken over with [`Frame::from_raw`] one by one, or with
    /// [`from_raw`](Self::from_raw) together.
    pub fn into_raw(self) -> PhysAddr {
        let address = self.address();
        core::mem::forget(self);
        address
    }

    /// Takes over 2^order references, or `None` when one of the frames is
    /// shared (its references stay as they were).
    ///
    /// # Safety
    /// Each frame of the block must have a reference that the caller owns.
    pub unsafe fn from_raw(address: PhysAddr, order: usize) -> Option<Self> {
        let first = address.frame_number();
        memory().metadata[first..first + (1 << order)]
            .iter()
            .all(|m| m.0.load(Ordering::Acquire) == 1)
            .then_some(Self { first, order })
    }
}

impl Drop for FrameBlock {
    fn drop(&mut self) {
        for m in &memory().metadata[self.first..self.first + (1 << self.order)] {
            m.0.store(0, Ordering::Relaxed);
        }
        BUDDY.lock().free(self.first, self.order);
    }
}

impl fmt::Debug for FrameBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameBlock({:?}, order {})", self.address(), self.order)
    }
}
