// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What helps to find faults: return addresses, and when we started.

use core::arch::asm;

/// The time-stamp counter at the first instruction of Rust code.
pub fn boot_tsc() -> u64 {
    super::BOOT_TSC.load(core::sync::atomic::Ordering::Relaxed)
}

/// Calls `each` with the return addresses of the kernel's callers, innermost
/// first; frames are followed by their frame pointers, inside the kernel only.
#[inline(never)]
pub fn backtrace(mut each: impl FnMut(u64)) {
    let mut frame: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    let mut previous = 0;
    for _ in 0..48 {
        if frame < 0xffff_8000_0000_0000 || !frame.is_multiple_of(8) || frame <= previous {
            return;
        }
        // SAFETY: a frame pointer in kernel memory that was pushed by our own
        // code; stacks are mapped to their top.
        let (next, address) = unsafe { (*(frame as *const u64), *((frame + 8) as *const u64)) };
        if address < super::boot::KERNEL_OFFSET {
            return;
        }
        each(address);
        (previous, frame) = (frame, next);
    }
}
