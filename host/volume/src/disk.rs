// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An image file as the engine's disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use rsext4::{BlockIo, DeviceCapabilities, DeviceGeometry, Ext4Error, Ext4Result, SectorId};

const SECTOR: u64 = 512;
/// What writes go to memory by.
const PAGE: u64 = 4096;
/// Pages of an overlay at most: a journal's replay is less.
const OVERLAY_PAGES: usize = 64 << 10;

/// What becomes of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// The file stays as it is.
    InMemory,
    /// A flush reaches the disk.
    Durable,
    /// Nobody sees the file before it is synced as a whole.
    ToBeSynced,
}

/// A file, or what a file would be.
pub(crate) struct Disk {
    file: Arc<File>,
    size: u64,
    /// Pages that differ from the file, when it must not be changed.
    overlay: Option<BTreeMap<u64, Box<[u8]>>>,
    flushes: bool,
    /// Why the last operation failed: the engine knows only that it did.
    failure: Failure,
}

/// The operating system's word on what failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    /// The error since the last call.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: io::Error) -> Ext4Error {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(error);
        Ext4Error::io()
    }
}

impl Disk {
    /// A disk of `size` bytes on `file`.
    pub(crate) fn new(file: Arc<File>, size: u64, writing: Writing, failure: Failure) -> Self {
        let overlay = if writing == Writing::InMemory { Some(BTreeMap::new()) } else { None };
        Self { file, size, overlay, flushes: writing == Writing::Durable, failure }
    }

    fn range(&self, sector: SectorId, len: usize) -> Ext4Result<u64> {
        let start = sector.raw().checked_mul(SECTOR).ok_or_else(Ext4Error::overflow)?;
        let end = start.checked_add(len as u64).ok_or_else(Ext4Error::overflow)?;
        // Behind the end there is nothing: a number that points there is wrong.
        if end > self.size { Err(Ext4Error::corrupted()) } else { Ok(start) }
    }

    /// The page at `number` of the file; what is behind its end is zero.
    fn page(&self, number: u64) -> io::Result<Box<[u8]>> {
        let mut page = vec![0; PAGE as usize].into_boxed_slice();
        let mut done = 0;
        while done < page.len() {
            match self.file.read_at(&mut page[done..], number * PAGE + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    fn write_overlay(&mut self, buffer: &[u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let position = at + done as u64;
            let number = position / PAGE;
            let inside = (position % PAGE) as usize;
            let len = (PAGE as usize - inside).min(buffer.len() - done);
            if self.overlay.as_ref().is_some_and(|o| !o.contains_key(&number)) {
                let page = self.page(number)?;
                if let Some(overlay) = &mut self.overlay {
                    if overlay.len() >= OVERLAY_PAGES {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    overlay.insert(number, page);
                }
            }
            if let Some(page) = self.overlay.as_mut().and_then(|o| o.get_mut(&number)) {
                page[inside..inside + len].copy_from_slice(&buffer[done..done + len]);
            }
            done += len;
        }
        Ok(())
    }
}

impl BlockIo for Disk {
    fn write(&mut self, buffer: &[u8], sector: SectorId, _count: u32) -> Ext4Result<()> {
        let at = self.range(sector, buffer.len())?;
        let result = match self.overlay {
            Some(_) => self.write_overlay(buffer, at),
            None => self.file.write_all_at(buffer, at),
        };
        result.map_err(|error| self.failure.note(error))
    }

    fn read(&mut self, buffer: &mut [u8], sector: SectorId, _count: u32) -> Ext4Result<()> {
        let at = self.range(sector, buffer.len())?;
        self.file.read_exact_at(buffer, at).map_err(|error| self.failure.note(error))?;
        let Some(overlay) = &self.overlay else { return Ok(()) };
        let end = at + buffer.len() as u64;
        for (number, page) in overlay.range(at / PAGE..end.div_ceil(PAGE)) {
            let start = (number * PAGE).max(at);
            let stop = ((number + 1) * PAGE).min(end);
            let inside = (start - number * PAGE) as usize;
            let len = (stop - start) as usize;
            buffer[(start - at) as usize..][..len].copy_from_slice(&page[inside..inside + len]);
        }
        Ok(())
    }

    fn geometry(&self) -> DeviceGeometry {
        DeviceGeometry::new(SECTOR as u32, self.size / SECTOR)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities { flush: true, ..DeviceCapabilities::default() }
    }

    fn flush(&mut self) -> Ext4Result<()> {
        if !self.flushes {
            return Ok(());
        }
        self.file.sync_data().map_err(|error| self.failure.note(error))
    }
}
