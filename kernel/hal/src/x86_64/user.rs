// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Copies to and from user memory. They never bring pages in: a missing page
//! ends them early, and the caller sees how far they came.

use super::paging::USER_END;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

static SMAP: AtomicBool = AtomicBool::new(false);

/// From now on user memory is reachable only between `stac` and `clac`.
pub fn use_smap() {
    SMAP.store(true, Ordering::Relaxed);
}

unsafe extern "C" {
    fn user_copy(to: *mut u8, from: *const u8, count: usize) -> usize;
    fn user_cmpxchg32(address: u64, expected: u32, new: u32, seen: *mut u32) -> u32;
}

#[inline]
fn with_user_access<R>(f: impl FnOnce() -> R) -> R {
    if !SMAP.load(Ordering::Relaxed) {
        return f();
    }
    // SAFETY: toggles EFLAGS.AC, which only lifts SMAP; interrupts are off.
    unsafe { asm!("stac", options(nomem, nostack)) };
    let result = f();
    // SAFETY: as above.
    unsafe { asm!("clac", options(nomem, nostack)) };
    result
}

/// The part of `[address, address + len)` that lies in user space.
fn clamp(address: u64, len: usize) -> usize {
    if address >= USER_END { 0 } else { len.min((USER_END - address) as usize) }
}

/// Copies from the running program's memory; returns how many bytes came.
#[inline]
pub fn copy_from_user(buffer: &mut [u8], address: u64) -> usize {
    let len = clamp(address, buffer.len());
    // SAFETY: the target is a live buffer of at least `len` bytes; the source
    // is in the user half, where a fault is repaired.
    let left =
        with_user_access(|| unsafe { user_copy(buffer.as_mut_ptr(), address as *const u8, len) });
    len - left
}

/// Copies to the running program's memory; returns how many bytes went.
#[inline]
pub fn copy_to_user(address: u64, bytes: &[u8]) -> usize {
    let len = clamp(address, bytes.len());
    // SAFETY: the source is a live slice of at least `len` bytes; the target
    // is in the user half, where a fault is repaired.
    let left = with_user_access(|| unsafe { user_copy(address as *mut u8, bytes.as_ptr(), len) });
    len - left
}

/// Compares and exchanges a word of the program atomically; returns what was
/// there, `None` when the page is missing or cannot be written.
pub fn compare_exchange_user(address: u64, expected: u32, new: u32) -> Option<u32> {
    if !address.is_multiple_of(4) || clamp(address, 4) < 4 {
        return None;
    }
    let mut seen = 0;
    // SAFETY: an aligned word in the user half, where a fault is repaired.
    let fault =
        with_user_access(|| unsafe { user_cmpxchg32(address, expected, new, &raw mut seen) });
    (fault == 0).then_some(seen)
}
