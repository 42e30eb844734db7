// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Threads that wait for each other in loops without system calls: each has to
 * lose its processor to the other, again and again, with nothing else going on. */
#include "check.h"
#include <pthread.h>
#include <sched.h>

enum { THREADS = 3, ROUNDS = 5 };
static volatile long turn;

static void *spin(void *id)
{
	for (int round = 0; round < ROUNDS; round++) {
		while (turn % THREADS != (long)id)
			;
		turn++;
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	cpu_set_t first;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof first, &first);
	for (long i = 0; i < THREADS; i++)
		MUST(pthread_create(&threads[i], NULL, spin, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	SHOW(turn);
	return 0;
}
