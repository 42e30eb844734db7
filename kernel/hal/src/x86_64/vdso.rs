// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The code of the vDSO, which programs run in ring 3: vdso(7).
//!
//! The code lies at [`CODE_OFFSET`] in the image that `kvdso` builds, and the
//! time page (`kvdso::TimePage`, whose fields the offsets below name) directly
//! before the image. It uses no stack and no memory but these and what its
//! arguments point to.
#![expect(unsafe_code, reason = "names the bounds of assembled code")]

use core::arch::global_asm;

/// Where in the image the code has to lie, for it to find the time page.
pub const CODE_OFFSET: usize = 0x800;

global_asm!(
    r#"
    .pushsection .rodata.vdso, "a", @progbits
    .balign 64
    .globl bhojpur_vdso_start
    .hidden bhojpur_vdso_start
bhojpur_vdso_start:

    // The time page.
    .set .Lv_page, bhojpur_vdso_start - {code_offset} - 0x1000
    .set .Lv_sequence, 0
    .set .Lv_clock_mode, 4
    .set .Lv_tsc_base, 8
    .set .Lv_tsc_mult, 16
    .set .Lv_tsc_shift, 24
    .set .Lv_cpu_mode, 28
    .set .Lv_base_ns, 32
    .set .Lv_realtime_ns, 40

    // Clocks answered here: REALTIME 0, MONOTONIC 1, MONOTONIC_RAW 4,
    // REALTIME_COARSE 5, MONOTONIC_COARSE 6, BOOTTIME 7, TAI 11.
    .set .Lv_clocks, 0x8f3
    // Of these, the ones that count from 1970.
    .set .Lv_dates, 0x821

    // rax = nanoseconds on the clock whose bit is in r11d; jumps to \slow when
    // only the kernel knows. Clobbers rcx, rdx, r8, r9, r10. Loads are not
    // reordered with loads on x86, and lfence keeps rdtsc between them.
    .macro bhojpur_read_clock slow
    lea r8, [rip + .Lv_page]
.Lv_retry\@:
    mov r9d, dword ptr [r8 + .Lv_sequence]
    test r9d, 1
    jnz .Lv_busy\@
    cmp dword ptr [r8 + .Lv_clock_mode], 1
    jne \slow
    lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    xor edx, edx
    // A counter a little behind that of the CPU that set the base: no time.
    sub rax, qword ptr [r8 + .Lv_tsc_base]
    cmovb rax, rdx
    mul qword ptr [r8 + .Lv_tsc_mult]
    mov ecx, dword ptr [r8 + .Lv_tsc_shift]
    shrd rax, rdx, cl
    add rax, qword ptr [r8 + .Lv_base_ns]
    xor r10d, r10d
    test r11d, .Lv_dates
    cmovnz r10, qword ptr [r8 + .Lv_realtime_ns]
    add rax, r10
    cmp r9d, dword ptr [r8 + .Lv_sequence]
    je .Lv_done\@
.Lv_busy\@:
    pause
    jmp .Lv_retry\@
.Lv_done\@:
    .endm

    // rdx = rax / 1e9 (seconds), rax = the rest. Clobbers rcx. The reciprocal
    // is exact for all 64-bit numbers.
    .macro bhojpur_split
    mov rcx, rax
    shr rax, 9
    movabs rdx, 0x44b82fa09b5a53
    mul rdx
    shr rdx, 11
    imul rax, rdx, 1000000000
    sub rcx, rax
    mov rax, rcx
    .endm

    // int clock_gettime(clockid_t edi, struct timespec *rsi)
    .balign 16
    .globl bhojpur_vdso_clock_gettime
    .hidden bhojpur_vdso_clock_gettime
bhojpur_vdso_clock_gettime:
    cmp edi, 31
    ja 9f
    mov ecx, edi
    mov r11d, 1
    shl r11d, cl
    test r11d, .Lv_clocks
    jz 9f
    bhojpur_read_clock 9f
    bhojpur_split
    mov qword ptr [rsi], rdx
    mov qword ptr [rsi + 8], rax
    xor eax, eax
    ret
9:  mov eax, 228
    syscall
    ret

    // int gettimeofday(struct timeval *rdi, struct timezone *rsi)
    .balign 16
    .globl bhojpur_vdso_gettimeofday
    .hidden bhojpur_vdso_gettimeofday
bhojpur_vdso_gettimeofday:
    test rdi, rdi
    jz 3f
    mov r11d, 1
    bhojpur_read_clock 9f
    bhojpur_split
    mov qword ptr [rdi], rdx
    xor edx, edx
    mov ecx, 1000
    div ecx
    mov qword ptr [rdi + 8], rax
3:  test rsi, rsi
    jz 4f
    mov qword ptr [rsi], 0
4:  xor eax, eax
    ret
9:  mov eax, 96
    syscall
    ret

    // time_t time(time_t *rdi)
    .balign 16
    .globl bhojpur_vdso_time
    .hidden bhojpur_vdso_time
bhojpur_vdso_time:
    mov r11d, 1
    bhojpur_read_clock 9f
    bhojpur_split
    mov rax, rdx
    test rdi, rdi
    jz 3f
    mov qword ptr [rdi], rax
3:  ret
9:  mov eax, 201
    syscall
    ret

    // int clock_getres(clockid_t edi, struct timespec *rsi)
    .balign 16
    .globl bhojpur_vdso_clock_getres
    .hidden bhojpur_vdso_clock_getres
bhojpur_vdso_clock_getres:
    cmp edi, 31
    ja 9f
    mov ecx, edi
    mov eax, 1
    shl eax, cl
    test eax, .Lv_clocks
    jz 9f
    test rsi, rsi
    jz 3f
    mov qword ptr [rsi], 0
    mov qword ptr [rsi + 8], 1
3:  xor eax, eax
    ret
9:  mov eax, 229
    syscall
    ret

    // int getcpu(unsigned *rdi, unsigned *rsi, void *rdx): TSC_AUX holds the
    // node above the 12 bits of the CPU number, as under Linux.
    .balign 16
    .globl bhojpur_vdso_getcpu
    .hidden bhojpur_vdso_getcpu
bhojpur_vdso_getcpu:
    mov eax, dword ptr [rip + .Lv_page + .Lv_cpu_mode]
    cmp eax, 2
    je 2f
    cmp eax, 1
    jne 9f
    rdtscp
    jmp 3f
2:  rdpid rcx
3:  test rdi, rdi
    jz 4f
    mov eax, ecx
    and eax, 0xfff
    mov dword ptr [rdi], eax
4:  test rsi, rsi
    jz 5f
    shr ecx, 12
    mov dword ptr [rsi], ecx
5:  xor eax, eax
    ret
9:  mov eax, 309
    syscall
    ret

    .balign 16
    .globl bhojpur_vdso_end
    .hidden bhojpur_vdso_end
bhojpur_vdso_end:
    .purgem bhojpur_read_clock
    .purgem bhojpur_split
    .popsection
    "#,
    code_offset = const CODE_OFFSET,
);

unsafe extern "C" {
    static bhojpur_vdso_start: u8;
    static bhojpur_vdso_clock_gettime: u8;
    static bhojpur_vdso_gettimeofday: u8;
    static bhojpur_vdso_time: u8;
    static bhojpur_vdso_clock_getres: u8;
    static bhojpur_vdso_getcpu: u8;
    static bhojpur_vdso_end: u8;
}

/// The code, to be placed at [`CODE_OFFSET`].
pub fn code() -> &'static [u8] {
    let (start, end) = (&raw const bhojpur_vdso_start, &raw const bhojpur_vdso_end);
    // SAFETY: the two symbols bound one read-only section part that the block
    // above assembles.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// The functions in the order of their code: name without `__vdso_`, offset
/// within [`code`]. Each reaches to the next one.
pub fn functions() -> [(&'static str, usize); 5] {
    let offset = |symbol: *const u8| symbol.addr() - (&raw const bhojpur_vdso_start).addr();
    [
        ("clock_gettime", offset(&raw const bhojpur_vdso_clock_gettime)),
        ("gettimeofday", offset(&raw const bhojpur_vdso_gettimeofday)),
        ("time", offset(&raw const bhojpur_vdso_time)),
        ("clock_getres", offset(&raw const bhojpur_vdso_clock_getres)),
        ("getcpu", offset(&raw const bhojpur_vdso_getcpu)),
    ]
}
