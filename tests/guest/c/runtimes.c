// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Memory, threads and signals where run-time systems lean on them: every way of
 * mremap, advice, holes in maps, clone3, futexes that are requeued, signals that
 * interrupt calls or restart them, limits and what the system tells of itself. */
#include "check.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define PAGE 4096L

static sigjmp_buf out;
static void fault(int number)
{
	siglongjmp(out, number);
}

static int reads(volatile char *p)
{
	int number = sigsetjmp(out, 1);
	if (number)
		return -number;
	return *p;
}

static char *map(long pages, int flags)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	MUST(p != MAP_FAILED);
	return p;
}

static int failed(void *p)
{
	return p == MAP_FAILED ? -errno : 0;
}

static void remaps(void)
{
	char *p = map(8, 0);
	for (int i = 0; i < 8; i++)
		p[i * PAGE] = 'a' + i;
	/* Smaller, larger in place, larger elsewhere. */
	SHOW(mremap(p, 8 * PAGE, 4 * PAGE, 0) == p);
	SHOW(reads(p + 4 * PAGE));
	SHOW(mremap(p, 4 * PAGE, 8 * PAGE, 0) == p);
	SHOW(reads(p + 3 * PAGE));
	SHOW(reads(p + 4 * PAGE));
	char *guard = mmap(p + 8 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	SHOW(failed(mremap(p, 8 * PAGE, 9 * PAGE, 0)));
	char *q = mremap(p, 8 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	SHOW(q != p && q != MAP_FAILED);
	SHOW(reads(q + 2 * PAGE));
	SHOW(reads(p));
	munmap(guard, PAGE);
	/* To a place of one's own choice, over what is there. */
	char *place = map(16, 0);
	memset(place, 'z', 16 * PAGE);
	SHOW(mremap(q, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
	SHOW(reads(place + PAGE));
	SHOW(reads(place + 8 * PAGE));
	SHOW(reads(q));
	SHOW(failed(mremap(place, 4 * PAGE, 4 * PAGE, MREMAP_FIXED, q)));
	SHOW(failed(mremap(place, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + PAGE)));
	SHOW(failed(mremap(place + 1, PAGE, PAGE, 0)));
	SHOW(failed(mremap(place, PAGE, 0, 0)));
	SHOW(failed(mremap(place, 40 * PAGE, 41 * PAGE, MREMAP_MAYMOVE)));
	/* The old range stays, empty. */
	q = mremap(place, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	SHOW(failed(q));
	SHOW(reads(q + PAGE)), SHOW(reads(place + PAGE));
	/* A shared map doubled by an old size of nothing. */
	char *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *t = mremap(s, 0, PAGE, MREMAP_MAYMOVE);
	SHOW(failed(t));
	if (t != MAP_FAILED) {
		s[5] = 'x';
		SHOW(t[5]);
	}
	SHOW(failed(mremap(place, 0, PAGE, MREMAP_MAYMOVE)));
}

static void advice(void)
{
	char *p = map(8, 0);
	memset(p, 'a', 8 * PAGE);
	TRY(madvise(p + PAGE, PAGE, MADV_DONTNEED));
	SHOW(p[0]), SHOW(p[PAGE]);
	TRY(madvise(p, PAGE, MADV_FREE));
	p[0] = 'b';
	SHOW(p[0]);
	TRY(madvise(p, 8 * PAGE, MADV_POPULATE_WRITE));
	TRY(madvise(p, 8 * PAGE, MADV_POPULATE_READ));
	TRY(madvise(p, 8 * PAGE, MADV_HUGEPAGE));
	TRY(madvise(p, 8 * PAGE, MADV_NOHUGEPAGE));
	TRY(madvise(p, 8 * PAGE, 25) >= -1);
	TRY(madvise(p, 8 * PAGE, MADV_WILLNEED));
	TRY(madvise(p, 8 * PAGE, MADV_SEQUENTIAL));
	TRY(madvise(p, 8 * PAGE, MADV_DONTDUMP));
	TRY(madvise(p, 8 * PAGE, MADV_DODUMP));
	TRY(madvise(p, 8 * PAGE, MADV_DONTFORK));
	TRY(madvise(p, 8 * PAGE, MADV_WIPEONFORK));
	TRY(madvise(p, 8 * PAGE, MADV_COLD));
	TRY(madvise(p, 8 * PAGE, MADV_PAGEOUT));
	SHOW(p[2 * PAGE]);
	TRY(madvise(p, 8 * PAGE, 9999));
	TRY(madvise(p + 1, PAGE, MADV_DONTNEED));
	TRY(madvise(p, 0, MADV_DONTNEED));
	munmap(p + 2 * PAGE, PAGE);
	TRY(madvise(p, 4 * PAGE, MADV_DONTNEED));
	SHOW(p[0]), SHOW(p[3 * PAGE]);
	TRY(madvise(p, 4 * PAGE, MADV_POPULATE_READ));
	TRY(mlock(p, PAGE));
	TRY(munlock(p, PAGE));
	TRY(mlock(p + 2 * PAGE, PAGE));
	TRY(mprotect(p, 4 * PAGE, PROT_READ));
	SHOW(reads(p));
	TRY(mprotect(p + 4 * PAGE, PAGE, PROT_NONE));
	SHOW(reads(p + 4 * PAGE));
	TRY(madvise(p + 4 * PAGE, PAGE, MADV_POPULATE_READ));
	TRY(munmap(p, 16 * PAGE));
	TRY(munmap(p + 1, PAGE));
	TRY(munmap(p, 0));
	SHOW(failed(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)));
	SHOW(failed(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)));
	SHOW(failed(mmap(NULL, 1L << 50, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
	SHOW(failed(mmap(NULL, 1L << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)));
	SHOW(failed(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0)));
	SHOW(failed(mmap((void *)(1L << 47), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
	char *low = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	SHOW(low != MAP_FAILED && (unsigned long)low < 1UL << 32);
	char *down = map(4, MAP_GROWSDOWN | MAP_STACK);
	SHOW(reads(down));
	char *ready = map(4, MAP_POPULATE | MAP_LOCKED);
	unsigned char in[4] = {0};
	TRY(mincore(ready, 4 * PAGE, in));
	SHOW(in[0] & in[3] & 1);
	SHOW(failed(mmap(NULL, 2L << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0)) <= 0);
}

static void clones(void)
{
	struct clone_args a = {.flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD};
	TRY(syscall(SYS_clone3, &a, 8));
	TRY(syscall(SYS_clone3, &a, 100000));
}

static int gate, second;
static int woken;
static void *waits(void *unused)
{
	syscall(SYS_futex, &gate, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	__atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
	return unused;
}

static long futex(int *word, int op, int value, long value2, int *word2, int value3)
{
	long r = syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, value2, word2, value3);
	return r < 0 ? -errno : r;
}

static void futexes(void)
{
	pthread_t t[6];
	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, waits, NULL);
	pause_ms(100);
	SHOW(futex(&gate, FUTEX_CMP_REQUEUE, 1, 3, &second, 5));
	SHOW(futex(&gate, FUTEX_CMP_REQUEUE, 1, 3, &second, 0));
	pause_ms(50);
	SHOW(woken);
	SHOW(futex(&second, FUTEX_WAKE, 10, 0, NULL, 0));
	pause_ms(50);
	SHOW(woken);
	SHOW(futex(&gate, FUTEX_REQUEUE, 0, 10, &second, 0));
	gate = 1;
	/* Adds 1 to the word that was 0, and wakes two when it was more than -1. */
	SHOW(futex(&gate, FUTEX_WAKE_OP, 5, 5, &second, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GT, -1)));
	SHOW(second);
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	SHOW(woken);
	struct timespec soon = {0, 1000000}, past = {0};
	SHOW(futex(&gate, FUTEX_WAIT, 1, (long)&soon, NULL, 0));
	SHOW(futex(&gate, FUTEX_WAIT, 9, (long)&soon, NULL, 0));
	SHOW(futex(&gate, FUTEX_WAIT_BITSET, 1, (long)&past, NULL, -1));
	SHOW(futex(&gate, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, (long)&past, NULL, -1));
	SHOW(futex(&gate, FUTEX_WAIT_BITSET, 1, (long)&past, NULL, 0));
	soon.tv_nsec = 1000000000;
	SHOW(futex(&gate, FUTEX_WAIT, 1, (long)&soon, NULL, 0));
	SHOW(futex((int *)((char *)&gate + 1), FUTEX_WAKE, 1, 0, NULL, 0));
	SHOW(futex(NULL, FUTEX_WAIT, 0, 0, NULL, 0));
	SHOW(futex(&gate, 99, 1, 0, NULL, 0));
	struct futex_waitv v[2] = {{1, (unsigned long)&gate, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0}, {7, (unsigned long)&second, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0}};
	TRY(syscall(SYS_futex_waitv, v, 2, 0, NULL, CLOCK_MONOTONIC));
	v[1].val = second;
	TRY(syscall(SYS_futex_waitv, v, 2, 0, &past, CLOCK_MONOTONIC));
	TRY(syscall(SYS_futex_waitv, v, 0, 0, NULL, CLOCK_MONOTONIC));
}

static volatile int hits;
static void count(int number)
{
	(void)number;
	hits++;
}

static void handle(int number, int flags)
{
	struct sigaction a = {.sa_handler = count, .sa_flags = flags};
	MUST(sigaction(number, &a, NULL) == 0);
}

static void after_ms(long ms)
{
	struct itimerval t = {.it_value = {ms / 1000, ms % 1000 * 1000}};
	MUST(setitimer(ITIMER_REAL, &t, NULL) == 0);
}

static void *writes(void *fd)
{
	pause_ms(120);
	(void)!write((int)(long)fd, "x", 1);
	return NULL;
}

/* Each call, interrupted by a signal, with and without SA_RESTART. */
static void interruptions(void)
{
	int p[2], pair[2];
	char c;
	MUST(pipe(p) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	int epoll = epoll_create1(0);
	for (int flags = 0;; flags = SA_RESTART) {
		handle(SIGALRM, flags);
		printf("flags %d\n", flags != 0);
		pthread_t t;
		hits = 0;
		pthread_create(&t, NULL, writes, (void *)(long)p[1]);
		after_ms(30);
		TRY(read(p[0], &c, 1));
		pthread_join(t, NULL);
		if (!flags)
			TRY(read(p[0], &c, 1));
		pthread_create(&t, NULL, writes, (void *)(long)pair[1]);
		after_ms(30);
		TRY(recv(pair[0], &c, 1, 0));
		pthread_join(t, NULL);
		if (!flags)
			TRY(recv(pair[0], &c, 1, 0));
		struct timeval limit = {5, 0};
		setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		after_ms(30);
		TRY(recv(pair[0], &c, 1, 0));
		limit.tv_sec = 0;
		setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		struct pollfd f = {p[0], POLLIN, 0};
		struct epoll_event e;
		fd_set set;
		FD_ZERO(&set);
		FD_SET(p[0], &set);
		after_ms(30);
		TRY(poll(&f, 1, 2000));
		after_ms(30);
		TRY(epoll_wait(epoll, &e, 1, 2000));
		after_ms(30);
		struct timeval two = {2, 0};
		TRY(select(p[0] + 1, &set, NULL, NULL, &two));
		after_ms(30);
		TRY(pause());
		after_ms(30);
		sigset_t none;
		sigemptyset(&none);
		TRY(sigsuspend(&none));
		after_ms(30);
		struct timespec two_seconds = {2, 0};
		TRY(nanosleep(&two_seconds, &two_seconds));
		SHOW(two_seconds.tv_sec);
		after_ms(30);
		two_seconds = (struct timespec){2, 0};
		SHOW(clock_nanosleep(CLOCK_MONOTONIC, 0, &two_seconds, NULL));
		sigset_t usr;
		sigemptyset(&usr), sigaddset(&usr, SIGUSR1);
		after_ms(30);
		TRY(sigtimedwait(&usr, NULL, &two_seconds));
		int word = 0;
		if (!flags) {
			after_ms(30);
			SHOW(futex(&word, FUTEX_WAIT, 0, (long)&two_seconds, NULL, 0));
		}
		SHOW(hits);
		if (flags)
			break;
	}
	close(p[0]), close(p[1]), close(pair[0]), close(pair[1]), close(epoll);
	/* A mask for the time of the wait alone. */
	sigset_t block, old, none;
	sigemptyset(&block), sigaddset(&block, SIGUSR1), sigemptyset(&none);
	handle(SIGUSR1, 0);
	pthread_sigmask(SIG_BLOCK, &block, &old);
	hits = 0;
	raise(SIGUSR1);
	SHOW(hits);
	TRY(ppoll(NULL, 0, NULL, &none));
	SHOW(hits);
	raise(SIGUSR1);
	TRY(sigsuspend(&none));
	SHOW(hits);
	raise(SIGUSR1);
	TRY(pselect(0, NULL, NULL, NULL, NULL, &none));
	SHOW(hits);
	pthread_sigmask(SIG_SETMASK, NULL, &old);
	SHOW(sigismember(&old, SIGUSR1));
}

static void limits(void)
{
	struct rlimit l;
	for (int i = 0; i < RLIM_NLIMITS; i++)
		MUST(getrlimit(i, &l) == 0);
	TRY(getrlimit(99, &l));
	l.rlim_cur = 64, l.rlim_max = 1000;
	TRY(setrlimit(RLIMIT_NOFILE, &l));
	int fd, opened = 0;
	while ((fd = dup(0)) >= 0 && fd < 2000)
		opened = fd;
	SHOW(opened);
	SHOW(errno);
	TRY(dup2(0, 64));
	TRY(fcntl(0, F_DUPFD, 64));
	l.rlim_cur = 2000;
	TRY(setrlimit(RLIMIT_NOFILE, &l));
	TRY(prlimit(0, RLIMIT_NOFILE, NULL, &l));
	SHOW(l.rlim_cur), SHOW(l.rlim_max);
	TRY(prlimit(999999, RLIMIT_NOFILE, NULL, &l));
	TRY(close_range(3, ~0U, 0));
	TRY(close_range(5, 4, 0));
	l.rlim_cur = l.rlim_max = RLIM_INFINITY;
	TRY(setrlimit(RLIMIT_CORE, &l));
	struct rusage u;
	for (volatile long i = 0; i < 30000000; i++)
		;
	TRY(getrusage(RUSAGE_SELF, &u));
	SHOW(u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec > 1000);
	SHOW(u.ru_maxrss > 100);
	TRY(getrusage(RUSAGE_THREAD, &u));
	TRY(getrusage(RUSAGE_CHILDREN, &u));
	SHOW(u.ru_utime.tv_sec);
	TRY(getrusage(77, &u));
	struct tms times_;
	TRY(times(&times_) > 0);
	struct sysinfo info;
	TRY(sysinfo(&info));
	SHOW(info.totalram > 0 && info.freeram > 0 && info.freeram < info.totalram);
	SHOW(info.mem_unit);
	SHOW(info.procs > 0);
	cpu_set_t set;
	TRY(sched_getaffinity(0, sizeof set, &set));
	SHOW(CPU_COUNT(&set) == sysconf(_SC_NPROCESSORS_ONLN) || CPU_COUNT(&set) > 0);
	TRY(syscall(SYS_sched_getaffinity, 0, 1, &set));
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	TRY(sched_setaffinity(0, sizeof set, &set));
	CPU_ZERO(&set);
	TRY(sched_setaffinity(0, sizeof set, &set));
	TRY(sched_getaffinity(999999, sizeof set, &set));
	SHOW(sched_get_priority_max(SCHED_FIFO));
	struct timespec slice;
	TRY(sched_rr_get_interval(0, &slice));
	TRY(prctl(PR_SET_NAME, "a-name-that-is-too-long"));
	char name[32] = "";
	TRY(prctl(PR_GET_NAME, name));
	printf("%s\n", name);
	TRY(prctl(PR_SET_PDEATHSIG, 0));
	TRY(prctl(PR_GET_DUMPABLE));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	TRY(prctl(PR_SET_TIMERSLACK, 1000));
	TRY(prctl(PR_SET_KEEPCAPS, 1));
	TRY(prctl(PR_GET_KEEPCAPS));
	TRY(prctl(PR_CAPBSET_READ, 0));
	TRY(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, map(1, 0), PAGE, "heap"));
	TRY(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	TRY(prctl(PR_SET_CHILD_SUBREAPER, 1));
	TRY(prctl(PR_GET_SECCOMP));
	TRY(prctl(9999, 0));
	struct utsname uts;
	TRY(uname(&uts));
	printf("%s %s\n", uts.sysname, uts.machine);
	TRY(syscall(SYS_getcpu, NULL, NULL, NULL));
	TRY(wait4(-1, NULL, WNOHANG, NULL));
	TRY(kill(getpid(), 0));
	TRY(kill(999999, 0));
	TRY(syscall(SYS_tgkill, getpid(), 999999, 0));
	TRY(kill(getpid(), 99));
	TRY(raise(SIGCHLD));
	TRY(getpgid(0) >= 0);
	TRY(syscall(SYS_ioprio_get, 1, 0) >= 0);
	TRY(syscall(SYS_membarrier, 0, 0, 0) > 0);
	TRY(syscall(SYS_getrandom, name, 16, 0));
	TRY(syscall(SYS_getrandom, name, 16, 99));
}

int main(void)
{
	struct sigaction a = {.sa_handler = fault};
	sigaction(SIGSEGV, &a, NULL), sigaction(SIGBUS, &a, NULL);
	remaps();
	advice();
	clones();
	futexes();
	interruptions();
	limits();
	return 0;
}
