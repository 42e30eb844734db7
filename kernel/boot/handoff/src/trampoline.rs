// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From long mode to the kernel's PVH entry: a page of code that runs anywhere below 4 GiB.
//!
//! It leaves paging, then copies segments that had to wait because firmware stood in their
//! place, and enters the kernel in the state that Xen's `docs/misc/pvh.pandoc` asks for:
//! flat 32-bit segments, `cr0.PE` alone, `cr4` zero, a TSS, interrupts off, `ebx` pointing to
//! the start information.
#![expect(unsafe_code, reason = "instructions below the language, and a jump away from it")]

use core::arch::{asm, global_asm};

/// Bytes of the page: code, then parameters, then a stack.
pub const SIZE: usize = 4096;
const PARAMETERS: usize = 1024;
/// Copies that a page has room for.
pub const COPIES_MAX: usize = 128;

global_asm!(
    r#"
    .pushsection .rodata.trampoline, "a"
    .global trampoline_start, trampoline_end
    .code64
trampoline_start:                   // rdi: address of the page
    cli
    cld
    lea rsp, [rdi + 4096]
    lea rax, [rip + trampoline_gdt]
    push rax                        // the pointer for lgdt, 10 bytes
    sub rsp, 2
    mov word ptr [rsp], 31
    lgdt [rsp]
    mov rax, cr4
    and eax, 0x1020                 // PAE and LA57 stay as long as paging is on
    mov cr4, rax
    lea rsp, [rdi + 4096]
    lea rax, [rip + 2f]
    push 8
    push rax
    retfq
    .code32
2:  mov eax, 16
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov ebp, edi
    mov eax, cr0
    and eax, 0x7fffffff             // paging ends, and with it long mode
    mov cr0, eax
    jmp 3f
3:  mov ecx, 0xc0000080             // EFER
    xor eax, eax
    xor edx, edx
    wrmsr
    mov eax, 1
    mov cr0, eax
    xor eax, eax
    mov cr4, eax
    mov eax, 24
    ltr ax
    mov edx, [ebp + {parameters} + 8]
    lea ebx, [ebp + {parameters} + 16]
4:  test edx, edx
    jz 5f
    mov edi, [ebx]
    mov esi, [ebx + 4]
    mov ecx, [ebx + 8]
    shr ecx, 2
    rep movsd
    mov ecx, [ebx + 8]
    and ecx, 3
    rep movsb
    mov ecx, [ebx + 12]
    xor eax, eax
    rep stosb
    add ebx, 16
    dec edx
    jmp 4b
5:  mov eax, [ebp + {parameters}]
    mov ebx, [ebp + {parameters} + 4]
    jmp eax
    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        // code, 4 GiB
    .quad 0x00cf93000000ffff        // data, 4 GiB
    .quad 0x0000890000000067        // TSS at 0
trampoline_end:
    .code64
    .popsection
    "#,
    parameters = const PARAMETERS,
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

/// A piece of a segment that is copied when the firmware's memory is free to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// Where it belongs.
    pub to: u32,
    /// Where it waits.
    pub from: u32,
    /// Bytes to copy.
    pub size: u32,
    /// Zeros behind them.
    pub zeros: u32,
}

/// Fills the page in.
pub fn write(page: &mut [u8; SIZE], entry: u32, start_info: u32, copies: &[Copy]) {
    page[..code().len()].copy_from_slice(code());
    let copies = copies.get(..COPIES_MAX).unwrap_or(copies);
    let head = [entry, start_info, copies.len() as u32, 0];
    let words = copies.iter().flat_map(|c| [c.to, c.from, c.size, c.zeros]);
    for (word, place) in head.into_iter().chain(words).zip(page[PARAMETERS..].chunks_exact_mut(4)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

fn code() -> &'static [u8] {
    // SAFETY: the assembler puts the end behind the start, in one section.
    unsafe {
        let start = &raw const trampoline_start;
        let size = (&raw const trampoline_end).offset_from_unsigned(start);
        core::slice::from_raw_parts(start, size)
    }
}

/// Runs the page.
///
/// # Safety
/// `address` is that of a page that [`write`] filled, executable, at the same physical as
/// virtual address, below 4 GiB; the plan in it overwrites neither the page nor the start
/// information; and nothing that runs now is needed afterwards.
pub unsafe fn enter(address: u32) -> ! {
    // SAFETY: the caller vouches for the page.
    unsafe {
        asm!("jmp {page}", page = in(reg) u64::from(address), in("rdi") u64::from(address), options(noreturn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_parameters_and_stack_share_the_page() {
        assert!(code().len() <= PARAMETERS);
        assert!(PARAMETERS + 16 + COPIES_MAX * size_of::<Copy>() < SIZE - 256);
        let mut page = [0; SIZE];
        let copy = Copy { to: 1, from: 2, size: 3, zeros: 4 };
        write(&mut page, 0x20_0000, 0x5_1000, &[copy; COPIES_MAX]);
        assert_eq!(page[PARAMETERS + 8], COPIES_MAX as u8);
        assert_eq!(page[PARAMETERS + 16..][..5], [1, 0, 0, 0, 2]);
    }
}
