// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The trait behind every name in a file system.

use crate::{Location, OpenFlags, RenameFlags};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::time::Duration;
use kio::{Errno, File, FileKind, Result};
use ksync::SpinLock;

/// A time for utimensat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// UTIME_NOW.
    Now,
    /// This time since 1970.
    At(Duration),
}

/// What chmod(2), chown(2) and utimensat(2) change; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeChange {
    /// Permission bits, 0o7777 at most.
    pub permissions: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub accessed: Option<SetTime>,
    /// Last change of the contents.
    pub modified: Option<SetTime>,
}

/// How setxattr(2) treats an attribute that is there or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Set it in any case.
    Set,
    /// XATTR_CREATE: `EEXIST` when it is there.
    Create,
    /// XATTR_REPLACE: `ENODATA` when it is not there.
    Replace,
}

/// Where a symbolic link leads.
pub enum LinkTarget {
    /// A path, resolved from the directory that holds the link.
    Path(Vec<u8>),
    /// A place, whatever its path is now: /proc/self/cwd and the like.
    Location(Location),
}

/// A slot on an inode for the object behind it that another layer owns: the
/// pipe of a FIFO, the socket that is bound to a name.
pub type Attachment = SpinLock<Option<Arc<dyn Any + Send + Sync>>>;

/// A file, directory or other object of a file system.
///
/// Names are neither empty, "." or "..", nor longer than NAME_MAX, and have no
/// slash: the caller checked that. The caller also checked for read-only mounts
/// and that a rename moves no directory into itself. The directory operations
/// default to `ENOTDIR`, so a file implements none of them.
pub trait Inode: File {
    /// Type; never changes.
    fn kind(&self) -> FileKind;

    /// The inode behind `name`, or `ENOENT`. The same object each time while
    /// anyone has it.
    fn lookup(&self, _name: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR)
    }

    /// Makes a file, directory, FIFO, socket or device node (with its number);
    /// `EEXIST` when the name is taken.
    fn create(
        &self,
        _name: &[u8],
        _kind: FileKind,
        _permissions: u32,
        _device: u64,
    ) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR)
    }

    /// Makes a symbolic link.
    fn symlink(&self, _name: &[u8], _target: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR)
    }

    /// Makes a file without a name, as O_TMPFILE asks for. Only a `linkable` one
    /// may get its first name later, once.
    fn create_unnamed(&self, _permissions: u32, _linkable: bool) -> Result<Arc<dyn Inode>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Adds `name` for `target`, which is of the same file system and not a
    /// directory.
    fn link(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Takes away a name that is not a directory's (`EISDIR`).
    fn unlink(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Takes away an empty directory.
    fn rmdir(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// Moves `name` to `to_name` in `to`, a directory of the same file system,
    /// in one step, with the rules of rename(2) for an existing target.
    fn rename(
        &self,
        _name: &[u8],
        _to: &Arc<dyn Inode>,
        _to_name: &[u8],
        _flags: RenameFlags,
    ) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// The text of a symbolic link; `EINVAL` for anything else.
    fn read_link(&self) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    /// Where a symbolic link leads, when that is not what its text says.
    fn link_target(&self) -> Result<LinkTarget> {
        Ok(LinkTarget::Path(self.read_link()?))
    }

    /// True when the entries of this directory come and go by themselves, so
    /// that lookups are not remembered.
    fn is_dynamic(&self) -> bool {
        false
    }

    /// chmod(2), chown(2), utimensat(2).
    fn set_attributes(&self, _change: &AttributeChange) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// getxattr(2): the value.
    fn xattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// setxattr(2).
    fn set_xattr(&self, _name: &[u8], _value: &[u8], _mode: XattrMode) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// removexattr(2).
    fn remove_xattr(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// listxattr(2): the names, each with a NUL behind it.
    fn list_xattrs(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// The object that a descriptor works on, when it is not the inode itself.
    /// Called once for each open(2) but for O_PATH.
    fn open(&self, _flags: OpenFlags) -> Result<Option<Arc<dyn File>>> {
        Ok(None)
    }

    /// The slot for the pipe or socket behind this inode.
    fn attachment(&self) -> Option<&Attachment> {
        None
    }
}
