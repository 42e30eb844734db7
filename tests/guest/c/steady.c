// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Whatever is made and given up again hundreds of times leaves no memory behind. It measures the
 * memory of its machine, so it does not run on the host. */
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#define TIMES 400
/* What may be left: a queue or table that has grown, a name that is remembered. */
#define SLACK_KIB 120

extern char **environ;

static long available_kib(void)
{
	long kib = 0;
	char line[200];
	FILE *file = fopen("/proc/meminfo", "r");
	MUST(file);
	while (fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %ld", &kib) != 1)
		;
	fclose(file);
	return kib;
}

static void *nothing(void *argument)
{
	return argument;
}

static void a_thread(int i)
{
	pthread_t thread;
	(void)i;
	MUST(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

static void a_child(int i)
{
	pid_t pid = fork();
	if (pid == 0) {
		if (i % 4 == 0)
			a_thread(i);
		_exit(0);
	}
	MUST(waitpid(pid, NULL, 0) == pid);
}

static void a_killed_child(int i)
{
	pid_t pid = fork();
	(void)i;
	if (pid == 0)
		for (;;)
			pause();
	kill(pid, SIGKILL);
	MUST(waitpid(pid, NULL, 0) == pid);
}

static void an_orphan(int i)
{
	pid_t pid = fork();
	(void)i;
	if (pid == 0) {
		fork();
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
}

static void a_program(int i)
{
	char *args[] = {"steady", "child", NULL};
	pid_t pid;
	(void)i;
	MUST(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ) == 0);
	MUST(waitpid(pid, NULL, 0) == pid);
}

static void a_pidfd(int i)
{
	(void)i;
	int fd = syscall(SYS_pidfd_open, getpid(), 0);
	MUST(fd >= 0);
	close(fd);
}

static void a_file(int i)
{
	char name[64], bytes[5000] = {0};
	snprintf(name, sizeof name, "/tmp/steady-%d", i);
	int fd = open(name, O_CREAT | O_RDWR, 0600);
	MUST(fd >= 0 && write(fd, bytes, sizeof bytes) == sizeof bytes);
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(map != MAP_FAILED);
	*(volatile char *)map = 1;
	munmap(map, 4096);
	MUST(close(fd) == 0 && unlink(name) == 0);
}

static void a_directory(int i)
{
	char name[64], link[80];
	snprintf(name, sizeof name, "/tmp/steady-%d", i);
	snprintf(link, sizeof link, "%s/link", name);
	MUST(mkdir(name, 0700) == 0 && symlink("x", link) == 0);
	MUST(unlink(link) == 0 && rmdir(name) == 0);
	struct stat nobody;
	MUST(stat(link, &nobody) < 0);
}

static void memory(int i)
{
	size_t size = (size_t)4096 << (i % 12);
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(map != MAP_FAILED);
	memset(map, 1, size);
	MUST(mprotect(map, size / 2 + 1, PROT_READ) == 0);
	MUST(munmap(map, size) == 0);
}

static void pipes(int i)
{
	int ends[2];
	char bytes[3000] = {0};
	(void)i;
	MUST(pipe(ends) == 0 && write(ends[1], bytes, sizeof bytes) == sizeof bytes);
	close(ends[0]);
	close(ends[1]);
}

static void unix_pair(int i)
{
	int ends[2];
	MUST(socketpair(AF_UNIX, i % 2 ? SOCK_DGRAM : SOCK_STREAM, 0, ends) == 0);
	MUST(send(ends[0], "hello", 5, 0) == 5);
	/* A descriptor that nobody takes out. */
	char space[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	struct cmsghdr *control = CMSG_FIRSTHDR(&message);
	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(int));
	*(int *)CMSG_DATA(control) = ends[0];
	MUST(sendmsg(ends[0], &message, 0) == 1);
	close(ends[0]);
	close(ends[1]);
}

static int listener = -1;
static struct sockaddr_in place;

static void connection(int i)
{
	char b[8];
	int client = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(client, (void *)&place, sizeof place) == 0);
	int served = accept(listener, NULL, NULL);
	MUST(served >= 0 && write(client, "hello", 5) == 5 && read(served, b, 5) == 5);
	/* A reset leaves no connection that waits for its end. */
	struct linger reset = {1, 0};
	setsockopt(i % 2 ? client : served, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close(i % 2 ? client : served);
	close(i % 2 ? served : client);
}

static void listening(int i)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	int fd = socket(AF_INET, i % 2 ? SOCK_STREAM : SOCK_DGRAM, 0);
	MUST(bind(fd, (void *)&any, sizeof any) == 0);
	if (i % 2)
		MUST(listen(fd, 5) == 0);
	close(fd);
}

static void events(int i)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct itimerspec soon = {.it_value.tv_sec = i % 2, .it_value.tv_nsec = 1};
	int epoll = epoll_create1(0), counter = eventfd(1, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &event) == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) == 0);
	MUST(timerfd_settime(timer, 0, &soon, NULL) == 0);
	MUST(epoll_wait(epoll, &event, 1, 0) == 1);
	close(i % 2 ? epoll : counter);
	close(i % 2 ? counter : epoll);
	close(timer);
}

static void timers(int i)
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_NONE};
	struct itimerspec later = {.it_value.tv_sec = 1000};
	(void)i;
	MUST(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &later, NULL) == 0);
	MUST(timer_delete(timer) == 0);
	alarm(1000);
	alarm(0);
}

static void on_signal(int signal)
{
	(void)signal;
}

static void signals(int i)
{
	union sigval value = {.sival_int = i};
	MUST(sigqueue(getpid(), SIGRTMIN, value) == 0);
	raise(SIGUSR1);
}

static void locks(int i)
{
	static int fd = -1;
	if (fd < 0)
		fd = open("/tmp/steady-lock", O_CREAT | O_RDWR, 0600);
	struct flock lock = {.l_type = F_WRLCK, .l_start = i * 3, .l_len = 1};
	MUST(fcntl(fd, F_SETLK, &lock) == 0);
	lock.l_type = F_UNLCK;
	MUST(fcntl(fd, F_SETLK, &lock) == 0);
}

static const struct kind {
	const char *name;
	void (*once)(int i);
} kinds[] = {
	{"threads", a_thread}, {"children", a_child}, {"killed children", a_killed_child}, {"orphans", an_orphan},
	{"programs", a_program}, {"pidfds", a_pidfd}, {"files", a_file}, {"directories", a_directory},
	{"memory", memory}, {"pipes", pipes}, {"unix sockets", unix_pair}, {"connections", connection},
	{"listening sockets", listening}, {"events", events}, {"timers", timers}, {"signals", signals}, {"locks", locks},
};

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return 0;
	signal(SIGRTMIN, on_signal);
	signal(SIGUSR1, on_signal);
	socklen_t length = sizeof place;
	place.sin_family = AF_INET;
	place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	MUST(bind(listener, (void *)&place, sizeof place) == 0 && listen(listener, 5) == 0);
	MUST(getsockname(listener, (void *)&place, &length) == 0);
	int grown = 0;
	for (const struct kind *kind = kinds; kind < kinds + sizeof kinds / sizeof *kinds; kind++) {
		for (int i = 0; i < TIMES; i++)
			kind->once(i);
		long before = available_kib();
		for (int i = 0; i < TIMES; i++)
			kind->once(i);
		long lost = before - available_kib();
		printf("%s: %ld KiB\n", kind->name, lost);
		fflush(stdout);
		grown |= lost > SLACK_KIB;
	}
	printf(grown ? "memory was lost\n" : "steady\n");
	return grown;
}
