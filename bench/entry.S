// SPDX-License-Identifier: Apache-2.0 OR MIT
/* entry: a kernel that prints the time-stamp counter at its first instruction
 * ("TSC <decimal>") on the first serial port and ends the machine. Under
 * `-icount shift=0,sleep=off` that is what the firmware costs before any kernel
 * is entered through PVH (xen.git docs/misc/pvh.pandoc). */
	.section .note.pvh, "a", @note
	.long 4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start
start:
	rdtsc
	mov $stack, %esp
	mov %eax, %esi		/* low */
	mov %edx, %edi		/* high */
	mov $prefix, %ebx
	call print
	mov $10, %ecx
	mov $end, %ebx
1:	/* edi:esi / 10, digits from the last to the first */
	mov %edi, %eax
	xor %edx, %edx
	div %ecx
	mov %eax, %edi
	mov %esi, %eax
	div %ecx
	mov %eax, %esi
	add $'0', %dl
	dec %ebx
	mov %dl, (%ebx)
	or %edi, %eax
	jnz 1b
	call print
	mov $0x501, %dx
	xor %eax, %eax
	out %ax, %dx
	lidt nothing		/* triple fault: with -no-reboot QEMU ends */
	int3
print:
	mov $0x3f8, %dx
2:	mov (%ebx), %al
	test %al, %al
	jz 3f
	out %al, %dx
	inc %ebx
	jmp 2b
3:	ret

	.data
prefix:	.asciz "TSC "
digits:	.fill 20, 1, 0
end:	.asciz "\n"
nothing: .fill 6, 1, 0
	.bss
	.fill 256, 1, 0
stack:
