// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The scheduler: a run queue on each CPU, stealing, time slices, and the one
//! way to sleep, [`park`], with the one way to wake, [`unpark`].
//!
//! A task is in at most one place: running, in one run queue, or blocked. A
//! blocked task enters a queue only after its registers are saved, and a task
//! that gives up its CPU only after the switch; so no CPU ever waits for
//! another one's switch while it is itself in one.

mod queue;

use crate::thread::Thread;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use khal::{Task, clock, cpus, tasks};
use kio::Instant;
use ksync::{Once, SpinLock};
use queue::RunQueue;

/// How long a thread runs while others wait.
pub(crate) const SLICE: Duration = Duration::from_millis(3);

/// What the scheduler keeps with each thread.
#[derive(Debug, Default)]
pub struct SchedState {
    inner: SpinLock<Inner>,
    /// The CPU it ran on last.
    last_cpu: AtomicU64,
}

impl SchedState {
    /// True while the thread sleeps in [`park`].
    pub fn is_blocked(&self) -> bool {
        self.inner.lock().state == State::Blocked
    }

    /// The CPU it ran on last.
    pub fn last_cpu(&self) -> u32 {
        self.last_cpu.load(Ordering::Relaxed) as u32
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Running, or in a run queue.
    #[default]
    Runnable,
    Blocked,
    /// Left its CPU for ever; wake-ups that come late find nothing to do.
    Ended,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// A wake-up that came while it was not blocked.
    token: bool,
}

struct Cpu {
    queue: RunQueue,
    idle: Once<Arc<Task>>,
    /// A task that gave up the CPU and goes back to the queue after the switch.
    yielded: SpinLock<Option<Arc<Task>>>,
    /// End of the running thread's slice; `u64::MAX` while nobody else waits.
    slice_end: AtomicU64,
    /// What the timer is set to.
    armed: AtomicU64,
    resched: AtomicBool,
    /// Something to look at before user code goes on: the slice is over, or
    /// somebody began to wait.
    due: AtomicBool,
    /// Nanoseconds that threads ran here.
    busy: AtomicU64,
}

static CPUS: [Cpu; cpus::MAX_CPUS] = [const {
    Cpu {
        queue: RunQueue::new(),
        idle: Once::new(),
        yielded: SpinLock::new(None),
        slice_end: AtomicU64::new(u64::MAX),
        armed: AtomicU64::new(u64::MAX),
        resched: AtomicBool::new(false),
        due: AtomicBool::new(false),
        busy: AtomicU64::new(0),
    }
}; cpus::MAX_CPUS];
/// CPUs that sleep or are about to.
static IDLE: AtomicU64 = AtomicU64::new(0);

fn this_cpu() -> &'static Cpu {
    &CPUS[cpus::current()]
}

/// The thread of a task; `None` for kernel tasks.
#[inline]
pub fn thread_of(task: &Task) -> Option<&Thread> {
    task.data::<Thread>()
}

/// The running thread; `None` in kernel tasks.
#[inline]
pub fn current_thread() -> Option<&'static Thread> {
    thread_of(tasks::current())
}

/// Makes this CPU schedule: its boot code ends here and the idle task begins.
pub fn start_this_cpu() -> ! {
    let task = Task::new(idle, false, Box::new(())).expect("memory for the idle task");
    let _ = this_cpu().idle.set(task.clone());
    tasks::start_first(task)
}

fn idle() {
    let cpu = this_cpu();
    let bit = 1 << cpus::current();
    loop {
        after_switch();
        crate::timers::run_expired();
        crate::background::run_if_due();
        IDLE.fetch_or(bit, Ordering::SeqCst);
        if let Some(next) = take_work() {
            IDLE.fetch_and(!bit, Ordering::SeqCst);
            run(next);
            continue;
        }
        cpu.slice_end.store(u64::MAX, Ordering::Relaxed);
        program_timer();
        cpus::wait_for_interrupt();
        IDLE.fetch_and(!bit, Ordering::SeqCst);
    }
}

/// A task to run: from this CPU's queue, or stolen from the longest other one.
fn take_work() -> Option<Arc<Task>> {
    if let Some(task) = this_cpu().queue.pop() {
        return Some(task);
    }
    let this = cpus::current();
    let victim = (0..cpus::count())
        .filter(|i| *i != this && !CPUS[*i].queue.is_empty())
        .max_by_key(|i| CPUS[*i].queue.len())?;
    CPUS[victim].queue.pop()
}

/// How long threads ran on a CPU, in nanoseconds, up to its last switch.
pub fn busy_time(cpu: usize) -> u64 {
    CPUS[cpu].busy.load(Ordering::Relaxed)
}

/// Switches to `next`, with its address space.
fn run(next: Arc<Task>) {
    let cpu = this_cpu();
    let now = clock::monotonic();
    if let Some(thread) = thread_of(&next) {
        thread.activate();
        thread.start_turn(now);
        thread.sched.last_cpu.store(cpus::current() as u64, Ordering::Relaxed);
    }
    if let Some(previous) = current_thread() {
        cpu.busy.fetch_add(previous.end_turn(now), Ordering::Relaxed);
    }
    cpu.resched.store(false, Ordering::Relaxed);
    start_slice(now);
    tasks::switch_to(next);
    after_switch();
}

/// Starts a slice if somebody else waits for this CPU.
fn start_slice(now: Instant) {
    let cpu = this_cpu();
    if cpu.queue.is_empty() {
        cpu.slice_end.store(u64::MAX, Ordering::Relaxed);
    } else {
        cpu.slice_end.store((now + SLICE).as_nanos(), Ordering::Relaxed);
    }
    program_timer_at(cpu, || now);
}

/// First thing on a new stack: the task that gave up the CPU may now be taken.
/// It waits from now on, so the running one's turn has to have an end.
pub fn after_switch() {
    let cpu = this_cpu();
    let yielded = cpu.yielded.lock().take();
    if let Some(task) = yielded {
        cpu.queue.push(task);
        if cpu.slice_end.load(Ordering::Relaxed) == u64::MAX {
            start_slice(clock::monotonic());
        }
    }
}

/// Sets the CPU's timer to the earlier of the next timer and the slice's end.
pub fn program_timer() {
    program_timer_at(this_cpu(), clock::monotonic);
}

fn program_timer_at(cpu: &Cpu, now: impl FnOnce() -> Instant) {
    let slice = cpu.slice_end.load(Ordering::Relaxed);
    let at = crate::timers::next_on_this_cpu().as_nanos().min(slice);
    // A timer that fires too early costs less than one that is set each time.
    let armed = cpu.armed.load(Ordering::Relaxed);
    if at < armed || (armed != u64::MAX && armed <= now().as_nanos()) {
        cpu.armed.store(at, Ordering::Relaxed);
        clock::set_deadline((at != u64::MAX).then(|| Instant::from_nanos(at)));
        // Which is when the hypervisor's parameters are looked at.
        crate::vdso::follow_clock();
    }
}

/// The timer fired on this CPU.
pub fn on_timer() {
    let cpu = this_cpu();
    cpu.armed.store(u64::MAX, Ordering::Relaxed);
    crate::timers::run_expired();
    crate::vdso::follow_clock();
    if clock::monotonic().as_nanos() >= cpu.slice_end.load(Ordering::Relaxed) {
        cpu.slice_end.store(u64::MAX, Ordering::Relaxed);
        cpu.resched.store(true, Ordering::Relaxed);
        cpu.due.store(true, Ordering::Relaxed);
    }
    program_timer();
}

/// Before going back to user code: gives way when the slice is over, and
/// starts one when somebody began to wait.
#[inline]
pub fn preempt_if_due() {
    let cpu = this_cpu();
    if cpu.due.load(Ordering::Relaxed) {
        preempt(cpu);
    }
}

#[cold]
fn preempt(cpu: &Cpu) {
    // Taken back before looking: what comes after that sets it again.
    cpu.due.swap(false, Ordering::SeqCst);
    if cpu.resched.load(Ordering::Relaxed) {
        yield_now();
    } else if !cpu.queue.is_empty() && cpu.slice_end.load(Ordering::Relaxed) == u64::MAX {
        start_slice(clock::monotonic());
    }
}

/// sched_yield(2): to the back of the queue.
pub fn yield_now() {
    let cpu = this_cpu();
    cpu.resched.store(false, Ordering::Relaxed);
    if let Some(next) = cpu.queue.pop() {
        *cpu.yielded.lock() = Some(tasks::current_arc());
        run(next);
    }
}

/// Gives the CPU away; the caller made sure that somebody will bring the
/// running task back, or that nobody has to.
fn schedule() {
    let next = take_work();
    let next = next.or_else(|| this_cpu().idle.get().cloned());
    if let Some(next) = next {
        run(next);
    }
}

/// Sleeps until [`unpark`], or goes on at once if that came already. No lock
/// may be held. Wake-ups may be spurious: look again at what you wait for.
pub fn park() {
    let Some(thread) = current_thread() else { return };
    {
        let mut inner = thread.sched.inner.lock();
        if core::mem::take(&mut inner.token) {
            return;
        }
        inner.state = State::Blocked;
    }
    schedule();
    thread.sched.inner.lock().token = false;
}

/// Ends the running task for ever.
pub fn exit_task() -> ! {
    if let Some(thread) = current_thread() {
        thread.sched.inner.lock().state = State::Ended;
    }
    schedule();
    unreachable!("an ended task does not run");
}

/// Wakes a task that sleeps in [`park`], or makes its next sleep end at once.
pub fn unpark(task: &Arc<Task>) {
    let Some(thread) = thread_of(task) else { return };
    {
        let mut inner = thread.sched.inner.lock();
        inner.token = true;
        if inner.state != State::Blocked {
            return;
        }
        inner.state = State::Runnable;
    }
    tasks::wait_until_saved(task);
    enqueue(task.clone(), thread.sched.last_cpu.load(Ordering::Relaxed) as usize);
}

/// Lets a new task run.
pub fn spawn(task: Arc<Task>) {
    let cpu = cpus::current();
    enqueue(task, cpu);
}

fn enqueue(task: Arc<Task>, preferred: usize) {
    let idle = IDLE.load(Ordering::SeqCst);
    let this = cpus::current();
    let target = if idle & (1 << preferred) != 0 || idle == 0 {
        preferred
    } else {
        idle.trailing_zeros() as usize
    };
    let was_empty = CPUS[target].queue.push(task);
    CPUS[target].due.store(true, Ordering::Release);
    if target == this {
        return;
    }
    let sleeps = IDLE.fetch_and(!(1 << target), Ordering::SeqCst) & (1 << target) != 0;
    if sleeps || was_empty {
        cpus::wake(target);
    }
}

/// Interrupts the CPU that runs `thread`, so that it comes into the kernel.
pub fn kick(thread: &Thread) {
    let cpu = thread.sched.last_cpu.load(Ordering::Relaxed) as usize;
    if cpu != cpus::current() {
        cpus::wake(cpu);
    }
}
