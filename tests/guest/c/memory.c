// SPDX-License-Identifier: Apache-2.0 OR MIT
/* mmap, munmap, mprotect, mremap, madvise, mincore, brk: contents, errors,
 * splits, fixed maps, private and shared files. */
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static char *anonymous(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(p != MAP_FAILED);
	return p;
}

/* Asks the kernel whether a byte is readable: write() fails with EFAULT. */
static int readable(const void *p)
{
	static int fd[2];
	char c;
	if (!fd[1])
		MUST(pipe(fd) == 0);
	if (write(fd[1], p, 1) != 1)
		return 0;
	MUST(read(fd[0], &c, 1) == 1);
	return 1;
}

static int writable(void *p)
{
	static int zero;
	char keep = readable(p) ? *(char *)p : 0;
	if (!zero)
		zero = open("/dev/zero", O_RDONLY);
	if (read(zero, p, 1) != 1)
		return 0;
	*(char *)p = keep;
	return 1;
}

static void errors(void)
{
	char *p = anonymous(4);
#define FAILS(call) (errno = 0, printf("%s: %s %d\n", #call, (call) == MAP_FAILED ? "failed" : "mapped", errno))
	FAILS(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	FAILS(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
	FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 999, 0));
	FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 0, 1));
	FAILS(mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	FAILS(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	FAILS(mmap(NULL, 1ul << 50, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	FAILS(mmap(NULL, -1ul, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	FAILS(mremap(p + 1, PAGE, PAGE, 0));
	FAILS(mremap(p, PAGE, 0, 0));
	int exe = open("/proc/self/exe", O_RDONLY);
	FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, exe, 0));
	close(exe);
	TRY(munmap(p + 1, PAGE));
	TRY(munmap(p, 0));
	TRY(mprotect(p + 1, PAGE, PROT_READ));
	TRY(mprotect(p, 0, PROT_READ));
	TRY(munmap(p, 4 * PAGE));
	TRY(munmap(p, 4 * PAGE));
	TRY(mprotect(p, PAGE, PROT_READ));
	TRY(madvise(p, PAGE, MADV_DONTNEED));
	TRY(madvise(p, PAGE, 12345));
	TRY(msync(p, PAGE, MS_SYNC));
}

static void protection(void)
{
	char *p = anonymous(5);
	memset(p, 'x', 5 * PAGE);
	TRY(mprotect(p + PAGE, PAGE, PROT_NONE));
	TRY(mprotect(p + 2 * PAGE, PAGE, PROT_READ));
	TRY(munmap(p + 3 * PAGE, PAGE));
	for (int i = 0; i < 5; i++)
		printf("page %d readable %d writable %d\n", i, readable(p + i * PAGE), i == 3 ? 0 : writable(p + i * PAGE));
	TRY(mprotect(p, 5 * PAGE, PROT_READ | PROT_WRITE));
	TRY(mprotect(p + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE));
	SHOW(p[PAGE] == 'x' && p[2 * PAGE] == 'x' && p[4 * PAGE] == 'x');
	char *again = mmap(p, 5 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	SHOW(again == p && p[0] == 0 && p[4 * PAGE] == 0);
	munmap(p, 5 * PAGE);
}

static void advice(void)
{
	char *p = anonymous(1024);
	memset(p, 1, 1024 * PAGE);
	TRY(madvise(p + 10 * PAGE, 100 * PAGE, MADV_DONTNEED));
	long sum = 0;
	for (int i = 0; i < 1024; i++)
		sum += p[i * PAGE + i];
	SHOW(sum);
	TRY(madvise(p, 1024 * PAGE, MADV_DONTNEED));
	for (int i = 0; i < 1024 * PAGE; i++)
		sum += p[i];
	SHOW(sum);
	TRY(madvise(p, PAGE, MADV_WILLNEED));
	TRY(madvise(p, 1024 * PAGE, MADV_FREE));
	TRY(madvise(p, 1024 * PAGE, MADV_NOHUGEPAGE));
	munmap(p, 1024 * PAGE);
	/* A 2 MiB page that is split by a partial DONTNEED must keep the rest. */
	char *big = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(big, 3, 8 << 20);
	madvise(big + (3 << 20) + PAGE, PAGE, MADV_DONTNEED);
	sum = 0;
	for (int i = 0; i < 8 << 20; i++)
		sum += big[i] == 3;
	SHOW(sum - (8 << 20));
	munmap(big + PAGE, (4 << 20));
	SHOW(readable(big));
	SHOW(readable(big + PAGE));
	SHOW(readable(big + PAGE + (4 << 20)));
}

static void remap(void)
{
	char *p = anonymous(4);
	for (int i = 0; i < 4; i++)
		p[i * PAGE] = 'a' + i;
	char *q = mremap(p, 4 * PAGE, 400 * PAGE, MREMAP_MAYMOVE);
	MUST(q != MAP_FAILED);
	printf("%c%c%c%c %d\n", q[0], q[PAGE], q[2 * PAGE], q[3 * PAGE], q[399 * PAGE]);
	p = mremap(q, 400 * PAGE, 2 * PAGE, 0);
	SHOW(p == q);
	SHOW(readable(q + 2 * PAGE));
	char *to = anonymous(8);
	p = mremap(q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + 2 * PAGE);
	SHOW(p == to + 2 * PAGE);
	printf("%c%c\n", p[0], p[PAGE]);
	SHOW(readable(q));
	munmap(to, 8 * PAGE);
}

static void files(void)
{
	char name[] = "/tmp/guest-memory", c[8] = {0};
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0 && ftruncate(fd, 3 * PAGE) == 0);
	char *shared = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
	MUST(shared != MAP_FAILED && private != MAP_FAILED && second != MAP_FAILED);
	strcpy(shared + PAGE, "shared");
	SHOW(strcmp(second, "shared"));
	SHOW(strcmp(private + PAGE, "shared"));
	strcpy(private + PAGE, "mine");
	SHOW(strcmp(second, "shared"));
	SHOW(pread(fd, c, 6, PAGE));
	puts(c);
	MUST(pwrite(fd, "WRITTEN", 7, 2 * PAGE) == 7);
	puts(shared + 2 * PAGE);
	puts(private + PAGE);
	TRY(msync(shared, 3 * PAGE, MS_SYNC));
	close(fd);
	shared[0] = 'S';
	SHOW(unlink(name));
	SHOW(shared[0]);
	munmap(shared, 3 * PAGE);
	SHOW(readable(private));
}

static void program_break(void)
{
	char *start = sbrk(0);
	SHOW(sbrk(3 * PAGE + 100) == start);
	memset(start, 'b', 3 * PAGE + 100);
	SHOW((char *)sbrk(0) - start);
	SHOW(brk(start + PAGE));
	SHOW((char *)sbrk(0) - start);
	SHOW(brk(start + 4 * PAGE));
	SHOW(start[0] == 'b');
	SHOW(start[2 * PAGE]);
	brk(start);
}

static void in_core(void)
{
	unsigned char v[4];
	char *p = anonymous(4);
	p[PAGE] = 1;
	TRY(mincore(p, 4 * PAGE, v));
	SHOW(v[1] & 1);
	TRY(mincore(p + 1, PAGE, v));
	TRY(mlock(p, PAGE));
	TRY(munlock(p, PAGE));
}

int main(void)
{
	errors();
	protection();
	advice();
	remap();
	files();
	program_break();
	in_core();
	int memory = memfd_create("name", MFD_CLOEXEC);
	SHOW(memory >= 0);
	TRY(ftruncate(memory, 10000));
	char *p = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	MUST(p != MAP_FAILED);
	p[9999] = 'e';
	char c;
	TRY(pread(memory, &c, 1, 9999));
	SHOW(c);
	for (int i = 0; i < 20000; i++) {
		char *q = anonymous(1 + i % 7);
		q[0] = 1;
		munmap(q, (1 + i % 7) * PAGE);
	}
	puts("done");
	return 0;
}
