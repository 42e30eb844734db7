// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a path to a place: path_resolution(7).

use crate::{Dentry, Follow, LinkTarget, Location, Namespace, PATH_MAX, SYMLINKS_MAX};
use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use kio::{Errno, FileKind, Result};

/// Where the resolution of a path starts.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// What "/" is for the process, and what ".." does not leave.
    pub root: &'a Location,
    /// The working directory, or the directory behind a `dirfd`.
    pub base: &'a Location,
}

/// What the last component of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastKind {
    /// A name.
    Name,
    /// Nothing: the path is "/".
    Root,
    /// ".".
    Dot,
    /// "..".
    DotDot,
}

/// A path that is resolved but for its last component.
pub(crate) struct Tail<'p> {
    /// The directory that the last component is to be looked up in.
    pub(crate) directory: Location,
    text: Cow<'p, [u8]>,
    last: Range<usize>,
    /// True when slashes follow the last component.
    pub(crate) slash: bool,
    links: usize,
}

impl Tail<'_> {
    pub(crate) fn name(&self) -> &[u8] {
        &self.text[self.last.clone()]
    }

    pub(crate) fn kind(&self) -> LastKind {
        match self.name() {
            b"" => LastKind::Root,
            b"." => LastKind::Dot,
            b".." => LastKind::DotDot,
            _ => LastKind::Name,
        }
    }

    pub(crate) fn is_name(&self) -> bool {
        self.kind() == LastKind::Name
    }
}

fn skip_slashes(text: &[u8], from: usize) -> usize {
    text[from..].iter().position(|&b| b != b'/').map_or(text.len(), |n| from + n)
}

impl Namespace {
    /// The place that `path` leads to. An empty path is `ENOENT`: AT_EMPTY_PATH
    /// is the caller's, who has the location already.
    pub fn resolve(&self, start: Start<'_>, path: &[u8], follow: Follow) -> Result<Location> {
        let tail = self.resolve_parent(start, path)?;
        self.resolve_tail(start, tail, follow)
    }

    /// Resolves all but the last component.
    pub(crate) fn resolve_parent<'p>(&self, start: Start<'_>, path: &'p [u8]) -> Result<Tail<'p>> {
        self.limit_cache();
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.walk(start.root, start.base.clone(), Cow::Borrowed(path), 0)
    }

    /// Resolves the last component.
    pub(crate) fn resolve_tail(
        &self,
        start: Start<'_>,
        mut tail: Tail<'_>,
        follow: Follow,
    ) -> Result<Location> {
        loop {
            let at = self.step(start.root, &tail.directory, tail.name())?;
            if at.kind() == FileKind::Symlink && (follow == Follow::Yes || tail.slash) {
                match self.follow_last(start, tail, &at)? {
                    Followed::Path(next) => tail = next,
                    Followed::Place(at, slash) => return check_slash(at, slash),
                }
                continue;
            }
            return check_slash(at, tail.slash);
        }
    }

    /// Follows the symbolic link `link`, which the last component of `tail` is.
    pub(crate) fn follow_last<'p>(
        &self,
        start: Start<'_>,
        tail: Tail<'p>,
        link: &Location,
    ) -> Result<Followed<'p>> {
        let links = count_link(tail.links)?;
        match link.inode().link_target()? {
            LinkTarget::Location(at) => Ok(Followed::Place(at, tail.slash)),
            LinkTarget::Path(mut text) => {
                if text.is_empty() {
                    return Err(Errno::ENOENT);
                }
                if tail.slash {
                    text.push(b'/');
                }
                Ok(Followed::Path(self.walk(
                    start.root,
                    tail.directory,
                    Cow::Owned(text),
                    links,
                )?))
            }
        }
    }

    /// Goes through all components of `text` but the last.
    fn walk<'p>(
        &self,
        root: &Location,
        mut at: Location,
        mut text: Cow<'p, [u8]>,
        mut links: usize,
    ) -> Result<Tail<'p>> {
        if text.first() == Some(&b'/') {
            at = root.clone();
        }
        let mut from = skip_slashes(&text, 0);
        loop {
            let end = text[from..].iter().position(|&b| b == b'/').map_or(text.len(), |n| from + n);
            let next = skip_slashes(&text, end);
            if next == text.len() {
                if end > from && at.kind() != FileKind::Directory {
                    return Err(Errno::ENOTDIR);
                }
                let slash = end < text.len();
                return Ok(Tail { directory: at, text, last: from..end, slash, links });
            }
            let found = self.step(root, &at, &text[from..end])?;
            if found.kind() != FileKind::Symlink {
                at = found;
                from = next;
                continue;
            }
            links = count_link(links)?;
            match found.inode().link_target()? {
                LinkTarget::Location(target) => {
                    at = target;
                    from = next;
                }
                LinkTarget::Path(target) => {
                    if target.is_empty() {
                        return Err(Errno::ENOENT);
                    }
                    if target[0] == b'/' {
                        at = root.clone();
                    }
                    text = Cow::Owned(join(target, &text[next..])?);
                    from = skip_slashes(&text, 0);
                }
            }
        }
    }

    /// One component, from `at`, without following a link.
    fn step(&self, root: &Location, at: &Location, name: &[u8]) -> Result<Location> {
        match name {
            b"" => Ok(at.clone()),
            _ if at.kind() != FileKind::Directory => Err(Errno::ENOTDIR),
            b"." => Ok(at.clone()),
            b".." => Ok(self.parent_of(root, at)),
            _ => {
                let dentry = at.dentry.child(name)?;
                Ok(self.cross(Location { mount: at.mount.clone(), dentry }))
            }
        }
    }

    /// What ".." is at `at`; the root's is the root.
    pub fn parent_of(&self, root: &Location, at: &Location) -> Location {
        let mut at = at.clone();
        loop {
            if at.is(root) {
                return at;
            }
            if at.mount.is_top(&at.dentry) {
                match at.mount.mount_point().cloned() {
                    Some(place) => at = place,
                    None => return at,
                }
                continue;
            }
            if let Some(parent) = at.dentry.parent() {
                at.dentry = parent;
            }
            return self.cross(at);
        }
    }

    /// The entry `name` of the directory at `at`, for listings that show the
    /// inode numbers of what is mounted on it.
    pub fn entry(&self, at: &Location, name: &[u8]) -> Result<Location> {
        let dentry: Arc<Dentry> = at.dentry.child(name)?;
        Ok(self.cross(Location { mount: at.mount.clone(), dentry }))
    }
}

/// Where a link at the end of a path leads.
pub(crate) enum Followed<'p> {
    /// To another path, of which the last component remains.
    Path(Tail<'p>),
    /// To a place; and whether slashes follow.
    Place(Location, bool),
}

fn check_slash(at: Location, slash: bool) -> Result<Location> {
    match slash && at.kind() != FileKind::Directory {
        true => Err(Errno::ENOTDIR),
        false => Ok(at),
    }
}

fn count_link(links: usize) -> Result<usize> {
    match links < SYMLINKS_MAX {
        true => Ok(links + 1),
        false => Err(Errno::ELOOP),
    }
}

fn join(mut target: Vec<u8>, rest: &[u8]) -> Result<Vec<u8>> {
    target.try_reserve(rest.len() + 1).map_err(|_| Errno::ENOMEM)?;
    target.push(b'/');
    target.extend_from_slice(rest);
    Ok(target)
}
