// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The end of threads, of processes, and of the machine with the first one.

use crate::mm::AddressSpace;
use crate::process::{self, Process};
use crate::thread::Thread;
use crate::{family, futex, log, sched, user};
use abi::control::{self, Exit};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use core::time::Duration;
use khal::machine;
use kio::Events;
use ksignal::Signal;
use ksync::Once;

/// Status of the kernel itself when it panicked, not one of the program's.
pub const PANIC_STATUS: u8 = 254;

/// How a process ends that is killed.
pub const KILLED: Exit = Exit::Signal(Signal::SIGKILL.number());

/// The process whose end is the machine's.
pub const FIRST: u32 = 1;

/// What firmware gets before other ways are tried.
const FIRMWARE_PATIENCE: Duration = Duration::from_millis(100);

/// Ends the running thread; with the last one, its process.
pub fn exit_thread() -> ! {
    if let Some(thread) = sched::current_thread() {
        leave_memory(thread);
        let spent = thread.cpu_time().as_nanos() as u64;
        thread.process.finished_cpu_time.fetch_add(spent, Ordering::Relaxed);
        if thread.tid() == thread.process.pid {
            thread.process.image.lock().name = thread.name.lock().clone();
        }
        if thread.process.remove_thread(thread.tid()) {
            end_process(thread);
        }
        thread.process.changed.notify(Events::READABLE);
    }
    sched::exit_task()
}

/// What others wait for in the memory that the running thread leaves, at its end or for that of
/// another program: robust futexes, CLONE_CHILD_CLEARTID.
pub fn leave_memory(thread: &Thread) {
    let robust = thread.robust_list.swap(0, Ordering::Relaxed);
    futex::release_robust_list(robust, thread.tid());
    let clear = thread.clear_tid.swap(0, Ordering::Relaxed);
    if clear != 0 && user::write_u32(clear, 0).is_ok() {
        let _ = futex::wake(clear, true, 1, u32::MAX);
        let _ = futex::wake(clear, false, 1, u32::MAX);
    }
}

/// exit_group(2).
pub fn exit_process(process: &Arc<Process>, exit: Exit) -> ! {
    process.end(exit);
    exit_thread()
}

/// The running thread was the last one.
fn end_process(thread: &Thread) {
    let process = &thread.process;
    process.end(Exit::Status(process.last_status.load(Ordering::Relaxed)));
    let exit = process.ending().unwrap_or(Exit::Status(0));
    process.forget_timers(i32::MIN);
    process.leave_all();
    if process.pid == FIRST {
        let others = process::all().into_iter().filter(|other| other.pid != FIRST);
        others.for_each(|other| other.end(KILLED));
        process::forget(FIRST);
        process.services.provider.settle();
        power_off(exit);
    }
    // Memory goes now, not when somebody has waited for the process.
    if let Some(vacant) = AddressSpace::vacant() {
        process.set_space(vacant.clone());
        thread.set_space(vacant);
    }
    process.memory.give_back();
    family::end(process);
}

static POWER_OFF: Once<Box<dyn Fn() + Send + Sync>> = Once::new();

/// Tells how the firmware turns this machine off; the first one counts.
pub fn set_power_off(how: impl Fn() + Send + Sync + 'static) {
    let _ = POWER_OFF.set(Box::new(how));
}

/// Tells the outside how it ended and turns the machine off.
pub fn power_off(exit: Exit) -> ! {
    log::stage("exit");
    log::with_channel(|out| control::exit(out, exit));
    machine::stop_others();
    if let Some(power_off) = POWER_OFF.get() {
        power_off();
        khal::clock::busy_wait(FIRMWARE_PATIENCE);
    }
    machine::power_off(exit.code())
}
