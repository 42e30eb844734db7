// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is told about a signal: `siginfo_t` of sigaction(2), and
//! `struct signalfd_siginfo` of signalfd(2).

use crate::Signal;
use crate::bytes::{i32_at, put, put_i32, put_u32, put_u64, take, u32_at, u64_at};

/// The values of `si_code`.
pub mod code {
    /// kill(2).
    pub const SI_USER: i32 = 0;
    /// The kernel.
    pub const SI_KERNEL: i32 = 0x80;
    /// sigqueue(3).
    pub const SI_QUEUE: i32 = -1;
    /// A POSIX timer expired.
    pub const SI_TIMER: i32 = -2;
    /// tkill(2) and tgkill(2).
    pub const SI_TKILL: i32 = -6;
    /// SIGILL: illegal opcode.
    pub const ILL_ILLOPN: i32 = 2;
    /// SIGFPE: integer divide by zero.
    pub const FPE_INTDIV: i32 = 1;
    /// SIGFPE: floating-point divide by zero.
    pub const FPE_FLTDIV: i32 = 3;
    /// SIGFPE: overflow.
    pub const FPE_FLTOVF: i32 = 4;
    /// SIGFPE: underflow.
    pub const FPE_FLTUND: i32 = 5;
    /// SIGFPE: inexact result.
    pub const FPE_FLTRES: i32 = 6;
    /// SIGFPE: invalid operation.
    pub const FPE_FLTINV: i32 = 7;
    /// SIGSEGV: nothing is mapped there.
    pub const SEGV_MAPERR: i32 = 1;
    /// SIGSEGV: the mapping does not allow it.
    pub const SEGV_ACCERR: i32 = 2;
    /// SIGBUS: alignment.
    pub const BUS_ADRALN: i32 = 1;
    /// SIGBUS: behind the end of a mapped file.
    pub const BUS_ADRERR: i32 = 2;
    /// SIGTRAP: breakpoint.
    pub const TRAP_BRKPT: i32 = 1;
    /// SIGTRAP: single step.
    pub const TRAP_TRACE: i32 = 2;
    /// SIGCHLD: exited.
    pub const CLD_EXITED: i32 = 1;
    /// SIGCHLD: killed.
    pub const CLD_KILLED: i32 = 2;
    /// SIGCHLD: killed, with a core dump due.
    pub const CLD_DUMPED: i32 = 3;
}

/// Where a signal came from, with what depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// kill, tkill, tgkill.
    Process { pid: i32, uid: u32 },
    /// sigqueue(3) and message queues: `value` is the raw `union sigval`.
    Queue { pid: i32, uid: u32, value: u64 },
    /// A POSIX timer; `overrun` is filled in at delivery.
    Timer { id: i32, overrun: i32, value: u64 },
    /// A fault at `address`.
    Fault { address: u64 },
    /// A child changed its state; times in clock ticks.
    Child { pid: i32, uid: u32, status: i32, user_time: i64, system_time: i64 },
    /// A system call that a filter refused.
    Call { address: u64, number: i32, arch: u32 },
    /// What a program passed to rt_sigqueueinfo(2), as it is.
    Raw([u8; 112]),
}

/// A signal and what is told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigInfo {
    /// `si_signo`.
    pub signal: Signal,
    /// `si_code`.
    pub code: i32,
    /// The rest.
    pub origin: Origin,
}

impl SigInfo {
    /// Size of `siginfo_t`.
    pub const SIZE: usize = 128;

    /// From the kernel, without details.
    pub const fn kernel(signal: Signal) -> Self {
        let origin = Origin::Process { pid: 0, uid: 0 };
        Self { signal, code: code::SI_KERNEL, origin }
    }

    /// From kill(2).
    pub const fn kill(signal: Signal, pid: i32, uid: u32) -> Self {
        Self { signal, code: code::SI_USER, origin: Origin::Process { pid, uid } }
    }

    /// From tgkill(2).
    pub const fn tgkill(signal: Signal, pid: i32, uid: u32) -> Self {
        Self { signal, code: code::SI_TKILL, origin: Origin::Process { pid, uid } }
    }

    /// A fault of the thread itself.
    pub const fn fault(signal: Signal, code: i32, address: u64) -> Self {
        Self { signal, code, origin: Origin::Fault { address } }
    }

    /// A POSIX timer.
    pub const fn timer(signal: Signal, id: i32, overrun: i32, value: u64) -> Self {
        Self { signal, code: code::SI_TIMER, origin: Origin::Timer { id, overrun, value } }
    }

    /// From rt_sigqueueinfo(2), whose `signal` argument overrides `si_signo`.
    pub fn from_user(signal: Signal, bytes: &[u8; Self::SIZE]) -> Self {
        Self { signal, code: i32_at(bytes, 8), origin: Origin::Raw(take(bytes, 16)) }
    }

    /// True when a program other than the kernel sent it.
    pub const fn is_from_user(&self) -> bool {
        self.code <= 0
    }

    /// The `siginfo_t` that a handler gets.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put_i32(&mut bytes, 0, i32::from(self.signal.number()));
        put_i32(&mut bytes, 8, self.code);
        self.encode_origin(&mut bytes);
        bytes
    }

    fn encode_origin(&self, bytes: &mut [u8; Self::SIZE]) {
        match self.origin {
            Origin::Process { pid, uid } => {
                put_i32(bytes, 16, pid);
                put_u32(bytes, 20, uid);
            }
            Origin::Queue { pid, uid, value } => {
                put_i32(bytes, 16, pid);
                put_u32(bytes, 20, uid);
                put_u64(bytes, 24, value);
            }
            Origin::Timer { id, overrun, value } => {
                put_i32(bytes, 16, id);
                put_i32(bytes, 20, overrun);
                put_u64(bytes, 24, value);
            }
            Origin::Fault { address } => put_u64(bytes, 16, address),
            Origin::Child { pid, uid, status, user_time, system_time } => {
                put_i32(bytes, 16, pid);
                put_u32(bytes, 20, uid);
                put_i32(bytes, 24, status);
                put(bytes, 32, user_time.to_le_bytes());
                put(bytes, 40, system_time.to_le_bytes());
            }
            Origin::Call { address, number, arch } => {
                put_u64(bytes, 16, address);
                put_i32(bytes, 24, number);
                put_u32(bytes, 28, arch);
            }
            Origin::Raw(raw) => put(bytes, 16, raw),
        }
    }

    /// The `struct signalfd_siginfo` that a read of a signalfd gives.
    pub fn encode_signalfd(&self) -> [u8; 128] {
        let mut out = [0; 128];
        put_u32(&mut out, 0, u32::from(self.signal.number()));
        put_i32(&mut out, 8, self.code);
        match self.origin {
            Origin::Process { pid, uid } => put_sender(&mut out, pid, uid),
            Origin::Queue { pid, uid, value } => {
                put_sender(&mut out, pid, uid);
                put_value(&mut out, value);
            }
            Origin::Timer { id, overrun, value } => {
                put_i32(&mut out, 24, id);
                put_i32(&mut out, 32, overrun);
                put_value(&mut out, value);
            }
            Origin::Fault { address } => put_u64(&mut out, 72, address),
            Origin::Child { pid, uid, status, user_time, system_time } => {
                put_sender(&mut out, pid, uid);
                put_i32(&mut out, 40, status);
                put(&mut out, 56, user_time.to_le_bytes());
                put(&mut out, 64, system_time.to_le_bytes());
            }
            Origin::Call { address, number, arch } => {
                put_i32(&mut out, 84, number);
                put_u64(&mut out, 88, address);
                put_u32(&mut out, 96, arch);
            }
            Origin::Raw(raw) => {
                put_sender(&mut out, i32_at(&raw, 0), u32_at(&raw, 4));
                put_value(&mut out, u64_at(&raw, 8));
            }
        }
        out
    }
}

fn put_sender(out: &mut [u8], pid: i32, uid: u32) {
    put_i32(out, 12, pid);
    put_u32(out, 16, uid);
}

fn put_value(out: &mut [u8], value: u64) {
    // `sival_int` is the low half of the union.
    put_u32(out, 44, value as u32);
    put_u64(out, 48, value);
}
