// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One mapped range and what stands behind it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use core::fmt;
use khal::Access;
use kio::File;
use kmm::Frame;
use kvfs::Location;

bitflags! {
    /// PROT_* of mmap(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Protection: u32 {
        /// PROT_READ.
        const READ = 1;
        /// PROT_WRITE.
        const WRITE = 2;
        /// PROT_EXEC.
        const EXECUTE = 4;
    }
}

impl Protection {
    /// As the page tables say it. x86 has no write without read.
    pub fn access(self) -> Access {
        let mut access = Access::empty();
        access.set(Access::WRITE, self.contains(Self::WRITE));
        access.set(Access::EXECUTE, self.contains(Self::EXECUTE));
        access
    }
}

/// Where the pages of an area come from.
#[derive(Clone)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// A file, from this byte offset (a multiple of the page size) on.
    File {
        /// The object.
        file: Arc<dyn File>,
        /// Its place, for /proc/self/maps.
        location: Option<Location>,
        /// Offset of the area's first byte.
        offset: u64,
    },
    /// Frames that the kernel gives, such as the vDSO's.
    Frames(Arc<Vec<Frame>>),
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::File { offset, .. } => write!(f, "File(+{offset:#x})"),
            Self::Frames(_) => f.write_str("Frames"),
        }
    }
}

/// A range of addresses with one meaning.
#[derive(Clone, Debug)]
pub struct Area {
    /// First byte; page aligned.
    pub start: u64,
    /// Behind the last byte; page aligned.
    pub end: u64,
    /// What the program may do.
    pub protection: Protection,
    /// Writes reach the file, and other processes.
    pub shared: bool,
    /// The file was opened so that a shared mapping may become writable.
    pub may_write: bool,
    /// Grows down towards lower addresses when touched below: a stack.
    pub grows_down: bool,
    /// Takes no large pages.
    pub small_pages: bool,
    /// Where pages come from.
    pub backing: Backing,
    /// A name for /proc/self/maps, such as "[heap]".
    pub label: &'static str,
}

impl Area {
    /// The part of the area in `[start, end)`, with its offsets moved along.
    pub fn part(&self, start: u64, end: u64) -> Self {
        let mut part = self.clone();
        let skipped = start - self.start;
        match &mut part.backing {
            Backing::File { offset, .. } => *offset += skipped,
            Backing::Frames(frames) if skipped > 0 => {
                let skip = (skipped / 4096) as usize;
                *frames = Arc::new(frames.iter().skip(skip).cloned().collect());
            }
            _ => {}
        }
        (part.start, part.end) = (start, end);
        part
    }

    /// True when `next` continues this area, so that both can be one.
    pub fn continues_in(&self, next: &Self) -> bool {
        self.end == next.start
            && self.protection == next.protection
            && self.shared == next.shared
            && self.may_write == next.may_write
            && self.grows_down == next.grows_down
            && self.small_pages == next.small_pages
            && self.label == next.label
            && match (&self.backing, &next.backing) {
                (Backing::Anonymous, Backing::Anonymous) => true,
                (
                    Backing::File { file: a, offset: x, .. },
                    Backing::File { file: b, offset: y, .. },
                ) => Arc::ptr_eq(a, b) && x + (self.end - self.start) == *y,
                _ => false,
            }
    }
}
