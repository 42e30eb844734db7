// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The content of a disk before it has a container format: bytes, parts of a file, holes.
//!
//! Every disk format is written from a [`Medium`] in one pass. Which ranges hold data is
//! known before anything is read, so that the tables of a format can come first and an
//! image of several gigabytes never lies in memory.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// A sparse disk whose bulk lives in `source`.
#[derive(Debug)]
pub struct Medium<R> {
    source: R,
    length: u64,
    /// Sorted by place, without overlap.
    extents: Vec<Extent>,
}

#[derive(Debug)]
struct Extent {
    at: Range<u64>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// Offset in the source.
    Source(u64),
}

impl<R: Read + Seek> Medium<R> {
    /// A disk of `length` bytes, all holes.
    pub fn new(source: R, length: u64) -> Self {
        Self { source, length, extents: Vec::new() }
    }

    /// Size of the disk in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Puts bytes of our own at a place.
    ///
    /// # Panics
    /// When the place is taken or lies outside of the disk: layouts are computed, not read.
    pub fn put_bytes(&mut self, at: u64, bytes: Vec<u8>) {
        let length = bytes.len() as u64;
        self.put(at, length, Content::Bytes(bytes));
    }

    /// Puts a part of the source at a place.
    ///
    /// # Panics
    /// As [`Medium::put_bytes`].
    pub fn put_source(&mut self, at: u64, offset: u64, length: u64) {
        self.put(at, length, Content::Source(offset));
    }

    fn put(&mut self, at: u64, length: u64, content: Content) {
        if length == 0 {
            return;
        }
        let at = at..at + length;
        let index = self.extents.partition_point(|extent| extent.at.start < at.start);
        let before = index.checked_sub(1).is_none_or(|i| self.extents[i].at.end <= at.start);
        let after = self.extents.get(index).is_none_or(|next| at.end <= next.at.start);
        assert!(before && after && at.end <= self.length, "overlap at {at:?}");
        self.extents.insert(index, Extent { at, content });
    }

    /// Whether anything but a hole lies in the range.
    pub fn has_data(&self, range: Range<u64>) -> bool {
        let index = self.extents.partition_point(|extent| extent.at.end <= range.start);
        self.extents.get(index).is_some_and(|extent| extent.at.start < range.end)
    }

    /// Reads at a place; holes and what lies behind the end are zeros.
    pub fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(0);
        let wanted = at..at + buffer.len() as u64;
        let first = self.extents.partition_point(|extent| extent.at.end <= at);
        for extent in &self.extents[first..] {
            if extent.at.start >= wanted.end {
                break;
            }
            let start = extent.at.start.max(wanted.start);
            let end = extent.at.end.min(wanted.end);
            let into = &mut buffer[(start - at) as usize..(end - at) as usize];
            let skip = start - extent.at.start;
            match &extent.content {
                Content::Bytes(bytes) => {
                    into.copy_from_slice(&bytes[skip as usize..][..into.len()]);
                }
                Content::Source(offset) => {
                    self.source.seek(SeekFrom::Start(offset + skip))?;
                    self.source.read_exact(into)?;
                }
            }
        }
        Ok(())
    }

    /// Copies a range to a sequential writer.
    pub fn copy_to(&mut self, range: Range<u64>, out: &mut impl Write) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK.min((range.end - range.start) as usize)];
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(buffer.len() as u64) as usize;
            self.read_at(at, &mut buffer[..length])?;
            out.write_all(&buffer[..length])?;
            at += length as u64;
        }
        Ok(())
    }

    /// The raw format: the disk itself, with holes where nothing but zeros would lie.
    pub fn write_raw(&mut self, out: &mut (impl Write + Seek)) -> io::Result<()> {
        let base = out.stream_position()?;
        let mut buffer = vec![0; 64 << 10];
        let mut at = 0;
        while at < self.length {
            let length = (self.length - at).min(buffer.len() as u64);
            let end = at + length;
            if self.has_data(at..end) {
                let piece = &mut buffer[..length as usize];
                self.read_at(at, piece)?;
                // The last piece is written in any case: it gives the file its length.
                if end == self.length || !is_zero(piece) {
                    out.seek(SeekFrom::Start(base + at))?;
                    out.write_all(piece)?;
                }
            } else if end == self.length {
                out.seek(SeekFrom::Start(base + end - 1))?;
                out.write_all(&[0])?;
            }
            at = end;
        }
        Ok(())
    }
}

/// Whether a block can be left out.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The next multiple of `unit`.
pub(crate) fn round_up(value: u64, unit: u64) -> u64 {
    value.div_ceil(unit) * unit
}

/// Writes zeros up to the next multiple of `unit`, `written` bytes having been written.
pub(crate) fn pad(out: &mut impl Write, written: u64, unit: u64) -> io::Result<u64> {
    let padding = round_up(written, unit) - written;
    io::copy(&mut io::repeat(0).take(padding), out)?;
    Ok(written + padding)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn sample() -> Medium<Cursor<Vec<u8>>> {
        let mut medium = Medium::new(Cursor::new((0..=255).collect()), 1 << 20);
        medium.put_source(300_000, 16, 100);
        medium.put_bytes(10, vec![7; 3]);
        medium
    }

    #[test]
    fn reads_see_holes_bytes_and_source() {
        let mut medium = sample();
        let mut buffer = [9; 6];
        medium.read_at(8, &mut buffer).unwrap();
        assert_eq!(buffer, [0, 0, 7, 7, 7, 0]);
        medium.read_at(299_998, &mut buffer).unwrap();
        assert_eq!(buffer, [0, 0, 16, 17, 18, 19]);
        medium.read_at(300_098, &mut buffer).unwrap();
        assert_eq!(buffer, [114, 115, 0, 0, 0, 0]);
        assert!(medium.has_data(0..11) && !medium.has_data(0..10) && !medium.has_data(13..300_000));
    }

    #[test]
    fn raw_is_the_same_as_reading_all() {
        let mut medium = sample();
        let mut out = Cursor::new(Vec::new());
        medium.write_raw(&mut out).unwrap();
        let mut whole = vec![1; 1 << 20];
        medium.read_at(0, &mut whole).unwrap();
        assert_eq!(out.into_inner(), whole);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlap_is_a_bug_of_the_layout() {
        sample().put_bytes(12, vec![0; 4]);
    }

    #[test]
    fn a_source_cut_short_is_an_error() {
        let mut medium = Medium::new(Cursor::new(vec![1; 10]), 4096);
        medium.put_source(0, 0, 11);
        assert!(medium.copy_to(0..4096, &mut io::sink()).is_err());
    }
}
