// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An address space: areas by start address, and the page tables.

use super::area::{Area, Backing, Protection};
use crate::limits::check_kernel_memory;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use khal::{Activation, USER_END, UserPageTable};
use kio::{Errno, Result};
use kmm::FRAME_SIZE;
use ksync::SpinLock;

pub(super) const PAGE: u64 = FRAME_SIZE as u64;
/// Lowest address that a program may map, as vm.mmap_min_addr.
const LOWEST: u64 = 0x1_0000;
/// Where MAP_32BIT ends, as on Linux.
const LOW_END: u64 = 0x8000_0000;
/// As vm.max_map_count.
const MAX_AREAS: usize = 65_530;

/// The memory of one program.
#[derive(Debug)]
pub struct AddressSpace {
    pub(super) inner: SpinLock<Inner>,
    activation: Activation,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) areas: BTreeMap<u64, Area>,
    pub(super) tables: UserPageTable,
    /// Areas without a wished address go below this, downwards.
    pub(super) map_top: u64,
    pub(super) break_start: u64,
    pub(super) break_end: u64,
    /// Bytes in all areas, for RLIMIT_AS and /proc.
    pub(super) mapped: u64,
}

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Near this address if it is free; 0 for anywhere.
    Hint(u64),
    /// In the first 2 GiB: MAP_32BIT.
    Low,
    /// Exactly here, in place of what is there.
    Fixed(u64),
    /// Exactly here, `EEXIST` if something is there.
    FixedFree(u64),
}

/// What mmap(2) asks for.
#[derive(Debug)]
pub struct MapRequest {
    /// Where.
    pub placement: Placement,
    /// Bytes, rounded up to pages.
    pub len: u64,
    /// What the program may do.
    pub protection: Protection,
    /// MAP_SHARED.
    pub shared: bool,
    /// A shared file mapping may be made writable later.
    pub may_write: bool,
    /// MAP_GROWSDOWN.
    pub grows_down: bool,
    /// What stands behind it.
    pub backing: Backing,
    /// A name for /proc/self/maps.
    pub label: &'static str,
}

impl AddressSpace {
    /// An empty space; mappings go below `map_top`, the heap starts at
    /// `break_start`.
    pub fn new(map_top: u64) -> Result<Self> {
        let tables = UserPageTable::new().map_err(|_| Errno::ENOMEM)?;
        let activation = tables.activation();
        let inner = Inner {
            areas: BTreeMap::new(),
            tables,
            map_top,
            break_start: 0,
            break_end: 0,
            mapped: 0,
        };
        Ok(Self { inner: SpinLock::new(inner), activation })
    }

    /// For loading it on a CPU.
    #[inline]
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Sets where the heap of brk(2) starts.
    pub fn set_break_start(&self, at: u64) {
        let mut inner = self.inner.lock();
        (inner.break_start, inner.break_end) = (at, at);
    }

    /// mmap(2): returns the address.
    pub fn map(&self, request: MapRequest) -> Result<u64> {
        let len = page_up(request.len)?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        check_kernel_memory(size_of::<Area>())?;
        let mut inner = self.inner.lock();
        let start = inner.place(request.placement, len)?;
        let removed = inner.remove_areas(start, start + len)?;
        let area = Area {
            start,
            end: start + len,
            protection: request.protection,
            shared: request.shared,
            may_write: request.may_write,
            grows_down: request.grows_down,
            small_pages: false,
            backing: request.backing,
            label: request.label,
        };
        inner.insert(area);
        drop(inner);
        // Files behind removed areas may be closed by this: not under the lock.
        drop(removed);
        Ok(start)
    }

    /// munmap(2).
    pub fn unmap(&self, start: u64, len: u64) -> Result<()> {
        let end = start.checked_add(page_up(len)?).ok_or(Errno::EINVAL)?;
        if !start.is_multiple_of(PAGE) || end > USER_END || start == end {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        let removed = inner.remove_areas(start, end)?;
        drop(inner);
        drop(removed);
        Ok(())
    }

    /// mprotect(2).
    pub fn protect(&self, start: u64, len: u64, protection: Protection) -> Result<()> {
        let end = start.checked_add(page_up(len)?).ok_or(Errno::ENOMEM)?;
        if !start.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        if start == end {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        if !inner.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        let denied = inner
            .areas_in(start, end)
            .any(|a| a.shared && protection.contains(Protection::WRITE) && !a.may_write);
        if denied {
            return Err(Errno::EACCES);
        }
        inner.split_at(start)?;
        inner.split_at(end)?;
        let starts: Vec<u64> = inner.areas.range(start..end).map(|(s, _)| *s).collect();
        for at in &starts {
            if let Some(area) = inner.areas.get_mut(at) {
                area.protection = protection;
            }
        }
        let access = (!protection.is_empty()).then(|| protection.access());
        let changed = inner.tables.restrict(start, end, access).map_err(|_| Errno::ENOMEM);
        starts.iter().for_each(|at| inner.merge_around(*at));
        changed
    }

    /// Calls `each` for every area, in order.
    pub fn for_each_area(&self, each: impl FnMut(&Area)) {
        let areas: Vec<Area> = self.inner.lock().areas.values().cloned().collect();
        areas.iter().for_each(each);
    }

    /// Zeroes `[start, end)` within one private page: behind the file's part of
    /// a segment.
    pub fn zero_tail(&self, start: u64, end: u64) -> Result<()> {
        if start == end {
            return Ok(());
        }
        self.fault(start, true, false).map_err(|f| f.as_errno())?;
        let frame = self.inner.lock().tables.frame(start & !(PAGE - 1)).ok_or(Errno::EFAULT)?;
        let zeroes = [0; FRAME_SIZE];
        frame.write((start % PAGE) as usize, &zeroes[..(end - start) as usize]);
        Ok(())
    }

    /// Copies bytes in from outside, as the kernel does for a program that does
    /// not run yet.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = address + done as u64;
            let within = (at % PAGE) as usize;
            let count = (FRAME_SIZE - within).min(bytes.len() - done);
            self.fault(at, true, false).map_err(|f| f.as_errno())?;
            let frame = self.inner.lock().tables.frame(at & !(PAGE - 1)).ok_or(Errno::EFAULT)?;
            frame.write(within, &bytes[done..done + count]);
            done += count;
        }
        Ok(())
    }

    /// The physical page behind an address of a shared mapping, brought in if
    /// needed; `None` for private memory.
    pub fn shared_page(&self, address: u64) -> Result<Option<u64>> {
        let shared = self.inner.lock().area_at(address).ok_or(Errno::EFAULT)?.shared;
        if !shared {
            return Ok(None);
        }
        self.fault(address, true, false).map_err(|f| f.as_errno())?;
        let mapping = self.inner.lock().tables.query(address & !(PAGE - 1));
        Ok(mapping.map(|m| m.address.as_u64()))
    }

    /// Bytes mapped and bytes resident.
    pub fn usage(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.mapped, inner.tables.resident_pages() as u64 * PAGE)
    }

    /// Of `[start, end)`: bytes resident, and bytes that the program writes
    /// without a fault, so that they are its own or shared on purpose.
    pub fn residency(&self, start: u64, end: u64) -> (u64, u64) {
        let (resident, writable) = self.inner.lock().tables.residency(start, end);
        (resident as u64 * PAGE, writable as u64 * PAGE)
    }

    /// Where the heap of brk(2) starts.
    pub fn break_start(&self) -> u64 {
        self.inner.lock().break_start
    }

    /// Bytes in the areas of `[start, end)`; for checks before a change.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.inner.lock().areas_in(start, end).next().is_none()
    }
}

/// Rounds a length up to pages; `ENOMEM` when it does not fit.
pub(super) fn page_up(len: u64) -> Result<u64> {
    let rounded = len.checked_add(PAGE - 1).ok_or(Errno::ENOMEM)? & !(PAGE - 1);
    if rounded > USER_END { Err(Errno::ENOMEM) } else { Ok(rounded) }
}

impl Inner {
    /// The area that holds `address`.
    pub(super) fn area_at(&self, address: u64) -> Option<&Area> {
        self.areas.range(..=address).next_back().map(|(_, a)| a).filter(|a| address < a.end)
    }

    /// Areas that touch `[start, end)`.
    pub(super) fn areas_in(&self, start: u64, end: u64) -> impl Iterator<Item = &Area> {
        let first = self.area_at(start).map_or(start, |a| a.start);
        self.areas.range(first..end.max(first)).map(|(_, a)| a)
    }

    /// True when no byte of `[start, end)` is outside of all areas.
    pub(super) fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for area in self.areas_in(start, end) {
            if area.start > at {
                return false;
            }
            at = area.end;
        }
        at >= end
    }

    fn place(&self, placement: Placement, len: u64) -> Result<u64> {
        match placement {
            Placement::Fixed(at) | Placement::FixedFree(at) => {
                let end = at.checked_add(len).ok_or(Errno::ENOMEM)?;
                if at % PAGE != 0 {
                    return Err(Errno::EINVAL);
                }
                if at < LOWEST {
                    return Err(Errno::EPERM);
                }
                if end > USER_END {
                    return Err(Errno::ENOMEM);
                }
                let taken = self.areas_in(at, end).next().is_some();
                if taken && matches!(placement, Placement::FixedFree(_)) {
                    return Err(Errno::EEXIST);
                }
                Ok(at)
            }
            Placement::Low => self.find_free(len, LOW_END.min(self.map_top)).ok_or(Errno::ENOMEM),
            Placement::Hint(hint) => {
                let at = hint & !(PAGE - 1);
                let fits = at >= LOWEST
                    && at.checked_add(len).is_some_and(|end| {
                        end <= USER_END && self.areas_in(at, end).next().is_none()
                    });
                if fits { Ok(at) } else { self.find_free(len, self.map_top).ok_or(Errno::ENOMEM) }
            }
        }
    }

    /// The highest gap below `limit`; large ones are aligned for large pages.
    fn find_free(&self, len: u64, limit: u64) -> Option<u64> {
        let align = if len >= khal::HUGE_SIZE { khal::HUGE_SIZE } else { PAGE };
        let mut top = limit;
        for area in self.areas.range(..limit).rev().map(|(_, a)| a) {
            if area.end < top {
                let at = top.checked_sub(len)? & !(align - 1);
                if at >= area.end {
                    return Some(at);
                }
            }
            top = top.min(area.start);
        }
        let at = top.checked_sub(len)? & !(align - 1);
        (at >= LOWEST).then_some(at)
    }

    /// Makes `at` a boundary between areas.
    pub(super) fn split_at(&mut self, at: u64) -> Result<()> {
        let Some(area) = self.area_at(at) else { return Ok(()) };
        if area.start == at {
            return Ok(());
        }
        if self.areas.len() >= MAX_AREAS {
            return Err(Errno::ENOMEM);
        }
        check_kernel_memory(size_of::<Area>())?;
        let (low, high) = (area.part(area.start, at), area.part(at, area.end));
        self.areas.insert(low.start, low);
        self.areas.insert(high.start, high);
        Ok(())
    }

    /// Moves the pages of the start of `from`, `len` bytes, to `to`, all or none. Afterwards the
    /// areas of `from` can be removed without memory, unless they are to stay.
    pub(super) fn move_pages(&mut self, from: &Area, to: u64, len: u64, stay: bool) -> Result<()> {
        if !stay {
            self.split_at(from.start)?;
            self.split_at(from.end)?;
        }
        self.tables.relocate(from.start, to, len).map_err(|_| Errno::ENOMEM)
    }

    /// Takes out the areas of `[start, end)` and unmaps their pages.
    pub(super) fn remove_areas(&mut self, start: u64, end: u64) -> Result<Vec<Area>> {
        if self.areas_in(start, end).next().is_none() {
            return Ok(Vec::new());
        }
        self.split_at(start)?;
        self.split_at(end)?;
        self.tables.unmap(start, end).map_err(|_| Errno::ENOMEM)?;
        let starts: Vec<u64> = self.areas.range(start..end).map(|(s, _)| *s).collect();
        let removed: Vec<Area> = starts.iter().filter_map(|s| self.areas.remove(s)).collect();
        self.mapped -= removed.iter().map(|a| a.end - a.start).sum::<u64>();
        Ok(removed)
    }

    pub(super) fn insert(&mut self, area: Area) {
        self.mapped += area.end - area.start;
        let start = area.start;
        self.areas.insert(start, area);
        self.merge_around(start);
    }

    /// Joins the area at `start` with its neighbours where they are alike.
    pub(super) fn merge_around(&mut self, start: u64) {
        while self.merge_with_next(start) {}
        let before = self.areas.range(..start).next_back().filter(|(_, area)| area.end == start);
        if let Some((&before, _)) = before {
            self.merge_with_next(before);
        }
    }

    /// Joins the area at `start` with the next one; false when they are not alike.
    fn merge_with_next(&mut self, start: u64) -> bool {
        let Some(area) = self.areas.get(&start) else { return false };
        let next = self.areas.get(&area.end).filter(|next| area.continues_in(next));
        let Some((from, to)) = next.map(|next| (next.start, next.end)) else { return false };
        self.areas.remove(&from);
        if let Some(area) = self.areas.get_mut(&start) {
            area.end = to;
        }
        true
    }
}
