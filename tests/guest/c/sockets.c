// SPDX-License-Identifier: Apache-2.0 OR MIT
/* TCP, UDP and UNIX sockets over loopback: options, non-blocking connect,
 * shutdown, refusal, peeking, addresses, descriptors passed along, errors. */
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static char block[1 << 20];

static short ready(int fd, short events, int timeout)
{
	struct pollfd p = {fd, events, 0};
	poll(&p, 1, timeout);
	return p.revents;
}

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	MUST(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	return ntohs(a.sin_port);
}

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t n = sizeof v;
	if (getsockopt(fd, level, name, &v, &n) < 0)
		return -errno;
	return v;
}

static void *send_block(void *fd)
{
	long sent = 0, n;
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = (char)(i * 7 + i / 251);
	while (sent < (long)sizeof block && (n = send((int)(long)fd, block + sent, sizeof block - sent, 0)) > 0)
		sent += n;
	shutdown((int)(long)fd, SHUT_WR);
	return (void *)sent;
}

static void tcp(void)
{
	struct sockaddr_in a = loopback(0), peer;
	socklen_t length = sizeof peer;
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	SHOW(option(listener, SOL_SOCKET, SO_TYPE));
	SHOW(option(listener, SOL_SOCKET, SO_DOMAIN));
	SHOW(option(listener, SOL_SOCKET, SO_PROTOCOL));
	SHOW(option(listener, SOL_SOCKET, SO_ERROR));
	SHOW(option(listener, SOL_SOCKET, SO_ACCEPTCONN));
	SHOW(option(listener, SOL_SOCKET, SO_REUSEADDR));
	SHOW(option(listener, IPPROTO_TCP, TCP_NODELAY));
	TRY(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	TRY(setsockopt(listener, SOL_SOCKET, 9999, &one, sizeof one));
	TRY(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, 1));
	TRY(accept(listener, NULL, NULL));
	TRY(bind(listener, (struct sockaddr *)&a, 4));
	TRY(bind(listener, (struct sockaddr *)&a, sizeof a));
	TRY(bind(listener, (struct sockaddr *)&a, sizeof a));
	TRY(listen(listener, 16));
	SHOW(option(listener, SOL_SOCKET, SO_ACCEPTCONN));
	int port = port_of(listener), second = socket(AF_INET, SOCK_STREAM, 0);
	SHOW(port > 0);
	a = loopback(port);
	TRY(bind(second, (struct sockaddr *)&a, sizeof a));
	TRY(getpeername(second, (struct sockaddr *)&peer, &length));
	TRY(send(second, "x", 1, MSG_NOSIGNAL));
	SHOW(ready(listener, POLLIN, 0));
	TRY(connect(second, (struct sockaddr *)&a, sizeof a));
	TRY(connect(second, (struct sockaddr *)&a, sizeof a));
	SHOW(ready(listener, POLLIN, 2000));
	int server = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	SHOW(ntohs(peer.sin_port) == port_of(second));
	SHOW(fcntl(server, F_GETFL) & O_NONBLOCK);
	SHOW(fcntl(server, F_GETFD));
	char b[32] = {0};
	TRY(recv(server, b, sizeof b, 0));
	TRY(setsockopt(second, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
	SHOW(option(second, IPPROTO_TCP, TCP_NODELAY));
	TRY(setsockopt(second, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one));
	TRY(setsockopt(second, IPPROTO_TCP, TCP_KEEPIDLE, &(int){30}, sizeof(int)));
	SHOW(option(second, IPPROTO_TCP, TCP_KEEPIDLE));
	TRY(send(second, "hello", 5, 0));
	SHOW(ready(server, POLLIN | POLLOUT, 2000));
	TRY(recv(server, b, 3, MSG_PEEK));
	int queued = 0;
	TRY(ioctl(server, FIONREAD, &queued));
	SHOW(queued);
	TRY(recv(server, b, sizeof b, 0));
	puts(b);
	fcntl(server, F_SETFL, 0);
	pthread_t t;
	void *sent;
	pthread_create(&t, NULL, send_block, (void *)(long)second);
	long got = 0, n, wrong = 0;
	static char in[30000];
	while ((n = recv(server, in, sizeof in, 0)) > 0) {
		for (long i = 0; i < n; i++)
			wrong += in[i] != (char)((got + i) * 7 + (got + i) / 251);
		got += n;
	}
	pthread_join(t, &sent);
	SHOW((long)sent);
	SHOW(got);
	SHOW(wrong);
	SHOW(ready(server, POLLIN | POLLRDHUP, 0));
	TRY(send(second, "x", 1, MSG_NOSIGNAL));
	TRY(send(server, "back", 4, 0));
	TRY(recv(second, b, 4, MSG_WAITALL | MSG_PEEK));
	TRY(shutdown(server, SHUT_RDWR));
	TRY(recv(second, b, 4, MSG_WAITALL));
	TRY(recv(second, b, 4, 0));
	close(server);
	close(second);

	struct linger hard = {1, 0};
	second = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	TRY(connect(second, (struct sockaddr *)&a, sizeof a));
	SHOW(ready(second, POLLOUT, 2000));
	SHOW(option(second, SOL_SOCKET, SO_ERROR));
	TRY(connect(second, (struct sockaddr *)&a, sizeof a));
	server = accept(listener, NULL, NULL);
	TRY(setsockopt(server, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
	close(server);
	SHOW(ready(second, POLLIN, 2000) & (POLLIN | POLLERR | POLLHUP));
	TRY(recv(second, b, 4, 0));
	TRY(recv(second, b, 4, 0));
	close(second);
	close(listener);

	second = socket(AF_INET, SOCK_STREAM, 0);
	TRY(connect(second, (struct sockaddr *)&a, sizeof a));
	close(second);
	second = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	n = connect(second, (struct sockaddr *)&a, sizeof a);
	SHOW(n == -1 && errno == EINPROGRESS);
	SHOW(ready(second, POLLOUT, 2000));
	SHOW(option(second, SOL_SOCKET, SO_ERROR));
	SHOW(option(second, SOL_SOCKET, SO_ERROR));
	struct timeval tv = {0, 30000};
	close(second);
	int pair[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	TRY(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	TRY(recv(pair[0], b, 1, 0));
	TRY(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	TRY(socket(1234, SOCK_STREAM, 0));
	TRY(socket(AF_INET, 77, 0));
	TRY(listen(0, 1));
	TRY(recv(1000, b, 1, 0));
}

static void udp(void)
{
	struct sockaddr_in a = loopback(0), from, b_address;
	socklen_t length = sizeof from;
	char b[2000] = {0};
	int s = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0);
	TRY(bind(s, (struct sockaddr *)&a, sizeof a));
	b_address = loopback(port_of(s));
	TRY(sendto(c, "one", 3, 0, (struct sockaddr *)&b_address, sizeof b_address));
	TRY(sendto(c, "", 0, 0, (struct sockaddr *)&b_address, sizeof b_address));
	TRY(sendto(c, "a long one", 10, 0, (struct sockaddr *)&b_address, sizeof b_address));
	TRY(recvfrom(s, b, sizeof b, 0, (struct sockaddr *)&from, &length));
	SHOW(ntohs(from.sin_port) == port_of(c));
	TRY(recv(s, b, sizeof b, 0));
	TRY(recv(s, b, 4, MSG_TRUNC));
	TRY(recv(s, b, 4, MSG_DONTWAIT));
	TRY(send(c, "x", 1, 0));
	TRY(connect(c, (struct sockaddr *)&b_address, sizeof b_address));
	TRY(send(c, "connected", 9, 0));
	TRY(recvfrom(s, b, sizeof b, 0, (struct sockaddr *)&from, &length));
	TRY(sendto(s, "reply", 5, 0, (struct sockaddr *)&from, sizeof from));
	TRY(recv(c, b, sizeof b, 0));
	static char big[66000];
	TRY(send(c, big, 65508, 0));
	TRY(send(c, big, 65507, 0));
	TRY(recv(s, big, sizeof big, 0));
	struct iovec v[2] = {{"gath", 4}, {"ered", 4}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	TRY(sendmsg(c, &m, 0));
	struct iovec in[2] = {{b, 3}, {b + 100, 3}};
	m = (struct msghdr){.msg_iov = in, .msg_iovlen = 2, .msg_name = &from, .msg_namelen = sizeof from};
	TRY(recvmsg(s, &m, 0));
	SHOW(m.msg_flags & MSG_TRUNC ? 1 : 0);
	printf("%.3s %.3s\n", b, b + 100);
	close(s);
	TRY(send(c, "x", 1, 0));
	SHOW(ready(c, POLLIN, 2000));
	TRY(recv(c, b, 1, 0));
	close(c);
}

static void unix_sockets(void)
{
	int p[2], passed;
	char b[64] = {0};
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p) == 0);
	TRY(send(p[0], "first", 5, 0));
	TRY(send(p[0], "second", 6, 0));
	TRY(recv(p[1], b, 3, 0));
	TRY(recv(p[1], b, sizeof b, 0));
	close(p[0]);
	TRY(recv(p[1], b, sizeof b, 0));
	TRY(send(p[1], "x", 1, MSG_NOSIGNAL));
	close(p[1]);

	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/tmp/guest-socket"};
	unlink(a.sun_path);
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
	TRY(connect(c, (struct sockaddr *)&a, sizeof a));
	TRY(bind(l, (struct sockaddr *)&a, sizeof a));
	TRY(connect(c, (struct sockaddr *)&a, sizeof a));
	TRY(bind(c, (struct sockaddr *)&a, sizeof a));
	TRY(listen(l, 2));
	TRY(connect(c, (struct sockaddr *)&a, sizeof a));
	int s = accept(l, NULL, NULL);
	MUST(s >= 0);

	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {"fd", 2};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	int ends[2];
	MUST(pipe(ends) == 0);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &ends[1], sizeof(int));
	TRY(sendmsg(c, &m, 0));
	close(ends[1]);
	v = (struct iovec){b, sizeof b};
	memset(control, 0, sizeof control);
	m = (struct msghdr){.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	TRY(recvmsg(s, &m, MSG_CMSG_CLOEXEC));
	h = CMSG_FIRSTHDR(&m);
	MUST(h && h->cmsg_type == SCM_RIGHTS);
	memcpy(&passed, CMSG_DATA(h), sizeof(int));
	TRY(write(passed, "through", 7));
	TRY(read(ends[0], b, sizeof b));
	struct ucred credentials;
	socklen_t n = sizeof credentials;
	TRY(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &credentials, &n));
	SHOW(credentials.pid == getpid());
	close(s);
	close(l);
	SHOW(unlink(a.sun_path));

	int d = socket(AF_UNIX, SOCK_DGRAM, 0), e = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0guest-abstract"};
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + 15;
	TRY(bind(d, (struct sockaddr *)&abstract, length));
	TRY(bind(e, (struct sockaddr *)&abstract, length));
	TRY(sendto(e, "datagram", 8, 0, (struct sockaddr *)&abstract, length));
	TRY(recv(d, b, sizeof b, 0));
	close(d);
	TRY(sendto(e, "datagram", 8, 0, (struct sockaddr *)&abstract, length));
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	tcp();
	udp();
	unix_sockets();
	return 0;
}
