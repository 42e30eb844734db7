// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tree of files that becomes an image.

use super::{Error, shown};
use bhojpur_abi::erofs::Kind;
use bhojpur_abi::erofs::layout::{BLOCK_SIZE, NAME_MAX};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Links that are followed in one path, as Linux's `MAXSYMLINKS`.
const LINKS_MAX: usize = 40;

/// Permissions, owner and time of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The lower twelve bits of the mode.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970; without it, the image's time.
    pub mtime: Option<u64>,
}

impl Attributes {
    /// `rw-r--r--`.
    pub const FILE: Self = Self::with_permissions(0o644);
    /// `rwxr-xr-x`.
    pub const EXECUTABLE: Self = Self::with_permissions(0o755);
    /// `rwxr-xr-x`.
    pub const DIRECTORY: Self = Self::with_permissions(0o755);

    /// Of root, with these permissions and the image's time.
    pub const fn with_permissions(permissions: u16) -> Self {
        Self { permissions: permissions & 0o7777, uid: 0, gid: 0, mtime: None }
    }

    fn of(metadata: &Metadata) -> Self {
        Self::with_permissions((metadata.mode() & 0o7777) as u16)
    }
}

/// Where the bytes of a file come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// From memory.
    Bytes(Vec<u8>),
    /// From a file of the host, read when the image is written.
    Host {
        /// The file.
        path: PathBuf,
        /// Its length, which must not change.
        len: u64,
    },
}

impl Data {
    /// A file of the host, with the length that it has now.
    pub fn host(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Self::Host { path, len: metadata.len() }),
            Ok(_) => Err(Error::Special(path)),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Host { len, .. } => *len,
        }
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an inode holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Directory(BTreeMap<Vec<u8>, usize>),
    File(Data),
    Symlink(Vec<u8>),
    Device {
        kind: Kind,
        major: u32,
        minor: u32,
    },
    /// A named pipe or a socket.
    Special(Kind),
}

impl Content {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Directory(_) => Kind::Directory,
            Self::File(_) => Kind::Regular,
            Self::Symlink(_) => Kind::Symlink,
            Self::Device { kind, .. } | Self::Special(kind) => *kind,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) attributes: Attributes,
}

/// A tree of files. Parents that are missing are made as directories of root;
/// a file takes the place of an older one with its name.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) nodes: Vec<Node>,
    left_out: Vec<PathBuf>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) const ROOT: usize = 0;

impl Tree {
    /// Only a root directory.
    pub fn new() -> Self {
        let content = Content::Directory(BTreeMap::new());
        let root = Node { content, attributes: Attributes::DIRECTORY };
        Self { nodes: vec![root], left_out: Vec::new() }
    }

    /// Adds a directory, or sets the attributes of the one that is there.
    pub fn add_directory(
        &mut self,
        path: impl AsRef<[u8]>,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let at = self.directory(path, path)?;
        self.nodes[at].attributes = attributes;
        Ok(())
    }

    /// Adds a file.
    pub fn add_file(
        &mut self,
        path: impl AsRef<[u8]>,
        data: Data,
        attributes: Attributes,
    ) -> Result<(), Error> {
        self.insert(path.as_ref(), Content::File(data), attributes).map(drop)
    }

    /// Adds a file with these bytes.
    pub fn add_bytes(
        &mut self,
        path: impl AsRef<[u8]>,
        bytes: Vec<u8>,
        attributes: Attributes,
    ) -> Result<(), Error> {
        self.add_file(path, Data::Bytes(bytes), attributes)
    }

    /// Adds a symbolic link.
    pub fn add_symlink(
        &mut self,
        path: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let target = target.as_ref();
        if target.is_empty() || target.len() >= BLOCK_SIZE || target.contains(&0) {
            return Err(Error::Path(shown(target)));
        }
        let content = Content::Symlink(target.to_vec());
        self.insert(path.as_ref(), content, Attributes::with_permissions(0o777)).map(drop)
    }

    /// Adds a device node.
    pub fn add_device(
        &mut self,
        path: impl AsRef<[u8]>,
        kind: Kind,
        (major, minor): (u32, u32),
        attributes: Attributes,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        if !device || major >= 1 << 12 || minor >= 1 << 20 {
            return Err(Error::Path(shown(path)));
        }
        self.insert(path, Content::Device { kind, major, minor }, attributes).map(drop)
    }

    /// Adds a named pipe.
    pub fn add_fifo(
        &mut self,
        path: impl AsRef<[u8]>,
        attributes: Attributes,
    ) -> Result<(), Error> {
        self.insert(path.as_ref(), Content::Special(Kind::Fifo), attributes).map(drop)
    }

    /// Gives the file at `existing` another name.
    pub fn add_hard_link(
        &mut self,
        path: impl AsRef<[u8]>,
        existing: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let existing = existing.as_ref();
        let node = self.find(existing).filter(|&n| self.entries(n).is_none());
        self.link(path.as_ref(), node.ok_or_else(|| Error::NotFile(shown(existing)))?)
    }

    /// Adds a file or a directory of the host with all that is in it. Owners
    /// become root and times the image's; permissions, symbolic links, hard
    /// links, named pipes and device nodes stay. Sockets in it, at which nobody
    /// would listen, are [left out](Self::left_out).
    pub fn add_host(
        &mut self,
        host: impl AsRef<Path>,
        guest: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.copy_host(host.as_ref(), guest.as_ref(), &mut HashMap::new())
    }

    fn copy_host(
        &mut self,
        host: &Path,
        guest: &[u8],
        seen: &mut HashMap<(u64, u64), usize>,
    ) -> Result<(), Error> {
        let read = |source| Error::Read { path: host.to_owned(), source };
        let metadata = fs::symlink_metadata(host).map_err(read)?;
        let (kind, attributes) = (metadata.file_type(), Attributes::of(&metadata));
        if kind.is_dir() {
            self.add_directory(guest, attributes)?;
            let names = fs::read_dir(host).map_err(read)?.map(|e| e.map(|e| e.file_name()));
            let mut names: Vec<_> = names.collect::<Result<_, _>>().map_err(read)?;
            names.sort();
            for name in names {
                match self.copy_host(&host.join(&name), &join(guest, &name), seen) {
                    Err(Error::Special(path)) => self.left_out.push(path),
                    done => done?,
                }
            }
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::read_link(host).map_err(read)?;
            return self.add_symlink(guest, target.as_os_str().as_bytes());
        }
        let identity = (metadata.dev(), metadata.ino());
        if let Some(&node) = seen.get(&identity) {
            return self.link(guest, node);
        }
        let content = if kind.is_file() {
            Content::File(Data::Host { path: host.to_owned(), len: metadata.len() })
        } else if kind.is_char_device() || kind.is_block_device() {
            let kind = if kind.is_char_device() { Kind::CharDevice } else { Kind::BlockDevice };
            let (major, minor) = device_numbers(metadata.rdev());
            Content::Device { kind, major, minor }
        } else if kind.is_fifo() {
            Content::Special(Kind::Fifo)
        } else {
            return Err(Error::Special(host.to_owned()));
        };
        let node = self.insert(guest, content, attributes)?;
        if metadata.nlink() > 1 {
            seen.insert(identity, node);
        }
        Ok(())
    }

    /// What directories of the host had that no image can have.
    #[must_use]
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// What stands at `path`; symbolic links on the way are followed, a last
    /// one is not.
    pub fn kind(&self, path: impl AsRef<[u8]>) -> Option<Kind> {
        self.find(path.as_ref()).map(|n| self.nodes[n].content.kind())
    }

    /// Whether something stands at `path`.
    pub fn contains(&self, path: impl AsRef<[u8]>) -> bool {
        self.find(path.as_ref()).is_some()
    }

    /// The file at `path`, all symbolic links followed.
    pub fn file(&self, path: impl AsRef<[u8]>) -> Option<&Data> {
        let mut path = path.as_ref().to_vec();
        for _ in 0..LINKS_MAX {
            match &self.nodes[self.find(&path)?].content {
                Content::File(data) => return Some(data),
                Content::Symlink(target) if target.starts_with(b"/") => path = target.clone(),
                Content::Symlink(target) => {
                    let (parent, _) = split(&path)?;
                    path = [parent, target.as_slice()].join(&b'/');
                }
                _ => return None,
            }
        }
        None
    }

    pub(super) fn entries(&self, node: usize) -> Option<&BTreeMap<Vec<u8>, usize>> {
        match &self.nodes[node].content {
            Content::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let Some((parent, name)) = split(path) else { return Some(ROOT) };
        let mut probe = Walk::new(parent);
        let mut at = ROOT;
        while let Some(part) = probe.next_part() {
            at = self.step(at, &part, &mut probe, path).ok()??;
        }
        self.entries(at)?.get(name).copied()
    }

    /// One step of a walk: the child, or `None` if there is none.
    fn step(
        &self,
        at: usize,
        part: &[u8],
        walk: &mut Walk,
        whole: &[u8],
    ) -> Result<Option<usize>, Error> {
        if part == b".." {
            walk.trail.pop();
            return Ok(Some(walk.trail.last().copied().unwrap_or(ROOT)));
        }
        let entries = self.entries(at).ok_or_else(|| Error::NotDirectory(shown(whole)))?;
        let Some(&child) = entries.get(part) else { return Ok(None) };
        match &self.nodes[child].content {
            Content::Directory(_) => {
                walk.trail.push(child);
                Ok(Some(child))
            }
            Content::Symlink(target) if walk.links < LINKS_MAX => {
                walk.follow(target);
                Ok(Some(walk.trail.last().copied().unwrap_or(ROOT)))
            }
            _ => Err(Error::NotDirectory(shown(whole))),
        }
    }

    /// The directory at `path`, made if it is missing.
    fn directory(&mut self, path: &[u8], whole: &[u8]) -> Result<usize, Error> {
        check(path)?;
        let mut walk = Walk::new(path);
        let mut at = ROOT;
        while let Some(part) = walk.next_part() {
            at = match self.step(at, &part, &mut walk, whole)? {
                Some(next) => next,
                None => {
                    let content = Content::Directory(BTreeMap::new());
                    let node = self.push(content, Attributes::DIRECTORY);
                    self.enter(at, part, node);
                    walk.trail.push(node);
                    node
                }
            };
        }
        Ok(at)
    }

    fn push(&mut self, content: Content, attributes: Attributes) -> usize {
        self.nodes.push(Node { content, attributes });
        self.nodes.len() - 1
    }

    fn enter(&mut self, directory: usize, name: Vec<u8>, node: usize) {
        if let Content::Directory(entries) = &mut self.nodes[directory].content {
            entries.insert(name, node);
        }
    }

    fn insert(
        &mut self,
        path: &[u8],
        content: Content,
        attributes: Attributes,
    ) -> Result<usize, Error> {
        let node = self.push(content, attributes);
        self.link(path, node).map(|()| node)
    }

    fn link(&mut self, path: &[u8], node: usize) -> Result<(), Error> {
        check(path)?;
        let (parent, name) = split(path).ok_or_else(|| Error::Exists(shown(path)))?;
        let directory = self.directory(parent, path)?;
        let old = self.entries(directory).and_then(|e| e.get(name)).copied();
        if old.is_some_and(|old| self.entries(old).is_some()) {
            return Err(Error::Exists(shown(path)));
        }
        self.enter(directory, name.to_vec(), node);
        Ok(())
    }
}

/// The parts of a path that are still to be walked, last first, and the
/// directories on the way to where the walk is.
struct Walk {
    parts: Vec<Vec<u8>>,
    trail: Vec<usize>,
    links: usize,
}

impl Walk {
    fn new(path: &[u8]) -> Self {
        let mut walk = Self { parts: Vec::new(), trail: Vec::new(), links: 0 };
        walk.push(path);
        walk
    }

    fn push(&mut self, path: &[u8]) {
        let parts = path.split(|&b| b == b'/').filter(|p| !p.is_empty() && *p != b".");
        self.parts.extend(parts.map(<[u8]>::to_vec).rev());
    }

    fn next_part(&mut self) -> Option<Vec<u8>> {
        self.parts.pop()
    }

    fn follow(&mut self, target: &[u8]) {
        self.links += 1;
        if target.starts_with(b"/") {
            self.trail.clear();
        }
        self.push(target);
    }
}

fn check(path: &[u8]) -> Result<(), Error> {
    let bad = |part: &[u8]| part == b".." || part.len() > NAME_MAX;
    if path.len() >= BLOCK_SIZE || path.contains(&0) || path.split(|&b| b == b'/').any(bad) {
        return Err(Error::Path(shown(path)));
    }
    Ok(())
}

/// Parent and last name of a path; `None` for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = path;
    loop {
        let end = rest.iter().rposition(|&b| b == b'/');
        let (parent, name) = match end {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (&rest[..0], rest),
        };
        match name {
            b"" | b"." if end.is_none() => return None,
            b"" | b"." => rest = parent,
            _ => return Some((parent, name)),
        }
    }
}

fn join(guest: &[u8], name: &OsStr) -> Vec<u8> {
    [guest, name.as_bytes()].join(&b'/')
}

/// As makedev(3) of the GNU C library; other systems have no such files that
/// matter in a guest.
fn device_numbers(rdev: u64) -> (u32, u32) {
    (((rdev >> 8) & 0xfff) as u32, ((rdev & 0xff) | ((rdev >> 12) & 0xf_ff00)) as u32)
}
