/*
 * gateway.c: a program that is its own tunneld: it listens, hands every connection to libtunnel, and connects others to a tunnel.
 *
 *	cc -o gateway gateway.c $(pkg-config --cflags --libs libtunnel)
 *	TUNNEL_TOKEN=secret ./gateway 9001 9002 tcp:5432
 *
 * Clients and HTTP callers come to the first port: "tunnel connect --endpoint http://127.0.0.1:9001 ...". Whoever comes to the
 * second one is connected to the tunnel of that name.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tunnel.h>

static void
on_log(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	fputs(line, stderr);
}

static int
listen_on(const char *port)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	memset(&in, 0, sizeof(in));
	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in.sin_port = htons((uint16_t)strtol(port, NULL, 10));
	if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1 ||
	    bind(fd, (struct sockaddr *)&in, sizeof(in)) == -1 || listen(fd, 64) == -1 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) == -1) {
		fprintf(stderr, "gateway: cannot listen on port %s: %s\n", port, strerror(errno));
		exit(1);
	}
	printf("127.0.0.1:%u\n", ntohs(in.sin_port));
	fflush(stdout);
	return fd;
}

/* Two connections that become one; both ends may send and, each for itself, end. */

struct pair {
	int a, b;
};

/* One piece of what from has for to: 0 when it has ended. */
static int
copy(int from, int to)
{
	char buf[16384];
	ssize_t n = read(from, buf, sizeof(buf)), at = 0, k;

	if (n <= 0) {
		shutdown(to, SHUT_WR);
		return 0;
	}
	for (; at < n; at += k)
		if ((k = send(to, buf + at, (size_t)(n - at), MSG_NOSIGNAL)) == -1)
			return 0;
	return 1;
}

static void *
join(void *arg)
{
	struct pair p = *(struct pair *)arg;
	struct pollfd pfd[2];

	free(arg);
	pfd[0].fd = p.a;
	pfd[1].fd = p.b;
	pfd[0].events = pfd[1].events = POLLIN;
	while ((pfd[0].fd != -1 || pfd[1].fd != -1) && poll(pfd, 2, -1) > 0) {
		if (pfd[0].revents != 0 && !copy(p.a, p.b))
			pfd[0].fd = -1;
		if (pfd[1].revents != 0 && !copy(p.b, p.a))
			pfd[1].fd = -1;
	}
	close(p.a);
	close(p.b);
	return NULL;
}

static void
forward(struct tunnel_server *s, int fd, const char *name)
{
	struct pair *p = malloc(sizeof(*p));
	pthread_t t;

	if (p == NULL || (p->b = tunnel_server_open(s, name)) == -1) {
		fprintf(stderr, "gateway: %s: %s\n", name, strerror(errno));
		close(fd);
		free(p);
		return;
	}
	p->a = fd;
	if (pthread_create(&t, NULL, join, p) != 0) {
		close(p->a);
		close(p->b);
		free(p);
		return;
	}
	pthread_detach(t);
}

/* The end: what a signal handler may do is little, but a pipe wakes poll(2). */

static int stop[2];

static void
on_signal(int sig)
{
	ssize_t n = write(stop[1], "", 1);

	(void)sig;
	(void)n;
}

int
main(int argc, char **argv)
{
	struct tunnel_server_options o;
	struct tunnel_token token;
	struct tunnel_server *s;
	struct pollfd pfd[3];
	char why[512];
	int fd;

	if (argc != 4 || (token.token = getenv("TUNNEL_TOKEN")) == NULL) {
		fprintf(stderr, "usage: TUNNEL_TOKEN=... gateway PORT PORT NAME\n");
		return 2;
	}
	token.scope = "*";
	memset(&o, 0, sizeof(o));
	o.tokens = &token;
	o.ntokens = 1;
	o.log = on_log;
	if ((s = tunnel_server_new(&o, why, sizeof(why))) == NULL) {
		fprintf(stderr, "gateway: %s\n", why);
		return 1;
	}
	if (pipe(stop) == -1)
		return 1;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	pfd[0].fd = stop[0];
	pfd[1].fd = listen_on(argv[1]);
	pfd[2].fd = listen_on(argv[2]);
	pfd[0].events = pfd[1].events = pfd[2].events = POLLIN;
	for (;;) {
		if (poll(pfd, 3, -1) == -1)
			continue;
		if (pfd[0].revents != 0)
			break;
		if (pfd[1].revents != 0 && (fd = accept(pfd[1].fd, NULL, NULL)) != -1 &&
		    tunnel_server_handle_fd(s, fd, NULL) == -1)
			fprintf(stderr, "gateway: a connection was not served: %s\n", strerror(errno));
		if (pfd[2].revents != 0 && (fd = accept(pfd[2].fd, NULL, NULL)) != -1)
			forward(s, fd, argv[3]);
	}
	tunnel_server_free(s);
	return 0;
}
