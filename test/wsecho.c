/*
 * wsecho.c: a WebSocket echo, for conformance suites: the daemon's own link,
 * ws, handshake and conn with as little as possible around them.
 *
 *	wsecho PORT		serve on 127.0.0.1, echo every message, until killed
 *	wsecho --client URL	connect to ws://HOST:PORT[/PATH], echo until closed
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../clock.h"
#include "../handshake.h"
#include "../link.h"
#include "../net.h"
#include "../random.h"
#include "../workers.h"

enum {
	MESSAGE_MAX = 64 * 1024 * 1024,
	STACK = 128 * 1024,
	HEAD_MS = 10000
};

struct echo {
	struct conn conn;
	struct link *link;
	uint8_t *msg;		/* the message under way, when it came in pieces */
	size_t len, cap;
	struct http_head head;
	size_t nbuf;
	char buf[HTTP_HEAD_MAX];
};

static int
keep(struct echo *e, const uint8_t *p, size_t n)
{
	size_t cap = e->cap > 0 ? e->cap : 4096;
	uint8_t *grown;

	while (cap < e->len + n)	/* the link bounds it by MESSAGE_MAX */
		cap *= 2;
	if (cap > e->cap) {
		if ((grown = realloc(e->msg, cap)) == NULL)
			return -1;
		e->msg = grown;
		e->cap = cap;
	}
	if (n > 0)
		memcpy(e->msg + e->len, p, n);
	e->len += n;
	return 0;
}

static int
data(void *arg, uint8_t opcode, uint8_t *buf, size_t len, int fin, const char **why)
{
	struct echo *e = arg;
	struct iovec iov;

	iov.iov_base = buf;
	iov.iov_len = len;
	if (!fin || e->len > 0) {
		if (keep(e, buf, len) == -1) {
			*why = "no memory";
			return -WS_INTERNAL;
		}
		iov.iov_base = e->msg;
		iov.iov_len = e->len;
	}
	if (!fin)
		return 0;
	e->len = 0;
	/* This reader serves nobody else, so it may wait. An error: the link is ending, and link_run tells. */
	link_send(e->link, opcode, &iov, 1, LINK_BULK, NULL, CONN_FOREVER);
	return 0;
}

static const struct link_ops ops = { data, NULL, NULL };

/* Echo until the end, with what has come behind the first n bytes of buf. The status code. */
static int
run(struct echo *e, size_t n, int client)
{
	struct link_conf conf;
	const char *why;
	int code;

	memset(&conf, 0, sizeof(conf));
	conf.client = client;
	conf.message_max = MESSAGE_MAX;
	conf.utf8 = 1;
	e->link = link_new(&e->conn, &conf, &ops, e, e->buf + n, e->nbuf - n);
	if (e->link == NULL)
		return WS_ABNORMAL;
	e->conn.fd = -1;	/* the link's now */
	code = link_run(e->link, &why);
	link_free(e->link);
	fprintf(stderr, "%d %s\n", code, why);
	return code;
}

/* Read until parse says that the head is whole. Its length, or a status code negated, or 0: no answer will do. */
static int
read_head(struct echo *e, int client, const char **why)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + HEAD_MS;
	ssize_t got;
	int n;

	*why = "connection lost";
	for (;;) {
		n = client ? http_res_parse(&e->head, e->buf, e->nbuf, 0, why) :
		    http_req_parse(&e->head, e->buf, e->nbuf, why);
		if (n != 0)
			return n;
		if (e->nbuf == sizeof(e->buf))
			return -431;
		if (conn_wait(&e->conn, POLLIN, deadline, -1, NULL) == 0)
			return -408;
		got = conn_read(&e->conn, e->buf + e->nbuf, sizeof(e->buf) - e->nbuf);
		if (got == 0 || (got == -1 && errno != EAGAIN))
			return 0;
		if (got > 0)
			e->nbuf += (size_t)got;
	}
}

static void
refuse(struct echo *e, int status, const char *why)
{
	char text[512];
	struct buf out;

	buf_init(&out, text, sizeof(text));
	buf_str(&out, "HTTP/1.1 ");
	buf_u64(&out, (unsigned long long)status);
	buf_char(&out, ' ');
	buf_str(&out, http_reason(status));
	buf_str(&out, "\r\nConnection: close\r\n");
	if (status == 426)
		buf_str(&out, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
	buf_str(&out, "Content-Type: text/plain\r\nContent-Length: ");
	buf_u64(&out, strlen(why) + 1);
	buf_str(&out, "\r\n\r\n");
	buf_str(&out, why);
	buf_str(&out, "\n");
	conn_write_all(&e->conn, out.p, out.len, clock_ms(CLOCK_STEADY) + HEAD_MS);
}

static void *
serve_one(void *arg)
{
	struct echo *e = arg;
	char accept[WS_ACCEPT_LEN + 1], text[512];
	struct buf out;
	const char *why;
	int n, status;

	n = read_head(e, 0, &why);
	status = n > 0 ? ws_server_check(&e->head, NULL, accept, &why) : -n;
	if (status == 101) {
		buf_init(&out, text, sizeof(text));
		ws_server_answer(&out, accept, NULL);
		if (conn_write_all(&e->conn, out.p, out.len,
		    clock_ms(CLOCK_STEADY) + HEAD_MS) == 0)
			run(e, (size_t)n, 0);
	} else if (status > 0)
		refuse(e, status, why);
	conn_close(&e->conn);
	free(e->msg);
	free(e);
	return NULL;
}

static struct echo *
new_echo(int fd)
{
	struct echo *e = calloc(1, sizeof(*e));

	if (e == NULL) {
		perror("wsecho: calloc");
		close(fd);
		return NULL;
	}
	net_tune(fd);
	conn_plain(&e->conn, fd);
	return e;
}

static int
serve(const char *port)
{
	struct sockaddr_storage ss;
	struct pollfd pfd;
	struct echo *e;
	char addr[NET_ADDR_MAX];
	const char *why;
	int fds[NET_LISTEN_MAX], fd, err;

	if (net_listen(port, NULL, NULL, fds, &why) == -1) {
		fprintf(stderr, "wsecho: %s: %s\n", port, why);
		return 1;
	}
	net_local(fds[0], &ss);
	net_format(&ss, addr);
	printf("listening %s\n", addr);
	fflush(stdout);
	pfd.fd = fds[0];
	pfd.events = POLLIN;
	for (;;) {
		poll(&pfd, 1, -1);
		if ((fd = net_accept(fds[0], &ss)) == -1 || (e = new_echo(fd)) == NULL)
			continue;
		if ((err = thread_start(STACK, serve_one, e)) != 0) {
			fprintf(stderr, "wsecho: thread: %s\n", strerror(err));
			conn_close(&e->conn);
			free(e);
		}
	}
}

/* ws://HOST:PORT[/PATH] in its parts. 0, or -1. */
static int
split_url(const char *url, char *authority, size_t cap, const char **path)
{
	size_t n;

	if (strncmp(url, "ws://", 5) != 0)
		return -1;
	n = strcspn(url + 5, "/");
	if (n >= cap)
		return -1;
	memcpy(authority, url + 5, n);
	authority[n] = '\0';
	*path = url[5 + n] == '/' ? url + 5 + n : "/";
	return 0;
}

/* Our side of the opening handshake. The length of the server's head, or -1 and *why. */
static int
open_client(struct echo *e, const char *authority, const char *path, const char **why)
{
	char key[WS_KEY_LEN + 1], text[HTTP_TARGET_MAX + 1024];
	uint8_t nonce[16];
	struct buf out;
	int n;

	*why = "cannot send the handshake";
	buf_init(&out, text, sizeof(text));
	if (random_bytes(nonce, sizeof(nonce)) == -1)
		return -1;
	ws_client_request(&out, authority, path, NULL, "", nonce, key);
	if (out.full ||
	    conn_write_all(&e->conn, out.p, out.len, clock_ms(CLOCK_STEADY) + HEAD_MS) == -1)
		return -1;
	if ((n = read_head(e, 1, why)) <= 0 || ws_client_check(&e->head, key, NULL, why) == -1)
		return -1;
	return n;
}

static int
client(const char *url)
{
	char authority[NET_HOST_MAX + 8], host[NET_HOST_MAX], port[6];
	const char *path, *why;
	enum net_fail fail;
	struct echo *e;
	int fd, n, code = WS_ABNORMAL;

	if (split_url(url, authority, sizeof(authority), &path) == -1 ||
	    net_split(authority, host, port) == -1) {
		fprintf(stderr, "wsecho: %s is not ws://HOST:PORT[/PATH]\n", url);
		return 1;
	}
	if ((fd = net_dial(host, port, clock_ms(CLOCK_STEADY) + HEAD_MS, -1, &fail)) == -1) {
		perror("wsecho: connect");
		return 1;
	}
	if ((e = new_echo(fd)) == NULL)
		return 1;
	if ((n = open_client(e, authority, path, &why)) > 0)
		code = run(e, (size_t)n, 1);
	else
		fprintf(stderr, "wsecho: %s\n", why);
	conn_close(&e->conn);
	free(e->msg);
	free(e);
	/* What a link fails a connection with, and the cut, are no orderly end. */
	return code == WS_ABNORMAL || code == WS_PROTOCOL_ERROR || code == WS_BAD_DATA ||
	    code == WS_TOO_BIG || code == WS_INTERNAL;
}

int
main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--client") == 0)
		return client(argv[2]);
	if (argc == 2 && argv[1][0] != '-')
		return serve(argv[1]);
	fprintf(stderr, "usage: wsecho PORT | wsecho --client URL\n");
	return 1;
}
