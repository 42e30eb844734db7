// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Ends in the way its argument names: a signal number, "exit N", a fault. */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

static void *exit_group_from_thread(void *status)
{
	exit((int)(long)status);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "return";
	int value = argc > 2 ? atoi(argv[2]) : 0;
	printf("about to %s %d\n", how, value);
	fflush(stdout);
	pthread_t t;
	if (!strcmp(how, "exit"))
		_exit(value);
	if (!strcmp(how, "kill"))
		kill(getpid(), value);
	if (!strcmp(how, "abort"))
		abort();
	if (!strcmp(how, "null"))
		*(volatile int *)0 = 1;
	if (!strcmp(how, "divide"))
		__asm__ volatile("xor %%edx,%%edx\n xor %%ecx,%%ecx\n mov $1,%%eax\n idiv %%ecx" ::: "eax", "ecx", "edx");
	if (!strcmp(how, "illegal"))
		__asm__ volatile("ud2");
	if (!strcmp(how, "thread")) {
		pthread_create(&t, NULL, exit_group_from_thread, (void *)(long)value);
		for (;;)
			pause();
	}
	if (!strcmp(how, "main-leaves")) {
		/* The process lives until its last thread ends, with that status. */
		pthread_create(&t, NULL, exit_group_from_thread, (void *)(long)value);
		syscall(SYS_exit, 1);
	}
	return value;
}
