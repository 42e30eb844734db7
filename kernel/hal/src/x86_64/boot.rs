// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first instructions: PVH, Multiboot2 and the Linux 64-bit entry, up to
//! the first Rust function with paging, SSE and a stack.
//!
//! Sources: Xen's `pvh.pandoc` (32-bit protected mode, `ebx` = start info),
//! Multiboot2 1.x section 3 (`eax` = magic, `ebx` = information), Linux
//! `Documentation/arch/x86/boot.rst` (64-bit, `rsi` = boot parameters).

use core::arch::global_asm;

/// Physical to virtual offset of the kernel image.
pub const KERNEL_OFFSET: u64 = 0xffff_ffff_8000_0000;
/// Start of the direct map of physical memory.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Physical memory that the boot page tables cover.
pub const BOOT_MAPPED: u64 = 4 << 30;

/// How the kernel was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Protocol {
    /// `hvm_start_info` of Xen, QEMU, Firecracker, Cloud Hypervisor.
    Pvh = 1,
    /// Multiboot2 information of GRUB.
    Multiboot2 = 2,
    /// `struct boot_params` of the Linux boot protocol.
    Linux = 3,
}

global_asm!(
    r#"
    .set KOFF, 0xffffffff80000000

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 8, 18              // name size, value size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .align 4
    .quad pvh_start - KOFF

    .section .multiboot2, "a"
    .align 8
multiboot2_header:
    .long 0xe85250d6, 0, multiboot2_end - multiboot2_header
    .long -(0xe85250d6 + (multiboot2_end - multiboot2_header))
    .short 3, 0                 // entry address tag
    .long 12, multiboot2_start - KOFF, 0
    .short 0, 0
    .long 8
multiboot2_end:

    .section .text.boot, "ax"
    .code32
    .global pvh_start
pvh_start:
    mov edi, 1
    jmp 1f
multiboot2_start:
    mov edi, 2
1:  cld
    cli
    mov esi, ebx
    mov esp, offset boot_stack_top - KOFF

    // Page tables: four directories of 2 MiB pages map the first 4 GiB, at
    // their own addresses, in the direct map, and (2 GiB of it) as the kernel.
    mov ebx, offset boot_pd - KOFF
    mov eax, 0x83               // present, writable, large
    xor ecx, ecx
2:  mov [ebx + ecx * 8], eax
    mov dword ptr [ebx + ecx * 8 + 4], 0
    add eax, 0x200000
    inc ecx
    cmp ecx, 2048
    jne 2b
    mov eax, offset boot_pd - KOFF + 3
    mov ebx, offset boot_pdpt_low - KOFF
    mov edx, offset boot_pdpt_high - KOFF
    mov [ebx], eax
    mov [edx + 510 * 8], eax
    add eax, 0x1000
    mov [ebx + 8], eax
    mov [edx + 511 * 8], eax
    add eax, 0x1000
    mov [ebx + 16], eax
    add eax, 0x1000
    mov [ebx + 24], eax
    mov eax, offset boot_pml4 - KOFF
    lea ecx, [ebx + 3]
    mov [eax], ecx
    mov [eax + 256 * 8], ecx
    lea ecx, [edx + 3]
    mov [eax + 511 * 8], ecx

    mov cr3, eax
    mov eax, cr4
    or eax, 0x620               // PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov ecx, 0xc0000080         // EFER: SCE, LME, NXE
    rdmsr
    or eax, 0x901
    wrmsr
    mov eax, 0x80010033         // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [boot_gdtr - KOFF]
    push 0x10
    lea eax, [boot_long - KOFF]
    push eax
    retf

    .code64
boot_long:
    mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov edi, edi
    mov esi, esi
    movabs rax, offset boot_high
    jmp rax

    // Linux 64-bit entry: long mode, the first megabytes mapped at their own
    // addresses by the loader. We go to our own tables through 32-bit-free code.
    .global linux64_start
linux64_start:
    cld
    cli
    mov r12, rsi
    lea rsp, [rip + boot_stack_top]
    lea rbx, [rip + boot_pd]
    mov eax, 0x83
    xor ecx, ecx
3:  mov [rbx + rcx * 8], rax
    add rax, 0x200000
    inc ecx
    cmp ecx, 2048
    jne 3b
    lea rax, [rip + boot_pd]
    add rax, 3
    lea rbx, [rip + boot_pdpt_low]
    lea rdx, [rip + boot_pdpt_high]
    mov [rbx], rax
    mov [rdx + 510 * 8], rax
    add rax, 0x1000
    mov [rbx + 8], rax
    mov [rdx + 511 * 8], rax
    add rax, 0x1000
    mov [rbx + 16], rax
    add rax, 0x1000
    mov [rbx + 24], rax
    lea rax, [rip + boot_pml4]
    lea rcx, [rbx + 3]
    mov [rax], rcx
    mov [rax + 256 * 8], rcx
    lea rcx, [rdx + 3]
    mov [rax + 511 * 8], rcx
    mov rbx, rax
    mov rax, cr4
    or eax, 0x620
    mov cr4, rax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x901
    wrmsr
    mov cr3, rbx
    mov eax, 0x80010033
    mov cr0, rax
    // The loader's GDT is the loader's: take ours, by physical address first.
    lea rax, [rip + boot_gdt]
    sub rsp, 16
    mov word ptr [rsp + 6], 31
    mov [rsp + 8], rax
    lgdt [rsp + 6]
    push 0x10
    lea rax, [rip + 4f]
    push rax
    retfq
4:  mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov edi, 3
    mov rsi, r12
    movabs rax, offset boot_high
    jmp rax

boot_high:
    movabs rsp, offset boot_stack_top
    xor ebp, ebp
    call {start}
5:  cli
    hlt
    jmp 5b

    .section .rodata.boot, "a"
    .align 16
    .global boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    // 0x08: 32-bit code
    .quad 0x00af9b000000ffff    // 0x10: 64-bit code
    .quad 0x00cf93000000ffff    // 0x18: data
boot_gdtr:
    .word 31
    .long boot_gdt - KOFF
    .long 0

    .section .bss.boot, "aw", @nobits
    .align 4096
    .global boot_pml4
boot_pml4:      .skip 4096
boot_pdpt_low:  .skip 4096
boot_pdpt_high: .skip 4096
boot_pd:        .skip 4 * 4096
boot_stack:     .skip 4 * 4096
    .global boot_stack_top
boot_stack_top:
    "#,
    start = sym rust_start,
);

/// Where the assembly above arrives: `protocol` as in [`Protocol`], `info` its
/// physical address.
extern "C" fn rust_start(protocol: u64, info: u64) -> ! {
    let protocol = match protocol {
        1 => Protocol::Pvh,
        2 => Protocol::Multiboot2,
        _ => Protocol::Linux,
    };
    super::start(protocol, info)
}
