// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Inodes whose contents are made when they are read.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use kio::{DirEntry, Errno, File, FileKind, Result, Sink, Source, Stat};
use ksync::SpinLock;
use kvfs::{AttributeChange, Inode, LinkTarget, OpenFlags};

/// Most that one write to a generated file takes.
const MAX_WRITE: usize = 4096;
/// The cursors of "." and ".." are the caller's.
const FIRST_CURSOR: u64 = 3;

/// Attributes that all kinds of pseudo inodes have.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    device: u64,
    number: u64,
    permissions: u32,
    created: Duration,
}

/// Makes headers of one file system.
pub(crate) struct Numbers {
    device: u64,
    next: AtomicU64,
}

impl Numbers {
    pub(crate) fn new() -> Self {
        Self { device: kvfs::new_device_number(), next: AtomicU64::new(1) }
    }

    pub(crate) fn header(&self, permissions: u32, created: Duration) -> Header {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Header { device: self.device, number, permissions, created }
    }
}

impl Header {
    fn stat(&self, kind: FileKind, links: u32) -> Stat {
        Stat {
            device: self.device,
            inode: self.number,
            permissions: self.permissions,
            links,
            block_size: if kind == FileKind::Directory { 1024 } else { 4096 },
            accessed: self.created,
            modified: self.created,
            changed: self.created,
            ..Stat::anonymous(kind)
        }
    }
}

type ReadText = Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;
type WriteText = Box<dyn Fn(&[u8]) -> Result<()> + Send + Sync>;

struct Text {
    header: Header,
    read: ReadText,
    write: Option<WriteText>,
}

/// A file whose text is made anew whenever it is read from its start.
pub(crate) struct Generated(Arc<Text>);

impl Generated {
    pub(crate) fn readable(
        header: Header,
        read: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Arc<dyn Inode> {
        Arc::new(Self(Arc::new(Text { header, read: Box::new(read), write: None })))
    }

    pub(crate) fn writable(
        header: Header,
        read: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
        write: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static,
    ) -> Arc<dyn Inode> {
        let write: Option<WriteText> = Some(Box::new(write));
        Arc::new(Self(Arc::new(Text { header, read: Box::new(read), write })))
    }
}

impl File for Generated {
    fn stat(&self) -> Result<Stat> {
        Ok(self.0.header.stat(FileKind::Regular, 1))
    }
    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        put_from(&(self.0.read)()?, offset, sink)
    }
    fn is_seekable(&self) -> bool {
        true
    }
    fn truncate(&self, _size: u64) -> Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Inode for Generated {
    fn kind(&self) -> FileKind {
        FileKind::Regular
    }
    fn open(&self, flags: OpenFlags) -> Result<Option<Arc<dyn File>>> {
        if flags.writable() && self.0.write.is_none() {
            return Err(Errno::EACCES);
        }
        Ok(Some(Arc::new(Snapshot { text: self.0.clone(), made: SpinLock::new(Vec::new()) })))
    }
    fn set_attributes(&self, _change: &AttributeChange) -> Result<()> {
        Err(Errno::EPERM)
    }
}

fn put_from(text: &[u8], offset: u64, sink: &mut dyn Sink) -> Result<usize> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    match from == text.len() {
        true => Ok(0),
        false => sink.put(&text[from..]),
    }
}

/// One opening of a generated file: reads that follow each other see one text.
struct Snapshot {
    text: Arc<Text>,
    made: SpinLock<Vec<u8>>,
}

impl File for Snapshot {
    fn stat(&self) -> Result<Stat> {
        Ok(self.text.header.stat(FileKind::Regular, 1))
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let known = !self.made.lock().is_empty();
        if offset == 0 || !known {
            let text = (self.text.read)()?;
            let old = core::mem::replace(&mut *self.made.lock(), text);
            drop(old);
        }
        put_from(&self.made.lock(), offset, sink)
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        let write = self.text.write.as_ref().ok_or(Errno::EINVAL)?;
        let mut bytes = alloc::vec![0; source.remaining().min(MAX_WRITE)];
        let count = source.take(&mut bytes)?;
        write(&bytes[..count])?;
        Ok(count)
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        let count = self.write_at(0, source)?;
        Ok((count, count as u64))
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn truncate(&self, _size: u64) -> Result<()> {
        match self.text.write {
            Some(_) => Ok(()),
            None => Err(Errno::EINVAL),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A symbolic link whose target is found when it is followed.
pub(crate) struct Link {
    header: Header,
    target: Box<dyn Fn() -> Result<LinkTarget> + Send + Sync>,
}

impl Link {
    pub(crate) fn computed(
        header: Header,
        target: impl Fn() -> Result<LinkTarget> + Send + Sync + 'static,
    ) -> Arc<dyn Inode> {
        Arc::new(Self { header, target: Box::new(target) })
    }

    pub(crate) fn fixed(header: Header, target: &'static str) -> Arc<dyn Inode> {
        Self::computed(header, move || Ok(LinkTarget::Path(target.into())))
    }
}

impl File for Link {
    fn stat(&self) -> Result<Stat> {
        Ok(self.header.stat(FileKind::Symlink, 1))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Inode for Link {
    fn kind(&self) -> FileKind {
        FileKind::Symlink
    }
    fn link_target(&self) -> Result<LinkTarget> {
        (self.target)()
    }
    fn read_link(&self) -> Result<Vec<u8>> {
        match (self.target)()? {
            LinkTarget::Path(path) => Ok(path),
            LinkTarget::Location(_) => Err(Errno::EINVAL),
        }
    }
}

/// Entries that come and go by themselves.
pub(crate) trait Listing: Send + Sync {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>>;

    /// Names with numbers that grow, behind `cursor`, which is one of them or
    /// less than 3.
    fn list(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()>;
}

/// A directory: fixed entries, and then those of a listing if it has one.
pub(crate) struct Directory {
    header: Header,
    fixed: BTreeMap<&'static str, (u64, Arc<dyn Inode>)>,
    listing: Option<Box<dyn Listing>>,
    dynamic: bool,
}

/// Cursors of a listing come behind those of the fixed entries.
pub(crate) const LISTING_CURSORS: u64 = 1 << 20;

impl Directory {
    pub(crate) fn new(header: Header, entries: Vec<(&'static str, Arc<dyn Inode>)>) -> Arc<Self> {
        Self::with_listing(header, entries, None)
    }

    pub(crate) fn with_listing(
        header: Header,
        entries: Vec<(&'static str, Arc<dyn Inode>)>,
        listing: Option<Box<dyn Listing>>,
    ) -> Arc<Self> {
        let fixed = entries
            .into_iter()
            .zip(FIRST_CURSOR..)
            .map(|((name, inode), cursor)| (name, (cursor, inode)))
            .collect();
        let dynamic = listing.is_some();
        Arc::new(Self { header, fixed, listing, dynamic })
    }
}

impl File for Directory {
    fn stat(&self) -> Result<Stat> {
        let inner = self.fixed.values().filter(|(_, i)| i.kind() == FileKind::Directory).count();
        Ok(self.header.stat(FileKind::Directory, 2 + inner as u32))
    }

    fn read_at(&self, _offset: u64, _sink: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let mut entries: Vec<_> = self.fixed.iter().filter(|(_, e)| e.0 > cursor).collect();
        entries.sort_by_key(|(_, entry)| entry.0);
        for (name, (next, inode)) in entries {
            let (number, kind) = (inode.stat()?.inode, inode.kind());
            if !emit(DirEntry { name: name.as_bytes(), inode: number, kind, next: *next }) {
                return Ok(());
            }
        }
        match &self.listing {
            Some(listing) => listing.list(cursor.max(LISTING_CURSORS), emit),
            None => Ok(()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Inode for Directory {
    fn kind(&self) -> FileKind {
        FileKind::Directory
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let fixed = core::str::from_utf8(name).ok().and_then(|name| self.fixed.get(name));
        match (fixed, &self.listing) {
            (Some((_, inode)), _) => Ok(inode.clone()),
            (None, Some(listing)) => listing.lookup(name),
            (None, None) => Err(Errno::ENOENT),
        }
    }

    // Linux: nothing can be made in proc and sysfs.
    fn create(&self, _: &[u8], kind: FileKind, _: u32, _: u64) -> Result<Arc<dyn Inode>> {
        match kind {
            FileKind::Regular => Err(Errno::ENOENT),
            _ => Err(Errno::EPERM),
        }
    }

    fn symlink(&self, _: &[u8], _: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }

    fn is_dynamic(&self) -> bool {
        self.dynamic
    }
}
