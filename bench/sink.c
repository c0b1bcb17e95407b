/*
 * sink.c: an origin for uploads: reads requests, throws their content away, and answers
 * with how many bytes it had. A thread a connection.
 */
#include <inttypes.h>
#include <signal.h>

#include "../conn.h"
#include "../http.h"
#include "../workers.h"
#include "bench.h"

enum { READ_MAX = 256 * 1024, STACK = 256 * 1024, IDLE_MS = 300000 };

struct visit {			/* its thread's */
	struct conn conn;
	struct http_head head;
	struct http_body body;
	size_t at, len;		/* in[at..len) has been read and not used */
	char in[READ_MAX];
};

/* Read more behind in[len). 0, or -1 at the end. */
static int
more(struct visit *v)
{
	ssize_t n;

	if (v->at == v->len)
		v->at = v->len = 0;
	while ((n = conn_read(&v->conn, v->in + v->len, sizeof(v->in) - v->len)) == -1 &&
	    errno == EAGAIN)
		if (conn_wait(&v->conn, POLLIN, clock_ms(CLOCK_STEADY) + IDLE_MS, -1, NULL) == 0)
			return -1;
	if (n <= 0)
		return -1;
	v->len += (size_t)n;
	return 0;
}

static int
say(struct visit *v, const char *text)
{
	return conn_write_all(&v->conn, text, strlen(text), clock_ms(CLOCK_STEADY) + DIAL_MS);
}

static int
read_head(struct visit *v)
{
	const char *why;
	int n;

	memmove(v->in, v->in + v->at, v->len - v->at);
	v->len -= v->at;
	v->at = 0;
	v->head.scanned = 0;
	while ((n = http_req_parse(&v->head, v->in, v->len, &why)) == 0)
		if (v->len == sizeof(v->in) || more(v) == -1)
			return -1;
	if (n < 0) {
		say(v, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		return -1;
	}
	v->at = (size_t)n;
	return 0;
}

static int
read_body(struct visit *v)
{
	struct http_out out;
	const char *why;
	long n;

	http_body_init(&v->body, &v->head, NULL, 1);
	if (!v->body.done && v->head.expect_continue && v->at == v->len &&
	    say(v, "HTTP/1.1 100 Continue\r\n\r\n") == -1)
		return -1;
	while (!v->body.done) {
		if (v->at == v->len && more(v) == -1)
			return -1;
		if ((n = http_body_take(&v->body, v->in + v->at, v->len - v->at, &out, &why)) < 0)
			return -1;
		v->at += (size_t)n;
	}
	return 0;
}

static int
answer(struct visit *v, int is_head)
{
	char text[160], count[32];
	int n = snprintf(count, sizeof(count), "%" PRIu64 "\n", v->body.seen);

	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	    "Content-Length: %d\r\n%s\r\n%s", n, v->head.keep_alive ? "" : "Connection: close\r\n",
	    is_head ? "" : count);
	return say(v, text);
}

static void *
serve(void *arg)
{
	struct visit *v = arg;
	int is_head;

	/* what the head points to is overwritten as the content comes */
	while (read_head(v) == 0) {
		is_head = v->head.method.len == 4 && memcmp(v->head.method.p, "HEAD", 4) == 0;
		if (read_body(v) == -1 || answer(v, is_head) == -1 || !v->head.keep_alive)
			break;
	}
	conn_close(&v->conn);
	free(v);
	return NULL;
}

int
main(int argc, char **argv)
{
	struct sockaddr_storage ss;
	struct visit *v;
	struct pollfd p;
	int fd;

	if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
		fprintf(stderr, "usage: sink [ADDR:PORT]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	raise_limit();
	p.fd = bench_listen("sink", argc == 2 ? argv[1] : "127.0.0.1:0");
	p.events = POLLIN;
	for (;;) {
		if (poll(&p, 1, -1) == -1 || (fd = net_accept(p.fd, &ss)) == -1)
			continue;
		no_delay(fd);
		if ((v = calloc(1, sizeof(*v))) == NULL)
			die("sink", "memory", strerror(errno));
		conn_plain(&v->conn, fd);
		if ((errno = thread_start(STACK, serve, v)) != 0)
			die("sink", "thread", strerror(errno));
	}
}
