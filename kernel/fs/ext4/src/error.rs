// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of the file system's core as errors of system calls.

use kio::Errno;
use rsext4::{Ext4Error, Ext4ErrorKind};

/// The error number of Linux's ext4 for the same thing.
pub(crate) fn errno(error: Ext4Error) -> Errno {
    match error.kind() {
        Ext4ErrorKind::UnsupportedFeature
        | Ext4ErrorKind::UnsupportedCapability
        | Ext4ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        Ext4ErrorKind::ReadOnly => Errno::EROFS,
        Ext4ErrorKind::NoSpace | Ext4ErrorKind::QuotaExceeded => Errno::ENOSPC,
        Ext4ErrorKind::NoMemory => Errno::ENOMEM,
        Ext4ErrorKind::TooManyLinks => Errno::EMLINK,
        Ext4ErrorKind::PermissionDenied => Errno::EPERM,
        Ext4ErrorKind::NotFound => Errno::ENOENT,
        Ext4ErrorKind::AlreadyExists => Errno::EEXIST,
        Ext4ErrorKind::NotDirectory => Errno::ENOTDIR,
        Ext4ErrorKind::IsDirectory => Errno::EISDIR,
        Ext4ErrorKind::NotEmpty => Errno::ENOTEMPTY,
        Ext4ErrorKind::Busy => Errno::EBUSY,
        Ext4ErrorKind::BadFileDescriptor => Errno::EBADF,
        Ext4ErrorKind::InvalidInput => Errno::EINVAL,
        Ext4ErrorKind::Overflow => Errno::EOVERFLOW,
        Ext4ErrorKind::FileTooLarge => Errno::EFBIG,
        Ext4ErrorKind::Io
        | Ext4ErrorKind::Corrupted
        | Ext4ErrorKind::ChecksumMismatch
        | Ext4ErrorKind::JournalAborted
        | Ext4ErrorKind::Timeout
        | Ext4ErrorKind::BadSuperblock
        | Ext4ErrorKind::InvalidMagic => Errno::EIO,
    }
}

/// True when nothing may be written any more: the disk failed, or what is on it
/// contradicts itself.
pub(crate) fn is_damage(error: Ext4Error) -> bool {
    matches!(
        error.kind(),
        Ext4ErrorKind::Io
            | Ext4ErrorKind::Corrupted
            | Ext4ErrorKind::ChecksumMismatch
            | Ext4ErrorKind::JournalAborted
            | Ext4ErrorKind::BadSuperblock
            | Ext4ErrorKind::InvalidMagic
    )
}
