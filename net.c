/* net.c: listening, dialling, and addresses as text; see net.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cidr.h"
#include "clock.h"
#include "net.h"

enum { BACKLOG = 1024, UNSENT_MAX = 128 * 1024, ADDRESSES_MAX = 16 };

int
net_flags(int fd)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl == -1 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) == -1)
		return -1;
	return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void
net_tune_local(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

void
net_tune(int fd)
{
#ifdef TCP_NOTSENT_LOWAT	/* a constant of the system's, not a choice of the build */
	int max = UNSENT_MAX;

	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &max, sizeof(max));
#endif
	net_tune_local(fd);
}

int
net_split(const char *text, char host[NET_HOST_MAX], char port[6])
{
	const char *colon = strrchr(text, ':'), *p, *h = text;
	size_t hlen = 0, n;
	long num = 0;

	p = colon != NULL ? colon + 1 : text;
	n = strlen(p);
	if (n < 1 || n > 5)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		num = num * 10 + (p[i] - '0');
	}
	if (num > 65535)
		return -1;
	if (colon != NULL)
		hlen = (size_t)(colon - text);
	if (hlen >= 2 && h[0] == '[' && h[hlen - 1] == ']') {
		h++;
		hlen -= 2;
	} else if (memchr(h, ':', hlen) != NULL)
		return -1;	/* an IPv6 address wants its brackets */
	if (hlen >= NET_HOST_MAX || strcspn(h, " \t[]/@") < hlen)
		return -1;
	memcpy(host, h, hlen);
	host[hlen] = '\0';
	memcpy(port, p, n + 1);
	return 0;
}

static void
set_port(struct sockaddr *sa, in_port_t port)
{
	if (sa->sa_family == AF_INET)
		((struct sockaddr_in *)(void *)sa)->sin_port = port;
	else if (sa->sa_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)sa)->sin6_port = port;
}

static in_port_t
get_port(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)sa)->sin_port;
	if (sa->sa_family == AF_INET6)
		return ((const struct sockaddr_in6 *)(const void *)sa)->sin6_port;
	return 0;
}

int
net_any_port(const struct sockaddr *sa)
{
	return get_port(sa) == 0;
}

int
net_same(const struct sockaddr_storage *ss, const struct sockaddr *want)
{
	const struct sockaddr *a = (const struct sockaddr *)ss;
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)(const void *)a;
	const struct sockaddr_in6 *w6 = (const struct sockaddr_in6 *)(const void *)want;

	if (a->sa_family != want->sa_family || (!net_any_port(want) && get_port(a) != get_port(want)))
		return 0;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
		    ((const struct sockaddr_in *)(const void *)want)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 && memcmp(&a6->sin6_addr, &w6->sin6_addr, sizeof(a6->sin6_addr)) == 0 &&
	    a6->sin6_scope_id == w6->sin6_scope_id;
}

void
net_at(const struct addr *a, unsigned port, struct sockaddr_storage *ss)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (memcmp(a->ip, mapped, sizeof(mapped)) == 0) {
		in->sin_family = AF_INET;
		memcpy(&in->sin_addr, a->ip + sizeof(mapped), sizeof(in->sin_addr));
	} else {
		in6->sin6_family = AF_INET6;
		memcpy(&in6->sin6_addr, a->ip, sizeof(in6->sin6_addr));
	}
	set_port((struct sockaddr *)ss, htons((in_port_t)port));
}

static int
option_is(int fd, int option, int want)
{
	socklen_t len = sizeof(int);
	int value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value == want;
}

int
net_listens(int fd)
{
	struct sockaddr_storage ss;

	net_local(fd, &ss);
	return option_is(fd, SO_TYPE, SOCK_STREAM) && option_is(fd, SO_ACCEPTCONN, 1) ? ss.ss_family : -1;
}

static int
new_socket(int family)
{
	int fd = socket(family, SOCK_STREAM, 0);

	if (fd != -1 && net_flags(fd) == -1) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int
listen_one(const struct sockaddr *sa, socklen_t salen)
{
	int fd, on = 1, saved;

	if ((fd = new_socket(sa->sa_family)) == -1)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (sa->sa_family == AF_INET6)	/* IPv4 has a socket of its own */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, sa, salen) == -1 || listen(fd, BACKLOG) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static int
look_up(const char *host, const char *port, struct addrinfo **res)
{
	struct addrinfo hints;

	memset(&hints, 0, sizeof(hints));
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
	return getaddrinfo(strcmp(host, "*") == 0 ? NULL : host[0] ? host : "127.0.0.1", port, &hints, res);
}

int
net_listen_addresses(const char *host, struct sockaddr_storage out[NET_LISTEN_MAX], const char **why)
{
	struct addrinfo *res, *ai;
	int rc = look_up(host, "0", &res), n = 0;

	if (rc != 0) {
		*why = gai_strerror(rc);
		return -1;
	}
	memset(out, 0, NET_LISTEN_MAX * sizeof(*out));
	for (ai = res; ai != NULL && n < NET_LISTEN_MAX; ai = ai->ai_next)
		memcpy(&out[n++], ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(res);
	return n;
}

int
net_listen_at(const struct sockaddr_storage *ss, unsigned port)
{
	struct sockaddr_storage at = *ss;
	struct sockaddr *sa = (struct sockaddr *)&at;

	set_port(sa, htons((in_port_t)port));
	return listen_one(sa, sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
}

int
net_listen(const char *text, int (*have)(void *, const struct sockaddr *), void *arg, int *fd, const char **why)
{
	char host[NET_HOST_MAX], port[6];
	struct addrinfo *res, *ai;
	struct sockaddr_storage ss;
	int n = 0, rc;

	if (net_split(text, host, port) == -1) {
		*why = "is not [HOST:]PORT";
		return -1;
	}
	if ((rc = look_up(host, port, &res)) != 0) {
		*why = gai_strerror(rc);
		return -1;
	}
	for (ai = res; ai != NULL && n < NET_LISTEN_MAX; ai = ai->ai_next) {
		if (n > 0) {	/* port 0: all addresses share the one the first got */
			net_local(fd[0], &ss);
			set_port(ai->ai_addr, get_port((const struct sockaddr *)&ss));
		}
		fd[n] = have != NULL ? have(arg, ai->ai_addr) : -1;
		if (fd[n] == -1 && (fd[n] = listen_one(ai->ai_addr, ai->ai_addrlen)) == -1) {
			/* a machine without IPv6 still has its IPv4 address, and the other way round */
			if (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)
				continue;
			break;
		}
		n++;
	}
	if (n == 0 || (ai != NULL && n < NET_LISTEN_MAX)) {
		*why = strerror(errno);
		while (n > 0)
			close(fd[--n]);
		n = -1;
	}
	freeaddrinfo(res);
	return n;
}

int
net_listen_unix(const char *path)
{
	struct sockaddr_un sun;
	enum net_fail fail;
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if ((fd = net_dial_unix(path, &fail)) != -1) {
		close(fd);
		errno = EADDRINUSE;
		return -1;
	}
	if (errno == ECONNREFUSED)
		unlink(path);	/* left behind by a daemon that was killed */
	memset(&sun, 0, sizeof(sun));
	sun.sun_family = AF_UNIX;
	memcpy(sun.sun_path, path, strlen(path) + 1);
	if ((fd = new_socket(AF_UNIX)) == -1)
		return -1;
	/* the folder is ours alone; the mode is set before anyone can be let in by listen */
	if (bind(fd, (struct sockaddr *)(void *)&sun, sizeof(sun)) == -1 ||
	    chmod(path, 0600) == -1 || listen(fd, 16) == -1) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

int
net_accept(int fd, struct sockaddr_storage *peer)
{
	socklen_t len = sizeof(*peer);
	int c;

	memset(peer, 0, sizeof(*peer));
	c = accept(fd, (struct sockaddr *)peer, &len);
	if (c != -1 && net_flags(c) == -1) {
		close(c);
		c = -1;
	}
	return c;
}

/* Finish connect(2) on a non-blocking socket. 0, or -1 with errno. */
static int
connect_wait(int fd, const struct sockaddr *sa, socklen_t salen, int64_t deadline, int wakefd)
{
	struct pollfd pfd[2];
	socklen_t len = sizeof(int);
	int64_t left;
	int n, err;

	if (connect(fd, sa, salen) == 0)
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return -1;
	pfd[0].fd = fd;
	pfd[0].events = POLLOUT;
	pfd[1].fd = wakefd;
	pfd[1].events = POLLIN;
	do {
		left = deadline - clock_ms(CLOCK_STEADY);
		n = poll(pfd, wakefd != -1 ? 2 : 1, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
	} while ((n == -1 && errno == EINTR) || (n == 0 && left > 60000));
	if (n <= 0) {
		if (n == 0)
			errno = ETIMEDOUT;
		return -1;
	}
	if (wakefd != -1 && pfd[1].revents != 0) {
		errno = ECANCELED;
		return -1;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1)
		return -1;
	errno = err;
	return err == 0 ? 0 : -1;
}

static enum net_fail
fail_of(int err)
{
	switch (err) {
	case ETIMEDOUT:
		return NET_TIMEOUT;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		return NET_LOCAL;
	default:
		return NET_REFUSED;
	}
}

static int
dial_one(const struct sockaddr *sa, socklen_t salen, int64_t deadline, int wakefd,
    enum net_fail *fail)
{
	int fd = new_socket(sa->sa_family), saved;

	if (fd == -1) {
		*fail = fail_of(errno);
		return -1;
	}
	if (connect_wait(fd, sa, salen, deadline, wakefd) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		*fail = fail_of(errno);
		return -1;
	}
	*fail = NET_OK;
	return fd;
}

static socklen_t
size_of(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static void
loopback(const char *port, struct sockaddr_storage out[2])
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&out[0];
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&out[1];
	in_port_t num = 0;

	for (; *port != '\0'; port++)
		num = (in_port_t)(num * 10 + (*port - '0'));
	memset(out, 0, 2 * sizeof(*out));
	in->sin_family = AF_INET;
	in->sin_port = htons(num);
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(num);
	in6->sin6_addr = in6addr_loopback;
}

int
net_resolve(const char *host, const char *port, struct sockaddr_storage *out, int max)
{
	struct addrinfo hints, *res, *ai;
	int n = 0;

	if (strcmp(host, "localhost") == 0 && max >= 2) {
		loopback(port, out);
		return 2;
	}
	memset(&hints, 0, sizeof(hints));
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_NUMERICSERV;
	if (getaddrinfo(host, port, &hints, &res) != 0)
		return 0;
	for (ai = res; ai != NULL && n < max; ai = ai->ai_next) {
		if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
			continue;
		memset(&out[n], 0, sizeof(*out));
		memcpy(&out[n++], ai->ai_addr, ai->ai_addrlen);
	}
	freeaddrinfo(res);
	return n;
}

int
net_dial_any(const struct sockaddr_storage *ss, int n, int64_t deadline, int wakefd, enum net_fail *fail, int *which)
{
	int64_t now;
	enum net_fail one;
	int fd = -1, i, err = 0;

	*fail = NET_RESOLVE;
	for (i = 0; i < n && fd == -1; i++) {
		now = clock_ms(CLOCK_STEADY);
		fd = dial_one((const struct sockaddr *)&ss[i], size_of(&ss[i]), now + (deadline - now) / (n - i), wakefd, &one);
		*which = i;
		if (i == 0 || fd != -1) {	/* of several failures the first is the one to tell: IPv6 may just be missing */
			*fail = one;
			err = errno;
		}
		if (fd == -1 && errno == ECANCELED)
			break;
	}
	errno = err;
	return fd;
}

int
net_dial(const char *host, const char *port, int64_t deadline, int wakefd, enum net_fail *fail)
{
	struct sockaddr_storage ss[ADDRESSES_MAX];
	int n = net_resolve(host, port, ss, ADDRESSES_MAX), which;

	if (n == 0) {
		*fail = NET_RESOLVE;
		errno = ENOENT;
		return -1;
	}
	return net_dial_any(ss, n, deadline, wakefd, fail, &which);
}

int
net_dial_unix(const char *path, enum net_fail *fail)
{
	struct sockaddr_un sun;

	memset(&sun, 0, sizeof(sun));
	sun.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(sun.sun_path)) {
		*fail = NET_RESOLVE;
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sun.sun_path, path, strlen(path));
	return dial_one((struct sockaddr *)(void *)&sun, sizeof(sun),
	    clock_ms(CLOCK_STEADY), -1, fail);
}

void
net_format_host(const struct sockaddr_storage *ss, char out[NET_ADDR_MAX])
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)ss;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)ss;

	if (ss->ss_family == AF_INET &&
	    inet_ntop(AF_INET, &in->sin_addr, out, NET_ADDR_MAX) != NULL)
		return;
	if (ss->ss_family == AF_INET6 &&
	    inet_ntop(AF_INET6, &in6->sin6_addr, out, NET_ADDR_MAX) != NULL)
		return;
	memcpy(out, "unix", 5);
}

void
net_format(const struct sockaddr_storage *ss, char out[NET_ADDR_MAX])
{
	char host[NET_ADDR_MAX];

	net_format_host(ss, host);
	if (ss->ss_family == AF_INET)
		snprintf(out, NET_ADDR_MAX, "%.46s:%u", host, ntohs(get_port((const struct sockaddr *)ss)));
	else if (ss->ss_family == AF_INET6)
		snprintf(out, NET_ADDR_MAX, "[%.46s]:%u", host, ntohs(get_port((const struct sockaddr *)ss)));
	else
		memcpy(out, host, sizeof(host));
}

void
net_local(int fd, struct sockaddr_storage *ss)
{
	socklen_t len = sizeof(*ss);

	memset(ss, 0, sizeof(*ss));
	getsockname(fd, (struct sockaddr *)ss, &len);
}
