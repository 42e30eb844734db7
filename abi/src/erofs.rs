// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The layout of uncompressed EROFS images, and a reader that checks it.
//!
//! Specification: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h
//! of Linux. Read are blocks of 4 KiB, compact and extended inodes, and the
//! layouts `FLAT_PLAIN` and `FLAT_INLINE`; extended attributes are passed
//! over. Images that need more are refused with [`Error::Unsupported`].
//!
//! The image is any byte slice; nothing is believed before it is checked, and
//! each loop is bounded by the size of what it walks over.

pub mod layout;

mod directory;
mod inode;
#[cfg(test)]
mod tests;

pub use directory::{Entries, Entry};
pub use inode::{Extent, Inode, Kind};

use crate::bytes::{array, slice, u16_at, u32_at, u64_at};
use crate::crc32c;
use core::fmt;
use layout::{BLOCK_BITS, BLOCK_SIZE, SLOT_SIZE, SUPER_MAGIC, SUPER_OFFSET, super_block};

/// Number of an inode: its place in slots of 32 bytes.
pub type Nid = u64;

/// Why an image, or a part of it, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no EROFS super block.
    Magic,
    /// The image uses something that this reader does not read.
    Unsupported(&'static str),
    /// The checksum of the super block does not match.
    Checksum,
    /// The image ends before what it describes.
    Truncated,
    /// It contradicts itself.
    Corrupt(&'static str),
    /// A directory was asked for, and it is something else.
    NotDirectory,
    /// A symbolic link was asked for, and it is something else.
    NotSymlink,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("not an EROFS image"),
            Self::Unsupported(what) => write!(f, "EROFS image uses {what}, which is not supported"),
            Self::Checksum => f.write_str("EROFS super block has a wrong checksum"),
            Self::Truncated => f.write_str("EROFS image is cut short"),
            Self::Corrupt(what) => write!(f, "EROFS image is damaged: {what}"),
            Self::NotDirectory => f.write_str("not a directory"),
            Self::NotSymlink => f.write_str("not a symbolic link"),
        }
    }
}

impl core::error::Error for Error {}

/// An image whose super block was checked.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    root: Nid,
    inodes: u64,
    blocks: u32,
    meta_start: u64,
    epoch: u64,
    epoch_nsec: u32,
    uuid: [u8; 16],
    volume_name: [u8; 16],
}

impl<'a> Image<'a> {
    /// Checks the super block of the image at the front of `bytes`.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        use super_block as sb;
        let block = bytes.get(SUPER_OFFSET..).ok_or(Error::Truncated)?;
        if u32_at(block, sb::MAGIC).ok_or(Error::Truncated)? != SUPER_MAGIC {
            return Err(Error::Magic);
        }
        let block = block.get(..BLOCK_SIZE - SUPER_OFFSET).ok_or(Error::Truncated)?;
        let u16_of = |at| u16_at(block, at).ok_or(Error::Truncated);
        let u32_of = |at| u32_at(block, at).ok_or(Error::Truncated);
        let u64_of = |at| u64_at(block, at).ok_or(Error::Truncated);
        if block.get(sb::BLOCK_BITS) != Some(&BLOCK_BITS) {
            return Err(Error::Unsupported("a block size other than 4096"));
        }
        if u32_of(sb::FEATURE_COMPAT)? & layout::COMPAT_SB_CHKSUM != 0 {
            check_crc(block, u32_of(sb::CHECKSUM)?)?;
        }
        // Bit 0 tells how compressed data is padded; there is none here.
        if u32_of(sb::FEATURE_INCOMPAT)? & !layout::INCOMPAT_ZERO_PADDING != 0 {
            return Err(Error::Unsupported("an incompatible feature"));
        }
        if u16_of(sb::EXTRA_DEVICES)? != 0 {
            return Err(Error::Unsupported("a second device"));
        }
        let image = Self {
            bytes,
            root: u16_of(sb::ROOT_NID)?.into(),
            inodes: u64_of(sb::INODES)?,
            blocks: u32_of(sb::BLOCKS)?,
            meta_start: u64::from(u32_of(sb::META_BLOCK)?) << BLOCK_BITS,
            epoch: u64_of(sb::EPOCH)?,
            epoch_nsec: u32_of(sb::EPOCH_NSEC)?,
            uuid: array(block, sb::UUID).ok_or(Error::Truncated)?,
            volume_name: array(block, sb::VOLUME_NAME).ok_or(Error::Truncated)?,
        };
        if image.size() > bytes.len() as u64 {
            return Err(Error::Truncated);
        }
        Ok(image)
    }

    /// All bytes that the image was opened with.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the image as its super block counts them.
    pub fn size(&self) -> u64 {
        u64::from(self.blocks) << BLOCK_BITS
    }

    /// Number of inodes, for statfs(2).
    pub fn inode_count(&self) -> u64 {
        self.inodes
    }

    /// Number of blocks of 4 KiB, for statfs(2).
    pub fn block_count(&self) -> u32 {
        self.blocks
    }

    /// The volume's identity.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The volume's name without its padding.
    pub fn volume_name(&self) -> &[u8] {
        let end = self.volume_name.iter().position(|&b| b == 0).unwrap_or(16);
        self.volume_name.get(..end).unwrap_or_default()
    }

    /// Number of the root directory.
    pub fn root_nid(&self) -> Nid {
        self.root
    }

    /// The root directory.
    pub fn root(&self) -> Result<Inode<'a>, Error> {
        let root = self.inode(self.root)?;
        if root.kind() == Kind::Directory { Ok(root) } else { Err(Error::NotDirectory) }
    }

    /// The inode with this number.
    pub fn inode(&self, nid: Nid) -> Result<Inode<'a>, Error> {
        let at = nid
            .checked_mul(SLOT_SIZE)
            .and_then(|o| o.checked_add(self.meta_start))
            .and_then(|o| usize::try_from(o).ok())
            .ok_or(Error::Corrupt("inode number"))?;
        Inode::parse(self, nid, at)
    }

    /// The entry `name` of a directory.
    pub fn lookup(&self, directory: &Inode<'a>, name: &[u8]) -> Result<Option<Entry<'a>>, Error> {
        directory::lookup(directory, name)
    }

    /// The inode at `path` from the root, with no symbolic link followed;
    /// `None` if there is no such name. Empty parts and `.` are passed over.
    pub fn walk(&self, path: &[u8]) -> Result<Option<Inode<'a>>, Error> {
        let mut inode = self.root()?;
        for part in path.split(|&b| b == b'/').filter(|p| !p.is_empty() && *p != b".") {
            let Some(entry) = self.lookup(&inode, part)? else { return Ok(None) };
            inode = self.inode(entry.nid)?;
        }
        Ok(Some(inode))
    }

    fn slice(&self, at: usize, len: usize) -> Result<&'a [u8], Error> {
        slice(self.bytes, at, len).ok_or(Error::Truncated)
    }
}

/// The checksum covers the first block from the super block on, with the
/// checksum's own field as zero, and is not inverted at the end.
fn check_crc(block: &[u8], expected: u32) -> Result<(), Error> {
    let (head, tail) = block.split_at_checked(8).ok_or(Error::Truncated)?;
    let head = head.get(..super_block::CHECKSUM).ok_or(Error::Truncated)?;
    let crc = crc32c::update(crc32c::update(crc32c::update(!0, head), &[0; 4]), tail);
    if crc == expected { Ok(()) } else { Err(Error::Checksum) }
}
