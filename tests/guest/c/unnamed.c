// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Files that O_TMPFILE makes without a name, and how they get one: linkat(2) by
 * /proc/self/fd and by AT_EMPTY_PATH. The directory is the first argument, or one
 * of its own. */
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>

static char from[64];

static const char *by_number(int fd)
{
	snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
	return from;
}

static int unnamed(int flags, const char *text)
{
	int fd = open(".", O_TMPFILE | O_RDWR | flags, 0640);
	MUST(fd >= 0);
	MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

static void show(const char *path, int fd)
{
	char b[64] = "";
	struct stat s, f;
	int other = open(path, O_RDONLY);
	MUST(other >= 0 && read(other, b, sizeof b - 1) >= 0);
	MUST(fstat(other, &s) == 0 && fstat(fd, &f) == 0);
	printf("%s: %s, mode %o, links %ld, size %ld, same %d\n", path, b, s.st_mode,
	       (long)s.st_nlink, (long)s.st_size, s.st_ino == f.st_ino);
	close(other);
}

int main(int argc, char **argv)
{
	struct stat s;
	int fd, gone;
	char own[] = "/tmp/guest-unnamed-XXXXXX";
	MUST(chdir(argc > 1 ? argv[1] : mkdtemp(own)) == 0);
	umask(022);
	MUST(mkdir("kept", 0755) == 0);

	fd = unnamed(0, "first");
	TRY(linkat(AT_FDCWD, by_number(fd), AT_FDCWD, "kept/a", 0));
	TRY(linkat(AT_FDCWD, by_number(fd), AT_FDCWD, "missing/a", AT_SYMLINK_FOLLOW));
	TRY(linkat(AT_FDCWD, by_number(fd), AT_FDCWD, "kept", AT_SYMLINK_FOLLOW));
	TRY(fstat(fd, &s));
	SHOW(s.st_nlink);
	TRY(linkat(AT_FDCWD, by_number(fd), AT_FDCWD, "kept/a", AT_SYMLINK_FOLLOW));
	show("kept/a", fd);
	TRY(write(fd, " and more", 9));
	TRY(fsync(fd));
	show("kept/a", fd);
	TRY(linkat(AT_FDCWD, by_number(fd), AT_FDCWD, "kept/b", AT_SYMLINK_FOLLOW));
	TRY(linkat(AT_FDCWD, by_number(fd), AT_FDCWD, "kept/b", AT_SYMLINK_FOLLOW));
	show("kept/b", fd);
	/* What lost its names gets none again. */
	TRY(unlink("kept/a"));
	TRY(unlink("kept/b"));
	TRY(linkat(AT_FDCWD, by_number(fd), AT_FDCWD, "kept/a", AT_SYMLINK_FOLLOW));
	close(fd);

	/* Several at once: each is one of the orphans until it has a name. */
	int many[5];
	char text[8] = "number0";
	for (int i = 0; i < 5; i++) {
		text[6] = '0' + i;
		many[i] = unnamed(0, text);
		if (i % 2)
			MUST(fsync(many[i]) == 0);
	}
	TRY(linkat(many[2], "", AT_FDCWD, "kept/two", AT_EMPTY_PATH));
	TRY(linkat(many[4], "", AT_FDCWD, "kept/four", AT_EMPTY_PATH));
	TRY(linkat(many[0], "", AT_FDCWD, "kept/zero", 0));
	TRY(linkat(many[0], "", AT_FDCWD, "kept/zero", AT_EMPTY_PATH));
	show("kept/two", many[2]);
	for (int i = 0; i < 5; i++)
		close(many[i]);

	fd = unnamed(O_EXCL, "never");
	TRY(linkat(AT_FDCWD, by_number(fd), AT_FDCWD, "kept/never", AT_SYMLINK_FOLLOW));
	TRY(linkat(fd, "", AT_FDCWD, "kept/never", AT_EMPTY_PATH));
	close(fd);

	MUST((gone = open("kept/gone", O_CREAT | O_RDWR, 0644)) >= 0);
	TRY(unlink("kept/gone"));
	TRY(linkat(gone, "", AT_FDCWD, "kept/gone", AT_EMPTY_PATH));
	TRY(linkat(AT_FDCWD, by_number(gone), AT_FDCWD, "kept/gone", AT_SYMLINK_FOLLOW));
	close(gone);
	if (argc < 2) {
		MUST(unlink("kept/two") == 0 && unlink("kept/four") == 0 && unlink("kept/zero") == 0);
		MUST(rmdir("kept") == 0 && rmdir(own) == 0);
	}
	return 0;
}
