/*
 * bench.h: what the benchmark's helper programs share.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../clock.h"
#include "../net.h"

enum { DIAL_MS = 5000 };

struct target {			/* where to connect to */
	struct sockaddr_storage addr;
	socklen_t len;
};

static inline void
die(const char *prog, const char *what, const char *why)
{
	fprintf(stderr, "%s: %s: %s\n", prog, what, why);
	exit(1);
}

static inline void
no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Not now: also what a connection says that is still being made. */
static inline int
would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN || errno == EINTR;
}

/* Begin to connect, without waiting: it is writable when made. -1 with errno. */
static inline int
target_dial(const struct target *t)
{
	int fd = socket(t->addr.ss_family, SOCK_STREAM, 0), saved;

	if (fd == -1)
		return -1;
	no_delay(fd);
	if (net_flags(fd) == 0 && (connect(fd, (const struct sockaddr *)(const void *)&t->addr,
	    t->len) == 0 || errno == EINPROGRESS))
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* Find out where "ADDR:PORT" is by connecting to it. The connection. */
static inline int
target_find(struct target *t, const char *prog, const char *text)
{
	char host[NET_HOST_MAX], port[6];
	enum net_fail fail;
	int fd;

	if (net_split(text, host, port) == -1)
		die(prog, text, "is not ADDR:PORT");
	fd = net_dial(host[0] != '\0' ? host : "localhost", port,
	    clock_ms(CLOCK_STEADY) + DIAL_MS, -1, &fail);
	t->len = sizeof(t->addr);
	if (fd == -1 || getpeername(fd, (struct sockaddr *)(void *)&t->addr, &t->len) == -1)
		die(prog, text, strerror(errno));
	no_delay(fd);
	return fd;
}

/* As many descriptors as we may have. */
static inline void
raise_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

/* Listen on one address, and print its port. */
static inline int
bench_listen(const char *prog, const char *text)
{
	struct sockaddr_storage ss;
	char addr[NET_ADDR_MAX];
	const char *why;
	int fd[NET_LISTEN_MAX];

	if (net_listen(text, NULL, NULL, fd, &why) == -1)
		die(prog, text, why);
	net_local(fd[0], &ss);
	net_format(&ss, addr);
	printf("%s\n", strrchr(addr, ':') + 1);
	fflush(stdout);
	return fd[0];
}

/*
 * poll(2) for at most us microseconds (below 0: for ever). It may return 0 early: it sleeps
 * whole milliseconds first, and pselect(2) sleeps what is left, if it can hold the descriptors.
 */
static inline int
poll_us(struct pollfd *p, nfds_t n, int64_t us)
{
	struct timespec ts;
	fd_set in, out;
	int top = -1;
	nfds_t i;

	if (us <= 0 || us >= 1000)
		return poll(p, n, us < 0 ? -1 : us > 60000000 ? 60000 : (int)(us / 1000));
	FD_ZERO(&in);
	FD_ZERO(&out);
	for (i = 0; i < n; i++) {
		if (p[i].fd >= FD_SETSIZE)
			return poll(p, n, 1);
		if (p[i].fd < 0)
			continue;
		if (p[i].events & POLLIN)
			FD_SET(p[i].fd, &in);
		if (p[i].events & POLLOUT)
			FD_SET(p[i].fd, &out);
		if (p[i].fd > top)
			top = p[i].fd;
	}
	ts.tv_sec = 0;
	ts.tv_nsec = (long)us * 1000;
	pselect(top + 1, &in, &out, NULL, &ts, NULL);
	return poll(p, n, 0);
}

#endif
