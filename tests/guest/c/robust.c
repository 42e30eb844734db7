// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Robust mutexes of threads that end, cancellation at blocking calls,
 * membarrier(2), thread-directed signals, priority-less condition waits. */
#include "check.h"
#include <fcntl.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static pthread_mutex_t robust, shared_robust;
static pthread_mutex_t *elsewhere;
static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int ends[2];
static volatile int cleaned, started, asked;

static void *die_holding(void *mutex)
{
	pthread_mutex_lock(mutex);
	return NULL;
}

static void *die_holding_later(void *mutex)
{
	pthread_mutex_lock(mutex);
	__atomic_store_n(&started, 1, __ATOMIC_SEQ_CST);
	pause_ms(50);
	return NULL;
}

static void robust_mutex(pthread_mutex_t *mutex, int kind)
{
	pthread_t t;
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attributes, kind);
	pthread_mutex_init(mutex, &attributes);
	pthread_create(&t, NULL, die_holding, mutex);
	pthread_join(t, NULL);
	SHOW(pthread_mutex_lock(mutex) == EOWNERDEAD);
	SHOW(pthread_mutex_consistent(mutex));
	SHOW(pthread_mutex_unlock(mutex));
	SHOW(pthread_mutex_lock(mutex));
	SHOW(pthread_mutex_unlock(mutex));
	/* With somebody waiting already. */
	started = 0;
	pthread_create(&t, NULL, die_holding_later, mutex);
	while (!__atomic_load_n(&started, __ATOMIC_SEQ_CST))
		sched_yield();
	SHOW(pthread_mutex_lock(mutex) == EOWNERDEAD);
	SHOW(pthread_mutex_unlock(mutex));
	SHOW(pthread_mutex_lock(mutex) == ENOTRECOVERABLE);
	pthread_join(t, NULL);
}

static void clean(void *by)
{
	cleaned += (int)(long)by;
}

static void *in_read(void *unused)
{
	char c;
	pthread_cleanup_push(clean, (void *)1L);
	started = 1;
	read(ends[0], &c, 1);
	pthread_cleanup_pop(0);
	return unused;
}

static void *in_poll(void *unused)
{
	pthread_cleanup_push(clean, (void *)10L);
	started = 1;
	poll(NULL, 0, 100000);
	pthread_cleanup_pop(0);
	return unused;
}

static void *in_sleep(void *unused)
{
	pthread_cleanup_push(clean, (void *)100L);
	started = 1;
	sleep(1000);
	pthread_cleanup_pop(0);
	return unused;
}

static void unlock(void *unused)
{
	(void)unused;
	cleaned += 1000;
	pthread_mutex_unlock(&plain);
}

static void *in_wait(void *unused)
{
	pthread_mutex_lock(&plain);
	pthread_cleanup_push(unlock, NULL);
	started = 1;
	for (;;)
		pthread_cond_wait(&condition, &plain);
	pthread_cleanup_pop(0);
	return unused;
}

static void *in_loop(void *unused)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	pthread_cleanup_push(clean, (void *)10000L);
	started = 1;
	for (;;)
		__asm__ volatile("");
	pthread_cleanup_pop(0);
	return unused;
}

static void *not_cancelled(void *unused)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	started = 1;
	while (!__atomic_load_n(&asked, __ATOMIC_SEQ_CST))
		pause_ms(1);
	cleaned += 100000;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	pthread_testcancel();
	return unused;
}

static void cancellation(void)
{
	void *(*bodies[])(void *) = {in_read, in_poll, in_sleep, in_wait, in_loop, not_cancelled};
	MUST(pipe(ends) == 0);
	for (int round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 6; i++) {
			pthread_t t;
			void *result;
			started = asked = 0;
			pthread_create(&t, NULL, bodies[i], NULL);
			while (!started)
				sched_yield();
			if (round)
				pause_ms(round);
			MUST(pthread_cancel(t) == 0);
			__atomic_store_n(&asked, 1, __ATOMIC_SEQ_CST);
			pthread_join(t, &result);
			MUST(result == PTHREAD_CANCELED);
		}
	}
	SHOW(cleaned);
	SHOW(pthread_mutex_trylock(&plain));
	pthread_mutex_unlock(&plain);
}

static volatile int flags[2], turn_taken[2], both;

static void *barrier_side(void *unused)
{
	for (int i = 0; i < 2000; i++) {
		while (__atomic_load_n(&turn_taken[0], __ATOMIC_RELAXED) != i + 1)
			sched_yield();
		flags[1] = i + 1;
		__asm__ volatile("" ::: "memory");
		int saw = flags[0] == i + 1;
		__atomic_store_n(&both, saw, __ATOMIC_SEQ_CST);
		__atomic_store_n(&turn_taken[1], i + 1, __ATOMIC_SEQ_CST);
	}
	return unused;
}

static void barriers(void)
{
	SHOW((syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0);
	TRY(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	TRY(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	TRY(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 1, 0));
	TRY(syscall(SYS_membarrier, 1 << 30, 0, 0));
	pthread_t t;
	int missed = 0;
	pthread_create(&t, NULL, barrier_side, NULL);
	for (int i = 0; i < 2000; i++) {
		__atomic_store_n(&turn_taken[0], i + 1, __ATOMIC_RELAXED);
		flags[0] = i + 1;
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
		int saw = flags[1] == i + 1;
		while (__atomic_load_n(&turn_taken[1], __ATOMIC_SEQ_CST) != i + 1)
			sched_yield();
		/* At least one side sees the other's store. */
		missed += !saw && !both;
	}
	pthread_join(t, NULL);
	SHOW(missed);
}

static volatile int counted;

static void count(int number)
{
	(void)number;
	__atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
}

static void *wait_for_signals(void *wanted)
{
	while (__atomic_load_n(&counted, __ATOMIC_SEQ_CST) < (int)(long)wanted)
		pause_ms(1);
	return NULL;
}

static void directed(void)
{
	pthread_t t;
	struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
	sigaction(SIGRTMIN + 3, &action, NULL);
	pthread_create(&t, NULL, wait_for_signals, (void *)500L);
	/* Real-time signals queue: none is lost. */
	for (int i = 0; i < 500; i++)
		while (pthread_kill(t, SIGRTMIN + 3) == EAGAIN)
			sched_yield();
	pthread_join(t, NULL);
	SHOW(counted);
}

/* A process that executes a program leaves what it holds, as one that ends. */
static void executed(void)
{
	pthread_mutex_t *mutex =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t robust;
	pthread_mutexattr_init(&robust);
	pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(mutex, &robust);
	int p[2];
	char c;
	MUST(pipe(p) == 0);
	fflush(stdout);
	pid_t child = fork();
	MUST(child >= 0);
	if (child == 0) {
		pthread_mutex_lock(mutex);
		dup2(p[1], 1);
		execl("/proc/self/exe", "robust", "wait", NULL);
		_exit(99);
	}
	MUST(read(p[0], &c, 1) == 1);
	struct timespec limit;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 3;
	SHOW(pthread_mutex_timedlock(mutex, &limit) == EOWNERDEAD);
	kill(child, SIGKILL);
	SHOW(waitpid(child, NULL, 0) == child);
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1) {
		MUST(write(1, "w", 1) == 1);
		pause();
	}
	robust_mutex(&robust, PTHREAD_PROCESS_PRIVATE);
	robust_mutex(&shared_robust, PTHREAD_PROCESS_SHARED);
	elsewhere = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	robust_mutex(elsewhere, PTHREAD_PROCESS_SHARED);
	cancellation();
	barriers();
	directed();
	executed();
	return 0;
}
