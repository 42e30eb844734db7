// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Files as databases, loggers and build tools use them: holes, allocation,
 * names that are exchanged, unnamed files, positions in directories, locks,
 * statx, and shared maps of a file. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static char b[1 << 16];

static void show(int fd)
{
	struct stat s;
	MUST(fstat(fd, &s) == 0);
	printf("size %ld blocks %s links %d\n", (long)s.st_size, s.st_blocks ? "some" : "none", (int)s.st_nlink);
}

static void holes(void)
{
	int fd = open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0644);
	MUST(fd >= 0);
	TRY(ftruncate(fd, 1 << 20));
	show(fd);
	TRY(lseek(fd, 0, SEEK_DATA));
	TRY(lseek(fd, 0, SEEK_HOLE));
	TRY(pwrite(fd, "data", 4, 300000));
	TRY(lseek(fd, 0, SEEK_DATA));
	TRY(lseek(fd, 300000, SEEK_HOLE));
	TRY(lseek(fd, 400000, SEEK_DATA));
	TRY(lseek(fd, 1 << 20, SEEK_DATA));
	TRY(lseek(fd, 1 << 20, SEEK_HOLE));
	TRY(lseek(fd, -1, SEEK_DATA));
	TRY(lseek(fd, -1, SEEK_SET));
	TRY(lseek(fd, 10, SEEK_END));
	TRY(lseek(fd, 0, 9));
	show(fd);
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 299008, 4096));
	TRY(pread(fd, b, 4, 300000));
	SHOW(b[0]);
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
	TRY(fallocate(fd, 0, 0, 1 << 21));
	show(fd);
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 1 << 21, 4096));
	show(fd);
	TRY(fallocate(fd, 0, -1, 10));
	TRY(fallocate(fd, 0, 0, 0));
	TRY(posix_fallocate(fd, 0, 100));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 5000));
	TRY(ftruncate(fd, -1));
	TRY(ftruncate(fd, 5));
	show(fd);
	close(fd);
	fd = open("sparse", O_RDONLY);
	TRY(ftruncate(fd, 1));
	TRY(fallocate(fd, 0, 0, 10));
	TRY(write(fd, "x", 1));
	close(fd);
	TRY(open("sparse", O_RDONLY | O_DIRECTORY));
	TRY(open("sparse/", O_RDONLY));
	TRY(open("sparse/x", O_RDONLY));
	TRY(open("none/", O_RDWR | O_CREAT, 0644));
	TRY(unlink("sparse"));

	/* Vectors, appending, positions. */
	fd = open("v", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0644);
	struct iovec v[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
	TRY(writev(fd, v, 3));
	TRY(pwrite(fd, "Z", 1, 0));
	TRY(pread(fd, b, 10, 0));
	printf("%.6s\n", b);
	TRY(lseek(fd, 0, SEEK_CUR));
	TRY(pwritev2(fd, v, 1, 0, RWF_APPEND));
	TRY(pwritev2(fd, v, 1, -1, RWF_DSYNC));
	TRY(preadv2(fd, v, 1, 0, RWF_NOWAIT) >= -1);
	TRY(fcntl(fd, F_SETFL, 0));
	TRY(pwrite(fd, "Y", 1, 0));
	TRY(copy_file_range(fd, &(loff_t){0}, fd, &(loff_t){100}, 5, 0));
	TRY(copy_file_range(fd, &(loff_t){0}, fd, &(loff_t){2}, 50, 0));
	show(fd);
	close(fd);
	unlink("v");
}

static void names(void)
{
	MUST(mkdir("d1", 0755) == 0 && mkdir("d2", 0755) == 0 && mkdir("d1/sub", 0700) == 0);
	close(creat("f1", 0644)), close(creat("f2", 0600)), close(creat("d2/full", 0600));
	TRY(renameat2(AT_FDCWD, "f1", AT_FDCWD, "f2", RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "f1", AT_FDCWD, "f3", RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "f3", AT_FDCWD, "d1", RENAME_EXCHANGE));
	struct stat s;
	MUST(stat("d1", &s) == 0);
	SHOW(S_ISREG(s.st_mode));
	TRY(access("f3/sub", F_OK));
	TRY(renameat2(AT_FDCWD, "f3", AT_FDCWD, "none", RENAME_EXCHANGE));
	TRY(renameat2(AT_FDCWD, "f3", AT_FDCWD, "d1", RENAME_EXCHANGE | RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "f3", AT_FDCWD, "f3/sub/x", 0));
	TRY(renameat2(AT_FDCWD, "f3", AT_FDCWD, "f3/sub", RENAME_EXCHANGE));
	TRY(rename("f3", "d2"));
	TRY(rename("f2", "d2"));
	TRY(rename("f3", "f2"));
	TRY(rename("f2", "f2"));
	TRY(rename("f2", ""));
	TRY(rename("f2", "d2/."));
	TRY(rename("none", "f9"));
	TRY(rmdir("d2"));
	TRY(rmdir("d2/."));
	TRY(rmdir("d2/.."));
	TRY(unlink("d2"));
	TRY(link("f2", "f4"));
	TRY(rename("f2", "f4"));
	TRY(access("f2", F_OK));
	TRY(link("d2", "d9"));
	TRY(symlink("f2", "l"));
	TRY(link("l", "l2"));
	MUST(lstat("l2", &s) == 0);
	SHOW(S_ISLNK(s.st_mode));
	TRY(linkat(AT_FDCWD, "l", AT_FDCWD, "l3", AT_SYMLINK_FOLLOW));
	MUST(lstat("l3", &s) == 0);
	SHOW(S_ISREG(s.st_mode));
	TRY(open("l", O_RDONLY | O_NOFOLLOW));
	int fd = open("l", O_PATH | O_NOFOLLOW);
	TRY(readlinkat(fd, "", b, 100));
	TRY(read(fd, b, 1));
	TRY(fstat(fd, &s));
	TRY(fchmod(fd, 0600));
	close(fd);
	TRY(symlink("", "e"));
	TRY(symlink("loop", "loop"));
	TRY(open("loop", O_RDONLY));
	TRY(open("l", O_CREAT | O_EXCL, 0600));
	memset(b, 'n', 300), b[300] = 0;
	TRY(creat(b, 0600));
	memset(b, '/', 5000), b[5000] = 0;
	TRY(access(b, F_OK));
	TRY(unlink("l")); TRY(unlink("l2")); TRY(unlink("l3")); TRY(unlink("loop"));
	TRY(unlink("f2")); TRY(unlink("f4")); TRY(unlink("d1"));
	TRY(unlink("d2/full")); TRY(rmdir("d2")); TRY(rmdir("f3/sub")); TRY(rmdir("f3"));

	/* Unnamed. */
	fd = open(".", O_TMPFILE | O_RDWR, 0640);
	SHOW(fd >= 0);
	TRY(write(fd, "unnamed", 7));
	show(fd);
	snprintf(b, 100, "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, b, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	show(fd);
	close(fd);
	fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
	snprintf(b, 100, "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, b, AT_FDCWD, "named2", AT_SYMLINK_FOLLOW));
	close(fd);
	TRY(open(".", O_TMPFILE | O_RDONLY, 0600));
	TRY(stat("named", &s));
	printf("%o %ld\n", s.st_mode, (long)s.st_size);
	/* Open after its name is gone. */
	fd = open("named", O_RDWR);
	TRY(unlink("named"));
	show(fd);
	TRY(pread(fd, b, 7, 0));
	snprintf(b, 100, "/proc/self/fd/%d", fd);
	int again = open(b, O_RDONLY);
	SHOW(again >= 0);
	char target[200];
	ssize_t n = readlink(b, target, sizeof target - 1);
	target[n < 0 ? 0 : n] = 0;
	printf("%s\n", strrchr(target, '/'));
	close(fd), close(again);
}

static void directories(void)
{
	MUST(mkdir("many", 0755) == 0);
	for (int i = 0; i < 500; i++) {
		snprintf(b, 100, "many/file-%03d", i);
		close(creat(b, 0600));
	}
	DIR *d = opendir("many");
	struct dirent *e;
	int count = 0;
	long where = 0;
	char there[300] = "";
	while ((e = readdir(d))) {
		if (count == 200)
			where = telldir(d);
		if (count == 201)
			strcpy(there, e->d_name);
		count++;
	}
	SHOW(count);
	seekdir(d, where);
	e = readdir(d);
	SHOW(e && strcmp(e->d_name, there) == 0);
	rewinddir(d);
	/* Names that go while they are listed. */
	int removed = 0;
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) == 0)
			removed++;
	SHOW(removed);
	TRY(syscall(SYS_getdents64, dirfd(d), b, 10));
	TRY(lseek(dirfd(d), 0, SEEK_SET));
	TRY(syscall(SYS_getdents64, dirfd(d), b, 10));
	TRY(rmdir("many"));
	TRY(syscall(SYS_getdents64, dirfd(d), b, sizeof b));
	TRY(openat(dirfd(d), "x", O_CREAT | O_RDWR, 0600));
	TRY(read(dirfd(d), b, 10));
	struct stat s;
	TRY(fstat(dirfd(d), &s));
	SHOW(s.st_nlink);
	closedir(d);
	TRY(chdir("many"));
	int fd = open("file", O_CREAT | O_RDWR, 0600);
	TRY(syscall(SYS_getdents64, fd, b, sizeof b));
	TRY(fchdir(fd));
	close(fd);
	unlink("file");
}

static void *blocked(void *argument)
{
	int fd = open("lock", O_RDWR);
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
	TRY(fcntl(fd, F_OFD_SETLKW, &l));
	*(double *)argument = seconds();
	close(fd);
	return NULL;
}

static void locks(void)
{
	int one = open("lock", O_RDWR | O_CREAT, 0600), two = open("lock", O_RDWR);
	TRY(flock(one, LOCK_EX | LOCK_NB));
	TRY(flock(two, LOCK_SH | LOCK_NB));
	TRY(flock(one, LOCK_SH));
	TRY(flock(two, LOCK_SH | LOCK_NB));
	TRY(flock(one, LOCK_EX | LOCK_NB));
	int copy = dup(two);
	close(two);
	TRY(flock(one, LOCK_EX | LOCK_NB));
	close(copy);
	TRY(flock(one, LOCK_EX | LOCK_NB));
	TRY(flock(one, LOCK_UN));
	TRY(flock(one, 0));
	two = open("lock", O_RDWR);
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
	TRY(fcntl(one, F_OFD_SETLK, &l));
	TRY(fcntl(two, F_OFD_SETLK, &l));
	l.l_start = 10;
	TRY(fcntl(two, F_OFD_SETLK, &l));
	l.l_start = 5, l.l_type = F_RDLCK;
	TRY(fcntl(two, F_OFD_GETLK, &l));
	printf("lock %d start %ld length %ld pid %d\n", l.l_type, (long)l.l_start, (long)l.l_len, l.l_pid);
	l.l_pid = 0;
	/* Those of the process and those of files meet. */
	l.l_type = F_WRLCK, l.l_start = 0, l.l_len = 1;
	TRY(fcntl(two, F_SETLK, &l));
	l.l_start = 100, l.l_len = 0;
	TRY(fcntl(two, F_SETLK, &l));
	l.l_start = 1000;
	TRY(fcntl(one, F_SETLK, &l));
	TRY(fcntl(one, F_OFD_SETLK, &l));
	l.l_pid = 1;
	TRY(fcntl(one, F_OFD_SETLK, &l));
	l.l_pid = 0, l.l_type = 77;
	TRY(fcntl(one, F_SETLK, &l));
	pthread_t thread;
	double got = 0, freed;
	pthread_create(&thread, NULL, blocked, &got);
	pause_ms(50);
	freed = seconds();
	close(one), close(two);
	pthread_join(thread, NULL);
	SHOW(got >= freed);
	unlink("lock");
}

static void attributes(void)
{
	int fd = open("a", O_RDWR | O_CREAT, 0640);
	struct statx x;
	memset(&x, 0xff, sizeof x);
	TRY(statx(AT_FDCWD, "a", AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS | STATX_BTIME, &x));
	printf("mode %o links %u size %lu basic %d\n", x.stx_mode, x.stx_nlink, (long)x.stx_size, (x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	TRY(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	TRY(statx(fd, "", 0, STATX_SIZE, &x));
	TRY(statx(AT_FDCWD, "a", 0x80000000, STATX_SIZE, &x));
	TRY(statx(AT_FDCWD, "a", 0, 0x80000000, &x));
	struct timespec t[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456789}, {.tv_nsec = UTIME_OMIT}};
	TRY(futimens(fd, t));
	struct stat s;
	fstat(fd, &s);
	printf("%ld.%09ld\n", (long)s.st_atim.tv_sec, s.st_atim.tv_nsec);
	t[0].tv_nsec = 1000000000;
	TRY(futimens(fd, t));
	t[0].tv_nsec = UTIME_NOW;
	TRY(utimensat(AT_FDCWD, "a", t, 0));
	TRY(utimensat(AT_FDCWD, "none", t, 0));
	TRY(fchmod(fd, 04755));
	TRY(fchown(fd, 12, 34));
	fstat(fd, &s);
	printf("%o %d %d\n", s.st_mode, s.st_uid, s.st_gid);
	int flags = 0;
	TRY(ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 || errno == ENOTTY);
	TRY(ioctl(fd, FIONREAD, &flags));
	TRY(ioctl(fd, 0x5401, b));
	TRY(fsync(fd)); TRY(fdatasync(fd)); TRY(syncfs(fd));
	TRY(sync_file_range(fd, 0, 0, 0));
	TRY(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	TRY(posix_fadvise(fd, 0, 0, 99));
	TRY(fcntl(fd, F_GETPIPE_SZ));
	TRY(fcntl(fd, F_DUPFD, -1));
	TRY(fcntl(fd, F_DUPFD_CLOEXEC, 100));
	TRY(fcntl(fd, F_GETFL) & O_ACCMODE);
	TRY(fcntl(fd, F_SETOWN, getpid()));
	TRY(fcntl(fd, F_GETOWN) == getpid());
	TRY(fcntl(fd, F_SETLEASE, F_UNLCK));
	TRY(fcntl(fd, 9999, 0));
	struct statfs f;
	TRY(fstatfs(fd, &f));
	SHOW(f.f_bsize); SHOW(f.f_namelen);
	/* One map, two views, one file. */
	TRY(ftruncate(fd, 8192));
	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	memcpy(m, "shared", 6);
	TRY(pread(fd, b, 6, 0));
	printf("%.6s %.6s\n", b, p);
	p[0] = 'S', m[1] = 'H';
	TRY(pread(fd, b, 6, 0));
	printf("%.6s %.6s\n", b, p);
	TRY(pwrite(fd, "written", 7, 4096));
	printf("%.7s %.7s\n", m + 4096, p + 4096);
	TRY(msync(m, 8192, MS_SYNC));
	TRY(msync(m + 1, 8192, MS_SYNC));
	TRY(msync(m, 4096, MS_SYNC | MS_ASYNC));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	SHOW(m[0]);
	close(fd);
	m[0] = 'k';
	TRY(munmap(p, 8192));
	fd = open("a", O_RDONLY);
	TRY(pread(fd, b, 1, 0));
	SHOW(b[0]);
	TRY(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 100) == MAP_FAILED ? -1 : 0);
	TRY(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	TRY(mprotect(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), 4096, PROT_READ | PROT_WRITE));
	close(fd);
	unlink("a");
}

int main(void)
{
	umask(022);
	if (mkdir("/tmp/places", 0755) < 0 && errno != EEXIST)
		return 99;
	MUST(chdir("/tmp/places") == 0);
	holes();
	names();
	directories();
	locks();
	attributes();
	MUST(chdir("/") == 0);
	TRY(rmdir("/tmp/places"));
	return 0;
}
