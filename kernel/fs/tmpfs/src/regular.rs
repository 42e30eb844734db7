// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The contents of a regular file.

use crate::page_map::PageMap;
use crate::{PAGE, Shared};
use core::sync::atomic::{AtomicU64, Ordering};
use kio::{Errno, Result, Sink, Source};
use kmm::Frame;
use ksync::SpinLock;

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
    pages: SpinLock<PageMap>,
    size: AtomicU64,
}

/// What an allocation failure means to the program.
fn allocate_zeroed(shared: &Shared) -> Result<Frame> {
    shared.charge_page()?;
    Frame::allocate_zeroed_for_user().map_err(|_| {
        shared.uncharge_pages(1);
        Errno::ENOMEM
    })
}

fn allocate(shared: &Shared) -> Result<Frame> {
    shared.charge_page()?;
    Frame::allocate_for_user().map_err(|_| {
        shared.uncharge_pages(1);
        Errno::ENOMEM
    })
}

impl Regular {
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn page_count(&self) -> u64 {
        self.pages.lock().len()
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
            let want = (PAGE - at % PAGE).min(end - at) as usize;
            // The handle keeps the frame while it is copied without the lock.
            let frame = self.pages.lock().page(at / PAGE).cloned();
            let put = match &frame {
                Some(frame) => frame.with_bytes(|b| sink.put(&b[within..within + want])),
                None => sink.put_zeroes(want),
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
        let present = self.pages.lock().page(index).cloned();
        let fresh = present.is_none();
        let frame = match present {
            Some(frame) => frame,
            None if want == PAGE as usize => allocate(shared)?,
            None => allocate_zeroed(shared)?,
        };
        let taken = frame.with_bytes_mut(|b| {
            let taken = source.take(&mut b[within..within + want]);
            if let (true, Ok(n)) = (fresh, &taken) {
                b[within + n..within + want].fill(0);
            }
            taken
        });
        match taken {
            Ok(n) if n > 0 => {
                if fresh {
                    self.pages.lock().insert(index, frame);
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

    pub(crate) fn truncate(&self, shared: &Shared, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let _change = self.change.lock();
        let before = self.size.swap(size, Ordering::AcqRel);
        if size < before {
            self.zero_part(size, size.next_multiple_of(PAGE));
            self.remove_pages(shared, size.div_ceil(PAGE), u64::MAX);
        }
        Ok(())
    }

    /// Zeroes bytes of one page, if it is there.
    fn zero_part(&self, from: u64, to: u64) {
        if from < to
            && let Some(frame) = self.pages.lock().page(from / PAGE).cloned()
        {
            let start = (from % PAGE) as usize;
            frame.with_bytes_mut(|b| b[start..start + (to - from) as usize].fill(0));
        }
    }

    /// Takes the lock anew for each run of pages, so that readers get in.
    fn remove_pages(&self, shared: &Shared, from: u64, to: u64) {
        const RUN: u64 = 512;
        loop {
            let mut pages = self.pages.lock();
            let Some(first) = pages.next_page(from).filter(|&p| p < to) else { return };
            let removed = pages.remove(first, to.min(first.saturating_add(RUN)));
            drop(pages);
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
        match mode {
            0 | KEEP_SIZE => {
                let _change = self.change.lock();
                self.fill_holes(shared, offset / PAGE, end.div_ceil(PAGE))?;
                if mode == 0 {
                    self.size.fetch_max(end, Ordering::AcqRel);
                }
                Ok(())
            }
            m if m == PUNCH_HOLE | KEEP_SIZE => {
                let _change = self.change.lock();
                let (first, last) = (offset.next_multiple_of(PAGE), end - end % PAGE);
                if first > last {
                    self.zero_part(offset, end);
                    return Ok(());
                }
                self.zero_part(offset, first);
                self.zero_part(last, end);
                self.remove_pages(shared, first / PAGE, last / PAGE);
                Ok(())
            }
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Gives every hole of the range a page, or none of them.
    fn fill_holes(&self, shared: &Shared, from: u64, to: u64) -> Result<()> {
        let missing = |index| self.pages.lock().page(index).is_none();
        let mut filled = alloc::vec::Vec::new();
        for index in from..to {
            if !missing(index) {
                continue;
            }
            let made = filled
                .try_reserve(1)
                .map_err(|_| Errno::ENOMEM)
                .and_then(|()| allocate_zeroed(shared));
            match made {
                Ok(frame) => self.pages.lock().insert(index, frame),
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
    /// show in the mapping.
    pub(crate) fn map_page(&self, shared: &Shared, index: u64) -> Result<Frame> {
        if let Some(frame) = self.pages.lock().page(index)
            && index < self.size().div_ceil(PAGE)
        {
            return Ok(frame.clone());
        }
        let _change = self.change.lock();
        if index >= self.size().div_ceil(PAGE) {
            return Err(Errno::EFAULT);
        }
        if let Some(frame) = self.pages.lock().page(index) {
            return Ok(frame.clone());
        }
        let frame = allocate_zeroed(shared)?;
        self.pages.lock().insert(index, frame.clone());
        Ok(frame)
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE.
    pub(crate) fn seek_hole(&self, offset: u64, hole: bool) -> Result<u64> {
        let size = self.size();
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        let pages = self.pages.lock();
        if !hole {
            let page = pages.next_page(offset / PAGE).ok_or(Errno::ENXIO)?;
            return Some(offset.max(page * PAGE)).filter(|&at| at < size).ok_or(Errno::ENXIO);
        }
        let mut at = offset;
        while at < size && pages.page(at / PAGE).is_some() {
            at = (at / PAGE + 1) * PAGE;
        }
        Ok(at.min(size))
    }
}
