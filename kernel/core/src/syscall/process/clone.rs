// SPDX-License-Identifier: Apache-2.0 OR MIT
//! New threads and processes: clone(2), fork(2), execve(2), wait4(2).

use super::super::Args;
use crate::exec::{self, Program};
use crate::process::{self};
use crate::thread::{NAME_SIZE, Thread};
use crate::{limits, sched, user};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use khal::{TrapFrame, USER_END, tasks};
use kio::{Errno, Result};

const CLONE_VM: u64 = 0x100;
const CLONE_FS: u64 = 0x200;
const CLONE_FILES: u64 = 0x400;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
/// What a thread of the same process shares.
const THREAD: u64 = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;

/// What clone(2) and clone3(2) ask for.
struct Request {
    flags: u64,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    thread_pointer: u64,
}

pub(in super::super) fn clone(thread: &Thread, frame: &TrapFrame, a: &Args) -> Result<u64> {
    let request = Request {
        flags: a.u64(0) & !0xff,
        stack: a.u64(1),
        parent_tid: a.u64(2),
        child_tid: a.u64(3),
        thread_pointer: a.u64(4),
    };
    spawn(thread, frame, &request)
}

pub(in super::super) fn clone3(thread: &Thread, frame: &TrapFrame, a: &Args) -> Result<u64> {
    const LEAST: u64 = 64;
    if a.u64(1) < LEAST {
        return Err(Errno::EINVAL);
    }
    if a.u64(1) > 4096 {
        return Err(Errno::E2BIG);
    }
    let [flags, _pidfd, child_tid, parent_tid, _signal, stack, size, tls] =
        user::read_words::<8>(a.u64(0))?;
    let request = Request {
        flags,
        stack: if stack == 0 { 0 } else { stack.wrapping_add(size) },
        parent_tid,
        child_tid,
        thread_pointer: tls,
    };
    spawn(thread, frame, &request)
}

fn spawn(thread: &Thread, frame: &TrapFrame, request: &Request) -> Result<u64> {
    let flags = request.flags;
    if flags & CLONE_THREAD != 0 && flags & CLONE_SIGHAND == 0 {
        return Err(Errno::EINVAL);
    }
    if flags & CLONE_SIGHAND != 0 && flags & CLONE_VM == 0 {
        return Err(Errno::EINVAL);
    }
    if flags & THREAD != THREAD {
        return Err(no_processes());
    }
    if flags & CLONE_SETTLS != 0 && request.thread_pointer >= USER_END {
        return Err(Errno::EPERM);
    }
    let mut child_frame = *frame;
    child_frame.rax = 0;
    // Not a system call any more: nothing to restart.
    child_frame.vector = 0;
    if request.stack != 0 {
        child_frame.rsp = request.stack;
    }
    let tid = process::new_id();
    if flags & CLONE_PARENT_SETTID != 0 {
        user::write_u32(request.parent_tid, tid)?;
    }
    if flags & CLONE_CHILD_SETTID != 0 {
        user::write_u32(request.child_tid, tid)?;
    }
    let task = Thread::spawn(&thread.process, tid, &child_frame)?;
    let child = sched::thread_of(&task).ok_or(Errno::EAGAIN)?;
    child.signals.inherit(&thread.signals);
    *child.name.lock() = thread.name.lock().clone();
    *child.credentials.lock() = thread.credentials.lock().clone();
    if flags & CLONE_CHILD_CLEARTID != 0 {
        child.clear_tid.store(request.child_tid, Ordering::Relaxed);
    }
    let own = tasks::current();
    let pointer = if flags & CLONE_SETTLS != 0 { request.thread_pointer } else { own.fs_base() };
    task.set_fs_base(pointer);
    task.set_gs_base(own.gs_base());
    tasks::copy_fpu_to(&task);
    if thread.process.is_ending() {
        child.notice();
    }
    sched::spawn(task);
    Ok(u64::from(tid))
}

/// Only threads so far: a second process is refused as on a system that is out
/// of processes, which programs handle.
fn no_processes() -> Errno {
    crate::warn!("a second process was asked for: not supported yet (EAGAIN)");
    Errno::EAGAIN
}

pub(in super::super) fn fork(_thread: &Thread, _frame: &TrapFrame) -> Result<u64> {
    Err(no_processes())
}

pub(in super::super) fn vfork(_thread: &Thread, _frame: &TrapFrame) -> Result<u64> {
    Err(no_processes())
}

fn read_strings(mut at: u64) -> Result<Vec<Vec<u8>>> {
    const STRING_MAX: usize = 128 << 10;
    const COUNT_MAX: usize = 64 << 10;
    let mut strings = Vec::new();
    if at == 0 {
        return Ok(strings);
    }
    loop {
        let pointer = user::read_u64(at)?;
        if pointer == 0 {
            return Ok(strings);
        }
        if strings.len() >= COUNT_MAX {
            return Err(Errno::E2BIG);
        }
        strings.push(user::read_string(pointer, STRING_MAX, Errno::E2BIG)?);
        at += 8;
    }
}

/// execve(2) of the only thread: other threads end first.
pub(in super::super) fn execve(
    thread: &Thread,
    frame: &mut TrapFrame,
    path: u64,
    a: &Args,
) -> Result<()> {
    let path = user::read_path(path)?;
    let program =
        Program { arguments: read_strings(a.u64(1))?, environment: read_strings(a.u64(2))? };
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    if thread.process.thread_count() > 1 {
        return Err(Errno::EAGAIN);
    }
    let fs = thread.process.fs.lock().clone();
    let stack = thread.process.limits.soft(limits::STACK);
    let services = thread.process.services.clone();
    let loaded = exec::load(&services, &fs, &path, program.clone(), stack)?;
    thread.process.set_space(loaded.space.clone());
    thread.set_space(loaded.space.clone());
    thread.process.signals.reset_handlers();
    thread.process.files.close_marked();
    thread.clear_tid.store(0, Ordering::Relaxed);
    thread.robust_list.store(0, Ordering::Relaxed);
    thread.credentials.lock().after_exec();
    exec::describe(&thread.process, &loaded, &program);
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(&path);
    *thread.name.lock() = name[..name.len().min(NAME_SIZE - 1)].to_vec();
    let own = tasks::current();
    own.set_fs_base(0);
    own.set_gs_base(0);
    tasks::with_current_fpu(|state| {
        state.reset();
        true
    });
    *frame = loaded.frame;
    Ok(())
}

/// No process has children yet.
pub(in super::super) fn wait4(_thread: &Thread, _a: &Args) -> Result<u64> {
    Err(Errno::ECHILD)
}

pub(in super::super) fn waitid(_thread: &Thread, _a: &Args) -> Result<u64> {
    Err(Errno::ECHILD)
}
