// SPDX-License-Identifier: Apache-2.0 OR MIT
/* init: PID 1 of the Linux guest that benchmarks are compared with. Loads the
 * modules listed in /modules.list, brings eth0 up as 10.0.2.15/24 (the address
 * QEMU's user network forwards to), mounts /proc, runs its arguments (or /app)
 * as the only program and powers the machine off when that ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void complain(const char *what)
{
	dprintf(1, "INIT %s: %s\n", what, strerror(errno));
}

static void load_modules(void)
{
	char path[256];
	FILE *list = fopen("/modules.list", "r");
	if (!list)
		return;
	while (fgets(path, sizeof path, list)) {
		path[strcspn(path, "\n")] = 0;
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0)
			complain(path);
		if (fd >= 0)
			close(fd);
	}
	fclose(list);
}

static void set_address(int s, unsigned long request, struct ifreq *ifr, const char *text)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)&ifr->ifr_addr;
	memset(sin, 0, sizeof *sin);
	sin->sin_family = AF_INET;
	inet_pton(AF_INET, text, &sin->sin_addr);
	if (ioctl(s, request, ifr) < 0)
		complain(text);
}

static void up(int s, const char *name)
{
	struct ifreq ifr = {0};
	strcpy(ifr.ifr_name, name);
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(s, SIOCSIFFLAGS, &ifr) < 0)
		complain(name);
}

static void configure_network(void)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};
	up(s, "lo");
	strcpy(ifr.ifr_name, "eth0");
	set_address(s, SIOCSIFADDR, &ifr, "10.0.2.15");
	set_address(s, SIOCSIFNETMASK, &ifr, "255.255.255.0");
	up(s, "eth0");

	struct rtentry route = {0};
	struct sockaddr_in any = {.sin_family = AF_INET}, gateway = any;
	inet_pton(AF_INET, "10.0.2.2", &gateway.sin_addr);
	memcpy(&route.rt_dst, &any, sizeof any);
	memcpy(&route.rt_genmask, &any, sizeof any);
	memcpy(&route.rt_gateway, &gateway, sizeof gateway);
	route.rt_flags = RTF_UP | RTF_GATEWAY;
	if (ioctl(s, SIOCADDRT, &route) < 0)
		complain("default route");
	close(s);
}

int main(int argc, char **argv)
{
	static char *app[] = {"/app", NULL};
	mkdir("/proc", 0555);
	if (mount("proc", "/proc", "proc", 0, NULL) < 0)
		complain("/proc");
	load_modules();
	if (access("/modules.list", R_OK) == 0)
		configure_network();
	pid_t child = fork();
	if (child == 0) {
		execv(argc > 1 ? argv[1] : "/app", argc > 1 ? argv + 1 : app);
		complain("exec");
		_exit(127);
	}
	int status = 0;
	while (waitpid(-1, &status, 0) != child)
		;
	dprintf(1, "INIT status %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	reboot(RB_POWER_OFF);
	return 0;
}
