// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The integers that devices understand, read and written whole.
#![expect(unsafe_code, reason = "accesses memory that devices change")]

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

mod sealed {
    pub trait Sealed {}
}

/// `u8`, `u16`, `u32` or `u64`, little-endian in memory.
pub trait Word: Copy + sealed::Sealed + 'static {
    /// Reads memory that a device may write at the same time.
    ///
    /// # Safety
    /// `at` must be aligned and valid, and accessed by the CPU only through
    /// these functions.
    unsafe fn load(at: *mut u8, order: Ordering) -> Self;

    /// Writes memory that a device may read at the same time.
    ///
    /// # Safety
    /// As for [`load`](Self::load).
    unsafe fn store(at: *mut u8, value: Self, order: Ordering);

    /// Reads a device register.
    ///
    /// # Safety
    /// `at` must be aligned and mapped device memory.
    unsafe fn read_volatile(at: *mut u8) -> Self;

    /// Writes a device register.
    ///
    /// # Safety
    /// As for [`read_volatile`](Self::read_volatile).
    unsafe fn write_volatile(at: *mut u8, value: Self);
}

macro_rules! word {
    ($($int:ty, $atomic:ty;)*) => {
        $(
            impl sealed::Sealed for $int {}

            impl Word for $int {
                #[inline]
                unsafe fn load(at: *mut u8, order: Ordering) -> Self {
                    // SAFETY: the contract of this function.
                    Self::from_le(unsafe { <$atomic>::from_ptr(at.cast()) }.load(order))
                }
                #[inline]
                unsafe fn store(at: *mut u8, value: Self, order: Ordering) {
                    // SAFETY: the contract of this function.
                    unsafe { <$atomic>::from_ptr(at.cast()) }.store(value.to_le(), order);
                }
                #[inline]
                unsafe fn read_volatile(at: *mut u8) -> Self {
                    // SAFETY: the contract of this function.
                    Self::from_le(unsafe { at.cast::<Self>().read_volatile() })
                }
                #[inline]
                unsafe fn write_volatile(at: *mut u8, value: Self) {
                    // SAFETY: the contract of this function.
                    unsafe { at.cast::<Self>().write_volatile(value.to_le()) }
                }
            }
        )*
    };
}

word! {
    u8, AtomicU8;
    u16, AtomicU16;
    u32, AtomicU32;
    u64, AtomicU64;
}
