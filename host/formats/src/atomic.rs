// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A file that appears under its name only when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this program is to end without another file.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// Lets all files that are being written fail, so that whoever writes them comes to an end soon
/// and nothing half-written stays: for a program that was told to end.
pub fn give_up() {
    GIVEN_UP.store(true, Ordering::Relaxed);
}

fn go_on() -> io::Result<()> {
    // Not `Interrupted`, after which writers try again.
    if GIVEN_UP.load(Ordering::Relaxed) { Err(io::Error::other("it was given up")) } else { Ok(()) }
}

/// A file being written next to its final place; dropped without [`AtomicFile::commit`],
/// it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Opens a new temporary file in the directory of `path`, or of the file that a link
    /// there leads to.
    pub fn create(path: &Path) -> io::Result<Self> {
        let path = &replaceable(path)?;
        let name = path.file_name().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the output path names no file")
        })?;
        for attempt in 0..100 {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{attempt}.part", std::process::id()));
            let temporary = path.with_file_name(hidden);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    return Ok(Self { file: Some(file), temporary, path: path.to_owned() });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free name for a temporary file"))
    }

    /// Gives the file its name. A full disk shows at the latest here.
    pub fn commit(mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            let result = file.sync_all().and_then(|()| go_on()).and_then(|()| {
                drop(file);
                fs::rename(&self.temporary, &self.path)
            });
            if result.is_err() {
                let _ = fs::remove_file(&self.temporary);
            }
            result?;
        }
        Ok(())
    }

    /// The open file, for permissions and the like.
    pub fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }
}

/// The regular file that `path` means. Taking the name of a device or a pipe would remove it:
/// `-o /dev/null` must not leave the machine without one.
fn replaceable(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() || found.is_dir() => {
            let linked = fs::symlink_metadata(path)?.is_symlink();
            if linked { fs::canonicalize(path) } else { Ok(path.to_owned()) }
        }
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        Err(_) => Ok(path.to_owned()),
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Read for AtomicFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file()?.read(buffer)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        go_on()?;
        self.file()?.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file()?.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("atomic-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_dropped_file_leaves_nothing_and_keeps_the_old_one() {
        let directory = directory("drop");
        let path = directory.join("image.raw");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let directory = directory("link");
        let path = directory.join("image.raw");
        let link = directory.join("link");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("image.raw", &link).unwrap();
        let mut file = AtomicFile::create(&link).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_not_a_file_is_not_replaced() {
        let directory = directory("special");
        let path = directory.join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = AtomicFile::create(&path).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_committed_file_replaces_the_old_one() {
        let directory = directory("commit");
        let path = directory.join("image.raw");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
