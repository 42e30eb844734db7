// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Timers that send signals: alarm, setitimer on three clocks, timer_create
 * with its ways to notify; and what a signal does to sleeping calls. */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile sig_atomic_t alarms, profiles, virtuals, real_time, value, code;

static void count(int number)
{
	alarms += number == SIGALRM;
	profiles += number == SIGPROF;
	virtuals += number == SIGVTALRM;
}

static void with_info(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	real_time++;
	value = info->si_value.sival_int;
	code = info->si_code;
}

static void burn(double time)
{
	double end = seconds() + time;
	while (seconds() < end)
		;
}

static void intervals(void)
{
	struct itimerval every = {{0, 10000}, {0, 10000}}, off = {0}, old;
	TRY(setitimer(99, &every, NULL));
	TRY(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 1000000}}, NULL));
	TRY(setitimer(ITIMER_REAL, &every, &old));
	SHOW(old.it_value.tv_sec + old.it_value.tv_usec);
	while (alarms < 5)
		pause();
	TRY(getitimer(ITIMER_REAL, &old));
	SHOW(old.it_interval.tv_usec);
	SHOW(old.it_value.tv_sec == 0 && old.it_value.tv_usec <= 10000);
	TRY(setitimer(ITIMER_REAL, &off, &old));
	SHOW(old.it_interval.tv_usec);
	int before = alarms;
	pause_ms(50);
	SHOW(alarms == before);
	TRY(setitimer(ITIMER_PROF, &every, NULL));
	double begin = seconds();
	while (profiles < 5 && seconds() < begin + 20)
		burn(0.01);
	SHOW(profiles >= 5);
	TRY(setitimer(ITIMER_PROF, &off, NULL));
	TRY(setitimer(ITIMER_VIRTUAL, &every, NULL));
	begin = seconds();
	while (virtuals < 5 && seconds() < begin + 20)
		burn(0.01);
	SHOW(virtuals >= 5);
	TRY(setitimer(ITIMER_VIRTUAL, &off, NULL));
	alarms = 0;
	SHOW(alarm(100));
	SHOW(alarm(1) == 100);
	SHOW(sleep(10) >= 8);
	SHOW(alarms);
	SHOW(alarm(0));
}

static volatile int ran;

static void in_thread(union sigval v)
{
	__atomic_add_fetch(&ran, v.sival_int, __ATOMIC_SEQ_CST);
}

static void posix_timers(void)
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
	struct itimerspec every = {{0, 5000000}, {0, 5000000}}, off = {0}, now;
	event.sigev_value.sival_int = 77;
	TRY(timer_create(12345, &event, &timer));
	event.sigev_signo = 1000;
	TRY(timer_create(CLOCK_MONOTONIC, &event, &timer));
	event.sigev_signo = SIGRTMIN + 1;
	TRY(timer_create(CLOCK_MONOTONIC, &event, &timer));
	TRY(timer_gettime(timer, &now));
	SHOW(now.it_value.tv_sec + now.it_value.tv_nsec);
	TRY(timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {0, 1000000000}}, NULL));
	TRY(timer_settime(timer, 0, &every, NULL));
	while (real_time < 5)
		pause_ms(1);
	SHOW(value);
	SHOW(code == SI_TIMER);
	TRY(timer_gettime(timer, &now));
	SHOW(now.it_interval.tv_nsec);
	SHOW(now.it_value.tv_sec == 0 && now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 5000000);
	/* Expirations while the signal is pending are overruns. */
	sigset_t set, pending;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pause_ms(60);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGRTMIN + 1));
	siginfo_t info;
	TRY(sigwaitinfo(&set, &info) - SIGRTMIN);
	SHOW(info.si_overrun >= 5);
	SHOW(timer_getoverrun(timer) >= 5);
	TRY(timer_settime(timer, 0, &off, &now));
	SHOW(now.it_interval.tv_nsec);
	TRY(timer_delete(timer));
	struct timespec none = {0};
	while (sigtimedwait(&set, &info, &none) > 0)
		;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	/* The system call itself: the C library does not check the id. */
	TRY(syscall(SYS_timer_delete, 4711));

	/* Absolute, in the past. */
	real_time = 0;
	MUST(timer_create(CLOCK_REALTIME, &event, &timer) == 0);
	TRY(timer_settime(timer, TIMER_ABSTIME, &(struct itimerspec){{0, 0}, {1, 0}}, NULL));
	while (real_time < 1)
		pause_ms(1);
	SHOW(real_time);
	TRY(timer_gettime(timer, &now));
	SHOW(now.it_value.tv_sec + now.it_value.tv_nsec);
	TRY(timer_delete(timer));

	struct sigevent quiet = {.sigev_notify = SIGEV_NONE};
	MUST(timer_create(CLOCK_MONOTONIC, &quiet, &timer) == 0);
	TRY(timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {100, 0}}, NULL));
	TRY(timer_gettime(timer, &now));
	SHOW(now.it_value.tv_sec == 99 || now.it_value.tv_sec == 100);
	TRY(timer_delete(timer));

	struct sigevent thread = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = in_thread};
	thread.sigev_value.sival_int = 3;
	MUST(timer_create(CLOCK_MONOTONIC, &thread, &timer) == 0);
	TRY(timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {0, 1000000}}, NULL));
	while (__atomic_load_n(&ran, __ATOMIC_SEQ_CST) < 3)
		pause_ms(1);
	SHOW(ran);
	TRY(timer_delete(timer));

	/* On the CPU time of the process. */
	real_time = 0;
	MUST(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) == 0);
	TRY(timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {0, 20000000}}, NULL));
	double begin = seconds();
	while (!real_time && seconds() < begin + 20)
		burn(0.005);
	SHOW(real_time);
	TRY(timer_delete(timer));
}

int main(void)
{
	struct sigaction action = {.sa_handler = count};
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGPROF, &action, NULL);
	sigaction(SIGVTALRM, &action, NULL);
	struct sigaction informed = {.sa_sigaction = with_info, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGRTMIN + 1, &informed, NULL);
	intervals();
	posix_timers();
	return 0;
}
