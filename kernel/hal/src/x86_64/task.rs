// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tasks: a kernel stack, saved registers, and what the kernel above hangs on
//! them; and the switch from one to the next.

use super::entry::return_to_user;
use super::fpu::FpuState;
use super::frame::TrapFrame;
use super::memory::KernelStack;
use super::{cpu, percpu};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::{Any, TypeId};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use kmm::OutOfFrames;

/// A thread of execution as the CPU sees it.
pub struct Task {
    stack: KernelStack,
    /// Saved stack pointer while the task does not run.
    sp: UnsafeCell<u64>,
    /// `None` for kernel tasks.
    fpu: UnsafeCell<Option<FpuState>>,
    fs_base: AtomicU64,
    gs_base: AtomicU64,
    /// True from the moment a CPU takes the task until its registers are saved.
    on_cpu: AtomicBool,
    start: fn(),
    #[expect(dead_code, reason = "owns what `data_at` points to")]
    data: Box<dyn Any + Send + Sync>,
    /// Type and address of `data`, so that finding it costs no call.
    data_type: TypeId,
    data_at: *const (),
}

// SAFETY: `data_at` points into the `Sync` box; `sp` and `fpu` are touched only by the CPU that runs the task or
// switches to or from it; `on_cpu` hands them from one CPU to the next.
unsafe impl Sync for Task {}
// SAFETY: a task does not depend on the CPU it was made on.
unsafe impl Send for Task {}

global_asm!(
    r#"
    // fn task_switch(save: *mut u64, load: u64)
    .section .text.task_switch, "ax"
    .global task_switch
task_switch:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    mov rsp, rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

    .global task_begin
task_begin:
    xor ebp, ebp
    call {begin}
    ud2
    "#,
    begin = sym begin,
);

unsafe extern "C" {
    fn task_switch(save: *mut u64, load: u64);
    fn task_begin();
}

/// First Rust code of a new task.
extern "C" fn begin() -> ! {
    finish_switch();
    let start = current().start;
    start();
    unreachable!("a task's start function does not return");
}

impl Task {
    /// A task that will run `start` in the kernel; it goes to user code, if it
    /// wants to, through [`enter_user`].
    pub fn new(
        start: fn(),
        with_fpu: bool,
        data: Box<dyn Any + Send + Sync>,
    ) -> Result<Arc<Self>, OutOfFrames> {
        let stack = KernelStack::allocate()?;
        let fpu = if with_fpu { Some(FpuState::new().ok_or(OutOfFrames)?) } else { None };
        // The top is kept for the frame of `enter_user`. Below: six registers,
        // the return address, and two words so that `task_begin` finds the
        // stack aligned to 16.
        let sp = stack.top() - size_of::<TrapFrame>() as u64 - 9 * 8;
        // SAFETY: the top of a mapped stack that nobody uses yet.
        unsafe {
            let words = sp as *mut u64;
            words.write_bytes(0, 9);
            words.add(6).write(task_begin as *const () as u64);
        }
        Ok(Arc::new(Self {
            stack,
            sp: UnsafeCell::new(sp),
            fpu: UnsafeCell::new(fpu),
            fs_base: AtomicU64::new(0),
            gs_base: AtomicU64::new(0),
            on_cpu: AtomicBool::new(false),
            start,
            data_type: (*data).type_id(),
            data_at: (&raw const *data).cast(),
            data,
        }))
    }

    /// What the kernel above keeps with the task, if it is a `T`.
    #[inline]
    pub fn data<T: Any + Send + Sync>(&self) -> Option<&T> {
        // SAFETY: the address is that of the boxed value, which lives as long
        // as the task and never moves; its type was noted when it was made.
        (self.data_type == TypeId::of::<T>()).then(|| unsafe { &*self.data_at.cast::<T>() })
    }

    /// Base of FS, the thread pointer of user code.
    pub fn fs_base(&self) -> u64 {
        self.fs_base.load(Ordering::Relaxed)
    }

    /// Base of GS of user code.
    pub fn gs_base(&self) -> u64 {
        self.gs_base.load(Ordering::Relaxed)
    }

    /// Sets the base of FS; the address must be in user space.
    pub fn set_fs_base(&self, base: u64) {
        self.fs_base.store(base, Ordering::Relaxed);
        if core::ptr::eq(self, current()) {
            // SAFETY: the kernel does not use FS.
            unsafe { cpu::wrmsr(cpu::MSR_FS_BASE, base) };
        }
    }

    /// Sets the base of GS; the address must be in user space.
    pub fn set_gs_base(&self, base: u64) {
        self.gs_base.store(base, Ordering::Relaxed);
        if core::ptr::eq(self, current()) {
            // SAFETY: in the kernel, this MSR holds the user's base.
            unsafe { cpu::wrmsr(cpu::MSR_KERNEL_GS_BASE, base) };
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("stack", &self.stack).finish_non_exhaustive()
    }
}

/// Runs `f` with the saved extended state of the running task, current as of
/// now; with `true` from `f`, the (changed) state is loaded back.
pub fn with_current_fpu(f: impl FnOnce(&mut FpuState) -> bool) {
    // SAFETY: the running task's state is touched by this CPU only.
    if let Some(fpu) = unsafe { &mut *current().fpu.get() } {
        fpu.save();
        if f(fpu) {
            fpu.restore();
        }
    }
}

/// Copies the running task's extended state to a task that has not run yet.
pub fn copy_fpu_to(new: &Task) {
    with_current_fpu(|state| {
        // SAFETY: `new` has not run, and its maker is the only one who knows it.
        if let Some(target) = unsafe { &mut *new.fpu.get() } {
            target.load_untrusted(state.bytes());
        }
        false
    });
}

/// The running task.
#[inline]
pub fn current() -> &'static Task {
    let raw = percpu::current().current.load(Ordering::Relaxed).cast::<Task>();
    // SAFETY: set by `adopt` or `switch_to`, and kept alive by the reference
    // that running holds; it cannot end while its own code uses it.
    unsafe { &*raw }
}

/// One more handle of the running task.
pub fn current_arc() -> Arc<Task> {
    let raw: *const Task = current();
    // SAFETY: the pointer came from `Arc::into_raw`, and a reference is held.
    unsafe {
        Arc::increment_strong_count(raw);
        Arc::from_raw(raw)
    }
}

/// Makes the boot code of this CPU a task, so that it can be switched from.
pub fn adopt(task: Arc<Task>) {
    task.on_cpu.store(true, Ordering::Relaxed);
    percpu::set_kernel_stack(task.stack.top());
    percpu::current().current.store(Arc::into_raw(task).cast_mut().cast(), Ordering::Relaxed);
}

/// Starts running `task` for the first time on this CPU, from boot code whose
/// stack is never used again.
pub fn start_first(task: Arc<Task>) -> ! {
    // SAFETY: nobody runs this task, so its stack pointer is ours.
    let load = unsafe { *task.sp.get() };
    adopt(task);
    percpu::current().previous.store(core::ptr::null_mut(), Ordering::Relaxed);
    let mut unused = 0;
    // SAFETY: the new stack was laid out by `Task::new`.
    unsafe { task_switch(&raw mut unused, load) };
    unreachable!("boot stacks are left for ever");
}

/// Switches to `next`; returns when somebody switches back. No lock may be
/// held.
pub fn switch_to(next: Arc<Task>) {
    let previous = current();
    if core::ptr::eq(previous, &raw const *next) {
        return;
    }
    // Another CPU may still be saving the task's registers.
    while next.on_cpu.swap(true, Ordering::Acquire) {
        super::shootdown::relax();
    }
    percpu::set_kernel_stack(next.stack.top());
    // SAFETY: `previous` runs on this CPU and `next` was claimed above.
    let (save, load) = unsafe {
        if let Some(fpu) = &mut *previous.fpu.get() {
            fpu.save_for_switch();
        }
        if let Some(fpu) = &*next.fpu.get() {
            fpu.restore_for_switch();
            cpu::wrmsr(cpu::MSR_FS_BASE, next.fs_base());
            cpu::wrmsr(cpu::MSR_KERNEL_GS_BASE, next.gs_base());
        }
        (previous.sp.get(), *next.sp.get())
    };
    let cpu = percpu::current();
    cpu.current.store(Arc::into_raw(next).cast_mut().cast(), Ordering::Relaxed);
    percpu::current()
        .previous
        .store(core::ptr::from_ref(previous).cast_mut().cast(), Ordering::Relaxed);
    // SAFETY: both stacks are mapped, and `load` was saved by this function or
    // laid out by `Task::new`.
    unsafe { task_switch(save, load) };
    finish_switch();
}

/// On the new stack: lets go of the task that ran before.
fn finish_switch() {
    let raw =
        percpu::current().previous.swap(core::ptr::null_mut(), Ordering::Relaxed).cast::<Task>();
    if raw.is_null() {
        return;
    }
    // SAFETY: the pointer came from `Arc::into_raw` when the task began to
    // run; its registers are saved, so that reference can go.
    let previous = unsafe { Arc::from_raw(raw) };
    previous.on_cpu.store(false, Ordering::Release);
}

/// Leaves the kernel: user code goes on with `frame`.
pub fn enter_user(frame: &TrapFrame) -> ! {
    let at = (current().stack.top() - size_of::<TrapFrame>() as u64) as *mut TrapFrame;
    // SAFETY: `Task::new` keeps the top of the stack free for this frame, so
    // it overwrites nothing that is in use; the assembly leaves this stack.
    unsafe {
        at.write(*frame);
        core::arch::asm!(
            "mov rsp, {at}",
            "jmp {leave}",
            at = in(reg) at,
            leave = sym return_to_user,
            options(noreturn)
        );
    }
}

/// Waits until a task that stopped running has its registers saved, so that
/// another CPU may take it.
pub fn wait_until_saved(task: &Task) {
    while task.on_cpu.load(Ordering::Acquire) && !core::ptr::eq(task, current()) {
        super::shootdown::relax();
    }
}

/// The stack pointer that user code had when it last entered the kernel
/// through a system call.
pub fn user_stack_pointer() -> u64 {
    let at = (current().stack.top() - size_of::<TrapFrame>() as u64) as *const TrapFrame;
    // SAFETY: entries from user mode put their frame at the top of the
    // running task's own stack, and it stays there until the way back.
    unsafe { (*at).rsp }
}
