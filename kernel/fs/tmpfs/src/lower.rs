// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The part of a file's contents that is still in the lower file system.

use crate::PAGE;
use crate::page_map::PageMap;
use alloc::sync::Arc;
use kio::{Result, Sink};
use kmm::Frame;
use kvfs::Inode;

/// A file of the lower file system whose first bytes show where no page of our
/// own lies over them.
#[derive(Clone)]
pub(crate) struct LowerFile {
    file: Arc<dyn Inode>,
    /// How many bytes of it show; truncation makes it less.
    pub(crate) length: u64,
    whole: u64,
    /// The file was opened for writing: mappings get pages of our own from now
    /// on, so that they share what is written.
    pub(crate) left: bool,
}

impl LowerFile {
    pub(crate) fn new(file: Arc<dyn Inode>, length: u64) -> Self {
        Self { file, length, whole: length, left: false }
    }

    pub(crate) fn read(&self, at: u64, count: usize, sink: &mut dyn Sink) -> Result<usize> {
        self.file.read_at(at, &mut Limited { sink, left: count })
    }

    /// The page in place, when it may be mapped as it is.
    pub(crate) fn map_page(&self, index: u64) -> Option<Result<Frame>> {
        let as_it_is = !self.left && self.length == self.whole && index * PAGE < self.length;
        as_it_is.then(|| self.file.map_page(index, false))
    }
}

/// The pages of a file: our own, and below them the lower file.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) map: PageMap,
    pub(crate) lower: Option<LowerFile>,
}

/// Where the bytes at an offset are.
pub(crate) enum Place {
    Frame(Frame),
    /// In the lower file, up to this offset.
    Lower(LowerFile, u64),
    Hole,
}

impl Contents {
    pub(crate) fn place(&self, at: u64) -> Place {
        if let Some(frame) = self.map.page(at / PAGE) {
            return Place::Frame(frame.clone());
        }
        match self.lower.as_ref().filter(|l| at < l.length) {
            Some(lower) => {
                let next = self.map.next_page(at / PAGE).map_or(u64::MAX, |page| page * PAGE);
                Place::Lower(lower.clone(), lower.length.min(next))
            }
            None => Place::Hole,
        }
    }

    /// Bytes of the lower file that show.
    pub(crate) fn lower_length(&self) -> u64 {
        self.lower.as_ref().map_or(0, |l| l.length)
    }

    /// Cuts the lower file; without anything left of it, it is let go.
    pub(crate) fn cut_lower(&mut self, length: u64) {
        if let Some(lower) = &mut self.lower {
            lower.length = lower.length.min(length);
            if lower.length == 0 {
                self.lower = None;
            }
        }
    }
}

/// A sink that takes no more than `left` bytes.
struct Limited<'a> {
    sink: &'a mut dyn Sink,
    left: usize,
}

impl Sink for Limited<'_> {
    fn remaining(&self) -> usize {
        self.left.min(self.sink.remaining())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let count = self.sink.put(&bytes[..bytes.len().min(self.left)])?;
        self.left -= count;
        Ok(count)
    }

    fn put_zeroes(&mut self, count: usize) -> Result<usize> {
        let count = self.sink.put_zeroes(count.min(self.left))?;
        self.left -= count;
        Ok(count)
    }
}
