// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Process group and session ids, and what is told of priorities.

use super::super::Args;
use crate::thread::Thread;
use crate::{family, process, user};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use kio::{Errno, Result};
use linux_raw_sys::general as nr;

fn process_of(thread: &Thread, pid: u32) -> Result<Arc<process::Process>> {
    if pid == 0 {
        return Ok(thread.process.clone());
    }
    process::find(pid).ok_or(Errno::ESRCH)
}

pub(in super::super) fn setpgid(thread: &Thread, a: Args) -> Result<u64> {
    if a.i32(1) < 0 {
        return Err(Errno::EINVAL);
    }
    family::set_group(&thread.process, a.u32(0), a.u32(1)).map(|()| 0)
}

pub(in super::super) fn getpgid(thread: &Thread, pid: u32) -> Result<u64> {
    Ok(u64::from(process_of(thread, pid)?.group.load(Ordering::Relaxed)))
}

pub(in super::super) fn setsid(thread: &Thread) -> Result<u64> {
    family::begin_session(&thread.process)?;
    Ok(u64::from(thread.process.pid))
}

pub(in super::super) fn getsid(thread: &Thread, a: Args) -> Result<u64> {
    Ok(u64::from(process_of(thread, a.u32(0))?.session.load(Ordering::Relaxed)))
}

pub(in super::super) fn sched_getparam(a: Args) -> Result<u64> {
    user::write_u32(a.u64(1), 0).map(|()| 0)
}

pub(in super::super) fn sched_rr_get_interval(thread: &Thread, a: Args) -> Result<u64> {
    process_of(thread, a.u32(0))?;
    user::write_u64(a.u64(1), 0)?;
    user::write_u64(a.u64(1) + 8, crate::sched::SLICE.as_nanos() as u64).map(|()| 0)
}

pub(in super::super) fn sched_priority(number: u32, a: Args) -> Result<u64> {
    let realtime = matches!(a.u32(0), 1 | 2);
    Ok(match (realtime, number == nr::__NR_sched_get_priority_max) {
        (true, true) => 99,
        (true, false) => 1,
        (false, _) => 0,
    })
}
