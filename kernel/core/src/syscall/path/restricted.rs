// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Path resolution with the restrictions of openat2(2), one component at a
//! time.

use alloc::vec::Vec;
use kio::{Errno, FileKind, Result};
use kvfs::{Follow, LinkTarget, Location, Namespace, SYMLINKS_MAX, Start};

pub(super) const NO_XDEV: u64 = 1;
pub(super) const NO_MAGICLINKS: u64 = 2;
pub(super) const NO_SYMLINKS: u64 = 4;
pub(super) const BENEATH: u64 = 8;
pub(super) const IN_ROOT: u64 = 16;
pub(super) const CACHED: u64 = 32;

/// Where a walk ended: the directory, the last name in it (never a link that is
/// to be followed), and whether slashes follow.
pub(super) struct End {
    pub(super) directory: Location,
    pub(super) name: Vec<u8>,
    pub(super) slash: bool,
}

pub(super) struct Walk<'a> {
    namespace: &'a Namespace,
    start: Start<'a>,
    restrictions: u64,
    /// Whether a link at the end is followed.
    follow: bool,
    at: Location,
    links: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        namespace: &'a Namespace,
        start: Start<'a>,
        restrictions: u64,
        follow: bool,
    ) -> Self {
        Self { namespace, start, restrictions, follow, at: start.base.clone(), links: 0 }
    }

    fn restricted(&self, by: u64) -> bool {
        self.restrictions & by != 0
    }

    /// `EXDEV` for a step to another mount that is not allowed.
    fn check_mount(&self, next: &Location) -> Result<()> {
        let same = next.mount().id() == self.at.mount().id();
        if !same && self.restricted(NO_XDEV) { Err(Errno::EXDEV) } else { Ok(()) }
    }

    fn go(&mut self, next: Location) -> Result<()> {
        self.check_mount(&next)?;
        self.at = next;
        Ok(())
    }

    fn enter_root(&mut self) -> Result<()> {
        if self.restricted(BENEATH) {
            return Err(Errno::EXDEV);
        }
        self.go(self.start.root.clone())
    }

    fn enter_parent(&mut self) -> Result<()> {
        if self.restricted(BENEATH) && self.at.is(self.start.base) {
            return Err(Errno::EXDEV);
        }
        self.go(self.namespace.parent_of(self.start.root, &self.at))
    }

    fn look_up(&self, name: &[u8]) -> Result<Location> {
        let start = Start { root: self.start.root, base: &self.at };
        self.namespace.resolve(start, name, Follow::No)
    }

    /// The text of a link that is followed; `None` when it led to a place.
    fn link(&mut self, link: &Location) -> Result<Option<Vec<u8>>> {
        self.links += 1;
        if self.restricted(NO_SYMLINKS) || self.links > SYMLINKS_MAX {
            return Err(Errno::ELOOP);
        }
        match link.inode().link_target()? {
            LinkTarget::Path(text) if text.is_empty() => Err(Errno::ENOENT),
            LinkTarget::Path(text) => Ok(Some(text)),
            LinkTarget::Location(_) if self.restricted(NO_MAGICLINKS) => Err(Errno::ELOOP),
            LinkTarget::Location(_) if self.restricted(BENEATH | IN_ROOT) => Err(Errno::EXDEV),
            LinkTarget::Location(place) => self.go(place).map(|()| None),
        }
    }

    /// Goes through `path` up to its last name.
    pub(super) fn run(mut self, path: &[u8]) -> Result<End> {
        let mut text = path.to_vec();
        loop {
            if text.first() == Some(&b'/') {
                self.enter_root()?;
            }
            let from = text.iter().position(|b| *b != b'/').unwrap_or(text.len());
            let len = text[from..].iter().position(|b| *b == b'/');
            let end = len.map_or(text.len(), |n| from + n);
            let next = text[end..].iter().position(|b| *b != b'/');
            let (name, slash) = (text[from..end].to_vec(), end < text.len());
            let rest = next.map(|n| text[end + n..].to_vec());
            match name.as_slice() {
                b"" | b"." => {}
                b".." => self.enter_parent()?,
                _ if rest.is_some() || self.follow || slash => {
                    let found = match self.look_up(&name) {
                        Ok(found) => found,
                        // What is missing at the end may be made.
                        Err(Errno::ENOENT) if rest.is_none() => {
                            return Ok(End { directory: self.at, name, slash });
                        }
                        Err(error) => return Err(error),
                    };
                    if found.kind() == FileKind::Symlink {
                        if let Some(mut target) = self.link(&found)? {
                            if slash {
                                target.push(b'/');
                            }
                            target.extend(rest.unwrap_or_default());
                            if target.len() >= kvfs::PATH_MAX {
                                return Err(Errno::ENAMETOOLONG);
                            }
                            text = target;
                            continue;
                        }
                    } else if rest.is_some() {
                        self.go(found)?;
                    } else {
                        self.check_mount(&found)?;
                        return Ok(End { directory: self.at, name, slash });
                    }
                }
                _ => return Ok(End { directory: self.at, name, slash }),
            }
            match rest {
                Some(rest) => text = rest,
                // "." and "..", the root, or the place of a magic link.
                None => return Ok(End { directory: self.at, name: b".".to_vec(), slash }),
            }
        }
    }
}
