// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Threads, processes and what belongs to them: clone, exec, exit, futex, ids.

mod clone;
mod control;
mod exec;
mod identity;
mod ids;
mod pidfd;
mod wait;

pub(super) use clone::{clone, clone3, fork, vfork};
pub(super) use control::{arch_prctl, prctl, user_stack_pointer};
pub(super) use exec::{execve, execveat};
pub(super) use identity::{
    capget, capset, getgroups, getresid, id, set_ids, setfsgid, setfsuid, setgroups,
};
pub(super) use ids::{
    getpgid, getsid, sched_getparam, sched_priority, sched_rr_get_interval, setpgid, setsid,
};
pub(super) use pidfd::{pidfd_open, pidfd_send_signal};
pub(super) use wait::{wait4, waitid};

use super::Args;
use super::time::read_timespec;
use crate::thread::Thread;
use crate::{exit as ending, futex as words, sched, user};
use abi::control::Exit;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;
use khal::clock;
use kio::{Errno, Instant, Result};

pub(super) fn exit(thread: &Thread, a: Args) -> Result<u64> {
    if thread.tid() == thread.process.pid {
        thread.process.last_status.store(a.u32(0) as u8, Ordering::Relaxed);
    }
    ending::exit_thread()
}

pub(super) fn exit_group(thread: &Thread, a: Args) -> Result<u64> {
    ending::exit_process(&thread.process, Exit::Status(a.u32(0) as u8))
}

pub(super) fn set_tid_address(thread: &Thread, a: Args) -> Result<u64> {
    thread.clear_tid.store(a.u64(0), Ordering::Relaxed);
    Ok(u64::from(thread.tid()))
}

const ROBUST_HEAD_SIZE: u64 = 24;

pub(super) fn set_robust_list(thread: &Thread, a: Args) -> Result<u64> {
    if a.u64(1) != ROBUST_HEAD_SIZE {
        return Err(Errno::EINVAL);
    }
    thread.robust_list.store(a.u64(0), Ordering::Relaxed);
    Ok(0)
}

pub(super) fn get_robust_list(thread: &Thread, a: Args) -> Result<u64> {
    let head = match a.u32(0) {
        0 => thread.robust_list.load(Ordering::Relaxed),
        tid => {
            let task = thread.process.thread(tid).ok_or(Errno::ESRCH)?;
            let other = sched::thread_of(&task).ok_or(Errno::ESRCH)?;
            other.robust_list.load(Ordering::Relaxed)
        }
    };
    user::write_u64(a.u64(1), head)?;
    user::write_u64(a.u64(2), ROBUST_HEAD_SIZE).map(|()| 0)
}

/// A moment on the monotonic clock from an absolute time on either clock.
fn absolute(address: u64, realtime: bool) -> Result<Instant> {
    let time = read_timespec(address)?;
    let offset =
        if realtime { Duration::from_nanos(clock::realtime_offset()) } else { Duration::ZERO };
    Ok(Instant::ZERO + time.saturating_sub(offset))
}

pub(super) fn futex(a: Args) -> Result<u64> {
    const PRIVATE: u32 = 128;
    const REALTIME: u32 = 256;
    let operation = a.u32(1);
    let private = operation & PRIVATE != 0;
    let realtime = operation & REALTIME != 0;
    let (address, value) = (a.u64(0), a.u32(2));
    let count = |n: u32| if n as i32 <= 0 { 1 } else { n as usize };
    match operation & !(PRIVATE | REALTIME) {
        0 => {
            let deadline = match a.u64(3) {
                0 => None,
                at => Some(clock::monotonic() + read_timespec(at)?),
            };
            words::wait(address, private, value, u32::MAX, deadline).map(|()| 0)
        }
        9 => {
            let deadline = match a.u64(3) {
                0 => None,
                at => Some(absolute(at, realtime)?),
            };
            words::wait(address, private, value, a.u32(5), deadline).map(|()| 0)
        }
        1 => words::wake(address, private, count(value), u32::MAX).map(|n| n as u64),
        10 => words::wake(address, private, count(value), a.u32(5)).map(|n| n as u64),
        3 | 4 => {
            if (value as i32) < 0 || (a.u32(3) as i32) < 0 {
                return Err(Errno::EINVAL);
            }
            let compares = operation & !(PRIVATE | REALTIME) == 4;
            let expected = compares.then_some(a.u32(5));
            let (woken, moved) = words::requeue(
                address,
                a.u64(4),
                private,
                value as usize,
                a.u32(3) as usize,
                expected,
            )?;
            // Both count what they moved, whatever futex(2) says of the older.
            Ok((woken + moved) as u64)
        }
        5 => words::wake_op(address, a.u64(4), private, count(value), count(a.u32(3)), a.u32(5))
            .map(|n| n as u64),
        // Priority inheritance: programs fall back, as glibc does.
        _ => Err(Errno::ENOSYS),
    }
}

pub(super) fn futex_waitv(a: Args) -> Result<u64> {
    const SIZE_U32: u32 = 2;
    const PRIVATE: u32 = 128;
    const LIMIT: usize = 128;
    let count = a.usize(1);
    if count == 0 || count > LIMIT || a.u32(2) != 0 {
        return Err(Errno::EINVAL);
    }
    let deadline = match a.u64(3) {
        0 => None,
        at => Some(absolute(at, a.u32(4) == 0)?),
    };
    let mut list = Vec::with_capacity(count);
    for i in 0..count as u64 {
        let [value, address, flags] = user::read_words::<3>(a.u64(0) + 24 * i)?;
        let flags = flags as u32;
        if flags & !(SIZE_U32 | PRIVATE) != 0 || flags & SIZE_U32 == 0 {
            return Err(Errno::EINVAL);
        }
        list.push((address, flags & PRIVATE != 0, value as u32));
    }
    words::wait_many(&list, deadline).map(|n| n as u64)
}

pub(super) fn sched_yield() -> Result<u64> {
    sched::yield_now();
    Ok(0)
}

/// A call that names a thread wants one that is there.
fn check_thread(thread: &Thread, tid: u32) -> Result<()> {
    let exists =
        tid == 0 || thread.process.thread(tid).is_some() || crate::process::find(tid).is_some();
    if exists { Ok(()) } else { Err(Errno::ESRCH) }
}

pub(super) fn sched_getaffinity(thread: &Thread, a: Args) -> Result<u64> {
    check_thread(thread, a.u32(0))?;
    let size = a.usize(1);
    let cpus = khal::cpus::count();
    if size * 8 < cpus || !size.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let mask = if cpus >= 64 { u64::MAX } else { (1 << cpus) - 1 };
    user::write_u64(a.u64(2), mask)?;
    Ok(8)
}

/// Accepted when some CPU of the mask exists; the scheduler does not pin.
pub(super) fn sched_setaffinity(thread: &Thread, a: Args) -> Result<u64> {
    check_thread(thread, a.u32(0))?;
    let mut bytes = [0; 8];
    let count = a.usize(1).min(8);
    user::read(a.u64(2), &mut bytes[..count])?;
    let cpus = khal::cpus::count();
    let exists = if cpus >= 64 { u64::MAX } else { (1 << cpus) - 1 };
    if u64::from_le_bytes(bytes) & exists == 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

pub(super) fn getcpu(a: Args) -> Result<u64> {
    if a.u64(0) != 0 {
        user::write_u32(a.u64(0), khal::cpus::current() as u32)?;
    }
    if a.u64(1) != 0 {
        user::write_u32(a.u64(1), 0)?;
    }
    Ok(0)
}
