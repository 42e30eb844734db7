// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Bad pointers and bad descriptors given to system calls, and copies that
 * cross into unmapped memory: errno or a short count, never a dead kernel. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>

int main(void)
{
	void *const bad[] = {NULL, (void *)1, (void *)0xdead0000, (void *)0x7ffffffff000, (void *)0x8000000000000000, (void *)0xffffffff80000000, (void *)-1};
	int p[2], sv[2], zero = open("/dev/zero", O_RDONLY);
	MUST(pipe(p) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	int ep = epoll_create1(0);
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		void *b = bad[i];
		printf("pointer %u\n", i);
		TRY(write(p[1], b, 1));
		TRY(read(zero, b, 1));
		TRY(syscall(SYS_open, b, O_RDONLY));
		TRY(syscall(SYS_pipe2, b, 0));
		TRY(syscall(SYS_newfstatat, AT_FDCWD, "/", b, 0));
		TRY(syscall(SYS_clock_gettime, 99, b));
		TRY(syscall(SYS_nanosleep, b, NULL));
		TRY(syscall(SYS_uname, b));
		TRY(syscall(SYS_getcwd, b, 100));
		TRY(syscall(SYS_rt_sigprocmask, 0, b, b, 8));
		TRY(syscall(SYS_poll, b, 1, 0));
		TRY(syscall(SYS_writev, p[1], b, 1));
		TRY(syscall(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, p[0], b));
		TRY(syscall(SYS_getrandom, b, 8, 0));
		TRY(syscall(SYS_sendto, sv[0], b, 1, 0, NULL, 0));
		TRY(syscall(SYS_getsockname, sv[0], b, b));
		TRY(syscall(SYS_execve, b, NULL, NULL));
	}
	for (int fd = -1; fd < 2000; fd += 500) {
		char c;
		if (fd == 499)
			fd = 500;
		TRY(read(fd, &c, 1));
		TRY(write(fd, &c, 1));
		TRY(close(fd));
		TRY(lseek(fd, 0, 0));
		TRY(fcntl(fd, F_GETFD));
		TRY(ftruncate(fd, 0));
		TRY(fsync(fd));
		TRY(dup(fd));
	}

	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + 4096, 4096);
	memset(page, 'p', 4096);
	TRY(write(p[1], page + 4086, 20));
	TRY(write(p[1], page + 4086, 10));
	int file = open("/tmp/guest-faults", O_RDWR | O_CREAT | O_TRUNC, 0600);
	TRY(write(file, page, 4096));
	TRY(write(file, page, 4096));
	TRY(pread(file, page + 4090, 100, 0));
	TRY(syscall(SYS_open, page + 4090, O_RDONLY));
	page[4095] = 0;
	TRY(syscall(SYS_open, page + 4090, O_RDONLY));
	TRY(pwrite(file, page + 4090, 100, 0));
	TRY(read(zero, page + 4000, 200));
	TRY(pread(file, page, 0, 0));
	TRY(read(zero, (void *)8, 0));
	mprotect(page, 4096, PROT_READ);
	TRY(read(zero, page, 1));
	TRY(pread(file, page, 1, 0));
	unlink("/tmp/guest-faults");

	TRY(syscall(1000));
	TRY(syscall(-1));
	TRY(syscall(SYS_io_setup, 0, 0) == -1);
	TRY(getpriority(PRIO_PROCESS, 0) >= -20);
	puts("alive");
	return 0;
}
