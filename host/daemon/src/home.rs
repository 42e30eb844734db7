// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon's directory: who may see it, who owns it, what lies where.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bhojpur_api::Code;
use bhojpur_provider::{ImageId, InstanceId, Kind, VolumeId};
use rustix::fs::{FlockOperation, flock};

use crate::{Error, Result, secret};

/// The directory of one daemon, held by it alone.
#[derive(Debug)]
pub(crate) struct Home {
    root: PathBuf,
    /// Locked as long as we live: flock(2).
    _lock: File,
}

impl Home {
    /// Makes what is missing, takes the lock, and empties `tmp/`.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        make(root)?;
        // Whoever made it before may have been less careful.
        fs::set_permissions(root, Permissions::from_mode(0o700))
            .map_err(|error| Error::io(format!("cannot protect {}", root.display()), &error))?;
        let root = root
            .canonicalize()
            .map_err(|error| Error::io(format!("cannot use {}", root.display()), &error))?;
        let lock = lock(&root)?;
        let home = Self { root, _lock: lock };
        for name in ["images", "volumes", "instances", "snapshots", "tmp", "cache", "tls"] {
            make(&home.root.join(name))?;
        }
        empty(&home.temporary())?;
        Ok(home)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// Room that is kept for the database.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn image(&self, id: &ImageId) -> PathBuf {
        self.images().join(id.as_str()).join("kernel.elf")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn volume(&self, id: &VolumeId) -> PathBuf {
        self.volumes().join(id.as_str()).join("disk.raw")
    }

    /// Where a provider keeps the directories of its instances.
    pub(crate) fn instances(&self, provider: Kind) -> PathBuf {
        self.root.join("instances").join(provider.name())
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn snapshots_of(&self, id: &InstanceId) -> PathBuf {
        self.snapshots().join(id.as_str())
    }

    /// What no database knew. Made when there is something to put there.
    pub(crate) fn lost(&self) -> PathBuf {
        self.root.join("lost")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    pub(crate) fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// A new directory for something half-made. It is removed when it is dropped, and at the
    /// next start when we do not get that far.
    pub(crate) fn scratch(&self) -> Result<Scratch> {
        let name = secret::hexadecimal(&secret::random::<8>()?);
        let path = self.temporary().join(name);
        make(&path)?;
        Ok(Scratch(path))
    }

    /// Bytes that may still be written to the disk of this directory.
    pub(crate) fn free(&self) -> u64 {
        rustix::fs::statvfs(&self.root)
            .map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// A directory for something half-made.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is removed at the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a directory that only we can look into, and those above it.
pub(crate) fn make(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::io(format!("cannot make {}", path.display()), &error))
}

/// Moves `from` to `to`, so that it stays after a loss of power. Both lie on one disk.
pub(crate) fn settle(from: &Path, to: &Path) -> Result<()> {
    let moved = || -> io::Result<()> {
        File::open(from)?.sync_all()?;
        fs::rename(from, to)?;
        match to.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    moved().map_err(|error| Error::io(format!("cannot make {}", to.display()), &error))
}

/// Removes a file or a directory with all that is in it; that it is gone already is as good.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

fn empty(directory: &Path) -> Result<()> {
    let unreadable = |error| Error::io(format!("cannot read {}", directory.display()), &error);
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        remove(&entry.map_err(unreadable)?.path())?;
    }
    Ok(())
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("daemon.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Error::io(format!("cannot open {}", path.display()), &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let owner = fs::read_to_string(&path).unwrap_or_default();
            let message =
                format!("another daemon, process {}, works in {}", owner.trim(), root.display());
            return Err(Error::new(Code::Conflict, message)
                .advise("use that one, end it first, or choose another directory"));
        }
        Err(error) => {
            return Err(Error::io(format!("cannot lock {}", path.display()), &error.into()));
        }
    }
    // Only for people: that it cannot be written, on a full disk, does not matter.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_daemon_and_nobody_else_looks_into_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("home");
        let home = Home::open(&root).unwrap();
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        let second = Home::open(&root).unwrap_err();
        assert_eq!(second.code(), Code::Conflict);
        assert!(second.to_string().contains(&std::process::id().to_string()));
        fs::write(home.temporary().join("half"), "x").unwrap();
        drop(home);
        let home = Home::open(&root).unwrap();
        assert_eq!(fs::read_dir(home.temporary()).unwrap().count(), 0);
    }

    #[test]
    fn scratch_goes_away() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path()).unwrap();
        let scratch = home.scratch().unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
        remove(&path).unwrap();
    }
}
