// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A volume that several threads fill at once: ENOSPC for all, what is there stays
 * and can be written over, and with files gone there is room again. It does not
 * fill the disk of whoever runs it elsewhere. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { THREADS = 4, CHUNK = 1 << 16, CHUNKS = 64, ROUNDS = 3, MOST = 2000 };

static char chunk[THREADS][CHUNK];
static int made[THREADS];

static char *name(char *to, long thread, int number)
{
	snprintf(to, 40, "full/%ld-%d", thread, number);
	return to;
}

static void *fill(void *argument)
{
	long me = (long)argument;
	char path[40];
	memset(chunk[me], 'a' + me, CHUNK);
	for (made[me] = 0; made[me] < MOST;) {
		int fd = open(name(path, me, made[me]), O_CREAT | O_EXCL | O_RDWR, 0644);
		if (fd < 0) {
			MUST(errno == ENOSPC);
			return NULL;
		}
		made[me]++;
		for (int i = 0; i < CHUNKS; i++) {
			ssize_t n = write(fd, chunk[me], CHUNK);
			if (n == CHUNK)
				continue;
			MUST(n >= 0 || errno == ENOSPC);
			/* It stays so until somebody makes room. */
			MUST(fsync(fd) == 0);
			MUST(close(fd) == 0);
			return NULL;
		}
		MUST(close(fd) == 0);
	}
	MUST(!"full");
	return NULL;
}

static void check(long thread, int number)
{
	static char b[CHUNK];
	char path[40];
	int fd = open(name(path, thread, number), O_RDWR);
	MUST(fd >= 0);
	for (ssize_t n; (n = read(fd, b, CHUNK)) != 0;) {
		MUST(n > 0);
		MUST(memcmp(b, chunk[thread], n) == 0);
	}
	/* What has its blocks can be written over. */
	if (number == 0)
		MUST(pwrite(fd, chunk[thread], CHUNK, 0) == CHUNK && fsync(fd) == 0);
	close(fd);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	struct statvfs before, now;
	char path[40];
	MUST(argc > 1 && chdir(argv[1]) == 0);
	MUST(statvfs(".", &before) == 0 && before.f_blocks * before.f_frsize < 300 << 20);
	MUST(mkdir("full", 0755) == 0);
	for (int round = 0; round < ROUNDS; round++) {
		for (long i = 0; i < THREADS; i++)
			MUST(pthread_create(&threads[i], NULL, fill, (void *)i) == 0);
		for (int i = 0; i < THREADS; i++)
			MUST(pthread_join(threads[i], NULL) == 0);
		sync();
		for (long i = 0; i < THREADS; i++)
			for (int number = 0; number < made[i]; number++) {
				check(i, number);
				MUST(unlink(name(path, i, number)) == 0);
			}
		/* Room at once, with no sync in between. */
		int fd = open("full/again", O_CREAT | O_TRUNC | O_RDWR, 0644);
		MUST(fd >= 0);
		for (int i = 0; i < 64; i++)
			MUST(write(fd, chunk[0], CHUNK) == CHUNK);
		MUST(fsync(fd) == 0 && close(fd) == 0 && unlink("full/again") == 0);
	}
	MUST(rmdir("full") == 0);
	sync();
	MUST(statvfs(".", &now) == 0);
	MUST(now.f_bfree >= before.f_bfree && now.f_ffree >= before.f_ffree);
	puts("healed");
	return 0;
}
