// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Inodes, mounts and path resolution, as path_resolution(7) describes them.
//!
//! A file system gives out [`Inode`]s; a [`Namespace`] joins file systems by
//! mounts and offers one operation for each system call that takes a path. Names
//! are remembered in a tree of [`Dentry`]s, so that a short path is found by a
//! few map lookups, and so that a [`Location`] can always tell its path.
//!
//! Everything that changes a directory has to go through the namespace once it
//! is mounted there, because the remembered names are not looked up again. A
//! directory that changes by itself (as /proc does) says so with
//! [`Inode::is_dynamic`].
//!
//! **Lock order**: the rename lock of the namespace; directory locks
//! (`Dentry::children`), ancestors before descendants, unrelated ones by
//! address; the place of a dentry; the locks inside of file systems; the mount
//! table, which is a leaf. Watchers are told when no lock of these is held. Directory
//! locks are held across calls into the file system, which never block.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod anonymous;
mod dentry;
mod executed;
mod filesystem;
mod flags;
mod inode;
mod inotify;
mod lock;
mod mount;
mod notify;
mod operations;
mod rename;
mod walk;
mod watches;

pub use anonymous::anonymous_location;
pub use dentry::{Dentry, Location};
pub use executed::Execution;
pub use filesystem::{FileSystem, FsStat, new_device_number};
pub use flags::{Follow, MountFlags, OpenFlags, RenameFlags};
pub use inode::{Attachment, AttributeChange, Inode, LinkTarget, SetTime, XattrMode};
pub use inotify::Inotify;
pub use lock::{FileId, Lock, LockKind, LockOwner, LockTable};
pub use mount::{Mount, Namespace, SpecialFiles};
pub use notify::{Change, changed, is_watched};
pub use operations::Opened;
pub use walk::Start;

/// Longest name of a directory entry, NAME_MAX.
pub const NAME_MAX: usize = 255;
/// Longest path with its NUL, PATH_MAX.
pub const PATH_MAX: usize = 4096;
/// Symbolic links that one resolution follows before `ELOOP`.
pub const SYMLINKS_MAX: usize = 40;
