// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tasks: what the kernel above hangs on them. Each thread of a test runs one for ever.

use super::fpu::FpuState;
use super::frame::TrapFrame;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use kmm::OutOfFrames;
use ksync::SpinLock;
use std::thread_local;

/// A thread of execution as the CPU sees it.
pub struct Task {
    fpu: SpinLock<Option<FpuState>>,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    data: Box<dyn Any + Send + Sync>,
}

thread_local! {
    static CURRENT: Cell<Option<&'static Task>> = const { Cell::new(None) };
}

impl Task {
    /// A task; `start` is never called.
    pub fn new(
        _start: fn(),
        with_fpu: bool,
        data: Box<dyn Any + Send + Sync>,
    ) -> Result<Arc<Self>, OutOfFrames> {
        let fpu = if with_fpu { Some(FpuState::new().ok_or(OutOfFrames)?) } else { None };
        Ok(Arc::new(Self {
            fpu: SpinLock::new(fpu),
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            data,
        }))
    }

    /// What the kernel above keeps with the task, if it is a `T`.
    pub fn data<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.data.downcast_ref()
    }

    /// Base of FS, the thread pointer of user code.
    pub fn fs_base(&self) -> u64 {
        self.fs_base.load(Ordering::Relaxed)
    }

    /// Base of GS of user code.
    pub fn gs_base(&self) -> u64 {
        self.gs_base.load(Ordering::Relaxed)
    }

    /// Sets the base of FS.
    pub fn set_fs_base(&self, base: u64) {
        self.fs_base.store(base, Ordering::Relaxed);
    }

    /// Sets the base of GS.
    pub fn set_gs_base(&self, base: u64) {
        self.gs_base.store(base, Ordering::Relaxed);
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// Makes this thread run `task`, for ever.
pub fn adopt(task: Arc<Task>) {
    // SAFETY: the reference of the handle is never given back.
    CURRENT.set(Some(unsafe { &*Arc::into_raw(task) }));
}

/// The running task.
///
/// # Panics
/// When the thread has not adopted one.
pub fn current() -> &'static Task {
    CURRENT.get().expect("this thread has adopted a task")
}

/// One more handle of the running task.
pub fn current_arc() -> Arc<Task> {
    let raw: *const Task = current();
    // SAFETY: `adopt` took the pointer from an `Arc` and keeps its reference.
    unsafe {
        Arc::increment_strong_count(raw);
        Arc::from_raw(raw)
    }
}

/// Runs `f` with the extended state of the running task.
pub fn with_current_fpu(f: impl FnOnce(&mut FpuState) -> bool) {
    if let Some(fpu) = current().fpu.lock().as_mut() {
        f(fpu);
    }
}

/// Copies the running task's extended state to another one.
pub fn copy_fpu_to(new: &Task) {
    let state = current().fpu.lock().clone();
    *new.fpu.lock() = state;
}

/// Not on the host.
pub fn start_first(_task: Arc<Task>) -> ! {
    unreachable!("no task starts on the host");
}

/// Not on the host.
pub fn switch_to(_next: Arc<Task>) {
    unreachable!("tasks are not switched on the host");
}

/// Not on the host.
pub fn enter_user(_frame: &TrapFrame) -> ! {
    unreachable!("no user code runs on the host");
}

/// Nothing is saved anywhere.
pub fn wait_until_saved(_task: &Task) {}

/// User code never ran.
pub fn user_stack_pointer() -> u64 {
    0
}
