// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files of memfd_create(2) with their seals.

use alloc::sync::Arc;
use core::any::Any;
use kio::{Errno, File, Result, Sink, Source, Stat};
use kmm::Frame;
use ksync::SpinLock;

const F_SEAL_SEAL: u32 = 1;
const F_SEAL_SHRINK: u32 = 2;
const F_SEAL_GROW: u32 = 4;
const F_SEAL_WRITE: u32 = 8;
const F_SEAL_FUTURE_WRITE: u32 = 16;
const KNOWN: u32 = 31;
const WRITES: u32 = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;

/// A file in memory without a name. Changes happen under the lock of the seals,
/// so that none is under way when a seal is added.
pub struct MemoryFile {
    content: Arc<dyn File>,
    seals: SpinLock<u32>,
}

impl MemoryFile {
    /// A file over `content`; without `allow_sealing` no seal can be added.
    pub fn new(content: Arc<dyn File>, allow_sealing: bool) -> Arc<Self> {
        let seals = if allow_sealing { 0 } else { F_SEAL_SEAL };
        Arc::new(Self { content, seals: SpinLock::new(seals) })
    }

    /// F_GET_SEALS.
    pub fn seals(&self) -> u32 {
        *self.seals.lock()
    }

    /// F_ADD_SEALS. Shared mappings that exist keep the pages they may write.
    pub fn add_seals(&self, added: u32) -> Result<()> {
        if added & !KNOWN != 0 {
            return Err(Errno::EINVAL);
        }
        let mut seals = self.seals.lock();
        if *seals & F_SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        *seals |= added;
        Ok(())
    }

    /// True when shared mappings may not write.
    pub fn is_write_sealed(&self) -> bool {
        self.seals() & WRITES != 0
    }

    /// `EPERM` for a write up to `end` that a seal forbids.
    fn check_write(&self, seals: u32, end: u64) -> Result<()> {
        let grows = || self.content.stat().map(|s| end > s.size);
        if seals & WRITES != 0 || (seals & F_SEAL_GROW != 0 && grows()?) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}

impl File for MemoryFile {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat { permissions: 0o777, links: 0, ..self.content.stat()? })
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.content.read_at(offset, sink)
    }

    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        let seals = self.seals.lock();
        self.check_write(*seals, offset.saturating_add(source.remaining() as u64))?;
        self.content.write_at(offset, source)
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        let seals = self.seals.lock();
        self.check_write(*seals, u64::MAX)?;
        self.content.append(source)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek_hole(&self, offset: u64, hole: bool) -> Result<u64> {
        self.content.seek_hole(offset, hole)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        let seals = self.seals.lock();
        let old = self.content.stat()?.size;
        let forbidden = if size < old { F_SEAL_SHRINK } else { F_SEAL_GROW };
        if size != old && *seals & forbidden != 0 {
            return Err(Errno::EPERM);
        }
        self.content.truncate(size)
    }

    fn allocate(&self, mode: u32, offset: u64, length: u64) -> Result<()> {
        const PUNCH_HOLE: u32 = 2;
        let seals = self.seals.lock();
        let end = if mode & PUNCH_HOLE != 0 { 0 } else { offset.saturating_add(length) };
        let sealed = *seals & if mode & PUNCH_HOLE != 0 { WRITES } else { F_SEAL_GROW };
        if sealed != 0 {
            self.check_write(sealed, end)?;
        }
        self.content.allocate(mode, offset, length)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.content.sync(data_only)
    }

    fn map_page(&self, index: u64, for_write: bool) -> Result<Frame> {
        let seals = self.seals.lock();
        if for_write && *seals & WRITES != 0 {
            return Err(Errno::EPERM);
        }
        self.content.map_page(index, for_write)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl core::fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "MemoryFile(seals {:#x})", self.seals())
    }
}
