// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Constants of the EROFS disk layout, fs/erofs/erofs_fs.h of Linux.

/// First number of the super block.
pub const SUPER_MAGIC: u32 = 0xe0f5_e1e2;
/// Where the super block lies in the image.
pub const SUPER_OFFSET: usize = 1024;
/// Bytes of the super block.
pub const SUPER_SIZE: usize = 128;
/// Logarithm of the block size.
pub const BLOCK_BITS: u8 = 12;
/// Bytes of a block.
pub const BLOCK_SIZE: usize = 1 << BLOCK_BITS;
/// Inodes lie on multiples of this, counted by their numbers.
pub const SLOT_SIZE: u64 = 32;
/// Bytes of an inode without extended attributes.
pub const COMPACT_SIZE: usize = 32;
/// Bytes of the longer form of an inode.
pub const EXTENDED_SIZE: usize = 64;
/// Bytes of a directory entry without its name.
pub const DIRENT_SIZE: usize = 12;
/// Longest name of a directory entry.
pub const NAME_MAX: usize = 255;

/// Compatible feature: the super block has a checksum.
pub const COMPAT_SB_CHKSUM: u32 = 1;
/// Compatible feature: times are those of the last modification.
pub const COMPAT_MTIME: u32 = 2;
/// Incompatible feature: compressed data is padded in front.
pub const INCOMPAT_ZERO_PADDING: u32 = 1;

/// Layout of data: all blocks in one run.
pub const FLAT_PLAIN: u16 = 0;
/// Layout of data: the last, partial block follows the inode.
pub const FLAT_INLINE: u16 = 2;

/// Bit of the format field that tells an extended inode.
pub const FORMAT_EXTENDED: u16 = 1;
/// Where the data layout lies in the format field.
pub const FORMAT_LAYOUT_SHIFT: u16 = 1;
/// Bits of the data layout after the shift.
pub const FORMAT_LAYOUT_MASK: u16 = 7;
/// All bits of the format field that are defined.
pub const FORMAT_ALL: u16 = 0xf;

/// Offsets of the super block's fields.
pub mod super_block {
    /// u32: the magic.
    pub const MAGIC: usize = 0;
    /// u32: CRC-32C.
    pub const CHECKSUM: usize = 4;
    /// u32: features that may be ignored.
    pub const FEATURE_COMPAT: usize = 8;
    /// u8: logarithm of the block size.
    pub const BLOCK_BITS: usize = 12;
    /// u16: number of the root directory.
    pub const ROOT_NID: usize = 14;
    /// u64: number of inodes.
    pub const INODES: usize = 16;
    /// u64: seconds, the time of compact inodes.
    pub const EPOCH: usize = 24;
    /// u32: nanoseconds of the same.
    pub const EPOCH_NSEC: usize = 32;
    /// u32: number of blocks.
    pub const BLOCKS: usize = 36;
    /// u32: first block of the inodes.
    pub const META_BLOCK: usize = 40;
    /// u32: first block of shared extended attributes.
    pub const XATTR_BLOCK: usize = 44;
    /// 16 bytes.
    pub const UUID: usize = 48;
    /// 16 bytes.
    pub const VOLUME_NAME: usize = 64;
    /// u32: features that must be understood.
    pub const FEATURE_INCOMPAT: usize = 80;
    /// u16: number of devices besides this one.
    pub const EXTRA_DEVICES: usize = 86;
}

/// Offsets of the fields of both forms of an inode.
pub mod inode {
    /// u16: version and data layout.
    pub const FORMAT: usize = 0;
    /// u16: size of the extended attributes.
    pub const XATTR_COUNT: usize = 2;
    /// u16: type and permissions.
    pub const MODE: usize = 4;
    /// u32 at the same place in both: block address or device number.
    pub const UNION: usize = 16;
    /// u32: number for 32-bit stat.
    pub const INO: usize = 20;

    /// Fields of the compact form.
    pub mod compact {
        /// u16: links.
        pub const NLINK: usize = 6;
        /// u32: bytes.
        pub const SIZE: usize = 8;
        /// u16: owner.
        pub const UID: usize = 24;
        /// u16: group.
        pub const GID: usize = 26;
    }

    /// Fields of the extended form.
    pub mod extended {
        /// u64: bytes.
        pub const SIZE: usize = 8;
        /// u32: owner.
        pub const UID: usize = 24;
        /// u32: group.
        pub const GID: usize = 28;
        /// u64: seconds.
        pub const MTIME: usize = 32;
        /// u32: nanoseconds.
        pub const MTIME_NSEC: usize = 40;
        /// u32: links.
        pub const NLINK: usize = 44;
    }
}

/// Offsets of a directory entry's fields.
pub mod dirent {
    /// u64: number of the inode.
    pub const NID: usize = 0;
    /// u16: offset of the name in the block.
    pub const NAME_OFFSET: usize = 8;
    /// u8: type, one of `FT_*`.
    pub const FILE_TYPE: usize = 10;
}
