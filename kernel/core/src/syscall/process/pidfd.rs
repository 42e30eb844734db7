// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptors of processes: pidfd_open(2), pidfd_send_signal(2).

use super::super::{Args, event, signal};
use crate::process::{self, Process};
use crate::signal::send_to_process;
use crate::thread::Thread;
use alloc::sync::Arc;
use core::any::Any;
use kio::{Errno, Events, File, FileKind, Result, Stat, WaitQueue};
use kvfs::OpenFlags;

/// What the descriptor of a process works on: readable when that has ended.
pub(super) struct PidFd {
    process: Arc<Process>,
}

impl File for PidFd {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat::anonymous(FileKind::Anonymous))
    }

    fn poll(&self) -> Events {
        if self.process.family.has_ended() { Events::READABLE } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.process.changed)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A descriptor of `process`, which is closed at execve(2).
pub(super) fn install(thread: &Thread, process: &Arc<Process>, flags: u32) -> Result<i32> {
    let file = PidFd { process: process.clone() };
    event::install(thread, Arc::new(file), flags | OpenFlags::CLOEXEC.bits())
}

/// The process behind a descriptor, and whether that has PIDFD_NONBLOCK; `EBADF` when it is
/// of something else.
pub(super) fn process_of(thread: &Thread, fd: i32) -> Result<(Arc<Process>, bool)> {
    let open = thread.process.files.usable(fd)?;
    let file = open.file().as_any().downcast_ref::<PidFd>().ok_or(Errno::EBADF)?;
    Ok((file.process.clone(), open.nonblocking()))
}

pub(in super::super) fn pidfd_open(thread: &Thread, a: Args) -> Result<u64> {
    let (pid, flags) = (a.i32(0), a.u32(1));
    if pid <= 0 || flags & !OpenFlags::NONBLOCK.bits() != 0 {
        return Err(Errno::EINVAL);
    }
    let process = process::find(pid.unsigned_abs()).ok_or(Errno::ESRCH)?;
    install(thread, &process, flags).map(|fd| fd as u64)
}

pub(in super::super) fn pidfd_send_signal(thread: &Thread, a: Args) -> Result<u64> {
    if a.u32(3) != 0 {
        return Err(Errno::EINVAL);
    }
    let (process, _) = process_of(thread, a.i32(0))?;
    // Its id may belong to another one by now.
    let lives = process::find(process.pid).is_some_and(|found| Arc::ptr_eq(&found, &process));
    let info = signal::info_for(thread, &process, a.u32(1), a.u64(2))?;
    match info {
        _ if !lives => return Err(Errno::ESRCH),
        Some(info) => send_to_process(&process, info)?,
        None => {}
    }
    Ok(0)
}
