// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a superblock says (ext4's documentation, "Super Block"), and whether a volume can
//! have it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rsext4::crc32c::crc32c_append;

use crate::format::SUPERBLOCK_AT;
use crate::{Error, ErrorKind, Result, Summary, Usage};

const MAGIC: u16 = 0xef53;
const INCOMPAT_RECOVER: u32 = 0x4;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// What guests understand: FILETYPE, RECOVER, EXTENTS, 64BIT, FLEX_BG, CSUM_SEED.
const INCOMPAT: u32 = 0x2 | INCOMPAT_RECOVER | 0x40 | 0x80 | 0x200 | 0x2000;
/// SPARSE_SUPER to EXTRA_ISIZE without BTREE_DIR, METADATA_CSUM, PROJECT.
const RO_COMPAT: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | RO_COMPAT_METADATA_CSUM | 0x2000;
const COMPAT_HAS_JOURNAL: u32 = 0x4;

const INCOMPAT_NAMES: [(u32, &str); 10] = [
    (0x1, "compression"),
    (0x8, "journal_dev"),
    (0x10, "meta_bg"),
    (0x100, "mmp"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (0x4000, "large_dir"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];
const RO_COMPAT_NAMES: [(u32, &str); 7] = [
    (0x4, "btree_dir"),
    (0x80, "snapshot"),
    (0x100, "quota"),
    (0x200, "bigalloc"),
    (0x1000, "readonly"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];

/// Reads and judges the superblock of the image at `path`.
pub(crate) fn read(path: &Path, file: &File) -> Result<Summary> {
    let shown = path.display();
    let metadata =
        file.metadata().map_err(|e| Error::io(format_args!("cannot read {shown}"), e))?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::Invalid, format_args!("{shown} is not a file")));
    }
    let mut block = [0; 1024];
    match file.read_exact_at(&mut block, SUPERBLOCK_AT) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(not_ext4(path));
        }
        Err(error) => return Err(Error::io(format_args!("cannot read {shown}"), error)),
    }
    judge(path, &block, metadata.len())
}

fn not_ext4(path: &Path) -> Error {
    Error::new(ErrorKind::Invalid, format_args!("{} has no ext4 file system", path.display()))
        .advise("a volume is a raw image without partitions; kernctl volume create makes one")
}

fn judge(path: &Path, block: &[u8; 1024], length: u64) -> Result<Summary> {
    let word =
        |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let shown = path.display();
    if half(0x38) != MAGIC {
        return Err(not_ext4(path));
    }
    let (compat, incompat, ro_compat) = (word(0x5c), word(0x60), word(0x64));
    if ro_compat & RO_COMPAT_METADATA_CSUM != 0 && crc32c_append(!0, &block[..0x3fc]) != word(0x3fc)
    {
        return Err(Error::corrupt(format_args!("{shown}: its superblock is damaged")));
    }
    let unknown = unknown_features(incompat & !INCOMPAT, ro_compat & !RO_COMPAT);
    if !unknown.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format_args!("{shown} has features that are not supported: {}", unknown.join(", ")),
        )
        .advise("make the volume with kernctl volume create, and copy the files over"));
    }
    if compat & COMPAT_HAS_JOURNAL == 0 {
        return Err(Error::new(ErrorKind::Invalid, format_args!("{shown} has no journal"))
            .advise("add one: tune2fs -O has_journal"));
    }
    let shift = word(0x18);
    if shift > 2 {
        return Err(Error::new(
            ErrorKind::Invalid,
            format_args!("{shown} has blocks larger than 4 KiB"),
        ));
    }
    let block_size = 1024 << shift;
    let blocks = u64::from(word(0x04)) | u64::from(word(0x150)) << 32;
    let free_blocks = u64::from(word(0x0c)) | u64::from(word(0x158)) << 32;
    let size = blocks.checked_mul(block_size);
    let Some(size) = size.filter(|&size| size <= length && size > SUPERBLOCK_AT) else {
        return Err(Error::corrupt(format_args!(
            "{shown} is {length} bytes long, shorter than its file system"
        ))
        .advise("it was cut off; take it from a complete copy"));
    };
    let (inodes, free_inodes) = (word(0x00), word(0x10));
    // The engine divides by these and multiplies with them.
    let per_group = (u64::from(word(0x20)), u64::from(word(0x28)));
    let groups = blocks.saturating_sub(word(0x14).into()).div_ceil(per_group.0.max(1));
    let inode_size = u64::from(half(0x58));
    let sound = free_blocks <= blocks
        && free_inodes <= inodes
        && per_group.0 == 8 * block_size
        && (1..=8 * block_size).contains(&per_group.1)
        && groups.checked_mul(per_group.1) == Some(u64::from(inodes))
        && word(0x14) == u32::from(shift == 0)
        && inode_size.is_power_of_two()
        && (128..=block_size).contains(&inode_size);
    if !sound {
        return Err(Error::corrupt(format_args!("{shown}: its superblock is damaged")));
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&block[0x68..0x78]);
    let label = block[0x78..0x88].split(|&b| b == 0).next().unwrap_or_default();
    Ok(Summary {
        uuid,
        label: String::from_utf8_lossy(label).into_owned(),
        size,
        needs_recovery: incompat & INCOMPAT_RECOVER != 0,
        has_errors: half(0x3a) & 2 != 0,
        usage: Usage {
            bytes: size,
            free_bytes: free_blocks * block_size,
            files: inodes.into(),
            free_files: free_inodes.into(),
        },
    })
}

fn unknown_features(incompat: u32, ro_compat: u32) -> Vec<String> {
    let name = |bits: u32, names: &[(u32, &str)], other: &str| {
        let mut found = Vec::new();
        for bit in (0..32).map(|n| 1u32 << n).filter(|bit| bits & bit != 0) {
            found.push(match names.iter().find(|(b, _)| *b == bit) {
                Some((_, name)) => (*name).to_owned(),
                None => format!("{other} {bit:#x}"),
            });
        }
        found
    };
    let mut all = name(incompat, &INCOMPAT_NAMES, "incompatible");
    all.extend(name(ro_compat, &RO_COMPAT_NAMES, "read-only compatible"));
    all
}
