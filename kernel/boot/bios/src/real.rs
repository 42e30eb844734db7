// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The instructions: the boot sector, the way into long mode, and the way back to real mode
//! for each call of the BIOS.
//!
//! | memory | what |
//! |---|---|
//! | `0x00600` | stack of real mode, down from `0x7c00` |
//! | `0x07c00` | boot sector, then this loader |
//! | `0x20000` | buffer of the disk |
//! | `0x30000` | page tables |
//! | `0x40000` | stack of long mode, down from `0x50000` |
//! | `0x50000` | what the kernel gets: trampoline, start information, command line, memory map |
#![expect(unsafe_code, reason = "the code is assembly")]

use core::arch::global_asm;

use abi::boot::BIOS_SECTOR_RECORD;

/// Where the page tables lie.
const PAGE_TABLES: u32 = 0x3_0000;
/// Where the stack of long mode ends.
const STACK: u32 = 0x5_0000;

/// General registers, in the order of `pushad`, and the flags.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Registers {
    pub(crate) edi: u32,
    pub(crate) esi: u32,
    pub(crate) ebp: u32,
    pub(crate) esp: u32,
    pub(crate) ebx: u32,
    pub(crate) edx: u32,
    pub(crate) ecx: u32,
    pub(crate) eax: u32,
    pub(crate) flags: u32,
}

// What the boot sector is told lies behind its code: the sector of stage two (8 bytes), the
// number of its sectors (2), bytes in a sector (2). It reads one sector at a time to 0x8400.
global_asm!(
    r#"
    .pushsection .boot.sector, "ax"
    .code16
    .global boot_sector
    .set BOOT_RECORD, 0x7c00 + {record}
boot_sector:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    sti
    cld
    .byte 0xea                      // jump to segment 0: some BIOSes come as 0x7c0:0
    .word 1f, 0
1:  push dword ptr [BOOT_RECORD + 4]
    push dword ptr [BOOT_RECORD]
    push 0x840
    push 0
    push 1
    push 16
    mov bp, sp                      // disk address packet
    mov cx, [BOOT_RECORD + 8]
2:  mov di, 5
3:  pusha
    mov si, bp
    mov ah, 0x42
    int 0x13
    popa
    jnc 4f
    pusha
    xor ax, ax
    int 0x13                        // reset, then try again
    popa
    mov word ptr [bp + 2], 1
    dec di
    jnz 3b
    mov si, offset boot_read_error
5:  lodsb
    test al, al
    jz 6f
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    jmp 5b
6:  in al, 0xe9                     // in QEMU, whoever started it sees the machine end
    cmp al, 0xe9
    jne 8f
    mov al, 0xfe
    out 0x64, al
8:  int 0x18                        // the next boot device
7:  hlt
    jmp 7b
4:  mov ax, [BOOT_RECORD + 10]
    shr ax, 4
    add [bp + 6], ax
    add dword ptr [bp + 8], 1
    adc dword ptr [bp + 12], 0
    loop 2b
    mov bx, [BOOT_RECORD + 10]
    .byte 0xea
    .word boot_stage2, 0
boot_read_error:
    .asciz "Bhojpur: disk read error\r\n"
    .code64
    .popsection
    "#,
    record = const BIOS_SECTOR_RECORD,
);

// Stage two: dl is the drive, bx the bytes of its sectors.
global_asm!(
    r#"
    .pushsection .boot.real, "awx"
    .code16
boot_stage2:
    mov sp, 0x7c00
    mov [boot_drive], dl
    mov [boot_sector_size], bx

    // A processor with CPUID, extended functions, and long mode.
    pushfd
    pop eax
    mov ecx, eax
    xor eax, 0x200000
    push eax
    popfd
    pushfd
    pop eax
    xor eax, ecx
    mov si, offset boot_no_long_mode
    test eax, 0x200000
    jz boot_fail
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    mov si, offset boot_no_long_mode
    jb boot_fail
    mov eax, 0x80000001
    cpuid
    test edx, 1 << 29
    mov si, offset boot_no_long_mode
    jz boot_fail

    // The A20 line: by the BIOS, by port 0x92, by the keyboard controller.
    call boot_a20_is_on
    jnz 2f
    mov ax, 0x2401
    int 0x15
    call boot_a20_is_on
    jnz 2f
    in al, 0x92
    or al, 2
    and al, 0xfe
    out 0x92, al
    call boot_a20_is_on
    jnz 2f
    call boot_keyboard_wait
    mov al, 0xd1
    out 0x64, al
    call boot_keyboard_wait
    mov al, 0xdf
    out 0x60, al
    call boot_keyboard_wait
    mov cx, 100
1:  call boot_a20_is_on
    jnz 2f
    loop 1b
    mov si, offset boot_no_a20
    jmp boot_fail

    // Page tables: the first 4 GiB at their own addresses, in pages of 2 MiB.
2:  mov ax, {page_tables} >> 4
    mov es, ax
    xor di, di
    xor eax, eax
    mov cx, 0x6000 / 4
    rep stosd
    mov dword ptr es:[0], {page_tables} + 0x1003
    mov eax, {page_tables} + 0x2003
    mov di, 0x1000
3:  mov es:[di], eax
    add eax, 0x1000
    add di, 8
    cmp di, 0x1020
    jne 3b
    mov eax, 0x83
    mov di, 0x2000
4:  mov es:[di], eax
    add eax, 0x200000
    add di, 8
    cmp di, 0x6000
    jne 4b

    cli
    lgdt [boot_gdt_pointer]
    mov eax, {page_tables}
    mov cr3, eax
    mov eax, 0x620                  // PAE, and the state of SSE
    mov cr4, eax
    mov ecx, 0xc0000080             // EFER: long mode
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    and eax, 0x9ffffffb             // caches on, no emulation of the FPU
    or eax, 0x80000003              // paging, protection, monitor
    mov cr0, eax
    .byte 0x66, 0xea
    .long boot_long
    .word 8

    // Writes to 0x500 show at 0x100500 when the line is off. ZF clear: it is on.
boot_a20_is_on:
    push es
    mov ax, 0xffff
    mov es, ax
    mov al, [0x500]
    mov ah, es:[0x510]
    push ax
    mov byte ptr [0x500], 0
    mov byte ptr es:[0x510], 0xff
    cmp byte ptr [0x500], 0xff
    pop ax
    mov es:[0x510], ah
    mov [0x500], al
    pop es
    ret

boot_keyboard_wait:
    mov cx, 0xffff
5:  in al, 0x64
    test al, 2
    loopnz 5b
    ret

boot_fail:
    lodsb
    test al, al
    jz 6f
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    jmp boot_fail
6:  in al, 0xe9                     // as in end.rs
    cmp al, 0xe9
    jne 7f
    mov al, 0xfe
    out 0x64, al
7:  hlt
    jmp 7b

boot_no_long_mode:
    .asciz "Bhojpur: this machine has no 64-bit processor\r\n"
boot_no_a20:
    .asciz "Bhojpur: the A20 line cannot be enabled\r\n"

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        //  8: 64-bit code
    .quad 0x00cf93000000ffff        // 16: data
    .quad 0x00cf9b000000ffff        // 24: 32-bit code
    .quad 0x00009b000000ffff        // 32: 16-bit code
    .quad 0x000093000000ffff        // 40: 16-bit data
boot_gdt_pointer:
    .word 47
    .long boot_gdt
boot_idt_pointer:
    .word 0x3ff
    .long 0

    .balign 4
    .global boot_drive, boot_sector_size, boot_registers, boot_transfer
boot_drive:
    .long 0
boot_sector_size:
    .long 0
boot_registers:
    .skip 36
    .balign 8
boot_transfer:                      // what BIOS functions read and write
    .skip 32

    .code64
boot_long:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, {stack}
    mov edi, offset boot_bss_start
    mov ecx, offset boot_bss_end
    sub ecx, edi
    rep stosb
    xor ebp, ebp
    call {main}

    // Calls interrupt dil of the BIOS with the registers in boot_registers.
    .global boot_interrupt
boot_interrupt:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov eax, edi
    mov [boot_number], al
    mov [boot_saved_stack], rsp
    push 24
    lea rax, [rip + 1f]
    push rax
    retfq
    .code32
1:  mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    .byte 0xea
    .long 2f
    .word 32
    .code16
2:  mov ax, 40
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    .byte 0xea
    .word 3f, 0
3:  xor ax, ax
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    lidt [boot_idt_pointer]
    mov sp, offset boot_registers
    popad
    mov sp, 0x7c00
    sti
    .byte 0xcd
boot_number:
    .byte 0
    mov sp, offset boot_registers + 36
    pushfd
    pushad
    cli
    cld
    xor ax, ax
    mov ds, ax
    lgdt [boot_gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea
    .long 4f
    .word 24
    .code32
4:  mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    .byte 0xea
    .long 5f
    .word 8
    .code64
5:  mov rsp, [boot_saved_stack]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    .balign 8
boot_saved_stack:
    .quad 0
    .popsection
    "#,
    page_tables = const PAGE_TABLES,
    stack = const STACK,
    main = sym crate::main,
);

unsafe extern "C" {
    static boot_drive: u32;
    static boot_sector_size: u32;
    static mut boot_registers: Registers;
    static mut boot_transfer: [u8; 32];
    fn boot_interrupt(number: u32);
}

/// BIOS drive and bytes of its sectors, as the boot sector left them.
pub(crate) fn medium() -> (u8, u32) {
    // SAFETY: both are written once, before this code runs.
    unsafe {
        (
            (&raw const boot_drive).read_volatile() as u8,
            (&raw const boot_sector_size).read_volatile(),
        )
    }
}

/// Address of the 32 bytes that [`interrupt`] shares with the BIOS.
pub(crate) fn transfer_address() -> u32 {
    (&raw const boot_transfer) as usize as u32
}

/// Calls the BIOS; gives the registers and the bytes at [`transfer_address`] afterwards.
pub(crate) fn interrupt(
    number: u8,
    registers: &Registers,
    transfer: &[u8; 32],
) -> (Registers, [u8; 32]) {
    // SAFETY: there is one thread and no interrupt in long mode, so nobody else looks at the
    // two statics; the assembly keeps the stack and the registers that the ABI wants kept.
    unsafe {
        (&raw mut boot_registers).write_volatile(*registers);
        (&raw mut boot_transfer).write_volatile(*transfer);
        boot_interrupt(number.into());
        ((&raw const boot_registers).read_volatile(), (&raw const boot_transfer).read_volatile())
    }
}
