// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Processes: an address space, descriptors, signals, threads.

use crate::files::FileTable;
use crate::limits::Limits;
use crate::mm::AddressSpace;
use crate::posix_timer::PosixTimer;
use crate::sched;
use crate::services::Services;
use crate::signal::ProcessSignals;
use abi::control::Exit;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use khal::Task;
use kio::WaitQueue;
use ksync::SpinLock;
use kvfs::{Execution, Location};

/// Working directory, root and file mode mask.
#[derive(Clone, Debug)]
pub struct FsContext {
    /// What "/" means.
    pub root: Location,
    /// The working directory.
    pub cwd: Location,
}

/// What a program was started with, for /proc.
#[derive(Clone, Debug, Default)]
pub struct Image {
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
    /// Parent's process id.
    pub parent: AtomicU32,
    /// Process group id.
    pub group: AtomicU32,
    /// Session id.
    pub session: AtomicU32,
    /// Descriptors.
    pub files: FileTable,
    /// Places.
    pub fs: SpinLock<FsContext>,
    /// umask(2).
    pub umask: AtomicU32,
    /// What the process shares with all others.
    pub services: Arc<Services>,
    /// Signals sent to the process as a whole, and dispositions.
    pub signals: ProcessSignals,
    /// Resource limits.
    pub limits: Limits,
    /// What it was started with.
    pub image: SpinLock<Image>,
    /// setitimer(2) and timer_create(2).
    pub timers: SpinLock<BTreeMap<i32, Arc<PosixTimer>>>,
    /// CPU time of threads that ended, in nanoseconds.
    pub finished_cpu_time: AtomicU64,
    /// Told when threads or children end.
    pub changed: WaitQueue,
    space: SpinLock<Arc<AddressSpace>>,
    threads: SpinLock<BTreeMap<u32, Arc<Task>>>,
    /// Set once: how it ends. -1 while it runs, then [`Exit`] packed.
    ending: AtomicI32,
}

fn pack(exit: Exit) -> i32 {
    match exit {
        Exit::Status(status) => i32::from(status),
        Exit::Signal(number) => 0x100 | i32::from(number),
    }
}

impl Process {
    /// A process without threads yet.
    pub fn new(
        pid: u32,
        parent: u32,
        space: Arc<AddressSpace>,
        services: Arc<Services>,
        fs: FsContext,
    ) -> Arc<Self> {
        Arc::new(Self {
            pid,
            parent: AtomicU32::new(parent),
            group: AtomicU32::new(pid),
            session: AtomicU32::new(pid),
            files: FileTable::default(),
            fs: SpinLock::new(fs),
            umask: AtomicU32::new(0o022),
            services,
            signals: ProcessSignals::default(),
            limits: Limits::default(),
            image: SpinLock::new(Image::default()),
            timers: SpinLock::new(BTreeMap::new()),
            finished_cpu_time: AtomicU64::new(0),
            changed: WaitQueue::new(),
            space: SpinLock::new(space),
            threads: SpinLock::new(BTreeMap::new()),
            ending: AtomicI32::new(-1),
        })
    }

    /// The address space.
    pub fn space(&self) -> Arc<AddressSpace> {
        self.space.lock().clone()
    }

    /// execve(2): another address space.
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

    /// True when all threads have to end.
    #[inline]
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed) >= 0
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
        for (_, task) in self.threads() {
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
