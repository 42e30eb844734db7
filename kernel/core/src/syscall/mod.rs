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

use crate::signal::RESTARTED;
use crate::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering};
use khal::TrapFrame;
use kio::{Errno, Result};
use linux_raw_sys::general as nr;
use table::TABLE;

/// The arguments of a system call, converted as C would.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a>(&'a TrapFrame);

impl Args<'_> {
    /// As 64 bits.
    #[inline]
    pub fn u64(&self, at: usize) -> u64 {
        match at {
            0 => self.0.rdi,
            1 => self.0.rsi,
            2 => self.0.rdx,
            3 => self.0.r10,
            4 => self.0.r8,
            _ => self.0.r9,
        }
    }
    /// As a size.
    #[inline]
    pub fn usize(&self, at: usize) -> usize {
        self.u64(at) as usize
    }
    /// The low 32 bits.
    #[inline]
    pub fn u32(&self, at: usize) -> u32 {
        self.u64(at) as u32
    }
    /// The low 32 bits, signed: descriptors, flags.
    #[inline]
    pub fn i32(&self, at: usize) -> i32 {
        self.u64(at) as i32
    }
    /// Signed.
    #[inline]
    pub fn i64(&self, at: usize) -> i64 {
        self.u64(at) as i64
    }
}

/// Runs the system call in `frame`.
#[inline]
pub fn enter(thread: &Thread, frame: &mut TrapFrame) {
    let number = frame.error as u32;
    match TABLE.get(number as usize) {
        Some(Some(handler)) => frame.rax = handler(thread, Args(frame)),
        _ => {
            if let Some(result) = enter_special(thread, frame, number) {
                frame.rax = register(thread, result);
            }
        }
    }
}

/// What the program finds in rax.
#[inline]
fn register(thread: &Thread, result: Result<u64>) -> u64 {
    match result {
        Ok(value) => value,
        Err(error) => failed(thread, error),
    }
}

/// The calls that change the frame themselves, and those that do not exist.
/// `None` when the frame is as it shall be.
#[inline(never)]
fn enter_special(thread: &Thread, frame: &mut TrapFrame, number: u32) -> Option<Result<u64>> {
    let entered = *frame;
    let args = Args(&entered);
    Some(match number {
        nr::__NR_rt_sigreturn => {
            if crate::signal::sigreturn(thread, frame).is_err() {
                signal::bad_frame();
            }
            return None;
        }
        nr::__NR_execve => match process::execve(thread, frame, args) {
            Ok(()) => return None,
            Err(error) => Err(error),
        },
        nr::__NR_execveat => match process::execveat(thread, frame, args) {
            Ok(()) => return None,
            Err(error) => Err(error),
        },
        nr::__NR_clone => process::clone(thread, frame, args),
        nr::__NR_clone3 => process::clone3(thread, frame, args),
        nr::__NR_fork => process::fork(thread, frame),
        nr::__NR_vfork => process::vfork(thread, frame),
        _ => Err(unknown(number)),
    })
}

/// The result of a call that failed; one that a signal ended is looked at again
/// on the way back.
#[inline(never)]
fn failed(thread: &Thread, error: Errno) -> u64 {
    if RESTARTED.contains(&error) {
        thread.notice();
    }
    error.as_result() as u64
}

/// Calls that C libraries try at each start and do without: no news for anybody.
const PROBED: &[u32] = &[nr::__NR_rseq];

/// Counts calls that do not exist here, and names each once.
fn unknown(number: u32) -> Errno {
    static SEEN: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed);
    let seen = &SEEN[(number / 64) as usize % SEEN.len()];
    let bit = 1 << (number % 64);
    if seen.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        match PROBED.contains(&number) {
            true => crate::debug!("system call {number} is not implemented: ENOSYS"),
            false => crate::warn!("system call {number} is not implemented: ENOSYS"),
        }
    }
    Errno::ENOSYS
}
