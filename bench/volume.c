// SPDX-License-Identifier: Apache-2.0 OR MIT
/* How long operations on names take on a volume: many small files, one after
 * another, by their kinds; the arguments are how many, and how many in a large
 * directory.
 *
 *   gcc -O2 -static -o volume bench/volume.c && kernel build -o volume.elf ./volume
 *   truncate -s 512M v.img && mkfs.ext4 -q -F v.img
 *   kernel run --accel tcg -m 512M -v v.img:/data volume.elf -- 2000 20000
 *
 * As init of a Linux guest it loads what /modules.list names, mounts /dev/vda and
 * takes the numbers from /args. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}
static double start;
static void must(int ok, const char *what)
{
	if (!ok) { printf("%s: %s\n", what, strerror(errno)); exit(1); }
}
static void done(const char *what, int count)
{
	double t = now() - start;
	printf("%-28s %6d in %8.3f s: %9.1f us each\n", what, count, t, t * 1e6 / count);
	fflush(stdout);
	start = now();
}
static char *at(const char *dir, int i)
{
	static char path[200];
	snprintf(path, sizeof path, "%s/file-number-%06d", dir, i);
	return path;
}
static void linux_init(void)
{
	char path[200], opts[] = "";
	FILE *list;
	setvbuf(stdout, 0, _IONBF, 0);
	mkdir("/data", 0755);
	mkdir("/proc", 0755);
	mount("none", "/dev", "devtmpfs", 0, 0);
	int console = open("/dev/console", O_RDWR);
	if (console >= 0) { dup2(console, 0); dup2(console, 1); dup2(console, 2); }
	if ((list = fopen("/modules.list", "r")))
		while (fscanf(list, "%199s", path) == 1) {
			int fd = open(path, O_RDONLY);
			if (fd < 0 || syscall(SYS_finit_module, fd, opts, 0) != 0)
				printf("%s: %s\n", path, strerror(errno));
			close(fd);
		}
	for (int i = 0; i < 100 && access("/dev/vda", F_OK) != 0; i++)
		usleep(50000);
	must(mount("/dev/vda", "/data", "ext4", 0, "") == 0, "mount");
}
int main(int argc, char **argv)
{
	int fd, n = argc > 1 ? atoi(argv[1]) : 2000, big = argc > 2 ? atoi(argv[2]) : 20000;
	char block[4096];
	struct stat s;
	if (getpid() == 1 && access("/modules.list", F_OK) == 0) {
		linux_init();
		n = 2000; big = 20000;
		FILE *f = fopen("/args", "r");
		if (f && fscanf(f, "%d %d", &n, &big) < 1) n = 2000;
	}
	memset(block, 'x', sizeof block);
	must(mkdir("/data/small", 0755) == 0, "mkdir");
	start = now();
	for (int i = 0; i < n; i++) {
		must((fd = open(at("/data/small", i), O_WRONLY | O_CREAT | O_EXCL, 0644)) >= 0, "create");
		close(fd);
	}
	done("create", n);
	for (int i = 0; i < n; i++) {
		must((fd = open(at("/data/small", i), O_WRONLY)) >= 0, "open");
		must(write(fd, block, 1000) == 1000, "write");
		close(fd);
	}
	done("open, write 1000", n);
	sync();
	done("sync", 1);
	for (int i = 0; i < n; i++)
		must(stat(at("/data/small", i), &s) == 0, "stat");
	done("stat", n);
	for (int i = 0; i < n; i++)
		must(stat(at("/data/missing", i), &s) != 0, "stat");
	done("stat in nothing", n);
	for (int i = 0; i < n; i++) {
		char to[200];
		strcpy(to, at("/data/small", i));
		strcat(to, "-new");
		must(rename(at("/data/small", i), to) == 0, "rename");
	}
	done("rename", n);
	int f = n / 10;
	must(mkdir("/data/synced", 0755) == 0, "mkdir");
	for (int i = 0; i < f; i++) {
		must((fd = open(at("/data/synced", i), O_WRONLY | O_CREAT | O_EXCL, 0644)) >= 0, "create");
		must(write(fd, block, 1000) == 1000, "write");
		must(fsync(fd) == 0, "fsync");
		close(fd);
	}
	done("create, write, fsync", f);
	must((fd = open("/data/log", O_WRONLY | O_CREAT | O_APPEND, 0644)) >= 0, "log");
	for (int i = 0; i < f; i++) {
		must(write(fd, block, 100) == 100, "write");
		must(fdatasync(fd) == 0, "fdatasync");
	}
	close(fd);
	done("append 100, fdatasync", f);
	for (int i = 0; i < f; i++)
		must(mkdir(at("/data/synced/", 100000 + i), 0755) == 0, "mkdir");
	done("mkdir", f);
	for (int i = 0; i < n; i++) {
		char to[200];
		strcpy(to, at("/data/small", i));
		strcat(to, "-new");
		must(unlink(to) == 0, "unlink");
	}
	done("unlink", n);
	sync();
	done("sync", 1);
	if (big) {
		must(mkdir("/data/big", 0755) == 0, "mkdir");
		for (int i = 0; i < big; i++) {
			must((fd = open(at("/data/big", i), O_WRONLY | O_CREAT | O_EXCL, 0644)) >= 0, "create");
			close(fd);
		}
		done("create in a big directory", big);
		unsigned x = 1;
		for (int i = 0; i < n; i++) {
			x = x * 1103515245 + 12345;
			must(stat(at("/data/big", x / 7 % big), &s) == 0, "stat");
		}
		done("stat at random there", n);
		DIR *d = opendir("/data/big");
		int count = 0;
		while (readdir(d)) count++;
		closedir(d);
		must(count == big + 2, "readdir");
		done("readdir", count);
		for (int i = 0; i < big; i++)
			must(unlink(at("/data/big", i)) == 0, "unlink");
		done("unlink there", big);
		sync();
		done("sync", 1);
	}
	if (getpid() == 1 && access("/modules.list", F_OK) == 0) {
		umount("/data");
		reboot(RB_POWER_OFF);
	}
	return 0;
}
