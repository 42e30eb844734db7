// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is said about volumes and the files in them.

use std::time::SystemTime;

/// The smallest volume: room for a journal and some files.
pub const MINIMUM_SIZE: u64 = 8 << 20;

/// How a volume is made.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Bytes of the image; rounded down to whole blocks of 4 KiB.
    pub size: u64,
    /// UUID of the file system.
    pub uuid: [u8; 16],
    /// Its label, 16 bytes at most; longer ones are cut.
    pub label: String,
    /// Files it can have at least; one for each 16 KiB if absent.
    pub files: Option<u64>,
    /// The time of its making; now if absent. With it, images are reproducible.
    pub timestamp: Option<SystemTime>,
}

impl CreateOptions {
    /// A volume of `size` bytes.
    #[must_use]
    pub fn new(size: u64, uuid: [u8; 16]) -> Self {
        Self { size, uuid, label: String::new(), files: None, timestamp: None }
    }

    /// The same with a label.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }

    /// The same with room for `files` files at least.
    #[must_use]
    pub fn files(mut self, files: u64) -> Self {
        self.files = Some(files);
        self
    }
}

/// What a volume is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The image is not changed. A journal is replayed in memory.
    Read,
    /// Files can be written. A journal is replayed to the image.
    Write,
}

/// What was done, and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of the same file.
    pub hard_links: u64,
    /// Bytes of contents.
    pub bytes: u64,
    /// One sentence for each thing that was left out: devices, sockets.
    pub warnings: Vec<String>,
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, pipe or socket.
    Special,
}

/// A file in a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in its directory; `/` for the root. Bytes, as Linux has it.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions, the lower 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Last change of contents, in seconds since 1970.
    pub modified: u64,
    /// Names that it has.
    pub links: u16,
    /// Where a symbolic link points.
    pub target: Option<Vec<u8>>,
}

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// UUID of the file system.
    pub uuid: [u8; 16],
    /// Its label.
    pub label: String,
    /// Bytes of the file system.
    pub size: u64,
    /// Whether the journal has to be replayed: the last user did not unmount it.
    pub needs_recovery: bool,
    /// Whether an error was found while it was mounted, so that it needs e2fsck.
    pub has_errors: bool,
    /// How much of it is used.
    pub usage: Usage,
}

/// How much of a volume is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes for contents and directories.
    pub bytes: u64,
    /// Bytes of these that are free.
    pub free_bytes: u64,
    /// Files it can have.
    pub files: u64,
    /// Files it can still get.
    pub free_files: u64,
}
