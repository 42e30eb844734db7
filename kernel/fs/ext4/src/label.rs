// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The superblock's name tags, read without mounting: who is on this disk?

use crate::disk::Disk;
use alloc::format;
use alloc::string::String;
use kio::Errno;

/// What a superblock says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The volume's name, possibly empty; `mkfs.ext4 -L`.
    pub name: String,
    /// The volume's UUID in lower case, as `LABEL` tools print it.
    pub uuid: String,
    /// Files are mapped by extents: it is ext4, and not one of its ancestors.
    pub extents: bool,
}

pub(crate) const SUPERBLOCK_AT: u64 = 1024;
const MAGIC_AT: usize = 0x38;
const FEATURE_INCOMPAT_AT: usize = 0x60;
const UUID_AT: usize = 0x68;
const NAME_AT: usize = 0x78;
const NAME_LEN: usize = 16;
const INCOMPAT_EXTENTS: u32 = 0x40;

/// The superblock of the disk: 4 KiB from its start on.
pub(crate) fn read_start(disk: &mut Disk) -> Result<[u8; 1024], Errno> {
    let mut start = alloc::vec![0; 4096];
    disk.read_at(0, &mut start)?;
    let mut block = [0; 1024];
    block.copy_from_slice(&start[SUPERBLOCK_AT as usize..2048]);
    Ok(block)
}

/// Little-endian words of a record; zero behind its end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// True when the journal has something that belongs into the file system.
pub(crate) fn needs_recovery(disk: &mut Disk) -> Result<bool, Errno> {
    const INCOMPAT_RECOVER: u32 = 4;
    let block = read_start(disk)?;
    Ok(u32_at(&block, FEATURE_INCOMPAT_AT) & INCOMPAT_RECOVER != 0)
}

/// Reads the tags; `Ok(None)` when there is no ext2, ext3 or ext4 file system.
pub fn read_label(disk: &mut Disk) -> Result<Option<Label>, Errno> {
    let block = read_start(disk)?;
    if u64::from(u16_at(&block, MAGIC_AT)) != crate::MAGIC {
        return Ok(None);
    }
    let name = &block[NAME_AT..NAME_AT + NAME_LEN];
    let name = name.split(|b| *b == 0).next().unwrap_or_default();
    let mut uuid = String::new();
    for (index, byte) in block[UUID_AT..UUID_AT + 16].iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            uuid.push('-');
        }
        uuid.push_str(&format!("{byte:02x}"));
    }
    Ok(Some(Label {
        name: String::from_utf8_lossy(name).into_owned(),
        uuid,
        extents: u32_at(&block, FEATURE_INCOMPAT_AT) & INCOMPAT_EXTENTS != 0,
    }))
}
