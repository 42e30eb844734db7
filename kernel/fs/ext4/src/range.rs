// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sizes, holes and ranges of a file.

use crate::PAGE;
use crate::cache::Pages;
use crate::node::Node;
use kio::{Errno, Result};
use rsext4::{
    FileExtentState, FileExtentTarget, PreallocationOptions, RangeOperation, ZeroRangeOptions,
};

/// fallocate(2) modes.
const KEEP_SIZE: u32 = 0x01;
const PUNCH_HOLE: u32 = 0x02;
const COLLAPSE_RANGE: u32 = 0x08;
const ZERO_RANGE: u32 = 0x10;
const INSERT_RANGE: u32 = 0x20;

/// Extents that one look at the map gives.
const EXTENTS: usize = 64;

impl Node {
    fn max_size(&self) -> u64 {
        u64::from(u32::MAX) * self.volume.block_size
    }

    /// truncate(2).
    pub(crate) fn set_size(&self, size: u64) -> Result<()> {
        self.check_regular()?;
        self.volume.check_writable()?;
        if size > self.max_size() {
            return Err(Errno::EFBIG);
        }
        let number = self.inode()?;
        let mut pages = self.pages.lock();
        let before = self.size();
        if size < before {
            self.zero_tail(&mut pages, size);
            self.remove_pages(&mut pages, size.div_ceil(PAGE), u64::MAX);
        }
        let shrinks = size < self.attributes.lock().disk_size;
        let info = self.volume.change(|core| {
            core.frees |= shrinks;
            core.engine.truncate_inode(number, size)?;
            core.engine.inode(number)
        })?;
        let now = self.volume.now();
        let mut attributes = self.attributes.lock();
        attributes.size = size;
        attributes.disk_size = info.size;
        attributes.blocks = info.blocks;
        attributes.touch(now);
        drop(attributes);
        drop(pages);
        self.set_dirty();
        Ok(())
    }

    /// What lies behind the new end in its page is zero when the file grows again.
    fn zero_tail(&self, pages: &mut Pages, size: u64) {
        let inside = (size % PAGE) as usize;
        if inside > 0
            && let Some(frame) = pages.frame(size / PAGE)
        {
            frame.with_bytes_mut(|bytes| bytes[inside..].fill(0));
        }
    }

    /// fallocate(2).
    pub(crate) fn change_range(&self, mode: u32, offset: u64, length: u64) -> Result<()> {
        self.check_regular().map_err(|_| Errno::ENODEV)?;
        self.volume.check_writable()?;
        let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
        if end > self.max_size() {
            return Err(Errno::EFBIG);
        }
        let keep_size = mode & KEEP_SIZE != 0;
        let operation = match mode & !KEEP_SIZE {
            0 => RangeOperation::Allocate(PreallocationOptions { keep_size }),
            PUNCH_HOLE if keep_size => RangeOperation::PunchHole,
            ZERO_RANGE => RangeOperation::Zero(ZeroRangeOptions { keep_size }),
            COLLAPSE_RANGE if !keep_size => RangeOperation::Collapse,
            INSERT_RANGE if !keep_size => RangeOperation::Insert,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let shifts = matches!(operation, RangeOperation::Collapse | RangeOperation::Insert);
        let size = self.size();
        if shifts {
            let aligned = |n: u64| n.is_multiple_of(self.volume.block_size);
            let inside = match operation {
                RangeOperation::Collapse => end < size,
                _ => offset < size,
            };
            if !aligned(offset) || !aligned(length) || !inside {
                return Err(Errno::EINVAL);
            }
            if matches!(operation, RangeOperation::Insert)
                && size.checked_add(length).is_none_or(|s| s > self.max_size())
            {
                return Err(Errno::EFBIG);
            }
        }
        let mut pages = self.pages.lock();
        self.write_pages(&mut pages)?;
        self.apply(&mut pages, operation, offset, length, shifts)
    }

    fn apply(
        &self,
        pages: &mut Pages,
        operation: RangeOperation,
        offset: u64,
        length: u64,
        shifts: bool,
    ) -> Result<()> {
        let number = self.inode()?;
        let size = self.size();
        // A file that grew without a write has its size in memory alone.
        let info = self.volume.change(|core| {
            core.frees = true;
            if core.engine.inode(number)?.size < size {
                core.engine.truncate_inode(number, size)?;
            }
            core.engine.operate_inode_range(number, offset, length, operation)?;
            core.engine.inode(number)
        })?;
        let end = offset + length;
        if !matches!(operation, RangeOperation::Allocate(_)) {
            let from = if shifts { offset / PAGE } else { offset.div_ceil(PAGE) };
            let to = if shifts { u64::MAX } else { end / PAGE };
            if !shifts {
                self.zero_edges(pages, offset, end.min(size.max(offset)));
            }
            if from < to {
                self.remove_pages(pages, from, to);
            }
        }
        let now = self.volume.now();
        let mut attributes = self.attributes.lock();
        attributes.size = info.size;
        attributes.disk_size = info.size;
        attributes.blocks = info.blocks;
        attributes.touch(now);
        drop(attributes);
        self.set_dirty();
        Ok(())
    }

    /// Zeroes the parts of pages at both ends of a range.
    fn zero_edges(&self, pages: &mut Pages, start: u64, end: u64) {
        for index in [start / PAGE, end / PAGE] {
            let (from, to) = (start.max(index * PAGE), end.min((index + 1) * PAGE));
            if from < to
                && let Some(frame) = pages.frame(index)
            {
                let range = (from - index * PAGE) as usize..(to - index * PAGE) as usize;
                frame.with_bytes_mut(|bytes| bytes[range].fill(0));
            }
        }
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE.
    pub(crate) fn seek(&self, offset: u64, hole: bool) -> Result<u64> {
        self.check_regular()?;
        let mut pages = self.pages.lock();
        let size = self.size();
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        // The map of the disk tells all once it has everything.
        self.write_pages(&mut pages)?;
        let number = self.inode()?;
        let mut at = offset;
        loop {
            let map = self.volume.with(|core| {
                let target = FileExtentTarget::Data;
                core.engine.inode_extents(number, at, size - at, target, EXTENTS)
            })?;
            for extent in &map.extents {
                if extent.state == FileExtentState::Unwritten {
                    continue;
                }
                let end = extent.logical_start.saturating_add(extent.length);
                if !hole && end > at {
                    let found = at.max(extent.logical_start);
                    return if found < size { Ok(found) } else { Err(Errno::ENXIO) };
                }
                if hole && extent.logical_start > at {
                    return Ok(at.min(size));
                }
                at = at.max(end);
            }
            let last = map.extents.last().map(|e| e.logical_start.saturating_add(e.length));
            match last {
                Some(end) if !map.complete && end < size => at = at.max(end),
                _ => break,
            }
        }
        if hole { Ok(at.min(size)) } else { Err(Errno::ENXIO) }
    }
}
