// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes as ext4 disk images: made, filled, read and checked without a mount.
//!
//! An image is a plain sparse file with one ext4 file system that fills it, without a
//! partition table. No tool, no privilege and no kernel driver is needed, so it works
//! alike on Linux and macOS; the guest, Linux, `debugfs` and `e2fsck` understand the result.
//!
//! ```no_run
//! use bhojpur_volume::{Access, CreateOptions, Volume, size_for_tar};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let size = size_for_tar(std::fs::File::open("site.tar")?)?.image_size();
//! let options = CreateOptions::new(size, [7; 16]).label("site");
//! let report = Volume::create_filled("disk.raw".as_ref(), &options, |volume| {
//!     volume.write_tar("/", std::io::empty())
//! })?;
//! let mut volume = Volume::open("disk.raw".as_ref(), Access::Read)?;
//! volume.read_tar("/www", std::io::stdout())?;
//! # Ok(()) }
//! ```
//!
//! **Blocking.** All calls block and may take long; a daemon gives them a thread.
//!
//! **Exclusion.** A volume opened for writing is locked against other openers and against
//! QEMU (its image locks); opened for reading, against writers. Which instance has a volume
//! is the caller's knowledge: not all monitors lock.
#![forbid(unsafe_code)]

mod error;
mod volume;

pub use error::{Error, ErrorKind, Result};
pub use volume::{
    Access, CreateOptions, Entry, EntryKind, Estimate, MINIMUM_SIZE, Report, Summary, Usage,
    Volume, check, size_for_directory, size_for_tar,
};
