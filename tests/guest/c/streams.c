// SPDX-License-Identifier: Apache-2.0 OR MIT
/* sendfile(2) and splice(2) from pipes and sockets: what they refuse, and that
 * they move what is there without waiting for more. */
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

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
	return 0;
}
