// SPDX-License-Identifier: Apache-2.0 OR MIT
/* What the guest tests share. Every line printed must be the same on Linux and
 * in the unikernel: no addresses, times, process ids or machine names. */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Prints the call, its result and the errno number when it failed. */
#define TRY(call)                                                         \
	do {                                                              \
		errno = 0;                                                \
		long result_ = (long)(call);                              \
		if (result_ == -1)                                        \
			printf("%s = -1 errno %d\n", #call, errno);       \
		else                                                      \
			printf("%s = %ld\n", #call, result_);             \
		fflush(stdout);                                           \
	} while (0)

/* Prints the value of an integer expression. */
#define SHOW(value) (printf("%s: %ld\n", #value, (long)(value)), fflush(stdout))

/* Ends the test when something it rests on does not work. */
#define MUST(condition)                                                   \
	do {                                                              \
		if (!(condition)) {                                       \
			printf("%s:%d: %s failed, errno %d\n", __FILE__,  \
			       __LINE__, #condition, errno);              \
			fflush(stdout);                                   \
			exit(99);                                         \
		}                                                         \
	} while (0)

static inline double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static inline void pause_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}
