// SPDX-License-Identifier: Apache-2.0 OR MIT
//! New threads and processes: clone(2), fork(2), vfork(2).

use super::super::Args;
use super::pidfd;
use crate::mm::AddressSpace;
use crate::process::{self, Process, Shares};
use crate::thread::Thread;
use crate::{family, limits, sched, user, wait};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use khal::{Task, TrapFrame, USER_END, tasks};
use kio::{Errno, Result};
use ksignal::Signal;

/// The signal at the end, in the flags of clone(2).
const CSIGNAL: u64 = 0xff;
const CLONE_VM: u64 = 0x100;
const CLONE_FS: u64 = 0x200;
const CLONE_FILES: u64 = 0x400;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_SYSVSEM: u64 = 0x4_0000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_DETACHED: u64 = 0x40_0000;
const CLONE_UNTRACED: u64 = 0x80_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
const CLONE_IO: u64 = 0x8000_0000;
/// What a thread of the same process shares.
const THREAD: u64 = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
/// What a process can be made with; the rest is namespaces and tracing.
const PROCESS: u64 = CLONE_VM
    | CLONE_PIDFD
    | CLONE_FS
    | CLONE_FILES
    | CLONE_VFORK
    | CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_CLEARTID
    | CLONE_DETACHED
    | CLONE_UNTRACED
    | CLONE_CHILD_SETTID
    | CLONE_IO;

/// What clone(2) and clone3(2) ask for.
#[derive(Clone, Copy, Default)]
struct Request {
    flags: u64,
    exit_signal: u32,
    /// Where the number of the descriptor goes.
    pidfd: u64,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    thread_pointer: u64,
}

impl Request {
    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    fn check(&self) -> Result<()> {
        let wrong = self.has(CLONE_THREAD) && (!self.has(CLONE_SIGHAND) || self.has(CLONE_PIDFD))
            || self.has(CLONE_SIGHAND) && !self.has(CLONE_VM)
            // clone(2) has one place for both.
            || self.has(CLONE_PIDFD)
                && self.has(CLONE_PARENT_SETTID)
                && self.pidfd == self.parent_tid;
        if wrong {
            return Err(Errno::EINVAL);
        }
        if self.has(CLONE_SETTLS) && self.thread_pointer >= USER_END {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}

pub(in super::super) fn clone(thread: &Thread, frame: &TrapFrame, a: Args) -> Result<u64> {
    let request = Request {
        flags: a.u64(0) & !CSIGNAL & u64::from(u32::MAX),
        exit_signal: (a.u64(0) & CSIGNAL) as u32,
        pidfd: a.u64(2),
        stack: a.u64(1),
        parent_tid: a.u64(2),
        child_tid: a.u64(3),
        thread_pointer: a.u64(4),
    };
    spawn(thread, frame, &request)
}

pub(in super::super) fn clone3(thread: &Thread, frame: &TrapFrame, a: Args) -> Result<u64> {
    const LEAST: u64 = 64;
    if a.u64(1) < LEAST {
        return Err(Errno::EINVAL);
    }
    if a.u64(1) > 4096 {
        return Err(Errno::E2BIG);
    }
    let [flags, pidfd, child_tid, parent_tid, exit_signal, stack, size, tls] =
        user::read_words::<8>(a.u64(0))?;
    let exit_signal = u32::try_from(exit_signal).map_err(|_| Errno::EINVAL)?;
    if flags & (CSIGNAL | CLONE_DETACHED) != 0 || u64::from(exit_signal) & !CSIGNAL != 0 {
        return Err(Errno::EINVAL);
    }
    let request = Request {
        flags,
        exit_signal,
        pidfd,
        stack: if stack == 0 { 0 } else { stack.wrapping_add(size) },
        parent_tid,
        child_tid,
        thread_pointer: tls,
    };
    spawn(thread, frame, &request)
}

pub(in super::super) fn fork(thread: &Thread, frame: &TrapFrame) -> Result<u64> {
    let exit_signal = u32::from(Signal::SIGCHLD.number());
    spawn(thread, frame, &Request { exit_signal, ..Request::default() })
}

pub(in super::super) fn vfork(thread: &Thread, frame: &TrapFrame) -> Result<u64> {
    let exit_signal = u32::from(Signal::SIGCHLD.number());
    let flags = CLONE_VM | CLONE_VFORK;
    spawn(thread, frame, &Request { flags, exit_signal, ..Request::default() })
}

fn spawn(thread: &Thread, frame: &TrapFrame, request: &Request) -> Result<u64> {
    request.check()?;
    if request.flags & THREAD == THREAD {
        return spawn_thread(thread, frame, request);
    }
    spawn_process(thread, frame, request)
}

/// The frame with which the child goes on behind the call.
fn child_frame(frame: &TrapFrame, request: &Request) -> TrapFrame {
    let mut child = *frame;
    child.rax = 0;
    // Not a system call any more: nothing to restart.
    child.vector = 0;
    if request.stack != 0 {
        child.rsp = request.stack;
    }
    child
}

/// What a new thread has from the one that made it, in whatever process.
fn inherit(thread: &Thread, task: &Arc<Task>, request: &Request) -> Result<()> {
    let child = sched::thread_of(task).ok_or(Errno::EAGAIN)?;
    child.signals.inherit(&thread.signals);
    *child.name.lock() = thread.name.lock().clone();
    *child.credentials.lock() = thread.credentials.lock().clone();
    if request.has(CLONE_CHILD_CLEARTID) {
        child.clear_tid.store(request.child_tid, Ordering::Relaxed);
    }
    let own = tasks::current();
    let pointer = if request.has(CLONE_SETTLS) { request.thread_pointer } else { own.fs_base() };
    task.set_fs_base(pointer);
    task.set_gs_base(own.gs_base());
    tasks::copy_fpu_to(task);
    Ok(())
}

/// About what the kernel keeps of a thread, and of a process.
const THREAD_SIZE: usize = 4 << 10;
const PROCESS_SIZE: usize = 16 << 10;

fn spawn_thread(thread: &Thread, frame: &TrapFrame, request: &Request) -> Result<u64> {
    limits::check_kernel_memory(THREAD_SIZE).map_err(|_| Errno::EAGAIN)?;
    let tid = process::new_id();
    if request.has(CLONE_PARENT_SETTID) {
        user::write_u32(request.parent_tid, tid)?;
    }
    if request.has(CLONE_CHILD_SETTID) {
        user::write_u32(request.child_tid, tid)?;
    }
    let task = Thread::spawn(&thread.process, tid, &child_frame(frame, request))?;
    inherit(thread, &task, request)?;
    if let Some(child) = sched::thread_of(&task)
        && child.must_end()
    {
        child.notice();
    }
    sched::spawn(task);
    Ok(u64::from(tid))
}

fn spawn_process(thread: &Thread, frame: &TrapFrame, request: &Request) -> Result<u64> {
    if request.flags & !PROCESS != 0 {
        crate::warn!("clone with flags {:#x}: not supported (EINVAL)", request.flags);
        return Err(Errno::EINVAL);
    }
    limits::check_kernel_memory(PROCESS_SIZE)?;
    // Needed at the end of any process, when it may not be had any more.
    AddressSpace::vacant().ok_or(Errno::ENOMEM)?;
    let signals = family::signals_for_many();
    let lends = request.has(CLONE_VM);
    let space = if lends { thread.space() } else { Arc::new(thread.space().fork()?) };
    let pid = process::new_id();
    if request.has(CLONE_PARENT_SETTID) {
        user::write_u32(request.parent_tid, pid)?;
    }
    let shares = Shares { files: request.has(CLONE_FILES), fs: request.has(CLONE_FS) };
    let child = thread.process.child(pid, space.clone(), shares, request.exit_signal)?;
    let task = Thread::spawn(&child, pid, &child_frame(frame, request))?;
    inherit(thread, &task, request)?;
    if let Some(first) = sched::thread_of(&task)
        && (!lends || request.has(CLONE_VFORK))
    {
        first.signals.inherit_stack(&thread.signals);
    }
    if request.has(CLONE_CHILD_SETTID) {
        // As on Linux, where the child itself writes it: what fails is not told.
        let _ = space.write(request.child_tid, &pid.to_le_bytes());
    }
    let pidfd = match request.has(CLONE_PIDFD) {
        true => install_pidfd(thread, &child, request.pidfd).map(Some),
        false => Ok(None),
    };
    let added = pidfd.and_then(|pidfd| {
        family::add(&child, &thread.process, signals).inspect_err(|_| {
            if let Some(fd) = pidfd {
                let _ = thread.process.files.close(fd);
            }
        })
    });
    if let Err(error) = added {
        child.remove_thread(pid);
        return Err(error);
    }
    sched::spawn(task);
    if request.has(CLONE_VFORK) {
        wait_for_memory(&child);
    }
    Ok(u64::from(pid))
}

fn install_pidfd(thread: &Thread, child: &Arc<Process>, address: u64) -> Result<i32> {
    let fd = pidfd::install(thread, child, 0)?;
    let written = user::write_u32(address, fd.cast_unsigned()).inspect_err(|_| {
        // Nobody else can have closed it, and what cannot be closed is gone.
        let _ = thread.process.files.close(fd);
    });
    written.map(|()| fd)
}

/// vfork(2): the parent goes on when the child uses its memory no more.
fn wait_for_memory(child: &Process) {
    wait::wait_through_signals(child.memory.queue(), || child.memory.is_given_back());
}
