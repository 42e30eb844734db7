// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extended attributes, xattr(7).

use super::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, locate};
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user;
use alloc::vec::Vec;
use kio::{Errno, Result};
use kvfs::{Location, MountFlags, XattrMode};
use linux_raw_sys::general as nr;

const NAME_MAX: usize = 255;
const SIZE_MAX: usize = 65_536;

#[derive(Clone, Copy)]
enum Operation {
    Set,
    Value,
    List,
    Remove,
}

/// The four operations, each by path, by path without following, and by
/// descriptor: the numbers are in that order.
pub(in crate::syscall) fn xattr(thread: &Thread, number: u32, a: Args) -> Result<u64> {
    let index = number - nr::__NR_setxattr;
    let at = match index % 3 {
        0 => locate(thread, AT_FDCWD, a.u64(0), 0)?,
        1 => locate(thread, AT_FDCWD, a.u64(0), AT_SYMLINK_NOFOLLOW)?,
        _ => thread.process.files.usable(a.i32(0))?.location(),
    };
    let operations = [Operation::Set, Operation::Value, Operation::List, Operation::Remove];
    match operations[(index / 3) as usize % operations.len()] {
        Operation::Set => set(&at, a),
        Operation::Value => {
            let name = read_name(a.u64(1))?;
            give(&at.inode().xattr(&name)?, a.u64(2), a.usize(3))
        }
        Operation::List => give(&at.inode().list_xattrs()?, a.u64(1), a.usize(2)),
        Operation::Remove => {
            check_writable(&at)?;
            at.inode().remove_xattr(&read_name(a.u64(1))?).map(|()| 0)
        }
    }
}

fn check_writable(at: &Location) -> Result<()> {
    let fixed = at.mount().flags().contains(MountFlags::RDONLY);
    if fixed { Err(Errno::EROFS) } else { Ok(()) }
}

fn read_name(address: u64) -> Result<Vec<u8>> {
    let name = user::read_string(address, NAME_MAX + 1, Errno::ERANGE)?;
    if name.is_empty() { Err(Errno::ERANGE) } else { Ok(name) }
}

fn set(at: &Location, a: Args) -> Result<u64> {
    check_writable(at)?;
    let mode = match a.u32(4) {
        0 => XattrMode::Set,
        1 => XattrMode::Create,
        2 => XattrMode::Replace,
        // Both contradict each other, which only the file system finds out.
        3 => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    let name = read_name(a.u64(1))?;
    if a.usize(3) > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let value = user::read_vec(a.u64(2), a.usize(3), SIZE_MAX)?;
    at.inode().set_xattr(&name, &value, mode).map(|()| 0)
}

/// Writes a value; with size 0 only its length is asked for.
fn give(value: &[u8], address: u64, size: usize) -> Result<u64> {
    if size != 0 {
        if value.len() > size {
            return Err(Errno::ERANGE);
        }
        user::write(address, value)?;
    }
    Ok(value.len() as u64)
}
