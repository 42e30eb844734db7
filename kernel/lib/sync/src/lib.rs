// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Locks and once cells of the kernel.
//!
//! The kernel runs with interrupts disabled, except in the idle loop and at
//! explicit windows where no lock is held. So a lock never meets an interrupt
//! handler of its own CPU, and none of them saves the interrupt flag. While it
//! spins, a lock calls the relax hook, so that a CPU that waits still answers
//! TLB shootdowns: a lock holder may wait for those answers.
#![no_std]

#[cfg(test)]
extern crate std;

mod once;
mod spin;

pub use once::Once;
pub use spin::{SpinGuard, SpinLock, set_relax_hook};
