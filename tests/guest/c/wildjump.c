// SPDX-License-Identifier: Apache-2.0 OR MIT
// Returning from a signal to an address that no CPU can fetch from: SIGSEGV,
// and nothing worse. Then the same for the address of a handler.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile int segments;

static void derail(int sig, siginfo_t *info, void *context)
{
	(void)sig; (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (long)0x8000000000001000ULL;
}

static void on_segv(int sig)
{
	(void)sig;
	segments++;
	siglongjmp(back, 1);
}

int main(void)
{
	struct sigaction a;
	memset(&a, 0, sizeof a);
	a.sa_handler = on_segv;
	sigaction(SIGSEGV, &a, NULL);
	a.sa_sigaction = derail;
	a.sa_flags = SA_SIGINFO;
	sigaction(SIGUSR1, &a, NULL);
	if (sigsetjmp(back, 1) == 0)
		raise(SIGUSR1);
	printf("returned to nowhere: %d\n", segments);
	fflush(stdout);
	a.sa_flags = 0;
	a.sa_handler = (void (*)(int))0x8000000000001000ULL;
	sigaction(SIGUSR2, &a, NULL);
	if (sigsetjmp(back, 1) == 0)
		raise(SIGUSR2);
	printf("handler nowhere: %d\n", segments);
	return 0;
}
