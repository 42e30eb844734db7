// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files of a volume as a tar stream.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use rsext4::{InodeInfo, InodeNumber};
use tar::{EntryType, Header};

use crate::core::Core;
use crate::tree::{Found, kind, shown};
use crate::{EntryKind, Error, Report, Result};

const CHUNK: usize = 1 << 20;
/// Records of tar(5).
const RECORD: usize = 512;
/// Directories in each other at most: paths of Linux end before.
const DEPTH: usize = 2048;

/// Writes a file or directory, with all that is in it, to `sink`.
pub(crate) fn pack(core: &mut Core, found: &Found, sink: &mut dyn Write) -> Result<Report> {
    let mut packer = Packer {
        core,
        sink,
        first_names: HashMap::new(),
        above: HashSet::new(),
        report: Report::default(),
    };
    packer.one(found.name.clone(), &found.info)?;
    packer.put(&[0; 2 * RECORD])?;
    packer.sink.flush().map_err(unwritable)?;
    Ok(packer.report)
}

/// Gives the contents of a regular file to `put`, part by part.
pub(crate) fn contents(
    core: &mut Core,
    path: &[u8],
    info: &InodeInfo,
    put: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < info.size {
        let len = usize::try_from(info.size - offset).unwrap_or(CHUNK).min(CHUNK);
        let what = format!("cannot read {}", shown(path));
        let part = &mut buffer[..len];
        let count = core.run(what, |engine| engine.read_inode(info.number, offset, part))?;
        if count == 0 {
            return Err(Error::corrupt(format_args!("{} ends too early", shown(path))));
        }
        put(&buffer[..count])?;
        offset += count as u64;
    }
    Ok(())
}

struct Packer<'a> {
    core: &'a mut Core,
    sink: &'a mut dyn Write,
    /// The first name of each file that has several.
    first_names: HashMap<u32, Vec<u8>>,
    /// The directories that this one is in: a damaged volume may have circles.
    above: HashSet<u32>,
    report: Report,
}

impl Packer<'_> {
    fn one(&mut self, path: Vec<u8>, info: &InodeInfo) -> Result<()> {
        match kind(info) {
            EntryKind::Directory => self.directory(path, info),
            EntryKind::Special => {
                self.report
                    .warnings
                    .push(format!("{} was left out: a device, pipe or socket", shown(&path)));
                Ok(())
            }
            other => {
                if let Some(first) = self.first_names.get(&info.number.raw()).cloned() {
                    self.report.hard_links += 1;
                    return self.header(&path, Some(&first), info, EntryType::Link, 0);
                }
                if info.links > 1 {
                    self.first_names.insert(info.number.raw(), path.clone());
                }
                if other == EntryKind::Symlink {
                    self.symlink(path, info)
                } else {
                    self.file(path, info)
                }
            }
        }
    }

    fn directory(&mut self, path: Vec<u8>, info: &InodeInfo) -> Result<()> {
        let number = info.number;
        if !self.above.insert(number.raw()) || self.above.len() > DEPTH {
            return Err(Error::corrupt(format_args!(
                "the directory {} of the volume is in itself",
                shown(&path)
            )));
        }
        let is_root = path.is_empty();
        let mut name = if is_root { b"./".to_vec() } else { path.clone() };
        if !is_root {
            name.push(b'/');
        }
        self.header(&name, None, info, EntryType::Directory, 0)?;
        self.report.directories += 1;
        for (child, number) in self.core.children(number)? {
            let info = self.core.inode(number)?;
            if is_root && child == b"lost+found" && self.is_empty(number)? {
                continue;
            }
            let mut below = path.clone();
            if !is_root {
                below.push(b'/');
            }
            below.extend_from_slice(&child);
            self.one(below, &info)?;
        }
        self.above.remove(&number.raw());
        Ok(())
    }

    fn is_empty(&mut self, directory: InodeNumber) -> Result<bool> {
        let info = self.core.inode(directory)?;
        Ok(kind(&info) == EntryKind::Directory && self.core.children(directory)?.is_empty())
    }

    fn symlink(&mut self, path: Vec<u8>, info: &InodeInfo) -> Result<()> {
        let target = self.core.link_text(info)?;
        self.report.symlinks += 1;
        self.header(&path, Some(&target), info, EntryType::Symlink, 0)
    }

    fn file(&mut self, path: Vec<u8>, info: &InodeInfo) -> Result<()> {
        self.header(&path, None, info, EntryType::Regular, info.size)?;
        contents(self.core, &path, info, &mut |part| {
            self.sink.write_all(part).map_err(unwritable)
        })?;
        self.pad(info.size)?;
        self.report.files += 1;
        self.report.bytes += info.size;
        Ok(())
    }

    fn header(
        &mut self,
        path: &[u8],
        link: Option<&[u8]>,
        info: &InodeInfo,
        kind: EntryType,
        size: u64,
    ) -> Result<()> {
        let mut header = Header::new_gnu();
        if let Some(gnu) = header.as_gnu_mut() {
            self.name(path, &mut gnu.name, EntryType::GNULongName)?;
            if let Some(link) = link {
                self.name(link, &mut gnu.linkname, EntryType::GNULongLink)?;
            }
        }
        header.set_mode(u32::from(info.mode & 0o7777));
        header.set_uid(info.uid.into());
        header.set_gid(info.gid.into());
        header.set_mtime(info.mtime.into());
        header.set_size(size);
        header.set_entry_type(kind);
        header.set_cksum();
        self.put(header.as_bytes())
    }

    /// Puts a name into its field; one that is too long comes before, as GNU tar does it.
    fn name(&mut self, name: &[u8], field: &mut [u8; 100], kind: EntryType) -> Result<()> {
        if name.len() >= field.len() {
            let mut header = Header::new_gnu();
            if let Some(gnu) = header.as_gnu_mut() {
                gnu.name[..13].copy_from_slice(b"././@LongLink");
            }
            let size = name.len() as u64 + 1;
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(size);
            header.set_entry_type(kind);
            header.set_cksum();
            self.put(header.as_bytes())?;
            self.put(name)?;
            self.put(&[0])?;
            self.pad(size)?;
        }
        let len = name.len().min(field.len() - 1);
        field[..len].copy_from_slice(&name[..len]);
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let over = (size % RECORD as u64) as usize;
        if over == 0 { Ok(()) } else { self.put(&[0; RECORD][over..]) }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).map_err(unwritable)
    }
}

fn unwritable(error: std::io::Error) -> Error {
    Error::io("cannot write the archive", error)
}
