// SPDX-License-Identifier: Apache-2.0 OR MIT
/* eventfd(2), timerfd_create(2) and signalfd(2). */
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static short ready(int fd)
{
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	poll(&p, 1, 0);
	return p.revents;
}

static void events(void)
{
	uint64_t v;
	int e = eventfd(5, EFD_NONBLOCK);
	SHOW(ready(e));
	TRY(read(e, &v, 8));
	SHOW(v);
	TRY(read(e, &v, 8));
	TRY(read(e, &v, 4));
	v = UINT64_MAX;
	TRY(write(e, &v, 8));
	v = UINT64_MAX - 1;
	TRY(write(e, &v, 8));
	SHOW(ready(e));
	v = 1;
	TRY(write(e, &v, 8));
	TRY(write(e, &v, 7));
	TRY(read(e, &v, 8));
	SHOW(v == UINT64_MAX - 1);
	SHOW(ready(e));
	TRY(eventfd(0, 0x40000000));
	int s = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	for (int i = 0; i < 4; i++) {
		v = 0;
		TRY(read(s, &v, 8));
		SHOW(v);
	}
	close(e);
	close(s);
}

static void timers(void)
{
	uint64_t v;
	struct itimerspec t = {{0, 10000000}, {0, 20000000}}, left;
	int f = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	TRY(timerfd_create(12345, 0));
	TRY(read(f, &v, 8));
	TRY(timerfd_settime(f, 0, &t, NULL));
	SHOW(timerfd_gettime(f, &left));
	SHOW(left.it_value.tv_sec == 0 && left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 20000000);
	SHOW(left.it_interval.tv_nsec);
	SHOW(ready(f));
	struct pollfd p = {f, POLLIN, 0};
	SHOW(poll(&p, 1, 2000));
	TRY(read(f, &v, 8));
	pause_ms(60);
	TRY(read(f, &v, 8));
	SHOW(v >= 4);
	struct itimerspec off = {0}, bad = {{0, 0}, {0, 1000000000}};
	TRY(timerfd_settime(f, 0, &bad, NULL));
	TRY(timerfd_settime(f, 0, &off, &left));
	SHOW(left.it_interval.tv_nsec);
	TRY(read(f, &v, 8));
	clock_gettime(CLOCK_MONOTONIC, &t.it_value);
	t.it_interval = (struct timespec){0, 0};
	TRY(timerfd_settime(f, TFD_TIMER_ABSTIME, &t, NULL));
	SHOW(poll(&p, 1, 2000));
	TRY(read(f, &v, 8));
	SHOW(v);
	TRY(timerfd_settime(0, 0, &t, NULL));
	close(f);
	f = timerfd_create(CLOCK_REALTIME, 0);
	t = (struct itimerspec){{0, 0}, {0, 30000000}};
	double begin = seconds();
	timerfd_settime(f, 0, &t, NULL);
	TRY(read(f, &v, 8));
	SHOW(seconds() - begin >= 0.03);
	close(f);
}

static void *kill_process(void *unused)
{
	pause_ms(30);
	kill(getpid(), SIGUSR2);
	return unused;
}

static void signals(void)
{
	sigset_t set;
	struct signalfd_siginfo info[4];
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int f = signalfd(-1, &set, SFD_NONBLOCK);
	TRY(read(f, info, sizeof info));
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 77});
	sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 78});
	SHOW(ready(f));
	SHOW(read(f, info, sizeof info) / sizeof info[0]);
	for (int i = 0; i < 3; i++)
		printf("signal %u code %d int %d\n", info[i].ssi_signo, info[i].ssi_code, info[i].ssi_int);
	TRY(read(f, info, 10));
	SHOW(ready(f));
	close(f);
	f = signalfd(-1, &set, 0);
	pthread_t t;
	pthread_create(&t, NULL, kill_process, NULL);
	SHOW(read(f, info, sizeof info[0]) == sizeof info[0]);
	SHOW(info[0].ssi_signo);
	pthread_join(t, NULL);
	sigdelset(&set, SIGUSR2);
	SHOW(signalfd(f, &set, 0) == f);
	TRY(signalfd(0, &set, 0));
}

int main(void)
{
	events();
	timers();
	signals();
	return 0;
}
