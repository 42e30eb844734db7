// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The page tables of a program: mapping frames, and forgetting them on every
//! CPU before they are freed.

use super::shootdown::Scope;
use super::table::{self, ENTRIES, Entry, Flags, Table};
use super::{cpu, memory, percpu, shootdown};
use alloc::vec::Vec;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU64, Ordering};
use kmm::{FRAME_SIZE, Frame, FrameBlock, OutOfFrames, PhysAddr};

/// Behind the last address that a program can use: 128 TiB minus a page, as
/// on Linux.
pub const USER_END: u64 = 0x7fff_ffff_f000;
/// Bytes of a large page.
pub const HUGE_SIZE: u64 = 2 << 20;
const PAGE: u64 = FRAME_SIZE as u64;
/// Frames that wait for a shootdown before they are freed.
const GATHER_LIMIT: usize = 512;

bitflags! {
    /// What a program may do with a page. Reading is implied.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u8 {
        /// Stores.
        const WRITE = 1;
        /// Instruction fetches.
        const EXECUTE = 2;
    }
}

impl Access {
    fn flags(self) -> Flags {
        let mut flags = Flags::PRESENT | Flags::USER;
        flags.set(Flags::WRITE, self.contains(Self::WRITE));
        flags.set(Flags::NO_EXECUTE, !self.contains(Self::EXECUTE));
        flags
    }
}

/// What is mapped at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Physical address of the 4 KiB page.
    pub address: PhysAddr,
    /// What the program may do.
    pub access: Access,
    /// Part of a 2 MiB page.
    pub huge: bool,
    /// Written since it was mapped.
    pub dirty: bool,
}

/// The page tables of one program. Its methods take `&mut self`: the address
/// space that owns it has the lock.
#[derive(Debug)]
pub struct UserPageTable {
    root: PhysAddr,
    /// CPUs that may have translations of this root.
    cpus: &'static AtomicU64,
    resident: usize,
    /// A large page was mapped at some time: there may be one to split.
    has_large: bool,
}

/// Handle for loading a page table without its owner's lock.
#[derive(Clone, Copy, Debug)]
pub struct Activation {
    root: PhysAddr,
    cpus: &'static AtomicU64,
}

impl Activation {
    /// Loads the tables on this CPU, unless they are loaded.
    #[inline]
    pub fn activate(&self) {
        let this = percpu::current();
        let root = self.root.as_u64();
        if this.lazy.load(Ordering::Relaxed) {
            shootdown::leave_lazy();
        }
        if this.root.load(Ordering::Relaxed) == root {
            return;
        }
        self.cpus.fetch_or(1 << this.index(), Ordering::SeqCst);
        this.root.store(root, Ordering::Relaxed);
        // SAFETY: the root shares the kernel's half, and lives: the address
        // space evicts every CPU before it frees it.
        unsafe { cpu::set_cr3(root) };
    }
}

impl UserPageTable {
    /// Empty tables with the kernel's half.
    pub fn new() -> Result<Self, OutOfFrames> {
        let mut frame = Frame::allocate_for_user()?;
        frame.zero();
        let root = frame.into_raw();
        let (from, to) = (table::of(memory::root()), table::of(root));
        (ENTRIES / 2..ENTRIES).for_each(|slot| to.set(slot, from.get(slot)));
        let cpus = alloc::boxed::Box::leak(alloc::boxed::Box::new(AtomicU64::new(0)));
        Ok(Self { root, cpus, resident: 0, has_large: false })
    }

    /// For loading it on CPUs that run its threads.
    pub fn activation(&self) -> Activation {
        Activation { root: self.root, cpus: self.cpus }
    }

    /// Pages mapped, in units of 4 KiB.
    pub fn resident_pages(&self) -> usize {
        self.resident
    }

    /// Of `[start, end)`: pages mapped, and pages that the program may write.
    pub fn residency(&self, start: u64, end: u64) -> (usize, usize) {
        Self::count(self.root, 3, start, end)
    }

    /// The part of [`residency`](Self::residency) in one table of `level`.
    fn count(at: PhysAddr, level: u32, start: u64, end: u64) -> (usize, usize) {
        let step = PAGE << (9 * level);
        let (mut mapped, mut writable) = (0, 0);
        let mut virt = start;
        while virt < end {
            let next = ((virt & !(step - 1)) + step).min(end);
            let entry = table::of(at).get(table::slot(virt, level));
            if entry.is_used() && (level == 0 || entry.is_huge()) {
                let pages = ((next - virt) / PAGE) as usize;
                mapped += pages;
                writable += if entry.flags().contains(Flags::WRITE) { pages } else { 0 };
            } else if entry.is_used() {
                let inner = Self::count(entry.address(), level - 1, virt, next);
                mapped += inner.0;
                writable += inner.1;
            }
            virt = next;
        }
        (mapped, writable)
    }

    /// The table of `level` that covers `virt`, made if needed.
    fn descend(&mut self, virt: u64, level: u32) -> Result<&'static Table, OutOfFrames> {
        let mut at = self.root;
        for upper in (level + 1..4).rev() {
            let (here, slot) = (table::of(at), table::slot(virt, upper));
            let entry = here.get(slot);
            if !entry.is_used() {
                at = Frame::allocate_zeroed_for_user()?.into_raw();
                here.set(slot, Entry::table(at));
            } else if entry.is_huge() {
                at = Self::split(here, slot, entry)?;
            } else {
                at = entry.address();
            }
        }
        Ok(table::of(at))
    }

    /// The entry for `virt` and its level (0, or 1 for a large page).
    fn find(&self, virt: u64) -> Option<(&'static Table, usize, u32)> {
        let mut at = self.root;
        for level in (0..4).rev() {
            let (here, slot) = (table::of(at), table::slot(virt, level));
            let entry = here.get(slot);
            if !entry.is_used() {
                return None;
            }
            if level == 0 || entry.is_huge() {
                return Some((here, slot, level));
            }
            at = entry.address();
        }
        None
    }

    /// Replaces a large page by 512 small ones with the same rights. No
    /// shootdown: both translate alike.
    fn split(here: &Table, slot: usize, entry: Entry) -> Result<PhysAddr, OutOfFrames> {
        let next = Frame::allocate()?.into_raw();
        let flags = entry.flags() - Flags::HUGE;
        for i in 0..ENTRIES {
            table::of(next).set(i, Entry::page(entry.address() + i as u64 * PAGE, flags));
        }
        here.set(slot, Entry::table(next));
        Ok(next)
    }

    /// Maps one page; what was there before is forgotten everywhere and freed.
    pub fn map(&mut self, virt: u64, frame: Frame, access: Access) -> Result<(), OutOfFrames> {
        let table = self.descend(virt, 0)?;
        let entry = Entry::page(frame.into_raw(), access.flags());
        let old = table.swap(table::slot(virt, 0), entry);
        if old.is_used() {
            self.flush(virt, virt + PAGE);
            // SAFETY: the entry held one reference, and no CPU translates to
            // it any more.
            drop(unsafe { Frame::from_raw(old.address()) });
        } else {
            self.resident += 1;
        }
        Ok(())
    }

    /// Maps 2 MiB at an aligned address where nothing is mapped; gives the
    /// block back when something is.
    pub fn map_huge(
        &mut self,
        virt: u64,
        block: FrameBlock,
        access: Access,
    ) -> Result<(), Option<FrameBlock>> {
        let Ok(table) = self.descend(virt, 1) else { return Err(Some(block)) };
        let slot = table::slot(virt, 1);
        let old = table.get(slot);
        if old.is_used() && (old.is_huge() || !Self::is_empty(old.address())) {
            return Err(Some(block));
        }
        table.set(slot, Entry::huge(block.into_raw(), access.flags()));
        if old.is_used() {
            self.flush_tables();
            // SAFETY: an empty table that no entry refers to any more.
            drop(unsafe { Frame::from_raw(old.address()) });
        }
        self.resident += ENTRIES;
        self.has_large = true;
        Ok(())
    }

    /// True when a large page could be put at `virt`.
    pub fn huge_fits(&self, virt: u64) -> bool {
        let mut at = self.root;
        for level in (1..4).rev() {
            let entry = table::of(at).get(table::slot(virt, level));
            if !entry.is_used() {
                return true;
            }
            if entry.is_huge() {
                return false;
            }
            at = entry.address();
        }
        Self::is_empty(at)
    }

    fn is_empty(at: PhysAddr) -> bool {
        (0..ENTRIES).all(|i| table::of(at).get(i) == Entry::EMPTY)
    }

    /// What is mapped at `virt`.
    pub fn query(&self, virt: u64) -> Option<Mapping> {
        let (table, slot, level) = self.find(virt)?;
        let entry = table.get(slot);
        let within = if level == 1 { virt & (HUGE_SIZE - 1) & !(PAGE - 1) } else { 0 };
        let mut access = Access::empty();
        access.set(Access::WRITE, entry.flags().contains(Flags::WRITE));
        access.set(Access::EXECUTE, !entry.flags().contains(Flags::NO_EXECUTE));
        Some(Mapping {
            address: entry.address() + within,
            access,
            huge: level == 1,
            dirty: entry.flags().contains(Flags::DIRTY),
        })
    }

    /// The frame mapped at `virt`, as one more handle.
    pub fn frame(&self, virt: u64) -> Option<Frame> {
        let mapping = self.query(virt)?;
        // SAFETY: the table holds a reference, so the frame lives; the handle
        // made here is cloned, and the table keeps its own.
        let held = unsafe { Frame::from_raw(mapping.address) };
        let copy = held.clone();
        let _ = held.into_raw();
        Some(copy)
    }

    /// Sets the rights of the pages that are mapped in `[start, end)`; with
    /// `None` the program has no access, but the frames stay. Rights to write
    /// are only taken away, never given: a write fault gives them, because
    /// only it knows whether the frame is shared.
    pub fn restrict(
        &mut self,
        start: u64,
        end: u64,
        access: Option<Access>,
    ) -> Result<(), OutOfFrames> {
        self.split_edges(start, end)?;
        let mut changed = false;
        let mut virt = start;
        while virt < end {
            let Some((table, slot, level)) = self.find(virt) else {
                virt = self.next_mapped(virt, end);
                continue;
            };
            let entry = table.get(slot);
            let mut flags = entry.flags();
            flags.set(Flags::PRESENT, access.is_some());
            flags.set(Flags::HIDDEN, access.is_none());
            let access = access.unwrap_or(Access::empty());
            flags.set(Flags::NO_EXECUTE, !access.contains(Access::EXECUTE));
            if !access.contains(Access::WRITE) {
                flags.remove(Flags::WRITE);
            }
            if flags != entry.flags() {
                changed = true;
                table.set(slot, Entry(entry.address().as_u64() | flags.bits()));
            }
            virt += if level == 1 { HUGE_SIZE } else { PAGE };
        }
        if changed {
            self.flush(start, end);
        }
        Ok(())
    }

    /// Lets the program write a page that is mapped: the caller knows that it
    /// owns the frame.
    pub fn allow_write(&mut self, virt: u64) {
        if let Some((table, slot, _)) = self.find(virt) {
            let entry = table.get(slot);
            table.set(slot, Entry((entry.0) | Flags::WRITE.bits()));
            // More rights: a stale entry only costs a fault. Here it is dropped.
            cpu::invlpg(virt);
        }
    }

    /// The first address from `virt` on whose tables exist, for skipping holes.
    fn next_mapped(&self, virt: u64, end: u64) -> u64 {
        let mut at = self.root;
        for level in (0..4).rev() {
            let entry = table::of(at).get(table::slot(virt, level));
            if !entry.is_used() {
                let step = PAGE << (9 * level);
                return ((virt & !(step - 1)).saturating_add(step)).min(end);
            }
            at = entry.address();
        }
        virt + PAGE
    }

    /// Splits the large pages that reach over `start` or `end`, so that what follows needs no
    /// frames and is done wholly or, when this fails, not at all.
    fn split_edges(&mut self, start: u64, end: u64) -> Result<(), OutOfFrames> {
        if !self.has_large {
            return Ok(());
        }
        for edge in [start, end] {
            let inside = edge & (HUGE_SIZE - 1) != 0;
            if inside && self.find(edge).is_some_and(|(_, _, level)| level == 1) {
                self.descend(edge, 0)?;
            }
        }
        Ok(())
    }

    /// Unmaps `[start, end)`, all of it or nothing; frames are freed when no CPU can reach them.
    pub fn unmap(&mut self, start: u64, end: u64) -> Result<(), OutOfFrames> {
        self.split_edges(start, end)?;
        let mut gather = Gather::default();
        let mut virt = start;
        while virt < end {
            let Some((table, slot, level)) = self.find(virt) else {
                virt = self.next_mapped(virt, end);
                continue;
            };
            if level == 1 {
                gather.huge.push(table.swap(slot, Entry::EMPTY).address());
                self.resident -= ENTRIES;
                virt += HUGE_SIZE;
            } else {
                gather.small.push(table.swap(slot, Entry::EMPTY).address());
                self.resident -= 1;
                virt += PAGE;
            }
            if gather.small.len() >= GATHER_LIMIT {
                self.flush(start, end);
                gather.release();
            }
        }
        if !gather.is_empty() {
            self.flush(start, end);
            gather.release();
        }
        Ok(())
    }

    /// Moves the pages of `[from, from + len)` to `to`, where nothing is mapped; all of them or,
    /// without frames for the tables, none.
    pub fn relocate(&mut self, from: u64, to: u64, len: u64) -> Result<(), OutOfFrames> {
        let (moved, result) = self.move_entries(from, to, len);
        if result.is_err() {
            // The tables where they were are still there, and all pages are small by now.
            let _ = self.move_entries(to, from, moved);
            self.flush(to, to + len);
        }
        self.flush(from, from + len);
        result
    }

    /// Also returns up to where entries were moved, relative to `from`.
    fn move_entries(&mut self, from: u64, to: u64, len: u64) -> (u64, Result<(), OutOfFrames>) {
        let mut at = 0;
        while at < len {
            let Some((table, slot, level)) = self.find(from + at) else {
                at = self.next_mapped(from + at, from + len) - from;
                continue;
            };
            if level == 1 {
                match self.descend(from + at, 0) {
                    Ok(_) => continue,
                    Err(error) => return (at, Err(error)),
                }
            }
            match self.descend(to + at, 0) {
                Ok(target) => {
                    target.set(table::slot(to + at, 0), table.swap(slot, Entry::EMPTY));
                }
                Err(error) => return (at, Err(error)),
            }
            at += PAGE;
        }
        (len, Ok(()))
    }

    /// Maps the pages of the `ranges` in `child` too, and takes from both the right to write:
    /// fork(2). What is shared like this has more than one reference.
    pub fn share(
        &mut self,
        child: &mut Self,
        mut ranges: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), OutOfFrames> {
        let result = ranges.try_for_each(|(start, end)| self.share_range(child, start, end));
        // Once: each makes all CPUs of this program forget everything of it.
        self.flush(0, USER_END);
        result
    }

    fn share_range(&mut self, child: &mut Self, start: u64, end: u64) -> Result<(), OutOfFrames> {
        let mut virt = start;
        while virt < end {
            if self.find(virt).is_none() {
                virt = self.next_mapped(virt, end);
                continue;
            }
            // Each frame of a large page is copied on its own.
            let (own, other) = (self.descend(virt, 0)?, child.descend(virt, 0)?);
            let slot = table::slot(virt, 0);
            let entry = own.get(slot);
            let read_only = Entry(entry.0 & !Flags::WRITE.bits());
            // SAFETY: the entry holds a reference, so the frame lives; the handle made here is
            // cloned, and the entry keeps its own.
            let held = unsafe { Frame::from_raw(entry.address()) };
            let _ = held.clone().into_raw();
            let _ = held.into_raw();
            own.set(slot, read_only);
            other.set(slot, read_only);
            child.resident += 1;
            virt += PAGE;
        }
        Ok(())
    }

    fn flush(&self, start: u64, end: u64) {
        let this = percpu::current();
        if this.root.load(Ordering::Relaxed) == self.root.as_u64() {
            shootdown::flush_local(start, end);
        }
        let scope = Scope::Pages(self.root.as_u64());
        shootdown::flush_others(self.cpus.load(Ordering::SeqCst), scope);
    }

    /// Makes every CPU forget a table that is about to be freed.
    fn flush_tables(&self) {
        cpu::flush_tlb();
        shootdown::flush_others(self.cpus.load(Ordering::SeqCst), Scope::Tables);
    }
}

/// Frames whose entries are gone, but which CPUs may still reach.
#[derive(Default)]
struct Gather {
    small: Vec<PhysAddr>,
    huge: Vec<PhysAddr>,
}

impl Gather {
    fn is_empty(&self) -> bool {
        self.small.is_empty() && self.huge.is_empty()
    }

    fn release(&mut self) {
        for address in self.small.drain(..) {
            // SAFETY: the entry that held this reference is gone.
            drop(unsafe { Frame::from_raw(address) });
        }
        for address in self.huge.drain(..) {
            // SAFETY: the large entry held one reference to each frame.
            if let Some(block) = unsafe { FrameBlock::from_raw(address, 9) } {
                drop(block);
                continue;
            }
            for i in 0..ENTRIES as u64 {
                // SAFETY: as above; some of the frames are shared.
                drop(unsafe { Frame::from_raw(address + i * PAGE) });
            }
        }
    }
}

impl Drop for UserPageTable {
    fn drop(&mut self) {
        // Tables are only freed here, so cut off every CPU first.
        shootdown::evict(self.cpus.load(Ordering::SeqCst), self.root.as_u64());
        for slot in 0..ENTRIES / 2 {
            free_tree(table::of(self.root).get(slot), 3);
        }
        // SAFETY: the root was made in `new` and no CPU has it loaded.
        drop(unsafe { Frame::from_raw(self.root) });
        // SAFETY: leaked in `new`; the activations of this table are not used
        // after their address space is gone.
        drop(unsafe { alloc::boxed::Box::from_raw(core::ptr::from_ref(self.cpus).cast_mut()) });
    }
}

fn free_tree(entry: Entry, level: u32) {
    if !entry.is_used() {
        return;
    }
    if level == 0 {
        // SAFETY: the entry held one reference.
        drop(unsafe { Frame::from_raw(entry.address()) });
        return;
    }
    if entry.is_huge() {
        let mut gather = Gather::default();
        gather.huge.push(entry.address());
        gather.release();
        return;
    }
    for slot in 0..ENTRIES {
        free_tree(table::of(entry.address()).get(slot), level - 1);
    }
    // SAFETY: a table frame, made in `descend` or `split`, now unused.
    drop(unsafe { Frame::from_raw(entry.address()) });
}
