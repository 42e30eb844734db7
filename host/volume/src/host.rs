// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files from a directory of this machine.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use crate::stream::Item;
use crate::unpack::Attributes;
use crate::{Error, ErrorKind, Result};

/// Goes through what is below `top`, by name; a directory comes before what is in it. The
/// first is `top` itself, with an empty path. Symbolic links are not followed.
pub(crate) fn each(
    top: &Path,
    mut visit: impl FnMut(&[Vec<u8>], &Attributes, u64, Item<'_>) -> Result<()>,
) -> Result<()> {
    let metadata = fs::metadata(top).map_err(|e| unreadable(top, e))?;
    if !metadata.is_dir() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format_args!("{} is not a directory", top.display()),
        ));
    }
    let mut names = HashMap::new();
    let mut path = Vec::new();
    visit(&path, &attributes(&metadata), 0, Item::Directory)?;
    below(top, &mut path, &mut names, &mut visit)
}

type Names = HashMap<(u64, u64), Vec<Vec<u8>>>;

fn below(
    directory: &Path,
    path: &mut Vec<Vec<u8>>,
    names: &mut Names,
    visit: &mut impl FnMut(&[Vec<u8>], &Attributes, u64, Item<'_>) -> Result<()>,
) -> Result<()> {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.map_err(|e| unreadable(directory, e))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let here = entry.path();
        let metadata = fs::symlink_metadata(&here).map_err(|e| unreadable(&here, e))?;
        path.push(entry.file_name().as_bytes().to_vec());
        one(&here, &metadata, path, names, visit)?;
        if metadata.is_dir() {
            below(&here, path, names, visit)?;
        }
        path.pop();
    }
    Ok(())
}

fn one(
    here: &Path,
    metadata: &Metadata,
    path: &[Vec<u8>],
    names: &mut Names,
    visit: &mut impl FnMut(&[Vec<u8>], &Attributes, u64, Item<'_>) -> Result<()>,
) -> Result<()> {
    let kind = metadata.file_type();
    let attributes = attributes(metadata);
    let identity = (metadata.dev(), metadata.ino());
    if !kind.is_dir() && metadata.nlink() > 1 {
        if let Some(first) = names.get(&identity) {
            return visit(path, &attributes, 0, Item::HardLink(first.clone()));
        }
        if kind.is_file() || kind.is_symlink() {
            names.insert(identity, path.to_vec());
        }
    }
    if kind.is_dir() {
        visit(path, &attributes, 0, Item::Directory)
    } else if kind.is_file() {
        let mut file = File::open(here).map_err(|e| unreadable(here, e))?;
        visit(path, &attributes, metadata.len(), Item::File(&mut file))
    } else if kind.is_symlink() {
        let target = fs::read_link(here).map_err(|e| unreadable(here, e))?;
        visit(path, &attributes, 0, Item::Symlink(target.as_os_str().as_bytes().to_vec()))
    } else {
        let what = if kind.is_socket() {
            "a socket"
        } else if kind.is_fifo() {
            "a named pipe"
        } else {
            "a device"
        };
        visit(path, &attributes, 0, Item::Other(what))
    }
}

fn attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        mode: (metadata.mode() & 0o7777) as u16,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::io(format_args!("cannot read {}", path.display()), error)
}
