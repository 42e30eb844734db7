// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finding files of a volume by path.

use std::collections::VecDeque;

use rsext4::{
    DirectoryCursor, DirectoryEntryType, Ext4Error, Ext4Result, FileName, InodeInfo, InodeNumber,
};

use crate::core::Core;
use crate::{Entry, EntryKind, Error, ErrorKind, Result};

/// Symbolic links followed at most, path_resolution(7).
const LINKS: usize = 40;
/// PATH_MAX.
const LINK_TEXT: u64 = 4096;
/// Entries of one directory at most, against directories that never end.
const ENTRIES: usize = 10_000_000;
const BATCH: usize = 512;

/// A file that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) info: InodeInfo,
    /// Its name, empty for the root.
    pub(crate) name: Vec<u8>,
}

impl Found {
    pub(crate) fn number(&self) -> InodeNumber {
        self.info.number
    }
}

pub(crate) fn kind(info: &InodeInfo) -> EntryKind {
    match info.file_type() {
        DirectoryEntryType::RegularFile => EntryKind::File,
        DirectoryEntryType::Directory => EntryKind::Directory,
        DirectoryEntryType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Special,
    }
}

/// How a path of the volume is shown.
pub(crate) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

pub(crate) fn file_name(name: &[u8]) -> Result<FileName<'_>> {
    FileName::new(name).map_err(|_| {
        Error::new(
            ErrorKind::Invalid,
            format_args!("{:?} cannot be the name of a file", shown(name)),
        )
        .advise("names have 255 bytes at most, none of them zero")
    })
}

impl Core {
    fn root(&mut self) -> Result<InodeInfo> {
        self.run("cannot read the root directory", |engine| {
            engine.inode(engine.root_inode()).and_then(sound)
        })
    }

    pub(crate) fn child(&mut self, parent: InodeNumber, name: &[u8]) -> Result<Option<InodeInfo>> {
        let label = file_name(name)?;
        self.run(format_args!("cannot look up {:?}", shown(name)), |engine| {
            engine.lookup_child(parent, label)?.map(sound).transpose()
        })
    }

    pub(crate) fn link_text(&mut self, info: &InodeInfo) -> Result<Vec<u8>> {
        let len = info.size.min(LINK_TEXT) as usize;
        self.run("cannot read a symbolic link", |engine| {
            let mut text = vec![0; len];
            let count = engine.read_inode(info.number, 0, &mut text)?;
            text.truncate(count);
            Ok(text)
        })
    }

    /// Finds `path`; a symbolic link in its last part is followed if `follow`. `None` if it is
    /// not there.
    pub(crate) fn find(&mut self, path: &str, follow: bool) -> Result<Option<Found>> {
        let mut stack = vec![Found { info: self.root()?, name: Vec::new() }];
        let mut rest: VecDeque<Vec<u8>> = parts(path.as_bytes()).collect();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == b".." {
                stack.truncate(stack.len().max(2) - 1);
                continue;
            }
            let Some(here) = stack.last() else { return Ok(None) };
            if kind(&here.info) != EntryKind::Directory {
                return Err(not_directory(&here.name, path));
            }
            let Some(info) = self.child(here.number(), &part)? else { return Ok(None) };
            if kind(&info) == EntryKind::Symlink && (follow || !rest.is_empty()) {
                links += 1;
                if links > LINKS {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        format_args!("{path}: too many symbolic links"),
                    ));
                }
                let target = self.link_text(&info)?;
                if target.first() == Some(&b'/') {
                    stack.truncate(1);
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(part);
                }
            } else {
                stack.push(Found { info, name: part });
            }
        }
        Ok(stack.pop())
    }

    /// Finds `path`, or says that it is not there.
    pub(crate) fn must_find(&mut self, path: &str, follow: bool) -> Result<Found> {
        self.find(path, follow)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format_args!("the volume has no {path}"))
        })
    }

    /// What is in a directory, by name, without `.` and `..`.
    pub(crate) fn children(
        &mut self,
        directory: InodeNumber,
    ) -> Result<Vec<(Vec<u8>, InodeNumber)>> {
        let mut children: Vec<(Vec<u8>, InodeNumber)> = Vec::new();
        let mut cursor = DirectoryCursor::Start;
        loop {
            let batch = self.run("cannot read a directory", |engine| {
                engine.read_directory(directory, cursor, BATCH)
            })?;
            let Some(last) = batch.last() else { break };
            if last.next_cursor == cursor || children.len() > ENTRIES {
                return Err(Error::corrupt("a directory of the volume never ends"));
            }
            cursor = last.next_cursor;
            let named = batch.into_iter().filter(|e| e.name != b"." && e.name != b"..");
            children.extend(named.map(|e| (e.name, e.inode)));
        }
        children.sort();
        Ok(children)
    }

    pub(crate) fn inode(&mut self, number: InodeNumber) -> Result<InodeInfo> {
        self.run("cannot read a file's inode", |engine| engine.inode(number).and_then(sound))
    }

    pub(crate) fn entry(&mut self, name: Vec<u8>, info: &InodeInfo) -> Result<Entry> {
        let kind = kind(info);
        let target = match kind {
            EntryKind::Symlink => Some(self.link_text(info)?),
            _ => None,
        };
        Ok(Entry {
            name: if name.is_empty() { b"/".to_vec() } else { name },
            kind,
            mode: info.mode & 0o7777,
            uid: info.uid,
            gid: info.gid,
            size: info.size,
            modified: info.mtime.into(),
            links: info.links,
            target,
        })
    }
}

/// A directory has no holes: one that is larger than its blocks would be searched for ages.
fn sound(info: InodeInfo) -> Ext4Result<InodeInfo> {
    if info.is_directory() && info.size > info.blocks.saturating_mul(512) {
        return Err(Ext4Error::corrupted().with_operation("directory:size"));
    }
    Ok(info)
}

pub(crate) fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|&b| b == b'/').filter(|p| !p.is_empty() && *p != b".").map(<[u8]>::to_vec)
}

fn not_directory(name: &[u8], path: &str) -> Error {
    Error::new(ErrorKind::Invalid, format_args!("{path}: {:?} is not a directory", shown(name)))
}
