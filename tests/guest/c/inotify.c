// SPDX-License-Identifier: Apache-2.0 OR MIT
/* inotify(7): every event of files and directories in its order, moves and their
 * cookies, watches that end, what is merged, what does not fit, and threads. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <dirent.h>

static int in;

static const char *const names[] = {
	"ACCESS", "MODIFY", "ATTRIB", "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN", "MOVED_FROM", "MOVED_TO",
	"CREATE", "DELETE", "DELETE_SELF", "MOVE_SELF", "", "UNMOUNT", "Q_OVERFLOW", "IGNORED",
};

/* Prints what waits. Cookies are shown by whether they are those of the last move. */
static void drain(const char *what)
{
	static unsigned last;
	char buffer[8192] __attribute__((aligned(8)));
	printf("%s\n", what);
	for (;;) {
		ssize_t n = read(in, buffer, sizeof buffer);
		if (n <= 0)
			break;
		for (char *p = buffer; p < buffer + n;) {
			struct inotify_event *e = (void *)p;
			printf("  watch %d", e->wd);
			for (int i = 0; i < 16; i++)
				if (e->mask & 1u << i)
					printf(" %s", names[i]);
			if (e->mask & IN_ISDIR)
				printf(" ISDIR");
			if (e->cookie)
				printf(" cookie %s", e->cookie == last ? "same" : "new");
			if (e->cookie)
				last = e->cookie;
			if (e->len)
				printf(" name %s len %u", e->name, e->len);
			printf("\n");
			p += sizeof *e + e->len;
		}
	}
	fflush(stdout);
}

static void files(void)
{
	char b[64];
	TRY(inotify_add_watch(in, "d", IN_ALL_EVENTS));
	int fd = open("d/file", O_RDWR | O_CREAT, 0644);
	drain("create");
	MUST(write(fd, "hello", 5) == 5);
	MUST(write(fd, "again", 5) == 5);
	MUST(pwrite(fd, "x", 1, 0) == 1);
	drain("writes are merged");
	MUST(pread(fd, b, 5, 0) == 5);
	MUST(pread(fd, b, 5, 100) == 0);
	drain("read");
	MUST(ftruncate(fd, 3) == 0);
	drain("truncate");
	MUST(fchmod(fd, 0600) == 0);
	drain("chmod");
	close(fd);
	drain("close");
	fd = open("d/file", O_RDONLY);
	close(fd);
	drain("open and close");
	fd = open("d/file", O_WRONLY | O_TRUNC);
	close(fd);
	drain("truncating open");
	TRY(open("d/file", O_CREAT | O_EXCL | O_RDWR, 0600));
	TRY(open("d/none", O_RDONLY));
	drain("failures tell nothing");
	MUST(link("d/file", "d/second") == 0);
	drain("link");
	MUST(unlink("d/second") == 0);
	drain("unlink one of two");
	MUST(symlink("file", "d/sym") == 0);
	drain("symlink");
	MUST(mkdir("d/sub", 0755) == 0);
	drain("mkdir");
	MUST(rmdir("d/sub") == 0);
	drain("rmdir");
	MUST(mkfifo("d/fifo", 0600) == 0);
	drain("mkfifo");
	MUST(unlink("d/fifo") == 0 && unlink("d/sym") == 0);
	drain("unlink");
	DIR *dir = opendir("d");
	while (readdir(dir))
		;
	closedir(dir);
	drain("listing");
	struct stat s;
	MUST(stat("d/file", &s) == 0 && access("d/file", R_OK) == 0);
	drain("stat tells nothing");
	fd = open("d/file", O_PATH);
	close(fd);
	drain("a place tells nothing");
	MUST(chmod("d", 0700) == 0);
	drain("chmod of the directory");
	int s1 = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "d/socket"};
	MUST(bind(s1, (struct sockaddr *)&a, sizeof a) == 0);
	close(s1);
	drain("bind");
	unlink("d/socket");
	fd = open("d/file", O_RDWR);
	int other = memfd_create("m", 0);
	MUST(write(other, "sendfile", 8) == 8);
	off_t zero = 0;
	MUST(sendfile(fd, other, &zero, 8) == 8);
	close(other), close(fd);
	drain("sendfile");
	fd = open("d/file", O_RDWR);
	unlink("d/file");
	drain("unlinked while open");
	MUST(write(fd, "x", 1) == 1);
	close(fd);
	drain("written without a name");
}

static void moves(void)
{
	TRY(inotify_add_watch(in, "e", IN_MOVE | IN_CREATE | IN_DELETE));
	close(creat("d/a", 0600));
	int w = inotify_add_watch(in, "d/a", IN_ALL_EVENTS);
	drain("ready");
	MUST(rename("d/a", "d/b") == 0);
	drain("within a directory");
	MUST(rename("d/b", "e/c") == 0);
	drain("between directories");
	close(creat("d/old", 0600));
	TRY(inotify_add_watch(in, "d/old", IN_ATTRIB | IN_DELETE_SELF));
	drain("ready");
	MUST(rename("e/c", "d/old") == 0);
	drain("over another");
	close(creat("e/x", 0600));
	MUST(syscall(SYS_renameat2, AT_FDCWD, "d/old", AT_FDCWD, "e/x", 2) == 0);
	drain("exchange");
	MUST(rename("e/x", "f") == 0);
	drain("out of sight");
	MUST(unlink("f") == 0);
	drain("its end");
	TRY(inotify_rm_watch(in, w));
	unlink("d/old");
	mkdir("d/dir", 0700);
	MUST(rename("d/dir", "e/dir") == 0);
	drain("a directory");
	rmdir("e/dir");
	drain("end");
}

static void *writes(void *unused)
{
	pause_ms(60);
	close(creat("d/late", 0600));
	return unused;
}

static void watches(void)
{
	mkdir("g", 0700);
	int w = inotify_add_watch(in, "g", IN_CREATE);
	TRY(inotify_add_watch(in, "g", IN_DELETE) == w);
	close(creat("g/1", 0600));
	drain("replaced");
	TRY(inotify_add_watch(in, "g", IN_CREATE | IN_MASK_ADD) == w);
	unlink("g/1");
	close(creat("g/2", 0600));
	drain("added");
	TRY(inotify_add_watch(in, "g", IN_CREATE | IN_MASK_CREATE));
	TRY(inotify_rm_watch(in, w));
	TRY(inotify_rm_watch(in, w));
	drain("removed");
	w = inotify_add_watch(in, "g", IN_CREATE | IN_ONESHOT);
	close(creat("g/3", 0600)), close(creat("g/4", 0600));
	drain("once");
	w = inotify_add_watch(in, "g", IN_ALL_EVENTS | IN_EXCL_UNLINK);
	int fd = open("g/3", O_RDWR);
	unlink("g/3");
	drain("unlinked");
	MUST(write(fd, "x", 1) == 1);
	close(fd);
	drain("is not told of");
	unlink("g/2"), unlink("g/4");
	drain("empty");
	MUST(rmdir("g") == 0);
	drain("gone");
	close(creat("h", 0600));
	MUST(symlink("h", "l") == 0);
	TRY(inotify_add_watch(in, "h", IN_ATTRIB | IN_ONLYDIR));
	w = inotify_add_watch(in, "l", IN_ATTRIB);
	TRY(inotify_add_watch(in, "h", IN_ATTRIB) == w);
	TRY(inotify_add_watch(in, "l", IN_ATTRIB | IN_DONT_FOLLOW) != w);
	unlink("l"), unlink("h");
	drain("a link and its target");
	TRY(inotify_add_watch(in, "none", IN_ATTRIB));
	TRY(inotify_add_watch(in, "d", 0));
	TRY(inotify_add_watch(in, "d", 0x10000));
	TRY(inotify_add_watch(in, "d", IN_CREATE | IN_MASK_ADD | IN_MASK_CREATE));
	TRY(inotify_add_watch(0, "d", IN_CREATE));
	TRY(inotify_add_watch(999, "d", IN_CREATE));
	TRY(inotify_init1(1));
	TRY(write(in, "x", 1));
	char b[40];
	snprintf(b, sizeof b, "/proc/self/fd/%d", in);
	char target[64] = "";
	TRY(readlink(b, target, sizeof target - 1) > 0);
	printf("%s\n", target);

	/* Too small a buffer, the amount that waits, readiness. */
	close(creat("d/some-name", 0600));
	int waiting;
	TRY(ioctl(in, FIONREAD, &waiting));
	SHOW(waiting);
	TRY(read(in, target, 16));
	TRY(read(in, target, 40));
	drain("the rest");
	TRY(read(in, target, 64));
	struct pollfd p = {in, POLLIN | POLLOUT, 0};
	SHOW(poll(&p, 1, 0));
	int epoll = epoll_create1(0);
	struct epoll_event e = {EPOLLIN | EPOLLET, {0}};
	TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, in, &e));
	pthread_t thread;
	pthread_create(&thread, NULL, writes, NULL);
	SHOW(epoll_wait(epoll, &e, 1, 5000));
	SHOW(e.events);
	pthread_join(thread, NULL);
	SHOW(poll(&p, 1, 0));
	SHOW(p.revents);
	drain("late");
	close(epoll);
	unlink("d/late"), unlink("d/some-name");

	TRY(inotify_rm_watch(in, 1));
	drain("alone");
}

static void touch(const char *name)
{
	close(creat(name, 0600));
}

/* A watch is of the file, whatever names come and go. */
static void links(void)
{
	MUST(inotify_add_watch(in, "d", IN_ALL_EVENTS) > 0);
	MUST(inotify_add_watch(in, "e", IN_ALL_EVENTS) > 0);
	touch("d/one");
	int w = inotify_add_watch(in, "d/one", IN_ALL_EVENTS);
	drain("links");
	MUST(link("d/one", "e/two") == 0);
	drain("a second name");
	TRY(inotify_add_watch(in, "e/two", IN_ALL_EVENTS) == w);
	int fd = open("e/two", O_RDWR);
	MUST(write(fd, "x", 1) == 1 && fchmod(fd, 0640) == 0);
	close(fd);
	drain("through the second");
	MUST(truncate("e/two", 0) == 0);
	drain("cut by the second");
	MUST(unlink("d/one") == 0);
	drain("the watched name goes");
	fd = open("e/two", O_RDWR);
	MUST(write(fd, "y", 1) == 1);
	close(fd);
	drain("the other goes on");
	MUST(link("e/two", "d/three") == 0 && rename("d/three", "d/four") == 0);
	drain("a third that moves");
	touch("d/over");
	MUST(rename("d/over", "d/four") == 0);
	drain("replaced");
	MUST(unlink("e/two") == 0);
	drain("the last goes");

	touch("d/five");
	MUST(link("d/five", "e/five") == 0);
	MUST(inotify_add_watch(in, "d/five", IN_ALL_EVENTS) > 0);
	drain("two names");
	MUST(rename("d/five", "e/five") == 0);
	drain("moved onto itself");
	MUST(rename("d/four", "d/five") == 0);
	drain("the watched one replaced");
	fd = open("e/five", O_RDONLY);
	close(fd);
	drain("the other is told of");
	MUST(unlink("e/five") == 0 && unlink("d/five") == 0);
	drain("no name");
	MUST(symlink("x", "d/sym") == 0 && link("d/sym", "e/sym") == 0);
	MUST(inotify_add_watch(in, "d/sym", IN_ALL_EVENTS | IN_DONT_FOLLOW) > 0);
	drain("a symbolic link");
	MUST(unlink("d/sym") == 0);
	drain("one name left");
	MUST(unlink("e/sym") == 0);
	drain("none left");
}

/* What has no name ends when nobody has it open. */
static void ends(void)
{
	int fd = open("d/a", O_RDWR | O_CREAT, 0600);
	MUST(link("d/a", "e/a") == 0);
	MUST(inotify_add_watch(in, "d/a", IN_ALL_EVENTS) > 0);
	drain("open");
	MUST(unlink("d/a") == 0);
	drain("by a name that goes");
	MUST(unlink("e/a") == 0);
	drain("no name is used any more");
	close(fd);
	drain("closed");

	touch("d/b");
	MUST(link("d/b", "e/b") == 0);
	MUST(inotify_add_watch(in, "d/b", IN_ALL_EVENTS) > 0);
	fd = open("e/b", O_RDWR);
	drain("open");
	MUST(unlink("d/b") == 0 && unlink("e/b") == 0);
	drain("by the last name");
	MUST(write(fd, "x", 1) == 1);
	int second = dup(fd);
	close(fd);
	drain("written");
	close(second);
	drain("closed");

	fd = open("d/c", O_RDWR | O_CREAT, 0600);
	MUST(inotify_add_watch(in, "d/c", IN_ALL_EVENTS) > 0);
	touch("d/new");
	drain("open");
	MUST(rename("d/new", "d/c") == 0);
	drain("replaced");
	close(fd);
	drain("closed");
	MUST(unlink("d/c") == 0);

	MUST(mkdir("d/dir", 0700) == 0);
	MUST(inotify_add_watch(in, "d/dir", IN_ALL_EVENTS) > 0);
	fd = open("d/dir", O_RDONLY | O_DIRECTORY);
	drain("a directory");
	MUST(rmdir("d/dir") == 0);
	drain("removed");
	close(fd);
	drain("closed");
	MUST(mkdir("d/dir", 0700) == 0);
	MUST(inotify_add_watch(in, "d/dir", IN_ALL_EVENTS) > 0);
	MUST(rmdir("d/dir") == 0);
	drain("removed at once");

	/* Watched when it has no name, and given one. */
	MUST(inotify_rm_watch(in, 1) == 0 && inotify_rm_watch(in, 2) == 0);
	drain("alone");
	char path[40];
	fd = open("d", O_TMPFILE | O_RDWR, 0600);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	TRY(inotify_add_watch(in, path, IN_ALL_EVENTS) > 0);
	MUST(linkat(AT_FDCWD, path, AT_FDCWD, "d/named", AT_SYMLINK_FOLLOW) == 0);
	drain("named");
	close(fd);
	drain("closed");
	unlink("d/named");
	drain("gone");
	fd = open("d/e", O_RDWR | O_CREAT, 0600);
	unlink("d/e");
	TRY(inotify_add_watch(in, path, IN_ALL_EVENTS) > 0);
	close(fd);
	drain("never named again");
}

static long setting(const char *name)
{
	char path[64], text[32] = "";
	snprintf(path, sizeof path, "/proc/sys/fs/inotify/%s", name);
	int fd = open(path, O_RDONLY);
	MUST(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
	close(fd);
	return atol(text);
}

/* Reads at most `most` bytes of events; says how many there were of each kind. */
static void count(int full, const char *what, size_t most)
{
	static char large[32 * 20000] __attribute__((aligned(8)));
	long events = 0, overflows = 0, n;
	unsigned last = 0;
	while (most >= 32 && (n = read(full, large, most)) > 0) {
		most -= n;
		for (char *at = large; at < large + n;) {
			struct inotify_event *event = (void *)at;
			last = event->mask;
			events++;
			overflows += event->mask == IN_Q_OVERFLOW && event->wd == -1 && !event->len;
			at += sizeof *event + event->len;
		}
	}
	printf("%s: events %ld overflows %ld last %x\n", what, events, overflows, last);
}

static void open_and_close(int times)
{
	for (int i = 0; i < times; i++)
		close(open("d/file", O_RDONLY));
}

static void limits(void)
{
	const size_t all = 32 * 20000;
	SHOW(setting("max_queued_events"));
	SHOW(setting("max_user_watches") > 0);
	int full = inotify_init1(IN_NONBLOCK);
	touch("d/file");
	MUST(inotify_add_watch(full, "d", IN_OPEN | IN_CLOSE) == 1);
	open_and_close(8300);
	count(full, "more than fits", all);
	open_and_close(8300);
	count(full, "one", 32);
	open_and_close(1);
	count(full, "two", 32);
	open_and_close(1);
	count(full, "lost ones are told of once", all);
	open_and_close(1);
	count(full, "as ever", all);
	close(full);
	unlink("d/file");

	/* Cookies do not keep events apart. */
	MUST(inotify_add_watch(in, "d", IN_MOVED_FROM) > 0);
	touch("d/a");
	for (int i = 0; i < 3; i++)
		MUST(rename("d/a", "a") == 0 && rename("a", "d/a") == 0);
	unlink("d/a");
	drain("moves that look the same");

	/* As a user whose instances nobody else wants. */
	if (geteuid() == 0)
		MUST(seteuid(60000 + getpid() % 5000) == 0);
	long most = setting("max_user_instances"), made = 0;
	static int instances[100000];
	while ((instances[made] = inotify_init1(IN_CLOEXEC)) >= 0)
		made++;
	int error = errno;
	SHOW(made > 0 && made <= most);
	SHOW(error);
	close(instances[--made]);
	TRY((instances[made] = inotify_init1(0)) >= 0);
	for (; made >= 0; made--)
		close(instances[made]);
	if (getuid() == 0)
		MUST(seteuid(0) == 0);
}

/* Watches come and go while files do. */
static volatile int stop;
static void *churn(void *argument)
{
	char name[40];
	for (long i = 0; !stop; i++) {
		snprintf(name, sizeof name, "d/churn-%ld-%ld", (long)argument, i % 7);
		close(creat(name, 0600));
		int w = inotify_add_watch(in, name, IN_ALL_EVENTS);
		if (i % 3 == 0)
			inotify_rm_watch(in, w);
		int mine = inotify_init1(IN_CLOEXEC);
		inotify_add_watch(mine, "d", IN_ALL_EVENTS);
		unlink(name);
		close(mine);
	}
	return NULL;
}

static void crowd(void)
{
	pthread_t t[4];
	char b[4096];
	TRY(inotify_add_watch(in, "d", IN_ALL_EVENTS) > 0);
	for (long i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, churn, (void *)i);
	double end = seconds() + 1;
	long bytes = 0, n;
	while (seconds() < end)
		if ((n = read(in, b, sizeof b)) > 0)
			bytes += n;
	stop = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	SHOW(bytes > 0);
	while (read(in, b, sizeof b) > 0)
		;
}

/* With an instance that has seen nothing. */
static void again(void (*test)(void))
{
	close(in);
	in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	test();
}

int main(void)
{
	umask(022);
	/* This program runs on one Linux more than once at a time. */
	char own[] = "/tmp/inotifyXXXXXX";
	MUST(mkdtemp(own) && chmod(own, 0755) == 0 && chdir(own) == 0);
	MUST(mkdir("d", 0755) == 0 && mkdir("e", 0755) == 0);
	in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	SHOW(in >= 0);
	files();
	moves();
	watches();
	again(links);
	ends();
	again(limits);
	again(crowd);
	close(in);
	rmdir("d"), rmdir("e");
	MUST(chdir("/") == 0);
	TRY(rmdir(own));
	return 0;
}
