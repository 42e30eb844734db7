// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes: disk images with an ext4 file system that the guest mounts.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest serial number of a virtio disk, VIRTIO_BLK_ID_BYTES (virtio 1.2, 5.2.6.1).
pub const SERIAL_MAX: usize = 20;

/// Volumes of one machine. Each is told to the guest by an item of fw_cfg, of which QEMU has 32;
/// it takes up to 17 for itself, and aborts when there are more.
pub const MOST: usize = 12;

/// Where the superblock has its magic number: ext4's documentation, "Super Block".
const MAGIC_AT: u64 = 1024 + 0x38;
const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();

/// A disk image and the directory of the guest that it is mounted on: `FILE:/GUEST[:ro]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The image: raw, with a file system that fills it.
    pub path: PathBuf,
    /// Where it is mounted; absolute.
    pub target: String,
    /// Nothing is written to it.
    pub read_only: bool,
    /// The disk's serial number, by which the guest finds it among its disks. Unique within a
    /// machine; letters, digits, `-`, `_` and `.`, [`SERIAL_MAX`] at most. `None`: `volume0`,
    /// `volume1` and so on, by the place in the list.
    pub serial: Option<String>,
}

/// What can be wrong with a volume.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text does not say which file goes where.
    #[error("{0:?} is not a volume; write FILE:/GUEST or FILE:/GUEST:ro")]
    Syntax(String),
    /// What stands behind the guest's directory means nothing.
    #[error("{0:?} is no option of a volume; ro (nothing is written to it) and rw are")]
    Unknown(String),
    /// The guest's directory cannot be one.
    #[error("{0:?} cannot be a volume's directory in the guest")]
    Target(String),
    /// The file cannot be opened.
    #[error("cannot open the volume {}: {}", .0.display(), .1)]
    Open(PathBuf, io::Error),
    /// It is neither a file nor a disk.
    #[error("the volume {} is not a disk image", .0.display())]
    NotImage(PathBuf),
    /// There is something else in it.
    #[error("the volume {} has no ext4 file system", .0.display())]
    NotExt4(PathBuf),
    /// Another machine has it.
    #[error("the volume {} is in use by another program", .0.display())]
    InUse(PathBuf),
    /// The same file, directory or serial number twice.
    #[error("two volumes have the same {0}: {1}")]
    Twice(&'static str, String),
    /// More than a machine has room for.
    #[error("{0} volumes are too many: a machine has room for {MOST}")]
    TooMany(usize),
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Syntax(_) => Some("for example -v data.img:/data".to_owned()),
            Self::Unknown(_) => Some(
                "write FILE:/GUEST or FILE:/GUEST:ro; the guest's path has no colon".to_owned(),
            ),
            Self::Target(_) => Some("choose a directory of its own, for example /data".to_owned()),
            Self::Open(path, error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("make one: truncate -s 1G {0} && mkfs.ext4 -F {0}", path.display()))
            }
            Self::Open(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("to mount it without writing, put :ro behind".to_owned())
            }
            Self::NotImage(_) => Some(
                "a volume is the image of a disk; kernel build --include takes directories, and \
                 kernctl volume create --from makes a volume of one"
                    .to_owned(),
            ),
            // Whoever had one there must not be told to make another.
            Self::NotExt4(path) => Some(format!(
                "the image has to be raw, without partitions; if there was a file system on it, try \
                 e2fsck -f on a copy of {0}, if it is new, mkfs.ext4 {0}",
                path.display()
            )),
            Self::InUse(_) => {
                Some("stop the guest that has it; only :ro volumes can be shared".to_owned())
            }
            Self::TooMany(_) => Some("put what belongs together into one volume".to_owned()),
            Self::Open(..) | Self::Twice(..) => None,
        }
    }
}

impl FromStr for Volume {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error::Syntax(text.to_owned());
        // The last colon in front of a slash: paths of this machine may have some.
        let at = text.rfind(":/").ok_or_else(error)?;
        let (path, target) = (&text[..at], &text[at + 1..]);
        if path.is_empty() {
            return Err(error());
        }
        let (target, read_only) = match target.split_once(':') {
            None => (target, false),
            Some((target, "rw")) => (target, false),
            Some((target, "ro")) => (target, true),
            Some((_, option)) => return Err(Error::Unknown(option.to_owned())),
        };
        let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty()).collect();
        // The kernel's own, and what the program lies in.
        let taken = matches!(parts[..], [] | ["proc" | "sys" | "dev", ..] | ["app"]);
        if taken
            || parts.iter().any(|part| matches!(*part, "." | ".."))
            || target.chars().any(char::is_control)
        {
            return Err(Error::Target(target.to_owned()));
        }
        let target = target.trim_end_matches('/').to_owned();
        Ok(Self { path: path.into(), target, read_only, serial: None })
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.read_only { ":ro" } else { "" };
        write!(f, "{}:{}{suffix}", self.path.display(), self.target)
    }
}

impl Volume {
    /// The serial number of the volume at `index` in a machine's list.
    #[must_use]
    pub fn serial_at(&self, index: usize) -> String {
        self.serial.clone().unwrap_or_else(|| format!("volume{index}"))
    }

    /// What the guest is told: `SERIAL=x:/GUEST[:ro]`.
    #[must_use]
    pub fn for_guest(&self, index: usize) -> String {
        let suffix = if self.read_only { ":ro" } else { "" };
        format!("SERIAL={}:{}{suffix}", self.serial_at(index), self.target)
    }

    /// Finds out whether a machine could start with it: the file is there, holds an ext4 file
    /// system, and no other machine writes to it.
    pub fn check(&self) -> Result<(), Error> {
        let open = |error| Error::Open(self.path.clone(), error);
        // Before it is opened: a directory cannot be opened for writing, and a pipe waits.
        let kind = std::fs::metadata(&self.path).map_err(open)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(Error::NotImage(self.path.clone()));
        }
        let mut file =
            OpenOptions::new().read(true).write(!self.read_only).open(&self.path).map_err(open)?;
        if !is_ext4(&mut file) {
            return Err(Error::NotExt4(self.path.clone()));
        }
        // QEMU keeps shared locks on bytes of an image that it has; a writer shares with nobody.
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        if !self.read_only && rustix::fs::fcntl_lock(&file, lock).is_err() {
            return Err(Error::InUse(self.path.clone()));
        }
        Ok(())
    }
}

/// Finds out whether QEMU has room for so many.
pub fn check_room(volumes: &[Volume]) -> Result<(), Error> {
    if volumes.len() > MOST { Err(Error::TooMany(volumes.len())) } else { Ok(()) }
}

/// Finds out whether the volumes can be in one machine.
pub fn check_all(volumes: &[Volume]) -> Result<(), Error> {
    for (index, volume) in volumes.iter().enumerate() {
        volume.check()?;
        for (other_index, other) in volumes.iter().enumerate().take(index) {
            let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
            let twice = if volume.target == other.target {
                Some(("directory", volume.target.clone()))
            } else if volume.serial_at(index) == other.serial_at(other_index) {
                Some(("serial number", volume.serial_at(index)))
            } else if canonical(&volume.path) == canonical(&other.path) {
                Some(("file", volume.path.display().to_string()))
            } else {
                None
            };
            if let Some((what, name)) = twice {
                return Err(Error::Twice(what, name));
            }
        }
    }
    Ok(())
}

fn is_ext4(file: &mut File) -> bool {
    let mut magic = [0; 2];
    let read = file.seek(SeekFrom::Start(MAGIC_AT)).and_then(|_| file.read_exact(&mut magic));
    read.is_ok() && magic == MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories_are_told_apart() {
        let volume: Volume = "a.img:/data".parse().unwrap();
        assert_eq!((volume.target.as_str(), volume.read_only), ("/data", false));
        let volume: Volume = "/x:y/a.img:/srv/db/:ro".parse().unwrap();
        assert_eq!(volume.path, Path::new("/x:y/a.img"));
        assert_eq!((volume.target.as_str(), volume.read_only), ("/srv/db", true));
        assert_eq!(volume.for_guest(1), "SERIAL=volume1:/srv/db:ro");
    }

    #[test]
    fn options_that_nobody_knows_are_refused() {
        for (text, option) in [("a:/data:rx", "rx"), ("a:/data:", ""), ("a:/d:ro:x", "ro:x")] {
            let error = text.parse::<Volume>().unwrap_err();
            assert!(matches!(&error, Error::Unknown(found) if found == option), "{text}: {error}");
        }
        let volume: Volume = "a:/data:rw".parse().unwrap();
        assert_eq!((volume.target.as_str(), volume.read_only), ("/data", false));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!("a:/app/data".parse::<Volume>().is_ok());
        for text in ["", "a.img", "a.img:data", ":/data", "a.img:ro"] {
            assert!(matches!(text.parse::<Volume>(), Err(Error::Syntax(_))), "{text:?}");
        }
        for text in
            ["a:/", "a:/app", "a://app/:ro", "a://", "a:/proc", "a:/dev/shm", "a:/x/../y", "a:/:ro"]
        {
            assert!(matches!(text.parse::<Volume>(), Err(Error::Target(_))), "{text:?}");
        }
    }

    #[test]
    fn more_than_a_machine_has_room_for_are_refused() {
        let volume: Volume = "a.img:/data".parse().unwrap();
        assert!(matches!(check_room(&vec![volume.clone(); MOST + 1]), Err(Error::TooMany(13))));
        check_room(&vec![volume; MOST]).unwrap();
    }

    #[test]
    fn files_are_looked_into() {
        let path = std::env::temp_dir().join(format!("volume-test-{}", std::process::id()));
        let volume =
            Volume { path: path.clone(), target: "/data".into(), read_only: false, serial: None };
        assert!(matches!(volume.check(), Err(Error::Open(..))));
        std::fs::write(&path, vec![0; 4096]).unwrap();
        assert!(matches!(volume.check(), Err(Error::NotExt4(_))));
        let mut image = vec![0; 4096];
        image[MAGIC_AT as usize..][..2].copy_from_slice(&MAGIC);
        std::fs::write(&path, image).unwrap();
        volume.check().unwrap();
        let other = Volume { target: "/other".into(), ..volume.clone() };
        assert!(matches!(check_all(&[volume.clone(), other]), Err(Error::Twice("file", _))));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let directory = volume.check().unwrap_err();
        std::fs::remove_dir(&path).unwrap();
        assert!(matches!(directory, Error::NotImage(_)), "{directory}");
        assert!(directory.advice().is_some_and(|advice| advice.contains("--include")));
    }
}
