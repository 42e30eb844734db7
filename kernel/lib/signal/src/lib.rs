// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Signals as pure data: numbers, sets, `siginfo_t`, queues, dispositions,
//! what happens next, and the frame that a handler finds on its stack.
//!
//! The kernel owns threads and memory and calls in here for every decision;
//! see signal(7).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod action;
mod bytes;
mod decide;
pub mod frame;
mod info;
mod number;
mod queue;
mod set;
mod stack;
#[cfg(test)]
mod tests;

pub use action::{ActionFlags, Dispositions, Handler, SigAction};
pub use decide::{Delivery, Restart, deliver, force, resume};
pub use info::{Origin, SigInfo, code};
pub use number::{DefaultAction, Signal};
pub use queue::{Pending, Queued};
pub use set::SignalSet;
pub use stack::SignalStack;
