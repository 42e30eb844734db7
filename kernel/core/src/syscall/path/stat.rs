// SPDX-License-Identifier: Apache-2.0 OR MIT
//! stat(2) and its kin, statx(2).

use super::{
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Places, descriptor_location, follow, namespace,
    read_path_or_empty,
};
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user;
use core::time::Duration;
use kio::{Errno, Result, Stat};
use kvfs::Location;

const AT_NO_AUTOMOUNT: u32 = 0x800;
const AT_STATX_SYNC_TYPE: u32 = 0x6000;
const KNOWN: u32 = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;

fn mode(stat: &Stat) -> u32 {
    stat.kind as u32 | stat.permissions
}

/// `struct stat` of x86-64.
fn encode(stat: &Stat) -> [u8; 144] {
    let words = [
        stat.device,
        stat.inode,
        u64::from(stat.links),
        u64::from(mode(stat)) | u64::from(stat.uid) << 32,
        u64::from(stat.gid),
        stat.device_node,
        stat.size,
        u64::from(stat.block_size),
        stat.blocks,
        stat.accessed.as_secs(),
        u64::from(stat.accessed.subsec_nanos()),
        stat.modified.as_secs(),
        u64::from(stat.modified.subsec_nanos()),
        stat.changed.as_secs(),
        u64::from(stat.changed.subsec_nanos()),
        0,
        0,
        0,
    ];
    let mut bytes = [0; 144];
    for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// What `stat` is of: a place, or an object without one.
enum Subject {
    Place(Location),
    Object(Stat),
}

/// The descriptor `fd` for an empty path, else the path.
fn subject(thread: &Thread, fd: i32, address: u64, flags: u32) -> Result<Subject> {
    let path = read_path_or_empty(address)?;
    if !path.is_empty() {
        let places = Places::new(thread, fd, &path)?;
        let at = namespace(thread).resolve(places.start(), &path, follow(flags))?;
        return Ok(Subject::Place(at));
    }
    if flags & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT);
    }
    if fd == AT_FDCWD {
        return descriptor_location(thread, fd).map(Subject::Place);
    }
    thread.process.files.open_file(fd)?.stat().map(Subject::Object)
}

pub(in crate::syscall) fn stat(
    thread: &Thread,
    fd: i32,
    address: u64,
    buffer: u64,
    flags: u32,
) -> Result<u64> {
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let stat = match subject(thread, fd, address, flags)? {
        Subject::Place(at) => at.inode().stat()?,
        Subject::Object(stat) => stat,
    };
    user::write(buffer, &encode(&stat)).map(|()| 0)
}

pub(in crate::syscall) fn lstat(thread: &Thread, a: Args) -> Result<u64> {
    stat(thread, AT_FDCWD, a.u64(0), a.u64(1), AT_SYMLINK_NOFOLLOW)
}

pub(in crate::syscall) fn fstat(thread: &Thread, a: Args) -> Result<u64> {
    let stat = thread.process.files.open_file(a.i32(0))?.stat()?;
    user::write(a.u64(1), &encode(&stat)).map(|()| 0)
}

const STATX_BASIC_STATS: u32 = 0x7ff;
const STATX_MNT_ID: u32 = 0x1000;
const STATX_RESERVED: u32 = 1 << 31;
const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;

/// A device number as major and minor.
fn device_parts(device: u64) -> (u32, u32) {
    let major = device >> 8 & 0xfff;
    let minor = device & 0xff | device >> 12 & 0xf_ff00;
    (major as u32, minor as u32)
}

/// `struct statx`, field by field.
struct Statx {
    bytes: [u8; 256],
    len: usize,
}

impl Statx {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
    fn word(&mut self, value: u64) {
        self.push(&value.to_le_bytes());
    }
    fn half(&mut self, value: u32) {
        self.push(&value.to_le_bytes());
    }
    fn time(&mut self, time: Duration) {
        self.word(time.as_secs());
        self.word(u64::from(time.subsec_nanos()));
    }
    fn device(&mut self, device: u64) {
        let (major, minor) = device_parts(device);
        self.half(major);
        self.half(minor);
    }
}

fn encode_extended(stat: &Stat, at: Option<&Location>) -> [u8; 256] {
    let mut out = Statx { bytes: [0; 256], len: 0 };
    let is_mount_root = at.is_some_and(|at| at.is(&at.mount().root()));
    out.half(STATX_BASIC_STATS | if at.is_some() { STATX_MNT_ID } else { 0 });
    out.half(stat.block_size);
    out.word(if is_mount_root { STATX_ATTR_MOUNT_ROOT } else { 0 });
    out.half(stat.links);
    out.half(stat.uid);
    out.half(stat.gid);
    out.half(mode(stat));
    out.word(stat.inode);
    out.word(stat.size);
    out.word(stat.blocks);
    out.word(STATX_ATTR_MOUNT_ROOT);
    out.time(stat.accessed);
    out.time(Duration::ZERO);
    out.time(stat.changed);
    out.time(stat.modified);
    out.device(stat.device_node);
    out.device(stat.device);
    out.word(at.map_or(0, |at| at.mount().id()));
    out.bytes
}

pub(in crate::syscall) fn statx(thread: &Thread, a: Args) -> Result<u64> {
    let (flags, mask) = (a.u32(2), a.u32(3));
    let sync_type = flags & AT_STATX_SYNC_TYPE;
    if mask & STATX_RESERVED != 0 || sync_type == AT_STATX_SYNC_TYPE || flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let bytes = match subject(thread, a.i32(0), a.u64(1), flags)? {
        Subject::Place(at) => encode_extended(&at.inode().stat()?, Some(&at)),
        Subject::Object(stat) => {
            let at = thread.process.files.open_file(a.i32(0))?.opened_location();
            encode_extended(&stat, at.as_ref())
        }
    };
    user::write(a.u64(4), &bytes).map(|()| 0)
}
