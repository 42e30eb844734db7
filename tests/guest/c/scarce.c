// SPDX-License-Identifier: Apache-2.0 OR MIT
/* When programs have all memory, whatever makes the kernel need more is refused with the
 * error that the manual names, and works again when some was given back.
 *
 * It takes all memory of its machine, so no run on the host is compared. By hand it says the
 * same there: (ulimit -v 300000; ./scarce unlimited). The argument is for what Linux has no
 * limit for, or a larger one. */
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PIECE ((size_t)64 << 10)
#define MANY 60000
#define TASKS 1000
#define WATCHED 6000
/* More than fs.inotify.max_queued_events. */
#define EVENTS 20000

static int unlimited, failed;
/* All that is written to later, since there are no pages then. */
static union {
	char stacks[TASKS + 1][4096];
	void *areas[MANY];
	timer_t timers[MANY];
	struct inotify_event events[4096];
} room;
/* Where memory that is taken ends. */
static char *taken;

/* Takes what there is, without being killed for it. */
static void take_all(void)
{
	for (size_t step = PIECE; step >= 4096; step /= 2)
		while (madvise(taken, step, MADV_POPULATE_WRITE) == 0)
			taken += step;
}

static void give_back(size_t size)
{
	taken -= size;
	MUST(madvise(taken, size, MADV_DONTNEED) == 0);
}

static void reserve_all(void)
{
	size_t size = (size_t)4 << 30;
	do
		taken = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	while (taken == MAP_FAILED && (size /= 2));
	MUST(taken != MAP_FAILED && madvise(taken, size, MADV_NOHUGEPAGE) == 0);
}

static void say(const char *kind, int fine, const char *what, int made, int error)
{
	if (fine)
		printf("%s: fine\n", kind);
	else
		printf("%s: %s, made %d, errno %d\n", kind, what, made, error);
	fflush(stdout);
	failed |= !fine;
}

/* Some were made, then there was one of two errors, and now it works again. */
static void verdict(const char *kind, int made, int most, int error, int first, int second, int again)
{
	int refused = made < most && (error == first || error == second);
	if (unlimited)
		refused |= made == most || error == EMFILE;
	if (made == 0 || !refused)
		say(kind, 0, "not refused as it should be", made, error);
	else
		say(kind, again, "does not work afterwards", made, errno);
}

static int an_eventfd(int i) { (void)i; return eventfd(0, 0); }
static int a_timerfd(int i) { (void)i; return timerfd_create(CLOCK_MONOTONIC, 0); }
static int an_epoll(int i) { (void)i; return epoll_create1(0); }
static int a_socket(int i) { (void)i; return socket(AF_INET, SOCK_STREAM, 0); }
static int a_datagram_socket(int i) { (void)i; return socket(AF_INET6, SOCK_DGRAM, 0); }
static int a_file(int i) { (void)i; return open("/dev/null", O_RDONLY); }
static int an_inotify(int i) { (void)i; return inotify_init1(0); }

static int a_pipe(int i)
{
	static int other = -1;
	int ends[2];
	if (i == 0)
		other = -1;
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
	int error = errno;
	unlink(name);
	errno = error;
	return fd;
}

static void descriptors(const char *kind, int (*make)(int), int first, int second)
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
	int again = make(0);
	verdict(kind, made, MANY, error, first, second, again >= 0);
	for (int fd = 3; fd <= again; fd++)
		close(fd);
}

/* In turns, so that the kernel cannot join them. */
static void *an_area(int i)
{
	return mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Each is between others, so that it moves when it grows. */
static void *a_grown_area(int i)
{
	void *area = an_area(i);
	if (area == MAP_FAILED)
		return area;
	void *grown = mremap(area, 4096, 8192, MREMAP_MAYMOVE);
	int error = errno;
	if (grown == MAP_FAILED)
		munmap(area, 4096);
	errno = error;
	return grown;
}

static void areas(const char *kind, void *(*make)(int))
{
	void **made = room.areas;
	int count = 0;
	while (count < MANY && (made[count] = make(count)) != MAP_FAILED)
		count++;
	int error = errno;
	for (int i = 0; i < count; i++)
		munmap(made[i], 8192);
	void *again = make(0);
	verdict(kind, count, MANY, error, ENOMEM, ENOMEM, again != MAP_FAILED);
	munmap(again, 8192);
}

/* A page that is there moves to where the kernel needs a table for it. */
static void moved_pages(void)
{
	char *far = mmap(NULL, (size_t)1 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (far == MAP_FAILED && unlimited)
		return say("moved pages", 1, "", 0, 0);
	MUST(far != MAP_FAILED);
	char *to = far + ((size_t)512 << 20), *page = taken - 4096;
	strcpy(page, "contents");
	void *moved = mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	int error = errno;
	if (moved == MAP_FAILED) {
		int whole = error == ENOMEM && strcmp(page, "contents") == 0;
		give_back(PIECE);
		page = taken - 4096;
		strcpy(page, "contents");
		moved = mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		say("moved pages", whole && moved == to && strcmp(to, "contents") == 0, "not as it was", 0, error);
	} else
		say("moved pages", unlimited, "not refused", 1, error);
	taken -= 4096;
	munmap(far, (size_t)1 << 30);
	take_all();
}

static int ended[TASKS], gate[2];

/* Ends with the gate. Threads share errno here, so nothing in it may fail. */
static int waits(void *unused)
{
	(void)unused;
	char byte;
	return read(gate[0], &byte, 1) != 0;
}

static int task(int i, int flags)
{
	ended[i] = 1;
	flags |= CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_CHILD_CLEARTID;
	return clone(waits, room.stacks[i + 1], flags, NULL, NULL, NULL, &ended[i]);
}

static int tasks_end(int count, int flags)
{
	close(gate[1]);
	int whole = 1, status;
	for (int i = 0; i < count; i++) {
		if (flags & CLONE_THREAD)
			while (__atomic_load_n(&ended[i], __ATOMIC_ACQUIRE))
				pause_ms(1);
		else
			whole &= waitpid(-1, &status, __WALL) > 0 && status == 0;
	}
	close(gate[0]);
	return whole;
}

static void tasks(const char *kind, int flags, int first, int second)
{
	int count = 0;
	MUST(pipe(gate) == 0);
	while (count < TASKS && task(count, flags) >= 0)
		count++;
	int error = errno;
	int whole = tasks_end(count, flags);
	MUST(pipe(gate) == 0);
	int again = task(0, flags) >= 0;
	whole &= again && tasks_end(1, flags);
	verdict(kind, count, TASKS, error, first, second, whole);
}

/* A child with an address space of its own. */
static void forks(void)
{
	pid_t pid = fork();
	int error = errno, status = 0;
	if (pid == 0)
		_exit(0);
	int refused = unlimited || (pid < 0 && (error == ENOMEM || error == EAGAIN));
	if (pid > 0)
		waitpid(pid, &status, 0);
	give_back((size_t)1 << 20);
	pid = fork();
	if (pid == 0)
		_exit(7);
	int works = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7;
	say("fork", refused && works, refused ? "does not work afterwards" : "not refused as it should be", 0, error);
	take_all();
}

static void timers(void)
{
	timer_t *made = room.timers;
	struct sigevent event = {.sigev_notify = SIGEV_NONE};
	int count = 0;
	while (count < MANY && timer_create(CLOCK_MONOTONIC, &event, &made[count]) == 0)
		count++;
	int error = errno;
	for (int i = 0; i < count; i++)
		timer_delete(made[i]);
	int again = timer_create(CLOCK_MONOTONIC, &event, &made[0]) == 0;
	verdict("timers", count, MANY, error, EAGAIN, EAGAIN, again);
	timer_delete(made[0]);
}

/* What was queued arrives, and what was refused does not. */
static void signals(void)
{
	int count = 0, arrived = 0;
	sigset_t set, old;
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, &old);
	union sigval value = {.sival_int = 1};
	while (count < MANY && sigqueue(getpid(), SIGRTMIN + count % 8, value) == 0)
		count++;
	int error = errno;
	struct timespec none = {0, 0};
	siginfo_t info;
	while (sigtimedwait(&set, &info, &none) >= SIGRTMIN && info.si_code == SI_QUEUE)
		arrived++;
	int again = arrived == count && sigqueue(getpid(), SIGRTMIN, value) == 0;
	again &= sigtimedwait(&set, &info, &none) == SIGRTMIN && info.si_value.sival_int == 1;
	verdict("signals", count, MANY, error, EAGAIN, EAGAIN, again);
	sigprocmask(SIG_SETMASK, &old, NULL);
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
		MUST(rmdir(name) == 0);
	}
	int again = mkdir("/tmp/directory-0", 0700) == 0;
	verdict("directories", made, MANY, error, ENOMEM, ENOSPC, again);
	rmdir("/tmp/directory-0");
}

static const char *watched(int i)
{
	static char name[64];
	snprintf(name, sizeof name, "/tmp/watched-%d", i);
	return name;
}

static void watches(void)
{
	int made = 0, in = inotify_init1(IN_NONBLOCK);
	while (made < WATCHED && inotify_add_watch(in, watched(made), IN_ATTRIB) > 0)
		made++;
	int error = errno;
	close(in);
	in = inotify_init1(IN_NONBLOCK);
	int again = inotify_add_watch(in, watched(0), IN_ATTRIB) == 1 && inotify_rm_watch(in, 1) == 0;
	verdict("watches", made, WATCHED, error, ENOMEM, ENOSPC, again);
	close(in);
}

static long events_read(int in, long *overflows, unsigned *last)
{
	char *buffer = (char *)room.events;
	long events = 0, n;
	*overflows = 0;
	while ((n = read(in, buffer, sizeof room.events)) > 0)
		for (char *at = buffer; at < buffer + n; events++) {
			struct inotify_event *event = (void *)at;
			*last = event->mask;
			*overflows += event->mask == IN_Q_OVERFLOW;
			at += sizeof *event + event->len;
		}
	return events;
}

/* Events that nobody reads: some are lost, which is told once. */
static void events(void)
{
	int in = inotify_init1(IN_NONBLOCK);
	long overflows;
	unsigned last;
	MUST(inotify_add_watch(in, watched(0), IN_ATTRIB) == 1 && inotify_add_watch(in, watched(1), IN_ATTRIB) == 2);
	for (int i = 0; i < EVENTS; i++)
		MUST(chmod(watched(i % 2), 0700) == 0);
	long made = events_read(in, &overflows, &last);
	int lost = made > 1 && made < EVENTS && overflows == 1;
	MUST(chmod(watched(0), 0700) == 0);
	int again = events_read(in, &overflows, &last) == 1 && last & IN_ATTRIB;
	say("events", lost && again, lost ? "none afterwards" : "not lost as it should be", (int)made, (int)overflows);
	close(in);
}

int main(int argc, char **argv)
{
	(void)argv;
	unlimited = argc > 1;
	setvbuf(stdout, malloc(4096), _IOFBF, 4096);
	memset(&room, 1, sizeof room);
	memset(ended, 1, sizeof ended);
	for (int i = 0; i < WATCHED; i++)
		MUST(mkdir(watched(i), 0700) == 0);
	reserve_all();
	take_all();
	descriptors("eventfd", an_eventfd, ENOMEM, ENFILE);
	descriptors("timerfd", a_timerfd, ENOMEM, ENFILE);
	descriptors("epoll", an_epoll, ENOMEM, ENFILE);
	descriptors("tcp", a_socket, ENOMEM, ENOBUFS);
	descriptors("udp", a_datagram_socket, ENOMEM, ENOBUFS);
	descriptors("device", a_file, ENOMEM, ENFILE);
	descriptors("pipe", a_pipe, ENOMEM, ENFILE);
	descriptors("unix", a_pair, ENOMEM, ENOBUFS);
	descriptors("tmpfs", a_new_file, ENOMEM, ENOSPC);
	descriptors("inotify", an_inotify, ENOMEM, EMFILE);
	watches();
	events();
	names();
	areas("areas", an_area);
	areas("grown areas", a_grown_area);
	moved_pages();
	timers();
	signals();
	forks();
	tasks("children", SIGCHLD, ENOMEM, EAGAIN);
	tasks("threads", CLONE_THREAD | CLONE_SIGHAND, EAGAIN, EAGAIN);
	for (int i = 0; unlimited && i < WATCHED; i++)
		rmdir(watched(i));
	if (!failed)
		printf("there still\n");
	fflush(stdout);
	return failed;
}
