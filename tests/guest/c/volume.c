// SPDX-License-Identifier: Apache-2.0 OR MIT
/* ext4 in a directory of its own below /tmp, which is a volume in the unikernel:
 * what files, directories, maps and fsync do there, against Linux's ext4. What is
 * left in the directory "kept" is compared byte by byte afterwards. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static void put(int fd, int byte, size_t count)
{
	char *b = malloc(count);
	memset(b, byte, count);
	MUST(write(fd, b, count) == (ssize_t)count);
	free(b);
}

/* A hash of a file's contents. */
static unsigned hash_of(const char *path)
{
	static unsigned char b[65536];
	unsigned h = 2166136261u;
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	for (ssize_t n; (n = read(fd, b, sizeof b)) > 0;)
		for (ssize_t i = 0; i < n; i++)
			h = (h ^ b[i]) * 16777619u;
	close(fd);
	return h;
}

static void show(const char *path)
{
	struct stat s;
	if (lstat(path, &s) < 0) {
		printf("%s: errno %d\n", path, errno);
		return;
	}
	printf("%s: mode %o links %ld size %ld owner %d:%d\n", path, s.st_mode, (long)s.st_nlink,
	       S_ISDIR(s.st_mode) ? 0L : (long)s.st_size, s.st_uid, s.st_gid);
}

static void sparse(void)
{
	struct stat s;
	int fd;
	TRY((fd = open("kept/sparse", O_RDWR | O_CREAT | O_TRUNC, 0644)) >= 0);
	TRY(pwrite(fd, "x", 1, 10 << 20));
	TRY(fsync(fd));
	TRY(fstat(fd, &s));
	SHOW(s.st_size);
	SHOW(s.st_blocks);
	SHOW(s.st_blksize);
	TRY(lseek(fd, 0, SEEK_DATA));
	TRY(lseek(fd, 0, SEEK_HOLE));
	TRY(lseek(fd, 10 << 20, SEEK_HOLE));
	TRY(lseek(fd, (10 << 20) + 1, SEEK_DATA));
	TRY(lseek(fd, -1, SEEK_DATA));
	TRY(fallocate(fd, 0, 0, 1 << 20));
	TRY(fstat(fd, &s));
	SHOW(s.st_blocks);
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 20 << 20, 65536));
	TRY(fstat(fd, &s));
	SHOW(s.st_size);
	SHOW(s.st_blocks);
	TRY(ftruncate(fd, 20 << 20));
	TRY(ftruncate(fd, 3000000));
	TRY(fstat(fd, &s));
	SHOW(s.st_size);
	TRY(fallocate(fd, 99, 0, 1));
	TRY(fallocate(fd, 0, -1, 1));
	TRY(fallocate(fd, 0, 0, 0));
	TRY(ftruncate(fd, -1));
	close(fd);
	TRY((fd = open("kept/ranges", O_RDWR | O_CREAT | O_TRUNC, 0644)) >= 0);
	for (int i = 0; i < 16; i++)
		put(fd, 'a' + i, 4096);
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 10000));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096 * 8, 4096 * 2));
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 100, 4096));
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096 * 100));
	TRY(fallocate(fd, FALLOC_FL_INSERT_RANGE, 4096 * 3, 4096));
	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE, 4096 * 10 + 7, 5000));
	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 4096 * 14, 40960));
	TRY(lseek(fd, 0, SEEK_END));
	close(fd);
	printf("%u\n", hash_of("kept/ranges"));
}

static void appends(void)
{
	struct iovec parts[2] = {{"one,", 4}, {"two;", 4}};
	int a, b;
	TRY((a = open("kept/appended", O_WRONLY | O_CREAT | O_APPEND, 0600)) >= 0);
	TRY((b = open("kept/appended", O_RDWR)) >= 0);
	for (int i = 0; i < 1000; i++)
		MUST(writev(a, parts, 2) == 8);
	TRY(pwrite(b, "ONE!", 4, 0));
	TRY(pwrite(a, "end", 3, 0));
	TRY(lseek(a, 0, SEEK_CUR));
	TRY(lseek(b, 0, SEEK_END));
	TRY(pwrite(b, "", 0, 5));
	TRY(pwrite(b, "x", 1, -1));
	TRY(ftruncate(b, 7777));
	TRY(write(a, "!", 1));
	close(a);
	TRY((a = open("kept/appended", O_WRONLY | O_TRUNC | O_CREAT | O_EXCL, 0600)) >= 0);
	TRY(truncate("kept/appended", 7000));
	printf("%u\n", hash_of("kept/appended"));
	for (int flags = 0; flags < 2; flags++) {
		a = open("kept/synced", O_WRONLY | O_CREAT | (flags ? O_SYNC : O_DSYNC), 0644);
		MUST(a >= 0);
		TRY(write(a, "durable", 7));
		TRY(fdatasync(a));
		TRY(syncfs(a));
		close(a);
	}
	sync();
	TRY((a = open("kept", O_RDONLY | O_DIRECTORY)) >= 0);
	TRY(fsync(a));
	TRY(read(a, parts, 8));
	close(a);
	close(b);
}

static void names(void)
{
	int fd;
	MUST(mkdir("d", 0755) == 0 && mkdir("d/e", 0700) == 0 && mkdir("kept/f", 0755) == 0);
	TRY((fd = open("d/one", O_WRONLY | O_CREAT, 0644)) >= 0);
	put(fd, '1', 10);
	close(fd);
	TRY((fd = open("d/two", O_WRONLY | O_CREAT, 04711)) >= 0);
	put(fd, '2', 20);
	TRY(rename("d/one", "d/two"));
	TRY(write(fd, "still", 5));
	struct stat s;
	TRY(fstat(fd, &s));
	SHOW(s.st_nlink);
	SHOW(s.st_size);
	close(fd);
	show("d/two");
	TRY(syscall(SYS_renameat2, AT_FDCWD, "d/two", AT_FDCWD, "d/e", 1));
	TRY(syscall(SYS_renameat2, AT_FDCWD, "d/two", AT_FDCWD, "kept/three", 1));
	TRY(syscall(SYS_renameat2, AT_FDCWD, "d/e", AT_FDCWD, "kept/three", 2));
	show("d/e");
	show("kept/three");
	TRY(rename("d", "d/x"));
	TRY(rename("kept/three", "d/e"));
	TRY(rename("d/e", "kept/three"));
	TRY(rename("kept/three", "kept/f"));
	show("kept");
	show("kept/f");
	TRY(link("d/e", "kept/hard"));
	TRY(link("d/e", "kept/hard"));
	TRY(link("d", "kept/hard-directory"));
	show("kept/hard");
	TRY(symlink("hard", "kept/soft"));
	TRY(symlink("", "kept/empty"));
	char target[300] = {0};
	memset(target, 't', 250);
	TRY(symlink(target, "kept/long"));
	TRY(readlink("kept/long", target, 300));
	TRY(readlink("kept/soft", target, 2));
	show("kept/long");
	TRY(unlink("d"));
	TRY(rmdir("d"));
	TRY(rmdir("d/e"));
	TRY(unlink("d/e"));
	TRY(rmdir("d"));
	show("kept/hard");
	TRY(mknod("kept/fifo", S_IFIFO | 0622, 0));
	show("kept/fifo");
	char long_name[258] = "kept/";
	memset(long_name + 5, 'n', 252);
	TRY(close(open(long_name, O_CREAT | O_WRONLY, 0644)));
	char too_long[300] = {0};
	memset(too_long, 'm', 256);
	TRY(open(too_long, O_CREAT | O_WRONLY, 0644));
}

static void unlinked(void)
{
	char b[8] = {0};
	struct stat s;
	int fd = open("gone", O_RDWR | O_CREAT, 0644);
	MUST(fd >= 0);
	put(fd, 'u', 100000);
	TRY(unlink("gone"));
	TRY(fstat(fd, &s));
	SHOW(s.st_nlink);
	TRY(pread(fd, b, 4, 99998));
	put(fd, 'v', 100000);
	TRY(fsync(fd));
	TRY(pread(fd, b, 4, 150000));
	SHOW(b[0]);
	close(fd);
	TRY((fd = open(".", O_TMPFILE | O_RDWR, 0600)) >= 0);
	TRY(write(fd, "nameless", 8));
	TRY(fstat(fd, &s));
	SHOW(s.st_nlink);
	close(fd);
	TRY(mkdir("away", 0755));
	TRY((fd = open("away", O_RDONLY | O_DIRECTORY)) >= 0);
	TRY(rmdir("away"));
	TRY(openat(fd, "x", O_CREAT | O_WRONLY, 0644));
	TRY(fstat(fd, &s));
	SHOW(s.st_nlink);
	close(fd);
}

static void attributes(void)
{
	struct timespec t[2] = {{1000000000, 111222333}, {5000000000, 444555666}};
	struct stat s;
	struct statx x;
	int fd = open("kept/attributes", O_RDWR | O_CREAT, 0666);
	MUST(fd >= 0);
	TRY(fchmod(fd, 04751));
	TRY(fchown(fd, 12345, 54321));
	show("kept/attributes");
	TRY(fchmod(fd, 06755));
	TRY(lchown("kept/attributes", -1, 70000));
	show("kept/attributes");
	TRY(futimens(fd, t));
	TRY(fstat(fd, &s));
	SHOW(s.st_atim.tv_sec);
	SHOW(s.st_atim.tv_nsec);
	SHOW(s.st_mtim.tv_sec);
	SHOW(s.st_mtim.tv_nsec);
	time_t now = time(NULL);
	SHOW(s.st_ctim.tv_sec >= now - 5 && s.st_ctim.tv_sec <= now + 5);
	TRY(statx(AT_FDCWD, "kept/attributes", 0, STATX_BASIC_STATS, &x));
	SHOW(x.stx_mtime.tv_sec);
	SHOW(x.stx_mtime.tv_nsec);
	MUST(write(fd, "w", 1) == 1);
	TRY(fstat(fd, &s));
	SHOW(s.st_mtim.tv_sec >= now - 5 && s.st_mtim.tv_sec <= now + 5);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_sec = 77;
	TRY(futimens(fd, t));
	TRY(fstat(fd, &s));
	SHOW(s.st_atim.tv_sec);
	SHOW(s.st_mtim.tv_sec);
	TRY(chmod("kept", 02775));
	TRY(chown("kept", -1, 4242));
	TRY(mkdir("kept/inherits", 0755));
	show("kept/inherits");
	TRY(close(open("kept/inherits/file", O_CREAT | O_WRONLY, 0644)));
	show("kept/inherits/file");
	TRY(chown("kept", -1, 0));
	TRY(chmod("kept", 0755));
	TRY(setxattr("kept/attributes", "user.one", "value", 5, 0));
	TRY(setxattr("kept/attributes", "user.one", "other", 5, XATTR_CREATE));
	TRY(setxattr("kept/attributes", "user.two", "other", 5, XATTR_REPLACE));
	char b[100] = {0};
	TRY(getxattr("kept/attributes", "user.one", b, 100));
	TRY(getxattr("kept/attributes", "user.none", b, 100));
	TRY(listxattr("kept/attributes", b, 100));
	TRY(removexattr("kept/attributes", "user.one"));
	TRY(listxattr("kept/attributes", b, 100));
	close(fd);
}

static void maps(void)
{
	int fd = open("kept/mapped", O_RDWR | O_CREAT, 0644);
	MUST(fd >= 0);
	put(fd, 'm', 20000);
	char *shared = mmap(NULL, 24576, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, 24576, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *read_only = mmap(NULL, 24576, PROT_READ, MAP_SHARED, fd, 0);
	MUST(shared != MAP_FAILED && private != MAP_FAILED && read_only != MAP_FAILED);
	char b[16] = {0};
	SHOW(shared[0]);
	SHOW(shared[19999]);
	SHOW(shared[20100]);
	private[1] = 'P';
	shared[2] = 'S';
	SHOW(private[2]);
	SHOW(read_only[2]);
	TRY(pread(fd, b, 4, 0));
	printf("%s\n", b);
	TRY(pwrite(fd, "WRITTEN", 7, 5000));
	SHOW(shared[5003]);
	SHOW(read_only[5003]);
	memcpy(shared + 12000, "through memory", 14);
	TRY(msync(shared, 24576, MS_SYNC));
	TRY(msync(shared + 1, 1, MS_SYNC));
	TRY(pread(fd, b, 14, 12000));
	printf("%s\n", b);
	memcpy(shared + 15000, "after the sync", 14);
	TRY(ftruncate(fd, 16384));
	TRY(ftruncate(fd, 20000));
	SHOW(shared[17000]);
	TRY(fsync(fd));
	munmap(shared, 24576);
	munmap(private, 24576);
	munmap(read_only, 24576);
	close(fd);
	printf("%u\n", hash_of("kept/mapped"));
	TRY((fd = open("kept/mapped", O_RDONLY)) >= 0);
	TRY(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	close(fd);
}

static void many(void)
{
	char name[64];
	MUST(mkdir("kept/many", 0755) == 0);
	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof name, "kept/many/entry-number-%d-of-a-large-directory", i);
		int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
		MUST(fd >= 0 && write(fd, name, i % 50) == i % 50 && close(fd) == 0);
	}
	/* Taking names away while reading goes on where it was. */
	DIR *d = opendir("kept/many");
	int seen = 0, removed = 0;
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		seen++;
		if (atoi(e->d_name + 13) % 3 == 0) {
			snprintf(name, sizeof name, "kept/many/%s", e->d_name);
			MUST(unlink(name) == 0);
			removed++;
		}
	}
	SHOW(seen);
	SHOW(removed);
	rewinddir(d);
	int left = 0;
	long sum = 0;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			left++;
			sum += atoi(e->d_name + 13);
			MUST(e->d_type == DT_REG);
		}
	SHOW(left);
	SHOW(sum);
	closedir(d);
	TRY(rmdir("kept/many"));
}

static void large(void)
{
	unsigned seed = 1;
	int fd = open("kept/large", O_RDWR | O_CREAT, 0644);
	MUST(fd >= 0);
	static unsigned b[50000];
	for (int part = 0; part < 60; part++) {
		for (int i = 0; i < 50000; i++)
			b[i] = seed = seed * 1103515245 + 12345;
		MUST(write(fd, b, sizeof b) == sizeof b);
	}
	for (int i = 0; i < 300; i++) {
		off_t at = (off_t)(seed = seed * 1103515245 + 12345) % 11000000;
		MUST(pwrite(fd, b + i, 1234, at) == 1234);
	}
	TRY(fsync(fd));
	TRY(lseek(fd, 0, SEEK_END));
	TRY(pwrite(fd, "far", 3, 3000000000));
	TRY(lseek(fd, 0, SEEK_END));
	TRY(ftruncate(fd, 11000000));
	close(fd);
	printf("%u\n", hash_of("kept/large"));
	struct statfs f;
	TRY(statfs(".", &f));
	printf("%lx %ld\n", (long)f.f_type, (long)f.f_bsize);
	SHOW(f.f_bfree > 0 && f.f_bfree < f.f_blocks && f.f_ffree > 0);
	SHOW(f.f_namelen);
}

int main(void)
{
	MUST(chdir("/tmp/guest-volume-c") == 0);
	umask(022);
	MUST(mkdir("kept", 0755) == 0);
	sparse();
	appends();
	names();
	unlinked();
	attributes();
	maps();
	many();
	large();
	show("kept");
	return 0;
}
