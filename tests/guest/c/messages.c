// SPDX-License-Identifier: Apache-2.0 OR MIT
/* UNIX sockets as daemons and agents use them: datagrams, sequenced packets,
 * abstract and automatic names, credentials, descriptors that travel (also in
 * circles), full queues, and epoll, eventfd, timerfd and signalfd in a loop. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

static short ready(int fd, short events, int timeout)
{
	struct pollfd p = {fd, events, 0};
	poll(&p, 1, timeout);
	return p.revents;
}

static socklen_t name(struct sockaddr_un *a, const char *path)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	size_t n = path[0] == '@' ? strlen(path) : strlen(path) + 1;
	memcpy(a->sun_path, path, n);
	if (path[0] == '@')
		a->sun_path[0] = 0;
	return offsetof(struct sockaddr_un, sun_path) + n;
}

static void datagrams(void)
{
	struct sockaddr_un a, b, from;
	socklen_t an = name(&a, "/tmp/one.sock"), bn = name(&b, "@two"), fn = sizeof from;
	unlink("/tmp/one.sock");
	int one = socket(AF_UNIX, SOCK_DGRAM, 0), two = socket(AF_UNIX, SOCK_DGRAM, 0);
	char buffer[64];
	TRY(sendto(one, "x", 1, 0, (struct sockaddr *)&a, an));
	TRY(bind(one, (struct sockaddr *)&a, an));
	TRY(bind(two, (struct sockaddr *)&b, bn));
	TRY(sendto(one, "hello", 5, 0, (struct sockaddr *)&b, bn));
	TRY(sendto(one, "", 0, 0, (struct sockaddr *)&b, bn));
	TRY(recvfrom(two, buffer, 3, MSG_TRUNC, (struct sockaddr *)&from, &fn));
	printf("from %s %d\n", from.sun_path, (int)fn);
	TRY(recvfrom(two, buffer, 3, 0, NULL, NULL));
	TRY(recvfrom(two, buffer, 3, MSG_DONTWAIT, NULL, NULL));
	/* Without a name there is none to answer to. */
	int three = socket(AF_UNIX, SOCK_DGRAM, 0);
	TRY(sendto(three, "anon", 4, 0, (struct sockaddr *)&b, bn));
	fn = sizeof from;
	TRY(recvfrom(two, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &fn));
	SHOW(fn);
	/* A name made by the kernel. */
	sa_family_t family = AF_UNIX;
	TRY(bind(three, (struct sockaddr *)&family, sizeof family));
	fn = sizeof from;
	TRY(getsockname(three, (struct sockaddr *)&from, &fn));
	printf("automatic %d first %d\n", (int)fn, from.sun_path[0]);
	/* A connected one hears from its peer alone. */
	TRY(connect(two, (struct sockaddr *)&a, an));
	TRY(sendto(three, "no", 2, 0, (struct sockaddr *)&b, bn));
	TRY(send(two, "to one", 6, 0));
	TRY(recv(one, buffer, sizeof buffer, 0));
	/* A full queue. */
	int sent = 0;
	while (send(two, buffer, 8, MSG_DONTWAIT) == 8)
		sent++;
	printf("full %d errno %d\n", sent > 0, errno);
	SHOW(ready(two, POLLOUT, 0));
	while (recv(one, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
		;
	SHOW(ready(two, POLLOUT, 0));
	close(one);
	TRY(send(two, "x", 1, 0));
	TRY(connect(two, (struct sockaddr *)&a, an));
	SHOW(unlink("/tmp/one.sock"));
	TRY(connect(two, (struct sockaddr *)&a, an));
	close(two), close(three);
	TRY(socket(AF_UNIX, SOCK_RAW, 0) >= 0);
	TRY(socket(AF_UNIX, SOCK_STREAM, 7));
}

static void packets(void)
{
	struct sockaddr_un a;
	socklen_t n = name(&a, "@packets");
	int l = socket(AF_UNIX, SOCK_SEQPACKET, 0), c = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	char b[16];
	TRY(bind(l, (struct sockaddr *)&a, n));
	TRY(connect(c, (struct sockaddr *)&a, n));
	TRY(listen(l, 1));
	int wrong = socket(AF_UNIX, SOCK_STREAM, 0);
	TRY(connect(wrong, (struct sockaddr *)&a, n));
	TRY(connect(c, (struct sockaddr *)&a, n));
	int s = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	TRY(send(c, "first", 5, 0));
	TRY(send(c, "second", 6, MSG_EOR));
	TRY(send(c, "", 0, 0));
	struct iovec v = {b, 3};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	TRY(recvmsg(s, &m, 0));
	SHOW((m.msg_flags & MSG_TRUNC) != 0);
	TRY(recv(s, b, sizeof b, MSG_PEEK));
	TRY(recv(s, b, sizeof b, 0));
	TRY(recv(s, b, sizeof b, 0));
	TRY(recv(s, b, sizeof b, 0));
	TRY(write(c, "w", 1));
	TRY(read(s, b, sizeof b));
	TRY(shutdown(c, SHUT_WR));
	TRY(recv(s, b, sizeof b, 0));
	SHOW(ready(s, POLLIN | POLLRDHUP | POLLOUT, 0));
	close(c);
	SHOW(ready(s, POLLIN | POLLRDHUP | POLLOUT, 0));
	TRY(send(s, "x", 1, MSG_NOSIGNAL));
	close(s), close(l), close(wrong);
}

static int pass(int to, int *fds, int count, int flags)
{
	char control[CMSG_SPACE(sizeof(int) * 300)] = {0};
	struct iovec v = {"f", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control};
	m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(h), fds, sizeof(int) * count);
	return (int)sendmsg(to, &m, flags);
}

static int take(int from, int *fds, int room, int flags)
{
	char control[CMSG_SPACE(sizeof(int) * 300)] = {0}, b[8];
	struct iovec v = {b, sizeof b};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control};
	m.msg_controllen = CMSG_SPACE(sizeof(int) * room);
	int got = 0;
	ssize_t n = recvmsg(from, &m, flags);
	for (struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_type != SCM_RIGHTS)
			continue;
		got = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(h), sizeof(int) * got);
	}
	printf("took %d of %ld, truncated %d\n", got, (long)n, (m.msg_flags & MSG_CTRUNC) != 0);
	return got;
}

static void rights(void)
{
	int pair[2], fds[300], got[300], p[2];
	char b[8];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(p) == 0);
	for (int i = 0; i < 300; i++)
		fds[i] = p[i % 2];
	TRY(pass(pair[0], fds, 2, 0));
	take(pair[1], got, 2, MSG_CMSG_CLOEXEC);
	SHOW(fcntl(got[0], F_GETFD));
	TRY(write(got[1], "via", 3));
	TRY(read(p[0], b, 8));
	close(got[0]), close(got[1]);
	/* Room for fewer than came. */
	TRY(pass(pair[0], fds, 4, 0));
	int n = take(pair[1], got, 2, 0);
	for (int i = 0; i < n; i++)
		close(got[i]);
	TRY(pass(pair[0], fds, 253, 0));
	n = take(pair[1], got, 253, 0);
	for (int i = 0; i < n; i++)
		close(got[i]);
	TRY(pass(pair[0], fds, 254, 0));
	TRY(pass(pair[0], &(int){-1}, 1, 0));
	/* Descriptors end a read of bytes that came before them. */
	TRY(send(pair[0], "ab", 2, 0));
	TRY(pass(pair[0], fds, 1, 0));
	TRY(send(pair[0], "cd", 2, 0));
	take(pair[1], got, 2, 0);
	n = take(pair[1], got, 2, 0);
	if (n)
		close(got[0]);
	TRY(recv(pair[1], b, 8, MSG_DONTWAIT));
	/* A message nobody takes closes what it carries. */
	TRY(pass(pair[0], &p[1], 1, 0));
	close(p[1]);
	SHOW(ready(p[0], POLLIN, 0));
	close(pair[1]), close(pair[0]);
	SHOW(ready(p[0], POLLIN, 100));
	close(p[0]);
	/* A socket that carries itself. */
	for (int i = 0; i < 50; i++) {
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		MUST(pass(pair[0], &pair[1], 1, 0) == 1);
		MUST(pass(pair[1], &pair[0], 1, 0) == 1);
		close(pair[0]), close(pair[1]);
	}
	/* Credentials. */
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	struct ucred me = {0};
	socklen_t length = sizeof me;
	TRY(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &me, &length));
	printf("peer is this %d user %d group %d\n", me.pid == getpid(), me.uid == getuid(), me.gid == getgid());
	int one = 1;
	TRY(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
	TRY(send(pair[0], "c", 1, 0));
	char control[256];
	struct iovec v = {b, 8};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	TRY(recvmsg(pair[1], &m, 0));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	if (h)
		printf("control %d %d %d pid %d\n", h->cmsg_level, h->cmsg_type, (int)h->cmsg_len, ((struct ucred *)CMSG_DATA(h))->pid == getpid());
	close(pair[0]), close(pair[1]);
	/* A memory file travels, and is the same memory. */
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	int memory = memfd_create("shared", MFD_ALLOW_SEALING);
	MUST(ftruncate(memory, 4096) == 0);
	MUST(pass(pair[0], &memory, 1, 0) == 1 && take(pair[1], got, 1, 0) == 1);
	char *one_side = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	char *other = mmap(NULL, 4096, PROT_READ, MAP_SHARED, got[0], 0);
	strcpy(one_side, "same");
	printf("%s\n", other);
	TRY(fcntl(got[0], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	TRY(ftruncate(memory, 0));
	TRY(fcntl(memory, F_GET_SEALS));
	close(pair[0]), close(pair[1]);
}

static int epoll;

static void add(int fd, unsigned events)
{
	struct epoll_event e = {events, {.fd = fd}};
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void wait_for(const char *what, int timeout)
{
	struct epoll_event e[8];
	int n = epoll_wait(epoll, e, 8, timeout);
	printf("%s:", what);
	for (int i = 0; i < n; i++)
		printf(" %x", e[i].events);
	printf(" (%d)\n", n);
	fflush(stdout);
}

static void *close_soon(void *fd)
{
	pause_ms(50);
	close((int)(long)fd);
	return NULL;
}

static void *nothing(void *unused)
{
	return unused;
}

static void loops(void)
{
	epoll = epoll_create1(EPOLL_CLOEXEC);
	while (seconds() < 1.1)
		pause_ms(100);
	/* eventfd as a semaphore. */
	int semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	add(semaphore, EPOLLIN | EPOLLET);
	unsigned long v;
	wait_for("semaphore", 0);
	wait_for("no new edge", 0);
	for (int i = 0; i < 4; i++)
		TRY(read(semaphore, &v, 8) == 8 ? (long)v : -1);
	v = 2;
	TRY(write(semaphore, &v, 8));
	wait_for("edge", 0);
	v = ~0UL;
	TRY(write(semaphore, &v, 8));
	v = ~0UL - 3;
	TRY(write(semaphore, &v, 8));
	v = 2;
	TRY(write(semaphore, &v, 8));
	TRY(read(semaphore, &v, 4));
	SHOW(ready(semaphore, POLLIN | POLLOUT, 0));
	close(semaphore);
	wait_for("closed", 0);

	/* timerfd at a moment, on both clocks. */
	int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
	for (int i = 0; i < 3; i++) {
		int t = timerfd_create(clocks[i], TFD_NONBLOCK);
		struct itimerspec when = {0}, left;
		clock_gettime(clocks[i], &when.it_value);
		when.it_value.tv_sec -= 1;
		when.it_interval.tv_nsec = 400000000;
		TRY(timerfd_settime(t, TFD_TIMER_ABSTIME, &when, NULL));
		pause_ms(5);
		TRY(read(t, &v, 8) == 8 ? (long)v : -1);
		TRY(timerfd_gettime(t, &left));
		SHOW(left.it_interval.tv_nsec);
		SHOW(left.it_value.tv_nsec <= 200000000);
		close(t);
	}
	int t = timerfd_create(CLOCK_REALTIME, 0);
	struct itimerspec far = {.it_value = {.tv_sec = 1L << 40}};
	TRY(timerfd_settime(t, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL));
	TRY(timerfd_settime(t, TFD_TIMER_CANCEL_ON_SET, &far, NULL));
	TRY(timerfd_settime(t, 8, &far, NULL));
	far.it_value.tv_nsec = 1000000000;
	TRY(timerfd_settime(t, 0, &far, NULL));
	close(t);
	TRY(timerfd_create(CLOCK_THREAD_CPUTIME_ID, 0));
	TRY(timerfd_create(CLOCK_MONOTONIC, 1));

	/* One-shot, and armed again. */
	int p[2];
	MUST(pipe(p) == 0);
	add(p[0], EPOLLIN | EPOLLONESHOT);
	MUST(write(p[1], "x", 1) == 1);
	wait_for("one shot", 0);
	wait_for("spent", 0);
	struct epoll_event e = {EPOLLIN | EPOLLONESHOT, {.fd = p[0]}};
	TRY(epoll_ctl(epoll, EPOLL_CTL_MOD, p[0], &e));
	wait_for("again", 0);
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, p[0], &e));
	TRY(epoll_ctl(epoll, EPOLL_CTL_DEL, p[0], NULL));
	TRY(epoll_ctl(epoll, EPOLL_CTL_DEL, p[0], NULL));
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &e));
	/* A copy of the descriptor keeps the entry alive. */
	int copy = dup(p[0]);
	add(p[0], EPOLLIN);
	close(p[0]);
	wait_for("by its copy", 0);
	close(copy);
	wait_for("all closed", 0);
	close(p[1]);
	/* Closed by another thread while it is waited for. */
	MUST(pipe(p) == 0);
	add(p[0], EPOLLIN);
	pthread_t thread;
	pthread_create(&thread, NULL, close_soon, (void *)(long)p[1]);
	wait_for("writer closed", 2000);
	pthread_join(thread, NULL);
	close(p[0]);
	e.events = EPOLLIN | EPOLLEXCLUSIVE;
	MUST(pipe(p) == 0);
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, p[0], &e));
	TRY(epoll_ctl(epoll, EPOLL_CTL_MOD, p[0], &e));
	e.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, p[1], &e));
	/* Files are always ready for poll, and not for epoll. */
	int file = open("/tmp/file", O_RDWR | O_CREAT, 0600);
	SHOW(ready(file, POLLIN | POLLOUT, 0));
	e.events = EPOLLIN;
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &e));
	close(file);
	unlink("/tmp/file");
	TRY(epoll_wait(epoll, &e, 0, 0));
	TRY(epoll_wait(p[0], &e, 1, 0));
	/* Nested. */
	int outer = epoll_create1(0);
	e.events = EPOLLIN;
	TRY(epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &e));
	MUST(write(p[1], "x", 1) == 1);
	SHOW(epoll_wait(outer, &e, 1, 0));
	SHOW(ready(outer, POLLIN, 0));
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, outer, &e));
	close(outer), close(p[0]), close(p[1]);

	/* signalfd: many kinds at once, what it tells. */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1), sigaddset(&set, SIGUSR2), sigaddset(&set, SIGRTMIN + 2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	int s = signalfd(-1, &set, SFD_NONBLOCK);
	add(s, EPOLLIN);
	union sigval value = {.sival_int = 77};
	kill(getpid(), SIGUSR2), kill(getpid(), SIGUSR1), kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN + 2, value), sigqueue(getpid(), SIGRTMIN + 2, value);
	wait_for("signals", 0);
	struct signalfd_siginfo info[8];
	ssize_t n = read(s, info, sizeof info);
	SHOW(n);
	for (int i = 0; i < n / (int)sizeof info[0]; i++)
		printf("signal %u code %d value %d own %d\n", info[i].ssi_signo, info[i].ssi_code, info[i].ssi_int, (int)info[i].ssi_pid == getpid());
	TRY(read(s, info, sizeof info));
	TRY(read(s, info, 10));
	sigdelset(&set, SIGUSR1);
	TRY(signalfd(s, &set, 0) == s);
	kill(getpid(), SIGUSR1);
	TRY(read(s, info, sizeof info));
	sigemptyset(&set), sigaddset(&set, SIGUSR1);
	int number;
	TRY(sigwait(&set, &number));
	SHOW(number);
	pthread_create(&thread, NULL, nothing, NULL);
	pthread_join(thread, NULL);
	close(s), close(epoll);
}

int main(void)
{
	datagrams();
	packets();
	rights();
	loops();
	return 0;
}
