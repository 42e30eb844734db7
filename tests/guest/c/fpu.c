// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Vector and floating-point state across switches, signals and threads. */
#include "check.h"
#include <cpuid.h>
#include <fenv.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t ticks;

static void scribble(int signal)
{
	(void)signal;
	ticks++;
	__asm__ volatile("pcmpeqd %%xmm0,%%xmm0\n movdqa %%xmm0,%%xmm7\n movdqa %%xmm0,%%xmm15" ::: "xmm0", "xmm7", "xmm15");
	volatile double x = 1;
	for (int i = 0; i < 10; i++)
		x = x * 1.5 + 1;
}

static void *sse(void *id)
{
	unsigned long pattern = 0x0101010101010101ul * (unsigned long)(long)id, wrong = 0;
	for (int i = 0; i < 20000; i++) {
		unsigned long out[8];
		__asm__ volatile(
			"movq %1,%%xmm0\n movq %1,%%xmm3\n movq %1,%%xmm8\n movq %1,%%xmm15\n"
			"mov $200,%%ecx\n 1: dec %%ecx\n jnz 1b\n"
			"mov $24,%%eax\n push %%r11\n syscall\n pop %%r11\n" /* sched_yield */
			"movq %%xmm0,0(%0)\n movq %%xmm3,8(%0)\n movq %%xmm8,16(%0)\n movq %%xmm15,24(%0)\n" ::"r"(out),
			"r"(pattern)
			: "rax", "rcx", "r11", "memory", "xmm0", "xmm3", "xmm8", "xmm15");
		for (int k = 0; k < 4; k++)
			wrong += out[k] != pattern;
	}
	return (void *)wrong;
}

__attribute__((target("avx"))) static void *avx(void *id)
{
	long wrong = 0;
	for (int i = 0; i < 20000; i++) {
		double out[4];
		__m256d v = _mm256_set1_pd((double)(long)id);
		__asm__ volatile("mov $24,%%eax\n syscall" : "+x"(v)::"rax", "rcx", "r11", "memory");
		_mm256_storeu_pd(out, v);
		for (int k = 0; k < 4; k++)
			wrong += out[k] != (double)(long)id;
	}
	return (void *)wrong;
}

static void *rounding(void *id)
{
	int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
	long wrong = 0;
	fesetround(modes[(long)id % 4]);
	for (int i = 0; i < 5000; i++) {
		sched_yield();
		wrong += fegetround() != modes[(long)id % 4];
	}
	return (void *)wrong;
}

static long run(void *(*body)(void *))
{
	pthread_t t[8];
	long sum = 0;
	for (long i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, body, (void *)(i + 1));
	for (int i = 0; i < 8; i++) {
		void *r;
		pthread_join(t[i], &r);
		sum += (long)r;
	}
	return sum;
}

int main(void)
{
	struct itimerval every = {{0, 1000}, {0, 1000}}, off = {0};
	struct sigaction a = {.sa_handler = scribble, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	SHOW(run(sse));
	SHOW(run(rounding));
	/* Not every machine has AVX: nothing is printed about whether it ran. */
	long wrong = __builtin_cpu_supports("avx") ? run(avx) : 0;
	SHOW(wrong);
	double sum = 0;
	while (ticks < 20)
		;
	for (int i = 1; i <= 3000000; i++)
		sum += 1.0 / i;
	printf("%.12f\n", sum);
	long double extended = 1;
	for (int i = 0; i < 1000; i++)
		extended = extended * 1.0001L + 1e-12L;
	printf("%.18Lf\n", extended);
	setitimer(ITIMER_REAL, &off, NULL);
	SHOW(ticks >= 20);
	return 0;
}
