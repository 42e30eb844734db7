// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The only architecture crate: boot, traps, paging, CPUs, time.
//!
//! Everything above is safe Rust on what this crate exports; nothing above
//! names an architecture. With the feature `hosted`, which only tests ask for,
//! a process of the host plays the machine.
#![no_std]

extern crate alloc;
#[cfg(feature = "hosted")]
extern crate std;

#[cfg(feature = "hosted")]
mod hosted;
#[cfg(feature = "hosted")]
pub use hosted::*;

#[cfg(all(target_arch = "x86_64", not(feature = "hosted")))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", not(feature = "hosted")))]
pub use x86_64::*;
