// SPDX-License-Identifier: Apache-2.0 OR MIT
/* futex(2) without libc: wait, wake, bitset, requeue, time-outs, errors, and
 * the word a dying thread clears (CLONE_CHILD_CLEARTID). */
#include "check.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>

static int word, other, ready;

static long futex(int *at, int op, int value, void *timeout, int *second, int bits)
{
	return syscall(SYS_futex, at, op, value, timeout, second, bits);
}

static void *wait_once(void *bits)
{
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
	long r = futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (int)(long)bits);
	return (void *)(r < 0 ? -errno : r);
}

static void start(pthread_t *threads, int n, long bits)
{
	__atomic_store_n(&ready, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, wait_once, (void *)bits);
	while (__atomic_load_n(&ready, __ATOMIC_SEQ_CST) < n)
		sched_yield();
	pause_ms(50);
}

int main(void)
{
	pthread_t t[8];
	void *result;
	struct timespec short_time = {0, 10000000}, bad = {0, 1000000000}, negative = {-1, 0};

	TRY(futex(&word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0));
	TRY(futex(&word, FUTEX_WAIT_PRIVATE, 0, &short_time, NULL, 0));
	TRY(futex(&word, FUTEX_WAIT_PRIVATE, 0, &bad, NULL, 0));
	TRY(futex(&word, FUTEX_WAIT_PRIVATE, 0, &negative, NULL, 0));
	TRY(futex((int *)((char *)&word + 1), FUTEX_WAIT_PRIVATE, 0, &short_time, NULL, 0));
	TRY(futex((int *)8, FUTEX_WAIT_PRIVATE, 0, &short_time, NULL, 0));
	TRY(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &short_time, NULL, 0));
	TRY(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	TRY(futex(&word, 99, 1, NULL, NULL, 0));

	struct timespec absolute;
	clock_gettime(CLOCK_MONOTONIC, &absolute);
	double begin = seconds();
	absolute.tv_sec += 0;
	TRY(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &absolute, NULL, -1));
	SHOW(seconds() - begin < 1);

	start(t, 4, 1);
	SHOW(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 2));
	SHOW(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 1));
	SHOW(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &result);
		SHOW((long)result);
	}

	start(t, 6, -1);
	SHOW(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2L, &other, 5) == -1 && errno == EAGAIN);
	SHOW(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2L, &other, 0));
	SHOW(futex(&other, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
	SHOW(futex(&word, FUTEX_REQUEUE_PRIVATE, 0, (void *)(long)INT_MAX, &other, 0));
	SHOW(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
	SHOW(futex(&other, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
	for (int i = 0; i < 6; i++) {
		pthread_join(t[i], &result);
		SHOW((long)result);
	}

	start(t, 2, -1);
	other = 10;
	/* FUTEX_OP_ADD 5 to other; wake on other too when it was > 8. */
	SHOW(futex(&word, FUTEX_WAKE_OP_PRIVATE, 2, (void *)1L, &other, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_GT, 8)));
	SHOW(other);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return 0;
}
