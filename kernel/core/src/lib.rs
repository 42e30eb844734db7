// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Processes, threads, signals, memory and the system call table.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[macro_use]
pub mod log;
pub mod background;
pub mod credentials;
pub mod exec;
pub mod exit;
pub mod family;
pub mod files;
pub mod futex;
pub mod limits;
pub mod locks;
pub mod memory_file;
pub mod mm;
pub mod posix_timer;
pub mod process;
pub mod random;
pub mod sched;
pub mod services;
pub mod sharing;
pub mod signal;
pub mod start;
pub mod syscall;
pub mod thread;
pub mod timers;
pub mod trap;
pub mod user;
pub mod vdso;
pub mod wait;
