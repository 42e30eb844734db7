// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mounts, and what statfs(2) tells of them.

use super::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, locate, namespace};
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user;
use kio::{Errno, Result};
use kvfs::{Location, MountFlags};

fn write_statfs(at: &Location, address: u64) -> Result<u64> {
    /// Flags are valid; ST_RELATIME has another number than MS_RELATIME.
    const ST_VALID: u64 = 0x20;
    const ST_RELATIME: u64 = 0x1000;
    let stat = at.mount().file_system().statfs();
    let flags = at.mount().flags();
    let relatime = flags.contains(MountFlags::RELATIME);
    let plain = u64::from((flags - MountFlags::RELATIME).bits());
    let flags = ST_VALID | plain | if relatime { ST_RELATIME } else { 0 };
    let device = at.mount().root().inode().stat().map_or(0, |s| s.device);
    let words = [
        stat.magic,
        stat.block_size,
        stat.blocks,
        stat.free_blocks,
        stat.free_blocks,
        stat.inodes,
        stat.free_inodes,
        device,
        stat.name_max,
        stat.block_size,
        flags,
        0,
        0,
        0,
        0,
    ];
    let mut bytes = [0; 120];
    for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    user::write(address, &bytes).map(|()| 0)
}

pub(in crate::syscall) fn statfs(thread: &Thread, a: Args) -> Result<u64> {
    write_statfs(&locate(thread, AT_FDCWD, a.u64(0), 0)?, a.u64(1))
}

pub(in crate::syscall) fn fstatfs(thread: &Thread, a: Args) -> Result<u64> {
    write_statfs(&thread.process.files.open_file(a.i32(0))?.location(), a.u64(1))
}

const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
/// MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED: how mounts pass on to other
/// namespaces, of which there are none.
const MS_PROPAGATION: u64 = 0xf << 17;
const MS_MAGIC: u64 = 0xc0ed_0000;
const MS_MAGIC_MASK: u64 = 0xffff_0000;

/// Flags of the mount among those of the call.
fn mount_flags(flags: u64) -> MountFlags {
    MountFlags::from_bits_truncate(flags as u32)
}

pub(in crate::syscall) fn mount(thread: &Thread, a: Args) -> Result<u64> {
    const NAME_MAX: usize = 4096;
    let mut flags = a.u64(3);
    if flags & MS_MAGIC_MASK == MS_MAGIC {
        flags &= !MS_MAGIC_MASK;
    }
    let at = locate(thread, AT_FDCWD, a.u64(1), 0)?;
    if flags & MS_PROPAGATION != 0 {
        return Ok(0);
    }
    if flags & (MS_REMOUNT | MS_MOVE) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MS_BIND != 0 {
        let source = locate(thread, AT_FDCWD, a.u64(0), 0)?;
        return namespace(thread).bind(&source, &at, mount_flags(flags)).map(|()| 0);
    }
    if a.u64(2) == 0 {
        return Err(Errno::EINVAL);
    }
    let kind = user::read_string(a.u64(2), NAME_MAX, Errno::EINVAL)?;
    let options = match a.u64(4) {
        0 => alloc::vec::Vec::new(),
        address => user::read_string(address, NAME_MAX, Errno::EINVAL)?,
    };
    let provider = &thread.process.services.provider;
    let file_system = match &kind[..] {
        b"ext2" | b"ext3" | b"ext4" => {
            if a.u64(0) == 0 {
                return Err(Errno::EINVAL);
            }
            let source = user::read_string(a.u64(0), NAME_MAX, Errno::EINVAL)?;
            let read_only = mount_flags(flags).contains(MountFlags::RDONLY);
            provider.device_file_system(&source, &kind, read_only)?
        }
        _ => provider.file_system(&kind, &options)?,
    };
    namespace(thread).mount(file_system, &at, mount_flags(flags)).map(|()| 0)
}

pub(in crate::syscall) fn umount(thread: &Thread, a: Args) -> Result<u64> {
    const MNT_DETACH: u32 = 2;
    const MNT_EXPIRE: u32 = 4;
    const UMOUNT_NOFOLLOW: u32 = 8;
    const KNOWN: u32 = 15;
    let flags = a.u32(1);
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let nofollow = if flags & UMOUNT_NOFOLLOW == 0 { 0 } else { AT_SYMLINK_NOFOLLOW };
    let at = locate(thread, AT_FDCWD, a.u64(0), nofollow)?;
    if flags & MNT_EXPIRE != 0 {
        // The first call would only mark it.
        return Err(if flags & 3 != 0 { Errno::EINVAL } else { Errno::EAGAIN });
    }
    // What is not busy is on the disk when this returns.
    let file_system = at.mount().file_system().clone();
    namespace(thread).forget_unused();
    namespace(thread).unmount(&at, flags & MNT_DETACH != 0)?;
    drop(at);
    file_system.sync().map(|()| 0)
}

/// sync(2); it has no errors.
pub(in crate::syscall) fn sync(thread: &Thread) -> Result<u64> {
    for mount in namespace(thread).mounts() {
        let _ = mount.file_system().sync();
    }
    Ok(0)
}

/// syncfs(2).
pub(in crate::syscall) fn syncfs(thread: &Thread, a: Args) -> Result<u64> {
    let open = thread.process.files.usable(a.i32(0))?;
    open.location().mount().file_system().sync().map(|()| 0)
}
