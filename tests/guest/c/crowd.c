// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Several threads on one volume: each makes, renames, syncs and unlinks files,
 * in directories of its own and in one of all. What is left is always the same. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

enum { THREADS = 6, FILES = 60 };

static void *one(void *argument)
{
	long me = (long)argument;
	char own[32], a[64], b[64];
	snprintf(own, sizeof own, "own-%ld", me);
	MUST(mkdir(own, 0755) == 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(a, sizeof a, "%s/file-%d", own, i);
		snprintf(b, sizeof b, "shared/%ld-%d", me, i);
		int fd = open(a, O_CREAT | O_EXCL | O_RDWR, 0644);
		MUST(fd >= 0);
		for (int part = 0; part <= i % 5; part++)
			MUST(write(fd, a, strlen(a)) == (ssize_t)strlen(a));
		if (i % 7 == 0)
			MUST(fsync(fd) == 0);
		MUST(rename(a, b) == 0);
		if (i % 3 == 0)
			MUST(link(b, a) == 0);
		if (i % 4 == 0) {
			/* Its last user is the one that closes it. */
			MUST(unlink(b) == 0);
			MUST(pwrite(fd, "unlinked", 8, 100000) == 8);
		} else if (i % 11 == 5) {
			snprintf(a, sizeof a, "kept/%ld-%d", me, i);
			MUST(rename(b, a) == 0);
			MUST(fdatasync(fd) == 0);
		}
		/* All replace the same name. */
		snprintf(a, sizeof a, "%s/new", own);
		int other = open(a, O_CREAT | O_TRUNC | O_WRONLY, 0644);
		MUST(other >= 0 && write(other, "same", 4) == 4 && close(other) == 0);
		MUST(rename(a, "kept/replaced") == 0);
		close(fd);
	}
	for (int i = 0; i < FILES; i++) {
		snprintf(a, sizeof a, "%s/file-%d", own, i);
		snprintf(b, sizeof b, "shared/%ld-%d", me, i);
		MUST((unlink(a) == 0) == (i % 3 == 0));
		MUST((unlink(b) == 0) == (i % 4 != 0 && i % 11 != 5));
	}
	MUST(rmdir(own) == 0);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	MUST(argc > 1 && chdir(argv[1]) == 0);
	umask(022);
	MUST(mkdir("kept", 0755) == 0 && mkdir("shared", 0755) == 0);
	for (long i = 0; i < THREADS; i++)
		MUST(pthread_create(&threads[i], NULL, one, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		MUST(pthread_join(threads[i], NULL) == 0);
	TRY(rmdir("shared"));
	return 0;
}
