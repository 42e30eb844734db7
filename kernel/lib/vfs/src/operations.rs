// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The system calls that take a path, but for rename.

use crate::notify::{self, Change};
use crate::walk::{Followed, LastKind, Tail};
use crate::{
    AttributeChange, Dentry, Follow, Inode, LinkTarget, Location, Namespace, OpenFlags, Start,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;
use kio::{Errno, File, FileKind, Result, Stat};

/// What open(2) found: a place and the object that the descriptor works on.
#[derive(Clone)]
pub struct Opened {
    /// The place, for paths relative to the descriptor and for /proc.
    pub location: Location,
    /// The object.
    pub file: Arc<dyn File>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Namespace {
    /// openat(2). `permissions` are those of a file that is made, with the
    /// process's mask applied.
    pub fn open(
        &self,
        start: Start<'_>,
        path: &[u8],
        flags: OpenFlags,
        permissions: u32,
    ) -> Result<Opened> {
        let flags = match flags.contains(OpenFlags::PATH) {
            true => {
                flags
                    & (OpenFlags::PATH
                        | OpenFlags::DIRECTORY
                        | OpenFlags::NOFOLLOW
                        | OpenFlags::CLOEXEC)
            }
            false => flags,
        };
        if flags.contains(OpenFlags::TMPFILE) {
            return self.open_unnamed(start, path, flags, permissions);
        }
        if flags.contains(OpenFlags::CREAT) {
            return self.open_or_create(start, path, flags, permissions);
        }
        let follow = if flags.contains(OpenFlags::NOFOLLOW) { Follow::No } else { Follow::Yes };
        self.open_location(&self.resolve(start, path, follow)?, flags)
    }

    fn open_unnamed(
        &self,
        start: Start<'_>,
        path: &[u8],
        flags: OpenFlags,
        permissions: u32,
    ) -> Result<Opened> {
        if !flags.contains(OpenFlags::DIRECTORY)
            || flags.contains(OpenFlags::CREAT)
            || !flags.writable()
        {
            return Err(Errno::EINVAL);
        }
        let directory = self.resolve(start, path, Follow::Yes)?;
        if directory.kind() != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        directory.mount.check_writable()?;
        // open(2): with O_EXCL it never gets a name.
        let linkable = !flags.contains(OpenFlags::EXCL);
        let inode = directory.inode().create_unnamed(permissions & 0o7777, linkable)?;
        let name = alloc::format!("#{}", inode.stat()?.inode);
        let dentry = Dentry::unhashed(inode.clone(), Some(directory.dentry), name.as_bytes());
        dentry.mark_unlinked();
        let location = Location { mount: directory.mount, dentry };
        let flags = flags - OpenFlags::DIRECTORY;
        let file = inode.open(flags)?.unwrap_or(inode);
        Ok(Opened { location, file })
    }

    fn open_or_create(
        &self,
        start: Start<'_>,
        path: &[u8],
        flags: OpenFlags,
        permissions: u32,
    ) -> Result<Opened> {
        if flags.contains(OpenFlags::DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        let exclusive = flags.contains(OpenFlags::EXCL);
        let mut tail = self.resolve_parent(start, path)?;
        loop {
            if !tail.is_name() {
                return Err(if exclusive { Errno::EEXIST } else { Errno::EISDIR });
            }
            if tail.slash {
                return Err(Errno::EISDIR);
            }
            let (at, made) = self.find_or_create(&tail, permissions)?;
            if made {
                return self.open_object(at, flags - OpenFlags::TRUNC);
            }
            if exclusive {
                return Err(Errno::EEXIST);
            }
            if at.kind() == FileKind::Symlink {
                if flags.contains(OpenFlags::NOFOLLOW) {
                    return Err(Errno::ELOOP);
                }
                match self.follow_last(start, tail, &at)? {
                    Followed::Path(next) => tail = next,
                    Followed::Place(at, _) => return self.open_location(&at, flags),
                }
                continue;
            }
            if at.kind() == FileKind::Directory {
                return Err(Errno::EISDIR);
            }
            return self.open_location(&at, flags);
        }
    }

    /// The entry, and whether it had to be made as a regular file.
    fn find_or_create(&self, tail: &Tail<'_>, permissions: u32) -> Result<(Location, bool)> {
        let directory = &tail.directory;
        let parent = &directory.dentry;
        let mount = directory.mount.clone();
        let mut children = parent.children.lock();
        match parent.child_locked(&mut children, tail.name()) {
            Ok(dentry) => {
                drop(children);
                return Ok((self.cross(Location { mount, dentry }), false));
            }
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        mount.check_writable()?;
        if parent.is_dead() {
            return Err(Errno::ENOENT);
        }
        let permissions = permissions & 0o7777;
        let inode = parent.inode().create(tail.name(), FileKind::Regular, permissions, 0)?;
        let dentry = Dentry::unhashed(inode, Some(parent.clone()), tail.name());
        parent.hash(&mut children, &dentry, tail.name());
        drop(children);
        notify::created(parent, &dentry, tail.name());
        Ok((Location { mount, dentry }, true))
    }

    /// Opens what was found already: the end of open(2), and how a link of
    /// /proc/self/fd is opened again.
    pub fn open_location(&self, at: &Location, flags: OpenFlags) -> Result<Opened> {
        let kind = at.kind();
        if flags.contains(OpenFlags::DIRECTORY) && kind != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if flags.contains(OpenFlags::PATH) {
            let file: Arc<dyn File> = at.inode().clone();
            return Ok(Opened { location: at.clone(), file });
        }
        let changes = flags.writable() || flags.contains(OpenFlags::TRUNC);
        match kind {
            FileKind::Symlink => return Err(Errno::ELOOP),
            FileKind::Directory if changes || flags.contains(OpenFlags::CREAT) => {
                return Err(Errno::EISDIR);
            }
            FileKind::Regular if changes => {
                at.mount.check_writable()?;
                self.executed.check_writable(at.inode())?;
            }
            _ => {}
        }
        self.open_object(at.clone(), flags)
    }

    fn open_object(&self, location: Location, flags: OpenFlags) -> Result<Opened> {
        let inode = location.inode();
        let kind = location.kind();
        let file = match inode.open(flags)? {
            Some(file) => file,
            None => match kind {
                FileKind::Socket => return Err(Errno::ENXIO),
                FileKind::Fifo => self.special.open_fifo(inode, flags)?,
                FileKind::CharDevice | FileKind::BlockDevice => {
                    self.special.open_device(kind, inode.stat()?.device_node, flags)?
                }
                _ => inode.clone(),
            },
        };
        notify::changed(&location, Change::OPEN);
        if flags.contains(OpenFlags::TRUNC) && kind == FileKind::Regular {
            file.truncate(0)?;
            notify::changed(&location, Change::MODIFY);
        }
        Ok(Opened { location, file })
    }

    /// Makes an entry for a new file, as [`make`](Self::make) does.
    fn make_file(
        &self,
        tail: &Tail<'_>,
        is_directory: bool,
        make: impl FnOnce(&Arc<dyn Inode>, &[u8]) -> Result<Arc<dyn Inode>>,
    ) -> Result<Location> {
        let made = self.make(tail, is_directory, make)?;
        notify::created(&tail.directory.dentry, &made.dentry, tail.name());
        Ok(made)
    }

    /// Makes an entry by `make`, which is called with the directory and the
    /// name when there is none yet. The caller tells those who watch.
    fn make(
        &self,
        tail: &Tail<'_>,
        is_directory: bool,
        make: impl FnOnce(&Arc<dyn Inode>, &[u8]) -> Result<Arc<dyn Inode>>,
    ) -> Result<Location> {
        if !tail.is_name() {
            return Err(Errno::EEXIST);
        }
        let parent = &tail.directory.dentry;
        let mut children = parent.children.lock();
        match parent.child_locked(&mut children, tail.name()) {
            Ok(_) => return Err(Errno::EEXIST),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        if tail.slash && !is_directory {
            return Err(Errno::ENOENT);
        }
        tail.directory.mount.check_writable()?;
        if parent.is_dead() {
            return Err(Errno::ENOENT);
        }
        let inode = make(parent.inode(), tail.name())?;
        let dentry = Dentry::unhashed(inode, Some(parent.clone()), tail.name());
        parent.hash(&mut children, &dentry, tail.name());
        drop(children);
        Ok(Location { mount: tail.directory.mount.clone(), dentry })
    }

    /// mkdirat(2).
    pub fn make_directory(
        &self,
        start: Start<'_>,
        path: &[u8],
        permissions: u32,
    ) -> Result<Location> {
        let tail = self.resolve_parent(start, path)?;
        self.make_file(&tail, true, |directory, name| {
            directory.create(name, FileKind::Directory, permissions & 0o1777, 0)
        })
    }

    /// mknodat(2), and bind(2) of a unix socket with its `EEXIST`.
    pub fn make_node(
        &self,
        start: Start<'_>,
        path: &[u8],
        kind: FileKind,
        permissions: u32,
        device: u64,
    ) -> Result<Location> {
        match kind {
            FileKind::Directory => return Err(Errno::EPERM),
            FileKind::Symlink | FileKind::Anonymous => return Err(Errno::EINVAL),
            _ => {}
        }
        let tail = self.resolve_parent(start, path)?;
        self.make_file(&tail, false, |directory, name| {
            directory.create(name, kind, permissions & 0o7777, device)
        })
    }

    /// symlinkat(2).
    pub fn make_symlink(&self, target: &[u8], start: Start<'_>, path: &[u8]) -> Result<Location> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() >= crate::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let tail = self.resolve_parent(start, path)?;
        self.make_file(&tail, false, |directory, name| directory.symlink(name, target))
    }

    /// linkat(2): the name `path` for what is at `old`.
    pub fn link(&self, old: &Location, start: Start<'_>, path: &[u8]) -> Result<Location> {
        let tail = self.resolve_parent(start, path)?;
        let made = self.make(&tail, false, |directory, name| {
            if !Arc::ptr_eq(&old.mount, &tail.directory.mount) {
                return Err(Errno::EXDEV);
            }
            if old.kind() == FileKind::Directory {
                return Err(Errno::EPERM);
            }
            directory.link(name, old.inode())?;
            Ok(old.inode().clone())
        })?;
        notify::links_changed(old.inode());
        notify::created(&tail.directory.dentry, &made.dentry, tail.name());
        Ok(made)
    }

    /// readlinkat(2); the text of a magic link is the path it leads to.
    pub fn read_link(&self, start: Start<'_>, at: &Location) -> Result<Vec<u8>> {
        if at.kind() != FileKind::Symlink {
            return Err(Errno::EINVAL);
        }
        match at.inode().link_target()? {
            LinkTarget::Path(text) => Ok(text),
            LinkTarget::Location(target) => Ok(self.path_of(start.root, &target)),
        }
    }

    /// unlinkat(2) without AT_REMOVEDIR.
    pub fn unlink(&self, start: Start<'_>, path: &[u8]) -> Result<()> {
        let tail = self.resolve_parent(start, path)?;
        if !tail.is_name() {
            return Err(Errno::EISDIR);
        }
        let parent = &tail.directory.dentry;
        let mut children = parent.children.lock();
        let dentry = parent.child_locked(&mut children, tail.name())?;
        let is_directory = dentry.kind() == FileKind::Directory;
        if tail.slash {
            return Err(if is_directory { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        tail.directory.mount.check_writable()?;
        if is_directory {
            return Err(Errno::EISDIR);
        }
        if dentry.mounts.load(Ordering::Relaxed) > 0 {
            return Err(Errno::EBUSY);
        }
        parent.inode().unlink(tail.name())?;
        parent.unhash(&mut children, tail.name());
        drop(children);
        dentry.mark_unlinked();
        notify::removed(parent, dentry, tail.name());
        Ok(())
    }

    /// rmdir(2), and unlinkat(2) with AT_REMOVEDIR.
    pub fn remove_directory(&self, start: Start<'_>, path: &[u8]) -> Result<()> {
        let tail = self.resolve_parent(start, path)?;
        match tail.kind() {
            LastKind::Name => {}
            LastKind::Root => return Err(Errno::EBUSY),
            LastKind::Dot => return Err(Errno::EINVAL),
            LastKind::DotDot => return Err(Errno::ENOTEMPTY),
        }
        let parent = &tail.directory.dentry;
        let mut children = parent.children.lock();
        let dentry = parent.child_locked(&mut children, tail.name())?;
        tail.directory.mount.check_writable()?;
        if dentry.kind() != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if dentry.mounts.load(Ordering::Relaxed) > 0 {
            return Err(Errno::EBUSY);
        }
        // Nothing is made inside between the look of the file system whether
        // it is empty and its end.
        let inner = dentry.children.lock();
        parent.inode().rmdir(tail.name())?;
        dentry.set_dead();
        drop(inner);
        parent.unhash(&mut children, tail.name());
        drop(children);
        dentry.mark_unlinked();
        notify::removed(parent, dentry, tail.name());
        Ok(())
    }

    /// stat(2) and lstat(2).
    pub fn stat(&self, start: Start<'_>, path: &[u8], follow: Follow) -> Result<Stat> {
        self.resolve(start, path, follow)?.inode().stat()
    }

    /// chmod(2), chown(2), utimensat(2) and their kin.
    pub fn set_attributes(&self, at: &Location, change: &AttributeChange) -> Result<()> {
        at.mount.check_writable()?;
        at.inode().set_attributes(change)?;
        notify::changed(at, Change::ATTRIB);
        Ok(())
    }

    /// truncate(2).
    pub fn truncate(&self, at: &Location, size: u64) -> Result<()> {
        match at.kind() {
            FileKind::Directory => return Err(Errno::EISDIR),
            FileKind::Regular => {}
            _ => return Err(Errno::EINVAL),
        }
        at.mount.check_writable()?;
        self.executed.check_writable(at.inode())?;
        // A file system that copies on writing does so at the open.
        match at.inode().open(OpenFlags::WRONLY)? {
            Some(file) => file.truncate(size)?,
            None => at.inode().truncate(size)?,
        }
        notify::changed(at, Change::MODIFY);
        Ok(())
    }

    /// access(2) for root with the R_OK, W_OK and X_OK bits `mode`.
    pub fn access(&self, at: &Location, mode: u32) -> Result<()> {
        const X_OK: u32 = 1;
        const W_OK: u32 = 2;
        let kind = at.kind();
        let on_disk = matches!(kind, FileKind::Regular | FileKind::Directory | FileKind::Symlink);
        if mode & W_OK != 0 && on_disk {
            at.mount.check_writable()?;
        }
        if mode & X_OK != 0
            && kind != FileKind::Directory
            && at.inode().stat()?.permissions & 0o111 == 0
        {
            return Err(Errno::EACCES);
        }
        Ok(())
    }
}
