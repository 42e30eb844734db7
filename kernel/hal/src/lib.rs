// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The only architecture crate: boot, traps, paging, CPUs, time.
//!
//! Everything above is safe Rust on what this crate exports; nothing above
//! names an architecture.
#![no_std]

extern crate alloc;

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
