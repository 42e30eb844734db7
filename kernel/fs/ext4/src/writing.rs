// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From dirty pages to the disk, and pages that go.

use crate::PAGE;
use crate::cache::{Page, Pages};
use crate::node::Node;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use kio::{Errno, Result};

/// Pages in one write.
const WRITE_RUN: u64 = 128;

impl Node {
    /// Writes dirty pages and times. They are durable after a commit.
    pub(crate) fn write_back(&self) -> Result<()> {
        let mut pages = self.pages.lock();
        let result = self.write_pages(&mut pages);
        let still_dirty = pages.next_dirty(0).is_some();
        drop(pages);
        self.write_times()?;
        if !still_dirty {
            self.volume.set_clean(self.number);
        }
        result
    }

    fn write_times(&self) -> Result<()> {
        let mut attributes = self.attributes.lock();
        if !attributes.times_dirty {
            return Ok(());
        }
        attributes.times_dirty = false;
        let times = attributes.times;
        drop(attributes);
        let number = self.inode()?;
        self.volume.with(|core| core.write_times(number, times))
    }

    /// Writes all dirty pages, in runs.
    pub(crate) fn write_pages(&self, pages: &mut Pages) -> Result<()> {
        let mut from = 0;
        while let Some(index) = pages.next_dirty(from) {
            let count = pages.dirty_run(index, WRITE_RUN);
            let size = self.size();
            let start = index * PAGE;
            let end = (start + count * PAGE).min(size);
            if start < end {
                let bytes = contents(pages, index, (end - start) as usize)?;
                self.write_through(start, &bytes)?;
            }
            for (_, page) in pages.map.range_mut(index..index + count) {
                self.release(page);
                // Whoever maps it may write on without a word.
                if page.writable && page.is_mapped() {
                    self.keep_dirty(page);
                } else {
                    page.writable = false;
                }
            }
            from = index + count;
        }
        Ok(())
    }

    /// Gives bytes to the disk, and makes room for them.
    pub(crate) fn write_through(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let number = self.inode()?;
        let info = self.volume.with(|core| {
            core.before_contents()?;
            core.pending = true;
            core.engine.write_inode(number, at, bytes)?;
            core.engine.inode(number)
        })?;
        let mut attributes = self.attributes.lock();
        attributes.disk_size = info.size;
        attributes.blocks = info.blocks;
        attributes.times_dirty = true;
        Ok(())
    }

    /// The page is not dirty any more.
    pub(crate) fn release(&self, page: &mut Page) {
        if page.dirty {
            page.dirty = false;
            self.volume.dirty_count.fetch_sub(1, Ordering::Relaxed);
        }
        if page.reserved {
            page.reserved = false;
            self.volume.unreserve(self.volume.blocks_per_page());
        }
    }

    /// As a page that was just written; it has its blocks.
    fn keep_dirty(&self, page: &mut Page) {
        page.dirty = true;
        self.volume.dirty_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Drops the pages `from..to`, dirty or not.
    pub(crate) fn remove_pages(&self, pages: &mut Pages, from: u64, to: u64) {
        let keys: Vec<u64> = pages.map.range(from..to).map(|(index, _)| *index).collect();
        for key in keys {
            if let Some(mut page) = pages.map.remove(&key) {
                self.release(&mut page);
                self.volume.cached.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// The end of the node.
    pub(crate) fn forget_pages(&mut self) {
        let pages = core::mem::take(self.pages.get_mut());
        let count = pages.map.len() as u64;
        for mut page in pages.map.into_values() {
            self.release(&mut page);
        }
        self.volume.cached.fetch_sub(count, Ordering::Relaxed);
    }

    /// Drops up to `count` pages that were not used lately and can come back.
    /// A file that is being worked on keeps its pages.
    pub(crate) fn drop_pages(&self, count: u64) -> u64 {
        match self.pages.try_lock() {
            Some(mut pages) => self.drop_unused(&mut pages, count),
            None => 0,
        }
    }

    /// Makes room within one file that has more than all may have.
    pub(crate) fn trim(&self, pages: &mut Pages) {
        let cached = self.volume.cached.load(Ordering::Relaxed);
        let limit = self.volume.options.cache_pages;
        if cached > limit && pages.map.len() as u64 > limit / 2 {
            let goal = (limit / 8).max(1);
            if self.drop_unused(pages, goal) < goal {
                self.drop_unused(pages, goal);
            }
        }
    }

    fn drop_unused(&self, pages: &mut Pages, count: u64) -> u64 {
        let mut dropped = 0;
        pages.map.retain(|_, page| {
            let free = !page.dirty && !page.is_mapped();
            let drops = free && !page.used && dropped < count;
            page.used = false;
            dropped += u64::from(drops);
            !drops
        });
        self.volume.cached.fetch_sub(dropped, Ordering::Relaxed);
        dropped
    }
}

/// The first `len` bytes from page `index` on; the pages are there.
fn contents(pages: &Pages, index: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    for (_, page) in pages.map.range(index..) {
        let part = (len - bytes.len()).min(PAGE as usize);
        if part == 0 {
            break;
        }
        page.frame.with_bytes(|from| bytes.extend_from_slice(&from[..part]));
    }
    Ok(bytes)
}
