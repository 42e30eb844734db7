// SPDX-License-Identifier: Apache-2.0 OR MIT
/* pthreads: create, join, mutex kinds, condition variables, barriers, rwlocks,
 * semaphores, thread-local storage, keys with destructors, cancellation. */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>

enum { THREADS = 16, ROUNDS = 5000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_key_t key;
static sem_t semaphore;
static long counter, turn, destroyed, phases, guarded;
static __thread long mine = 7;
static __thread char big_tls[8192];

static void *count(void *id)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
		mine += (long)id;
	}
	big_tls[(long)id] = 1;
	return (void *)mine;
}

static void *take_turns(void *id)
{
	for (int round = 0; round < 50; round++) {
		pthread_mutex_lock(&mutex);
		while (turn % THREADS != (long)id)
			pthread_cond_wait(&turn_changed, &mutex);
		turn++;
		pthread_cond_broadcast(&turn_changed);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void *meet(void *id)
{
	long serial = 0;
	for (int i = 0; i < 100; i++) {
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
			serial++;
			__atomic_add_fetch(&phases, 1, __ATOMIC_RELAXED);
		}
	}
	(void)id;
	return (void *)serial;
}

static void destroy(void *value)
{
	__atomic_add_fetch(&destroyed, (long)value, __ATOMIC_RELAXED);
}

static void *keyed(void *id)
{
	pthread_setspecific(key, id);
	return pthread_getspecific(key);
}

static void *read_or_write(void *id)
{
	for (int i = 0; i < 2000; i++) {
		if ((long)id % 4 == 0) {
			pthread_rwlock_wrlock(&rwlock);
			guarded++;
			guarded++;
			pthread_rwlock_unlock(&rwlock);
		} else {
			pthread_rwlock_rdlock(&rwlock);
			MUST(guarded % 2 == 0);
			pthread_rwlock_unlock(&rwlock);
		}
	}
	return NULL;
}

static void *post(void *id)
{
	for (int i = 0; i < 100; i++)
		sem_post(&semaphore);
	return id;
}

static void *sleep_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void *leave(void *value)
{
	pthread_exit(value);
}

static long run(void *(*body)(void *))
{
	pthread_t thread[THREADS];
	long sum = 0;
	for (long i = 0; i < THREADS; i++)
		MUST(pthread_create(&thread[i], NULL, body, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++) {
		void *result;
		MUST(pthread_join(thread[i], &result) == 0);
		sum += (long)result;
	}
	return sum;
}

static void mutex_kinds(void)
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t m;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&m, &attributes);
	SHOW(pthread_mutex_lock(&m));
	SHOW(pthread_mutex_lock(&m));
	SHOW(pthread_mutex_trylock(&m));
	SHOW(pthread_mutex_unlock(&m));
	SHOW(pthread_mutex_unlock(&m));
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&m, &attributes);
	SHOW(pthread_mutex_lock(&m));
	SHOW(pthread_mutex_lock(&m));
	SHOW(pthread_mutex_unlock(&m));
	SHOW(pthread_mutex_unlock(&m));

	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 20000000;
	if (until.tv_nsec >= 1000000000)
		until.tv_sec++, until.tv_nsec -= 1000000000;
	pthread_mutex_lock(&mutex);
	SHOW(pthread_cond_timedwait(&turn_changed, &mutex, &until));
	pthread_mutex_unlock(&mutex);
}

static void *die_with_lock(void *m)
{
	pthread_mutex_lock(m);
	return NULL;
}

static void robust(void)
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t m;
	pthread_t thread;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m, &attributes);
	pthread_create(&thread, NULL, die_with_lock, &m);
	pthread_join(thread, NULL);
	SHOW(pthread_mutex_lock(&m) == EOWNERDEAD);
	SHOW(pthread_mutex_consistent(&m));
	SHOW(pthread_mutex_unlock(&m));
}

int main(void)
{
	SHOW(run(count));
	SHOW(counter);
	SHOW(mine);
	run(take_turns);
	SHOW(turn);
	pthread_barrier_init(&barrier, NULL, THREADS);
	SHOW(run(meet));
	SHOW(phases);
	pthread_key_create(&key, destroy);
	SHOW(run(keyed));
	SHOW(destroyed);
	run(read_or_write);
	SHOW(guarded);
	sem_init(&semaphore, 0, 0);
	run(post);
	int value;
	sem_getvalue(&semaphore, &value);
	SHOW(value);
	mutex_kinds();
	robust();

	pthread_t sleeper;
	void *result;
	pthread_create(&sleeper, NULL, sleep_for_ever, NULL);
	pause_ms(20);
	SHOW(pthread_cancel(sleeper));
	pthread_join(sleeper, &result);
	SHOW(result == PTHREAD_CANCELED);
	pthread_create(&sleeper, NULL, leave, (void *)41L);
	pthread_join(sleeper, &result);
	SHOW((long)result);

	for (int i = 0; i < 2000; i++) {
		MUST(pthread_create(&sleeper, NULL, leave, (void *)(long)i) == 0);
		MUST(pthread_join(sleeper, &result) == 0 && (long)result == i);
	}
	puts("2000 threads created and joined");
	return 0;
}
