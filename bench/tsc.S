// SPDX-License-Identifier: Apache-2.0 OR MIT
/* tsc: a static program whose first instruction reads the time-stamp counter;
 * prints "TSC <decimal>" and leaves, or powers Linux off when it is PID 1
 * there (reboot fails elsewhere, and then it exits). */
	.text
	.globl _start
_start:
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	lea end(%rip), %rsi
	mov $10, %ecx
1:	xor %edx, %edx
	div %rcx
	add $'0', %dl
	dec %rsi
	mov %dl, (%rsi)
	test %rax, %rax
	jnz 1b
	sub $4, %rsi
	movl $0x20435354, (%rsi)	/* "TSC " */
	lea end+1(%rip), %rdx
	sub %rsi, %rdx
	mov $1, %edi
	mov $1, %eax
	syscall
	mov $0xfee1dead, %edi
	mov $672274793, %esi
	mov $0x4321fedc, %edx
	mov $169, %eax		/* reboot */
	syscall
	xor %edi, %edi
	mov $231, %eax		/* exit_group */
	syscall

	.data
	.fill 32, 1, 0
end:	.ascii "\n"
	.section .note.GNU-stack, "", @progbits
