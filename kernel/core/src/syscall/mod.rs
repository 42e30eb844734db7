// SPDX-License-Identifier: Apache-2.0 OR MIT
//! System calls: the table, and a module for each family.

mod event;
mod fd;
mod file;
mod memory;
mod path;
mod poll;
mod process;
mod signal;
mod socket;
mod system;
mod table;
mod time;

pub use system::{RELEASE, VERSION};

use crate::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering};
use khal::TrapFrame;
use kio::{Errno, Result};
use linux_raw_sys::general as nr;
use table::TABLE;

/// The arguments of a system call, converted as C would.
#[derive(Clone, Copy, Debug)]
pub struct Args([u64; 6]);

impl Args {
    /// As 64 bits.
    #[inline]
    pub fn u64(&self, at: usize) -> u64 {
        self.0[at]
    }
    /// As a size.
    #[inline]
    pub fn usize(&self, at: usize) -> usize {
        self.0[at] as usize
    }
    /// The low 32 bits.
    #[inline]
    pub fn u32(&self, at: usize) -> u32 {
        self.0[at] as u32
    }
    /// The low 32 bits, signed: descriptors, flags.
    #[inline]
    pub fn i32(&self, at: usize) -> i32 {
        self.0[at] as i32
    }
    /// Signed.
    #[inline]
    pub fn i64(&self, at: usize) -> i64 {
        self.0[at] as i64
    }
}

/// Runs the system call in `frame`.
pub fn enter(thread: &Thread, frame: &mut TrapFrame) {
    let number = frame.error as u32;
    let args = Args(frame.arguments());
    let result = match number {
        // These change the frame themselves.
        nr::__NR_rt_sigreturn => match crate::signal::sigreturn(thread, frame) {
            Ok(()) => return,
            Err(_) => {
                signal::bad_frame();
                return;
            }
        },
        nr::__NR_execve => match process::execve(thread, frame, args.u64(0), &args) {
            Ok(()) => return,
            Err(error) => Err(error),
        },
        nr::__NR_clone => process::clone(thread, frame, &args),
        nr::__NR_clone3 => process::clone3(thread, frame, &args),
        nr::__NR_fork => process::fork(thread, frame),
        nr::__NR_vfork => process::vfork(thread, frame),
        _ => dispatch(thread, number, &args),
    };
    frame.rax = match result {
        Ok(value) => value,
        Err(error) => {
            if error == Errno::ERESTARTSYS || error == Errno::ERESTARTNOHAND {
                thread.notice();
            }
            error.as_result() as u64
        }
    };
}

/// Runs the handler of a number.
#[inline]
fn dispatch(thread: &Thread, number: u32, a: &Args) -> Result<u64> {
    match TABLE.get(number as usize) {
        Some(Some(handler)) => handler(thread, a),
        _ => Err(unknown(number)),
    }
}

/// Counts calls that do not exist here, and names each once.
fn unknown(number: u32) -> Errno {
    static SEEN: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed);
    let seen = &SEEN[(number / 64) as usize % SEEN.len()];
    let bit = 1 << (number % 64);
    if seen.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        crate::warn!("system call {number} is not implemented: ENOSYS");
    }
    Errno::ENOSYS
}
