// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Stacks: growth of the first one, large ones of threads, overflow that is
 * handled on an alternate stack, and 200 threads at once. */
#include "check.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

static sigjmp_buf out;
static volatile sig_atomic_t overflows;
static __thread char *alternate;
enum { ALTERNATE = 64 << 10, THREADS = 200 };

static void on_overflow(int number, siginfo_t *info, void *context)
{
	char here;
	stack_t now;
	(void)context;
	sigaltstack(NULL, &now);
	overflows += number == SIGSEGV && info->si_addr != NULL && &here > alternate &&
		     &here < alternate + ALTERNATE && (now.ss_flags & SS_ONSTACK);
	/* An alternate stack in use cannot be changed. */
	overflows += sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL) == -1 && errno == EPERM;
	siglongjmp(out, 1);
}

__attribute__((noinline)) static long recurse(long depth, volatile char *above)
{
	volatile char frame[1024];
	frame[0] = (char)depth;
	if (depth == 0)
		return above ? above[0] : 0;
	return recurse(depth - 1, frame) + frame[0] - frame[0];
}

static void overflow_once(void)
{
	alternate = malloc(ALTERNATE);
	stack_t stack = {.ss_sp = alternate, .ss_size = ALTERNATE};
	MUST(sigaltstack(&stack, NULL) == 0);
	if (sigsetjmp(out, 1) == 0)
		recurse(1l << 40, NULL);
	MUST(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL) == 0);
	free(alternate);
}

static void *overflow_in_thread(void *unused)
{
	overflow_once();
	return unused;
}

static void *deep(void *depth)
{
	return (void *)recurse((long)depth, NULL);
}

static pthread_barrier_t barrier;
static long sum;

static void *meet(void *id)
{
	recurse(20, NULL);
	for (int i = 0; i < 3; i++)
		pthread_barrier_wait(&barrier);
	__atomic_add_fetch(&sum, (long)id, __ATOMIC_RELAXED);
	return id;
}

int main(void)
{
	struct sigaction action = {.sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaction(SIGSEGV, &action, NULL);
	SHOW(recurse(6000, NULL));
	for (int i = 0; i < 3; i++)
		overflow_once();
	SHOW(overflows);

	pthread_t thread;
	pthread_attr_t attributes;
	void *result;
	pthread_attr_init(&attributes);
	SHOW(pthread_attr_setstacksize(&attributes, 256 << 20));
	SHOW(pthread_create(&thread, &attributes, deep, (void *)200000L));
	pthread_join(thread, &result);
	SHOW((long)result);
	SHOW(pthread_attr_setstacksize(&attributes, 128 << 10));
	for (int i = 0; i < 3; i++) {
		pthread_create(&thread, &attributes, overflow_in_thread, NULL);
		pthread_join(thread, NULL);
	}
	SHOW(overflows);

	pthread_t many[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS);
	int made = 0;
	for (long i = 0; i < THREADS; i++)
		made += pthread_create(&many[i], &attributes, meet, (void *)i) == 0;
	SHOW(made);
	long joined = 0;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(many[i], &result);
		joined += (long)result;
	}
	SHOW(joined);
	SHOW(sum);
	/* Threads that come and go quickly. */
	for (long i = 0; i < 1000; i++) {
		MUST(pthread_create(&thread, &attributes, deep, (void *)1L) == 0);
		if (i % 2)
			pthread_detach(thread);
		else
			pthread_join(thread, NULL);
	}
	TRY(sigaltstack(&(stack_t){.ss_sp = malloc(100), .ss_size = 100}, NULL));
	TRY(sigaltstack(&(stack_t){.ss_flags = 77}, NULL));
	return 0;
}
