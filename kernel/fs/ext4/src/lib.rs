// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ext4 volumes: files on a block device that outlive the machine.
//!
//! The on-disk format, the allocator and the journal are `rsext4`'s. This crate
//! puts a page cache in front of it, gives it a disk ([`disk`]) and speaks
//! `kvfs`. What a program writes waits in pages; [`Volume::write_back`], fsync(2)
//! and too many dirty pages bring it to the disk, through one journal.
//!
//! **Durability.** Contents are written before the transaction that makes them
//! reachable commits (blocks of a new range are unwritten extents until then).
//! Blocks that a transaction frees are not written by a later one before the
//! first has committed, so that after a crash a file that came back has its own
//! contents. fsync(2) commits; the commit record is behind a flush of all that it
//! names and in front of one of its own. A device without flushes has no volatile
//! cache, as the specification says.
//!
//! **Waiting.** Operations on a volume wait for the disk and for the volume under
//! the locks that they hold: they look a few times, with interrupts served in between
//! ([`Environment::relax`]), then the CPU sleeps until something ends
//! ([`Environment::sleep`]). Interrupt handlers take none of the locks of files.
//!
//! **Lock order** (all below the locks of `kvfs`): the pages of a file; the
//! volume's core; the tables of nodes and of dirty nodes; attributes, a leaf.
//!
//! **Damage.** What contradicts itself on the disk is `EIO`, is reported once,
//! and makes the volume read-only.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod attributes;
mod cache;
mod core_state;
mod directory;
mod dirty;
mod disk;
mod error;
mod file;
mod guard;
mod label;
mod mounted;
mod node;
mod range;
mod stamp;
mod volume;
mod writing;
mod xattr;

#[cfg(test)]
mod tests;

pub use disk::Disk;
pub use label::{Label, read_label};
pub use mounted::Mounted;
pub use volume::{Environment, MountError, Options, Volume};

/// Bytes of a page of the cache.
pub(crate) const PAGE: u64 = kmm::FRAME_SIZE as u64;
/// EXT4_SUPER_MAGIC of statfs(2).
pub(crate) const MAGIC: u64 = 0xef53;
