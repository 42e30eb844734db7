// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The read-only root image, mapped in place: the pages of a file are frames
//! of the image, so that neither reading nor mapping copies anything first.
//!
//! The one exception is the last page of a file whose end shares a block with
//! metadata (the layout `FLAT_INLINE`): a mapping gets a copy of it, made once.
//!
//! **Lock order**: the lock of a tail is a leaf.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(test)]
mod tests;

use abi::erofs::{Error, Image, Inode as Raw, Kind};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::time::Duration;
use kio::{DirEntry, Errno, File, FileKind, Result, Sink, Stat};
use kmm::{FRAME_SIZE, Frame};
use ksync::SpinLock;
use kvfs::{FileSystem, FsStat, Inode, MountFlags};

const EROFS_MAGIC: u64 = 0xe0f5_e1e2;

/// Gives the frame that holds the page of the image with this index.
pub type FrameOfPage = Box<dyn Fn(usize) -> Frame + Send + Sync>;

struct Shared {
    image: Image<'static>,
    frame_of_page: FrameOfPage,
    device: u64,
}

/// A mounted image.
pub struct Erofs {
    root: Arc<Node>,
}

impl Erofs {
    /// Checks the super block and the root directory of `image`, which starts
    /// at a page boundary; `frame_of_page` hands out its pages.
    pub fn new(
        image: &'static [u8],
        frame_of_page: FrameOfPage,
    ) -> core::result::Result<Arc<Self>, Error> {
        let image = Image::open(image)?;
        let root = image.root()?;
        let device = kvfs::new_device_number();
        let shared = Arc::new(Shared { image, frame_of_page, device });
        Ok(Arc::new(Self { root: Node::new(shared, root) }))
    }
}

impl FileSystem for Erofs {
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn name(&self) -> &'static str {
        "erofs"
    }

    fn statfs(&self) -> FsStat {
        let image = &self.root.shared.image;
        FsStat {
            blocks: image.block_count().into(),
            inodes: image.inode_count(),
            ..FsStat::without_blocks(EROFS_MAGIC)
        }
    }

    fn flags(&self) -> MountFlags {
        MountFlags::RDONLY
    }
}

impl fmt::Debug for Erofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Erofs({} inodes)", self.root.shared.image.inode_count())
    }
}

struct Node {
    shared: Arc<Shared>,
    raw: Raw<'static>,
    /// The last page, copied for mappings.
    tail: SpinLock<Option<Frame>>,
}

/// A damaged image is what Linux calls a structure that needs cleaning.
fn damaged(error: Error) -> Errno {
    match error {
        Error::NotDirectory => Errno::ENOTDIR,
        Error::NotSymlink => Errno::EINVAL,
        _ => Errno::EUCLEAN,
    }
}

fn kind_of(kind: Kind) -> FileKind {
    match kind {
        Kind::Fifo => FileKind::Fifo,
        Kind::CharDevice => FileKind::CharDevice,
        Kind::Directory => FileKind::Directory,
        Kind::BlockDevice => FileKind::BlockDevice,
        Kind::Regular => FileKind::Regular,
        Kind::Symlink => FileKind::Symlink,
        Kind::Socket => FileKind::Socket,
    }
}

impl Node {
    fn new(shared: Arc<Shared>, raw: Raw<'static>) -> Arc<Self> {
        Arc::new(Self { shared, raw, tail: SpinLock::new(None) })
    }

    /// The page in place, when the image has all of it as the program is to
    /// see it: at a page boundary, with zeroes behind the end of the file.
    fn page_in_place(&self, offset: u64) -> Option<Frame> {
        let extent = self
            .raw
            .extents()
            .find(|e| e.file_offset <= offset && offset < e.file_offset + e.image.len() as u64)?;
        let start = extent.image.start + usize::try_from(offset - extent.file_offset).ok()?;
        let page = self.shared.image.bytes().get(start..start + FRAME_SIZE)?;
        let used = FRAME_SIZE.min(extent.image.end - start);
        let whole = start.is_multiple_of(FRAME_SIZE) && page[used..].iter().all(|&b| b == 0);
        whole.then(|| (self.shared.frame_of_page)(start / FRAME_SIZE))
    }

    fn copied_page(&self, offset: u64) -> Result<Frame> {
        let mut tail = self.tail.lock();
        if let Some(frame) = &*tail {
            return Ok(frame.clone());
        }
        let frame = Frame::allocate_zeroed_for_user().map_err(|_| Errno::ENOMEM)?;
        let mut done = 0;
        while done < FRAME_SIZE {
            let run = self.raw.data_at(offset + done as u64);
            let count = run.len().min(FRAME_SIZE - done);
            if count == 0 {
                break;
            }
            frame.write(done, &run[..count]);
            done += count;
        }
        *tail = Some(frame.clone());
        Ok(frame)
    }
}

impl File for Node {
    fn stat(&self) -> Result<Stat> {
        let raw = &self.raw;
        let kind = kind_of(raw.kind());
        let (seconds, nanos) = raw.mtime();
        let modified = Duration::new(seconds, nanos.min(999_999_999));
        let (major, minor) = match kind {
            FileKind::CharDevice | FileKind::BlockDevice => raw.device(),
            _ => (0, 0),
        };
        let (major, minor) = (u64::from(major), u64::from(minor));
        Ok(Stat {
            device: self.shared.device,
            inode: raw.nid(),
            permissions: u32::from(raw.permissions()),
            links: raw.links(),
            uid: raw.uid(),
            gid: raw.gid(),
            device_node: (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12,
            size: raw.size(),
            blocks: raw.size().div_ceil(FRAME_SIZE as u64) * (FRAME_SIZE as u64 / 512),
            accessed: modified,
            modified,
            changed: modified,
            ..Stat::anonymous(kind)
        })
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        match self.raw.kind() {
            Kind::Regular => {}
            Kind::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        let mut done = 0;
        // Two runs at most: the blocks, and the tail.
        while sink.remaining() > 0 {
            let run = self.raw.data_at(offset.saturating_add(done as u64));
            if run.is_empty() {
                break;
            }
            let want = run.len().min(sink.remaining());
            match sink.put(run) {
                Ok(n) => {
                    done += n;
                    if n < want {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, _offset: u64, _source: &mut dyn kio::Source) -> Result<usize> {
        Err(Errno::EROFS)
    }

    fn truncate(&self, _size: u64) -> Result<()> {
        Err(Errno::EROFS)
    }

    fn allocate(&self, _mode: u32, _offset: u64, _length: u64) -> Result<()> {
        Err(Errno::EROFS)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    fn read_dir(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        // 0, 1 and 2 are the start; a position is a multiple of 12.
        let from = if cursor < 3 { 0 } else { cursor };
        let mut entries = self.raw.entries(from).map_err(damaged)?;
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(damaged)?;
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            let kind = match entry.kind {
                Some(kind) => kind,
                None => self.shared.image.inode(entry.nid).map_err(damaged)?.kind(),
            };
            let next = entries.position();
            let name = entry.name;
            if !emit(DirEntry { name, inode: entry.nid, kind: kind_of(kind), next }) {
                break;
            }
        }
        Ok(())
    }

    fn map_page(&self, index: u64, for_write: bool) -> Result<Frame> {
        if self.raw.kind() != Kind::Regular {
            return Err(Errno::ENODEV);
        }
        if for_write {
            return Err(Errno::EROFS);
        }
        let offset = index.checked_mul(FRAME_SIZE as u64).ok_or(Errno::EFAULT)?;
        if offset >= self.raw.size() {
            return Err(Errno::EFAULT);
        }
        match self.page_in_place(offset) {
            Some(frame) => Ok(frame),
            None => self.copied_page(offset),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Inode for Node {
    fn kind(&self) -> FileKind {
        kind_of(self.raw.kind())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let image = &self.shared.image;
        let entry = image.lookup(&self.raw, name).map_err(damaged)?.ok_or(Errno::ENOENT)?;
        let raw = image.inode(entry.nid).map_err(damaged)?;
        Ok(Self::new(self.shared.clone(), raw))
    }

    fn create(&self, _: &[u8], _: FileKind, _: u32, _: u64) -> Result<Arc<dyn Inode>> {
        Err(Errno::EROFS)
    }

    fn symlink(&self, _: &[u8], _: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::EROFS)
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        Ok(self.raw.target().map_err(damaged)?.to_vec())
    }

    fn set_attributes(&self, _: &kvfs::AttributeChange) -> Result<()> {
        Err(Errno::EROFS)
    }
}
