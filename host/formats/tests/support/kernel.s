# SPDX-License-Identifier: Apache-2.0 OR MIT
# The code of the kernel that the boot tests pack: checks the state that the PVH protocol
# promises and the bytes of its second segment, tells over COM1 and leaves through
# isa-debug-exit. The bytes in kernel.rs are made with
#   clang -c --target=i386-none kernel.s && ld.lld -Ttext=0x200000 --oformat=binary kernel.o
.code32
start:
 mov $0x1ff000, %esp
 cmpl $0x336ec578, (%ebx)
 mov $magic, %esi
 jne fail
 mov %cr0, %eax
 and $0x80000001, %eax
 cmp $1, %eax
 mov $mode, %esi
 jne fail
 mov %cr4, %eax
 test %eax, %eax
 jne fail
 str %ax
 test %ax, %ax
 je fail
 pushf
 pop %eax
 test $0x20200, %eax
 jne fail
 mov 32(%ebx), %eax
 mov $rsdp, %esi
 test %eax, %eax
 je fail
 cmpl $0x20445352, (%eax)
 jne fail
 mov $load, %esi
 mov payload, %edi
 mov payload+4, %ecx
 xor %eax, %eax
1: add (%edi), %eax
 rol $1, %eax
 add $4, %edi
 dec %ecx
 jnz 1b
 cmp payload+8, %eax
 jne fail
 mov payload+12, %ecx
 test %ecx, %ecx
 je 3f
2: cmpl $0, (%edi)
 jne fail
 add $4, %edi
 dec %ecx
 jnz 2b
3: mov $ok, %esi
 call puts
 mov 48(%ebx), %eax
 xor %edx, %edx
 mov $10, %ecx
 div %ecx
 add $0x30, %al
 call putc
 mov %dl, %al
 add $0x30, %al
 call putc
 mov $space, %esi
 call puts
 mov 24(%ebx), %esi
 call puts
 mov $end, %esi
 call puts
 mov $0x10, %eax
 mov $0x501, %edx
 out %eax, %dx
halt: hlt
 jmp halt
fail: call puts
 mov $0x11, %eax
 mov $0x501, %edx
 out %eax, %dx
 jmp halt
puts: lodsb
 test %al, %al
 je 4f
 call putc
 jmp puts
4: ret
putc: push %edx
 push %eax
 mov $0x3fd, %edx
5: in %dx, %al
 test $0x20, %al
 je 5b
 pop %eax
 mov $0x3f8, %edx
 out %al, %dx
 pop %edx
 ret
ok: .asciz "PVH OK "
space: .asciz " ["
end: .asciz "]\n"
magic: .asciz "BAD MAGIC\n"
mode: .asciz "BAD MODE\n"
rsdp: .asciz "BAD RSDP\n"
load: .asciz "BAD LOAD\n"
.balign 16
payload: .long 0,0,0,0
