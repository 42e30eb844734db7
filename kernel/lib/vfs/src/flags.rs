// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flags of open(2), rename(2), mount(2) and of path resolution.

use bitflags::bitflags;

bitflags! {
    /// The flags of open(2), with the numbers of x86-64.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct OpenFlags: u32 {
        /// Write only.
        const WRONLY = 0o1;
        /// Read and write.
        const RDWR = 0o2;
        /// Create a missing file.
        const CREAT = 0o100;
        /// With CREAT: fail on an existing name.
        const EXCL = 0o200;
        /// Do not make it the controlling terminal.
        const NOCTTY = 0o400;
        /// Cut the file to nothing.
        const TRUNC = 0o1000;
        /// Each write goes to the end.
        const APPEND = 0o2000;
        /// Operations do not wait.
        const NONBLOCK = 0o4000;
        /// Data is on disk when a write returns.
        const DSYNC = 0o10000;
        /// SIGIO.
        const ASYNC = 0o20000;
        /// Past the page cache.
        const DIRECT = 0o40000;
        /// Offsets of 64 bits; always so.
        const LARGEFILE = 0o100000;
        /// Fail unless it is a directory.
        const DIRECTORY = 0o200000;
        /// Fail on a symbolic link at the end of the path.
        const NOFOLLOW = 0o400000;
        /// Reading does not change the access time.
        const NOATIME = 0o1000000;
        /// Close on exec.
        const CLOEXEC = 0o2000000;
        /// The attribute half of O_SYNC.
        const SYNC_ATTRIBUTES = 0o4000000;
        /// Only a place in the tree, no access to the contents.
        const PATH = 0o10000000;
        /// An unnamed file; O_TMPFILE is this and DIRECTORY.
        const TMPFILE = 0o20000000;
        /// Bits without a meaning are dropped by the caller.
        const _ = !0;
    }
}

impl OpenFlags {
    /// O_RDONLY.
    pub const RDONLY: Self = Self::empty();

    /// True for O_RDONLY and O_RDWR.
    pub fn readable(self) -> bool {
        !self.contains(Self::PATH) && !self.contains(Self::WRONLY)
    }

    /// True for O_WRONLY and O_RDWR.
    pub fn writable(self) -> bool {
        !self.contains(Self::PATH) && self.intersects(Self::WRONLY.union(Self::RDWR))
    }
}

bitflags! {
    /// The flags of renameat2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// Fail with `EEXIST` when the new name exists.
        const NOREPLACE = 1;
        /// Swap the two names.
        const EXCHANGE = 2;
        /// Leave a whiteout behind.
        const WHITEOUT = 4;
        /// Other bits: `EINVAL`.
        const _ = !0;
    }
}

bitflags! {
    /// Flags of a mount, with the numbers of mount(2) and statvfs(3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// Read only.
        const RDONLY = 1;
        /// Ignore set-user-ID bits.
        const NOSUID = 2;
        /// Device nodes do not open.
        const NODEV = 4;
        /// No program runs from here.
        const NOEXEC = 8;
        /// Access times stay.
        const NOATIME = 1024;
        /// Access times move only when they have to.
        const RELATIME = 1 << 21;
    }
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It is.
    Yes,
    /// It is not: AT_SYMLINK_NOFOLLOW. With a trailing slash it is nevertheless.
    No,
}
