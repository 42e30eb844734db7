// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Mappings of files that change under them: truncation, holes, MADV_REMOVE;
 * mremap of files and shared memory; PROT_NONE and back; seals. */
#include "check.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { PAGE = 4096 };
static sigjmp_buf out;
static volatile sig_atomic_t caught, caught_code;
static void *volatile caught_at;

static void handler(int number, siginfo_t *info, void *context)
{
	(void)context;
	caught = number;
	caught_code = info->si_code;
	caught_at = info->si_addr;
	siglongjmp(out, 1);
}

/* The byte at p, or minus the signal that reading it gives. */
static int peek(volatile char *p)
{
	caught = 0;
	if (sigsetjmp(out, 1) == 0)
		return *p;
	return caught_at == (void *)p ? -caught * 100 - caught_code : -1;
}

static int poke(volatile char *p, char value)
{
	caught = 0;
	if (sigsetjmp(out, 1) == 0) {
		*p = value;
		return 0;
	}
	return caught_at == (void *)p ? -caught * 100 - caught_code : -1;
}

static void fill(int fd, int pages)
{
	char page[PAGE];
	for (int i = 0; i < pages; i++) {
		memset(page, 'a' + i, PAGE);
		MUST(pwrite(fd, page, PAGE, (off_t)i * PAGE) == PAGE);
	}
}

static char *map(int fd, int pages, int flags)
{
	char *p = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
	MUST(p != MAP_FAILED);
	return p;
}

static void show(const char *what, char *p, int pages)
{
	printf("%s:", what);
	for (int i = 0; i < pages; i++)
		printf(" %d", peek(p + (size_t)i * PAGE + 5));
	puts("");
}

static void truncation(int fd, const char *name)
{
	printf("truncation of %s\n", name);
	fill(fd, 6);
	char *shared = map(fd, 8, MAP_SHARED), *private = map(fd, 8, MAP_PRIVATE);
	show("shared", shared, 8);
	show("private", private, 8);
	SHOW(poke(private + 1 * PAGE, 'P'));
	SHOW(poke(private + 4 * PAGE, 'Q'));
	SHOW(poke(shared + 6 * PAGE, 'S'));
	TRY(ftruncate(fd, 2 * PAGE + 100));
	show("shared", shared, 8);
	show("private", private, 8);
	SHOW(peek(shared + 2 * PAGE + 99));
	SHOW(peek(shared + 2 * PAGE + 100));
	SHOW(peek(private + 1 * PAGE));
	SHOW(poke(shared + 2 * PAGE + 200, 'x'));
	SHOW(poke(private + 3 * PAGE, 'x'));
	/* The kernel's own accesses get EFAULT. */
	int zero = open("/dev/zero", O_RDONLY);
	TRY(read(zero, shared + 3 * PAGE, 10));
	SHOW(read(zero, shared + 2 * PAGE + 4000, 200));
	close(zero);
	TRY(ftruncate(fd, 5 * PAGE));
	show("grown shared", shared, 8);
	show("grown private", private, 8);
	SHOW(poke(shared + 4 * PAGE + 5, 'n'));
	char c = 0;
	TRY(pread(fd, &c, 1, 4 * PAGE + 5));
	SHOW(c);
	SHOW(peek(private + 4 * PAGE + 5));
	TRY(ftruncate(fd, 0));
	show("empty shared", shared, 2);
	show("empty private", private, 2);
	munmap(shared, 8 * PAGE);
	munmap(private, 8 * PAGE);
}

static void holes(int fd)
{
	char page[PAGE];
	puts("holes");
	TRY(ftruncate(fd, 0));
	fill(fd, 6);
	char *shared = map(fd, 6, MAP_SHARED), *private = map(fd, 6, MAP_PRIVATE);
	show("shared", shared, 6);
	show("private", private, 6);
	SHOW(poke(private + 2 * PAGE + 5, 'P'));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE + 100, 3 * PAGE));
	show("shared", shared, 6);
	show("private", private, 6);
	SHOW(peek(shared + PAGE + 99));
	SHOW(peek(shared + PAGE + 100));
	SHOW(peek(shared + 4 * PAGE + 99));
	SHOW(peek(shared + 4 * PAGE + 100));
	/* File and mapping are still the same. */
	SHOW(poke(shared + 2 * PAGE + 5, 'w'));
	MUST(pread(fd, page, PAGE, 2 * PAGE) == PAGE);
	SHOW(page[5]);
	MUST(pwrite(fd, "v", 1, 3 * PAGE + 5) == 1);
	SHOW(peek(shared + 3 * PAGE + 5));
	SHOW(peek(private + 2 * PAGE + 5));
	TRY(madvise(shared + PAGE, 2 * PAGE, MADV_REMOVE));
	show("removed", shared, 6);
	MUST(pread(fd, page, PAGE, 2 * PAGE) == PAGE);
	SHOW(page[5]);
	TRY(madvise(private, PAGE, MADV_REMOVE));
	char *plain = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	plain[5] = 'k';
	TRY(madvise(plain, PAGE, MADV_REMOVE));
	SHOW(plain[5]);
	munmap(plain, PAGE);
	munmap(shared, 6 * PAGE);
	munmap(private, 6 * PAGE);
}

static void open_truncates(const char *name)
{
	puts("O_TRUNC and truncate(2)");
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0);
	fill(fd, 3);
	char *p = map(fd, 3, MAP_SHARED);
	show("before", p, 3);
	TRY(truncate(name, PAGE));
	show("truncate", p, 3);
	close(open(name, O_WRONLY | O_TRUNC));
	show("O_TRUNC", p, 3);
	fill(fd, 2);
	show("again", p, 3);
	munmap(p, 3 * PAGE);
	close(fd);
}

static void moving(int fd)
{
	puts("mremap");
	TRY(ftruncate(fd, 0));
	fill(fd, 6);
	char *p = map(fd, 3, MAP_SHARED);
	/* Something behind it, so that it has to move. */
	char *q = mremap(p, 3 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
	MUST(q != MAP_FAILED);
	show("grown", q, 6);
	SHOW(poke(q + 5 * PAGE + 5, 'z'));
	char c;
	MUST(pread(fd, &c, 1, 5 * PAGE + 5) == 1);
	SHOW(c);
	/* A second mapping of shared memory: old length 0. */
	char *twin = mremap(q, 0, 2 * PAGE, MREMAP_MAYMOVE);
	SHOW(twin != MAP_FAILED && twin != q);
	if (twin != MAP_FAILED) {
		SHOW(poke(twin + 5, 't'));
		SHOW(peek(q + 5));
		munmap(twin, 2 * PAGE);
	}
	/* Only the middle moves. */
	char *to = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SHOW(mremap(q + 2 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	show("moved", to, 2);
	show("left", q, 6);
	munmap(q, 6 * PAGE);
	munmap(to, 2 * PAGE);

	p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	strcpy(p, "anonymous and shared");
	/* Not through the C library, which leaves the address undefined. */
	q = (char *)syscall(SYS_mremap, p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	/* Not every kernel has it for shared memory. */
	SHOW(q == MAP_FAILED ? strcmp(p, "anonymous and shared") : strcmp(q, "anonymous and shared"));
	if (q != MAP_FAILED)
		munmap(q, 4 * PAGE);
	munmap(p, 4 * PAGE);

	p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 'm', 4 * PAGE);
	/* Not through the C library, which leaves the address undefined. */
	q = (char *)syscall(SYS_mremap, p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	SHOW(q == MAP_FAILED || (peek(p) == 0 && peek(q) == 'm' && peek(q + 4 * PAGE - 1) == 'm'));
	if (q == MAP_FAILED)
		q = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRY(mremap(p, PAGE, 2 * PAGE, MREMAP_FIXED, q));
	SHOW(mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE) == MAP_FAILED ? errno : 0);
	munmap(p, 4 * PAGE);
	SHOW(mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? errno : 0);
	munmap(q, 4 * PAGE);
}

static void no_access(void)
{
	puts("PROT_NONE and back");
	size_t size = 8 << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < size; i += PAGE)
		p[i] = (char)(i / PAGE);
	TRY(mprotect(p, size, PROT_NONE));
	SHOW(peek(p));
	SHOW(poke(p + 12345, 1));
	TRY(mprotect(p, size / 2, PROT_READ));
	SHOW(peek(p + 3 * PAGE));
	SHOW(poke(p + 3 * PAGE, 1));
	SHOW(peek(p + size - PAGE));
	TRY(mprotect(p, size, PROT_READ | PROT_WRITE));
	int wrong = 0;
	for (size_t i = 0; i < size; i += PAGE)
		wrong += p[i] != (char)(i / PAGE);
	SHOW(wrong);
	/* Reserved as Go and malloc do it: PROT_NONE first, parts used later. */
	char *r = mmap(NULL, 1ul << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	SHOW(r != MAP_FAILED);
	SHOW(peek(r + (1ul << 35)));
	TRY(mprotect(r + (1ul << 35), PAGE, PROT_READ | PROT_WRITE));
	SHOW(poke(r + (1ul << 35), 1));
	SHOW(peek(r + (1ul << 35) + PAGE));
	munmap(r, 1ul << 36);
	/* Code without the right to run. */
	p[0] = (char)0xc3;
	TRY(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	((void (*)(void))p)();
	TRY(mprotect(p, PAGE, PROT_READ));
	caught = 0;
	if (sigsetjmp(out, 1) == 0)
		((void (*)(void))p)();
	printf("execute: signal %d code %d\n", (int)caught, (int)caught_code);
	munmap(p, size);
	SHOW(peek((char *)0x800000000000));
	SHOW(peek((char *)64));
}

static void sealed(void)
{
	puts("seals");
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
	MUST(fd >= 0);
	TRY(ftruncate(fd, 2 * PAGE));
	char *p = map(fd, 2, MAP_SHARED);
	p[0] = 's';
	TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	TRY(ftruncate(fd, PAGE));
	TRY(ftruncate(fd, 3 * PAGE));
	TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	munmap(p, 2 * PAGE);
	TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	SHOW(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	SHOW(p != MAP_FAILED && p[0] == 's' && (p[0] = 't') == 't');
	TRY(pwrite(fd, "x", 1, 0));
	close(fd);
}

int main(void)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	int fd = open("/tmp/guest-mappings", O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0);
	truncation(fd, "a file");
	int memory = memfd_create("mappings", 0);
	MUST(memory >= 0);
	truncation(memory, "a memory file");
	holes(memory);
	open_truncates("/tmp/guest-mappings-2");
	moving(fd);
	no_access();
	sealed();
	unlink("/tmp/guest-mappings");
	unlink("/tmp/guest-mappings-2");
	return 0;
}
