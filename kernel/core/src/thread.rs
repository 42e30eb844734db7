// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Threads: what a task is to Linux programs.

use crate::credentials::Credentials;
use crate::futex;
use crate::mm::AddressSpace;
use crate::process::Process;
use crate::sched::{self, SchedState};
use crate::signal::ThreadSignals;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use khal::{Activation, Task, TrapFrame, tasks};
use kio::{Errno, Events, Instant, Result, Wake};
use ksync::{Once, SpinLock};

/// Longest name of a thread with its NUL, TASK_COMM_LEN.
pub const NAME_SIZE: usize = 16;

/// One thread of a process.
pub struct Thread {
    /// Thread id; the first thread's is the process id, and execve(2) makes it that.
    tid: AtomicU32,
    /// The process.
    pub process: Arc<Process>,
    /// Of the scheduler.
    pub sched: SchedState,
    /// Signals of this thread.
    pub signals: ThreadSignals,
    /// Zeroed and woken when the thread ends; CLONE_CHILD_CLEARTID.
    pub clear_tid: AtomicU64,
    /// Head of the list of robust futexes.
    pub robust_list: AtomicU64,
    /// Name.
    pub name: SpinLock<Vec<u8>>,
    /// Who it is.
    pub credentials: SpinLock<Credentials>,
    /// Nanoseconds of CPU time up to the last switch.
    cpu_time: AtomicU64,
    /// When it was made.
    pub started: Instant,
    /// Start of the present turn; 0 while it does not run.
    running_since: AtomicU64,
    space: SpinLock<(Arc<AddressSpace>, Activation)>,
    /// For the next wait on a futex.
    pub futex_waiter: SpinLock<Option<Arc<futex::Waiter>>>,
    /// Something to do before the next return to user code.
    attention: AtomicBool,
    /// The frame that user code starts with, until it has started.
    start_frame: SpinLock<Option<Box<TrapFrame>>>,
    waker: Once<Arc<Waker>>,
}

/// Wakes a thread; what is registered in wait queues.
pub struct Waker(Weak<Task>);

impl Wake for Waker {
    fn wake(&self, _key: u64, _ready: Events) {
        if let Some(task) = self.0.upgrade() {
            sched::unpark(&task);
        }
    }
}

impl Thread {
    /// A thread of `process` that starts user code with `frame`. It runs once
    /// it is given to the scheduler.
    pub fn spawn(process: &Arc<Process>, tid: u32, frame: &TrapFrame) -> Result<Arc<Task>> {
        let space = process.space();
        let activation = space.activation();
        let thread = Self {
            tid: AtomicU32::new(tid),
            process: process.clone(),
            sched: SchedState::default(),
            signals: ThreadSignals::default(),
            clear_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            name: SpinLock::new(Vec::new()),
            credentials: SpinLock::new(Credentials::default()),
            cpu_time: AtomicU64::new(0),
            started: khal::clock::monotonic(),
            running_since: AtomicU64::new(0),
            space: SpinLock::new((space, activation)),
            futex_waiter: SpinLock::new(None),
            attention: AtomicBool::new(false),
            start_frame: SpinLock::new(Some(Box::new(*frame))),
            waker: Once::new(),
        };
        let task = Task::new(start, true, Box::new(thread)).map_err(|_| Errno::EAGAIN)?;
        if let Some(thread) = sched::thread_of(&task) {
            let _ = thread.waker.set(Arc::new(Waker(Arc::downgrade(&task))));
        }
        process.add_thread(tid, task.clone());
        Ok(task)
    }

    /// Thread id.
    #[inline]
    pub fn tid(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// execve(2): the only thread gets the process's id.
    pub fn become_first(&self) {
        let old = self.tid.swap(self.process.pid, Ordering::Relaxed);
        self.process.rename_thread(old, self.process.pid);
    }

    /// True when the thread has to end before it goes on in user code.
    #[inline]
    pub fn must_end(&self) -> bool {
        self.process.wants_end_of(self.tid())
    }

    /// The address space.
    pub fn space(&self) -> Arc<AddressSpace> {
        self.space.lock().0.clone()
    }

    /// A number that no other address space has while this one is in use.
    #[inline]
    pub fn space_identity(&self) -> u64 {
        Arc::as_ptr(&self.space.lock().0) as u64
    }

    /// execve(2): the thread goes on in another address space.
    pub fn set_space(&self, space: Arc<AddressSpace>) {
        let activation = space.activation();
        let old = core::mem::replace(&mut *self.space.lock(), (space, activation));
        activation.activate();
        drop(old);
    }

    /// Loads the address space on this CPU.
    #[inline]
    pub fn activate(&self) {
        let activation = self.space.lock().1;
        activation.activate();
    }

    /// CPU time so far, the present turn included.
    pub fn cpu_time(&self) -> Duration {
        let finished = Duration::from_nanos(self.cpu_time.load(Ordering::Relaxed));
        finished + self.present_turn()
    }

    /// How long the thread has had a CPU; zero while it has none.
    pub fn present_turn(&self) -> Duration {
        let since = self.running_since.load(Ordering::Relaxed);
        let now = khal::clock::monotonic().as_nanos();
        Duration::from_nanos(if since == 0 { 0 } else { now.saturating_sub(since) })
    }

    /// The scheduler gives the thread a CPU.
    pub fn start_turn(&self, now: Instant) {
        self.running_since.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// The scheduler takes the CPU away. Returns how long the turn was, in
    /// nanoseconds.
    pub fn end_turn(&self, now: Instant) -> u64 {
        let since = self.running_since.swap(0, Ordering::Relaxed);
        if since == 0 {
            return 0;
        }
        let turn = now.as_nanos().saturating_sub(since);
        self.cpu_time.fetch_add(turn, Ordering::Relaxed);
        turn
    }

    /// What wait queues hold to wake this thread.
    pub fn waker(&self) -> Arc<dyn Wake> {
        match self.waker.get() {
            Some(waker) => waker.clone(),
            None => Arc::new(Waker(Weak::new())),
        }
    }

    /// Makes the thread look at its signals, and at the end of its process,
    /// before it goes on in user code.
    pub fn notice(&self) {
        self.attention.store(true, Ordering::Release);
    }

    /// True when [`notice`](Self::notice) was called since the last time.
    #[inline]
    pub fn has_attention(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    /// Takes the mark back, before looking.
    pub fn clear_attention(&self) {
        self.attention.store(false, Ordering::Release);
    }
}

/// The frame by value: a box would never be freed where nothing returns to.
fn take_start_frame() -> Option<TrapFrame> {
    let boxed = sched::current_thread()?.start_frame.lock().take();
    boxed.map(|frame| *frame)
}

/// First kernel code of a thread.
fn start() {
    sched::after_switch();
    if let Some(mut frame) = take_start_frame() {
        crate::trap::before_user(&mut frame);
        tasks::enter_user(&frame)
    }
    sched::exit_task()
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({})", self.tid())
    }
}
