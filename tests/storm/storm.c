// SPDX-License-Identifier: Apache-2.0 OR MIT
/* storm SEED SECONDS THREADS: random system calls from several threads, for SECONDS.
 *
 * Arguments are chosen from what finds faults: descriptors of every kind, addresses that are
 * mapped, not mapped, read-only, of the kernel, or nowhere, sizes around limits, small flags. What
 * would end the program at once, or take its own memory away, is left out. Whatever it does, the
 * kernel has to live on. The program ends with status 0 when the time is over; that a call killed
 * it is no failure.
 *
 * It unlinks, mounts and writes wherever it can, so it runs in a unikernel alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARENA ((uintptr_t)0x10000000)
#define ARENA_SIZE ((size_t)8 << 20)
#define THREADS_MAX 16
#define LAST_CALL 463
#define DESCRIPTORS 48

/* Memory that no call has the address of. */
#define QUIET_SIZE ((size_t)2 << 20)

typedef uint64_t u64;

static pthread_t workers[THREADS_MAX];
static int worker_ids[THREADS_MAX];
static int worker_count;
static u64 base_seed;
static volatile u64 calls_made;
/* What each worker does now, for who looks at a hang with gdb. */
static volatile long doing[THREADS_MAX];

static __thread u64 state;

static u64 draw(void)
{
	u64 z = (state += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static u64 below(u64 limit)
{
	return draw() % limit;
}

static int one_in(u64 n)
{
	return below(n) == 0;
}

static const char *const paths[] = {
	"/tmp/a", "/tmp/b", "/tmp/c", "/tmp/d", "/tmp/d/e", "/tmp/d/f", "/tmp/d/../a", "/tmp/link",
	"/tmp/loop", "/tmp/fifo", "/tmp/socket", "/tmp/missing/x", "/", ".", "..", "", "a", "d/e",
	"/tmp", "/etc", "/etc/hosts", "/app", "/proc", "/proc/self/maps", "/proc/self/fd/3",
	"/proc/self/stat", "/proc/self/status", "/proc/self/mem", "/proc/self/exe", "/proc/self/cwd",
	"/proc/meminfo", "/proc/mounts", "/proc/self/task", "/proc/sys/kernel/hostname", "/sys",
	"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/tty", "/dev/shm/x", "/dev/fd/0",
};

/* Two pages that no call can write. */
static char *long_path;
#define LONG_PATH_SIZE 8192

/* Addresses that a call may read, write or take for anything. */
static u64 address(void)
{
	switch (below(16)) {
	case 0: return 0;
	case 1: return 0xffffffff80200000 + below(0x200000);
	case 2: return 0xffff800000000000 + below(1 << 30);
	case 3: return 0x800000000000 + below(1 << 20);
	case 4: return ~(u64)0 - below(4096);
	case 5: return 0x7ffffffff000 - below(8192);
	/* The end of the arena: behind it is nothing. */
	case 6: return ARENA + ARENA_SIZE - below(64);
	case 7: return (ARENA + below(ARENA_SIZE)) & ~(u64)4095;
	case 8: return ((ARENA + below(ARENA_SIZE)) | 4095) - below(16);
	default: return ARENA + below(ARENA_SIZE);
	}
}

static u64 path(void)
{
	if (one_in(12))
		return one_in(2) ? (u64)long_path : address();
	return (u64)paths[below(sizeof paths / sizeof *paths)];
}

static u64 size(void)
{
	switch (below(12)) {
	case 0: return 0;
	case 1: return 1;
	case 2: return 4096;
	case 3: return below(16);
	case 4: return (u64)1 << below(64);
	case 5: return ((u64)1 << below(64)) - 1;
	case 6: return -(u64)(1 + below(4096));
	default: return below(one_in(4) ? 1 << 20 : 2048);
	}
}

static u64 descriptor(void)
{
	switch (below(24)) {
	case 0: return -1;
	case 1: return AT_FDCWD;
	case 2: return below(1 << 20);
	case 3: return 1 << 30;
	default: return 3 + below(DESCRIPTORS);
	}
}

static u64 flags(void)
{
	switch (below(6)) {
	case 0: return 0;
	case 1: return (u64)1 << below(32);
	/* No address of the program's own memory, which is low. */
	case 2: return (draw() & 0xffffffff) | 0x1000000;
	case 3: return below(64);
	default: return ((u64)1 << below(20)) | ((u64)1 << below(20));
	}
}

static u64 anything(void)
{
	switch (below(7)) {
	case 0: return address();
	case 1: return size();
	case 2: return descriptor();
	case 3: return flags();
	case 4: return path();
	case 5: return below(8);
	default: return one_in(8) ? draw() | 0x1000000 : address();
	}
}

/* A part of the arena: what it loses is its own. */
static void arena_part(u64 *start, u64 *length)
{
	*start = ARENA + (below(ARENA_SIZE) & ~(u64)4095);
	*length = below(one_in(4) ? ARENA_SIZE : 1 << 16);
	if (*start + *length > ARENA + ARENA_SIZE)
		*length = ARENA + ARENA_SIZE - *start;
	if (one_in(16))
		*start += below(4096);
	if (one_in(16))
		*length = -(u64)(1 + below(1 << 20));
}

/* Fills a bit of the arena with what structures in it may mean. */
static void scribble(void)
{
	u64 *words = (u64 *)(ARENA + (below(ARENA_SIZE - 256) & ~(u64)7));
	unsigned char there[1];
	if (syscall(SYS_mincore, (u64)words & ~(u64)4095, 4096, there) != 0)
		return;
	/* Through the kernel: a page that is not writable is no fault of ours. */
	u64 values[16];
	for (int i = 0; i < 16; i++)
		values[i] = anything();
	int ends[2];
	if (pipe(ends) != 0)
		return;
	if (write(ends[1], values, sizeof values) == sizeof values)
		if (read(ends[0], words, sizeof values) < 0) { }
	close(ends[0]);
	close(ends[1]);
}

static void open_something(void)
{
	int ends[2] = {-1, -1};
	int target = 3 + below(DESCRIPTORS);
	int made = -1;
	static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW};
	int nonblock = one_in(2) ? SOCK_NONBLOCK : 0;
	sigset_t set;
	switch (below(12)) {
	case 0: if (pipe2(ends, nonblock) == 0) made = ends[0]; break;
	case 1: made = eventfd(below(3), EFD_NONBLOCK | (one_in(2) ? EFD_SEMAPHORE : 0)); break;
	case 2: made = timerfd_create(one_in(2) ? CLOCK_MONOTONIC : CLOCK_REALTIME, 0); break;
	case 3: made = epoll_create1(0); break;
	case 4: sigemptyset(&set); sigaddset(&set, SIGUSR2); made = signalfd(-1, &set, SFD_NONBLOCK); break;
	case 5: made = memfd_create("storm", one_in(2) ? 2 : 0); break;
	case 6:
		if (socketpair(AF_UNIX, types[below(3)] | nonblock, 0, ends) == 0)
			made = ends[0];
		break;
	case 7:
	case 8: made = socket(families[below(5)], types[below(4)] | nonblock, 0); break;
	case 9: made = open("/tmp", O_TMPFILE | O_RDWR, 0600); break;
	case 10: made = syscall(SYS_inotify_init1, nonblock); break;
	default: made = open((const char *)path(), flags() & ~O_TRUNC, 0644); break;
	}
	if (made < 0)
		return;
	dup2(made, target);
	if (made != target)
		close(made);
	if (ends[1] >= 0) {
		int other = 3 + below(DESCRIPTORS);
		dup2(ends[1], other);
		if (ends[1] != other)
			close(ends[1]);
	}
}

/* Network calls with addresses that mean something. */
static void network(void)
{
	unsigned char address[256] = {0};
	unsigned length = 16;
	switch (below(4)) {
	case 0: {
		struct sockaddr_un *un = (void *)address;
		un->sun_family = AF_UNIX;
		strcpy(un->sun_path, one_in(2) ? "/tmp/socket" : "/tmp/other");
		length = sizeof(sa_family_t) + below(sizeof un->sun_path);
		break;
	}
	case 1:
		address[0] = AF_INET6;
		address[2] = 0x20;
		address[3] = below(4);
		if (one_in(2))
			address[23] = 1;
		length = 28;
		break;
	default:
		address[0] = AF_INET;
		address[2] = 0x20;
		address[3] = below(4);
		if (one_in(3))
			address[4] = 127, address[7] = 1;
		break;
	}
	if (one_in(16))
		length = below(200);
	int socket = descriptor();
	u64 one = below(3);
	switch (below(8)) {
	case 0:
	case 1: bind(socket, (void *)address, length); break;
	case 2: connect(socket, (void *)address, length); break;
	case 3: listen(socket, below(5) - 1); break;
	case 4: syscall(SYS_accept4, socket, 0, 0, SOCK_NONBLOCK); break;
	case 5: sendto(socket, (void *)ARENA, below(70000), MSG_DONTWAIT | MSG_NOSIGNAL, (void *)address, length); break;
	case 6: setsockopt(socket, below(45), below(70), &one, below(9)); break;
	default: syscall(SYS_getsockopt, socket, below(45), below(70), address, &length); break;
	}
}

/* Calls that end the program, wait for what never comes, or take away what it stands on. */
static int is_left_out(long number)
{
	switch (number) {
	case SYS_exit: case SYS_exit_group: case SYS_reboot: case SYS_rt_sigreturn:
	case SYS_clone: case SYS_clone3: case SYS_fork: case SYS_vfork: case SYS_execve: case SYS_execveat:
	case SYS_kill: case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
	case SYS_pidfd_send_signal: case SYS_alarm: case SYS_setitimer: case SYS_rt_sigaction:
	case SYS_rt_sigprocmask: case SYS_arch_prctl: case SYS_set_tid_address: case SYS_prctl:
	case SYS_setrlimit: case SYS_prlimit64: case SYS_brk: case SYS_modify_ldt: case SYS_rseq:
	case SYS_set_thread_area: case SYS_shmat: case SYS_shmdt: case SYS_seccomp: case SYS_chroot:
	case SYS_pivot_root: case SYS_process_vm_writev: case SYS_vhangup: case SYS_timer_create:
	case SYS_set_robust_list: case SYS_settimeofday: case SYS_clock_settime: case SYS_unshare:
	/* They are made with care below. */
	case SYS_mmap: case SYS_munmap: case SYS_mprotect: case SYS_mremap: case SYS_madvise:
	case SYS_remap_file_pages: case SYS_close: case SYS_dup2: case SYS_dup3: case SYS_close_range:
	case SYS_pkey_mprotect: case SYS_process_madvise: case 462: /* mseal */
		return 1;
	default:
		return 0;
	}
}

static void memory(void)
{
	u64 start, length, to, more;
	arena_part(&start, &length);
	arena_part(&to, &more);
	switch (below(9)) {
	case 0:
	case 1:
		syscall(SYS_mmap, start, length, below(8), MAP_FIXED | MAP_ANONYMOUS | (one_in(3) ? MAP_SHARED : MAP_PRIVATE) | (one_in(8) ? MAP_POPULATE : 0), -1, 0);
		break;
	case 2:
		syscall(SYS_mmap, start, length, below(8), MAP_FIXED | (one_in(2) ? MAP_SHARED : MAP_PRIVATE), descriptor(), below(8) * 4096);
		break;
	case 3: syscall(SYS_munmap, start, length); break;
	case 4: syscall(SYS_mprotect, start, length, one_in(2) ? 3 : below(8)); break;
	case 5: syscall(SYS_mremap, start, length, more, 3, to); break;
	case 6: syscall(SYS_mremap, start, length, length, 3, to); break;
	case 7: syscall(SYS_madvise, start, length, below(26)); break;
	default:
		/* Back to plain memory. */
		syscall(SYS_mmap, start, length, 3, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
		break;
	}
}

static void descriptors(void)
{
	switch (below(6)) {
	case 0: case 1: close(3 + below(DESCRIPTORS)); break;
	case 2: syscall(SYS_dup3, descriptor(), 3 + below(DESCRIPTORS), one_in(2) ? O_CLOEXEC : 0); break;
	case 3: {
		unsigned first = 3 + below(DESCRIPTORS);
		syscall(SYS_close_range, first, first + below(4), one_in(2) ? 4 : 0);
		break;
	}
	default: open_something();
	}
}

static void random_call(int self)
{
	long number = below(LAST_CALL + 1);
	if (one_in(64))
		number = one_in(2) ? (long)draw() : (long)(512 + below(64));
	if (is_left_out(number))
		return;
	u64 arguments[6];
	for (int i = 0; i < 6; i++)
		arguments[i] = anything();
	/* The first argument is a descriptor or a path, mostly. */
	if (!one_in(3))
		arguments[0] = one_in(4) ? path() : descriptor();
	if (one_in(3))
		arguments[1] = one_in(2) ? path() : ARENA + below(ARENA_SIZE - 65536);
	if (one_in(3))
		arguments[2] = size();
	doing[self] = number;
	syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
	doing[self] = -1;
}

static void step(int self)
{
	switch (below(16)) {
	case 0: case 1: memory(); break;
	case 2: descriptors(); break;
	case 3: scribble(); break;
	case 4: network(); break;
	default: random_call(self); break;
	}
	__sync_fetch_and_add(&calls_made, 1);
}

/* A child makes calls for a while, or executes nothing, and its parent waits for some of them. */
static void child(int self)
{
	u64 seed = draw(), turns = below(60);
	int how = below(4);
	pid_t pid = how == 0 ? vfork() : (pid_t)syscall(SYS_fork);
	if (pid == 0) {
		if (how == 0)
			syscall(SYS_exit, 5);
		/* Nobody pokes it. */
		alarm(1);
		state = seed;
		while (turns--)
			step(self);
		if (how == 1)
			syscall(SYS_execve, "/tmp/missing/x", 0, 0);
		if (how == 2)
			*(volatile int *)0 = 1;
		syscall(SYS_exit_group, 0);
	}
	for (int i = 0; i < 3; i++)
		syscall(SYS_wait4, -1, 0, WNOHANG, 0);
	if (pid > 0 && one_in(2))
		syscall(SYS_kill, pid, SIGKILL);
	while (one_in(2) && syscall(SYS_wait4, -1, 0, 0, 0) > 0)
		;
}

static void *work(void *argument)
{
	int self = (int)(intptr_t)argument;
	state = base_seed * 1000003 + self;
	worker_ids[self] = syscall(SYS_gettid);
	for (;;) {
		if (one_in(200))
			child(self);
		else
			step(self);
	}
	return 0;
}

static void on_poke(int signal)
{
	(void)signal;
}

static int is_unikernel(void)
{
	struct utsname name;
	return uname(&name) == 0 && strstr(name.version, "Bhojpur");
}

static u64 *quiet_memory(void)
{
	u64 *quiet = mmap(0, QUIET_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (quiet == MAP_FAILED)
		return 0;
	for (size_t i = 0; i < QUIET_SIZE / 8; i++)
		quiet[i] = i * 0x9e3779b97f4a7c15;
	return quiet;
}

/* Ends the program when memory was changed that nobody wrote to. */
static void check(const u64 *quiet)
{
	for (size_t i = 0; i < QUIET_SIZE / 8; i++)
		if (quiet[i] != i * 0x9e3779b97f4a7c15) {
			char line[128];
			int length = snprintf(line, sizeof line, "\nquiet memory at %#zx holds %#llx\n", i * 8, (unsigned long long)quiet[i]);
			syscall(SYS_write, 1, line, length);
			syscall(SYS_exit_group, 3);
		}
}

/* Tells the count so far: the program may be killed before its time is over. */
static void tell(void)
{
	char line[64];
	int length = snprintf(line, sizeof line, "%llu calls\n", (unsigned long long)calls_made);
	if (calls_made)
		syscall(SYS_write, 1, line, length);
}

static u64 now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	if (argc != 4 || !is_unikernel()) {
		fputs("storm SEED SECONDS THREADS, in a unikernel and nowhere else\n", stderr);
		return 2;
	}
	base_seed = strtoull(argv[1], 0, 10);
	u64 deadline = now_ms() + strtoull(argv[2], 0, 10) * 1000;
	worker_count = atoi(argv[3]);
	if (worker_count > THREADS_MAX)
		worker_count = THREADS_MAX;
	long_path = mmap(0, LONG_PATH_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (long_path == MAP_FAILED)
		return 2;
	memset(long_path, 'x', LONG_PATH_SIZE - 1);
	mprotect(long_path, LONG_PATH_SIZE, PROT_READ);
	void *arena = mmap((void *)ARENA, ARENA_SIZE, PROT_READ | PROT_WRITE,
	                   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED)
		return 2;
	u64 *quiet = quiet_memory();
	if (!quiet)
		return 2;
	mkdirat(AT_FDCWD, "/tmp/d", 0755);
	if (symlink("a", "/tmp/link") || symlink("loop", "/tmp/loop") || mkfifoat(AT_FDCWD, "/tmp/fifo", 0644))
		return 2;
	/* Wakes calls that wait. */
	struct sigaction poke = {.sa_handler = on_poke};
	sigaction(SIGUSR1, &poke, 0);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	int ignored[] = {SIGPIPE, SIGUSR2, SIGXFSZ, SIGIO, SIGURG, SIGHUP, SIGTTIN, SIGTTOU, SIGTSTP};
	for (unsigned i = 0; i < sizeof ignored / sizeof *ignored; i++)
		sigaction(ignored[i], &ignore, 0);
	for (int i = 0; i < worker_count; i++)
		if (pthread_create(&workers[i], 0, work, (void *)(intptr_t)i))
			return 2;
	int pid = getpid();
	for (unsigned turn = 0; now_ms() < deadline; turn++) {
		if (turn % 64 == 0) {
			check(quiet);
			tell();
		}
		struct timespec moment = {0, 300000};
		nanosleep(&moment, 0);
		for (int i = 0; i < worker_count; i++)
			if (worker_ids[i])
				syscall(SYS_tgkill, pid, worker_ids[i], SIGUSR1);
	}
	check(quiet);
	tell();
	syscall(SYS_exit_group, 0);
}
