// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Locations for objects that have no place in a file system, such as pipes.

use crate::{Dentry, FileSystem, FsStat, Inode, Location, Mount, MountFlags, OpenFlags};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use kio::{Errno, Events, File, FileKind, Result, Sink, Source, Stat};
use kmm::Frame;

/// PIPEFS_MAGIC, which stands for all of them here.
const MAGIC: u64 = 0x5049_5045;

struct ObjectInode {
    object: Arc<dyn File>,
    kind: FileKind,
}

impl File for ObjectInode {
    fn stat(&self) -> Result<Stat> {
        self.object.stat()
    }
    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.object.read_at(offset, sink)
    }
    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.object.write_at(offset, source)
    }
    fn poll(&self) -> Events {
        self.object.poll()
    }
    fn truncate(&self, size: u64) -> Result<()> {
        self.object.truncate(size)
    }
    fn map_page(&self, index: u64, for_write: bool) -> Result<Frame> {
        self.object.map_page(index, for_write)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Inode for ObjectInode {
    fn kind(&self) -> FileKind {
        self.kind
    }
    fn open(&self, _flags: OpenFlags) -> Result<Option<Arc<dyn File>>> {
        match self.kind {
            FileKind::Socket => Err(Errno::ENXIO),
            _ => Ok(Some(self.object.clone())),
        }
    }
}

struct Nowhere(Arc<dyn Inode>);

impl FileSystem for Nowhere {
    fn root(&self) -> Arc<dyn Inode> {
        self.0.clone()
    }
    fn name(&self) -> &'static str {
        "anon_inodefs"
    }
    fn statfs(&self) -> FsStat {
        FsStat::without_blocks(MAGIC)
    }
}

/// A location for `object`, whose path is `name` (`pipe:[7]`), for the magic
/// links of /proc/self/fd. Opening it gives the object again, sockets `ENXIO`.
pub fn anonymous_location(object: Arc<dyn File>, name: Vec<u8>) -> Location {
    let kind = object.stat().map_or(FileKind::Anonymous, |s| s.kind);
    let inode: Arc<dyn Inode> = Arc::new(ObjectInode { object, kind });
    let dentry = Dentry::unhashed(inode.clone(), None, &name);
    Location { mount: Mount::detached(Arc::new(Nowhere(inode)), MountFlags::empty()), dentry }
}
