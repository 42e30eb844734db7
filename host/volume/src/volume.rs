// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A volume: the calls that the rest of the product makes.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bhojpur_formats::atomic::AtomicFile;

use crate::core::Core;
use crate::disk::Writing;
use crate::estimate::Counter;
use crate::format::{Identity, format};
use crate::layout::{BLOCK, Layout};
use crate::room::Room;
use crate::unpack::Unpacker;
use crate::{
    Access, CreateOptions, Entry, EntryKind, Error, ErrorKind, Estimate, Report, Result, Summary,
    Usage, host, lock, pack, stream, superblock, tree,
};

/// An open volume.
pub struct Volume {
    path: PathBuf,
    file: Arc<File>,
    access: Access,
    /// `None` when it has ended.
    core: Option<Core>,
    summary: Summary,
}

impl Volume {
    /// Makes an empty volume at `path`, which appears whole or not at all, and opens it for
    /// writing. What had that name before is replaced.
    pub fn create(path: &Path, options: &CreateOptions) -> Result<Self> {
        Self::create_filled(path, options, |_| Ok(()))?;
        Self::open(path, Access::Write)
    }

    /// Makes a volume and fills it; `path` appears when `fill` has succeeded and all that it
    /// wrote is on the disk.
    pub fn create_filled<T>(
        path: &Path,
        options: &CreateOptions,
        fill: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let cannot = || format!("cannot make the volume {}", path.display());
        let io = |error| Error::io(cannot(), error);
        let layout = Layout::new(options.size, options.files)?;
        let atomic = AtomicFile::create(path).map_err(io)?;
        let file = atomic.file().and_then(File::try_clone).map_err(io)?;
        file.set_len(options.size / BLOCK * BLOCK).map_err(io)?;
        let time = options.timestamp.unwrap_or_else(SystemTime::now);
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let identity = Identity {
            uuid: options.uuid,
            label: label_bytes(&options.label),
            time: u32::try_from(seconds).unwrap_or(u32::MAX),
        };
        format(&file, layout, &identity).map_err(io)?;
        let mut volume =
            Self::mount(path, Arc::new(file), Access::Write, false, options.timestamp)?;
        let value = fill(&mut volume)?;
        volume.close()?;
        atomic.commit().map_err(io)?;
        sync_directory(path).map_err(io)?;
        Ok(value)
    }

    /// Opens the volume at `path`.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let opened = OpenOptions::new().read(true).write(access == Access::Write).open(path);
        let file = opened.map_err(|error| cannot_open(path, error))?;
        // First what it is: a device or directory is not to be locked.
        superblock::read(path, &file)?;
        lock::lock(path, &file, access)?;
        Self::mount(path, Arc::new(file), access, true, None)
    }

    fn mount(
        path: &Path,
        file: Arc<File>,
        access: Access,
        durable: bool,
        time: Option<SystemTime>,
    ) -> Result<Self> {
        let summary = superblock::read(path, &file)?;
        if summary.has_errors && access == Access::Write {
            return Err(Error::corrupt(format_args!(
                "{}: an error was found when it was last used",
                path.display()
            )));
        }
        let writing = match access {
            Access::Read => Writing::InMemory,
            Access::Write if durable => Writing::Durable,
            Access::Write => Writing::ToBeSynced,
        };
        let core = Core::mount(file.clone(), summary.size, writing, time)
            .map_err(|error| error.about(path))?;
        Ok(Self { path: path.to_owned(), file, access, core: Some(core), summary })
    }

    /// What its superblock said when it was opened.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// How much of it is used now.
    pub fn usage(&mut self) -> Result<Usage> {
        self.work(|core| {
            core.run("cannot read the superblock", |engine| {
                let stat = engine.statfs();
                Ok(Usage {
                    bytes: stat.total_blocks.saturating_mul(stat.block_size),
                    free_bytes: stat.free_blocks.saturating_mul(stat.block_size),
                    files: stat.total_inodes.into(),
                    free_files: stat.free_inodes.into(),
                })
            })
        })
    }

    /// Unpacks a tar stream below the directory `at`, which is made if it is not there. A file
    /// is replaced by what has its name in the stream; directories are kept and filled. After
    /// a failure, what came before it in the stream is there.
    pub fn write_tar(&mut self, at: &str, source: impl Read) -> Result<Report> {
        self.unpack(at, |unpacker| stream::unpack(source, unpacker))
    }

    /// Looks through a tar stream as [`write_tar`](Self::write_tar) would, and refuses what that
    /// would refuse on the way, above all what finds no room. Gives the bytes of its contents.
    pub fn check_tar(&mut self, at: &str, source: impl Read) -> Result<u64> {
        self.work(|core| {
            let mut room = Room::new(core, at)?;
            stream::each(source, |path, _, _, item| room.add(path, item))?;
            Ok(room.bytes())
        })
    }

    /// Copies what is in the directory `source` of this machine below the directory `at`.
    pub fn write_directory(&mut self, at: &str, source: &Path) -> Result<Report> {
        self.unpack(at, |unpacker| {
            host::each(source, |path, attributes, _, item| unpacker.item(path, attributes, item))
        })
    }

    fn unpack(
        &mut self,
        at: &str,
        work: impl FnOnce(&mut Unpacker<'_>) -> Result<()>,
    ) -> Result<Report> {
        if self.access == Access::Read {
            return Err(Error::new(
                ErrorKind::Invalid,
                format_args!("the volume {} was opened for reading", self.path.display()),
            ));
        }
        self.work(|core| {
            let mut unpacker = Unpacker::new(core, at)?;
            let result = work(&mut unpacker);
            let report = unpacker.finish();
            result.and(report)
        })
    }

    /// Packs the file or directory `at` as a tar stream. Names in it begin with the last part
    /// of `at`; with nothing for the root. An empty `lost+found` is left out.
    pub fn read_tar(&mut self, at: &str, mut sink: impl Write) -> Result<Report> {
        self.work(|core| {
            let found = core.must_find(at, false)?;
            pack::pack(core, &found, &mut sink)
        })
    }

    /// Copies the contents of the regular file `at` to `sink`; gives their length in bytes.
    pub fn read_file(&mut self, at: &str, mut sink: impl Write) -> Result<u64> {
        self.work(|core| {
            let found = core.must_find(at, true)?;
            if tree::kind(&found.info) != EntryKind::File {
                let what = format_args!("{at} is not a regular file");
                return Err(Error::new(ErrorKind::Invalid, what));
            }
            pack::contents(core, at.as_bytes(), &found.info, &mut |part| {
                let written = sink.write_all(part);
                written.map_err(|error| Error::io(format_args!("cannot write out {at}"), error))
            })?;
            Ok(found.info.size)
        })
    }

    /// What is in the directory `at`, by name.
    pub fn list(&mut self, at: &str) -> Result<Vec<Entry>> {
        self.work(|core| {
            let found = core.must_find(at, true)?;
            if tree::kind(&found.info) != EntryKind::Directory {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format_args!("{at} is not a directory"),
                ));
            }
            let mut entries = Vec::new();
            for (name, number) in core.children(found.number())? {
                let info = core.inode(number)?;
                entries.push(core.entry(name, &info)?);
            }
            Ok(entries)
        })
    }

    /// The file at `at`, not following a symbolic link in its last part.
    pub fn stat(&mut self, at: &str) -> Result<Entry> {
        self.work(|core| {
            let found = core.must_find(at, false)?;
            core.entry(found.name.clone(), &found.info)
        })
    }

    /// The file at `at`, following symbolic links.
    pub fn stat_followed(&mut self, at: &str) -> Result<Entry> {
        self.work(|core| {
            let found = core.must_find(at, true)?;
            core.entry(found.name.clone(), &found.info)
        })
    }

    /// Brings all to the image and ends. Dropping does the same, without telling of errors.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut core) = self.core.take() else { return Ok(()) };
        if self.access == Access::Read {
            return Ok(());
        }
        let what = format!("cannot write the volume {}", self.path.display());
        core.run(&what, crate::core::Engine::unmount)?;
        self.file.sync_all().map_err(|error| Error::io(what, error))
    }

    fn work<T>(&mut self, work: impl FnOnce(&mut Core) -> Result<T>) -> Result<T> {
        match &mut self.core {
            Some(core) => work(core).map_err(|error| error.about(&self.path)),
            None => Err(Error::new(ErrorKind::Invalid, "the volume is closed")),
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Without an unmount the journal has it, up to the last commit.
        let _ = self.end();
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Volume({}, {:?})", self.path.display(), self.access)
    }
}

/// Looks at the image at `path`: is it an ext4 file system that volumes can be, is it clean.
pub fn check(path: &Path) -> Result<Summary> {
    let file = File::open(path).map_err(|error| cannot_open(path, error))?;
    superblock::read(path, &file)
}

/// What the files of a tar stream need.
pub fn size_for_tar(source: impl Read) -> Result<Estimate> {
    let mut counter = Counter::default();
    stream::each(source, |path, _, size, item| counter.add(path, size, &item))?;
    Ok(counter.total())
}

/// What the files below a directory of this machine need.
pub fn size_for_directory(source: &Path) -> Result<Estimate> {
    let mut counter = Counter::default();
    host::each(source, |path, _, size, item| counter.add(path, size, &item))?;
    Ok(counter.total())
}

fn cannot_open(path: &Path, error: std::io::Error) -> Error {
    Error::io(format_args!("cannot open the volume {}", path.display()), error)
}

/// The label as the superblock has it, cut between characters.
fn label_bytes(label: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let end = (0..=label.len().min(16)).rev().find(|&n| label.is_char_boundary(n)).unwrap_or(0);
    bytes[..end].copy_from_slice(&label.as_bytes()[..end]);
    bytes
}

/// A rename is on the disk when its directory is.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
