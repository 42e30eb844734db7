// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pages of a file that are in memory.

use alloc::collections::BTreeMap;
use kmm::Frame;

/// One page.
pub(crate) struct Page {
    pub(crate) frame: Frame,
    /// The disk has something else.
    pub(crate) dirty: bool,
    /// Blocks are reserved for it.
    pub(crate) reserved: bool,
    /// A program may write it through memory as long as it maps it.
    pub(crate) writable: bool,
    /// Used since the last look for pages to drop.
    pub(crate) used: bool,
}

impl Page {
    pub(crate) fn clean(frame: Frame) -> Self {
        Self { frame, dirty: false, reserved: false, writable: false, used: true }
    }

    /// A program maps it.
    pub(crate) fn is_mapped(&self) -> bool {
        self.frame.references() > 1
    }
}

/// The pages of one file.
#[derive(Default)]
pub(crate) struct Pages {
    pub(crate) map: BTreeMap<u64, Page>,
    /// The page behind the last one that was read: the next read of a program
    /// that goes on begins there.
    pub(crate) next_read: u64,
}

impl Pages {
    /// The frame of a page that is there.
    pub(crate) fn frame(&mut self, index: u64) -> Option<&Frame> {
        let page = self.map.get_mut(&index)?;
        page.used = true;
        Some(&page.frame)
    }

    /// The first dirty page at or behind `from`.
    pub(crate) fn next_dirty(&self, from: u64) -> Option<u64> {
        self.map.range(from..).find(|(_, page)| page.dirty).map(|(index, _)| *index)
    }

    /// How many pages are dirty.
    pub(crate) fn dirty_count(&self) -> u64 {
        self.map.values().filter(|page| page.dirty).count() as u64
    }

    /// How many pages from `from` on are dirty without a gap, `limit` at most.
    pub(crate) fn dirty_run(&self, from: u64, limit: u64) -> u64 {
        let pages = self.map.range(from..).zip(from..from.saturating_add(limit));
        pages.take_while(|((index, page), expected)| *index == expected && page.dirty).count()
            as u64
    }

    /// How many pages from `from` on are missing without a gap, `limit` at most.
    pub(crate) fn missing_run(&self, from: u64, limit: u64) -> u64 {
        let next = self.map.range(from..).next().map_or(u64::MAX, |(index, _)| *index);
        limit.min(next.saturating_sub(from))
    }
}
