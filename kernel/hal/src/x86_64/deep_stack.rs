// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A deeper stack for code that the stack of a task is too small for.

use super::memory::map_stack;
use core::arch::global_asm;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use kmm::OutOfFrames;

/// 128 KiB: 2^5 frames.
const ORDER: usize = 5;

global_asm!(
    r#"
    .text
    .global deep_stack_call
deep_stack_call:
    push rbp
    mov rbp, rsp
    mov rsp, rdi
    mov rdi, rdx
    call rsi
    mov rsp, rbp
    pop rbp
    ret
"#
);

unsafe extern "C" {
    fn deep_stack_call(top: u64, function: extern "C" fn(*mut ()), argument: *mut ());
}

/// A stack that is lent to one call at a time. It is kept for ever.
pub struct DeepStack {
    top: u64,
    busy: AtomicBool,
}

impl DeepStack {
    /// A new one, between unmapped pages.
    pub fn allocate() -> Result<Self, OutOfFrames> {
        let bottom = map_stack(ORDER)?;
        let top = bottom + ((1 << ORDER) * kmm::FRAME_SIZE) as u64;
        Ok(Self { top, busy: AtomicBool::new(false) })
    }

    /// Runs `work` on it, or on the present stack when it is in use. `work` must
    /// not sleep: another task would find the stack in use.
    pub fn run(&self, work: &mut dyn FnMut()) {
        if self.busy.swap(true, Ordering::Acquire) {
            work();
            return;
        }
        let mut work = work;
        // SAFETY: the stack is mapped, and nobody else runs on it: `busy` was
        // false. `work` outlives the call, which returns before this function.
        unsafe { deep_stack_call(self.top, run, (&raw mut work).cast()) };
        self.busy.store(false, Ordering::Release);
    }
}

extern "C" fn run(work: *mut ()) {
    // SAFETY: `DeepStack::run` passes the address of its `&mut dyn FnMut()`,
    // and does not touch it before this returns.
    let work = unsafe { &mut *work.cast::<&mut dyn FnMut()>() };
    work();
}

impl fmt::Debug for DeepStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeepStack({:#x})", self.top)
    }
}
