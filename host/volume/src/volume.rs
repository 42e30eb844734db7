// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A volume: the calls that the rest of the product makes.

use std::io::{Read, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::{Error, ErrorKind, Result};

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

/// What a tree of files needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of contents and directories, in whole blocks.
    pub bytes: u64,
    /// Files, directories and links.
    pub files: u64,
}

impl Estimate {
    /// The size of an image with room for the tree and as much again, a fifth at least.
    #[must_use]
    pub fn image_size(&self) -> u64 {
        self.bytes.max(MINIMUM_SIZE)
    }
}

/// An open volume.
#[derive(Debug)]
pub struct Volume {}

fn missing() -> Error {
    Error::new(ErrorKind::Invalid, "volumes cannot be made yet")
}

impl Volume {
    /// Makes an empty volume at `path`, which appears whole or not at all, and opens it for
    /// writing.
    pub fn create(_path: &Path, _options: &CreateOptions) -> Result<Self> {
        Err(missing())
    }

    /// Makes a volume and fills it; `path` appears when `fill` and all that it wrote is done.
    pub fn create_filled<T>(
        _path: &Path,
        _options: &CreateOptions,
        _fill: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        Err(missing())
    }

    /// Opens the volume at `path`.
    pub fn open(_path: &Path, _access: Access) -> Result<Self> {
        Err(missing())
    }

    /// How much of it is used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { bytes: 0, free_bytes: 0, files: 0, free_files: 0 }
    }

    /// Unpacks a tar stream below the directory `at`, which is made if it is not there. What
    /// has the name of something in the stream is replaced.
    pub fn write_tar(&mut self, _at: &str, _source: impl Read) -> Result<Report> {
        Err(missing())
    }

    /// Copies what is in the directory `source` of this machine below the directory `at`.
    pub fn write_directory(&mut self, _at: &str, _source: &Path) -> Result<Report> {
        Err(missing())
    }

    /// Packs the file or directory `at` as a tar stream. Names in it begin with the last part
    /// of `at`; with nothing for the root.
    pub fn read_tar(&mut self, _at: &str, _sink: impl Write) -> Result<Report> {
        Err(missing())
    }

    /// What is in the directory `at`, by name.
    pub fn list(&mut self, _at: &str) -> Result<Vec<Entry>> {
        Err(missing())
    }

    /// The file at `at`, not following a symbolic link in its last part.
    pub fn stat(&mut self, _at: &str) -> Result<Entry> {
        Err(missing())
    }

    /// Brings all to the image and ends. Dropping does the same, without telling of errors.
    pub fn close(self) -> Result<()> {
        Err(missing())
    }
}

/// Looks at the image at `path`: is it an ext4 file system that volumes can be, is it clean.
pub fn check(_path: &Path) -> Result<Summary> {
    Err(missing())
}

/// What the files of a tar stream need.
pub fn size_for_tar(_source: impl Read) -> Result<Estimate> {
    Err(missing())
}

/// What the files below a directory of this machine need.
pub fn size_for_directory(_source: &Path) -> Result<Estimate> {
    Err(missing())
}
