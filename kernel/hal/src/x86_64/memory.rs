// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's own address space: the image with W^X, the direct map, device
//! windows, and task stacks with guard pages.

use super::boot::{DIRECT_MAP, KERNEL_OFFSET};
use super::boot_info::BootInfo;
use super::cpu;
use super::table::{self, Entry, Flags, Table};
use kmm::{FRAME_SIZE, Frame, FrameBlock, MemoryRegion, OutOfFrames, PhysAddr, RegionKind};
use ksync::{Once, SpinLock};

/// Windows of kernel addresses outside the direct map and the image.
const WINDOW_START: u64 = 0xffff_c000_0000_0000;
const WINDOW_END: u64 = WINDOW_START + (512 << 30);

static ROOT: Once<PhysAddr> = Once::new();
static WINDOW: SpinLock<u64> = SpinLock::new(WINDOW_START);

unsafe extern "C" {
    static __kernel_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __kernel_end: u8;
}

/// Root of the kernel's page tables; user roots copy its upper half.
pub fn root() -> PhysAddr {
    *ROOT.get().expect("memory is set up first")
}

/// Physical range of the kernel image, without what was appended to it.
pub fn kernel_image() -> (u64, u64) {
    (
        &raw const __kernel_start as u64 - KERNEL_OFFSET,
        &raw const __kernel_end as u64 - KERNEL_OFFSET,
    )
}

/// Builds the final page tables and starts the frame allocator.
///
/// # Safety
/// Once, on the first CPU, with the boot page tables loaded. `in_use` must name
/// all RAM that holds something: nothing else is spared.
pub unsafe fn set_up(boot: &BootInfo, in_use: &[(u64, u64)]) -> Result<(), OutOfFrames> {
    let mut regions =
        [MemoryRegion { start: PhysAddr::new(0), end: PhysAddr::new(0), kind: RegionKind::InUse };
            128];
    let count = split_regions(boot, in_use, &mut regions);
    // The boot tables map the first 4 GiB only: build with memory below, then
    // hand over the rest through the same call, because the tables that map it
    // are made of frames from the early part.
    let mut early = EarlyFrames::new(&mut regions[..count]);
    let root = early.take();
    let features = cpu::Features::detect();
    for region in boot.ram() {
        map_direct(root, region.0, region.1, features.pages_1g, &mut early);
    }
    map_image(root, &mut early);
    // The window's top-level entry exists before user roots copy it.
    next_table(root, table::slot(WINDOW_START, 3), &mut early);
    // SAFETY: the new root maps this code, this stack (part of the image) and
    // everything that boot code uses after: image and direct map.
    unsafe {
        cpu::set_cr4(cpu::cr4() | if features.pge { 1 << 7 } else { 0 });
        cpu::set_cr3(root.as_u64());
    }
    let regions = early.finish();
    // SAFETY: all regions are RAM, now in the direct map; used ones were cut out.
    unsafe { kmm::init(DIRECT_MAP as usize, regions)? };
    ROOT.set(root).map_err(|_| OutOfFrames)
}

/// Takes frames from the top of the first large usable region.
struct EarlyFrames<'a> {
    regions: &'a mut [MemoryRegion],
    from: usize,
}

impl<'a> EarlyFrames<'a> {
    fn new(regions: &'a mut [MemoryRegion]) -> Self {
        let fits = |r: &MemoryRegion| {
            r.kind == RegionKind::Usable && r.end.as_u64() <= super::boot::BOOT_MAPPED
        };
        let from = (0..regions.len())
            .filter(|&i| fits(&regions[i]))
            .max_by_key(|&i| regions[i].end - regions[i].start)
            .unwrap_or(0);
        Self { regions, from }
    }

    fn take(&mut self) -> PhysAddr {
        let region = &mut self.regions[self.from];
        let at = (region.end.as_u64() - FRAME_SIZE as u64) & !(FRAME_SIZE as u64 - 1);
        assert!(at >= region.start.as_u64(), "not enough memory for page tables");
        region.end = PhysAddr::new(at);
        // SAFETY: usable RAM below 4 GiB, mapped by the boot tables, and ours.
        unsafe { ((DIRECT_MAP + at) as *mut u8).write_bytes(0, FRAME_SIZE) };
        PhysAddr::new(at)
    }

    fn finish(self) -> &'a [MemoryRegion] {
        self.regions
    }
}

/// RAM minus what is in use, sorted; RAM below 1 MiB is left to firmware.
fn split_regions(boot: &BootInfo, in_use: &[(u64, u64)], out: &mut [MemoryRegion]) -> usize {
    let mut count = 0;
    let mut push = |start: u64, end: u64, kind| {
        if start < end && count < out.len() {
            out[count] =
                MemoryRegion { start: PhysAddr::new(start), end: PhysAddr::new(end), kind };
            count += 1;
        }
    };
    for &(start, end) in boot.ram() {
        let mut at = start.max(1 << 20);
        while at < end {
            let next = in_use
                .iter()
                .map(|&(s, e)| (s & !0xfff, e.next_multiple_of(0x1000)))
                .filter(|&(s, e)| e > at && s < end)
                .min();
            let Some((s, e)) = next else {
                push(at, end, RegionKind::Usable);
                break;
            };
            push(at, s.max(at), RegionKind::Usable);
            push(s.max(at), e.min(end), RegionKind::InUse);
            at = e;
        }
    }
    count
}

fn next_table(from: PhysAddr, slot: usize, early: &mut EarlyFrames<'_>) -> PhysAddr {
    let entry = table::of(from).get(slot);
    if entry.is_present() {
        return entry.address();
    }
    let next = early.take();
    table::of(from).set(slot, Entry::table(next));
    next
}

fn map_direct(root: PhysAddr, start: u64, end: u64, huge: bool, early: &mut EarlyFrames<'_>) {
    const GIB: u64 = 1 << 30;
    const LARGE: u64 = 2 << 20;
    let flags = Flags::PRESENT | Flags::WRITE | Flags::NO_EXECUTE | Flags::GLOBAL;
    let mut at = start & !(LARGE - 1);
    while at < end {
        let virt = DIRECT_MAP + at;
        let pdpt = next_table(root, table::slot(virt, 3), early);
        if huge && at.is_multiple_of(GIB) && at + GIB <= end {
            table::of(pdpt).set(table::slot(virt, 2), Entry::huge(PhysAddr::new(at), flags));
            at += GIB;
            continue;
        }
        let entry = table::of(pdpt).get(table::slot(virt, 2));
        if !(entry.is_present() && entry.is_huge()) {
            let pd = next_table(pdpt, table::slot(virt, 2), early);
            table::of(pd).set(table::slot(virt, 1), Entry::huge(PhysAddr::new(at), flags));
        }
        at += LARGE;
    }
}

fn map_image(root: PhysAddr, early: &mut EarlyFrames<'_>) {
    let text_end = &raw const __text_end as u64;
    let rodata_end = &raw const __rodata_end as u64;
    let start = &raw const __kernel_start as u64;
    let end = &raw const __kernel_end as u64;
    let mut virt = start;
    while virt < end {
        let flags = Flags::PRESENT
            | Flags::GLOBAL
            | if virt < text_end {
                Flags::empty()
            } else if virt < rodata_end {
                Flags::NO_EXECUTE
            } else {
                Flags::NO_EXECUTE | Flags::WRITE
            };
        let pdpt = next_table(root, table::slot(virt, 3), early);
        let pd = next_table(pdpt, table::slot(virt, 2), early);
        let pt = next_table(pd, table::slot(virt, 1), early);
        let at = PhysAddr::new(virt - KERNEL_OFFSET);
        table::of(pt).set(table::slot(virt, 0), Entry::page(at, flags));
        virt += FRAME_SIZE as u64;
    }
}

fn kernel_entry(virt: u64) -> Result<(&'static Table, usize), OutOfFrames> {
    let mut at = root();
    for level in (1..4).rev() {
        let slot = table::slot(virt, level);
        let entry = table::of(at).get(slot);
        if entry.is_present() {
            at = entry.address();
            continue;
        }
        let mut frame = Frame::allocate()?;
        frame.zero();
        let next = frame.into_raw();
        table::of(at).set(slot, Entry::table(next));
        at = next;
    }
    Ok((table::of(at), table::slot(virt, 0)))
}

/// Reserves kernel addresses, with an unmapped page in front.
fn reserve_window(bytes: u64) -> Option<u64> {
    let mut next = WINDOW.lock();
    let start = *next + FRAME_SIZE as u64;
    let end = start.checked_add(bytes.next_multiple_of(FRAME_SIZE as u64))?;
    (end <= WINDOW_END).then(|| {
        *next = end;
        start
    })
}

/// Where the kernel sees a physical address.
#[inline]
pub fn direct_map(at: PhysAddr) -> usize {
    (DIRECT_MAP + at.as_u64()) as usize
}

/// Maps device memory, uncached, for ever.
pub fn map_device(address: PhysAddr, len: usize) -> Option<*mut u8> {
    let offset = address.as_u64() & 0xfff;
    let first = address.as_u64() - offset;
    let pages = (offset + len as u64).div_ceil(FRAME_SIZE as u64);
    let start = reserve_window(pages * FRAME_SIZE as u64)?;
    let flags = Flags::PRESENT | Flags::WRITE | Flags::NO_EXECUTE | Flags::UNCACHED | Flags::GLOBAL;
    for page in 0..pages {
        let by = page * FRAME_SIZE as u64;
        let (table, slot) = kernel_entry(start + by).ok()?;
        table.set(slot, Entry::page(PhysAddr::new(first + by), flags));
    }
    Some((start + offset) as *mut u8)
}

/// Maps 2^`order` fresh frames with an unmapped page in front, for ever, and
/// gives the lowest address.
pub(super) fn map_stack(order: usize) -> Result<u64, OutOfFrames> {
    let block = FrameBlock::allocate_for_user(order)?;
    let bottom = reserve_window((FRAME_SIZE << order) as u64).ok_or(OutOfFrames)?;
    let flags = Flags::PRESENT | Flags::WRITE | Flags::NO_EXECUTE | Flags::GLOBAL;
    for page in 0..1u64 << order {
        let by = page * FRAME_SIZE as u64;
        let (table, slot) = kernel_entry(bottom + by)?;
        table.set(slot, Entry::page(block.address() + by, flags));
    }
    let _ = block.into_raw();
    Ok(bottom)
}

/// Size of a task's kernel stack in bytes.
pub const STACK_SIZE: usize = 16 << 10;
static FREE_STACKS: SpinLock<alloc::vec::Vec<u64>> = SpinLock::new(alloc::vec::Vec::new());

/// A kernel stack between unmapped pages. Stacks that were given back keep
/// their memory and are used again.
#[derive(Debug)]
pub struct KernelStack {
    bottom: u64,
}

impl KernelStack {
    /// A stack, used or new.
    pub fn allocate() -> Result<Self, OutOfFrames> {
        if let Some(bottom) = FREE_STACKS.lock().pop() {
            return Ok(Self { bottom });
        }
        Ok(Self { bottom: map_stack(2)? })
    }

    /// Behind the highest byte; aligned to 16.
    pub fn top(&self) -> u64 {
        self.bottom + STACK_SIZE as u64
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        FREE_STACKS.lock().push(self.bottom);
    }
}
