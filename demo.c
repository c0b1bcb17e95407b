/*
 * demo.c: hello, the little web server that make demo puts behind a tunnel.
 * One connection after the other, one page whatever is asked.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "conn.h"
#include "http.h"
#include "net.h"

enum { WAIT_MS = 5000 };

static const char page[] =
    "<!doctype html><html lang=en><meta charset=utf-8><title>It works</title>\n"
    "<body style='font:1.2em/1.5 sans-serif;max-width:36em;margin:4em auto'>\n"
    "<h1>It works</h1>\n"
    "<p>This page comes from a small web server on this machine that listens on a\n"
    "port of its own. It reached you through <b>tunneld</b> and <b>tunnel</b>, over\n"
    "one WebSocket, as it would from a laptop behind NAT.</p></html>\n";

static void
serve(int fd)
{
	char buf[HTTP_HEAD_MAX], head[256];
	int64_t deadline = clock_ms(CLOCK_STEADY) + WAIT_MS;
	struct http_head h;
	struct conn c;
	const char *why;
	size_t len = 0;
	ssize_t n;
	int rc = 0;

	conn_plain(&c, fd);
	h.scanned = 0;
	while (rc == 0 && len < sizeof(buf)) {
		n = conn_read(&c, buf + len, sizeof(buf) - len);
		if (n > 0)
			len += (size_t)n;
		else if (n == 0 || errno != EAGAIN || conn_wait(&c, POLLIN, deadline, -1, NULL) == 0)
			break;
		rc = http_req_parse(&h, buf, len, &why);
	}
	if (rc > 0) {
		rc = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\n"
		    "Content-Type: text/html; charset=utf-8\r\nContent-Length: %zu\r\n"
		    "Connection: close\r\n\r\n", sizeof(page) - 1);
		conn_write_all(&c, head, (size_t)rc, deadline);
		if (h.method.len != 4 || memcmp(h.method.p, "HEAD", 4) != 0)
			conn_write_all(&c, page, sizeof(page) - 1, deadline);
	}
	conn_close(&c);
}

int
main(void)
{
	struct sockaddr_storage ss;
	struct pollfd pfd;
	char addr[NET_ADDR_MAX];
	const char *why;
	int fd, c;

	signal(SIGPIPE, SIG_IGN);
	if (net_listen("127.0.0.1:0", NULL, NULL, &fd, &why) != 1) {
		fprintf(stderr, "hello: cannot listen: %s\n", why);
		return 1;
	}
	net_local(fd, &ss);
	net_format(&ss, addr);
	printf("%s\n", addr);
	fflush(stdout);
	pfd.fd = fd;
	pfd.events = POLLIN;
	for (;;)
		if (poll(&pfd, 1, -1) > 0 && (c = net_accept(fd, &ss)) != -1)
			serve(c);
}
