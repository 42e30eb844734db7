// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The trait behind every descriptor.

use crate::{Errno, Events, Result, Sink, Socket, Source, WaitQueue};
use core::any::Any;
use core::time::Duration;
use kmm::Frame;

/// What kind of object a name or a descriptor stands for; the values are the
/// `S_IFMT` bits of inode(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FileKind {
    /// Named pipe, or the ends of pipe(2).
    Fifo = 0o010_000,
    /// Character device.
    CharDevice = 0o020_000,
    /// Directory.
    Directory = 0o040_000,
    /// Block device.
    BlockDevice = 0o060_000,
    /// Regular file.
    Regular = 0o100_000,
    /// Symbolic link.
    Symlink = 0o120_000,
    /// Socket.
    Socket = 0o140_000,
    /// eventfd, epoll and others without a type in `st_mode`.
    Anonymous = 0,
}

/// What stat(2) tells, in the units of stat(2). Times are since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Device that holds the file.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Type.
    pub kind: FileKind,
    /// Permission bits, without the type.
    pub permissions: u32,
    /// Number of hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device that a device node stands for.
    pub device_node: u64,
    /// Size in bytes.
    pub size: u64,
    /// Preferred block size in bytes.
    pub block_size: u32,
    /// Allocated blocks of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub accessed: Duration,
    /// Last change of the contents.
    pub modified: Duration,
    /// Last change of the attributes.
    pub changed: Duration,
}

impl Stat {
    /// A file of `kind` without a place on a file system.
    pub fn anonymous(kind: FileKind) -> Self {
        Self {
            device: 0,
            inode: 1,
            kind,
            permissions: 0o600,
            links: 1,
            uid: 0,
            gid: 0,
            device_node: 0,
            size: 0,
            block_size: 4096,
            blocks: 0,
            accessed: Duration::ZERO,
            modified: Duration::ZERO,
            changed: Duration::ZERO,
        }
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Name within the directory: any bytes but NUL and '/'.
    pub name: &'a [u8],
    /// Inode number.
    pub inode: u64,
    /// Type.
    pub kind: FileKind,
    /// Cursor that continues behind this entry; never below 3, so that the
    /// caller can use 1 and 2 for "." and "..".
    pub next: u64,
}

/// The argument of ioctl(2): a number, or the address of user memory that is
/// read and written through it.
pub trait UserWords {
    /// The raw third argument.
    fn value(&self) -> u64;
    /// Copies from the memory that the argument points to.
    fn load(&self, buffer: &mut [u8]) -> Result<()>;
    /// Copies to the memory that the argument points to.
    fn store(&self, bytes: &[u8]) -> Result<()>;
}

/// An object that a program holds a descriptor of. No operation blocks: see
/// the crate documentation for `EAGAIN` and `EFAULT`. Default methods give the
/// answers of an object that cannot do the thing, as Linux would.
pub trait File: Any + Send + Sync {
    /// Attributes.
    fn stat(&self) -> Result<Stat>;

    /// Reads at `offset` into `sink`; streams ignore `offset`. `Ok(0)` with
    /// room in the sink is the end of file.
    fn read_at(&self, _offset: u64, _sink: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Writes at `offset` from `source`; streams ignore `offset`.
    fn write_at(&self, _offset: u64, _source: &mut dyn Source) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Writes at the end, atomically with other appends; returns the count and
    /// the new end of file.
    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        let end = self.stat()?.size;
        let count = self.write_at(end, source)?;
        Ok((count, end + count as u64))
    }

    /// True when the object has positions: lseek(2), pread(2) work.
    fn is_seekable(&self) -> bool {
        false
    }

    /// lseek(2) with SEEK_DATA, or with SEEK_HOLE when `hole`. A file that
    /// knows of no holes is data up to its end.
    fn seek_hole(&self, offset: u64, hole: bool) -> Result<u64> {
        match self.stat()?.size {
            size if offset >= size => Err(Errno::ENXIO),
            size => Ok(if hole { size } else { offset }),
        }
    }

    /// What the object is ready for now.
    fn poll(&self) -> Events {
        Events::READABLE | Events::WRITABLE
    }

    /// The queue that is notified when [`poll`](Self::poll) may have changed;
    /// `None` for objects that are always ready.
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// Called when the last descriptor of an open file description is closed,
    /// although the object itself may live on (for example as a TCP
    /// connection that still sends).
    fn close(&self) {}

    /// ioctl(2); returns its result.
    fn ioctl(&self, _request: u32, _argument: &dyn UserWords) -> Result<u64> {
        Err(Errno::ENOTTY)
    }

    /// ftruncate(2).
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// fallocate(2) with its mode bits.
    fn allocate(&self, _mode: u32, _offset: u64, _length: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// fsync(2), or fdatasync(2) with `data_only`.
    fn sync(&self, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// Calls `emit` for the entries behind `cursor` (0 to 2 are the start) until
    /// it returns false; the entry it refused comes again. "." and ".." are the
    /// caller's. Runs under the directory's lock, so `emit` only copies.
    fn read_dir(&self, _cursor: u64, _emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        Err(Errno::ENOTDIR)
    }

    /// The frame that holds page `index` (4 KiB units) for mmap(2). With
    /// `for_write` a shared mapping is about to change it, and a hole must get
    /// a frame of its own. A page wholly behind the end is `EFAULT` (SIGBUS).
    fn map_page(&self, _index: u64, _for_write: bool) -> Result<Frame> {
        Err(Errno::ENODEV)
    }

    /// The socket interface, when the object is a socket.
    fn as_socket(&self) -> Option<&dyn Socket> {
        None
    }

    /// For downcasts to the concrete type (sockets in socket calls, epoll).
    fn as_any(&self) -> &dyn Any;
}
