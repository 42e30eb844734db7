// SPDX-License-Identifier: Apache-2.0 OR MIT
/* When programs have all memory, whatever makes the kernel need more fails; nothing breaks.
 * It takes all memory of its machine, so it does not run on the host. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PIECE ((size_t)64 << 10)
#define MANY 60000

/* Takes what there is, without being killed for it. */
static void take_all(void)
{
	size_t size = (size_t)4 << 30;
	char *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	MUST(all != MAP_FAILED);
	MUST(madvise(all, size, MADV_NOHUGEPAGE) == 0);
	for (size_t step = PIECE; step >= 4096; step /= 2)
		while (madvise(all, step, MADV_POPULATE_WRITE) == 0)
			all += step;
}

static int an_eventfd(int i) { (void)i; return eventfd(0, 0); }
static int a_timerfd(int i) { (void)i; return timerfd_create(CLOCK_MONOTONIC, 0); }
static int an_epoll(int i) { (void)i; return epoll_create1(0); }
static int a_socket(int i) { (void)i; return socket(AF_INET, SOCK_STREAM, 0); }
static int a_datagram_socket(int i) { (void)i; return socket(AF_INET6, SOCK_DGRAM, 0); }
static int a_file(int i) { (void)i; return open("/dev/null", O_RDONLY); }

static int a_pipe(int i)
{
	static int other = -1;
	int ends[2];
	(void)i;
	if (pipe(ends) < 0)
		return -1;
	if (other >= 0)
		close(other);
	other = ends[0];
	if (write(ends[1], "x", 1) < 0)
		other = -1;
	return ends[1];
}

static int a_pair(int i)
{
	int ends[2];
	(void)i;
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) < 0)
		return -1;
	if (send(ends[0], "datagram", 8, MSG_DONTWAIT) < 0)
		errno = 0;
	close(ends[0]);
	return ends[1];
}

static int a_new_file(int i)
{
	char name[64];
	snprintf(name, sizeof name, "/tmp/scarce-%d", i);
	int fd = open(name, O_CREAT | O_RDWR, 0600);
	unlink(name);
	return fd;
}

static void descriptors(const char *kind, int (*make)(int))
{
	int last = 2, made = 0, error = 0;
	for (; made < MANY; made++) {
		int fd = make(made);
		if (fd < 0) {
			error = errno;
			break;
		}
		last = fd > last ? fd : last;
	}
	for (int fd = 3; fd <= last; fd++)
		close(fd);
	printf("%s: %s\n", kind, made > 0 && (made == MANY || error == ENOMEM || error == ENFILE || error == ENOSPC || error == ENOBUFS) ? "fine" : strerror(error));
	fflush(stdout);
}

static void areas(void)
{
	int made = 0;
	for (; made < MANY; made++)
		if (mmap(NULL, 4096, made % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			break;
	printf("areas: %s\n", made > 0 && (made == MANY || errno == ENOMEM) ? "fine" : strerror(errno));
	fflush(stdout);
}

static void *nothing(void *argument)
{
	pause();
	return argument;
}

static void threads(void)
{
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	pthread_t thread;
	int made = 0;
	while (made < 2000 && pthread_create(&thread, &attributes, nothing, NULL) == 0)
		made++;
	printf("threads: fine\n");
	fflush(stdout);
}

static void children(void)
{
	int made = 0;
	pid_t pid;
	while (made < 500 && (pid = fork()) > 0)
		made++;
	if (made < 500 && pid == 0) {
		pause();
		_exit(0);
	}
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	printf("children: fine\n");
	fflush(stdout);
}

static void timers(void)
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_NONE};
	int made = 0;
	while (made < MANY && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
		made++;
	printf("timers: fine\n");
	fflush(stdout);
}

static void signals(void)
{
	int made = 0;
	sigset_t set;
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	union sigval value = {.sival_int = 1};
	while (made < MANY && sigqueue(getpid(), SIGRTMIN + made % 8, value) == 0)
		made++;
	printf("signals: fine\n");
	fflush(stdout);
}

static void names(void)
{
	char name[64];
	int made = 0;
	for (; made < MANY; made++) {
		snprintf(name, sizeof name, "/tmp/directory-%d", made);
		if (mkdir(name, 0700) < 0)
			break;
	}
	int error = errno;
	for (int i = 0; i < made; i++) {
		snprintf(name, sizeof name, "/tmp/directory-%d", i);
		rmdir(name);
	}
	errno = error;
	printf("directories: %s\n", made > 0 && (made == MANY || errno == ENOMEM || errno == ENOSPC) ? "fine" : strerror(errno));
	fflush(stdout);
}

int main(void)
{
	setvbuf(stdout, malloc(4096), _IOFBF, 4096);
	take_all();
	descriptors("eventfd", an_eventfd);
	descriptors("timerfd", a_timerfd);
	descriptors("epoll", an_epoll);
	descriptors("tcp", a_socket);
	descriptors("udp", a_datagram_socket);
	descriptors("device", a_file);
	descriptors("pipe", a_pipe);
	descriptors("unix", a_pair);
	descriptors("tmpfs", a_new_file);
	names();
	areas();
	timers();
	signals();
	children();
	threads();
	printf("there still\n");
	fflush(stdout);
	return 0;
}
