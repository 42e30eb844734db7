// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Work that must not run in an interrupt handler, and belongs to no program:
//! writing volumes back. It runs where no lock is held, on a CPU that idles or
//! goes back to user code.

use crate::sched;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};
use ksync::Once;

static WORK: Once<Box<dyn Fn() + Send + Sync>> = Once::new();
static DUE: AtomicBool = AtomicBool::new(false);

/// Tells what the work is; the first one counts.
pub fn set_work(work: impl Fn() + Send + Sync + 'static) {
    let _ = WORK.set(Box::new(work));
}

/// Asks for the work; for timers and interrupt handlers.
pub fn request() {
    DUE.store(true, Ordering::Release);
    // An idle CPU looks before it sleeps again, a busy one on its way out.
    if let Some(thread) = sched::current_thread() {
        thread.notice();
    }
}

/// Does what was asked for; called where no lock is held.
#[inline]
pub fn run_if_due() {
    if DUE.load(Ordering::Relaxed)
        && DUE.swap(false, Ordering::AcqRel)
        && let Some(work) = WORK.get()
    {
        work();
    }
}
