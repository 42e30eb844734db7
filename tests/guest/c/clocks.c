// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Clocks, sleeping, limits, ids and the other small calls of a C library. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>

static void monotone(clockid_t clock)
{
	struct timespec before = {0}, now;
	int wrong = 0;
	for (int i = 0; i < 100000; i++) {
		clock_gettime(clock, &now);
		wrong += now.tv_sec < before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec < before.tv_nsec);
		wrong += now.tv_nsec < 0 || now.tv_nsec >= 1000000000;
		before = now;
	}
	printf("clock %d: %d steps back\n", (int)clock, wrong);
}

static void *spin(void *unused)
{
	struct timespec t;
	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	} while (t.tv_sec == 0 && t.tv_nsec < 50000000);
	return unused;
}

int main(void)
{
	struct timespec t, vdso;
	monotone(CLOCK_MONOTONIC);
	monotone(CLOCK_REALTIME);
	monotone(CLOCK_BOOTTIME);
	monotone(CLOCK_MONOTONIC_RAW);
	monotone(CLOCK_MONOTONIC_COARSE);
	monotone(CLOCK_REALTIME_COARSE);
	monotone(CLOCK_PROCESS_CPUTIME_ID);
	monotone(CLOCK_THREAD_CPUTIME_ID);
	TRY(clock_gettime(77, &t));
	TRY(clock_getres(CLOCK_MONOTONIC, &t));
	SHOW(t.tv_nsec);
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	clock_gettime(CLOCK_MONOTONIC, &vdso);
	SHOW((vdso.tv_sec - t.tv_sec) * 1000000000 + vdso.tv_nsec - t.tv_nsec >= 0);
	SHOW((vdso.tv_sec - t.tv_sec) * 1000000000 + vdso.tv_nsec - t.tv_nsec < 1000000000);
	struct timeval day;
	SHOW(gettimeofday(&day, NULL));
	SHOW(time(NULL) - day.tv_sec <= 1);
	SHOW(day.tv_sec > 1600000000);
	long sleeps[] = {0, 1000, 50000, 1000000, 20000000};
	for (int i = 0; i < 5; i++) {
		double begin = seconds();
		t = (struct timespec){0, sleeps[i]};
		SHOW(nanosleep(&t, NULL));
		SHOW(seconds() - begin >= sleeps[i] / 1e9);
		SHOW(seconds() - begin < sleeps[i] / 1e9 + 1);
	}
	/* Long ago; a unikernel is younger than a second here. */
	t = (struct timespec){0, 1};
	SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
	SHOW(clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, -1}, NULL));
	TRY(nanosleep(&(struct timespec){-1, 0}, NULL));
	pthread_t thread;
	pthread_create(&thread, NULL, spin, NULL);
	pthread_join(thread, NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	SHOW(t.tv_sec > 0 || t.tv_nsec >= 50000000);
	struct rusage usage;
	TRY(getrusage(RUSAGE_SELF, &usage));
	SHOW(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 0);
	TRY(getrusage(99, &usage));
	SHOW(times(NULL) != -1);

	struct utsname name;
	TRY(uname(&name));
	puts(name.sysname);
	puts(name.machine);
	SHOW(getpid() > 0);
	SHOW(syscall(SYS_gettid) == getpid());
	SHOW(getuid() == geteuid() && getgid() == getegid());
	SHOW(sysconf(_SC_PAGESIZE));
	SHOW(sysconf(_SC_CLK_TCK));
	SHOW(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
	cpu_set_t set;
	TRY(sched_getaffinity(0, sizeof set, &set));
	SHOW(CPU_COUNT(&set) == sysconf(_SC_NPROCESSORS_ONLN));
	TRY(sched_getaffinity(0, 1, &set));
	SHOW(sched_getcpu() >= 0);
	CPU_ZERO(&set);
	TRY(sched_setaffinity(0, sizeof set, &set));
	TRY(sched_yield());
	SHOW(sched_getscheduler(0));
	unsigned char random[64] = {0};
	SHOW(getrandom(random, sizeof random, 0));
	int zeroes = 0;
	for (int i = 0; i < 64; i++)
		zeroes += random[i] == 0;
	SHOW(zeroes < 16);
	TRY(getrandom(random, 8, 0xff));
	SHOW(getauxval(AT_PAGESZ));
	SHOW(getauxval(AT_SECURE));
	SHOW(getauxval(AT_RANDOM) != 0 && getauxval(AT_SYSINFO_EHDR) != 0 && getauxval(AT_ENTRY) != 0);
	puts((char *)getauxval(AT_PLATFORM));
	struct sysinfo info;
	TRY(sysinfo(&info));
	SHOW(info.totalram > 0 && info.freeram <= info.totalram);
	TRY(prctl(PR_SET_NAME, "renamed"));
	char comm[17] = {0};
	TRY(prctl(PR_GET_NAME, comm));
	puts(comm);
	TRY(prctl(123456, 0, 0, 0, 0));
	struct rlimit limit;
	TRY(getrlimit(RLIMIT_STACK, &limit));
	SHOW(limit.rlim_cur >= 1 << 20);
	TRY(getrlimit(999, &limit));
	return 0;
}
