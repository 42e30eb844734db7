// SPDX-License-Identifier: Apache-2.0 OR MIT
/* sendfile(2) and splice(2) from pipes and sockets: what they refuse, that they
 * move what is there without waiting for more, and that a target which takes
 * only a part loses nothing and gets nothing twice. */
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

enum { MUCH = 1 << 20 };

static unsigned char byte_at(long at)
{
	return at * 7 + at / 251 + at / 65521;
}

/* Takes what `fd` has and looks whether it goes on where it ended; the new end. */
static long drain(int fd, long at)
{
	unsigned char b[5000];
	ssize_t n;
	while ((n = read(fd, b, sizeof b)) > 0)
		for (ssize_t i = 0; i < n; i++, at++)
			if (b[i] != byte_at(at)) {
				printf("byte %ld is wrong\n", at);
				exit(1);
			}
	return at;
}

/* Puts bytes into `fd` from `at` on until it takes no more; the new end. */
static long fill(int fd, long at)
{
	unsigned char b[3001];
	for (;;) {
		long want = MUCH - at < (long)sizeof b ? MUCH - at : (long)sizeof b;
		for (long i = 0; i < want; i++)
			b[i] = byte_at(at + i);
		ssize_t n = want ? write(fd, b, want) : 0;
		if (n <= 0)
			return at;
		at += n;
	}
}

static void nonblocking(int fd)
{
	MUST(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

/* Pipe to a socket, socket to a pipe, pipe to pipe: the target is full again and again. */
static void through(const char *name, int into, int from, int to, int out)
{
	nonblocking(into), nonblocking(from), nonblocking(to), nonblocking(out);
	long put = 0, got = 0, full = 0;
	while (got < MUCH) {
		put = fill(into, put);
		while (splice(from, NULL, to, NULL, 1 << 20, SPLICE_F_NONBLOCK) > 0)
			;
		MUST(errno == EAGAIN);
		full++;
		got = drain(out, got);
	}
	printf("%s: all came, in order, over more than one filling: %d\n", name, full > 1);
	close(into), close(from), close(to), close(out);
}

static void pieces(void)
{
	int p[2], q[2], s[2], t[2];
	MUST(pipe(p) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	MUST(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int)) == 0);
	through("pipe to socket", p[1], p[0], s[0], s[1]);
	MUST(pipe(p) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	MUST(fcntl(p[1], F_SETPIPE_SZ, 8192) == 8192);
	through("socket to pipe", s[0], s[1], p[1], p[0]);
	MUST(pipe(p) == 0 && pipe(q) == 0);
	MUST(fcntl(q[1], F_SETPIPE_SZ, 8192) == 8192);
	through("pipe to pipe", p[1], p[0], q[1], q[0]);

	/* A file to a socket, by sendfile. */
	int file = memfd_create("much", 0);
	MUST(file >= 0 && fill(file, 0) == MUCH);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, t) == 0);
	MUST(setsockopt(t[0], SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int)) == 0);
	nonblocking(t[0]), nonblocking(t[1]);
	off_t at = 0;
	long got = 0;
	while (got < MUCH) {
		while (sendfile(t[0], file, &at, 300000) > 0)
			;
		got = drain(t[1], got);
		MUST(got == at);
	}
	printf("sendfile: %ld\n", got);

	/* A full target keeps all in the pipe, for any reader. */
	MUST(pipe(p) == 0 && write(p[1], "kept", 4) == 4);
	long end = fill(t[0], 0);
	TRY(splice(p[0], NULL, t[0], NULL, 4096, 0));
	char b[8];
	TRY(read(p[0], b, sizeof b));
	MUST(drain(t[1], 0) == end);

	/* A gone reader. */
	close(t[1]);
	MUST(write(p[1], "kept", 4) == 4);
	signal(SIGPIPE, SIG_IGN);
	TRY(splice(p[0], NULL, t[0], NULL, 4096, 0));
}

int main(void)
{
	int p[2], q[2], s[2];
	char b[64];
	int file = memfd_create("file", 0);
	MUST(pipe(p) == 0 && pipe(q) == 0 && file >= 0);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	MUST(write(p[1], "hello", 5) == 5 && write(s[1], "abc", 3) == 3);
	TRY(sendfile(s[0], p[0], NULL, 100));
	TRY(sendfile(file, p[0], NULL, 100));
	TRY(sendfile(file, s[0], NULL, 100));
	TRY(splice(s[0], NULL, q[1], NULL, 65536, 0));
	TRY(splice(p[0], NULL, s[0], NULL, 65536, 0));
	TRY(read(s[1], b, sizeof b));
	printf("%.5s\n", b);
	TRY(splice(q[0], NULL, file, NULL, 65536, 0));
	TRY(pread(file, b, sizeof b, 0));
	printf("%.3s\n", b);
	pieces();
	return 0;
}
