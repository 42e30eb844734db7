// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Inodes and their data.

use super::layout::{
    BLOCK_BITS, BLOCK_SIZE, COMPACT_SIZE, EXTENDED_SIZE, FLAT_INLINE, FLAT_PLAIN, FORMAT_ALL,
    FORMAT_EXTENDED, FORMAT_LAYOUT_MASK, FORMAT_LAYOUT_SHIFT, inode as at,
};
use super::{Entries, Error, Image, Nid};
use crate::bytes::{u16_at, u32_at, u64_at};
use core::ops::Range;

const S_IFMT: u16 = 0o170_000;

/// What an inode is; the values are the `S_IFMT` bits of inode(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Kind {
    /// Named pipe.
    Fifo = 0o010_000,
    /// Character device.
    CharDevice = 0o020_000,
    /// Directory.
    Directory = 0o040_000,
    /// Block device.
    BlockDevice = 0o060_000,
    /// Regular file.
    Regular = 0o100_000,
    /// Symbolic link.
    Symlink = 0o120_000,
    /// Socket.
    Socket = 0o140_000,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Regular,
        Self::Directory,
        Self::CharDevice,
        Self::BlockDevice,
        Self::Fifo,
        Self::Socket,
        Self::Symlink,
    ];

    /// From the type bits of a mode.
    pub fn from_mode(mode: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|&k| k as u16 == mode & S_IFMT)
    }

    /// The type of a directory entry on disk, `FT_*`.
    pub fn file_type(self) -> u8 {
        Self::ALL.iter().zip(1..).find_map(|(&k, t)| (k == self).then_some(t)).unwrap_or(0)
    }

    /// From the type of a directory entry on disk.
    pub fn from_file_type(file_type: u8) -> Option<Self> {
        Self::ALL.get(usize::from(file_type).checked_sub(1)?).copied()
    }
}

/// A run of a file's bytes in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub file_offset: u64,
    /// Place in the image, in bytes.
    pub image: Range<usize>,
}

/// An inode; its data was checked to lie within the image.
#[derive(Clone, Copy, Debug)]
pub struct Inode<'a> {
    nid: Nid,
    mode: u16,
    kind: Kind,
    links: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: u64,
    mtime_nsec: u32,
    device: u32,
    head_at: usize,
    head: &'a [u8],
    tail_at: usize,
    tail: &'a [u8],
}

impl<'a> Inode<'a> {
    pub(super) fn parse(image: &Image<'a>, nid: Nid, start: usize) -> Result<Self, Error> {
        let raw = image.slice(start, COMPACT_SIZE)?;
        let format = u16_at(raw, at::FORMAT).ok_or(Error::Truncated)?;
        if format & !FORMAT_ALL != 0 {
            return Err(Error::Unsupported("an unknown inode format"));
        }
        let mode = u16_at(raw, at::MODE).ok_or(Error::Truncated)?;
        let kind = Kind::from_mode(mode).ok_or(Error::Corrupt("file type"))?;
        let extended = format & FORMAT_EXTENDED != 0;
        let len = if extended { EXTENDED_SIZE } else { COMPACT_SIZE };
        let mut inode = Self {
            nid,
            mode,
            kind,
            links: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: image.epoch,
            mtime_nsec: image.epoch_nsec,
            device: 0,
            head_at: 0,
            head: &[],
            tail_at: 0,
            tail: &[],
        };
        let raw = image.slice(start, len)?;
        let read = if extended { inode.read_extended(raw) } else { inode.read_compact(raw) };
        read.ok_or(Error::Truncated)?;
        let count = u16_at(raw, at::XATTR_COUNT).ok_or(Error::Truncated)?;
        let xattrs = if count == 0 { 0 } else { 12 + 4 * (usize::from(count) - 1) };
        let union = u32_at(raw, at::UNION).ok_or(Error::Truncated)?;
        let tail_at = start.checked_add(len + xattrs).ok_or(Error::Truncated)?;
        match kind {
            Kind::Regular | Kind::Directory | Kind::Symlink => {
                let layout = (format >> FORMAT_LAYOUT_SHIFT) & FORMAT_LAYOUT_MASK;
                inode.locate(image, layout, union, tail_at)?;
            }
            Kind::CharDevice | Kind::BlockDevice => inode.device = union,
            Kind::Fifo | Kind::Socket => {}
        }
        Ok(inode)
    }

    fn read_compact(&mut self, raw: &[u8]) -> Option<()> {
        use at::compact as c;
        self.links = u16_at(raw, c::NLINK)?.into();
        self.size = u32_at(raw, c::SIZE)?.into();
        self.uid = u16_at(raw, c::UID)?.into();
        self.gid = u16_at(raw, c::GID)?.into();
        Some(())
    }

    fn read_extended(&mut self, raw: &[u8]) -> Option<()> {
        use at::extended as e;
        self.links = u32_at(raw, e::NLINK)?;
        self.size = u64_at(raw, e::SIZE)?;
        self.uid = u32_at(raw, e::UID)?;
        self.gid = u32_at(raw, e::GID)?;
        self.mtime = u64_at(raw, e::MTIME)?;
        self.mtime_nsec = u32_at(raw, e::MTIME_NSEC)?;
        Some(())
    }

    /// Finds the data: whole blocks in one run, and for the inline layout the
    /// last block, full or not, behind the inode.
    fn locate(
        &mut self,
        image: &Image<'a>,
        layout: u16,
        block: u32,
        tail_at: usize,
    ) -> Result<(), Error> {
        let size = usize::try_from(self.size).map_err(|_| Error::Corrupt("file size"))?;
        let head = match layout {
            FLAT_PLAIN => size,
            FLAT_INLINE => size.saturating_sub(1) & !(BLOCK_SIZE - 1),
            _ => return Err(Error::Unsupported("compressed or chunked files")),
        };
        if head > 0 {
            self.head_at = usize::try_from(u64::from(block) << BLOCK_BITS)
                .map_err(|_| Error::Corrupt("block address"))?;
            self.head = image.slice(self.head_at, head)?;
        }
        if head < size {
            let len = size - head;
            if tail_at % BLOCK_SIZE + len > BLOCK_SIZE {
                return Err(Error::Corrupt("inline data crosses a block"));
            }
            self.tail_at = tail_at;
            self.tail = image.slice(tail_at, len)?;
        }
        Ok(())
    }

    /// Its number in the image.
    pub fn nid(&self) -> Nid {
        self.nid
    }

    /// Type and permissions, as `st_mode`.
    pub fn mode(&self) -> u16 {
        self.mode
    }

    /// The permission bits of the mode, with set-id and sticky bits.
    pub fn permissions(&self) -> u16 {
        self.mode & !S_IFMT
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of names.
    pub fn links(&self) -> u32 {
        self.links
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Bytes of data.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Time of the last modification: seconds and nanoseconds.
    pub fn mtime(&self) -> (u64, u32) {
        (self.mtime, self.mtime_nsec)
    }

    /// Major and minor number of a device node.
    pub fn device(&self) -> (u32, u32) {
        // new_encode_dev() of Linux: minor bits 0-7, major 8-19, minor 20-31.
        ((self.device >> 8) & 0xfff, (self.device & 0xff) | ((self.device >> 12) & 0xf_ff00))
    }

    /// The data as two slices, the second of which follows the first.
    pub fn data(&self) -> (&'a [u8], &'a [u8]) {
        (self.head, self.tail)
    }

    /// The data in place, when it is one run of the image.
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        match (self.head, self.tail) {
            (head, []) => Some(head),
            ([], tail) => Some(tail),
            _ => None,
        }
    }

    /// Where the data lies in the image, in the file's order. An extent whose
    /// start is a multiple of the page size can be mapped in place.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + use<> {
        let head = Extent { file_offset: 0, image: self.head_at..self.head_at + self.head.len() };
        let tail = Extent {
            file_offset: self.head.len() as u64,
            image: self.tail_at..self.tail_at + self.tail.len(),
        };
        [head, tail].into_iter().filter(|e| !e.image.is_empty())
    }

    /// The longest run of data from `offset` that lies in one piece; empty at
    /// the end of the file.
    pub fn data_at(&self, offset: u64) -> &'a [u8] {
        let Ok(offset) = usize::try_from(offset) else { return &[] };
        match self.head.get(offset..) {
            Some(run) if !run.is_empty() => run,
            _ => offset
                .checked_sub(self.head.len())
                .and_then(|o| self.tail.get(o..))
                .unwrap_or_default(),
        }
    }

    /// Where a symbolic link leads to.
    pub fn target(&self) -> Result<&'a [u8], Error> {
        if self.kind != Kind::Symlink {
            return Err(Error::NotSymlink);
        }
        // Linux's limit is PATH_MAX, one block, so that it is one run.
        let target = self.contiguous().filter(|t| t.len() < BLOCK_SIZE);
        match target {
            Some(t) if !t.is_empty() && !t.contains(&0) => Ok(t),
            _ => Err(Error::Corrupt("symbolic link")),
        }
    }

    /// The entries of a directory from `position` on: 0, or what
    /// [`Entries::position`] gave.
    pub fn entries(&self, position: u64) -> Result<Entries<'a>, Error> {
        Entries::new(self, position)
    }
}
