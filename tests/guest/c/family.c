// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Parents and children: memory, descriptors and signals across fork, ends and how they are
 * told, groups, programs executed by one of several threads, futexes between processes. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>

#define BIG (12 << 20)

extern char **environ;

static pid_t child_of(void (*body)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		body();
		_exit(0);
	}
	return pid;
}

static void wait_and_show(pid_t pid)
{
	int status = -1;
	SHOW(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status))
		printf("exited %d\n", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		printf("killed by %d\n", WTERMSIG(status));
	else
		printf("status %x\n", status);
	fflush(stdout);
}

static unsigned char *big;

static long sum(void)
{
	long total = 0;
	for (size_t i = 0; i < BIG; i += 4096)
		total += big[i];
	return total;
}

static void scribble(void)
{
	for (size_t i = 0; i < BIG; i += 4096)
		big[i] = 7;
	_exit(sum() == 7L * (BIG / 4096) ? 3 : 4);
}

/* Both sides write to the same pages at the same time. */
static void memory(void)
{
	big = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(big != MAP_FAILED);
	memset(big, 1, BIG);
	pid_t pids[4];
	for (int i = 0; i < 4; i++)
		pids[i] = child_of(scribble);
	for (size_t i = 0; i < BIG; i += 8192)
		big[i] = 2;
	for (int i = 0; i < 4; i++)
		wait_and_show(pids[i]);
	SHOW(sum() == 3L * (BIG / 8192));
	MUST(mprotect(big, 4096, PROT_NONE) == 0);
	pid_t pid = child_of(scribble);
	wait_and_show(pid);
	MUST(mprotect(big, 4096, PROT_READ) == 0);
	SHOW(big[0]);
	munmap(big, BIG);
}

static volatile sig_atomic_t told, told_code, told_status;
static volatile pid_t told_pid;

static void on_child(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	told_pid = info->si_pid;
	told_code = info->si_code;
	told_status = info->si_status;
	told++;
}

static void exit_11(void)
{
	_exit(11);
}

static void pause_for_ever(void)
{
	for (;;)
		pause();
}

static void signals(void)
{
	struct sigaction action = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART};
	MUST(sigaction(SIGCHLD, &action, NULL) == 0);
	pid_t pid = child_of(exit_11);
	wait_and_show(pid);
	while (!told)
		pause_ms(1);
	SHOW(told_pid == pid);
	SHOW(told_code == CLD_EXITED);
	SHOW(told_status);
	told = 0;
	pid = child_of(pause_for_ever);
	MUST(kill(pid, SIGUSR1) == 0);
	wait_and_show(pid);
	while (!told)
		pause_ms(1);
	SHOW(told_code == CLD_KILLED);
	SHOW(told_status);
	/* Waiting for one that can be waited for again. */
	siginfo_t info = {0};
	pid = child_of(exit_11);
	SHOW(waitid(P_PID, pid, &info, WEXITED | WNOWAIT) == 0 && info.si_pid == pid);
	SHOW(info.si_status);
	SHOW(kill(pid, 0));
	SHOW(waitid(P_ALL, 0, &info, WEXITED) == 0 && info.si_pid == pid);
	TRY(waitid(P_ALL, 0, &info, WEXITED));
	TRY(waitid(P_PID, pid, &info, 0));
	TRY(kill(pid, 0));
	/* Who ignores its children has none to wait for. */
	signal(SIGCHLD, SIG_IGN);
	pid = child_of(exit_11);
	TRY(waitpid(pid, NULL, 0));
	signal(SIGCHLD, SIG_DFL);
	TRY(wait4(-1, NULL, 0x40, NULL));
}

static void groups(void)
{
	pid_t first = child_of(pause_for_ever), second = child_of(pause_for_ever);
	MUST(setpgid(first, first) == 0 && setpgid(second, first) == 0);
	SHOW(getpgid(second) == first);
	SHOW(waitpid(-first, NULL, WNOHANG));
	MUST(kill(-first, SIGTERM) == 0);
	int status, ended = 0;
	while (waitpid(-first, &status, 0) > 0)
		ended += WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
	SHOW(ended);
	TRY(waitpid(-first, NULL, 0));
}

static int pair[2];

static void read_on(void)
{
	char b[8] = {0};
	MUST(read(pair[0], b, 3) == 3);
	_exit(b[0]);
}

static void descriptors(void)
{
	char name[] = "/tmp/guest-family-XXXXXX", b[8] = {0};
	pair[0] = mkstemp(name);
	MUST(pair[0] >= 0 && pwrite(pair[0], "abcdefgh", 8, 0) == 8);
	unlink(name);
	/* The position is shared. */
	wait_and_show(child_of(read_on));
	MUST(read(pair[0], b, 2) == 2);
	SHOW(b[0]);
	/* A lock of the process is not inherited, one of the description is. */
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	MUST(fcntl(pair[0], F_SETLK, &lock) == 0);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		struct flock other = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		_exit(fcntl(pair[0], F_SETLK, &other) == -1 ? errno : 0);
	}
	wait_and_show(pid);
	close(pair[0]);
	/* An end that the child holds keeps the pipe open. */
	MUST(pipe(pair) == 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		pause_ms(50);
		MUST(write(pair[1], "late", 4) == 4);
		_exit(0);
	}
	close(pair[1]);
	SHOW(read(pair[0], b, 8));
	SHOW(read(pair[0], b, 8));
	close(pair[0]);
	wait_and_show(pid);
}

struct common {
	pthread_mutex_t mutex;
	long count;
};

static struct common *common;

static void count(void)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&common->mutex);
		long seen = common->count;
		if (i % 100 == 0)
			sched_yield();
		common->count = seen + 1;
		pthread_mutex_unlock(&common->mutex);
	}
}

static void futexes(void)
{
	common = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(common != MAP_FAILED);
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&common->mutex, &attributes);
	pid_t pids[4];
	for (int i = 0; i < 4; i++)
		pids[i] = child_of(count);
	count();
	for (int i = 0; i < 4; i++)
		wait_and_show(pids[i]);
	SHOW(common->count);
}

static void many(void)
{
	fflush(stdout);
	long total = 0;
	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();
		MUST(pid >= 0);
		if (pid == 0)
			_exit(i % 100);
	}
	int status;
	while (wait(&status) > 0)
		total += WEXITSTATUS(status);
	SHOW(total);
}

static void times_of_children(void)
{
	struct rusage usage;
	pid_t pid = fork();
	if (pid == 0) {
		double end = seconds() + 0.1;
		while (seconds() < end)
			;
		_exit(0);
	}
	wait_and_show(pid);
	MUST(getrusage(RUSAGE_CHILDREN, &usage) == 0);
	SHOW(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 10000);
}

static void spawned(void)
{
	pid_t pid;
	char *args[] = {"spawned", "first", NULL}, *nothing[] = {"nothing", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, 1, 9);
	fflush(stdout);
	MUST(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, args, environ) == 0);
	wait_and_show(pid);
	SHOW(posix_spawn(&pid, "/nowhere", NULL, NULL, nothing, environ) == ENOENT);
}

#define P_OF_PIDFD ((idtype_t)3)

static void pidfds(void)
{
	siginfo_t info = {0};
	pid_t pid = child_of(pause_for_ever);
	int fd = syscall(SYS_pidfd_open, pid, 0);
	MUST(fd >= 0);
	struct pollfd watched = {.fd = fd, .events = POLLIN};
	SHOW(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	SHOW(poll(&watched, 1, 0));
	TRY(waitid(P_OF_PIDFD, fd, &info, WEXITED | WNOHANG));
	TRY(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	TRY(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	SHOW(poll(&watched, 1, 5000));
	SHOW(watched.revents);
	SHOW(waitid(P_OF_PIDFD, fd, &info, WEXITED) == 0 && info.si_pid == pid);
	SHOW(info.si_status);
	TRY(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	TRY(waitid(P_OF_PIDFD, fd, &info, WEXITED));
	TRY(waitid(P_OF_PIDFD, 1, &info, WEXITED));
	TRY(syscall(SYS_pidfd_open, 0, 0));
	TRY(syscall(SYS_pidfd_open, 4000000, 0));
	TRY(syscall(SYS_pidfd_send_signal, 1, 0, NULL, 0));
	close(fd);
	/* Made together with the process. */
	fflush(stdout);
	uint64_t arguments[8] = {0x1000, (uintptr_t)&fd, 0, 0, SIGCHLD};
	fd = -1;
	pid = syscall(SYS_clone3, arguments, sizeof arguments);
	MUST(pid >= 0);
	if (pid == 0)
		_exit(5);
	SHOW(fd > 2 && waitid(P_OF_PIDFD, fd, &info, WEXITED) == 0 && info.si_pid == pid);
	SHOW(info.si_status);
	close(fd);
}

static void outlive(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		MUST(write(pair[1], "r", 1) == 1);
		pause_for_ever();
	}
	/* Its child is ready. */
	struct pollfd ready = {.fd = pair[0], .events = POLLIN};
	poll(&ready, 1, 5000);
	_exit(0);
}

/* The grandchild holds an end of the pipe until the signal of its parent's end. */
static void death_signal(void)
{
	char b[4];
	int signal = -1;
	MUST(pipe(pair) == 0);
	pid_t pid = child_of(outlive);
	close(pair[1]);
	wait_and_show(pid);
	SHOW(read(pair[0], b, 4));
	SHOW(read(pair[0], b, 4));
	close(pair[0]);
	TRY(prctl(PR_SET_PDEATHSIG, 65));
	TRY(prctl(PR_SET_PDEATHSIG, SIGHUP));
	TRY(prctl(PR_GET_PDEATHSIG, &signal));
	SHOW(signal);
	TRY(prctl(PR_SET_PDEATHSIG, 0));
}

static void *execute(void *argument)
{
	(void)argument;
	char *args[] = {"executed", "thread", NULL};
	execve("/proc/self/exe", args, environ);
	_exit(99);
}

static void *sleep_long(void *argument)
{
	for (;;)
		pause();
	return argument;
}

/* One of several threads executes a program: it is alone then, and the first. */
static void from_thread(void)
{
	pthread_t thread;
	for (int i = 0; i < 3; i++)
		MUST(pthread_create(&thread, NULL, sleep_long, NULL) == 0);
	MUST(pthread_create(&thread, NULL, execute, NULL) == 0);
	pause_for_ever();
}

static void set_up_for_exec(void)
{
	char fd[16], *args[] = {"executed", "signals", fd, NULL};
	signal(SIGUSR1, SIG_IGN);
	struct sigaction action = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR2, &action, NULL);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGHUP);
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigaltstack(&stack, NULL);
	int open_one = dup(1);
	fcntl(open_one, F_SETFD, FD_CLOEXEC);
	snprintf(fd, sizeof fd, "%d", open_one);
	alarm(1000);
	execve("/proc/self/exe", args, environ);
	_exit(99);
}

static int executed(int argc, char **argv)
{
	printf("executed as %s %s\n", argv[0], argv[1]);
	if (argc > 2 && strcmp(argv[1], "signals") == 0) {
		struct sigaction action;
		sigset_t set;
		stack_t stack;
		sigaction(SIGUSR1, NULL, &action);
		SHOW(action.sa_handler == SIG_IGN);
		sigaction(SIGUSR2, NULL, &action);
		SHOW(action.sa_handler == SIG_DFL);
		sigprocmask(SIG_BLOCK, NULL, &set);
		SHOW(sigismember(&set, SIGHUP));
		sigpending(&set);
		SHOW(sigismember(&set, SIGHUP));
		sigaltstack(NULL, &stack);
		SHOW(stack.ss_flags == SS_DISABLE);
		SHOW(alarm(0) > 0);
		TRY(fcntl(atoi(argv[2]), F_GETFD));
	}
	SHOW(syscall(SYS_gettid) == getpid());
	SHOW(fcntl(9, F_GETFD));
	fflush(stdout);
	return 21;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return executed(argc, argv);
	memory();
	signals();
	groups();
	descriptors();
	futexes();
	many();
	times_of_children();
	spawned();
	pidfds();
	death_signal();
	wait_and_show(child_of(from_thread));
	wait_and_show(child_of(set_up_for_exec));
	wait_and_show(child_of(abort));
	return 0;
}
