// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Processes that have descriptors, places and the file mode mask in common (CLONE_FILES,
 * CLONE_FS), and what one that has ended keeps until it is waited for: nothing. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static char **own;

static pid_t clone_with(long flags)
{
	fflush(stdout);
	return syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

static void reap(pid_t pid)
{
	int status = -1;
	MUST(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status))
		printf("exited %d\n", WEXITSTATUS(status));
	else
		printf("killed by %d\n", WTERMSIG(status));
}

/* Runs `body` in a child that has `flags` in common with this process. */
#define CHILD(flags, body)                        \
	do {                                      \
		pid_t child_ = clone_with(flags); \
		MUST(child_ >= 0);                \
		if (child_ == 0) {                \
			body;                     \
			fflush(stdout);           \
			_exit(0);                 \
		}                                 \
		reap(child_);                     \
	} while (0)

static int is_open(int fd)
{
	return fcntl(fd, F_GETFD) != -1;
}

static void hung_up(const char *what, int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	int n = poll(&p, 1, 2000);
	printf("%s: poll %d, hang-up %d\n", what, n, !!(p.revents & POLLHUP));
}

static void wait_for_end(pid_t pid)
{
	siginfo_t info;
	MUST(waitid(P_PID, pid, &info, WEXITED | WNOWAIT) == 0);
}

static void descriptors(void)
{
	int p[2];
	MUST(pipe(p) == 0);
	CHILD(CLONE_FILES, MUST(dup2(p[0], 100) == 100); close(p[0]));
	SHOW(is_open(100)), SHOW(is_open(p[0]));
	CHILD(0, close(100));
	SHOW(is_open(100));
	close(100), close(p[1]);

	/* Executing a program ends it: the others keep what is marked. */
	MUST(pipe2(p, O_CLOEXEC) == 0);
	char number[16];
	snprintf(number, sizeof number, "%d", p[1]);
	CHILD(CLONE_FILES, execl(own[0], own[0], "is-open", number, NULL));
	SHOW(is_open(p[1]));
	SHOW(write(p[1], "x", 1));
	/* What the new program closes is closed for itself. */
	MUST(fcntl(p[1], F_SETFD, 0) == 0);
	CHILD(CLONE_FILES, execl(own[0], own[0], "close", number, NULL));
	SHOW(is_open(p[1]));
	close(p[0]), close(p[1]);

	/* The last user closes, though one before is not waited for yet. */
	MUST(pipe(p) == 0);
	CHILD(0, {
		close(p[0]);
		pid_t sharer = clone_with(CLONE_FILES);
		if (sharer == 0)
			_exit(0);
		wait_for_end(sharer);
	});
	close(p[1]);
	hung_up("a sharer that is not waited for", p[0]);
	close(p[0]);

	/* One with the table in common goes, the other stays. */
	MUST(pipe(p) == 0);
	int gate[2];
	MUST(pipe(gate) == 0);
	pid_t first = clone_with(0);
	if (first == 0) {
		close(p[0]), close(gate[1]);
		pid_t sharer = clone_with(CLONE_FILES);
		if (sharer == 0) {
			char c;
			MUST(read(gate[0], &c, 1) == 0);
			MUST(write(p[1], "late", 4) == 4);
			_exit(0);
		}
		_exit(0);
	}
	close(p[1]), close(gate[0]);
	reap(first);
	close(gate[1]);
	char b[8];
	SHOW(read(p[0], b, sizeof b));
	hung_up("the last one", p[0]);
	close(p[0]);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void places(void)
{
	char at[64], dir[] = "/tmp/sharesXXXXXX";
	MUST(mkdtemp(dir) && chdir("/") == 0);
	umask(022);
	CHILD(CLONE_FS, MUST(chdir(dir) == 0); umask(0137));
	MUST(getcwd(at, sizeof at));
	SHOW(strcmp(at, dir));
	printf("mask %o\n", umask(022));
	CHILD(0, MUST(chdir("/") == 0); umask(0));
	MUST(getcwd(at, sizeof at));
	SHOW(strcmp(at, dir));
	printf("mask %o\n", umask(022));
	CHILD(CLONE_FS, execl(own[0], own[0], "chdir-root", NULL));
	MUST(getcwd(at, sizeof at));
	SHOW(strcmp(at, "/"));
	MUST(chdir("/") == 0 && rmdir(dir) == 0);
}

static void copy_self(const char *to)
{
	char b[65536];
	int in = open("/proc/self/exe", O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	ssize_t n;
	MUST(in >= 0 && out >= 0);
	while ((n = read(in, b, sizeof b)) > 0)
		MUST(write(out, b, n) == n);
	close(in), close(out);
}

/* What has ended, and is not waited for, holds neither its program nor its places. */
static void ended(void)
{
	char program[] = "/tmp/shares-program", path[64], b[256];
	copy_self(program);
	pid_t pid = clone_with(0);
	if (pid == 0) {
		execl(program, program, "exit", NULL);
		_exit(99);
	}
	wait_for_end(pid);
	int fd = open(program, O_WRONLY);
	SHOW(fd >= 0);
	close(fd), unlink(program);
	const char *links[] = {"exe", "cwd", "root"};
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, links[i]);
		errno = 0;
		ssize_t n = readlink(path, b, sizeof b);
		printf("%s: %zd errno %d\n", links[i], n, errno);
	}
	const char *files[] = {"cmdline", "maps"};
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
		fd = open(path, O_RDONLY);
		printf("%s: %zd\n", files[i], read(fd, b, sizeof b));
		close(fd);
	}
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	MUST(read(fd, b, sizeof b) > 0);
	close(fd);
	printf("stat:%.18s\n", strchr(b, ' '));
	reap(pid);
}

static void waiting(void)
{
	siginfo_t info;
	pid_t pid = clone_with(0);
	if (pid == 0)
		_exit(5);
	wait_for_end(pid);
	memset(&info, 1, sizeof info);
	TRY(waitid(P_PID, pid, &info, WCONTINUED | WNOHANG));
	SHOW(info.si_pid);
	memset(&info, 1, sizeof info);
	TRY(waitid(P_PID, pid, &info, WSTOPPED | WNOHANG));
	SHOW(info.si_pid);
	TRY(waitid(P_PID, pid, &info, WNOHANG));
	reap(pid);

	pid = clone_with(0);
	if (pid == 0)
		pause();
	int fd = syscall(SYS_pidfd_open, pid, O_NONBLOCK);
	MUST(fd >= 0);
	TRY(waitid(P_PIDFD, fd, &info, WEXITED));
	TRY(waitid(P_PIDFD, fd, &info, WEXITED | WNOHANG));
	kill(pid, SIGKILL);
	wait_for_end(pid);
	TRY(waitid(P_PIDFD, fd, &info, WEXITED));
	SHOW(info.si_status);
	close(fd);
}

static void groups(void)
{
	pid_t leader = clone_with(0), other;
	if (leader == 0) {
		setpgid(0, 0);
		pause();
	}
	MUST(setpgid(leader, leader) == 0 || errno == EACCES);
	TRY(setpgid(1 << 21, 0));
	TRY(setpgid(leader, 1 << 21));
	int ready[2];
	char c;
	MUST(pipe(ready) == 0);
	other = clone_with(0);
	if (other == 0) {
		MUST(setpgid(0, leader) == 0);
		SHOW(getpgid(0) == leader);
		pid_t grandchild = clone_with(0);
		if (grandchild == 0) {
			SHOW(getpgrp() == leader);
			fflush(stdout);
			MUST(write(ready[1], "r", 1) == 1);
			pause();
		}
		waitpid(grandchild, NULL, 0);
		_exit(0);
	}
	MUST(read(ready[0], &c, 1) == 1);
	TRY(kill(-leader, 0));
	TRY(kill(-leader, SIGKILL));
	reap(leader), reap(other);
	close(ready[1]);
	hung_up("the whole group", ready[0]);
	close(ready[0]);

	other = clone_with(0);
	if (other == 0) {
		setsid();
		TRY(setpgid(0, 0));
		TRY(setpgid(0, getppid()));
		fflush(stdout);
		pause();
	}
	pause_ms(100);
	TRY(setpgid(other, 0));
	kill(other, SIGKILL);
	reap(other);
	int p[2];
	MUST(pipe(p) == 0);
	other = clone_with(0);
	if (other == 0) {
		dup2(p[1], 1);
		execl(own[0], own[0], "wait", NULL);
	}
	MUST(read(p[0], &c, 1) == 1);
	TRY(setpgid(other, 0));
	kill(other, SIGKILL);
	reap(other);
}

/* A group that makes processes as fast as it can does not survive one signal. */
static void breeding(void)
{
	int p[2];
	for (int round = 0; round < 20; round++) {
		MUST(pipe(p) == 0);
		pid_t leader = clone_with(0);
		if (leader == 0) {
			setpgid(0, 0);
			close(p[0]);
			/* Each makes another and goes: never more than a few at a time. */
			for (;;) {
				pid_t next = fork();
				if (next > 0)
					_exit(0);
				if (next < 0)
					pause_ms(1);
			}
		}
		close(p[1]);
		setpgid(leader, leader);
		pause_ms(1 + round % 5);
		MUST(kill(-leader, SIGKILL) == 0);
		struct pollfd gone = {p[0], POLLIN, 0};
		MUST(poll(&gone, 1, 5000) == 1);
		close(p[0]);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	printf("bred and gone\n");
}

static void reaper(void)
{
	int is = -1, p[2];
	/* The first process has the orphans of others, too. */
	while (waitpid(-1, NULL, 0) > 0)
		;
	TRY(prctl(PR_GET_CHILD_SUBREAPER, &is));
	SHOW(is);
	TRY(prctl(PR_SET_CHILD_SUBREAPER, 1));
	TRY(prctl(PR_GET_CHILD_SUBREAPER, &is));
	SHOW(is);
	MUST(pipe(p) == 0);
	pid_t self = getpid(), middle = clone_with(0);
	if (middle == 0) {
		TRY(prctl(PR_GET_CHILD_SUBREAPER, &is));
		SHOW(is);
		fflush(stdout);
		pid_t parent = getpid();
		if (clone_with(0) == 0) {
			while (getppid() == parent)
				pause_ms(1);
			_exit(getppid() == self ? 7 : 8);
		}
		_exit(0);
	}
	reap(middle);
	int status;
	SHOW(waitpid(-1, &status, 0) > 0 && WEXITSTATUS(status) == 7);
	TRY(waitpid(-1, &status, 0));
}

static int executed(char **argv)
{
	if (!strcmp(argv[1], "is-open"))
		SHOW(is_open(atoi(argv[2])));
	else if (!strcmp(argv[1], "close"))
		SHOW(close(atoi(argv[2])));
	else if (!strcmp(argv[1], "chdir-root"))
		SHOW(chdir("/"));
	else if (!strcmp(argv[1], "wait")) {
		MUST(write(1, "w", 1) == 1);
		pause();
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return executed(argv);
	char path[256];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	MUST(n > 0);
	path[n] = 0;
	argv[0] = path;
	own = argv;
	descriptors();
	places();
	ended();
	waiting();
	groups();
	reaper();
	breeding();
	return 0;
}
