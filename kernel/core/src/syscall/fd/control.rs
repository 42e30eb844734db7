// SPDX-License-Identifier: Apache-2.0 OR MIT
//! fcntl(2) and ioctl(2).

use super::lock;
use crate::files::OpenFile;
use crate::memory_file::MemoryFile;
use crate::mm::file_pages;
use crate::process;
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user::{self, Argument};
use alloc::sync::Arc;
use kio::{Errno, FileKind, Result};
use kipc::{PipeEnd, UnixSocket};
use kvfs::OpenFlags;
use linux_raw_sys::general as nr;

/// SIOCGIF*: what netdevice(7) tells of interfaces.
const INTERFACE_REQUESTS: core::ops::Range<u32> = 0x8910..0x8950;
const AF_INET: u16 = 2;
const SOCK_DGRAM: u16 = 2;
const F_DUPFD: u32 = nr::F_DUPFD;
const F_GETFD: u32 = nr::F_GETFD;
const F_SETFD: u32 = nr::F_SETFD;
const F_GETFL: u32 = nr::F_GETFL;
const F_SETFL: u32 = nr::F_SETFL;
const F_GETLK: u32 = nr::F_GETLK;
const F_SETLK: u32 = nr::F_SETLK;
const F_SETLKW: u32 = nr::F_SETLKW;
const F_SETOWN: u32 = nr::F_SETOWN;
const F_GETOWN: u32 = nr::F_GETOWN;
const F_SETSIG: u32 = nr::F_SETSIG;
const F_GETSIG: u32 = nr::F_GETSIG;
const F_SETOWN_EX: u32 = nr::F_SETOWN_EX;
const F_GETOWN_EX: u32 = nr::F_GETOWN_EX;
const F_OFD_GETLK: u32 = nr::F_OFD_GETLK;
const F_OFD_SETLK: u32 = nr::F_OFD_SETLK;
const F_OFD_SETLKW: u32 = nr::F_OFD_SETLKW;
const F_SETLEASE: u32 = 1024;
const F_GETLEASE: u32 = 1025;
const F_DUPFD_CLOEXEC: u32 = 1030;
const F_SETPIPE_SZ: u32 = 1031;
const F_GETPIPE_SZ: u32 = 1032;
const F_ADD_SEALS: u32 = 1033;
const F_GET_SEALS: u32 = 1034;
const F_SEAL_WRITE: u64 = 8;
const FD_CLOEXEC: u64 = 1;

pub(in crate::syscall) fn fcntl(thread: &Thread, a: Args) -> Result<u64> {
    let (fd, command, argument) = (a.i32(0), a.u32(1), a.u64(2));
    let files = &thread.process.files;
    // The calls that O_PATH allows.
    match command {
        F_GETFD => return files.close_on_exec(fd).map(u64::from),
        F_SETFD => return files.set_close_on_exec(fd, argument & FD_CLOEXEC != 0).map(|()| 0),
        F_DUPFD => return duplicate(thread, fd, argument, false),
        F_DUPFD_CLOEXEC => return duplicate(thread, fd, argument, true),
        F_GETFL => return files.open_file(fd).map(|open| u64::from(open.flags().bits())),
        _ => {}
    }
    let open = thread.process.files.usable(fd)?;
    match command {
        F_SETFL => set_flags(&open, OpenFlags::from_bits_retain(argument as u32)),
        F_GETLK | F_OFD_GETLK => lock::query(thread, &open, argument, command == F_OFD_GETLK),
        F_SETLK | F_SETLKW => lock::set(thread, fd, &open, argument, false, command == F_SETLKW),
        F_OFD_SETLK | F_OFD_SETLKW => {
            lock::set(thread, fd, &open, argument, true, command == F_OFD_SETLKW)
        }
        F_SETPIPE_SZ => {
            let size = usize::try_from(argument as u32).map_err(|_| Errno::EINVAL)?;
            pipe(&open)?.set_capacity(size).map(|n| n as u64)
        }
        F_GETPIPE_SZ => Ok(pipe(&open)?.capacity() as u64),
        F_ADD_SEALS => {
            let file = memory_file(&open)?;
            if !open.flags().writable() {
                return Err(Errno::EPERM);
            }
            if argument & F_SEAL_WRITE != 0 && file_pages::is_mapped_writable(file) {
                return Err(Errno::EBUSY);
            }
            file.add_seals(argument as u32).map(|()| 0)
        }
        F_GET_SEALS => memory_file(&open).map(|file| u64::from(file.seals())),
        F_GETLEASE => Ok(u64::from(nr::F_UNLCK)),
        // Leases are refused as if someone else had the file open.
        F_SETLEASE => Err(Errno::EAGAIN),
        _ => ownership(&open, command, argument),
    }
}

fn duplicate(thread: &Thread, fd: i32, from: u64, close_on_exec: bool) -> Result<u64> {
    let open = thread.process.files.open_file(fd)?;
    let limit = super::limit(thread);
    let from = u64::from(from as u32);
    if from >= limit {
        return Err(Errno::EINVAL);
    }
    let files = &thread.process.files;
    files.insert(open, close_on_exec, from as usize, limit).map(|fd| fd as u64)
}

fn pipe(open: &OpenFile) -> Result<&PipeEnd> {
    open.file().as_any().downcast_ref().ok_or(Errno::EBADF)
}

fn memory_file(open: &OpenFile) -> Result<&MemoryFile> {
    open.file().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

fn set_flags(open: &OpenFile, flags: OpenFlags) -> Result<u64> {
    if let Ok(pipe) = pipe(open) {
        pipe.set_packets(flags.contains(OpenFlags::DIRECT));
    }
    open.set_flags(flags);
    Ok(0)
}

/// Who gets SIGIO; it is only remembered.
fn ownership(open: &OpenFile, command: u32, argument: u64) -> Result<u64> {
    const F_OWNER_TID: u32 = 0;
    const F_OWNER_PID: u32 = 1;
    const F_OWNER_PGRP: u32 = 2;
    const SIGNALS: u64 = 64;
    match command {
        F_SETOWN => set_owner(open, argument as i32),
        // A process group looks like an error, as on Linux.
        F_GETOWN => Ok(open.owner() as i64 as u64),
        F_SETOWN_EX => {
            let word = user::read_u64(argument)?;
            let id = (word >> 32) as i32;
            match word as u32 {
                F_OWNER_TID | F_OWNER_PID => set_owner(open, id),
                F_OWNER_PGRP => set_owner(open, id.checked_neg().ok_or(Errno::EINVAL)?),
                _ => Err(Errno::EINVAL),
            }
        }
        F_GETOWN_EX => {
            let owner = open.owner();
            let kind = if owner < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
            let word = u64::from(kind) | u64::from(owner.unsigned_abs()) << 32;
            user::write_u64(argument, word).map(|()| 0)
        }
        F_SETSIG if argument <= SIGNALS => Ok(0),
        F_GETSIG => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

fn set_owner(open: &OpenFile, owner: i32) -> Result<u64> {
    if owner == i32::MIN {
        return Err(Errno::EINVAL);
    }
    if owner > 0 && process::find(owner as u32).is_none() {
        return Err(Errno::ESRCH);
    }
    open.set_owner(owner);
    Ok(0)
}

const FIGETBSZ: u32 = 2;
const FIONREAD: u32 = 0x541b;
const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;
const FIOQSIZE: u32 = 0x5460;

pub(in crate::syscall) fn ioctl(thread: &Thread, a: Args) -> Result<u64> {
    let (fd, request, argument) = (a.i32(0), a.u32(1), a.u64(2));
    let open = thread.process.files.usable(fd)?;
    match request {
        FIOCLEX => thread.process.files.set_close_on_exec(fd, true).map(|()| 0),
        FIONCLEX => thread.process.files.set_close_on_exec(fd, false).map(|()| 0),
        FIONBIO => switch_flag(&open, OpenFlags::NONBLOCK, argument),
        FIOASYNC => switch_flag(&open, OpenFlags::ASYNC, argument),
        FIONREAD | FIGETBSZ | FIOQSIZE => size(&open, request, argument),
        _ if INTERFACE_REQUESTS.contains(&request) && open.file().as_any().is::<UnixSocket>() => {
            // netdevice(7): any socket will do.
            let network = thread.process.services.provider.socket(AF_INET, SOCK_DGRAM, 0)?;
            let result = network.ioctl(request, &Argument(argument));
            network.close();
            result
        }
        _ => open.file().ioctl(request, &Argument(argument)),
    }
}

/// Sets a flag when the `int` at `address` is not 0.
fn switch_flag(open: &OpenFile, flag: OpenFlags, address: u64) -> Result<u64> {
    let on = user::read_u32(address)? != 0;
    let mut flags = open.flags();
    flags.set(flag, on);
    open.set_flags(flags);
    Ok(0)
}

/// Unit of `st_blocks`.
const SECTOR: u64 = 512;

/// Sizes of regular files; other objects answer themselves.
fn size(open: &Arc<OpenFile>, request: u32, argument: u64) -> Result<u64> {
    let stat = open.file().stat()?;
    if stat.kind != FileKind::Regular {
        return open.file().ioctl(request, &Argument(argument));
    }
    match request {
        FIONREAD => {
            let ahead = (stat.size as i64).wrapping_sub(*open.offset() as i64);
            user::write_u32(argument, ahead as u32)?;
        }
        FIGETBSZ => user::write_u32(argument, stat.block_size)?,
        _ => user::write_u64(argument, stat.blocks * SECTOR)?,
    }
    Ok(0)
}
