// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The contents of a regular file.

use crate::lower::{Contents, LowerFile, Place};
use crate::{PAGE, Shared};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use kio::{Errno, Result, Sink, SliceSink, Source};
use kmm::Frame;
use ksync::SpinLock;
use kvfs::Inode;

/// MAX_LFS_FILESIZE of a 64-bit machine.
const MAX_SIZE: u64 = i64::MAX as u64;

/// FALLOC_FL_* of fallocate(2).
const KEEP_SIZE: u32 = 1;
const PUNCH_HOLE: u32 = 2;

/// Contents and size of one file. Bytes behind the end in the last page, and
/// in all pages behind it, are zero as far as the file wrote them.
#[derive(Default)]
pub(crate) struct Regular {
    /// Serialises everything that changes size or pages.
    change: SpinLock<()>,
    contents: SpinLock<Contents>,
    size: AtomicU64,
}

/// A frame that the file system's limit allows.
fn allocate(shared: &Shared, zeroed: bool) -> Result<Frame> {
    shared.charge_page()?;
    let frame = match zeroed {
        true => Frame::allocate_zeroed_for_user(),
        false => Frame::allocate_for_user(),
    };
    frame.map_err(|_| {
        shared.uncharge_pages(1);
        Errno::ENOMEM
    })
}

impl Regular {
    /// A file that shows `lower` until it is changed.
    pub(crate) fn over(lower: Arc<dyn Inode>, size: u64) -> Self {
        let lower = (size > 0).then(|| LowerFile::new(lower, size));
        Self {
            contents: SpinLock::new(Contents { lower, ..Contents::default() }),
            size: AtomicU64::new(size),
            ..Self::default()
        }
    }

    /// From here on mappings share what is written: the copy-up of overlayfs,
    /// which takes place page by page.
    pub(crate) fn leave_lower(&self) {
        if let Some(lower) = &mut self.contents.lock().lower {
            lower.left = true;
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Pages that count against the limit.
    pub(crate) fn page_count(&self) -> u64 {
        self.contents.lock().map.len()
    }

    /// `st_blocks`.
    pub(crate) fn block_count(&self) -> u64 {
        let contents = self.contents.lock();
        contents.map.len().max(contents.lower_length().div_ceil(PAGE)) * (PAGE / 512)
    }

    pub(crate) fn read(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let size = self.size();
        if offset >= size {
            return Ok(0);
        }
        let end = size.min(offset.saturating_add(sink.remaining() as u64));
        let mut at = offset;
        while at < end {
            let within = (at % PAGE) as usize;
            let in_page = (PAGE - at % PAGE).min(end - at) as usize;
            // The handle keeps the frame while it is copied without the lock.
            let place = self.contents.lock().place(at);
            let (want, put) = match place {
                Place::Frame(frame) => {
                    (in_page, frame.with_bytes(|b| sink.put(&b[within..within + in_page])))
                }
                Place::Lower(lower, run_end) => {
                    let want = (run_end.min(end) - at) as usize;
                    (want, lower.read(at, want, sink))
                }
                Place::Hole => (in_page, sink.put_zeroes(in_page)),
            };
            match put {
                Ok(n) => {
                    at += n as u64;
                    if n < want {
                        break;
                    }
                }
                Err(_) if at > offset => break,
                Err(e) => return Err(e),
            }
        }
        Ok((at - offset) as usize)
    }

    pub(crate) fn write(
        &self,
        shared: &Shared,
        offset: u64,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let _change = self.change.lock();
        self.write_locked(shared, offset, source)
    }

    pub(crate) fn append(&self, shared: &Shared, source: &mut dyn Source) -> Result<(usize, u64)> {
        let _change = self.change.lock();
        let end = self.size();
        let count = self.write_locked(shared, end, source)?;
        Ok((count, end + count as u64))
    }

    fn write_locked(&self, shared: &Shared, offset: u64, source: &mut dyn Source) -> Result<usize> {
        if source.remaining() == 0 {
            return Ok(0);
        }
        if offset >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let end = MAX_SIZE.min(offset.saturating_add(source.remaining() as u64));
        let mut at = offset;
        while at < end {
            let want = (PAGE - at % PAGE).min(end - at) as usize;
            match self.write_page(shared, at, want, source) {
                Ok(n) => {
                    at += n as u64;
                    if n < want {
                        break;
                    }
                }
                Err(_) if at > offset => break,
                Err(e) => return Err(e),
            }
        }
        Ok((at - offset) as usize)
    }

    /// Writes `want` bytes that lie in one page, and moves the end.
    fn write_page(
        &self,
        shared: &Shared,
        at: u64,
        want: usize,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let (index, within) = (at / PAGE, (at % PAGE) as usize);
        let present = self.contents.lock().map.page(index).cloned();
        let fresh = present.is_none();
        // A page that is written whole need not be zeroed first.
        let whole = fresh && want == PAGE as usize && at >= self.contents.lock().lower_length();
        let frame = match present {
            Some(frame) => frame,
            None if whole => allocate(shared, false)?,
            None => self.fresh_page(shared, index)?,
        };
        let taken = frame.with_bytes_mut(|b| {
            let taken = source.take(&mut b[within..within + want]);
            if let (true, Ok(n)) = (whole, &taken) {
                b[*n..].fill(0);
            }
            taken
        });
        match taken {
            Ok(n) if n > 0 => {
                if fresh {
                    self.contents.lock().map.insert(index, frame);
                }
                self.size.fetch_max(at + n as u64, Ordering::AcqRel);
                Ok(n)
            }
            nothing => {
                if fresh {
                    shared.uncharge_pages(1);
                }
                nothing
            }
        }
    }

    /// A frame for a page that we do not have: zeroes, or what the lower file
    /// has there.
    fn fresh_page(&self, shared: &Shared, index: u64) -> Result<Frame> {
        let frame = allocate(shared, true)?;
        let Place::Lower(lower, end) = self.contents.lock().place(index * PAGE) else {
            return Ok(frame);
        };
        let count = (end - index * PAGE).min(PAGE) as usize;
        let read = frame.with_bytes_mut(|bytes| {
            let mut done = 0;
            while done < count {
                let mut sink = SliceSink::new(&mut bytes[done..count]);
                match lower.read(index * PAGE + done as u64, count - done, &mut sink)? {
                    0 => return Err(Errno::EIO),
                    n => done += n,
                }
            }
            Ok(())
        });
        if read.is_err() {
            shared.uncharge_pages(1);
        }
        read.map(|()| frame)
    }

    pub(crate) fn truncate(&self, shared: &Shared, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let _change = self.change.lock();
        let before = self.size.swap(size, Ordering::AcqRel);
        if size < before {
            self.contents.lock().cut_lower(size);
            self.zero_part(size, size.next_multiple_of(PAGE));
            self.remove_pages(shared, size.div_ceil(PAGE), u64::MAX);
        }
        Ok(())
    }

    /// Zeroes bytes of one page, if it is ours.
    fn zero_part(&self, from: u64, to: u64) {
        if from < to
            && let Some(frame) = self.contents.lock().map.page(from / PAGE).cloned()
        {
            let start = (from % PAGE) as usize;
            frame.with_bytes_mut(|b| b[start..start + (to - from) as usize].fill(0));
        }
    }

    /// Takes the lock anew for each run of pages, so that readers get in.
    fn remove_pages(&self, shared: &Shared, from: u64, to: u64) {
        const RUN: u64 = 512;
        loop {
            let mut contents = self.contents.lock();
            let Some(first) = contents.map.next_page(from).filter(|&p| p < to) else { return };
            let removed = contents.map.remove(first, to.min(first.saturating_add(RUN)));
            drop(contents);
            shared.uncharge_pages(removed);
        }
    }

    /// fallocate(2).
    pub(crate) fn allocate(
        &self,
        shared: &Shared,
        mode: u32,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        if length == 0 {
            return Err(Errno::EINVAL);
        }
        let end = offset.checked_add(length).filter(|&e| e <= MAX_SIZE).ok_or(Errno::EFBIG)?;
        let _change = self.change.lock();
        match mode {
            0 | KEEP_SIZE => {
                self.fill_holes(shared, offset / PAGE, end.div_ceil(PAGE))?;
                if mode == 0 {
                    self.size.fetch_max(end, Ordering::AcqRel);
                }
                Ok(())
            }
            m if m == PUNCH_HOLE | KEEP_SIZE => self.punch_hole(shared, offset, end),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn punch_hole(&self, shared: &Shared, offset: u64, end: u64) -> Result<()> {
        // The lower file has no holes: what shows of it becomes ours.
        let covered = self.contents.lock().lower_length().min(end).div_ceil(PAGE);
        self.own_pages(shared, offset / PAGE, covered)?;
        let (first, last) = (offset.next_multiple_of(PAGE), end - end % PAGE);
        if first > last {
            self.zero_part(offset, end);
            return Ok(());
        }
        self.zero_part(offset, first);
        self.zero_part(last, end);
        let keep =
            self.contents.lock().lower_length().div_ceil(PAGE).clamp(first / PAGE, last / PAGE);
        for index in first / PAGE..keep {
            self.zero_part(index * PAGE, (index + 1) * PAGE);
        }
        self.remove_or_zero(shared, keep, last / PAGE);
        Ok(())
    }

    /// Makes a hole of the pages `from..to`. One that is mapped somewhere stays
    /// and is zeroed, so that the mapping and the file go on being the same.
    fn remove_or_zero(&self, shared: &Shared, from: u64, to: u64) {
        let mut index = from;
        loop {
            let mut contents = self.contents.lock();
            let Some(at) = contents.map.next_page(index).filter(|&p| p < to) else { return };
            match contents.map.page(at).filter(|frame| frame.references() > 1) {
                Some(frame) => frame.with_bytes_mut(|bytes| bytes.fill(0)),
                None => {
                    contents.map.remove(at, at + 1);
                    shared.uncharge_pages(1);
                }
            }
            index = at + 1;
        }
    }

    /// Makes the pages `from..to` that the lower file has ours.
    fn own_pages(&self, shared: &Shared, from: u64, to: u64) -> Result<()> {
        for index in from..to {
            if self.contents.lock().map.page(index).is_none() {
                let frame = self.fresh_page(shared, index)?;
                self.contents.lock().map.insert(index, frame);
            }
        }
        Ok(())
    }

    /// Gives every hole of the range a page, or none of them.
    fn fill_holes(&self, shared: &Shared, from: u64, to: u64) -> Result<()> {
        let is_hole = |index| matches!(self.contents.lock().place(index * PAGE), Place::Hole);
        let mut filled = alloc::vec::Vec::new();
        for index in from..to {
            if !is_hole(index) {
                continue;
            }
            let made = filled
                .try_reserve(1)
                .map_err(|_| Errno::ENOMEM)
                .and_then(|()| allocate(shared, true));
            match made {
                Ok(frame) => self.contents.lock().map.insert(index, frame),
                Err(e) => {
                    filled.iter().for_each(|&i: &u64| self.remove_pages(shared, i, i + 1));
                    return Err(e);
                }
            }
            filled.push(index);
        }
        Ok(())
    }

    /// A hole gets a page even for reading: what is written to it later has to
    /// show in the mapping. A page of the lower file is mapped where it is
    /// while the file was never opened for writing.
    pub(crate) fn map_page(&self, shared: &Shared, index: u64, for_write: bool) -> Result<Frame> {
        if let Some(found) = self.mappable(index, for_write)? {
            return found;
        }
        let _change = self.change.lock();
        if let Some(found) = self.mappable(index, for_write)? {
            return found;
        }
        let frame = self.fresh_page(shared, index)?;
        self.contents.lock().map.insert(index, frame.clone());
        Ok(frame)
    }

    fn mappable(&self, index: u64, for_write: bool) -> Result<Option<Result<Frame>>> {
        if index >= self.size().div_ceil(PAGE) {
            return Err(Errno::EFAULT);
        }
        let contents = self.contents.lock();
        if let Some(frame) = contents.map.page(index) {
            return Ok(Some(Ok(frame.clone())));
        }
        let lower = contents.lower.as_ref().filter(|_| !for_write).cloned();
        drop(contents);
        Ok(lower.and_then(|l| l.map_page(index)))
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE.
    pub(crate) fn seek_hole(&self, offset: u64, hole: bool) -> Result<u64> {
        let size = self.size();
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        let contents = self.contents.lock();
        let lower = contents.lower_length();
        if !hole {
            if offset < lower {
                return Ok(offset);
            }
            let page = contents.map.next_page(offset / PAGE).ok_or(Errno::ENXIO)?;
            return Some(offset.max(page * PAGE)).filter(|&at| at < size).ok_or(Errno::ENXIO);
        }
        let mut at = offset;
        while at < size && (at < lower || contents.map.page(at / PAGE).is_some()) {
            at = (at / PAGE + 1) * PAGE;
        }
        Ok(at.min(size))
    }
}
