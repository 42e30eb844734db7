// SPDX-License-Identifier: Apache-2.0 OR MIT
/* fork, vfork, execve, wait: needs more than one process. */
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

static int value = 1;

int main(int argc, char **argv)
{
	int status, p[2];
	if (argc > 1) {
		printf("executed with %s, %s\n", argv[1], getenv("WHO") ? getenv("WHO") : "nobody");
		return 9;
	}
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(pipe(p) == 0);
	pid_t child = fork();
	if (child == 0) {
		value = 2;
		*shared = 3;
		MUST(write(p[1], "child", 5) == 5);
		_exit(value + 40);
	}
	char b[16] = {0};
	SHOW(read(p[0], b, sizeof b));
	SHOW(waitpid(child, &status, 0) == child);
	SHOW(WEXITSTATUS(status));
	SHOW(value);
	SHOW(*shared);
	TRY(waitpid(-1, &status, 0));
	child = vfork();
	if (child == 0)
		_exit(5);
	SHOW(waitpid(child, &status, 0) == child);
	SHOW(WEXITSTATUS(status));
	child = fork();
	if (child == 0) {
		char *args[] = {argv[0], "argument", NULL}, *env[] = {"WHO=me", NULL};
		execve("/proc/self/exe", args, env);
		_exit(77);
	}
	SHOW(waitpid(child, &status, 0) == child);
	SHOW(WEXITSTATUS(status));
	child = fork();
	if (child == 0)
		for (;;)
			pause();
	SHOW(waitpid(child, &status, WNOHANG));
	kill(child, SIGTERM);
	SHOW(waitpid(child, &status, 0) == child);
	SHOW(WTERMSIG(status));
	TRY(execve("/nothing", argv, NULL));
	return 0;
}
