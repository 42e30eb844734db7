// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Page faults: zeroes, pages of files, copies on write.

use super::area::{Area, Backing, Protection};
use super::space::{AddressSpace, Inner, PAGE};
use khal::{HUGE_SIZE, Mapping};
use kio::{Errno, Result};
use kmm::{FRAME_SIZE, Frame, FrameBlock, OutOfFrames, memory_info};
use ksync::Once;

/// Pages of a file that are mapped around the one that was touched.
const FAULT_AROUND: u64 = 16;
/// How far below a growing stack an access may lie.
const STACK_LIMIT: u64 = 8 << 20;
const HUGE_ORDER: usize = 9;

/// Why a page could not be brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped there: SIGSEGV, SEGV_MAPERR.
    Unmapped,
    /// It may not be used like that: SIGSEGV, SEGV_ACCERR.
    Denied,
    /// Behind the end of the file: SIGBUS.
    BeyondEnd,
    /// No memory.
    OutOfMemory,
}

impl Fault {
    /// As an error of a system call that touched the address.
    pub fn as_errno(self) -> Errno {
        match self {
            Self::OutOfMemory => Errno::ENOMEM,
            _ => Errno::EFAULT,
        }
    }
}

impl From<OutOfFrames> for Fault {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfMemory
    }
}

type Outcome<T> = core::result::Result<T, Fault>;

/// The page of zeroes that reads of untouched memory share.
fn zero_frame() -> Outcome<Frame> {
    static ZERO: Once<Frame> = Once::new();
    if let Some(frame) = ZERO.get() {
        return Ok(frame.clone());
    }
    let frame = Frame::allocate_zeroed_for_user()?;
    // Another CPU may have been first; then this frame is simply one more.
    let _ = ZERO.set(frame.clone());
    Ok(frame)
}

impl AddressSpace {
    /// Brings in the page of `address`, for a read, a write or an instruction
    /// fetch.
    pub fn fault(&self, address: u64, write: bool, execute: bool) -> Outcome<()> {
        let page = address & !(PAGE - 1);
        let mut zeroes = Zeroes::Unmade;
        loop {
            let settled = self.inner.lock().settle(page, write, execute, &mut zeroes)?;
            if settled {
                return Ok(());
            }
            // Zeroing takes long: other threads need the lock meanwhile.
            zeroes = Zeroes::make();
        }
    }
}

/// A large page of zeroes, made without the lock of the address space.
enum Zeroes {
    Unmade,
    Made(FrameBlock),
    /// There is none to have.
    Refused,
}

impl Zeroes {
    fn make() -> Self {
        match FrameBlock::allocate_for_user(HUGE_ORDER) {
            Ok(mut block) => {
                block.zero();
                Self::Made(block)
            }
            Err(_) => Self::Refused,
        }
    }
}

impl Inner {
    /// Brings in a page or says why not; false when that takes a large page of
    /// `zeroes` that is not made yet.
    fn settle(
        &mut self,
        page: u64,
        write: bool,
        execute: bool,
        zeroes: &mut Zeroes,
    ) -> Outcome<bool> {
        let area = match self.area_at(page) {
            Some(area) => area.clone(),
            None => self.grow_stack(page)?,
        };
        let needed = if write {
            Protection::WRITE
        } else if execute {
            Protection::EXECUTE
        } else {
            Protection::READ | Protection::EXECUTE | Protection::WRITE
        };
        if !area.protection.intersects(needed) {
            return Err(Fault::Denied);
        }
        match self.tables.query(page) {
            Some(mapping) => self.refault(&area, page, mapping, write).map(|()| true),
            None => self.bring_in(&area, page, write, zeroes),
        }
    }

    /// A touch below a stack extends it, unless something is close below.
    fn grow_stack(&mut self, page: u64) -> Outcome<Area> {
        let above = self.areas.range(page..).next().map(|(_, a)| a.clone());
        let mut area = above.filter(|a| a.grows_down).ok_or(Fault::Unmapped)?;
        if area.end - page > STACK_LIMIT {
            return Err(Fault::Unmapped);
        }
        let guard = 256 * PAGE;
        let below = self.areas.range(..page).next_back().map(|(_, a)| a.end);
        if below.is_some_and(|end| end + guard > page) {
            return Err(Fault::Unmapped);
        }
        self.areas.remove(&area.start);
        self.mapped += area.start - page;
        area.start = page;
        self.areas.insert(page, area.clone());
        Ok(area)
    }

    /// The page is there: a write to a page that is shared or was read-only,
    /// or another CPU was faster.
    fn refault(&mut self, area: &Area, page: u64, mapping: Mapping, write: bool) -> Outcome<()> {
        if !write || mapping.access.contains(khal::Access::WRITE) {
            // Rights that were widened since the entry was made.
            self.tables
                .restrict(page, page + PAGE, Some(area.protection.access()))
                .map_err(|_| Fault::OutOfMemory)?;
            return Ok(());
        }
        if area.shared
            && let Backing::File { file, offset, .. } = &area.backing
        {
            let index = (offset + page - area.start) / PAGE;
            let frame = file.map_page(index, true).map_err(|_| Fault::BeyondEnd)?;
            return Ok(self.tables.map(page, frame, area.protection.access())?);
        }
        let frame = self.tables.frame(page).ok_or(Fault::Unmapped)?;
        // One reference is the table's, one ours: then nobody else has it.
        if area.shared || frame.references() == 2 {
            self.tables.allow_write(page);
            return Ok(());
        }
        let copy = Frame::allocate_for_user()?;
        frame.with_bytes(|bytes| copy.write(0, bytes));
        drop(frame);
        Ok(self.tables.map(page, copy, area.protection.access())?)
    }

    fn bring_in(
        &mut self,
        area: &Area,
        page: u64,
        write: bool,
        zeroes: &mut Zeroes,
    ) -> Outcome<bool> {
        match &area.backing {
            Backing::Anonymous => return self.bring_in_zeroes(area, page, write, zeroes),
            Backing::Frames(frames) => {
                let index = ((page - area.start) / PAGE) as usize;
                let frame = frames.get(index).ok_or(Fault::BeyondEnd)?.clone();
                self.tables.map(page, frame, area.protection.access())?;
            }
            Backing::File { file, offset, .. } => {
                let index = (offset + page - area.start) / PAGE;
                let first = index_error(file.map_page(index, write && area.shared))?;
                if write && !area.shared {
                    let copy = Frame::allocate_for_user()?;
                    first.with_bytes(|bytes| copy.write(0, bytes));
                    self.tables.map(page, copy, area.protection.access())?;
                    return Ok(true);
                }
                let mut access = area.protection.access();
                if !(write && area.shared) {
                    access.remove(khal::Access::WRITE);
                }
                self.tables.map(page, first, access)?;
                if !write {
                    self.map_around(area, page, access);
                }
            }
        }
        Ok(true)
    }

    fn bring_in_zeroes(
        &mut self,
        area: &Area,
        page: u64,
        write: bool,
        zeroes: &mut Zeroes,
    ) -> Outcome<bool> {
        let access = area.protection.access();
        let plenty = memory_is_plenty();
        // A page that is read first is mostly written next, which would cost
        // another fault and a shootdown. Only without memory do reads share.
        let own = write || plenty && access.contains(khal::Access::WRITE);
        if !own {
            let read_only = access - khal::Access::WRITE;
            self.tables.map(page, zero_frame()?, read_only)?;
            return Ok(true);
        }
        let start = page & !(HUGE_SIZE - 1);
        let fits = !area.small_pages
            && !area.grows_down
            && start >= area.start
            && start + HUGE_SIZE <= area.end;
        if fits && plenty && self.tables.huge_fits(start) {
            match core::mem::replace(zeroes, Zeroes::Refused) {
                Zeroes::Unmade => return Ok(false),
                Zeroes::Made(block) => {
                    if self.tables.map_huge(start, block, access).is_ok() {
                        return Ok(true);
                    }
                }
                Zeroes::Refused => {}
            }
        }
        let frame = Frame::allocate_zeroed_for_user()?;
        self.tables.map(page, frame, access)?;
        Ok(true)
    }

    /// Maps neighbours of a page that was read from a file, where that costs
    /// nothing: their frames are there.
    fn map_around(&mut self, area: &Area, page: u64, access: khal::Access) {
        let Backing::File { file, offset, .. } = &area.backing else { return };
        let window = FAULT_AROUND * PAGE;
        let start = (page & !(window - 1)).max(area.start);
        let end = (page & !(window - 1)).saturating_add(window).min(area.end);
        for at in (start..end).step_by(FRAME_SIZE) {
            if at == page || self.tables.query(at).is_some() {
                continue;
            }
            let Ok(frame) = file.map_page((offset + at - area.start) / PAGE, false) else { return };
            if self.tables.map(at, frame, access).is_err() {
                return;
            }
        }
    }
}

fn index_error(result: Result<Frame>) -> Outcome<Frame> {
    result.map_err(|e| {
        if e == Errno::ENOMEM || e == Errno::ENOSPC { Fault::OutOfMemory } else { Fault::BeyondEnd }
    })
}

/// Large pages only while they do not take what small ones need.
fn memory_is_plenty() -> bool {
    let info = memory_info();
    info.free_frames > info.total_frames / 2 + (1 << HUGE_ORDER)
}
