// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /proc, /sys and /dev, as far as programs and their runtimes read them, with
//! the formats of Linux; and the console.
//!
//! What the files tell comes from the kernel through [`SystemView`]; random
//! bytes through [`RandomSource`]; the console's line through [`ConsoleHost`].
//!
//! **Lock order**: the console's lock, then its wait queue. Views are asked
//! with no lock of this crate held.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod console;
mod dev;
mod format;
mod line_discipline;
mod mounts;
mod node;
mod proc;
mod process;
mod sys;
mod sysctl;
mod termios;
mod view;

pub use console::{Console, ConsoleHost, ConsoleSettings};
pub use dev::{Devices, RandomSource, populate_dev};
pub use proc::ProcFs;
pub use sys::SysFs;
pub use view::{
    Cpu, Descriptor, Load, Mapping, Memory, ProcessStatus, ProcessView, SystemView, ThreadStatus,
};
