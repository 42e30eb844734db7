// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Puts files into a volume, wherever they come from.

use std::collections::HashMap;
use std::io::Read;
use std::time::SystemTime;

use rsext4::{FilePermissions, InodeInfo, InodeMetadataUpdate, InodeNumber, MutationContext};

use crate::core::{Core, timestamp};
use crate::stream::Item;
use crate::tree::{file_name, kind, shown};
use crate::{EntryKind, Error, ErrorKind, Report, Result};

/// Contents are read and written by this much.
pub(crate) const CHUNK: usize = 1 << 20;
/// Runs of zeroes of this size and place stay holes.
const HOLE: usize = 4096;
/// The longest text of a symbolic link that Linux takes.
const LINK_TEXT: usize = 4095;

/// Attributes of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    /// The lower 12 bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: SystemTime,
}

/// Puts files below one directory. Paths are lists of names without `.` and `..`, and never
/// lead through a symbolic link.
pub(crate) struct Unpacker<'a> {
    core: &'a mut Core,
    top: InodeNumber,
    /// Directories that are known by path.
    directories: HashMap<Vec<u8>, InodeNumber>,
    /// Times of directories, to be set when they are filled.
    times: HashMap<u32, (InodeNumber, SystemTime)>,
    report: Report,
}

impl<'a> Unpacker<'a> {
    /// Puts files below the directory `at`, which is made if it is not there.
    pub(crate) fn new(core: &'a mut Core, at: &str) -> Result<Self> {
        let top = make_directories(core, at)?;
        Ok(Self {
            core,
            top,
            directories: HashMap::new(),
            times: HashMap::new(),
            report: Report::default(),
        })
    }

    /// Whatever it is.
    pub(crate) fn item(
        &mut self,
        path: &[Vec<u8>],
        attributes: &Attributes,
        item: Item<'_>,
    ) -> Result<()> {
        match item {
            Item::Directory => self.directory(path, attributes),
            Item::File(contents) => self.file(path, attributes, contents),
            Item::Symlink(target) => self.symlink(path, attributes, &target),
            Item::HardLink(target) => self.hard_link(path, &target),
            Item::Other(what) => {
                let warning = format!("{} was left out: {what}", joined(path));
                self.report.warnings.push(warning);
                Ok(())
            }
        }
    }

    /// A directory; the one that all is put into if `path` is empty.
    fn directory(&mut self, path: &[Vec<u8>], attributes: &Attributes) -> Result<()> {
        let number = match path.split_last() {
            None => self.top,
            Some((name, parents)) => {
                let parent = self.parent(parents)?;
                match self.existing(parent, name)? {
                    Some(info) if kind(&info) == EntryKind::Directory => info.number,
                    Some(_) => {
                        self.remove(parent, name)?;
                        create_directory(self.core, parent, name, attributes)?
                    }
                    None => create_directory(self.core, parent, name, attributes)?,
                }
            }
        };
        self.set_attributes(number, attributes)?;
        self.times.insert(number.raw(), (number, attributes.modified));
        self.report.directories += 1;
        Ok(())
    }

    /// A regular file with all that `contents` gives.
    fn file(
        &mut self,
        path: &[Vec<u8>],
        attributes: &Attributes,
        contents: &mut dyn Read,
    ) -> Result<()> {
        let (parent, name) = self.make_place(path)?;
        let label = file_name(name)?;
        self.core.need_room(format_args!("cannot write {}", joined(path)), 0)?;
        let what = format!("cannot write {}", joined(path));
        let context = context(attributes);
        let info = self.core.run(&what, |engine| {
            engine.create_regular_file(context, parent, label, permissions(0o600)?)
        })?;
        let written = match self.write_contents(&what, info.number, contents) {
            Ok(written) => written,
            Err(error) => {
                // Half a file is nothing that anybody asked for.
                let _ = self.remove(parent, name);
                return Err(error);
            }
        };
        self.set_attributes(info.number, attributes)?;
        self.report.files += 1;
        self.report.bytes += written;
        Ok(())
    }

    fn write_contents(
        &mut self,
        what: &str,
        number: InodeNumber,
        contents: &mut dyn Read,
    ) -> Result<u64> {
        self.core.before_contents()?;
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        let mut end_of_data = 0;
        loop {
            let count = fill(contents, &mut buffer).map_err(|error| Error::io(what, error))?;
            let chunk = &buffer[..count];
            for run in data_runs(chunk) {
                let at = offset + run.start as u64;
                let end = offset + run.end as u64;
                self.core.need_room(what, (run.len() as u64).div_ceil(HOLE as u64))?;
                self.core.run(what, |engine| engine.write_inode(number, at, &chunk[run]))?;
                end_of_data = end;
            }
            offset += count as u64;
            if count < buffer.len() {
                break;
            }
        }
        if end_of_data < offset {
            self.core.run(what, |engine| engine.truncate_inode(number, offset))?;
        }
        Ok(offset)
    }

    /// A symbolic link.
    fn symlink(&mut self, path: &[Vec<u8>], attributes: &Attributes, target: &[u8]) -> Result<()> {
        if target.is_empty() || target.len() > LINK_TEXT || target.contains(&0) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format_args!("{}: a symbolic link cannot point there", joined(path)),
            ));
        }
        let (parent, name) = self.make_place(path)?;
        let label = file_name(name)?;
        self.core.need_room(format_args!("cannot write {}", joined(path)), 1)?;
        self.core.before_contents()?;
        let context = context(attributes);
        let info = self.core.run(format_args!("cannot write {}", joined(path)), |engine| {
            engine.create_symlink(context, parent, label, target)
        })?;
        // Its permissions have no meaning and stay as they are.
        self.set_times(info.number, attributes.modified)?;
        self.report.symlinks += 1;
        Ok(())
    }

    /// Another name for a file that is there.
    fn hard_link(&mut self, path: &[Vec<u8>], target: &[Vec<u8>]) -> Result<()> {
        let missing = || {
            Error::new(
                ErrorKind::Invalid,
                format_args!(
                    "{} is a link to {}, which is not there",
                    joined(path),
                    joined(target)
                ),
            )
        };
        let (name, parents) = target.split_last().ok_or_else(missing)?;
        let parent = self.parent(parents)?;
        let info = self.existing(parent, name)?.ok_or_else(missing)?;
        if kind(&info) == EntryKind::Directory {
            return Err(Error::new(
                ErrorKind::Invalid,
                format_args!("{} is a link to the directory {}", joined(path), joined(target)),
            ));
        }
        if path == target {
            return Ok(());
        }
        let (parent, name) = self.make_place(path)?;
        let label = file_name(name)?;
        self.core.need_room(format_args!("cannot write {}", joined(path)), 0)?;
        self.core.run(format_args!("cannot write {}", joined(path)), |engine| {
            engine.hard_link(info.number, parent, label)
        })?;
        self.report.hard_links += 1;
        Ok(())
    }

    /// Sets what waits for the end.
    pub(crate) fn finish(self) -> Result<Report> {
        let Self { core, times, report, .. } = self;
        let mut times: Vec<_> = times.into_values().collect();
        times.sort_by_key(|(number, _)| number.raw());
        for (number, modified) in times {
            set_times(core, number, modified)?;
        }
        Ok(report)
    }

    /// The directory for something at `path`, and its name there, which is free now.
    fn make_place<'p>(&mut self, path: &'p [Vec<u8>]) -> Result<(InodeNumber, &'p [u8])> {
        let Some((name, parents)) = path.split_last() else {
            return Err(Error::new(ErrorKind::Invalid, "a file without a name"));
        };
        let parent = self.parent(parents)?;
        match self.existing(parent, name)? {
            None => {}
            Some(info) if kind(&info) == EntryKind::Directory => {
                return Err(Error::new(
                    ErrorKind::Exists,
                    format_args!("{} is a directory in the volume", joined(path)),
                ));
            }
            Some(_) => self.remove(parent, name)?,
        }
        Ok((parent, name))
    }

    /// The directory at `path`, made if it is not there.
    fn parent(&mut self, path: &[Vec<u8>]) -> Result<InodeNumber> {
        let key = path.join(&b'/');
        if let Some(number) = self.directories.get(&key) {
            return Ok(*number);
        }
        let Some((name, parents)) = path.split_last() else { return Ok(self.top) };
        let parent = self.parent(parents)?;
        let number = match self.existing(parent, name)? {
            Some(info) if kind(&info) == EntryKind::Directory => info.number,
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format_args!("{} is not a directory in the volume", joined(path)),
                )
                .advise("nothing is written through symbolic links"));
            }
            None => {
                self.report.directories += 1;
                create_directory(self.core, parent, name, &plain_directory())?
            }
        };
        self.directories.insert(key, number);
        Ok(number)
    }

    fn existing(&mut self, parent: InodeNumber, name: &[u8]) -> Result<Option<InodeInfo>> {
        self.core.child(parent, name)
    }

    /// Takes the name of something that is not a directory away.
    fn remove(&mut self, parent: InodeNumber, name: &[u8]) -> Result<()> {
        let label = file_name(name)?;
        self.core.frees = true;
        self.core.run(format_args!("cannot replace {}", shown(name)), |engine| {
            let outcome = engine.unlink(parent, label)?;
            if outcome.requires_reap() { engine.reap_unlinked_inode(outcome.inode) } else { Ok(()) }
        })
    }

    fn set_attributes(&mut self, number: InodeNumber, attributes: &Attributes) -> Result<()> {
        let now = timestamp(attributes.modified);
        self.core.run("cannot set attributes", |engine| {
            let info = engine.inode(number)?;
            // By itself: a change of the owner clears the setuid bit.
            if (info.uid, info.gid) != (attributes.uid, attributes.gid) {
                let owner = Some((attributes.uid, attributes.gid));
                engine.update_inode_metadata(
                    number,
                    InodeMetadataUpdate { owner, ..Default::default() },
                )?;
            }
            engine.update_inode_metadata(
                number,
                InodeMetadataUpdate {
                    permissions: Some(permissions(attributes.mode)?),
                    atime: Some(now),
                    mtime: Some(now),
                    ..Default::default()
                },
            )
        })?;
        Ok(())
    }

    fn set_times(&mut self, number: InodeNumber, modified: SystemTime) -> Result<()> {
        set_times(self.core, number, modified)
    }
}

fn set_times(core: &mut Core, number: InodeNumber, modified: SystemTime) -> Result<()> {
    let time = Some(timestamp(modified));
    let update = InodeMetadataUpdate { atime: time, mtime: time, ..Default::default() };
    core.run("cannot set times", |engine| engine.update_inode_metadata(number, update))?;
    Ok(())
}

fn create_directory(
    core: &mut Core,
    parent: InodeNumber,
    name: &[u8],
    attributes: &Attributes,
) -> Result<InodeNumber> {
    let label = file_name(name)?;
    core.need_room(format_args!("cannot make the directory {}", shown(name)), 1)?;
    core.before_contents()?;
    let info = core.run(format_args!("cannot make the directory {}", shown(name)), |engine| {
        engine.create_directory(context(attributes), parent, label, permissions(0o755)?)
    })?;
    Ok(info.number)
}

/// The directory `at`, made with its parents if it is not there. Links are followed: it is
/// the caller's word, not the stream's.
fn make_directories(core: &mut Core, at: &str) -> Result<InodeNumber> {
    let mut path = String::from("/");
    let mut number = core.must_find("/", true)?.number();
    for part in at.split('/').filter(|p| !p.is_empty()) {
        path.push_str(part);
        number = match core.find(&path, true)? {
            Some(found) if kind(&found.info) == EntryKind::Directory => found.number(),
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format_args!("{path} is not a directory in the volume"),
                ));
            }
            None => create_directory(core, number, part.as_bytes(), &plain_directory())?,
        };
        path.push('/');
    }
    Ok(number)
}

fn plain_directory() -> Attributes {
    Attributes { mode: 0o755, uid: 0, gid: 0, modified: SystemTime::UNIX_EPOCH }
}

fn context(attributes: &Attributes) -> MutationContext {
    MutationContext::new(attributes.uid, attributes.gid, 0, 0)
}

fn permissions(mode: u16) -> rsext4::Ext4Result<FilePermissions> {
    FilePermissions::new(mode & 0o7777)
}

pub(crate) fn joined(path: &[Vec<u8>]) -> String {
    shown(&path.join(&b'/'))
}

/// Reads until the buffer is full or there is no more.
pub(crate) fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The parts of `chunk` that are not zero, by pages.
pub(crate) fn data_runs(chunk: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, page) in chunk.chunks(HOLE).enumerate() {
        if page.iter().all(|&b| b == 0) {
            continue;
        }
        let (start, end) = (index * HOLE, index * HOLE + page.len());
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_zeroes_are_left_out() {
        let mut chunk = vec![0; 5 * HOLE + 10];
        assert!(data_runs(&chunk).is_empty());
        chunk[HOLE] = 1;
        chunk[3 * HOLE - 1] = 1;
        chunk[5 * HOLE + 9] = 1;
        assert_eq!(data_runs(&chunk), [HOLE..3 * HOLE, 5 * HOLE..5 * HOLE + 10]);
        assert!(data_runs(&[]).is_empty());
    }
}
