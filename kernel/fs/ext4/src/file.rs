// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reading, writing and mapping the contents of a file, through its pages.

use crate::PAGE;
use crate::cache::{Page, Pages};
use crate::node::Node;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use kio::{Errno, FileKind, Result, Sink, Source};
use kmm::Frame;

/// Pages that a program that reads on gets in advance.
const READ_AHEAD: u64 = 32;
/// Pages that one read of the disk brings at most.
const READ_RUN: u64 = 64;
/// Block numbers in a file have 32 bits.
const MAX_BLOCKS: u64 = u32::MAX as u64;

type PageBuffer = [u8; PAGE as usize];

fn buffer() -> Box<PageBuffer> {
    Box::new([0; PAGE as usize])
}

impl Node {
    pub(crate) fn check_regular(&self) -> Result<()> {
        match self.file_kind() {
            FileKind::Regular => Ok(()),
            FileKind::Directory => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn read(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.check_regular()?;
        self.volume.make_room();
        let mut pages = self.pages.lock();
        let size = self.size();
        let mut done = 0;
        while sink.remaining() > 0 {
            let at = offset.saturating_add(done as u64);
            if at >= size {
                break;
            }
            let index = at / PAGE;
            let inside = (at % PAGE) as usize;
            let len = (PAGE as usize - inside)
                .min(sink.remaining())
                .min(usize::try_from(size - at).unwrap_or(usize::MAX));
            let wanted = (inside + sink.remaining()).div_ceil(PAGE as usize) as u64;
            if let Err(error) = self.bring_in(&mut pages, index, wanted, size) {
                if done > 0 {
                    break;
                }
                return Err(error);
            }
            let Some(frame) = pages.frame(index) else { return Err(Errno::EIO) };
            match frame.with_bytes(|bytes| sink.put(&bytes[inside..inside + len])) {
                Ok(count) => {
                    done += count;
                    if count < len {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
            pages.next_read = index + 1;
        }
        Ok(done)
    }

    /// Makes sure that page `index` is there, and with it up to `wanted` pages
    /// that one read of the disk brings; more when the reads go on in order.
    fn bring_in(&self, pages: &mut Pages, index: u64, wanted: u64, size: u64) -> Result<()> {
        if pages.map.contains_key(&index) {
            return Ok(());
        }
        let ahead = if pages.next_read == index { READ_AHEAD } else { 1 };
        let end = size.div_ceil(PAGE).max(index + 1);
        let count = wanted.max(ahead).min(READ_RUN).min(end - index);
        let count = pages.missing_run(index, count).max(1);
        self.trim(pages);
        let mut bytes = Vec::new();
        let len = (count * PAGE) as usize;
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(len, 0);
        let disk_size = self.attributes.lock().disk_size;
        // What the disk does not have yet, and is not dirty, is a hole.
        if index * PAGE < disk_size {
            let number = self.inode()?;
            let bytes = &mut bytes[..];
            self.volume.with(|core| {
                let mut done = 0;
                while done < bytes.len() {
                    let at = index * PAGE + done as u64;
                    match core.engine.read_inode(number, at, &mut bytes[done..])? {
                        0 => break,
                        count => done += count,
                    }
                }
                Ok(())
            })?;
        }
        for (part, index) in bytes.chunks(PAGE as usize).zip(index..) {
            let frame = Frame::allocate_for_user().map_err(|_| Errno::ENOMEM)?;
            frame.write(0, part);
            self.insert(pages, index, frame);
        }
        Ok(())
    }

    fn insert(&self, pages: &mut Pages, index: u64, frame: Frame) {
        if pages.map.insert(index, Page::clean(frame)).is_none() {
            self.volume.cached.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes at `offset`, or at the end; also gives the position behind.
    pub(crate) fn write(
        &self,
        offset: Option<u64>,
        source: &mut dyn Source,
    ) -> Result<(usize, u64)> {
        self.check_regular()?;
        self.volume.check_writable()?;
        if self.volume.too_dirty() {
            self.volume.write_nodes()?;
        }
        self.volume.make_room();
        let mut pages = self.pages.lock();
        let start = offset.unwrap_or_else(|| self.size());
        let limit = MAX_BLOCKS * self.volume.block_size;
        if source.remaining() > 0 && start >= limit {
            return Err(Errno::EFBIG);
        }
        let mut bytes = buffer();
        let mut done = 0;
        let outcome = loop {
            let at = start + done as u64;
            let inside = (at % PAGE) as usize;
            let room = usize::try_from(limit - at).unwrap_or(usize::MAX);
            let len = (PAGE as usize - inside).min(source.remaining()).min(room);
            if len == 0 {
                break Ok(());
            }
            let taken = match source.take(&mut bytes[..len]) {
                Ok(0) => break Ok(()),
                Ok(taken) => taken,
                Err(error) => break Err(error),
            };
            let mut outcome = self.put(&mut pages, at, &bytes[..taken], false);
            if outcome == Err(Errno::ENOSPC) {
                // Much of what is reserved may turn out to be needless.
                drop(pages);
                let written = self.volume.write_nodes();
                pages = self.pages.lock();
                outcome = written.and_then(|()| self.put(&mut pages, at, &bytes[..taken], true));
            }
            if let Err(error) = outcome {
                break Err(error);
            }
            done += taken;
            if taken < len {
                break Ok(());
            }
            if self.volume.too_dirty()
                && let Err(error) = self.write_pages(&mut pages)
            {
                break Err(error);
            }
        };
        match outcome {
            Err(error) if done == 0 => Err(error),
            _ => Ok((done, start + done as u64)),
        }
    }

    /// Puts bytes that lie in one page into it. Without room for later the disk
    /// decides at once, with `at_once`: when no block is promised to others.
    fn put(&self, pages: &mut Pages, at: u64, bytes: &[u8], at_once: bool) -> Result<()> {
        let index = at / PAGE;
        let inside = (at % PAGE) as usize;
        let end = at + bytes.len() as u64;
        let size = self.size();
        let whole = inside == 0 && (bytes.len() as u64 == PAGE || end >= size);
        let fresh = !pages.map.contains_key(&index);
        if fresh {
            if whole || index * PAGE >= size {
                self.trim(pages);
                let frame = Frame::allocate_zeroed_for_user().map_err(|_| Errno::ENOMEM)?;
                self.insert(pages, index, frame);
            } else {
                self.bring_in(pages, index, 1, size)?;
            }
        }
        let mut outcome = self.mark_dirty(pages, index);
        let late = outcome.is_ok();
        if outcome == Err(Errno::ENOSPC) && at_once && self.volume.is_unreserved() {
            outcome = self.write_through(at, bytes);
        }
        if let Err(error) = outcome {
            // It may be zeroes that stand for what the disk has.
            if fresh {
                self.remove_pages(pages, index, index + 1);
            }
            return Err(error);
        }
        let Some(frame) = pages.frame(index) else { return Err(Errno::EIO) };
        frame.write(inside, bytes);
        let now = self.volume.now();
        let mut attributes = self.attributes.lock();
        attributes.size = attributes.size.max(end);
        if !late {
            attributes.disk_size = attributes.disk_size.max(end);
        }
        attributes.touch(now);
        drop(attributes);
        self.set_dirty();
        Ok(())
    }

    /// A page for mmap(2).
    pub(crate) fn page_for_map(&self, index: u64, for_write: bool) -> Result<Frame> {
        self.check_regular().map_err(|_| Errno::ENODEV)?;
        self.volume.make_room();
        let mut pages = self.pages.lock();
        let size = self.size();
        if index >= size.div_ceil(PAGE) {
            return Err(Errno::EFAULT);
        }
        if for_write {
            self.volume.check_writable().map_err(|_| Errno::EFAULT)?;
        }
        self.bring_in(&mut pages, index, 1, size)?;
        if for_write {
            self.mark_dirty(&mut pages, index)?;
            if let Some(page) = pages.map.get_mut(&index) {
                page.writable = true;
            }
            let now = self.volume.now();
            self.attributes.lock().touch(now);
            self.set_dirty();
        }
        pages.frame(index).cloned().ok_or(Errno::EIO)
    }

    /// Marks a page that is there as dirty, with room on the disk for it.
    fn mark_dirty(&self, pages: &mut Pages, index: u64) -> Result<()> {
        let Some(page) = pages.map.get(&index) else { return Err(Errno::EIO) };
        if page.dirty {
            return Ok(());
        }
        let blocks = self.volume.blocks_per_page();
        self.volume.reserve(blocks)?;
        let Some(page) = pages.map.get_mut(&index) else {
            self.volume.unreserve(blocks);
            return Err(Errno::EIO);
        };
        page.dirty = true;
        page.reserved = true;
        self.volume.dirty_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
