// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parents and children: who is told of an end, and waits for it.
//!
//! A process that has ended stays in its parent's list, without memory and descriptors, until
//! the parent has waited for it. One lock, [`FAMILY`], orders all changes of parents and of
//! groups. What is told to one process is told after it is released; a signal for many is sent
//! with it held, so that no child which is being made escapes.

use crate::exit::FIRST;
use crate::process::{self, Process};
use crate::{signal, wait};
use abi::control::Exit;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use kio::{Errno, Events, Result};
use ksignal::{ActionFlags, Handler, Origin, SigInfo, Signal, code};
use ksync::SpinLock;

/// Signals that were sent to many processes at once, so far.
static FAMILY: SpinLock<u64> = SpinLock::new(0);

/// What a process is to its parent, and its own children.
#[derive(Debug, Default)]
pub struct Family {
    /// Parent's process id.
    pub parent: AtomicU32,
    /// The signal that the parent gets at the end; 0 for none.
    exit_signal: AtomicU32,
    /// The signal that the process gets when its parent ends; 0 for none.
    pub death_signal: AtomicU32,
    /// Orphans among its descendants become its children: PR_SET_CHILD_SUBREAPER.
    pub reaps: AtomicBool,
    /// It runs a program of its own, not its parent's: its group is its own affair.
    executed: AtomicBool,
    /// Ended, and may be waited for.
    ended: AtomicBool,
    children: SpinLock<BTreeMap<u32, Arc<Process>>>,
    /// CPU time of children that were waited for, in nanoseconds.
    children_cpu_time: AtomicU64,
}

impl Family {
    /// That of a child of `parent` which tells its end by `exit_signal`.
    pub fn of(parent: u32, exit_signal: u32) -> Self {
        Self {
            parent: AtomicU32::new(parent),
            exit_signal: AtomicU32::new(exit_signal),
            ..Self::default()
        }
    }

    /// Whether the process has ended and is only waited for.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// CPU time of children that were waited for.
    pub fn children_cpu_time(&self) -> Duration {
        Duration::from_nanos(self.children_cpu_time.load(Ordering::Relaxed))
    }
}

/// What [`add`] compares: no signal for many came since.
pub fn signals_for_many() -> u64 {
    *FAMILY.lock()
}

/// Makes a process findable, and the child of `parent`, the running process. `before` is
/// [`signals_for_many`] from before the child had anything of its parent: a signal since then
/// is for the child too, so the parent takes it first and makes another (`ERESTARTNOINTR`).
pub fn add(child: &Arc<Process>, parent: &Process, before: u64) -> Result<()> {
    let order = FAMILY.lock();
    if parent.is_ending() || (*order != before && wait::interrupted()) {
        return Err(Errno::ERESTARTNOINTR);
    }
    child.group.store(parent.group.load(Ordering::Relaxed), Ordering::Relaxed);
    child.session.store(parent.session.load(Ordering::Relaxed), Ordering::Relaxed);
    process::register(child);
    parent.family.children.lock().insert(child.pid, child.clone());
    Ok(())
}

/// Does something to all processes that `chosen` wants: kill(2) for a group, or for all. `ESRCH`
/// when there are none, the last error when it succeeded with none.
pub fn tell_many(
    chosen: impl Fn(&Process) -> bool,
    tell: impl Fn(&Arc<Process>) -> Result<()>,
) -> Result<()> {
    let mut order = FAMILY.lock();
    *order += 1;
    let all = process::all();
    let mut results = all.iter().filter(|p| chosen(p)).map(tell).collect::<Vec<_>>();
    drop(order);
    let last = results.pop().ok_or(Errno::ESRCH)?;
    if results.iter().any(Result::is_ok) { Ok(()) } else { last }
}

/// setpgid(2): `own` puts itself or a child into a group of its session.
pub fn set_group(own: &Arc<Process>, target: u32, group: u32) -> Result<()> {
    let _order = FAMILY.lock();
    let target = if target == 0 { own.clone() } else { find(target)? };
    let session = |process: &Process| process.session.load(Ordering::Relaxed);
    if target.family.parent.load(Ordering::Relaxed) == own.pid {
        if session(&target) != session(own) {
            return Err(Errno::EPERM);
        }
        if target.family.executed.load(Ordering::Relaxed) {
            return Err(Errno::EACCES);
        }
    } else if target.pid != own.pid {
        return Err(Errno::ESRCH);
    }
    // A session leader keeps its group.
    if session(&target) == target.pid {
        return Err(Errno::EPERM);
    }
    let group = if group == 0 { target.pid } else { group };
    let is_there = || {
        let all = process::all();
        all.iter().any(|p| is_in(p, group) && session(p) == session(own))
    };
    if group != target.pid && !is_there() {
        return Err(Errno::EPERM);
    }
    target.group.store(group, Ordering::Relaxed);
    Ok(())
}

/// setsid(2): a session and a group of its own; `EPERM` when there is a group with its id.
pub fn begin_session(own: &Process) -> Result<()> {
    let _order = FAMILY.lock();
    if process::all().iter().any(|p| is_in(p, own.pid)) {
        return Err(Errno::EPERM);
    }
    own.group.store(own.pid, Ordering::Relaxed);
    own.session.store(own.pid, Ordering::Relaxed);
    Ok(())
}

fn find(pid: u32) -> Result<Arc<Process>> {
    process::find(pid).ok_or(Errno::ESRCH)
}

/// Whether a process is in the group.
pub fn is_in(process: &Process, group: u32) -> bool {
    process.group.load(Ordering::Relaxed) == group
}

/// execve(2): a parent waits for what it has become by SIGCHLD.
pub fn after_exec(process: &Process) {
    process.family.executed.store(true, Ordering::Relaxed);
    process.family.exit_signal.store(u32::from(Signal::SIGCHLD.number()), Ordering::Relaxed);
}

/// The last thread of `process` has ended, and its memory and descriptors are gone: its
/// children get another parent, and its own is told.
pub fn end(process: &Arc<Process>) {
    let mut news = Vec::new();
    let order = FAMILY.lock();
    let orphans = core::mem::take(&mut *process.family.children.lock());
    if let Some(init) = reaper_after(process) {
        for (pid, orphan) in &orphans {
            orphan.family.parent.store(init.pid, Ordering::Relaxed);
            init.family.children.lock().insert(*pid, orphan.clone());
            let signal = Signal::new(orphan.family.death_signal.load(Ordering::Relaxed));
            if let Some(signal) = signal {
                let info = Some(SigInfo::kill(signal, process.pid as i32, 0));
                news.push(News { to: orphan.clone(), info });
            }
            if orphan.family.has_ended() {
                news.push(News::of(orphan, init.clone()));
            }
        }
    }
    process.family.ended.store(true, Ordering::Release);
    match process::find(process.family.parent.load(Ordering::Relaxed)) {
        Some(parent) => news.push(News::of(process, parent)),
        None => process::forget(process.pid),
    }
    drop(order);
    drop(orphans);
    news.into_iter().for_each(News::send);
}

/// Who gets the children of a process that ends: the nearest of those it descends from that
/// wants them, or the first process.
fn reaper_after(process: &Process) -> Option<Arc<Process>> {
    let parent_of = |p: &Process| process::find(p.family.parent.load(Ordering::Relaxed));
    let mut lineage = core::iter::successors(parent_of(process), |p| parent_of(p));
    let wants = |p: &Arc<Process>| p.family.reaps.load(Ordering::Relaxed) && !p.family.has_ended();
    lineage.find(wants).or_else(|| process::find(FIRST))
}

/// An end, and who is told of it.
struct News {
    to: Arc<Process>,
    info: Option<SigInfo>,
}

impl News {
    /// With the lock held. A parent that ignores its children does not have to wait for them.
    fn of(child: &Arc<Process>, parent: Arc<Process>) -> Self {
        let signal = Signal::new(child.family.exit_signal.load(Ordering::Relaxed));
        let action = parent.signals.action(Signal::SIGCHLD);
        let ignored = action.handler == Handler::Ignore;
        if signal == Some(Signal::SIGCHLD)
            && (ignored || action.flags.contains(ActionFlags::NOCLDWAIT))
        {
            parent.family.children.lock().remove(&child.pid);
            process::forget(child.pid);
        }
        Self { to: parent, info: signal.map(|signal| Ended::of(child).info(signal)) }
    }

    fn send(self) {
        if let Some(info) = self.info {
            // A queue that is full loses it; the parent still finds out by waiting.
            let _ = signal::send_to_process(&self.to, info);
        }
        self.to.changed.notify(Events::READABLE);
    }
}

/// Whom wait4(2) and waitid(2) wait for.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// All children.
    Any,
    /// The one with this process id.
    Process(u32),
    /// Those in this process group.
    Group(u32),
}

/// Children by the signal with which they tell their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SIGCHLD.
    Forked,
    /// Another one, or none: __WCLONE.
    Cloned,
    /// __WALL.
    Both,
}

/// What a wait is for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Whom.
    pub which: Which,
    /// Of what kind.
    pub kind: Kind,
    /// The child can be waited for again: WNOWAIT.
    pub keep: bool,
    /// For ends, the only thing that happens here: WEXITED. Without it what has ended does
    /// not count, and is not taken.
    pub ends: bool,
}

impl Wish {
    fn is_for(&self, child: &Process) -> bool {
        let forked =
            child.family.exit_signal.load(Ordering::Relaxed) == u32::from(Signal::SIGCHLD.number());
        let kind = match self.kind {
            Kind::Forked => forked,
            Kind::Cloned => !forked,
            Kind::Both => true,
        };
        kind && (self.ends || !child.family.has_ended())
            && match self.which {
                Which::Any => true,
                Which::Process(pid) => child.pid == pid,
                Which::Group(group) => child.group.load(Ordering::Relaxed) == group,
            }
    }
}

/// How a child has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its process id.
    pub pid: u32,
    /// Its status.
    pub exit: Exit,
    /// CPU time of it and of those that it waited for.
    pub cpu_time: Duration,
}

impl Ended {
    fn of(child: &Process) -> Self {
        Self {
            pid: child.pid,
            exit: child.ending().unwrap_or(Exit::Status(0)),
            cpu_time: child.cpu_time() + child.family.children_cpu_time(),
        }
    }

    /// As a parent's signal handler and waitid(2) are told.
    pub fn info(&self, signal: Signal) -> SigInfo {
        let (code, status) = match self.exit {
            Exit::Status(status) => (code::CLD_EXITED, i32::from(status)),
            Exit::Signal(number) => (code::CLD_KILLED, i32::from(number)),
        };
        let user_time = (self.cpu_time.as_millis() / 10) as i64;
        let origin =
            Origin::Child { pid: self.pid as i32, uid: 0, status, user_time, system_time: 0 };
        SigInfo { signal, code, origin }
    }
}

/// A child that has ended, and is no child any more unless the wish says so; `EAGAIN` when
/// all are still there, `ECHILD` without any.
pub fn collect(parent: &Process, wish: &Wish) -> Result<Ended> {
    let order = FAMILY.lock();
    let mut children = parent.family.children.lock();
    let mut wanted = children.values().filter(|child| wish.is_for(child)).peekable();
    wanted.peek().ok_or(Errno::ECHILD)?;
    let child = wanted.find(|child| child.family.has_ended()).cloned().ok_or(Errno::EAGAIN)?;
    let ended = Ended::of(&child);
    if !wish.keep {
        children.remove(&child.pid);
        process::forget(child.pid);
        let nanos = u64::try_from(ended.cpu_time.as_nanos()).unwrap_or(u64::MAX);
        parent.family.children_cpu_time.fetch_add(nanos, Ordering::Relaxed);
    }
    drop(children);
    drop(order);
    Ok(ended)
}
