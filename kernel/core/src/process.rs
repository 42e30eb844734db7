// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Processes: an address space, descriptors, signals, threads.

use crate::family::Family;
use crate::files::FileTable;
use crate::limits::Limits;
use crate::mm::AddressSpace;
use crate::posix_timer::PosixTimer;
use crate::sched;
use crate::services::Services;
use crate::sharing::Sharable;
use crate::signal::ProcessSignals;
use abi::control::Exit;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use khal::Task;
use kio::{Events, Result, WaitQueue};
use ksync::SpinLock;
use kvfs::{Execution, Location};

/// Working directory, root and file mode mask.
#[derive(Clone, Debug)]
pub struct FsContext {
    /// What "/" means.
    pub root: Location,
    /// The working directory.
    pub cwd: Location,
    /// umask(2).
    pub umask: u32,
}

impl FsContext {
    /// That of the first process, and of one that has ended.
    pub fn at(root: Location) -> Self {
        Self { cwd: root.clone(), root, umask: 0o022 }
    }
}

/// What a program was started with, for /proc.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Name of the first thread, once that has ended.
    pub name: Vec<u8>,
    /// Path of the executable.
    pub executable: Option<Location>,
    /// Keeps it from being written.
    pub execution: Option<Arc<Execution>>,
    /// Arguments, each with a NUL.
    pub arguments: Vec<u8>,
    /// Environment, each with a NUL.
    pub environment: Vec<u8>,
    /// The auxiliary vector as bytes.
    pub auxiliary: Vec<u8>,
}

/// A program in execution.
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Its parent and children.
    pub family: Family,
    /// Process group id.
    pub group: AtomicU32,
    /// Session id.
    pub session: AtomicU32,
    /// Descriptors; CLONE_FILES shares them.
    pub files: FileTable,
    /// Places; CLONE_FS shares them.
    pub fs: Sharable<FsContext>,
    /// What the process shares with all others.
    pub services: Arc<Services>,
    /// Signals sent to the process as a whole, and dispositions.
    pub signals: ProcessSignals,
    /// Resource limits.
    pub limits: Limits,
    /// What it was started with.
    pub image: SpinLock<Image>,
    /// Those of setitimer(2) have ids below zero, those of timer_create(2) from zero on.
    pub timers: SpinLock<BTreeMap<i32, Arc<PosixTimer>>>,
    /// CPU time of threads that ended, in nanoseconds.
    pub finished_cpu_time: AtomicU64,
    /// Told when threads or children end.
    pub changed: WaitQueue,
    /// The parent of a vfork(2) waits here until its memory is its own again.
    pub memory: Lent,
    space: SpinLock<Arc<AddressSpace>>,
    threads: SpinLock<BTreeMap<u32, Arc<Task>>>,
    /// What the first thread gave to exit(2).
    pub last_status: AtomicU8,
    /// Set once: how it ends. -1 while it runs, then [`Exit`] packed.
    ending: AtomicI32,
    /// The thread that executes another program, before which the others end; else 0.
    executing: AtomicU32,
}

/// Memory that a child uses until it executes a program or ends.
#[derive(Debug, Default)]
pub struct Lent {
    given_back: AtomicBool,
    waiting: WaitQueue,
}

impl Lent {
    /// Whether it is the parent's alone again.
    pub fn is_given_back(&self) -> bool {
        self.given_back.load(Ordering::Acquire)
    }

    /// The child does not use it any more.
    pub fn give_back(&self) {
        self.given_back.store(true, Ordering::Release);
        self.waiting.notify(Events::READABLE);
    }

    /// Where to wait for that.
    pub fn queue(&self) -> &WaitQueue {
        &self.waiting
    }
}

/// What a new process starts with.
struct Inherited {
    family: Family,
    group: u32,
    session: u32,
    files: FileTable,
    fs: Sharable<FsContext>,
    services: Arc<Services>,
    signals: ProcessSignals,
    limits: Limits,
    image: Image,
}

/// What a child has in common with its parent, instead of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    /// Descriptors.
    pub files: bool,
    /// Working directory and root.
    pub fs: bool,
}

fn pack(exit: Exit) -> i32 {
    match exit {
        Exit::Status(status) => i32::from(status),
        Exit::Signal(number) => 0x100 | i32::from(number),
    }
}

impl Process {
    /// The first process, without threads yet.
    pub fn first(
        pid: u32,
        space: Arc<AddressSpace>,
        services: Arc<Services>,
        fs: FsContext,
    ) -> Arc<Self> {
        let inherited = Inherited {
            family: Family::default(),
            group: pid,
            session: pid,
            files: FileTable::default(),
            fs: Sharable::new(fs),
            services,
            signals: ProcessSignals::default(),
            limits: Limits::default(),
            image: Image::default(),
        };
        Self::new(pid, space, inherited)
    }

    /// A child without threads yet, as fork(2) describes it.
    pub fn child(
        &self,
        pid: u32,
        space: Arc<AddressSpace>,
        shares: Shares,
        exit_signal: u32,
    ) -> Result<Arc<Self>> {
        let files = match shares.files {
            true => self.files.share(),
            false => self.files.duplicate()?,
        };
        let fs = match shares.fs {
            true => self.fs.share(|fs| fs.clone()),
            false => Sharable::new(self.places()),
        };
        let inherited = Inherited {
            family: Family::of(self.pid, exit_signal),
            group: self.group.load(Ordering::Relaxed),
            session: self.session.load(Ordering::Relaxed),
            files,
            fs,
            services: self.services.clone(),
            signals: self.signals.duplicate_dispositions(),
            limits: self.limits.duplicate(),
            image: self.image.lock().clone(),
        };
        Ok(Self::new(pid, space, inherited))
    }

    fn new(pid: u32, space: Arc<AddressSpace>, from: Inherited) -> Arc<Self> {
        Arc::new(Self {
            pid,
            family: from.family,
            group: AtomicU32::new(from.group),
            session: AtomicU32::new(from.session),
            files: from.files,
            fs: from.fs,
            services: from.services,
            signals: from.signals,
            limits: from.limits,
            image: SpinLock::new(from.image),
            timers: SpinLock::new(BTreeMap::new()),
            finished_cpu_time: AtomicU64::new(0),
            changed: WaitQueue::new(),
            memory: Lent::default(),
            space: SpinLock::new(space),
            threads: SpinLock::new(BTreeMap::new()),
            last_status: AtomicU8::new(0),
            ending: AtomicI32::new(-1),
            executing: AtomicU32::new(0),
        })
    }

    /// Working directory, root and mask as they are now.
    pub fn places(&self) -> FsContext {
        self.fs.with(|fs| fs.clone())
    }

    /// The end: what others need, or hold, goes now and not when somebody has waited.
    pub fn leave_all(&self) {
        self.files.leave();
        drop(self.fs.leave(FsContext::at(self.services.namespace.root())));
        let mut image = self.image.lock();
        let name = core::mem::take(&mut image.name);
        let image = core::mem::replace(&mut *image, Image { name, ..Image::default() });
        drop(image);
    }

    /// The address space; a vacant one once the process has ended.
    pub fn space(&self) -> Arc<AddressSpace> {
        self.space.lock().clone()
    }

    /// execve(2), and the end: another address space.
    pub fn set_space(&self, space: Arc<AddressSpace>) {
        let old = core::mem::replace(&mut *self.space.lock(), space);
        drop(old);
    }

    /// Adds a thread.
    pub fn add_thread(&self, tid: u32, task: Arc<Task>) {
        self.threads.lock().insert(tid, task);
    }

    /// Takes a thread out; true when it was the last.
    pub fn remove_thread(&self, tid: u32) -> bool {
        let mut threads = self.threads.lock();
        let gone = threads.remove(&tid);
        let last = threads.is_empty();
        drop(threads);
        drop(gone);
        last
    }

    /// execve(2): the thread that is left gets the process's id.
    pub fn rename_thread(&self, old: u32, new: u32) {
        let mut threads = self.threads.lock();
        if let Some(task) = threads.remove(&old) {
            threads.insert(new, task);
        }
    }

    /// All threads.
    pub fn threads(&self) -> Vec<(u32, Arc<Task>)> {
        self.threads.lock().iter().map(|(tid, task)| (*tid, task.clone())).collect()
    }

    /// The thread with this id.
    pub fn thread(&self, tid: u32) -> Option<Arc<Task>> {
        self.threads.lock().get(&tid).cloned()
    }

    /// Number of threads.
    pub fn thread_count(&self) -> usize {
        self.threads.lock().len()
    }

    /// CPU time of all threads.
    pub fn cpu_time(&self) -> Duration {
        let finished = self.finished_cpu_time.load(Ordering::Relaxed);
        let running = self.threads();
        let running = running.iter().filter_map(|(_, t)| sched::thread_of(t));
        running.fold(Duration::from_nanos(finished), |sum, t| sum + t.cpu_time())
    }

    /// Timers with ids from `first` on send no signals any more: all of them at the end,
    /// those of timer_create(2) at execve(2).
    pub fn forget_timers(&self, first: i32) {
        let timers = self.timers.lock().split_off(&first);
        timers.values().for_each(|timer| timer.set(Duration::ZERO, None));
    }

    /// True when all threads have to end.
    #[inline]
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed) >= 0
    }

    /// True when the thread `tid` has to end: with all others, or before another one
    /// executes a program.
    #[inline]
    pub fn wants_end_of(&self, tid: u32) -> bool {
        let executing = self.executing.load(Ordering::Relaxed);
        self.is_ending() || executing != 0 && executing != tid
    }

    /// Makes all threads but `tid` end, which executes a program; false when another one
    /// does already.
    pub fn begin_exec(&self, tid: u32) -> bool {
        let begun =
            self.executing.compare_exchange(0, tid, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if begun {
            self.alarm_threads(Some(tid));
        }
        begun
    }

    /// The program is loaded.
    pub fn end_exec(&self) {
        self.executing.store(0, Ordering::Release);
    }

    /// How it ends, once that is decided.
    pub fn ending(&self) -> Option<Exit> {
        let packed = self.ending.load(Ordering::Acquire);
        match packed {
            i32::MIN..=-1 => None,
            0..=0xff => Some(Exit::Status(packed as u8)),
            _ => Some(Exit::Signal(packed as u8)),
        }
    }

    /// Decides how the process ends, if that is still open, and makes its
    /// threads notice.
    pub fn end(&self, exit: Exit) {
        let decided =
            self.ending.compare_exchange(-1, pack(exit), Ordering::AcqRel, Ordering::Relaxed);
        if decided.is_err() {
            return;
        }
        self.alarm_threads(None);
    }

    /// Makes threads look whether they have to end, all but one, wherever they are.
    fn alarm_threads(&self, except: Option<u32>) {
        for (tid, task) in self.threads() {
            if Some(tid) == except {
                continue;
            }
            if let Some(thread) = sched::thread_of(&task) {
                thread.notice();
            }
            sched::unpark(&task);
        }
        for cpu in (0..khal::cpus::count()).filter(|c| *c != khal::cpus::current()) {
            khal::cpus::wake(cpu);
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.pid)
    }
}

/// All processes by id.
static PROCESSES: SpinLock<BTreeMap<u32, Weak<Process>>> = SpinLock::new(BTreeMap::new());
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// A fresh id for a process or thread.
pub fn new_id() -> u32 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// The newest id.
pub fn last_id() -> u32 {
    NEXT_ID.load(Ordering::Relaxed).saturating_sub(1)
}

/// Makes a process findable.
pub fn register(process: &Arc<Process>) {
    PROCESSES.lock().insert(process.pid, Arc::downgrade(process));
}

/// Forgets a process.
pub fn forget(pid: u32) {
    PROCESSES.lock().remove(&pid);
}

/// The process with this id.
pub fn find(pid: u32) -> Option<Arc<Process>> {
    PROCESSES.lock().get(&pid).and_then(Weak::upgrade)
}

/// All processes.
pub fn all() -> Vec<Arc<Process>> {
    PROCESSES.lock().values().filter_map(Weak::upgrade).collect()
}
