// SPDX-License-Identifier: Apache-2.0 OR MIT
/* epoll: level, edge and one-shot, hang-up, nesting, duplicate descriptors,
 * closing what is watched, time-outs, many descriptors, wake-up by a thread. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static int ep;

static int ctl(int op, int fd, unsigned events)
{
	struct epoll_event e = {.events = events, .data.u64 = 0x1234500000000ul + fd};
	return epoll_ctl(ep, op, fd, &e);
}

static void wait_for(const char *what, int timeout)
{
	struct epoll_event e[8];
	int n = epoll_wait(ep, e, 8, timeout);
	printf("%s: %d", what, n);
	for (int i = 0; i < n; i++)
		printf(" [%#x %llx]", e[i].events, (unsigned long long)e[i].data.u64);
	printf("\n");
}

static void *write_later(void *fd)
{
	pause_ms(30);
	MUST(write((int)(long)fd, "x", 1) == 1);
	return NULL;
}

int main(void)
{
	int p[2], s[2];
	char buffer[70000];
	memset(buffer, 'a', sizeof buffer);
	TRY(epoll_create1(0x1));
	TRY(epoll_create(0));
	ep = epoll_create1(EPOLL_CLOEXEC);
	MUST(pipe2(p, O_NONBLOCK) == 0);

	TRY(ctl(EPOLL_CTL_ADD, p[0], EPOLLIN));
	TRY(ctl(EPOLL_CTL_ADD, p[0], EPOLLIN));
	TRY(ctl(EPOLL_CTL_ADD, 999, EPOLLIN));
	TRY(ctl(EPOLL_CTL_ADD, ep, EPOLLIN));
	TRY(ctl(EPOLL_CTL_MOD, p[1], EPOLLOUT));
	TRY(ctl(EPOLL_CTL_DEL, p[1], 0));
	TRY(ctl(77, p[0], EPOLLIN));
	TRY(epoll_ctl(ep, EPOLL_CTL_ADD, p[1], NULL));
	TRY(epoll_wait(ep, NULL, 0, 0));
	TRY(epoll_wait(p[0], (struct epoll_event *)buffer, 1, 0));
	int file = open("/proc/self/exe", O_RDONLY);
	TRY(ctl(EPOLL_CTL_ADD, file, EPOLLIN));
	close(file);

	wait_for("empty", 0);
	wait_for("empty, 20 ms", 20);
	MUST(write(p[1], "abc", 3) == 3);
	wait_for("level", -1);
	wait_for("level again", -1);
	TRY(ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET));
	wait_for("edge after mod", 0);
	wait_for("edge quiet", 0);
	MUST(write(p[1], "d", 1) == 1);
	wait_for("edge after write", 0);
	SHOW(read(p[0], buffer, 1));
	wait_for("edge after partial read", 0);
	TRY(ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT));
	wait_for("one-shot", 0);
	MUST(write(p[1], "e", 1) == 1);
	wait_for("one-shot disarmed", 0);
	TRY(ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT));
	wait_for("one-shot re-armed", 0);
	SHOW(read(p[0], buffer, 100));
	TRY(ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLRDHUP));
	TRY(ctl(EPOLL_CTL_ADD, p[1], EPOLLOUT | EPOLLET));
	wait_for("writable", 0);
	SHOW(write(p[1], buffer, sizeof buffer));
	wait_for("full", 0);
	SHOW(read(p[0], buffer, sizeof buffer));
	wait_for("drained", 0);
	close(p[1]);
	wait_for("writer gone", 0);
	close(p[0]);
	wait_for("closed", 0);

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s) == 0);
	TRY(ctl(EPOLL_CTL_ADD, s[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
	wait_for("socket pair", 0);
	MUST(write(s[1], "hi", 2) == 2);
	wait_for("data", 0);
	shutdown(s[1], SHUT_WR);
	wait_for("peer shut down", 0);
	close(s[1]);
	wait_for("peer closed", 0);
	int copy = dup(s[0]);
	close(s[0]);
	MUST(copy >= 0);
	TRY(ctl(EPOLL_CTL_ADD, copy, EPOLLIN));
	wait_for("duplicate keeps the old entry", 0);
	close(copy);
	wait_for("all closed", 0);

	int inner = epoll_create1(0), event = eventfd(0, EFD_NONBLOCK);
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = 1};
	MUST(epoll_ctl(inner, EPOLL_CTL_ADD, event, &e) == 0);
	TRY(ctl(EPOLL_CTL_ADD, inner, EPOLLIN));
	wait_for("nested idle", 0);
	pthread_t writer;
	int wake[2];
	MUST(pipe(wake) == 0);
	TRY(ctl(EPOLL_CTL_ADD, wake[0], EPOLLIN));
	pthread_create(&writer, NULL, write_later, (void *)(long)wake[1]);
	wait_for("woken by a thread", 5000);
	pthread_join(writer, NULL);
	SHOW(read(wake[0], buffer, 1));
	MUST(eventfd_write(event, 3) == 0);
	wait_for("nested", 5000);
	SHOW(epoll_wait(inner, &e, 1, 0));

	int many[200][2];
	for (int i = 0; i < 200; i++) {
		MUST(pipe(many[i]) == 0);
		MUST(ctl(EPOLL_CTL_ADD, many[i][0], EPOLLIN | EPOLLET) == 0);
	}
	eventfd_read(event, &(eventfd_t){0});
	for (int i = 0; i < 200; i += 3)
		MUST(write(many[i][1], "m", 1) == 1);
	int total = 0, n;
	struct epoll_event some[16];
	while ((n = epoll_wait(ep, some, 16, 0)) > 0)
		total += n;
	SHOW(total);

	struct timespec t = {0, 5000000};
	TRY(epoll_pwait2(ep, some, 16, &t, NULL));
	return 0;
}
