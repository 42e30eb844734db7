// SPDX-License-Identifier: Apache-2.0 OR MIT
// Reads and writes of no bytes end at once, whatever the descriptor is.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	int p[2], s[2];
	char b[1];
	if (pipe(p) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, s) != 0)
		return 99;
	printf("pipe: %zd %zd\n", read(p[0], b, 0), write(p[1], b, 0));
	printf("stream: %zd %zd\n", read(s[0], b, 0), write(s[1], b, 0));
	printf("input: %zd\n", read(0, b, 0));
	printf("output: %zd\n", write(1, b, 0));
	return 0;
}
