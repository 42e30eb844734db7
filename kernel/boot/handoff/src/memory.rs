// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory functions that the compiler calls and nobody else brings.
#![expect(unsafe_code, reason = "the compiler's calls have raw pointers")]

use core::arch::asm;

/// As memcpy(3).
///
/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    // SAFETY: the caller gives `size` readable and writable bytes.
    unsafe {
        asm!(
            "rep movsq", "mov rcx, {rest}", "rep movsb", rest = in(reg) size % 8,
            inout("rcx") size / 8 => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// As memmove(3).
///
/// # Safety
/// As memmove(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= size {
        // SAFETY: a copy in ascending order reads each byte before it is overwritten.
        return unsafe { memcpy(to, from, size) };
    }
    // SAFETY: the caller gives `size` readable and writable bytes; the copy descends, and
    // the direction flag is put back.
    unsafe {
        asm!(
            "std", "rep movsb", "cld", inout("rcx") size => _,
            inout("rdi") to.wrapping_add(size).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(size).wrapping_sub(1) => _,
            options(nostack),
        );
    }
    to
}

/// As memset(3).
///
/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, size: usize) -> *mut u8 {
    let word = u64::from(value as u8) * 0x0101_0101_0101_0101;
    // SAFETY: the caller gives `size` writable bytes.
    unsafe {
        asm!(
            "rep stosq", "mov rcx, {rest}", "rep stosb", rest = in(reg) size % 8,
            inout("rcx") size / 8 => _, inout("rdi") to => _, in("rax") word,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// As memcmp(3).
///
/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, size: usize) -> i32 {
    for at in 0..size {
        // SAFETY: the caller gives `size` readable bytes at both places.
        let (a, b) = unsafe { (a.add(at).read(), b.add(at).read()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// As bcmp(3).
///
/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, size: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, size) }
}
