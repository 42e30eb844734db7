// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Advisory locks of descriptors: the tables of fcntl(2) and flock(2), and what
//! closing gives up.

use crate::files::OpenFile;
use kio::Result;
use kvfs::{FileId, LockOwner, LockTable};

/// Byte ranges, by fcntl(2): of processes and of open file descriptions.
pub static RECORDS: LockTable = LockTable::new();
/// Whole files, by flock(2).
pub static WHOLE: LockTable = LockTable::new();

/// What locks of the file behind `open` are kept under.
pub fn file_id(open: &OpenFile) -> Result<FileId> {
    open.stat().map(|stat| (stat.device, stat.inode))
}

/// A process closed one of its descriptors of the file: fcntl_locking(2) says
/// that all its locks on it go, whatever descriptor took them.
pub fn release_process(open: &OpenFile, process: u32) {
    if let Ok(file) = file_id(open) {
        RECORDS.release(file, LockOwner::Process(process));
    }
}

/// The last descriptor of a description is gone.
pub fn release_description(open: &OpenFile) {
    if let Ok(file) = file_id(open) {
        let owner = LockOwner::Description(open.identity());
        RECORDS.release(file, owner);
        WHOLE.release(file, owner);
    }
}
