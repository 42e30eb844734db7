// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways into the kernel and back: system calls, exceptions, interrupts.
//!
//! All of them build the same [`TrapFrame`](super::frame::TrapFrame) on the kernel stack of the running
//! task. The SSE registers are part of it, because kernel code uses them; the
//! rest of the extended state is left alone until the task is switched away.

use super::frame::{USER_CODE, USER_DATA, VECTOR_SYSCALL};
use super::percpu::{OFFSET_KERNEL_RSP, OFFSET_USER_RSP};
use core::arch::global_asm;

global_asm!(
    r#"
    .macro SAVE_GENERAL
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    .endm

    .macro SAVE_XMM
    sub rsp, 256
    movaps [rsp], xmm0
    movaps [rsp + 16], xmm1
    movaps [rsp + 32], xmm2
    movaps [rsp + 48], xmm3
    movaps [rsp + 64], xmm4
    movaps [rsp + 80], xmm5
    movaps [rsp + 96], xmm6
    movaps [rsp + 112], xmm7
    movaps [rsp + 128], xmm8
    movaps [rsp + 144], xmm9
    movaps [rsp + 160], xmm10
    movaps [rsp + 176], xmm11
    movaps [rsp + 192], xmm12
    movaps [rsp + 208], xmm13
    movaps [rsp + 224], xmm14
    movaps [rsp + 240], xmm15
    .endm

    .macro RESTORE_XMM
    movaps xmm0, [rsp]
    movaps xmm1, [rsp + 16]
    movaps xmm2, [rsp + 32]
    movaps xmm3, [rsp + 48]
    movaps xmm4, [rsp + 64]
    movaps xmm5, [rsp + 80]
    movaps xmm6, [rsp + 96]
    movaps xmm7, [rsp + 112]
    movaps xmm8, [rsp + 128]
    movaps xmm9, [rsp + 144]
    movaps xmm10, [rsp + 160]
    movaps xmm11, [rsp + 176]
    movaps xmm12, [rsp + 192]
    movaps xmm13, [rsp + 208]
    movaps xmm14, [rsp + 224]
    movaps xmm15, [rsp + 240]
    add rsp, 256
    .endm

    .macro RESTORE_GENERAL
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    .endm

    .section .text.entry, "ax"
    .global syscall_entry
    .balign 16
syscall_entry:
    swapgs
    mov gs:[{user_rsp}], rsp
    mov rsp, gs:[{kernel_rsp}]
    push {user_data}
    push gs:[{user_rsp}]
    push r11
    push {user_code}
    push rcx
    push rax
    push {vector_syscall}
    SAVE_GENERAL
    SAVE_XMM
    xor ebp, ebp
    mov rdi, rsp
    call {syscall}
    // fall through
    .global return_to_user
return_to_user:
    RESTORE_XMM
    RESTORE_GENERAL
    // sysret needs rcx = rip and r11 = flags; a canonical rip, too, or the
    // CPU faults in ring 0 with the user's stack.
    cmp rcx, [rsp + 16]
    jne 1f
    cmp r11, [rsp + 32]
    jne 1f
    bt rcx, 47
    jc 1f
    test r11d, 0x10100          // RF, TF
    jnz 1f
    mov rsp, [rsp + 40]
    swapgs
    sysretq
1:  add rsp, 16
    swapgs
    iretq

    // Exceptions and interrupts: stubs push a vector (and an error code where
    // the CPU does not), then come here.
trap_common:
    SAVE_GENERAL
    SAVE_XMM
    cld
    xor ebp, ebp
    mov rdi, rsp
    test byte ptr [rsp + 256 + 15 * 8 + 24], 3
    jz 2f
    swapgs
    call {trap}
    jmp return_to_user
2:  call {trap}
    RESTORE_XMM
    RESTORE_GENERAL
    add rsp, 16
    iretq

    .global trap_stubs
    .balign 16
trap_stubs:
    .set i, 0
    .rept 256
    .balign 16
    .if (i == 8) || (i >= 10 && i <= 14) || (i == 17) || (i == 21)
    .else
    push 0
    .endif
    push i
    jmp trap_common
    .set i, i + 1
    .endr
    "#,
    user_rsp = const OFFSET_USER_RSP,
    kernel_rsp = const OFFSET_KERNEL_RSP,
    user_data = const USER_DATA as i64,
    user_code = const USER_CODE as i64,
    vector_syscall = const VECTOR_SYSCALL as i64,
    syscall = sym super::trap::on_syscall,
    trap = sym super::trap::on_trap,
);

unsafe extern "C" {
    pub fn syscall_entry();
    pub fn return_to_user();
    pub static trap_stubs: [[u8; 16]; 256];
}
