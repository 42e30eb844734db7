// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parents and children: who is told of an end, and waits for it.
//!
//! A process that has ended stays in its parent's list, without memory and descriptors, until
//! the parent has waited for it. One lock, [`FAMILY`], orders all changes of parents; signals
//! are sent after it is released.

use crate::exit::FIRST;
use crate::process::{self, Process};
use crate::signal;
use abi::control::Exit;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use kio::{Errno, Events, Result};
use ksignal::{ActionFlags, Handler, Origin, SigInfo, Signal, code};
use ksync::SpinLock;

static FAMILY: SpinLock<()> = SpinLock::new(());

/// What a process is to its parent, and its own children.
#[derive(Debug, Default)]
pub struct Family {
    /// Parent's process id.
    pub parent: AtomicU32,
    /// The signal that the parent gets at the end; 0 for none.
    exit_signal: AtomicU32,
    /// The signal that the process gets when its parent ends; 0 for none.
    pub death_signal: AtomicU32,
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

/// Makes a process findable, and its parent's child.
pub fn add(child: &Arc<Process>, parent: &Process) {
    let _order = FAMILY.lock();
    process::register(child);
    parent.family.children.lock().insert(child.pid, child.clone());
}

/// execve(2): a parent waits for what it has become by SIGCHLD.
pub fn after_exec(process: &Process) {
    process.family.exit_signal.store(u32::from(Signal::SIGCHLD.number()), Ordering::Relaxed);
}

/// The last thread of `process` has ended, and its memory and descriptors are gone: its
/// children get another parent, and its own is told.
pub fn end(process: &Arc<Process>) {
    let mut news = Vec::new();
    let order = FAMILY.lock();
    let orphans = core::mem::take(&mut *process.family.children.lock());
    if let Some(init) = process::find(FIRST) {
        for (pid, orphan) in &orphans {
            orphan.family.parent.store(FIRST, Ordering::Relaxed);
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
        kind && match self.which {
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
