// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The registers of user code while the kernel runs.

/// Selectors of user code and data in the table of segments.
pub const USER_DATA: u16 = 0x2b;
pub const USER_CODE: u16 = 0x33;
/// Vector number in the frame of a system call.
pub const VECTOR_SYSCALL: u64 = 0x100;

/// The registers of interrupted code, in the order in which entry saves them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
#[expect(missing_docs, reason = "registers are named by the architecture")]
pub struct TrapFrame {
    pub xmm: [u128; 16],
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Exception or interrupt number, or [`VECTOR_SYSCALL`].
    pub vector: u64,
    /// Error code of an exception; number of a system call.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl TrapFrame {
    /// A frame that starts user code.
    pub const fn user(entry: u64, stack: u64) -> Self {
        Self {
            xmm: [0; 16],
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            vector: 0,
            error: 0,
            rip: entry,
            cs: USER_CODE as u64,
            rflags: 0x202,
            rsp: stack,
            ss: USER_DATA as u64,
        }
    }

    /// True when user code was interrupted.
    pub const fn is_user(&self) -> bool {
        self.cs & 3 == 3
    }

    /// Arguments of the system call, in order.
    pub const fn arguments(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
}
