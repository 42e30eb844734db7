// SPDX-License-Identifier: Apache-2.0 OR MIT
/* What servers and their libraries ask of TCP and UDP beyond the first socket:
 * several listeners of one port, full backlogs, keep-alive and other options,
 * half-closed connections, resets, sendfile and splice of much, multicast and
 * broadcast, IPv6 that takes IPv4. */
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int port_of(int fd)
{
	struct sockaddr_in6 a;
	socklen_t n = sizeof a;
	MUST(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	return ntohs(a.sin6_port);
}

static short ready(int fd, short events, int timeout)
{
	struct pollfd p = {fd, events, 0};
	poll(&p, 1, timeout);
	return p.revents;
}

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t n = sizeof v;
	if (getsockopt(fd, level, name, &v, &n) < 0)
		return -errno;
	return v;
}

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

static int listener(int port, int backlog, int reuse)
{
	struct sockaddr_in a = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (reuse)
		MUST(set(fd, SOL_SOCKET, SO_REUSEPORT, 1) == 0);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, backlog) < 0) {
		int e = errno;
		close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

static int dial(int port, int flags)
{
	struct sockaddr_in a = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
		int e = errno;
		close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

static void reuse_port(void)
{
	enum { LISTENERS = 4, CLIENTS = 64 };
	int fds[LISTENERS], clients[CLIENTS], got[LISTENERS] = {0}, total = 0, used = 0;
	fds[0] = listener(0, 128, 1);
	int port = port_of(fds[0]);
	TRY(listener(port, 1, 0));
	for (int i = 1; i < LISTENERS; i++)
		MUST((fds[i] = listener(port, 128, 1)) >= 0);
	for (int i = 0; i < CLIENTS; i++)
		MUST((clients[i] = dial(port, 0)) >= 0);
	for (int i = 0; i < LISTENERS; i++) {
		while (ready(fds[i], POLLIN, 20) & POLLIN) {
			close(accept(fds[i], NULL, NULL));
			got[i]++;
		}
		total += got[i];
		used += got[i] > 0;
	}
	SHOW(total);
	SHOW(used >= 2);
	/* A listener that goes takes its queue along, the others stay. */
	for (int i = 1; i < LISTENERS; i++)
		close(fds[i]);
	int last = dial(port, 0);
	SHOW(ready(fds[0], POLLIN, 1000));
	close(last);
	close(fds[0]);
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
	TRY(dial(port, 0));

	/* Datagrams of one sender go to one socket. */
	struct sockaddr_in a = loopback(0);
	int u[2];
	for (int i = 0; i < 2; i++) {
		u[i] = socket(AF_INET, SOCK_DGRAM, 0);
		SHOW(set(u[i], SOL_SOCKET, SO_REUSEPORT, 1));
		MUST(bind(u[i], (struct sockaddr *)&a, sizeof a) == 0);
		a = loopback(port_of(u[i]));
	}
	int sender = socket(AF_INET, SOCK_DGRAM, 0);
	MUST(connect(sender, (struct sockaddr *)&a, sizeof a) == 0);
	for (int i = 0; i < 10; i++)
		MUST(send(sender, "x", 1, 0) == 1);
	int counts[2] = {0, 0};
	char b[8];
	for (int i = 0; i < 2; i++)
		while (recv(u[i], b, sizeof b, MSG_DONTWAIT) == 1)
			counts[i]++;
	SHOW(counts[0] + counts[1]);
	SHOW(counts[0] == 10 || counts[1] == 10);
	close(u[0]), close(u[1]), close(sender);
}

static void backlog(void)
{
	int l = listener(0, 2, 0), port = port_of(l), fds[8], open = 0, waiting = 0;
	for (int i = 0; i < 8; i++) {
		fds[i] = dial(port, SOCK_NONBLOCK);
		MUST(fds[i] >= 0);
	}
	for (int i = 0; i < 8; i++) {
		int writable = ready(fds[i], POLLOUT, 50) & POLLOUT;
		open += writable != 0;
		waiting += writable == 0;
	}
	/* backlog + 1 are taken; the others try again when there is room. */
	SHOW(open);
	SHOW(waiting);
	int accepted = 0;
	while (accepted < 5 && ready(l, POLLIN, 10000) & POLLIN) {
		close(accept(l, NULL, NULL));
		accepted++;
	}
	SHOW(accepted);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	/* listen again makes the backlog another. */
	TRY(listen(l, 100));
	for (int i = 0; i < 8; i++)
		MUST((fds[i] = dial(port, 0)) >= 0);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	close(l);
}

static void options(void)
{
	int l = listener(0, 8, 0), c = dial(port_of(l), 0), s = accept(l, NULL, NULL);
	SHOW(option(c, SOL_SOCKET, SO_KEEPALIVE));
	SHOW(option(c, IPPROTO_TCP, TCP_KEEPIDLE));
	SHOW(option(c, IPPROTO_TCP, TCP_KEEPINTVL));
	SHOW(option(c, IPPROTO_TCP, TCP_KEEPCNT));
	SHOW(set(c, SOL_SOCKET, SO_KEEPALIVE, 1));
	SHOW(set(c, IPPROTO_TCP, TCP_KEEPIDLE, 15));
	SHOW(set(c, IPPROTO_TCP, TCP_KEEPINTVL, 3));
	SHOW(set(c, IPPROTO_TCP, TCP_KEEPCNT, 4));
	SHOW(option(c, SOL_SOCKET, SO_KEEPALIVE));
	SHOW(option(c, IPPROTO_TCP, TCP_KEEPIDLE));
	SHOW(option(c, IPPROTO_TCP, TCP_KEEPINTVL));
	SHOW(option(c, IPPROTO_TCP, TCP_KEEPCNT));
	SHOW(set(c, IPPROTO_TCP, TCP_KEEPIDLE, 0));
	SHOW(set(c, IPPROTO_TCP, TCP_KEEPIDLE, 40000));
	SHOW(set(c, IPPROTO_TCP, TCP_KEEPCNT, 200));
	SHOW(set(c, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000));
	SHOW(option(c, IPPROTO_TCP, TCP_USER_TIMEOUT));
	SHOW(set(c, IPPROTO_TCP, TCP_USER_TIMEOUT, -1));
	SHOW(set(c, IPPROTO_TCP, TCP_NODELAY, 1));
	SHOW(option(c, IPPROTO_TCP, TCP_NODELAY));
	SHOW(set(c, IPPROTO_TCP, TCP_CORK, 1));
	SHOW(option(c, IPPROTO_TCP, TCP_CORK));
	SHOW(set(c, IPPROTO_TCP, TCP_CORK, 0));
	SHOW(set(c, IPPROTO_TCP, TCP_QUICKACK, 1));
	SHOW(option(c, IPPROTO_TCP, TCP_QUICKACK));
	SHOW(option(c, IPPROTO_TCP, TCP_DEFER_ACCEPT));
	SHOW(set(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1));
	SHOW(set(l, IPPROTO_TCP, TCP_FASTOPEN, 16));
	SHOW(set(c, IPPROTO_TCP, TCP_SYNCNT, 3));
	SHOW(option(c, IPPROTO_TCP, TCP_SYNCNT));
	SHOW(set(c, IPPROTO_TCP, TCP_LINGER2, 7));
	SHOW(option(c, IPPROTO_TCP, TCP_LINGER2));
	SHOW(set(c, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384));
	SHOW(option(c, IPPROTO_TCP, TCP_NOTSENT_LOWAT));
	SHOW(set(c, IPPROTO_TCP, TCP_WINDOW_CLAMP, 65536));
	SHOW(option(c, IPPROTO_TCP, TCP_MAXSEG) > 500);
	char name[32] = "";
	socklen_t n = sizeof name;
	TRY(getsockopt(c, IPPROTO_TCP, TCP_CONGESTION, name, &n));
	SHOW(name[0] != 0);
	TRY(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	TRY(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6));
	struct tcp_info info;
	n = sizeof info;
	TRY(getsockopt(c, IPPROTO_TCP, TCP_INFO, &info, &n));
	SHOW(info.tcpi_state == TCP_ESTABLISHED);
	SHOW(info.tcpi_snd_mss > 500);
	SHOW(set(c, SOL_SOCKET, SO_PRIORITY, 3));
	SHOW(option(c, SOL_SOCKET, SO_PRIORITY));
	SHOW(set(c, SOL_SOCKET, SO_MARK, 7));
	SHOW(option(c, SOL_SOCKET, SO_MARK));
	SHOW(set(c, SOL_SOCKET, SO_RCVLOWAT, 5));
	SHOW(option(c, SOL_SOCKET, SO_RCVLOWAT));
	SHOW(option(c, SOL_SOCKET, SO_SNDLOWAT));
	SHOW(set(c, SOL_SOCKET, SO_SNDLOWAT, 5));
	SHOW(set(c, SOL_SOCKET, SO_OOBINLINE, 1));
	SHOW(set(c, SOL_SOCKET, SO_BUSY_POLL, 10));
	SHOW(set(c, SOL_SOCKET, SO_INCOMING_CPU, 0));
	SHOW(set(c, SOL_SOCKET, SO_ZEROCOPY, 1));
	SHOW(set(c, SOL_SOCKET, SO_TIMESTAMP, 1));
	SHOW(set(c, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	SHOW(option(c, SOL_SOCKET, SO_TIMESTAMPNS));
	SHOW(set(c, IPPROTO_IP, IP_TOS, 0x10));
	SHOW(option(c, IPPROTO_IP, IP_TOS));
	SHOW(set(c, IPPROTO_IP, IP_TTL, 33));
	SHOW(option(c, IPPROTO_IP, IP_TTL));
	SHOW(set(c, IPPROTO_IP, IP_TTL, 300));
	SHOW(set(c, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	SHOW(set(c, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
	SHOW(set(c, IPPROTO_IP, IP_TRANSPARENT, 1));
	SHOW(set(c, IPPROTO_IP, IP_FREEBIND, 1));
	SHOW(set(c, IPPROTO_IP, IP_RECVERR, 1));
	SHOW(set(c, IPPROTO_IP, 9999, 1));
	SHOW(set(c, IPPROTO_TCP, 9999, 1));
	SHOW(option(c, IPPROTO_TCP, 9999));
	SHOW(option(c, IPPROTO_IP, 9999));
	TRY(setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	char device[IFNAMSIZ] = "";
	n = sizeof device;
	TRY(getsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, device, &n));
	printf("device %s %d\n", device, (int)n);
	TRY(setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8));
	SHOW(set(c, SOL_SOCKET, SO_SNDBUF, 100000));
	SHOW(option(c, SOL_SOCKET, SO_SNDBUF));
	SHOW(set(c, SOL_SOCKET, SO_RCVBUF, 1));
	SHOW(option(c, SOL_SOCKET, SO_RCVBUF));
	struct timeval t = {1, 500000};
	TRY(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	memset(&t, 0, sizeof t);
	n = sizeof t;
	TRY(getsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &t, &n));
	printf("timeout %ld.%06ld\n", t.tv_sec, t.tv_usec);
	t.tv_usec = 1000000;
	TRY(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	struct linger linger = {1, 3};
	TRY(setsockopt(c, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
	memset(&linger, 0, sizeof linger);
	n = sizeof linger;
	TRY(getsockopt(c, SOL_SOCKET, SO_LINGER, &linger, &n));
	printf("linger %d %d\n", linger.l_onoff, linger.l_linger);
	close(c), close(s), close(l);
}

static void half_close(void)
{
	int l = listener(0, 8, 0), c = dial(port_of(l), 0), s = accept(l, NULL, NULL);
	char b[16];
	TRY(shutdown(c, SHUT_WR));
	SHOW(ready(s, POLLIN | POLLRDHUP | POLLOUT, 1000));
	TRY(recv(s, b, sizeof b, 0));
	TRY(send(c, "x", 1, MSG_NOSIGNAL));
	TRY(send(s, "still", 5, 0));
	TRY(recv(c, b, sizeof b, 0));
	SHOW(ready(c, POLLIN | POLLRDHUP | POLLOUT, 0));
	TRY(shutdown(s, SHUT_RDWR));
	pause_ms(20);
	SHOW(ready(s, POLLIN | POLLRDHUP | POLLOUT, 0));
	SHOW(ready(c, POLLIN | POLLRDHUP | POLLOUT, 0));
	TRY(shutdown(s, SHUT_RD));
	TRY(shutdown(c, 7));
	close(c), close(s);

	/* Unread data at the close is a reset for the other. */
	c = dial(port_of(l), 0), s = accept(l, NULL, NULL);
	TRY(send(c, "unread", 6, 0));
	ready(s, POLLIN, 1000);
	close(s);
	pause_ms(20);
	SHOW(ready(c, POLLIN | POLLOUT, 0));
	SHOW(option(c, SOL_SOCKET, SO_ERROR));
	TRY(recv(c, b, sizeof b, 0));
	TRY(send(c, "x", 1, MSG_NOSIGNAL));
	close(c);

	/* So is lingering for no time. */
	c = dial(port_of(l), 0), s = accept(l, NULL, NULL);
	struct linger now = {1, 0};
	TRY(setsockopt(s, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	close(s);
	pause_ms(20);
	TRY(recv(c, b, sizeof b, 0));
	TRY(recv(c, b, sizeof b, 0));
	close(c);

	/* A connection that was given up in the queue is still accepted. */
	c = dial(port_of(l), 0);
	TRY(send(c, "bye", 3, 0));
	close(c);
	pause_ms(20);
	s = accept(l, NULL, NULL);
	SHOW(s >= 0);
	TRY(recv(s, b, sizeof b, 0));
	TRY(recv(s, b, sizeof b, 0));
	close(s);

	/* Closing a listener wakes who polls it; shutdown wakes who accepts. */
	TRY(shutdown(l, SHUT_RD));
	SHOW(ready(l, POLLIN, 0));
	TRY(accept(l, NULL, NULL));
	TRY(listen(l, 8));
	close(l);

	/* Urgent data. */
	l = listener(0, 8, 0);
	c = dial(port_of(l), 0), s = accept(l, NULL, NULL);
	TRY(send(c, "ab", 2, 0));
	TRY(connect(c, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, sizeof(struct sockaddr_in)));
	int amount = -1;
	pause_ms(20);
	TRY(ioctl(s, FIONREAD, &amount));
	SHOW(amount);
	TRY(recv(s, b, sizeof b, MSG_PEEK));
	TRY(recv(s, b, 1, MSG_WAITALL));
	TRY(recv(s, b, sizeof b, MSG_TRUNC));
	TRY(recv(s, b, sizeof b, MSG_DONTWAIT));
	TRY(recv(s, b, sizeof b, MSG_OOB));
	close(c), close(s), close(l);
}

enum { MUCH = 8 << 20 };

static void *drain(void *argument)
{
	int fd = (int)(long)argument;
	static char b[65536];
	unsigned long sum = 0, count = 0;
	ssize_t n;
	while ((n = read(fd, b, sizeof b)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 31 + (unsigned char)b[i];
		count += n;
	}
	printf("drained %lu sum %lu\n", count, sum);
	fflush(stdout);
	return NULL;
}

static void copies(void)
{
	int file = memfd_create("much", 0);
	MUST(file >= 0);
	char *b = malloc(MUCH);
	for (int i = 0; i < MUCH; i++)
		b[i] = (char)(i * 13 + i / 4096);
	MUST(write(file, b, MUCH) == MUCH);
	free(b);
	int l = listener(0, 8, 0);
	for (int kind = 0; kind < 3; kind++) {
		int c = dial(port_of(l), 0), s = accept(l, NULL, NULL), p[2];
		pthread_t thread;
		pthread_create(&thread, NULL, drain, (void *)(long)s);
		off_t at = 0;
		long sent = 0;
		MUST(pipe(p) == 0);
		if (kind == 0) {
			while (sent < MUCH) {
				ssize_t n = sendfile(c, file, &at, MUCH);
				MUST(n > 0);
				sent += n;
			}
			SHOW(at);
			TRY(sendfile(c, file, &at, 10));
		} else if (kind == 1) {
			TRY(lseek(file, 0, SEEK_SET));
			while (sent < MUCH) {
				ssize_t n = splice(file, NULL, p[1], NULL, 65536, SPLICE_F_MOVE);
				MUST(n > 0);
				for (ssize_t moved = 0, m; moved < n; moved += m)
					MUST((m = splice(p[0], NULL, c, NULL, n - moved, SPLICE_F_MORE)) > 0);
				sent += n;
			}
		} else {
			TRY(fcntl(c, F_SETFL, O_NONBLOCK));
			at = 0;
			while (sent < MUCH) {
				ssize_t n = sendfile(c, file, &at, MUCH - sent);
				if (n < 0) {
					MUST(errno == EAGAIN);
					ready(c, POLLOUT, 1000);
				} else {
					sent += n;
				}
			}
		}
		SHOW(sent);
		TRY(shutdown(c, SHUT_WR));
		pthread_join(thread, NULL);
		close(c), close(s), close(p[0]), close(p[1]);
	}
	int p[2];
	MUST(pipe(p) == 0);
	TRY(splice(file, NULL, file, NULL, 10, 0));
	TRY(splice(p[0], &(loff_t){0}, p[1], NULL, 10, 0));
	TRY(splice(file, &(loff_t){100}, p[1], NULL, 10, 0));
	TRY(sendfile(p[0], file, NULL, 10));
	TRY(sendfile(p[1], l, NULL, 10));
	close(file), close(l);
}

static void groups(void)
{
	int u = socket(AF_INET, SOCK_DGRAM, 0);
	SHOW(option(u, SOL_SOCKET, SO_BROADCAST));
	struct sockaddr_in everybody = {.sin_family = AF_INET, .sin_port = htons(9)};
	everybody.sin_addr.s_addr = htonl(INADDR_BROADCAST);
	TRY(sendto(u, "x", 1, 0, (struct sockaddr *)&everybody, sizeof everybody));
	SHOW(set(u, SOL_SOCKET, SO_BROADCAST, 1));
	SHOW(option(u, IPPROTO_IP, IP_MULTICAST_TTL));
	SHOW(option(u, IPPROTO_IP, IP_MULTICAST_LOOP));
	SHOW(set(u, IPPROTO_IP, IP_MULTICAST_TTL, 4));
	SHOW(option(u, IPPROTO_IP, IP_MULTICAST_TTL));
	unsigned char small = 9;
	TRY(setsockopt(u, IPPROTO_IP, IP_MULTICAST_TTL, &small, 1));
	SHOW(option(u, IPPROTO_IP, IP_MULTICAST_TTL));
	struct ip_mreqn request = {0};
	request.imr_multiaddr.s_addr = inet_addr("239.1.2.3");
	request.imr_ifindex = if_nametoindex("lo");
	SHOW(request.imr_ifindex > 0);
	struct sockaddr_in a = {.sin_family = AF_INET};
	int receiver = socket(AF_INET, SOCK_DGRAM, 0);
	SHOW(set(receiver, SOL_SOCKET, SO_REUSEADDR, 1));
	MUST(bind(receiver, (struct sockaddr *)&a, sizeof a) == 0);
	TRY(setsockopt(receiver, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
	TRY(setsockopt(receiver, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
	TRY(setsockopt(u, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request));
	a = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port_of(receiver))};
	a.sin_addr = request.imr_multiaddr;
	TRY(sendto(u, "group", 5, 0, (struct sockaddr *)&a, sizeof a));
	char b[16];
	SHOW(ready(receiver, POLLIN, 500));
	TRY(recv(receiver, b, sizeof b, MSG_DONTWAIT));
	TRY(setsockopt(receiver, IPPROTO_IP, IP_DROP_MEMBERSHIP, &request, sizeof request));
	TRY(setsockopt(receiver, IPPROTO_IP, IP_DROP_MEMBERSHIP, &request, sizeof request));
	TRY(sendto(u, "group", 5, 0, (struct sockaddr *)&a, sizeof a));
	SHOW(ready(receiver, POLLIN, 50));
	request.imr_multiaddr.s_addr = inet_addr("10.1.2.3");
	TRY(setsockopt(receiver, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));

	/* Where a datagram came in. */
	SHOW(set(receiver, IPPROTO_IP, IP_PKTINFO, 1));
	SHOW(set(receiver, IPPROTO_IP, IP_RECVTTL, 1));
	SHOW(set(receiver, IPPROTO_IP, IP_RECVTOS, 1));
	a = loopback(port_of(receiver));
	SHOW(set(u, IPPROTO_IP, IP_TTL, 44));
	TRY(sendto(u, "info", 4, 0, (struct sockaddr *)&a, sizeof a));
	char control[256];
	struct iovec v = {b, 2};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ready(receiver, POLLIN, 500);
	TRY(recvmsg(receiver, &m, 0));
	SHOW(m.msg_flags == MSG_TRUNC);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		printf("control %d %d length %d", h->cmsg_level, h->cmsg_type, (int)h->cmsg_len);
		if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_TTL)
			printf(" ttl %d", *(int *)CMSG_DATA(h));
		if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *i = (void *)CMSG_DATA(h);
			printf(" on lo %d to %08x", i->ipi_ifindex == (int)if_nametoindex("lo"), ntohl(i->ipi_addr.s_addr));
		}
		printf("\n");
	}
	/* Too much at once, and nobody there. */
	char *huge = calloc(1, 70000);
	TRY(sendto(u, huge, 65507, 0, (struct sockaddr *)&a, sizeof a));
	TRY(sendto(u, huge, 65508, 0, (struct sockaddr *)&a, sizeof a));
	TRY(recv(receiver, huge, 70000, 0));
	int gone = port_of(receiver);
	close(receiver);
	a = loopback(gone);
	MUST(connect(u, (struct sockaddr *)&a, sizeof a) == 0);
	TRY(send(u, "x", 1, 0));
	pause_ms(20);
	SHOW(ready(u, POLLIN | POLLOUT, 0));
	TRY(recv(u, b, 1, MSG_DONTWAIT));
	TRY(recv(u, b, 1, MSG_DONTWAIT));
	free(huge);
	close(u);
}

static void both_families(void)
{
	int l = socket(AF_INET6, SOCK_STREAM, 0);
	SHOW(option(l, IPPROTO_IPV6, IPV6_V6ONLY));
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	MUST(bind(l, (struct sockaddr *)&any, sizeof any) == 0);
	SHOW(set(l, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	MUST(listen(l, 8) == 0);
	int port = port_of(l), c = dial(port, 0);
	struct sockaddr_in6 peer;
	socklen_t n = sizeof peer;
	char text[64];
	int s = accept(l, (struct sockaddr *)&peer, &n);
	printf("peer %s family %d length %d\n", inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text), peer.sin6_family, (int)n);
	n = sizeof peer;
	getsockname(s, (struct sockaddr *)&peer, &n);
	printf("own %s\n", inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text));
	SHOW(option(s, SOL_SOCKET, SO_DOMAIN));
	/* The port is taken for IPv4 too. */
	struct sockaddr_in a = loopback(port);
	int four = socket(AF_INET, SOCK_STREAM, 0);
	TRY(bind(four, (struct sockaddr *)&a, sizeof a));
	close(four), close(s), close(c), close(l);

	/* Without the other family they can share it. */
	l = socket(AF_INET6, SOCK_STREAM, 0);
	SHOW(set(l, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	MUST(bind(l, (struct sockaddr *)&any, sizeof any) == 0 && listen(l, 8) == 0);
	a = loopback(port_of(l));
	four = socket(AF_INET, SOCK_STREAM, 0);
	TRY(bind(four, (struct sockaddr *)&a, sizeof a));
	TRY(dial(port_of(l), 0));
	c = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(port_of(l))};
	to.sin6_addr = in6addr_loopback;
	TRY(connect(c, (struct sockaddr *)&to, sizeof to));
	close(c), close(four), close(l);

	/* A mapped address from an IPv6 socket. */
	l = listener(0, 8, 0);
	c = socket(AF_INET6, SOCK_STREAM, 0);
	to.sin6_port = htons(port_of(l));
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr);
	TRY(connect(c, (struct sockaddr *)&to, sizeof to));
	n = sizeof peer;
	getpeername(c, (struct sockaddr *)&peer, &n);
	printf("mapped %s\n", inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text));
	close(c);
	c = socket(AF_INET6, SOCK_STREAM, 0);
	SHOW(set(c, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	TRY(connect(c, (struct sockaddr *)&to, sizeof to));
	close(c), close(l);
	int u = socket(AF_INET6, SOCK_DGRAM, 0);
	SHOW(set(u, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	SHOW(option(u, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
	SHOW(set(u, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 12));
	SHOW(option(u, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
	SHOW(option(u, IPPROTO_IPV6, IPV6_MULTICAST_HOPS));
	SHOW(set(u, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1));
	SHOW(set(u, IPPROTO_IPV6, IPV6_TCLASS, 0x20));
	SHOW(option(u, IPPROTO_IPV6, IPV6_TCLASS));
	struct ipv6_mreq join = {.ipv6mr_interface = if_nametoindex("lo")};
	inet_pton(AF_INET6, "ff02::1234", &join.ipv6mr_multiaddr);
	TRY(setsockopt(u, IPPROTO_IPV6, IPV6_JOIN_GROUP, &join, sizeof join));
	TRY(setsockopt(u, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &join, sizeof join));
	TRY(setsockopt(u, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &join, sizeof join));
	to.sin6_addr = in6addr_loopback;
	MUST(bind(u, (struct sockaddr *)&any, sizeof any) == 0);
	a = loopback(port_of(u));
	int v4 = socket(AF_INET, SOCK_DGRAM, 0);
	TRY(sendto(v4, "four", 4, 0, (struct sockaddr *)&a, sizeof a));
	n = sizeof peer;
	TRY(recvfrom(u, text, sizeof text, 0, (struct sockaddr *)&peer, &n));
	printf("from %s\n", inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text));
	TRY(sendto(u, "back", 4, 0, (struct sockaddr *)&peer, n));
	TRY(recv(v4, text, sizeof text, 0));
	close(u), close(v4);
}

int main(void)
{
	reuse_port();
	backlog();
	options();
	half_close();
	copies();
	groups();
	both_families();
	return 0;
}
