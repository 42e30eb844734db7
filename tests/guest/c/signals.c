// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Signals: SA_RESTART, SA_SIGINFO, SA_NODEFER, SA_RESETHAND, masks, pending
 * sets, alternate stacks, real-time queues, sigtimedwait, sigsuspend, timers,
 * faults with their address, interrupted calls, tgkill between threads. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile sig_atomic_t seen, depth, max_depth, on_alternate, raises, last_code, last_value;
static char alternate[65536];
static sigjmp_buf back;
static void *volatile fault_address;
static int order[16], orders;
static int fds[2];

static void install(int signal, void *handler, int flags)
{
	struct sigaction a = {.sa_flags = flags};
	a.sa_sigaction = handler;
	sigemptyset(&a.sa_mask);
	MUST(sigaction(signal, &a, NULL) == 0);
}

static void simple(int signal)
{
	(void)signal;
	seen++;
}

static void with_info(int signal, siginfo_t *info, void *context)
{
	char here;
	(void)signal;
	(void)context;
	seen++;
	last_code = info->si_code;
	last_value = info->si_value.sival_int;
	on_alternate = &here >= alternate && &here < alternate + sizeof alternate;
}

static void nested(int signal)
{
	depth++;
	if (depth > max_depth)
		max_depth = depth;
	if (++raises < 4)
		raise(signal);
	depth--;
}

static void ordered(int signal, siginfo_t *info, void *context)
{
	(void)context;
	order[orders++] = (signal - SIGRTMIN) * 100 + info->si_value.sival_int;
}

static void fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	last_code = info->si_code;
	fault_address = info->si_addr;
	siglongjmp(back, signal);
}

static void *poke(void *target)
{
	pause_ms(40);
	pthread_kill(*(pthread_t *)target, SIGUSR1);
	pause_ms(40);
	if (fds[1])
		MUST(write(fds[1], "z", 1) == 1);
	return NULL;
}

static void restart(int flags)
{
	char c = 0;
	pthread_t self = pthread_self(), t;
	MUST(pipe(fds) == 0);
	install(SIGUSR1, simple, flags);
	seen = 0;
	pthread_create(&t, NULL, poke, &self);
	TRY(read(fds[0], &c, 1));
	SHOW(seen);
	pthread_join(t, NULL);
	close(fds[0]);
	close(fds[1]);
	fds[1] = 0;
}

static void interrupted_sleep(void)
{
	struct timespec t = {5, 0}, left = {0, 0};
	pthread_t self = pthread_self(), other;
	install(SIGUSR1, simple, SA_RESTART);
	pthread_create(&other, NULL, poke, &self);
	TRY(nanosleep(&t, &left));
	SHOW(left.tv_sec);
	pthread_join(other, NULL);
}

static void masks(void)
{
	sigset_t set, old, pending;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	install(SIGUSR1, simple, 0);
	seen = 0;
	TRY(sigprocmask(SIG_BLOCK, &set, &old));
	SHOW(sigismember(&old, SIGUSR1));
	raise(SIGUSR1);
	raise(SIGUSR1);
	SHOW(seen);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGUSR1));
	TRY(sigprocmask(SIG_UNBLOCK, &set, NULL));
	SHOW(seen);
	TRY(sigprocmask(99, &set, NULL));
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	sigemptyset(&set);
	TRY(sigsuspend(&set));
	SHOW(seen);
	sigaddset(&set, SIGKILL);
	sigaddset(&set, SIGSTOP);
	TRY(sigprocmask(SIG_SETMASK, &set, NULL));
	sigprocmask(SIG_SETMASK, NULL, &old);
	SHOW(sigismember(&old, SIGKILL));
	TRY(sigaction(SIGKILL, &(struct sigaction){.sa_handler = simple}, NULL));
	TRY(kill(getpid(), 0));
	TRY(kill(getpid(), 65));
	TRY(kill(getpid(), -1));
}

static void real_time(void)
{
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	for (int i = 0; i < 3; i++) {
		sigaddset(&set, SIGRTMIN + i);
		install(SIGRTMIN + i, ordered, SA_SIGINFO);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 6; i++)
		sigqueue(getpid(), SIGRTMIN + 2 - i % 3, (union sigval){.sival_int = i});
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, SIGRTMIN + 1);
	struct timespec zero = {0, 0}, little = {0, 20000000};
	SHOW(sigtimedwait(&one, &info, &zero) - SIGRTMIN);
	SHOW(info.si_value.sival_int);
	SHOW(info.si_code);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	for (int i = 0; i < orders; i++)
		printf("delivered %d\n", order[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	TRY(sigtimedwait(&one, &info, &little));
}

static void faults(void)
{
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	install(SIGSEGV, fault, SA_SIGINFO | SA_ONSTACK);
	install(SIGBUS, fault, SA_SIGINFO | SA_ONSTACK);
	install(SIGFPE, fault, SA_SIGINFO);
	install(SIGILL, fault, SA_SIGINFO);
	install(SIGTRAP, fault, SA_SIGINFO);
	int s = sigsetjmp(back, 1);
	if (!s)
		*(volatile char *)16 = 1;
	printf("null: signal %d code %d address %ld\n", s, last_code, (long)fault_address);
	s = sigsetjmp(back, 1);
	if (!s)
		page[100] = 1;
	printf("read-only: signal %d code %d offset %ld\n", s, last_code, (long)((char *)fault_address - page));
	s = sigsetjmp(back, 1);
	if (!s)
		((void (*)(void))page)();
	printf("no execute: signal %d code %d offset %ld\n", s, last_code, (long)((char *)fault_address - page));
	s = sigsetjmp(back, 1);
	if (!s)
		*(volatile char *)0x8000000000000000 = 1;
	printf("non-canonical: signal %d code %d\n", s, last_code);
	s = sigsetjmp(back, 1);
	if (!s)
		*(volatile char *)0xffffffff80200000 = 1;
	printf("kernel address: signal %d\n", s);
	s = sigsetjmp(back, 1);
	if (!s) {
		volatile int zero = 0;
		volatile int x = 1;
		__asm__ volatile("idivl %2" : "=a"(x) : "a"(1), "r"(zero), "d"(0));
	}
	printf("division: signal %d code %d\n", s, last_code);
	s = sigsetjmp(back, 1);
	if (!s)
		__asm__ volatile("ud2");
	printf("ud2: signal %d code %d\n", s, last_code);
	s = sigsetjmp(back, 1);
	if (!s)
		__asm__ volatile("int3");
	printf("int3: signal %d code %d\n", s, last_code);
	s = sigsetjmp(back, 1);
	if (!s)
		__asm__ volatile("hlt");
	printf("hlt: signal %d code %d\n", s, last_code);

	int file = open("/tmp/guest-bus", O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(ftruncate(file, 100) == 0);
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	s = sigsetjmp(back, 1);
	if (!s)
		map[4096] = 1;
	printf("past the end of a file: signal %d code %d offset %ld\n", s, last_code, (long)((char *)fault_address - map));
	unlink("/tmp/guest-bus");
}

static long overflow(long n)
{
	volatile char room[512];
	room[0] = (char)n;
	return overflow(n + 1) + room[0];
}

static void *small_stack(void *unused)
{
	stack_t st = {.ss_sp = alternate, .ss_size = sizeof alternate};
	sigaltstack(&st, NULL);
	int s = sigsetjmp(back, 1);
	if (!s)
		overflow(0);
	printf("stack overflow: signal %d\n", s);
	return unused;
}

static void timers(void)
{
	struct itimerval t = {{0, 5000}, {0, 5000}}, off = {0}, now;
	install(SIGALRM, simple, 0);
	seen = 0;
	TRY(setitimer(ITIMER_REAL, &t, NULL));
	while (seen < 5)
		pause();
	TRY(setitimer(ITIMER_REAL, &off, &now));
	SHOW(now.it_interval.tv_usec);
	SHOW(alarm(100));
	SHOW(alarm(0));
	timer_t id;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value.sival_int = 5};
	install(SIGUSR2, with_info, SA_SIGINFO);
	seen = 0;
	MUST(timer_create(CLOCK_MONOTONIC, &event, &id) == 0);
	struct itimerspec spec = {{0, 0}, {0, 10000000}};
	timer_settime(id, 0, &spec, NULL);
	while (!seen)
		pause();
	SHOW(last_code);
	SHOW(last_value);
	SHOW(timer_delete(id));
	t = (struct itimerval){{0, 0}, {0, 20000}};
	install(SIGVTALRM, simple, 0);
	seen = 0;
	setitimer(ITIMER_VIRTUAL, &t, NULL);
	double begin = seconds();
	while (!seen && seconds() - begin < 10)
		;
	SHOW(seen);
}

int main(void)
{
	restart(SA_RESTART);
	restart(0);
	interrupted_sleep();
	masks();

	stack_t st = {.ss_sp = alternate, .ss_size = 100}, old;
	TRY(sigaltstack(&st, NULL));
	st.ss_size = sizeof alternate;
	TRY(sigaltstack(&st, &old));
	SHOW(old.ss_flags);
	install(SIGUSR2, with_info, SA_SIGINFO | SA_ONSTACK);
	seen = 0;
	TRY(sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 31}));
	SHOW(seen);
	SHOW(last_code);
	SHOW(last_value);
	SHOW(on_alternate);
	raise(SIGUSR2);
	SHOW(last_code);

	install(SIGUSR1, nested, SA_NODEFER);
	raise(SIGUSR1);
	SHOW(max_depth);
	max_depth = raises = 0;
	install(SIGUSR1, nested, 0);
	raise(SIGUSR1);
	SHOW(max_depth);
	install(SIGUSR1, simple, SA_RESETHAND);
	raise(SIGUSR1);
	struct sigaction a;
	sigaction(SIGUSR1, NULL, &a);
	SHOW(a.sa_handler == SIG_DFL);
	signal(SIGUSR1, SIG_IGN);
	TRY(raise(SIGUSR1));
	TRY(raise(SIGCHLD));
	TRY(raise(SIGURG));

	real_time();
	faults();
	pthread_t thread;
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	pthread_create(&thread, &attributes, small_stack, NULL);
	pthread_join(thread, NULL);
	timers();

	MUST(pipe(fds) == 0);
	close(fds[0]);
	signal(SIGPIPE, SIG_IGN);
	TRY(write(fds[1], "x", 1));
	install(SIGPIPE, simple, 0);
	seen = 0;
	TRY(write(fds[1], "x", 1));
	SHOW(seen);
	return 0;
}
