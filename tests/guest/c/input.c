// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Standard input that is a pipe: all bytes, as they are, however late they are
 * read, and its end. */
#include "check.h"

#include <poll.h>
#include <stdint.h>

int main(void)
{
	static unsigned char buffer[5000];
	uint64_t hash = 14695981039346656037u;
	size_t total = 0;

	/* The writer is far ahead by then, and has to wait. */
	sleep(1);
	for (size_t round = 0;; round++) {
		ssize_t got = read(0, buffer, 1 + round * 37 % sizeof buffer);

		MUST(got >= 0);
		if (got == 0)
			break;
		for (ssize_t i = 0; i < got; i++)
			hash = (hash ^ buffer[i]) * 1099511628211u;
		total += (size_t)got;
		if (round % 50 == 0)
			usleep(10000);
	}
	printf("%zu bytes, %016llx\n", total, (unsigned long long)hash);
	TRY(read(0, buffer, 1));
	TRY(read(0, buffer, sizeof buffer));
	struct pollfd end = { .fd = 0, .events = POLLIN };
	TRY(poll(&end, 1, 1000));
	SHOW((end.revents & POLLHUP) != 0);
	return 0;
}
