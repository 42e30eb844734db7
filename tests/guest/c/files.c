// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Files: flags, seeking, holes, links, directories, metadata, permissions of
 * the call itself, descriptors, locks, and what each mistake returns. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>

static char dir[] = "/tmp/guest-files-XXXXXX";

static void stat_line(const char *path)
{
	struct stat s;
	if (lstat(path, &s) < 0) {
		printf("%s: errno %d\n", path, errno);
		return;
	}
	printf("%s: mode %o links %ld size %ld\n", path, s.st_mode, (long)s.st_nlink, S_ISDIR(s.st_mode) ? 0L : (long)s.st_size);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void list(const char *path)
{
	struct dirent **e;
	int n = scandir(path, &e, NULL, by_name);
	printf("list %s: %d\n", path, n);
	for (int i = 0; i < n; i++)
		printf("  %s %d\n", e[i]->d_name, e[i]->d_type);
}

static void itself(void)
{
	TRY(open("/proc/self/exe", O_WRONLY));
	TRY(open("/proc/self/exe", O_RDWR));
	TRY(open("/proc/self/exe", O_RDONLY | O_TRUNC));
	TRY(truncate("/proc/self/exe", 0));
	TRY(close(open("/proc/self/exe", O_RDONLY)));
}

static void content(void)
{
	char b[100] = {0};
	int fd, again;
	TRY(open("a", O_RDONLY));
	TRY(fd = open("a", O_RDWR | O_CREAT | O_EXCL, 0640));
	TRY(open("a", O_RDWR | O_CREAT | O_EXCL, 0640));
	TRY(write(fd, "0123456789", 10));
	TRY(lseek(fd, -3, SEEK_CUR));
	TRY(read(fd, b, 100));
	TRY(read(fd, b, 100));
	TRY(lseek(fd, -1, SEEK_SET));
	TRY(lseek(fd, 0, 99));
	TRY(lseek(fd, 100000, SEEK_SET));
	TRY(write(fd, "end", 3));
	TRY(lseek(fd, 0, SEEK_END));
	TRY(pread(fd, b, 10, 50000));
	SHOW(b[0] == 0 && b[9] == 0);
	TRY(pread(fd, b, 10, -1));
	TRY(ftruncate(fd, 5));
	TRY(pread(fd, b, 100, 0));
	TRY(ftruncate(fd, 8));
	TRY(pread(fd, b, 100, 0));
	SHOW(b[5] == 0);
	TRY(ftruncate(fd, -1));
	TRY(again = open("a", O_WRONLY | O_APPEND));
	TRY(read(again, b, 1));
	TRY(lseek(again, 0, SEEK_SET));
	TRY(write(again, "app", 3));
	TRY(lseek(again, 0, SEEK_CUR));
	TRY(fcntl(again, F_GETFL) & (O_ACCMODE | O_APPEND));
	TRY(close(again));
	TRY(close(again));
	TRY(fallocate(fd, 0, 0, 20000));
	stat_line("a");
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4));
	TRY(pread(fd, b, 6, 0));
	SHOW(b[0] == 0 && b[4] == '4');
	TRY(fsync(fd));
	TRY(fdatasync(fd));
	TRY(flock(fd, LOCK_EX | LOCK_NB));
	again = open("a", O_RDONLY);
	TRY(flock(again, LOCK_EX | LOCK_NB));
	TRY(flock(fd, LOCK_UN));
	TRY(flock(again, LOCK_SH | LOCK_NB));
	close(again);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	TRY(fcntl(fd, F_SETLK, &lock));
	TRY(fcntl(fd, F_GETLK, &lock));
	SHOW(lock.l_type == F_UNLCK);
	close(fd);
	TRY(truncate("a", 3));
	TRY(open("a", O_WRONLY | O_TRUNC));
	stat_line("a");
	TRY(open("a/b", O_RDONLY));
	TRY(open("a", O_DIRECTORY));
	TRY(open("", O_RDONLY));
	TRY(open(".", O_WRONLY));
	char big_name[300];
	memset(big_name, 'n', 299);
	big_name[299] = 0;
	TRY(open(big_name, O_CREAT | O_WRONLY, 0600));
	TRY(open((char *)8, O_RDONLY));
}

static void names(void)
{
	char b[100] = {0};
	TRY(mkdir("d", 0755));
	TRY(mkdir("d", 0755));
	TRY(mkdir("x/y", 0755));
	TRY(link("a", "d/hard"));
	TRY(link("a", "d/hard"));
	TRY(symlink("../a", "d/soft"));
	TRY(symlink("loop2", "loop1"));
	TRY(symlink("loop1", "loop2"));
	TRY(open("loop1", O_RDONLY));
	TRY(open("d/soft", O_RDONLY | O_NOFOLLOW));
	TRY(readlink("d/soft", b, sizeof b));
	TRY(readlink("d/soft", b, 2));
	TRY(readlink("a", b, sizeof b));
	puts(b);
	stat_line("a");
	stat_line("d/hard");
	stat_line("d/soft");
	stat_line("d");
	list("d");
	list(".");
	TRY(rmdir("d"));
	TRY(rmdir("a"));
	TRY(unlink("d"));
	TRY(rename("a", "b"));
	TRY(rename("a", "b"));
	TRY(rename("d", "d/inside"));
	TRY(mkdir("e", 0700));
	TRY(rename("d", "e"));
	TRY(rename("b", "e"));
	TRY(rename("e", "b"));
	TRY(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "e/hard", RENAME_NOREPLACE));
	TRY(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "e", RENAME_EXCHANGE));
	stat_line("e");
	stat_line("b");
	TRY(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "e", RENAME_EXCHANGE));
	int d = open("e", O_RDONLY | O_DIRECTORY);
	TRY(openat(d, "hard", O_RDONLY));
	TRY(unlinkat(d, "soft", 0));
	TRY(unlinkat(d, "hard", AT_REMOVEDIR));
	TRY(read(d, b, 1));
	TRY(fchdir(d));
	char cwd[PATH_MAX];
	SHOW(!strcmp(strrchr(getcwd(cwd, sizeof cwd), '/'), "/e"));
	TRY(syscall(SYS_getcwd, cwd, 3));
	TRY(chdir(".."));
	TRY(chdir("b"));
	TRY(chdir("nothing"));
	TRY(access("b", R_OK | W_OK));
	TRY(access("b", X_OK));
	TRY(access("nothing", F_OK));
	TRY(faccessat(AT_FDCWD, "b", F_OK, AT_SYMLINK_NOFOLLOW));
	int keep = open("b", O_RDWR);
	TRY(write(keep, "still here", 10));
	TRY(unlink("b"));
	TRY(unlink("e/hard"));
	struct stat s;
	TRY(fstat(keep, &s));
	SHOW(s.st_nlink);
	TRY(pread(keep, b, sizeof b, 0));
	close(keep);
	TRY(mkdir("gone", 0755));
	TRY(chdir("gone"));
	TRY(rmdir("../gone"));
	TRY(open("new", O_CREAT | O_WRONLY, 0600));
	SHOW(syscall(SYS_getcwd, cwd, sizeof cwd) == -1 ? errno : 0);
	chdir(dir);
	TRY(mknod("fifo", S_IFIFO | 0600, 0));
	TRY(open("fifo", O_WRONLY | O_NONBLOCK));
	stat_line("fifo");
}

static void metadata(void)
{
	struct stat s;
	int fd = open("meta", O_CREAT | O_RDWR, 0666);
	umask(027);
	close(open("masked", O_CREAT | O_RDWR, 0666));
	SHOW(umask(022));
	stat_line("masked");
	TRY(fchmod(fd, 04711));
	stat_line("meta");
	TRY(chmod("meta", 0600));
	stat_line("meta");
	struct timespec t[2] = {{1000000000, 5}, {1234567890, 123456789}};
	TRY(futimens(fd, t));
	TRY(fstat(fd, &s));
	SHOW(s.st_mtim.tv_sec);
	SHOW(s.st_mtim.tv_nsec);
	SHOW(s.st_atim.tv_sec);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_nsec = UTIME_NOW;
	TRY(utimensat(AT_FDCWD, "meta", t, 0));
	TRY(fstat(fd, &s));
	SHOW(s.st_atim.tv_sec);
	SHOW(s.st_mtim.tv_sec > 1600000000);
	SHOW(s.st_blksize);
	struct statx x;
	TRY(syscall(SYS_statx, AT_FDCWD, "meta", 0, STATX_BASIC_STATS, &x));
	SHOW(x.stx_mode);
	SHOW(x.stx_size);
	TRY(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	TRY(syscall(SYS_statx, fd, "", 0, STATX_SIZE, &x));
	TRY(stat("meta", (struct stat *)8));
	struct statfs f;
	TRY(statfs("/proc", &f));
	SHOW(f.f_type);
	TRY(fstat(1000, &s));
	TRY(stat("/dev/null", &s));
	SHOW(S_ISCHR(s.st_mode) && s.st_rdev == 0x103);
	close(fd);
}

static void descriptors(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), copy;
	struct rlimit limit;
	TRY(fcntl(fd, F_GETFD));
	TRY(copy = dup(fd));
	TRY(fcntl(copy, F_GETFD));
	TRY(dup2(fd, 50));
	TRY(dup2(fd, fd));
	TRY(dup2(777, 50));
	TRY(dup3(fd, fd, 0));
	TRY(dup3(fd, 51, O_CLOEXEC));
	TRY(fcntl(fd, F_DUPFD, 100));
	TRY(fcntl(fd, F_DUPFD_CLOEXEC, 100));
	TRY(fcntl(fd, F_DUPFD, -1));
	TRY(fcntl(fd, 9999));
	TRY(fcntl(fd, F_SETFL, O_NONBLOCK));
	TRY(fcntl(copy, F_GETFL) & O_NONBLOCK);
	TRY(ioctl(fd, FIONBIO, &(int){0}));
	TRY(fcntl(copy, F_GETFL) & O_NONBLOCK);
	TRY(ioctl(fd, 0x1234567, 0));
	TRY(syscall(SYS_close_range, 50, 200, 0));
	TRY(fcntl(100, F_GETFD));
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 64;
	TRY(setrlimit(RLIMIT_NOFILE, &limit));
	int n = 0, last;
	while ((last = dup(fd)) >= 0)
		n++;
	SHOW(errno);
	SHOW(n > 40);
	TRY(fcntl(fd, F_DUPFD, 64));
	TRY(syscall(SYS_close_range, 10, 100, 0));
}

static void directory_stream(void)
{
	mkdir("many", 0755);
	char name[64];
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "many/entry-%04d", i);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	int fd = open("many", O_RDONLY | O_DIRECTORY), entries = 0, calls = 0;
	char b[1024];
	long n;
	TRY(syscall(SYS_getdents64, fd, b, 5));
	while ((n = syscall(SYS_getdents64, fd, b, sizeof b)) > 0) {
		calls++;
		for (long at = 0; at < n; entries++)
			at += *(unsigned short *)(b + at + 16);
	}
	SHOW(entries);
	SHOW(calls > 10);
	TRY(lseek(fd, 0, SEEK_SET));
	DIR *stream = fdopendir(fd);
	struct dirent *e;
	int removed = 0;
	while ((e = readdir(stream))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "many/%.50s", e->d_name);
		removed += unlink(name) == 0;
	}
	closedir(stream);
	SHOW(removed);
	TRY(rmdir("many"));
	TRY(syscall(SYS_getdents64, 1, b, sizeof b));
}

int main(void)
{
	umask(022);
	MUST(mkdtemp(dir) && chdir(dir) == 0);
	itself();
	content();
	names();
	metadata();
	descriptors();
	directory_stream();
	return 0;
}
