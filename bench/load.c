/*
 * load.c: HTTP/1.1 requests over kept connections, where wrk and curl cannot.
 *
 *	-H HOST		the Host field (ADDR:PORT)
 *	-c CONNS	connections, each with one request at a time (1)
 *	-d SECONDS	how long (5)
 *	-n REQUESTS	and how many requests at most, in all
 *	-r BYTES	a second, at most, that each connection reads
 *	-i US		each connection begins a request at most so often
 *	-s		one more connection asks, reads the response's head and then nothing
 *	-u BYTES	POST with so much content, instead of GET
 *
 * Bytes are those of content that came, or were sent with -u, also of exchanges that the
 * end cut short. A time runs from the request's first byte to the response's last.
 */
#include <inttypes.h>
#include <signal.h>

#include "../conn.h"
#include "../http.h"
#include "../opt.h"
#include "bench.h"
#include "hist.h"

enum {
	READ_MAX = 256 * 1024,
	HEAD_MAX = 8192,	/* of a response */
	CONNS_MAX = 60000,
	LISTED_MAX = 64,	/* connections whose bytes are told one by one */
	BURST_US = 20000,	/* what a paced connection may catch up on */
	LATE_US = 1000,		/* a request so late does not move those behind it */
	RETRY_US = 10000,	/* from an error to the next try */
	RUN_MS = 5000
};

enum state { CLOSED, IDLE, HEAD, BODY };

struct caller {
	int fd;
	enum state state;
	int64_t due;		/* us: no request, nor a new connection, before */
	int64_t began;		/* us: the request under way */
	int64_t paced;		/* ns: no read before */
	uint64_t bytes;
	size_t out;		/* bytes of the request head sent */
	uint64_t left;		/* bytes of content to send */
	size_t len;		/* bytes in in */
	struct http_head head;
	struct http_body body;
	char in[HEAD_MAX];
};

struct load {
	struct target target;
	long conns, ms, limit, rate, interval, upload;
	char request[2048];
	size_t nrequest;
	struct caller *caller;
	struct pollfd *pfd;
	char *zeros, *buf;	/* READ_MAX each */
	uint64_t started, requests, errors, bytes;
	struct hist took;	/* us */
	char first[128];	/* the first error */
};

static void
usage(void)
{
	fprintf(stderr, "usage: load [-H HOST] [-c CONNS] [-d SECONDS] [-n REQUESTS]"
	    " [-r BYTES_PER_SEC] [-i INTERVAL_US] [-s] [-u BYTES] ADDR:PORT PATH\n");
	exit(2);
}

static void
tally(struct load *l, struct caller *c, uint64_t n)
{
	l->bytes += n;
	c->bytes += n;
}

static void
drop(struct caller *c)
{
	if (c->fd != -1)
		close(c->fd);
	c->fd = -1;
	c->state = CLOSED;
}

static void
failed(struct load *l, struct caller *c, const char *why)
{
	int64_t retry = clock_us(CLOCK_STEADY) + RETRY_US;

	if (l->errors++ == 0)
		snprintf(l->first, sizeof(l->first), "%s", why);
	drop(c);
	if (c->due < retry)
		c->due = retry;
}

static int
is_sending(const struct load *l, const struct caller *c)
{
	return c->state >= HEAD && (c->out < l->nrequest || c->left > 0);
}

/* One piece, so that the other connections have their turn. */
static void
send_more(struct load *l, struct caller *c)
{
	size_t head = l->nrequest - c->out;
	struct iovec iov[2];
	ssize_t n;

	iov[0].iov_base = l->request + c->out;
	iov[0].iov_len = head;
	iov[1].iov_base = l->zeros;
	iov[1].iov_len = c->left < READ_MAX ? (size_t)c->left : READ_MAX;
	n = writev(c->fd, iov, 2);
	if (n == -1 && !would_block())
		failed(l, c, strerror(errno));
	else if (n != -1 && (size_t)n < head)
		c->out += (size_t)n;
	else if (n != -1) {
		c->out = l->nrequest;
		c->left -= (size_t)n - head;
		tally(l, c, (size_t)n - head);
	}
}

/* Begin the next request, if there is one and its time has come. */
static void
begin(struct load *l, struct caller *c, int64_t now)
{
	if (c->due > now || (l->limit > 0 && l->started >= (uint64_t)l->limit))
		return;
	l->started++;
	c->due = (c->due > now - LATE_US ? c->due : now) + l->interval;
	if (c->fd == -1 && (c->fd = target_dial(&l->target)) == -1) {
		failed(l, c, strerror(errno));
		return;
	}
	c->state = HEAD;
	c->began = now;
	c->out = c->len = 0;
	c->left = (uint64_t)l->upload;
	c->head.scanned = 0;
	send_more(l, c);
}

static void
done(struct load *l, struct caller *c)
{
	int64_t now = clock_us(CLOCK_STEADY);

	l->requests++;
	hist_add(&l->took, (uint64_t)(now - c->began));
	c->state = IDLE;
	if (!c->head.keep_alive || c->head.framing == HTTP_TO_EOF)
		drop(c);
	begin(l, c, now);
}

static void
take(struct load *l, struct caller *c, const char *p, size_t len)
{
	struct http_out out;
	const char *why;
	uint64_t seen;
	long n;

	while (len > 0 && !c->body.done) {
		seen = c->body.seen;
		if ((n = http_body_take(&c->body, p, len, &out, &why)) < 0) {
			failed(l, c, why);
			return;
		}
		if (l->upload == 0)
			tally(l, c, c->body.seen - seen);
		p += n;
		len -= (size_t)n;
	}
	if (!c->body.done)
		return;
	if (len > 0 || is_sending(l, c))
		failed(l, c, len > 0 ? "bytes behind a response" : "a response before its request's end");
	else
		done(l, c);
}

/* What has come of the head; a 1xx response is passed over. */
static void
take_head(struct load *l, struct caller *c)
{
	const char *why;
	char status[32];
	int n;

	while ((n = http_res_parse(&c->head, c->in, c->len, 0, &why)) > 0 && c->head.status < 200) {
		c->len -= (size_t)n;
		memmove(c->in, c->in + n, c->len);
		c->head.scanned = 0;
	}
	if (n < 0 || (n == 0 && c->len == HEAD_MAX))
		failed(l, c, n < 0 ? why : "response head too long");
	else if (n > 0 && c->head.status >= 300) {
		snprintf(status, sizeof(status), "status %d", c->head.status);
		failed(l, c, status);
	} else if (n > 0) {
		http_body_init(&c->body, &c->head, NULL, 1);
		c->state = BODY;
		take(l, c, c->in + n, c->len - (size_t)n);
	}
}

static void
receive(struct load *l, struct caller *c)
{
	size_t most = READ_MAX;
	int64_t now;
	ssize_t n;

	if (l->rate > 0 && l->rate / 100 < READ_MAX)	/* a slow one is no less even */
		most = (size_t)l->rate / 100 + 1;
	if (c->state == BODY)
		n = read(c->fd, l->buf, most);
	else
		n = read(c->fd, c->in + c->len, HEAD_MAX - c->len);
	if (n == -1 && would_block())
		return;
	if (c->state == IDLE) {		/* the server need not keep it */
		drop(c);
		return;
	}
	if (n <= 0) {
		if (n == 0 && c->state == BODY && http_body_eof(&c->body) == 0)
			done(l, c);
		else
			failed(l, c, n == 0 ? "closed early" : strerror(errno));
		return;
	}
	if (l->rate > 0) {
		now = (clock_us(CLOCK_STEADY) - BURST_US) * 1000;
		c->paced = (c->paced > now ? c->paced : now) + (int64_t)n * 1000000000 / l->rate;
	}
	if (c->state == BODY)
		take(l, c, l->buf, (size_t)n);
	else {
		c->len += (size_t)n;
		take_head(l, c);
	}
}

/* What to wait for on a connection; until when, if that is before *next. */
static void
watch(struct load *l, struct caller *c, struct pollfd *p, int64_t now, int64_t *next)
{
	int64_t until = 0;

	if (c->state <= IDLE)
		begin(l, c, now);
	p->events = is_sending(l, c) ? POLLOUT : 0;
	if (c->state >= HEAD && c->paced > now * 1000)
		until = c->paced / 1000 + 1;
	else if (c->state != CLOSED)
		p->events |= POLLIN;
	if (c->state <= IDLE && c->due > now)
		until = c->due;
	if (until > 0 && until < *next)
		*next = until;
	p->fd = p->events != 0 ? c->fd : -1;
}

static void
run(struct load *l, int64_t start, int64_t end)
{
	int64_t now, next;
	long i;

	for (i = 0; i < l->conns; i++)
		l->caller[i].due = start + l->interval * i / l->conns;
	while ((now = clock_us(CLOCK_STEADY)) < end) {
		if (l->limit > 0 && l->requests + l->errors >= (uint64_t)l->limit)
			return;
		next = end;
		for (i = 0; i < l->conns; i++)
			watch(l, &l->caller[i], &l->pfd[i], now, &next);
		poll_us(l->pfd, (nfds_t)l->conns, next - now);
		for (i = 0; i < l->conns; i++) {
			if (l->pfd[i].fd == -1 || l->pfd[i].revents == 0)
				continue;
			if (is_sending(l, &l->caller[i]))
				send_more(l, &l->caller[i]);
			if (l->caller[i].fd != -1 && l->pfd[i].revents & ~POLLOUT)
				receive(l, &l->caller[i]);
		}
	}
}

/* The caller that reads no more than the head. Its connection stays open. */
static void
stall(struct load *l, const char *addr)
{
	int64_t end = clock_ms(CLOCK_STEADY) + DIAL_MS;
	char last[4] = "";
	struct conn c;

	conn_plain(&c, target_find(&l->target, "load", addr));
	if (conn_write_all(&c, l->request, l->nrequest, end) == -1)
		die("load", addr, strerror(errno));
	while (memcmp(last, "\r\n\r\n", 4) != 0) {
		memmove(last, last + 1, 3);
		if (conn_wait(&c, POLLIN, end, -1, NULL) == 0 || conn_read(&c, last + 3, 1) != 1)
			die("load", addr, "no response head for the stalled caller");
	}
}

static void
print(const struct load *l, double seconds)
{
	static const struct { const char *name; unsigned permille; } p[] = {
		{ "p50_us", 500 }, { "p90_us", 900 }, { "p99_us", 990 }, { "p999_us", 999 },
	};
	size_t i;

	printf("{\"requests\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"seconds\":%.3f,"
	    "\"bytes\":%" PRIu64 ",\"bytes_per_s\":%.0f", l->requests, l->errors, seconds,
	    l->bytes, (double)l->bytes / seconds);
	for (i = 0; l->conns <= LISTED_MAX && i < (size_t)l->conns; i++)
		printf("%s%" PRIu64, i == 0 ? ",\"per_conn_bytes\":[" : ",", l->caller[i].bytes);
	printf("%s", i > 0 ? "]" : "");
	for (i = 0; i < sizeof(p) / sizeof(p[0]); i++)
		printf(",\"%s\":%" PRIu64, p[i].name, hist_at(&l->took, p[i].permille));
	printf(",\"max_us\":%" PRIu64 "}\n", l->took.max);
	if (l->errors > 0)
		fprintf(stderr, "load: %" PRIu64 " errors, the first: %s\n", l->errors, l->first);
}

static int
options(struct load *l, int argc, char **argv, const char **host)
{
	int ch, bad = 0, stalled = 0;

	l->conns = 1;
	l->ms = RUN_MS;
	while ((ch = getopt(argc, argv, "H:c:d:n:r:i:su:")) != -1) {
		switch (ch) {
		case 'H': *host = optarg; break;
		case 'c': bad |= opt_number(optarg, 1, CONNS_MAX, &l->conns); break;
		case 'd': bad |= opt_seconds(optarg, &l->ms); break;
		case 'n': bad |= opt_number(optarg, 1, INT32_MAX, &l->limit); break;
		case 'r': bad |= opt_bytes(optarg, &l->rate); break;
		case 'i': bad |= opt_number(optarg, 1, INT32_MAX, &l->interval); break;
		case 's': stalled = 1; break;
		case 'u': bad |= opt_bytes(optarg, &l->upload); break;
		default: bad = 1;
		}
	}
	if (bad || argc - optind != 2 || argv[optind + 1][0] != '/' || l->rate < 0 || l->upload < 0)
		usage();
	return stalled;
}

static void
write_request(struct load *l, const char *host, const char *path)
{
	char length[64] = "";
	int n;

	if (l->upload > 0)
		snprintf(length, sizeof(length), "Content-Length: %ld\r\n", l->upload);
	n = snprintf(l->request, sizeof(l->request), "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
	    l->upload > 0 ? "POST" : "GET", path, host, length);
	if (n >= (int)sizeof(l->request))
		die("load", path, "is too long");
	l->nrequest = (size_t)n;
}

int
main(int argc, char **argv)
{
	static struct load l;
	const char *host = NULL;
	int64_t start;
	long i, upload;
	int stalled = options(&l, argc, argv, &host);

	argv += optind;
	if (host == NULL)
		host = argv[0];
	signal(SIGPIPE, SIG_IGN);
	raise_limit();
	l.caller = calloc((size_t)l.conns, sizeof(*l.caller));
	l.pfd = calloc((size_t)l.conns, sizeof(*l.pfd));
	l.zeros = calloc(2, READ_MAX);
	if (l.caller == NULL || l.pfd == NULL || l.zeros == NULL)
		die("load", "memory", strerror(errno));
	l.buf = l.zeros + READ_MAX;
	if (stalled) {		/* it asks for something to read, whatever the others send */
		upload = l.upload;
		l.upload = 0;
		write_request(&l, host, argv[1]);
		stall(&l, argv[0]);
		l.upload = upload;
	}
	write_request(&l, host, argv[1]);
	for (i = 0; i < l.conns; i++) {
		l.caller[i].fd = i == 0 ? target_find(&l.target, "load", argv[0]) :
		    target_dial(&l.target);
		if (l.caller[i].fd == -1)
			die("load", argv[0], strerror(errno));
		l.caller[i].state = IDLE;
	}
	start = clock_us(CLOCK_STEADY);
	run(&l, start, start + l.ms * 1000);
	print(&l, (double)(clock_us(CLOCK_STEADY) - start) / 1e6);
	return 0;
}
