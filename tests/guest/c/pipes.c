// SPDX-License-Identifier: Apache-2.0 OR MIT
/* pipe(2), poll(2), select(2), splice(2), vectored reads and writes. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static char block[200000];
static volatile long fault = 8;

static short ready(int fd)
{
	struct pollfd p = {fd, POLLIN | POLLOUT | POLLPRI, 0};
	poll(&p, 1, 0);
	return p.revents;
}

static void *drain(void *fd)
{
	long total = 0, n;
	char b[777];
	while ((n = read((int)(long)fd, b, sizeof b)) > 0)
		total += n;
	return (void *)total;
}

static void *close_later(void *fd)
{
	pause_ms(30);
	close((int)(long)fd);
	return NULL;
}

int main(void)
{
	int p[2], n;
	pthread_t t;
	void *total;
	char b[64];
	signal(SIGPIPE, SIG_IGN);
	TRY(pipe2(p, 0x1));
	TRY(pipe2((int *)(long)fault, 0));
	MUST(pipe2(p, O_NONBLOCK) == 0);
	SHOW(ready(p[0]));
	SHOW(ready(p[1]));
	TRY(read(p[0], b, 1));
	TRY(write(p[0], b, 1));
	TRY(read(p[1], b, 1));
	SHOW(write(p[1], block, sizeof block));
	TRY(write(p[1], block, 1));
	SHOW(ready(p[1]));
	TRY(ioctl(p[0], FIONREAD, &n));
	SHOW(n);
	TRY(fcntl(p[1], F_GETPIPE_SZ));
	SHOW(read(p[0], block, 4095));
	SHOW(ready(p[1]));
	TRY(write(p[1], block, 4096));
	SHOW(read(p[0], block, 1));
	SHOW(ready(p[1]));
	TRY(write(p[1], block, 4096));
	TRY(write(p[1], block, 0));
	TRY(lseek(p[0], 0, SEEK_SET));
	TRY(pread(p[0], b, 1, 0));
	TRY(ftruncate(p[0], 0));
	TRY(fsync(p[0]));
	close(p[1]);
	SHOW(ready(p[0]));
	while (read(p[0], block, sizeof block) > 0)
		;
	TRY(read(p[0], b, 1));
	SHOW(ready(p[0]));
	close(p[0]);

	MUST(pipe(p) == 0);
	pthread_create(&t, NULL, drain, (void *)(long)p[0]);
	SHOW(write(p[1], block, sizeof block));
	struct iovec v[3] = {{"abc", 3}, {NULL, 0}, {"defgh", 5}};
	TRY(writev(p[1], v, 3));
	TRY(writev(p[1], v, -1));
	TRY(writev(p[1], v, 0));
	TRY(writev(p[1], v, 2000));
	close(p[1]);
	pthread_join(t, &total);
	SHOW((long)total);
	TRY(fcntl(p[0], F_GETFL));
	close(p[0]);

	MUST(pipe(p) == 0);
	close(p[0]);
	SHOW(ready(p[1]));
	TRY(write(p[1], "x", 1));
	close(p[1]);

	MUST(pipe(p) == 0);
	pthread_create(&t, NULL, close_later, (void *)(long)p[1]);
	TRY(read(p[0], b, 1));
	pthread_join(t, NULL);
	close(p[0]);

	struct pollfd many[3] = {{-1, POLLIN, 7}, {500, POLLIN, 0}, {1, POLLOUT, 0}};
	TRY(poll(many, 3, 0));
	SHOW(many[0].revents);
	SHOW(many[1].revents);
	double begin = seconds();
	TRY(poll(NULL, 0, 30));
	SHOW(seconds() - begin >= 0.03);
	TRY(poll((struct pollfd *)fault, 1, 0));

	MUST(pipe(p) == 0);
	fd_set r, w;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	struct timeval tv = {0, 10000};
	TRY(select(p[1] + 1, &r, &w, NULL, &tv));
	SHOW(FD_ISSET(p[0], &r));
	SHOW(FD_ISSET(p[1], &w));
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	tv = (struct timeval){0, 10000};
	TRY(select(p[0] + 1, &r, NULL, NULL, &tv));
	SHOW(tv.tv_sec + tv.tv_usec);
	FD_SET(40, &r);
	TRY(select(41, &r, NULL, NULL, &tv));
	TRY(select(-1, NULL, NULL, NULL, &tv));

	int q[2], file = open("/tmp/guest-pipes", O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(pipe(q) == 0 && file >= 0);
	MUST(write(file, "0123456789", 10) == 10);
	off_t at = 2;
	TRY(sendfile(p[1], file, &at, 5));
	SHOW(at);
	TRY(read(p[0], b, sizeof b));
	printf("%.5s\n", b);
	lseek(file, 0, SEEK_SET);
	TRY(splice(file, NULL, p[1], NULL, 8, 0));
	TRY(tee(p[0], q[1], 3, 0));
	TRY(splice(p[0], NULL, q[1], NULL, 8, 0));
	TRY(read(q[0], b, sizeof b));
	printf("%.11s\n", b);
	TRY(splice(file, NULL, file, NULL, 8, 0));
	at = 100;
	TRY(sendfile(p[1], file, &at, 5));
	at = 1;
	TRY(copy_file_range(file, &at, file, &(off_t){20}, 4, 0));
	TRY(pread(file, b, 40, 0));
	TRY(preadv(file, (struct iovec[]){{b, 2}, {b + 10, 2}}, 2, 4));
	printf("%.2s %.2s\n", b, b + 10);
	TRY(pwritev(file, (struct iovec[]){{"AB", 2}, {"CD", 2}}, 2, 0));
	TRY(pread(file, b, 4, 0));
	printf("%.4s\n", b);
	unlink("/tmp/guest-pipes");
	return 0;
}
