// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mapped pages of files that lose pages: truncation and holes.

use super::area::Backing;
use super::space::{AddressSpace, PAGE};
use crate::process;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use kio::{Errno, File, FileKind, Result, Stat};

/// What makes two open files the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// `None` for what has no pages.
    fn of(file: &dyn File) -> Option<Self> {
        let stat = file.stat().ok()?;
        let Stat { kind, device, inode, .. } = stat;
        (kind == FileKind::Regular).then_some(Self { device, inode })
    }
}

/// Truncates with `change` and unmaps what lies behind the new end, copies of
/// private mappings too: mmap(2), "SIGBUS", and POSIX on ftruncate(). A page
/// that comes back with a longer file is another one.
pub fn truncate(file: &dyn File, size: u64, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = file.stat().map_or(0, |stat| stat.size);
    change()?;
    if size < before { truncated(file, size) } else { Ok(()) }
}

/// The part of [`truncate`] behind the change: a fault either saw the new size,
/// or its page goes here.
pub fn truncated(file: &dyn File, size: u64) -> Result<()> {
    let from = size.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    forget(file, from..u64::MAX, true)
}

/// Unmaps bytes of a file from shared mappings, before a hole is made there.
/// Private mappings keep their copies. A page that comes back in between stays
/// with the file, which zeroes it in place because it is mapped.
pub fn before_hole(file: &dyn File, bytes: Range<u64>) -> Result<()> {
    let to = bytes.end & !(PAGE - 1);
    match bytes.start.checked_next_multiple_of(PAGE) {
        Some(from) if from < to => forget(file, from..to, false),
        _ => Ok(()),
    }
}

/// True while a program could write the file through memory: F_SEAL_WRITE has to
/// wait for that, fcntl(2).
pub fn is_mapped_writable(file: &dyn File) -> bool {
    let Some(identity) = Identity::of(file) else { return false };
    process::all().iter().any(|process| {
        let space = process.space();
        let inner = space.inner.lock();
        inner.areas.values().any(|area| match &area.backing {
            Backing::File { file, .. } => {
                area.shared && area.may_write && Identity::of(&**file) == Some(identity)
            }
            _ => false,
        })
    })
}

fn forget(file: &dyn File, bytes: Range<u64>, with_private: bool) -> Result<()> {
    let Some(identity) = Identity::of(file) else { return Ok(()) };
    for process in process::all() {
        process.space().forget_file(identity, &bytes, with_private)?;
    }
    Ok(())
}

impl AddressSpace {
    /// The regular files that are mapped shared within `[start, end)`; msync(2).
    pub fn shared_files(&self, start: u64, end: u64) -> Vec<Arc<dyn File>> {
        let inner = self.inner.lock();
        let areas = inner.areas_in(start, end).filter(|area| area.shared);
        let files = areas.filter_map(|area| match &area.backing {
            Backing::File { file, .. } => Some(file.clone()),
            _ => None,
        });
        let files: Vec<Arc<dyn File>> = files.collect();
        drop(inner);
        files.into_iter().filter(|file| Identity::of(&**file).is_some()).collect()
    }

    fn forget_file(&self, of: Identity, bytes: &Range<u64>, with_private: bool) -> Result<()> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        for area in inner.areas.values().filter(|a| a.shared || with_private) {
            let Backing::File { file, offset, .. } = &area.backing else { continue };
            let from = bytes.start.max(*offset);
            let to = bytes.end.min(offset.saturating_add(area.end - area.start));
            if from < to && Identity::of(&**file) == Some(of) {
                let (start, end) = (area.start + from - offset, area.start + to - offset);
                inner.tables.unmap(start, end).map_err(|_| Errno::ENOMEM)?;
            }
        }
        Ok(())
    }
}
