// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rest of the memory calls: brk, mremap, madvise, mincore.

use super::area::{Area, Backing, Protection};
use super::file_pages;
use super::space::{AddressSpace, Inner, MapRequest, PAGE, Placement, page_up};
use alloc::vec::Vec;
use khal::USER_END;
use kio::{Errno, Result};

/// mremap(2) flags.
const MREMAP_MAYMOVE: u32 = 1;
const MREMAP_FIXED: u32 = 2;
const MREMAP_DONTUNMAP: u32 = 4;

/// madvise(2) advice that does something here.
const MADV_DONTNEED: i32 = 4;
const MADV_FREE: i32 = 8;
const MADV_REMOVE: i32 = 9;
const MADV_NOHUGEPAGE: i32 = 15;
const MADV_HUGEPAGE: i32 = 14;
const MADV_POPULATE_READ: i32 = 22;
const MADV_POPULATE_WRITE: i32 = 23;
const MADV_DONTNEED_LOCKED: i32 = 24;
/// Advice that is accepted and changes nothing: NORMAL to WILLNEED, DONTFORK,
/// DOFORK, MERGEABLE, UNMERGEABLE, DONTDUMP to KEEPONFORK, COLD, PAGEOUT, COLLAPSE.
const HARMLESS: [i32; 16] = [0, 1, 2, 3, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 25, 100];

impl AddressSpace {
    /// brk(2): moves the end of the heap and returns where it is then.
    pub fn set_break(&self, to: u64) -> u64 {
        let mut inner = self.inner.lock();
        let (start, end) = (inner.break_start, inner.break_end);
        if to < start || to > USER_END {
            return end;
        }
        let (old_top, Ok(new_top)) = (page_up(end).unwrap_or(end), page_up(to)) else { return end };
        let mut removed = Vec::new();
        if new_top > old_top {
            if inner.areas_in(old_top, new_top).next().is_some() {
                return end;
            }
            inner.insert(Area {
                start: old_top,
                end: new_top,
                protection: Protection::READ | Protection::WRITE,
                shared: false,
                may_write: true,
                grows_down: false,
                small_pages: false,
                backing: Backing::Anonymous,
                label: "[heap]",
            });
        } else if new_top < old_top {
            match inner.remove_areas(new_top, old_top) {
                Ok(areas) => removed = areas,
                Err(_) => return end,
            }
        }
        inner.break_end = to;
        drop(inner);
        drop(removed);
        to
    }

    /// mremap(2).
    pub fn remap(&self, old: u64, old_len: u64, new_len: u64, flags: u32, to: u64) -> Result<u64> {
        let (old_len, new_len) = (page_up(old_len)?, page_up(new_len)?);
        let known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
        let wrong = !old.is_multiple_of(PAGE)
            || new_len == 0
            || flags & !known != 0
            || (flags & MREMAP_FIXED != 0 && flags & MREMAP_MAYMOVE == 0)
            || (flags & MREMAP_DONTUNMAP != 0
                && (flags & MREMAP_MAYMOVE == 0 || old_len != new_len));
        if wrong {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.inner.lock();
        let area = inner.area_at(old).ok_or(Errno::EFAULT)?.clone();
        let old_end = old.checked_add(old_len).ok_or(Errno::EINVAL)?;
        if area.end < old_end {
            return Err(Errno::EFAULT);
        }
        if old_len == 0 {
            // One more mapping of the same shared pages.
            if !area.shared || flags & MREMAP_MAYMOVE == 0 {
                return Err(Errno::EINVAL);
            }
            drop(inner);
            return self.move_area(&area.part(old, old), new_len, flags, to);
        }
        let fixed = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0;
        if !fixed && new_len <= old_len {
            let removed = if new_len < old_len {
                inner.remove_areas(old + new_len, old_end)?
            } else {
                Vec::new()
            };
            drop(inner);
            drop(removed);
            return Ok(old);
        }
        let grown_end = old.checked_add(new_len).ok_or(Errno::EINVAL)?;
        let room = old_end == area.end
            && grown_end <= USER_END
            && inner.areas_in(old_end, grown_end).next().is_none();
        if !fixed && room {
            let mut more = area.clone();
            if let Backing::File { offset, .. } = &mut more.backing {
                *offset += old_end - area.start;
            }
            (more.start, more.end) = (old_end, grown_end);
            inner.insert(more);
            return Ok(old);
        }
        if flags & MREMAP_MAYMOVE == 0 {
            return Err(Errno::ENOMEM);
        }
        drop(inner);
        self.move_area(&area.part(old, old_end), new_len, flags, to)
    }

    fn move_area(&self, from: &Area, new_len: u64, flags: u32, to: u64) -> Result<u64> {
        let old_len = from.end - from.start;
        let placement = if flags & MREMAP_FIXED != 0 {
            let overlaps = to < from.end && from.start < to.saturating_add(new_len);
            if overlaps {
                return Err(Errno::EINVAL);
            }
            Placement::Fixed(to)
        } else {
            Placement::Hint(0)
        };
        let at = self.map(MapRequest {
            placement,
            len: new_len,
            protection: from.protection,
            shared: from.shared,
            may_write: from.may_write,
            grows_down: false,
            backing: from.backing.clone(),
            label: from.label,
        })?;
        let mut inner = self.inner.lock();
        let keep = flags & MREMAP_DONTUNMAP != 0;
        let moved = inner.move_pages(from, at, old_len.min(new_len), keep);
        // Without memory for it everything stays where it was.
        let removed = match moved {
            Ok(()) if keep => Ok(Vec::new()),
            Ok(()) => inner.remove_areas(from.start, from.end),
            Err(_) => inner.remove_areas(at, at + new_len),
        };
        drop(inner);
        drop(removed?);
        moved.map(|()| at)
    }

    /// madvise(2).
    pub fn advise(&self, start: u64, len: u64, advice: i32) -> Result<()> {
        let end = start.checked_add(page_up(len)?).ok_or(Errno::EINVAL)?;
        if !start.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        match advice {
            MADV_DONTNEED | MADV_FREE | MADV_DONTNEED_LOCKED => self.discard(start, end),
            MADV_REMOVE => self.punch(start, end),
            MADV_HUGEPAGE | MADV_NOHUGEPAGE => {
                self.inner.lock().set_small_pages(start, end, advice == MADV_NOHUGEPAGE)
            }
            MADV_POPULATE_READ | MADV_POPULATE_WRITE => {
                let write = advice == MADV_POPULATE_WRITE;
                self.check_access(start, end, write)?;
                self.populate(start, end, write)
            }
            _ if HARMLESS.contains(&advice) => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// What is to be populated has to be there, and to be accessible.
    fn check_access(&self, start: u64, end: u64, write: bool) -> Result<()> {
        let wanted = if write { Protection::WRITE } else { Protection::READ };
        let inner = self.inner.lock();
        if !inner.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        let accessible = inner.areas_in(start, end).all(|area| area.protection.contains(wanted));
        if accessible { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// MADV_DONTNEED: private pages are zero, or the file's, when touched next.
    fn discard(&self, start: u64, end: u64) -> Result<()> {
        let mut inner = self.inner.lock();
        let covered = inner.covers(start, end);
        inner.tables.unmap(start, end).map_err(|_| Errno::ENOMEM)?;
        if covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// MADV_REMOVE: a hole in the file behind a shared mapping.
    fn punch(&self, start: u64, end: u64) -> Result<()> {
        const PUNCH_HOLE_KEEP_SIZE: u32 = 3;
        let inner = self.inner.lock();
        let covered = inner.covers(start, end);
        let areas: Vec<Area> = inner.areas_in(start, end).cloned().collect();
        drop(inner);
        for area in areas {
            let Backing::File { file, offset, .. } = &area.backing else {
                return Err(Errno::EINVAL);
            };
            if !area.shared || !area.protection.contains(Protection::WRITE) {
                return Err(Errno::EACCES);
            }
            let from = start.max(area.start);
            let (at, len) = (offset + from - area.start, end.min(area.end) - from);
            file_pages::before_hole(&**file, at..at + len)?;
            file.allocate(PUNCH_HOLE_KEEP_SIZE, at, len)?;
        }
        if covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Brings the pages of `[start, end)` in; MAP_POPULATE, mlock(2).
    pub fn populate(&self, start: u64, end: u64, write: bool) -> Result<()> {
        for at in (start..end).step_by(PAGE as usize) {
            self.fault(at, write, false).map_err(|f| f.as_errno())?;
        }
        Ok(())
    }

    /// mincore(2): which pages of `[start, end)` are there.
    pub fn resident(&self, start: u64, end: u64) -> Result<Vec<u8>> {
        let inner = self.inner.lock();
        if !inner.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        let pages = (start..end).step_by(PAGE as usize);
        Ok(pages.map(|at| u8::from(inner.tables.query(at).is_some())).collect())
    }
}

impl Inner {
    fn set_small_pages(&mut self, start: u64, end: u64, small: bool) -> Result<()> {
        self.split_at(start)?;
        self.split_at(end)?;
        let starts: Vec<u64> = self.areas.range(start..end).map(|(s, _)| *s).collect();
        for at in &starts {
            if let Some(area) = self.areas.get_mut(at) {
                area.small_pages = small;
            }
        }
        starts.iter().for_each(|at| self.merge_around(*at));
        Ok(())
    }
}
