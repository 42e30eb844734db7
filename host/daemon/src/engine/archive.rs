// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unpacks a tar of somebody else's without believing anything in it.
//!
//! No name and no link leads out of the directory: names have no `..` and no root; links point
//! with `..` at their beginning alone and not further up than the directory; nothing is written
//! through a link. So each step of following a link starts in a real directory inside and ends
//! inside.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use bhojpur_api::Code;
use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use crate::{Error, Result};

/// What may come out of an archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// The bytes of a tar that is plain or gzip (RFC 1952).
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    let unreadable = |error| Error::io(format!("cannot read {}", path.display()), &error);
    let mut magic = [0; 2];
    let mut file = File::open(path).map_err(unreadable)?;
    let read = file.read(&mut magic).map_err(unreadable)?;
    let file = BufReader::with_capacity(64 << 10, File::open(path).map_err(unreadable)?);
    Ok(match &magic[..read] {
        [0x1f, 0x8b] => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        _ => Box::new(file),
    })
}

/// Unpacks into an empty directory of ours.
pub(crate) fn unpack(source: impl Read, into: &Path, room: Room) -> Result<()> {
    let mut archive = Archive::new(source);
    let mut left = room;
    let mut count = 0;
    for entry in archive.entries().map_err(|error| unreadable(&error))? {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        count += 1;
        left.entries = left.entries.checked_sub(1).ok_or_else(|| too_many(room.entries))?;
        let name = entry.path().map_err(|error| unreadable(&error))?.into_owned();
        let Some(place) = place(into, &name)? else { continue };
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Directory => directory(&place, &name)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mode = entry.header().mode().unwrap_or(0o644);
                file(&mut entry, &place, &name, mode, &mut left, room)?;
            }
            EntryType::Symlink => {
                let target = link_target(&entry, &name)?;
                check_symlink(&name, &target)?;
                replace(&place, &name)?;
                symlink(&target, &place).map_err(|error| unwritable(&name, &error))?;
            }
            EntryType::Link => hard_link(&link_target(&entry, &name)?, into, &place, &name)?,
            // Global headers of pax say something about all that follow; we ask nothing of them.
            EntryType::XGlobalHeader => {}
            _ => {
                let what = "is neither a file, a directory nor a link";
                return Err(refused(&name, what));
            }
        }
    }
    if count == 0 {
        return Err(Error::invalid("the upload is an empty tar")
            .advise("send a tar of the directory that holds the program"));
    }
    Ok(())
}

/// Where an entry goes. The root itself is there already.
fn place(into: &Path, name: &Path) -> Result<Option<PathBuf>> {
    let mut place = into.to_owned();
    let mut parts = plain_parts(name)?.into_iter().peekable();
    if parts.peek().is_none() {
        return Ok(None);
    }
    while let Some(part) = parts.next() {
        place.push(part);
        if parts.peek().is_none() {
            break;
        }
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(refused(name, "lies below something that is no directory")),
            Err(_) => fs::create_dir(&place).map_err(|error| unwritable(name, &error))?,
        }
    }
    Ok(Some(place))
}

/// The parts of a name that leads nowhere but down.
fn plain_parts(name: &Path) -> Result<Vec<&std::ffi::OsStr>> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => return Err(refused(name, "leads out of the directory")),
        }
    }
    Ok(parts)
}

fn directory(place: &Path, name: &Path) -> Result<()> {
    match fs::create_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let real = fs::symlink_metadata(place).is_ok_and(|found| found.is_dir());
            if real { Ok(()) } else { Err(refused(name, "is there twice, as different things")) }
        }
        made => made.map_err(|error| unwritable(name, &error)),
    }
}

fn file(
    entry: &mut impl Read,
    place: &Path,
    name: &Path,
    mode: u32,
    left: &mut Room,
    room: Room,
) -> Result<()> {
    replace(place, name)?;
    // The daemon has to be able to read and remove it; what is set-user-ID elsewhere is not here.
    let mode = (mode & 0o777) | 0o600;
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(place)
        .map_err(|error| unwritable(name, &error))?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = entry.read(&mut piece).map_err(|error| unreadable(&error))?;
        if read == 0 {
            return Ok(());
        }
        let bytes = left.bytes.checked_sub(read as u64);
        left.bytes = bytes.ok_or_else(|| too_large(room.bytes))?;
        file.write_all(&piece[..read]).map_err(|error| unwritable(name, &error))?;
    }
}

fn hard_link(target: &Path, into: &Path, place: &Path, name: &Path) -> Result<()> {
    let mut source = into.to_owned();
    for part in plain_parts(target)? {
        source.push(part);
        // A link in the middle would lead elsewhere than its text says.
        if fs::symlink_metadata(&source).is_ok_and(|found| found.is_symlink()) {
            return Err(refused(name, "is a hard link through a link"));
        }
    }
    replace(place, name)?;
    fs::hard_link(&source, place).map_err(|error| unwritable(name, &error))
}

/// A later entry of the same name counts; a directory is not replaced.
fn replace(place: &Path, name: &Path) -> Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => Err(refused(name, "is there twice, as different things")),
        Ok(_) => fs::remove_file(place).map_err(|error| unwritable(name, &error)),
        Err(_) => Ok(()),
    }
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>, name: &Path) -> Result<PathBuf> {
    let target = entry.link_name().map_err(|error| unreadable(&error))?;
    target.map(std::borrow::Cow::into_owned).ok_or_else(|| refused(name, "is a link to nothing"))
}

fn check_symlink(name: &Path, target: &Path) -> Result<()> {
    let mut depth = plain_parts(name)?.len().saturating_sub(1);
    let mut down = false;
    for part in target.components() {
        match part {
            Component::Normal(_) => down = true,
            Component::CurDir => {}
            Component::ParentDir if !down && depth > 0 => depth -= 1,
            Component::ParentDir if down => {
                return Err(refused(name, "is a link that goes down and up again"));
            }
            _ => return Err(refused(name, "is a link that leads out of the directory")),
        }
    }
    Ok(())
}

fn refused(name: &Path, what: &str) -> Error {
    Error::invalid(format!("the tar is refused: {} in it {what}", name.display()))
        .advise("send a tar of one directory, with names below it")
}

fn unreadable(error: &io::Error) -> Error {
    Error::invalid(format!("the upload is no tar that can be read: {error}"))
        .advise("send a tar, plain or gzip")
}

fn unwritable(name: &Path, error: &io::Error) -> Error {
    Error::io(format!("cannot unpack {}", name.display()), error)
}

fn too_large(limit: u64) -> Error {
    Error::new(Code::TooLarge, format!("the tar unpacks to more than {} MiB", limit >> 20))
}

fn too_many(limit: u64) -> Error {
    Error::new(Code::TooLarge, format!("the tar has more than {limit} files"))
        .advise("the daemon's limit is [limits] upload_entries in daemon.toml")
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
