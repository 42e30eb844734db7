// SPDX-License-Identifier: Apache-2.0 OR MIT
/* User and group ids, each thread's own, as daemons change them that start as
 * root and go on as somebody else. */
#include "check.h"
#include <grp.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void show_ids(const char *when)
{
	uid_t r, e, s;
	gid_t gr, ge, gs;
	MUST(getresuid(&r, &e, &s) == 0 && getresgid(&gr, &ge, &gs) == 0);
	printf("%s: user %u %u %u group %u %u %u euid %u egid %u\n", when, r, e, s, gr, ge, gs,
	       geteuid(), getegid());
	fflush(stdout);
}

static void show_status(void)
{
	char line[256];
	FILE *f = fopen("/proc/thread-self/status", "r");
	MUST(f != NULL);
	while (fgets(line, sizeof line, f))
		if (!strncmp(line, "Uid:", 4) || !strncmp(line, "Gid:", 4) ||
		    !strncmp(line, "Groups:", 7))
			fputs(line, stdout);
	fclose(f);
	fflush(stdout);
}

/* The system calls themselves change one thread alone. */
static void *alone(void *unused)
{
	TRY(prctl(PR_GET_KEEPCAPS));
	TRY(prctl(PR_SET_KEEPCAPS, 2));
	TRY(prctl(PR_SET_KEEPCAPS, 0));
	TRY(prctl(PR_GET_KEEPCAPS));
	TRY(syscall(SYS_setresuid, 5, 6, 7));
	TRY(syscall(SYS_setresgid, 5, 6, 7));
	show_ids("alone");
	return unused;
}

int main(void)
{
	gid_t groups[] = {9, 3, 7}, back[8];
	pthread_t thread;
	TRY(setgroups(3, groups));
	TRY(getgroups(0, NULL));
	TRY(getgroups(2, back));
	TRY(getgroups(8, back));
	printf("%u %u %u\n", back[0], back[1], back[2]);
	TRY(syscall(SYS_setgroups, 65537, groups));
	TRY(syscall(SYS_setgroups, 2, NULL));
	show_status();

	TRY(prctl(PR_SET_KEEPCAPS, 1));
	MUST(pthread_create(&thread, NULL, alone, NULL) == 0);
	pthread_join(thread, NULL);
	show_ids("others are as before");
	TRY(prctl(PR_GET_KEEPCAPS));
	TRY(prctl(PR_SET_KEEPCAPS, 0));

	TRY(setegid(20));
	TRY(seteuid(10));
	show_ids("effective");
	show_status();
	TRY(setgroups(1, groups));
	TRY(setgid(30));
	TRY(setuid(11));
	TRY(setuid(0));
	show_ids("root again");
	TRY(setreuid(-1, 12));
	show_ids("saved stays");
	TRY(seteuid(0));
	TRY(setreuid(3, 4));
	show_ids("saved follows");
	TRY(setreuid(5, -1));
	TRY(setreuid(4, 3));
	show_ids("exchanged");
	TRY(setuid(0));
	TRY(setresuid(-1, -1, 4));
	TRY(setresuid(-1, -1, 9));
	TRY(setfsuid(9));
	TRY(setfsuid(4));
	TRY(setfsuid(-1));
	TRY(setgid(0));
	TRY(setgid(77));
	show_ids("end");

	TRY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	TRY(prctl(PR_SET_KEEPCAPS, 1));
	return 0;
}
