// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory functions that the compiler calls, and copies to and from user
//! memory that survive a fault.
//!
//! Blocks move through SSE registers, 64 bytes a turn: that is close to the
//! best everywhere, while `rep movsb` is slow under emulation.

use core::arch::global_asm;

global_asm!(
    r#"
    // One forward copy body, used by memcpy and by the user copies. rdi = to,
    // rsi = from, rdx = count. Each step moves first and counts after, so the
    // three registers always tell what is left.
    .macro COPY_FORWARD done
    cmp rdx, 64
    jb 2f
1:  movups xmm0, [rsi]
    movups xmm1, [rsi + 16]
    movups xmm2, [rsi + 32]
    movups xmm3, [rsi + 48]
    movups [rdi], xmm0
    movups [rdi + 16], xmm1
    movups [rdi + 32], xmm2
    movups [rdi + 48], xmm3
    add rsi, 64
    add rdi, 64
    sub rdx, 64
    cmp rdx, 64
    jae 1b
2:  cmp rdx, 8
    jb 4f
3:  mov rcx, [rsi]
    mov [rdi], rcx
    add rsi, 8
    add rdi, 8
    sub rdx, 8
    cmp rdx, 8
    jae 3b
4:  cmp rdx, 4
    jb 5f
    mov ecx, [rsi]
    mov [rdi], ecx
    add rsi, 4
    add rdi, 4
    sub rdx, 4
5:  test rdx, rdx
    jz \done
6:  mov cl, [rsi]
    mov [rdi], cl
    inc rsi
    inc rdi
    dec rdx
    jnz 6b
    .endm

    .section .text.memcpy, "ax"
    .global memcpy
memcpy:
    mov rax, rdi
    COPY_FORWARD 9f
9:  ret

    .section .text.memmove, "ax"
    .global memmove
memmove:
    mov rax, rdi
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jae memcpy
    // Overlap with the target above: from the end down.
    add rsi, rdx
    add rdi, rdx
1:  cmp rdx, 8
    jb 3f
2:  mov rcx, [rsi - 8]
    mov [rdi - 8], rcx
    sub rsi, 8
    sub rdi, 8
    sub rdx, 8
    jmp 1b
3:  test rdx, rdx
    jz 5f
4:  mov cl, [rsi - 1]
    mov [rdi - 1], cl
    dec rsi
    dec rdi
    dec rdx
    jnz 4b
5:  ret

    .section .text.memset, "ax"
    .global memset
memset:
    mov rax, rdi
    movzx esi, sil
    movabs rcx, 0x0101010101010101
    imul rcx, rsi
    cmp rdx, 64
    jb 2f
    movq xmm0, rcx
    punpcklqdq xmm0, xmm0
1:  movups [rdi], xmm0
    movups [rdi + 16], xmm0
    movups [rdi + 32], xmm0
    movups [rdi + 48], xmm0
    add rdi, 64
    sub rdx, 64
    cmp rdx, 64
    jae 1b
2:  cmp rdx, 8
    jb 4f
3:  mov [rdi], rcx
    add rdi, 8
    sub rdx, 8
    cmp rdx, 8
    jae 3b
4:  test rdx, rdx
    jz 6f
5:  mov [rdi], cl
    inc rdi
    dec rdx
    jnz 5b
6:  ret

    .section .text.memcmp, "ax"
    .global memcmp
    .global bcmp
memcmp:
bcmp:
    xor eax, eax
1:  cmp rdx, 8
    jb 3f
    mov rcx, [rdi]
    cmp rcx, [rsi]
    jne 3f
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    jmp 1b
3:  test rdx, rdx
    jz 5f
4:  movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    sub eax, ecx
    jne 5f
    inc rdi
    inc rsi
    dec rdx
    jnz 4b
5:  ret

    .section .text.strlen, "ax"
    .global strlen
strlen:
    xor eax, eax
1:  cmp byte ptr [rdi + rax], 0
    je 2f
    inc rax
    jmp 1b
2:  ret

    // fn user_copy(to, from, count) -> bytes not copied. A fault between start
    // and end continues at user_copy_fault (see trap.rs), with the registers
    // as they were: the rest is tried byte by byte, and a second fault, now in
    // that loop, ends it.
    .section .text.user_copy, "ax"
    .global user_copy
    .global user_copy_start
    .global user_copy_end
    .global user_copy_fault
    .global user_copy_bytes_start
    .global user_copy_bytes_end
    .global user_copy_bytes_fault
user_copy:
user_copy_start:
    COPY_FORWARD 9f
9:
user_copy_end:
    mov rax, rdx
    ret
user_copy_fault:
    test rdx, rdx
    jz 2f
user_copy_bytes_start:
1:  mov cl, [rsi]
    mov [rdi], cl
user_copy_bytes_end:
    inc rsi
    inc rdi
    dec rdx
    jnz 1b
2:
user_copy_bytes_fault:
    mov rax, rdx
    ret

    // fn user_cmpxchg32(address, expected, new, seen: *mut u32) -> 0, or 1 on a fault
    .section .text.user_atomic, "ax"
    .global user_cmpxchg32
    .global user_cmpxchg_start
    .global user_cmpxchg_end
    .global user_cmpxchg_fault
user_cmpxchg32:
    mov eax, esi
user_cmpxchg_start:
    lock cmpxchg [rdi], edx
user_cmpxchg_end:
    mov [rcx], eax
    xor eax, eax
    ret
user_cmpxchg_fault:
    mov eax, 1
    ret
    "#
);
