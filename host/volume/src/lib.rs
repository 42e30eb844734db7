// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes as ext4 disk images: made, filled, read and checked without a mount.
//!
//! An image is a plain sparse file with one ext4 file system that fills it, without a
//! partition table. No tool, no privilege and no kernel driver is needed, so it works
//! alike on Linux and macOS; the guest, Linux, `debugfs` and `e2fsck` understand the result.
//!
//! ```no_run
//! use bhojpur_volume::{Access, Volume, size_for_tar};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let estimate = size_for_tar(std::fs::File::open("site.tar")?)?;
//! let archive = std::fs::File::open("site.tar")?;
//! let options = estimate.options([7; 16]).label("site");
//! let report = Volume::create_filled("disk.raw".as_ref(), &options, |volume| {
//!     volume.write_tar("/", archive)
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

mod core;
mod disk;
mod error;
mod estimate;
mod format;
mod host;
mod layout;
mod lock;
mod model;
mod pack;
mod room;
mod stream;
mod superblock;
mod tree;
mod unpack;
mod volume;

pub use error::{Error, ErrorKind, Result};
pub use estimate::Estimate;
pub use model::{Access, CreateOptions, Entry, EntryKind, MINIMUM_SIZE, Report, Summary, Usage};
pub use volume::{Volume, check, size_for_directory, size_for_tar};
