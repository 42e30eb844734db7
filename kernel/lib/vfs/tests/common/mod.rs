// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A namespace with a tmpfs root, and short names for its operations.
#![allow(dead_code, reason = "each test uses a part of it")]

use kfs_tmpfs::{Limits, Tmpfs};
use kio::{Clock, Errno, File, FileKind, Instant, Result, SliceSink, SliceSource};
use kvfs::{
    Follow, Inode, Location, MountFlags, Namespace, OpenFlags, Opened, RenameFlags, SpecialFiles,
    Start,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Default)]
pub struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn monotonic(&self) -> Instant {
        Instant::from_nanos(self.0.fetch_add(1, Ordering::Relaxed))
    }
    fn realtime(&self) -> Duration {
        Duration::from_nanos(1_700_000_000_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
}

pub struct NoDevices;

impl SpecialFiles for NoDevices {
    fn open_device(&self, _: FileKind, _: u64, _: OpenFlags) -> Result<Arc<dyn File>> {
        Err(Errno::ENXIO)
    }
    fn open_fifo(&self, _: &Arc<dyn Inode>, _: OpenFlags) -> Result<Arc<dyn File>> {
        Err(Errno::ENXIO)
    }
}

pub fn tmpfs() -> Arc<Tmpfs> {
    kmm::hosted::start();
    let limits = Limits { bytes: 16 << 20, inodes: 100_000 };
    Tmpfs::new(Arc::new(Ticks::default()), limits, 0o755).unwrap()
}

pub struct World {
    pub ns: Namespace,
    pub root: Location,
    pub base: Location,
}

impl World {
    pub fn new() -> Self {
        Self::over(Namespace::new(tmpfs(), MountFlags::empty(), Arc::new(NoDevices)))
    }
    pub fn over(ns: Namespace) -> Self {
        let root = ns.root();
        Self { ns, base: root.clone(), root }
    }
    pub fn start(&self) -> Start<'_> {
        Start { root: &self.root, base: &self.base }
    }
    pub fn at(&self, path: &str) -> Result<Location> {
        self.ns.resolve(self.start(), path.as_bytes(), Follow::Yes)
    }
    pub fn lat(&self, path: &str) -> Result<Location> {
        self.ns.resolve(self.start(), path.as_bytes(), Follow::No)
    }
    pub fn mkdir(&self, path: &str) -> Result<()> {
        self.ns.make_directory(self.start(), path.as_bytes(), 0o755).map(drop)
    }
    pub fn symlink(&self, target: &str, path: &str) -> Result<()> {
        self.ns.make_symlink(target.as_bytes(), self.start(), path.as_bytes()).map(drop)
    }
    pub fn link(&self, old: &str, new: &str) -> Result<()> {
        self.ns.link(&self.lat(old)?, self.start(), new.as_bytes()).map(drop)
    }
    pub fn open(&self, path: &str, flags: OpenFlags) -> Result<Opened> {
        self.ns.open(self.start(), path.as_bytes(), flags, 0o644)
    }
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let flags = OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC;
        let opened = self.open(path, flags)?;
        opened.file.write_at(0, &mut SliceSource::new(text.as_bytes())).map(drop)
    }
    pub fn read(&self, path: &str) -> Result<String> {
        let opened = self.open(path, OpenFlags::RDONLY)?;
        let mut buffer = vec![0; 65536];
        let mut sink = SliceSink::new(&mut buffer);
        let count = opened.file.read_at(0, &mut sink)?;
        buffer.truncate(count);
        Ok(String::from_utf8(buffer).unwrap())
    }
    pub fn unlink(&self, path: &str) -> Result<()> {
        self.ns.unlink(self.start(), path.as_bytes())
    }
    pub fn rmdir(&self, path: &str) -> Result<()> {
        self.ns.remove_directory(self.start(), path.as_bytes())
    }
    pub fn rename(&self, old: &str, new: &str) -> Result<()> {
        self.rename_with(old, new, RenameFlags::empty())
    }
    pub fn rename_with(&self, old: &str, new: &str, flags: RenameFlags) -> Result<()> {
        self.ns.rename(self.start(), old.as_bytes(), self.start(), new.as_bytes(), flags)
    }
    pub fn path(&self, at: &Location) -> String {
        String::from_utf8(self.ns.path_of(&self.root, at)).unwrap()
    }
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let opened = self.open(path, OpenFlags::DIRECTORY)?;
        let mut names = Vec::new();
        opened.file.read_dir(0, &mut |e| {
            names.push(String::from_utf8(e.name.to_vec()).unwrap());
            true
        })?;
        names.sort();
        Ok(names)
    }
}
