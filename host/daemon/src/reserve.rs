// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Room on the disk that is kept for the database. A guest can fill the disk through its sparse
//! volume; whoever then stops or removes it needs a little room first, to write that down.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate};

/// As much is kept.
const SIZE: u64 = 2 << 20;
/// As much is given up at a time, since a guest that still runs may be faster than we are.
const PIECE: u64 = 256 << 10;
/// It is made again when so much is free: there is room for others, too.
const ROOM: u64 = 2 * SIZE;

/// A file that takes up room until that is needed.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    /// What it takes up now.
    size: u64,
}

impl Reserve {
    /// The reserve at `path`, as large as it was left; it is filled up when there is room.
    pub(crate) fn new(path: PathBuf) -> Self {
        let size = std::fs::metadata(&path).map_or(0, |found| found.len().min(SIZE));
        let mut reserve = Self { path, size };
        reserve.fill_up();
        reserve
    }

    /// Gives a piece of it up; false when there is none.
    pub(crate) fn give(&mut self) -> bool {
        let left = self.size.saturating_sub(PIECE);
        let given = self.size > 0
            && OpenOptions::new()
                .write(true)
                .open(&self.path)
                .and_then(|file| file.set_len(left))
                .is_ok();
        self.size = if given { left } else { 0 };
        if given {
            tracing::warn!(left, "the disk is full: the database takes from the reserve");
        }
        given
    }

    /// Makes what was given up again, when there is room.
    pub(crate) fn fill_up(&mut self) {
        if self.size == SIZE || self.room() < ROOM {
            return;
        }
        match self.allocate() {
            Ok(()) => self.size = SIZE,
            Err(error) => {
                tracing::debug!(%error, "there is no reserve for the database");
                let _ = File::options()
                    .write(true)
                    .open(&self.path)
                    .and_then(|file| file.set_len(self.size));
            }
        }
    }

    fn room(&self) -> u64 {
        let directory = self.path.parent().unwrap_or(&self.path);
        rustix::fs::statvfs(directory)
            .map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn allocate(&self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, SIZE) {
            // Not every file system can: fallocate(2).
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                file.write_all(&vec![0; SIZE as usize])
            }
            done => Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn it_takes_up_room_and_gives_it_up_in_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reserve");
        let mut reserve = Reserve::new(path.clone());
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.len(), found.mode() & 0o777), (SIZE, 0o600));
        assert!(found.blocks() * 512 >= SIZE);
        let mut pieces = 0;
        while reserve.give() {
            pieces += 1;
            assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE - pieces * PIECE);
        }
        assert_eq!(pieces, SIZE / PIECE);
        reserve.fill_up();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE);
    }
}
