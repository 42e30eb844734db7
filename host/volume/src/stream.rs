// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files from a tar stream: checked names, attributes, and what each entry is.

use std::io::Read;
use std::time::{Duration, SystemTime};

use tar::{Archive, Entry, EntryType};

use crate::tree::shown;
use crate::unpack::{Attributes, Unpacker, joined};
use crate::{Error, ErrorKind, Result};

/// What a stream has, one at a time.
pub(crate) enum Item<'a> {
    Directory,
    File(&'a mut dyn Read),
    Symlink(Vec<u8>),
    HardLink(Vec<Vec<u8>>),
    /// Not for a volume; says what it is.
    Other(&'static str),
}

/// Goes through a tar stream.
pub(crate) fn each(
    source: impl Read,
    mut visit: impl FnMut(&[Vec<u8>], &Attributes, u64, Item<'_>) -> Result<()>,
) -> Result<()> {
    let mut archive = Archive::new(source);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let path = names(&entry.path_bytes())?;
        let attributes = attributes(&mut entry, &path)?;
        let size = entry.size();
        let what = |what| Ok::<_, Error>(Item::Other(what));
        let link = entry.link_name_bytes().map(|name| name.into_owned());
        let link = || {
            link.ok_or_else(|| {
                let shown = joined(&path);
                Error::new(ErrorKind::Invalid, format_args!("the link {shown} points nowhere"))
            })
        };
        let item = match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                Item::File(&mut entry)
            }
            EntryType::Directory => Item::Directory,
            EntryType::Symlink => Item::Symlink(link()?),
            EntryType::Link => Item::HardLink(names(&link()?)?),
            EntryType::Char => what("a character device")?,
            EntryType::Block => what("a block device")?,
            EntryType::Fifo => what("a named pipe")?,
            _ => what("its type is not known")?,
        };
        visit(&path, &attributes, size, item)?;
    }
    Ok(())
}

/// Puts all of a stream into a volume.
pub(crate) fn unpack(source: impl Read, unpacker: &mut Unpacker<'_>) -> Result<()> {
    each(source, |path, attributes, _, item| unpacker.item(path, attributes, item))
}

/// The parts of a path of the stream, which has to stay below where it is unpacked.
fn names(path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let refuse = |why: &str| {
        Error::new(
            ErrorKind::Invalid,
            format_args!("the archive has the name {:?}, {why}", shown(path)),
        )
        .advise("pack it again with relative names, for example tar -C DIR -cf FILE .")
    };
    if path.first() == Some(&b'/') {
        return Err(refuse("which is absolute"));
    }
    let parts: Vec<Vec<u8>> = crate::tree::parts(path).collect();
    if parts.iter().any(|part| part == b"..") {
        return Err(refuse("which climbs out of its directory"));
    }
    Ok(parts)
}

fn attributes(entry: &mut Entry<'_, impl Read>, path: &[Vec<u8>]) -> Result<Attributes> {
    let bad = |what: &str| {
        Error::new(
            ErrorKind::Invalid,
            format_args!("the archive's entry {} has {what}", joined(path)),
        )
    };
    let mut modified = None;
    if let Some(extensions) = entry.pax_extensions().map_err(broken)? {
        for extension in extensions.flatten() {
            match extension.key_bytes() {
                b"mtime" => modified = decimal_time(extension.value_bytes()),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(bad("a sparse format that is not supported")
                        .advise("pack it again with tar --format=gnu"));
                }
                _ => {}
            }
        }
    }
    let header = entry.header();
    let number = |value: std::io::Result<u64>, what| {
        value.ok().and_then(|v| u32::try_from(v).ok()).ok_or_else(|| bad(what))
    };
    let seconds = header.mtime().map_err(|_| bad("a time that is no number"))?;
    let mode = header.mode().map_err(|_| bad("permissions that are no number"))?;
    let whole = || SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    Ok(Attributes {
        mode: (mode & 0o7777) as u16,
        uid: number(header.uid(), "an owner that cannot be")?,
        gid: number(header.gid(), "a group that cannot be")?,
        modified: modified.or_else(whole).ok_or_else(|| bad("a time that cannot be"))?,
    })
}

/// `seconds.fraction` of pax(1).
fn decimal_time(text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let time = Duration::new(seconds.parse().ok()?, digits.parse().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(time)
}

/// The library says with these that the bytes are no tar, or end in the middle of it.
fn broken(error: std::io::Error) -> Error {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::Other | Kind::UnexpectedEof | Kind::InvalidData | Kind::InvalidInput => {
            Error::new(ErrorKind::Invalid, format_args!("this is no whole tar: {error}"))
                .advise("give a tar, plain or gzip; the image of a file system needs --raw")
        }
        _ => Error::io("cannot read the archive", error),
    }
}
