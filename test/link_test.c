/* A WebSocket connection with many writers: link.h, over socket pairs and TCP. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../clock.h"
#include "../deadline.h"
#include "../linkint.h"	/* to see what a link holds on to */
#include "../net.h"
#include "test.h"

enum {
	WRITERS = 6,		/* on each side of the crowd */
	MESSAGES = 300,		/* of each writer */
	BIG = 300 * 1024,	/* a message of several frames */
	HDR = 6			/* of a message: writer, last, sequence number */
};

enum { DATA = 'd', FIN = 'f' };

/* A link, its reader, and what it received. */
struct side {
	struct link *l;
	pthread_t reader;
	int code;		/* link_run's */
	const char *why;
	pthread_mutex_t mtx;	/* guards everything below */
	pthread_cond_t news;
	int returned;		/* link_run has */
	uint8_t *msg;		/* the message under way */
	size_t len;
	uint32_t next[WRITERS];	/* sequence number expected of each of the other side's writers */
	int fins, wrong, messages, texts;
	int64_t rtt_us;	/* as the owed callback was last told */
	int fin_owed[WRITERS];	/* to be sent by the owed callback, once each */
	int all_owed;		/* as much as it has room for, once */
	int held;		/* the reader waits for 0 */
	size_t in_cap;		/* of the link's buffer at the last piece of text */
	int rests, reads_into;	/* how often the reader was about to sleep; it had a buffer then */
};

static size_t
msg_len(int writer, uint32_t seq)
{
	static const size_t len[] = { 0, 1, 119, 120, 5000, 16384, 32768, 65530 };

	if (writer == 0 && seq % 40 == 39)
		return BIG;
	return len[(seq + (uint32_t)writer) % 8];
}

static uint8_t
byte_at(int writer, uint32_t seq, size_t i)
{
	return (uint8_t)(i * 7 + seq * 13 + (size_t)writer);
}

static void
arrived_locked(struct side *s)
{
	uint32_t seq;
	size_t i, want;
	int w;

	s->messages++;
	w = s->len >= HDR ? s->msg[1] : WRITERS;
	if (w >= WRITERS) {
		s->wrong++;
		return;
	}
	memcpy(&seq, s->msg + 2, 4);
	if (s->msg[0] == FIN) {
		s->wrong += s->next[w] != MESSAGES;	/* overtook its writer's data */
		s->fins++;
		return;
	}
	want = msg_len(w, seq);
	s->wrong += seq != s->next[w]++ || s->len != HDR + want;
	for (i = HDR; i < s->len; i++)
		if (s->msg[i] != byte_at(w, seq, i - HDR)) {
			s->wrong++;
			return;
		}
}

static int send_bytes(struct link *, enum link_class, const void *, size_t, const void *, int64_t);

/*
 * What a text asks the reader for: H, to do nothing until it may; O, to owe as much
 * as it can; L, to owe a FIN lazily, and then perhaps for more.
 */
static void
obey(struct side *s, const uint8_t *text, size_t len)
{
	if (len > 0 && text[0] == 'H') {
		pthread_mutex_lock(&s->mtx);
		s->held = 1;
		pthread_cond_broadcast(&s->news);
		while (s->held)
			pthread_cond_wait(&s->news, &s->mtx);
		pthread_mutex_unlock(&s->mtx);
	}
	if (len > 0 && text[0] == 'O') {
		pthread_mutex_lock(&s->mtx);
		s->all_owed = 1;
		pthread_mutex_unlock(&s->mtx);
		link_owe_later(s->l);
	}
	if (len == 0 || text[0] != 'L')
		return;
	pthread_mutex_lock(&s->mtx);
	s->fin_owed[0] = 1;
	pthread_mutex_unlock(&s->mtx);
	link_owe_lazily(s->l);
	if (len > 1 && text[1] == 's')
		s->wrong += send_bytes(s->l, LINK_URGENT, "x", 1, NULL, -1) != 0;
	else if (len > 1 && text[1] == 'n')
		link_owe_later(s->l);
	else if (len > 1 && text[1] == 'c')
		link_close(s->l, 4002, "lazy");
}

static int
data(void *arg, uint8_t opcode, uint8_t *buf, size_t len, int fin, const char **why)
{
	struct side *s = arg;

	(void)why;
	if (opcode == WS_TEXT)
		obey(s, buf, len);
	pthread_mutex_lock(&s->mtx);
	if (s->len + len > HDR + BIG)
		s->wrong++;
	else {
		if (len > 0)
			memcpy(s->msg + s->len, buf, len);
		s->len += len;
	}
	if (fin) {
		if (opcode == WS_TEXT) {
			s->texts++;
			s->in_cap = s->l->in_cap;
		}
		else
			arrived_locked(s);
		s->len = 0;
		pthread_cond_broadcast(&s->news);
	}
	pthread_mutex_unlock(&s->mtx);
	return 0;
}

/* One FIN a call, so that several calls are needed. */
static size_t
owed(void *arg, uint8_t *buf, size_t cap, int64_t rtt_us, int *more)
{
	struct side *s = arg;
	size_t n = 0;
	int w;

	pthread_mutex_lock(&s->mtx);
	s->rtt_us = rtt_us;
	if (s->all_owed && cap >= LINK_OWED_MAX) {
		s->all_owed = 0;
		memset(buf, 0, cap);
		n = cap;
	}
	for (w = 0; w < WRITERS && n == 0 && cap >= HDR; w++)
		if (s->fin_owed[w]) {
			s->fin_owed[w] = 0;
			memset(buf, 0, HDR);
			buf[0] = FIN;
			buf[1] = (uint8_t)w;
			n = HDR;
		}
	pthread_mutex_unlock(&s->mtx);
	*more = n > 0;
	return n;
}

static void
idle(void *arg)
{
	struct side *s = arg;

	pthread_mutex_lock(&s->mtx);
	s->rests++;
	s->reads_into = s->l->in != NULL;
	pthread_cond_broadcast(&s->news);
	pthread_mutex_unlock(&s->mtx);
}

static const struct link_ops ops = { data, owed, idle };

static void
side_init(struct side *s, int fd, int client, int64_t ping_ms)
{
	struct link_conf conf;
	struct conn c;

	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->mtx, NULL);
	cond_init(&s->news);
	s->msg = malloc(HDR + BIG);
	memset(&conf, 0, sizeof(conf));
	conf.client = client;
	conf.ping_ms = ping_ms;
	conf.message_max = 1 << 20;
	conf.utf8 = 1;
	net_flags(fd);
	conn_plain(&c, fd);
	s->l = link_new(&c, &conf, &ops, s, NULL, 0);
	if (s->l == NULL || s->msg == NULL)
		abort();
}

static void *
reader(void *arg)
{
	struct side *s = arg;

	s->code = link_run(s->l, &s->why);
	pthread_mutex_lock(&s->mtx);
	s->returned = 1;
	pthread_cond_broadcast(&s->news);
	pthread_mutex_unlock(&s->mtx);
	return NULL;
}

static void
start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	if (pthread_create(t, NULL, fn, arg) != 0)
		abort();
}

/* Join the reader: the link's status code. */
static int
side_end(struct side *s)
{
	pthread_join(s->reader, NULL);
	link_free(s->l);
	pthread_cond_destroy(&s->news);
	pthread_mutex_destroy(&s->mtx);
	free(s->msg);
	return s->code;
}

static int
send_bytes(struct link *l, enum link_class class, const void *p, size_t len, const void *key,
    int64_t ms)
{
	struct iovec iov;
	int err = 0;

	iov.iov_base = exact(p, len);
	iov.iov_len = len;
	if (link_send(l, WS_BINARY, &iov, 1, class, key,
	    ms < 0 ? CONN_FOREVER : clock_ms(CLOCK_STEADY) + ms) == -1)
		err = errno;
	free(iov.iov_base);
	return err;
}

/* The crowd: every writer of both sides at once. */

struct crowd_writer {
	struct side *s;
	pthread_t thread;
	int id, failed;
};

static void *
crowd_writer(void *arg)
{
	struct crowd_writer *w = arg;
	uint8_t hdr[HDR], *body = malloc(BIG);
	struct iovec iov[3];
	uint32_t seq;
	size_t i, len;

	if (body == NULL)
		abort();
	for (seq = 0; seq < MESSAGES; seq++) {
		len = msg_len(w->id, seq);
		hdr[0] = DATA;
		hdr[1] = (uint8_t)w->id;
		memcpy(hdr + 2, &seq, 4);
		for (i = 0; i < len; i++)
			body[i] = byte_at(w->id, seq, i);
		iov[0].iov_base = hdr;
		iov[0].iov_len = HDR;
		iov[1].iov_base = body;
		iov[1].iov_len = len / 3;
		iov[2].iov_base = body + len / 3;
		iov[2].iov_len = len - len / 3;
		/* as a stream does: first urgent, then bulk; odd ones stay urgent */
		if (link_send(w->s->l, WS_BINARY, iov, 3, seq < 20 || w->id % 2 ? LINK_URGENT :
		    LINK_BULK, w, CONN_FOREVER) == -1)
			w->failed++;
	}
	free(body);
	pthread_mutex_lock(&w->s->mtx);
	w->s->fin_owed[w->id] = 1;
	pthread_mutex_unlock(&w->s->mtx);
	link_owe(w->s->l);
	return NULL;
}

static void
wait_fins(struct side *s, int n)
{
	pthread_mutex_lock(&s->mtx);
	while (s->fins < n && !s->returned)
		pthread_cond_wait(&s->news, &s->mtx);
	pthread_mutex_unlock(&s->mtx);
}

/* 1 if link_run has returned, or does within ms. */
static int
side_returned(struct side *s, int64_t ms)
{
	struct timespec until;
	int returned, rc = 0;

	deadline_in(&until, ms);
	pthread_mutex_lock(&s->mtx);
	while (!s->returned && rc == 0)
		rc = pthread_cond_timedwait(&s->news, &s->mtx, &until);
	returned = s->returned;
	pthread_mutex_unlock(&s->mtx);
	return returned;
}

/* Two ends of a connection: a socket pair, or TCP over loopback. */
static void
connect_pair(int fd[2], int tcp)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int one[NET_LISTEN_MAX];
	const char *why;

	if (!tcp) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1)
			abort();
		return;
	}
	if (net_listen("127.0.0.1:0", one, &why) != 1 ||
	    getsockname(one[0], (struct sockaddr *)&ss, &len) == -1 ||
	    (fd[0] = socket(AF_INET, SOCK_STREAM, 0)) == -1 ||
	    connect(fd[0], (struct sockaddr *)&ss, len) == -1 ||
	    (fd[1] = net_accept(one[0], &ss)) == -1)
		abort();
	net_tune(fd[0]);
	net_tune(fd[1]);
	close(one[0]);
}

static void
crowd(int tcp)
{
	struct side s[2];
	struct crowd_writer w[2][WRITERS];
	int fd[2], i, k;

	connect_pair(fd, tcp);
	side_init(&s[0], fd[0], 1, 500);	/* pings between them */
	side_init(&s[1], fd[1], 0, 700);
	for (k = 0; k < 2; k++) {
		start(&s[k].reader, reader, &s[k]);
		for (i = 0; i < WRITERS; i++) {
			w[k][i].s = &s[k];
			w[k][i].id = i;
			w[k][i].failed = 0;
			start(&w[k][i].thread, crowd_writer, &w[k][i]);
		}
	}
	for (k = 0; k < 2; k++)
		for (i = 0; i < WRITERS; i++) {
			pthread_join(w[k][i].thread, NULL);
			check(w[k][i].failed == 0, "crowd: every send succeeds", (size_t)i);
		}
	wait_fins(&s[0], WRITERS);
	wait_fins(&s[1], WRITERS);
	link_close(s[0].l, 4000, "done");
	for (k = 0; k < 2; k++) {
		check(side_end(&s[k]) == 4000, "crowd: closed with the code", (size_t)k);
		check(s[k].wrong == 0, "crowd: order and content", (size_t)s[k].wrong);
		check(s[k].messages == WRITERS * (MESSAGES + 1), "crowd: every message",
		    (size_t)s[k].messages);
	}
}

/* A raw peer: the other end as bytes. Links face it as servers unless told otherwise. */

struct raw {
	int fd;
	int client;		/* the link is one */
	struct side s;
	uint8_t buf[1 << 16];
	size_t at, n;
	uint8_t in_message, opcode;
	int wrong;
};

static struct raw *
raw_new_as(int client, int tcp, int64_t ping_ms)
{
	struct raw *r = calloc(1, sizeof(*r));
	int fd[2];

	if (r == NULL)
		abort();
	connect_pair(fd, tcp);
	r->fd = fd[0];
	r->client = client;
	side_init(&r->s, fd[1], client, ping_ms);
	return r;
}

static struct raw *
raw_new(int tcp, int64_t ping_ms)
{
	return raw_new_as(0, tcp, ping_ms);
}

static int
raw_end(struct raw *r)
{
	int code;

	close(r->fd);
	code = side_end(&r->s);
	check(r->wrong == 0, "raw peer: well-formed", (size_t)r->wrong);
	free(r);
	return code;
}

static int
raw_read(struct raw *r, uint8_t *p, size_t n)
{
	ssize_t got;
	size_t k;

	for (; n > 0; n -= k) {
		if (r->at == r->n) {
			if ((got = read(r->fd, r->buf, sizeof(r->buf))) <= 0)
				return -1;
			r->at = 0;
			r->n = (size_t)got;
		}
		k = r->n - r->at < n ? r->n - r->at : n;
		if (p != NULL) {
			memcpy(p, r->buf + r->at, k);
			p += k;
		}
		r->at += k;
	}
	return 0;
}

/* The next frame; up to 125 bytes of its payload. Its opcode, -1 at the end. */
static int
raw_frame(struct raw *r, struct ws_hdr *h, uint8_t payload[WS_CONTROL_MAX])
{
	uint8_t b[WS_HDR_MAX];
	const char *why;
	size_t n = 0, k;
	int rc;

	do {
		if (raw_read(r, b + n, 1) == -1)
			return -1;
		n++;
	} while ((rc = ws_hdr_parse(h, b, n, &why)) == 0);
	if (rc < 0 || h->masked != r->client || ws_sequence(&r->in_message, h, &r->opcode, &why) < 0) {
		r->wrong++;
		return -1;
	}
	k = h->len < WS_CONTROL_MAX ? (size_t)h->len : WS_CONTROL_MAX;
	if (raw_read(r, payload, k) == -1 || raw_read(r, NULL, (size_t)h->len - k) == -1)
		return -1;
	if (h->masked)
		ws_mask(payload, payload, k, h->key, 0);
	return h->opcode;
}

/* A frame of the peer's at b; how many bytes it has. */
static size_t
raw_put(const struct raw *r, uint8_t *b, uint8_t opcode, const void *p, size_t n)
{
	struct ws_hdr h;
	size_t k;

	memset(&h, 0, sizeof(h));	/* a masking-key of zeros keeps the payload as it is */
	h.opcode = opcode;
	h.fin = 1;
	h.masked = !r->client;
	h.len = n;
	k = ws_hdr_write(b, &h);
	memcpy(b + k, p, n);
	return k + n;
}

static void
raw_write(struct raw *r, const uint8_t *b, size_t n)
{
	if (write(r->fd, b, n) != (ssize_t)n)
		r->wrong++;
}

static void
raw_send(struct raw *r, uint8_t opcode, const void *p, size_t n)
{
	uint8_t b[WS_HDR_MAX + WS_CONTROL_MAX];

	raw_write(r, b, raw_put(r, b, opcode, p, n));
}

/* Read messages until a close frame: how many; *code is the close frame's, -1 if there was none. */
static int
raw_drain(struct raw *r, int *code)
{
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;
	const char *why;
	int op, n = 0;

	*code = -1;
	while ((op = raw_frame(r, &h, p)) != -1) {
		if (op == WS_CLOSE) {
			*code = ws_close_parse(p, (size_t)h.len, &why);
			break;
		}
		n += op < 8 && h.fin;
	}
	return n;
}

/* Fill the connection until a bulk writer's deadline passes. How many messages were taken. */
static int
raw_fill(struct raw *r)
{
	static const uint8_t zeros[32768];
	int n = 0, err;

	while ((err = send_bytes(r->s.l, LINK_BULK, zeros, sizeof(zeros), NULL, 20)) == 0)
		n++;
	check(err == ETIMEDOUT, "deaf peer: bulk times out", 0);
	return n;
}

/* A writer that waits for as long as it must. */
struct waiter {
	struct raw *r;
	pthread_t thread;
	size_t len;
	pthread_mutex_t mtx;
	pthread_cond_t cond;
	int done, err;		/* guarded by mtx */
};

static void *
waiter(void *arg)
{
	struct waiter *w = arg;
	uint8_t *p = calloc(1, w->len);
	int err;

	if (p == NULL)
		abort();
	err = send_bytes(w->r->s.l, LINK_BULK, p, w->len, w, -1);
	free(p);
	pthread_mutex_lock(&w->mtx);
	w->done = 1;
	w->err = err;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mtx);
	return NULL;
}

static void
waiter_start(struct waiter *w, struct raw *r, size_t len)
{
	memset(w, 0, sizeof(*w));
	w->r = r;
	w->len = len;
	pthread_mutex_init(&w->mtx, NULL);
	cond_init(&w->cond);
	start(&w->thread, waiter, w);
}

/* 1 if it came back within ms. */
static int
waiter_done(struct waiter *w, int64_t ms)
{
	struct timespec until;
	int done, rc = 0;

	deadline_in(&until, ms);
	pthread_mutex_lock(&w->mtx);
	while (!w->done && rc == 0)
		rc = pthread_cond_timedwait(&w->cond, &w->mtx, &until);
	done = w->done;
	pthread_mutex_unlock(&w->mtx);
	return done;
}

static int
waiter_end(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->mtx);
	return w->err;
}

/* A peer that does not read, and then does: what was taken comes, what was refused does not. */
static void
deaf_peer(int tcp)
{
	static const uint8_t zeros[1000];
	struct raw *r = raw_new(tcp, 0);
	struct waiter w[3];
	int taken, i, err, code;

	start(&r->s.reader, reader, &r->s);
	taken = raw_fill(r);
	for (i = 0; i < 3; i++)
		waiter_start(&w[i], r, 5000);
	/* Whether they wait yet cannot be seen from here: so ask until they are back. */
	for (i = 0; i < 2; i++) {
		do
			link_cancel(r->s.l, &w[i]);
		while (!waiter_done(&w[i], 1));
		check(waiter_end(&w[i]) == ECANCELED, "deaf peer: cancelled", (size_t)i);
	}
	while ((err = send_bytes(r->s.l, LINK_URGENT, zeros, sizeof(zeros), NULL, 20)) == 0)
		taken++;
	check(err == ETIMEDOUT, "deaf peer: urgent times out", (size_t)err);
	check(send_bytes(r->s.l, LINK_BULK, zeros, 1, NULL, 0) == ETIMEDOUT, "deaf peer: no wait", 0);
	pthread_mutex_lock(&r->s.mtx);
	for (i = 0; i < WRITERS; i++)
		r->s.fin_owed[i] = 1;
	pthread_mutex_unlock(&r->s.mtx);
	link_owe(r->s.l);		/* must not block */
	raw_send(r, WS_PING, "a", 1);
	raw_send(r, WS_CLOSE, "\x03\xe8", 2);
	/* our answer comes behind all of it */
	check(raw_drain(r, &code) == taken + WRITERS + (waiter_end(&w[2]) == 0),
	    "deaf peer: what was taken comes", (size_t)taken);
	check(code == 1000, "deaf peer: close answered", 0);
	check(raw_end(r) == 1000, "deaf peer: code", 0);
}

static void
close_while_blocked(void)
{
	struct raw *r = raw_new(0, 0);
	struct waiter w[2];
	int taken, code;

	start(&r->s.reader, reader, &r->s);
	taken = raw_fill(r);
	waiter_start(&w[0], r, 5000);
	waiter_start(&w[1], r, 5000);
	link_close(r->s.l, 4001, "tired");
	check(waiter_done(&w[0], 1500) && waiter_done(&w[1], 1500),
	    "close: writers return before its time is up", 0);
	check(waiter_end(&w[0]) == EPIPE && waiter_end(&w[1]) == EPIPE, "close: EPIPE", 0);
	check(raw_drain(r, &code) == taken && code == 4001, "close: behind what was taken", 0);
	raw_send(r, WS_CLOSE, "\x0f\xa1", 2);
	check(raw_drain(r, &code) == 0 && code == -1, "close: the end follows", 0);
	check(raw_end(r) == 4001, "close: code", 0);
}

static void
abort_while_blocked(void)
{
	struct raw *r = raw_new(1, 0);
	struct waiter w[2];

	start(&r->s.reader, reader, &r->s);
	raw_fill(r);
	waiter_start(&w[0], r, 5000);
	waiter_start(&w[1], r, BIG);
	check(!waiter_done(&w[0], 5), "abort: the writer waits", 0);
	link_abort(r->s.l);
	check(waiter_end(&w[0]) == EPIPE && waiter_end(&w[1]) == EPIPE, "abort: EPIPE", 0);
	check(send_bytes(r->s.l, LINK_URGENT, "x", 1, NULL, -1) == EPIPE, "abort: nothing after it", 0);
	check(raw_end(r) == WS_ABNORMAL, "abort: code", 0);
}

/* A message of many frames: half of it cannot be taken back. */
static void
half_a_message(void)
{
	struct raw *r = raw_new(0, 0);
	struct waiter w;
	uint8_t *big = calloc(1, 8 << 20), p[WS_CONTROL_MAX];
	struct ws_hdr h;
	int code, pongs = 0, op;

	if (big == NULL)
		abort();
	start(&r->s.reader, reader, &r->s);
	waiter_start(&w, r, 8 << 20);
	check(raw_frame(r, &h, p) == WS_BINARY && !h.fin, "half a message: first frame", 0);
	link_cancel(r->s.l, &w);
	raw_send(r, WS_PING, "b", 1);
	link_owe(r->s.l);
	while (r->in_message != 0 && (op = raw_frame(r, &h, p)) != -1)
		pongs += op == WS_PONG;
	check(pongs == 1, "half a message: pong inside it", (size_t)pongs);
	check(waiter_end(&w) == 0, "half a message: too late to cancel", 0);

	check(send_bytes(r->s.l, LINK_BULK, big, 8 << 20, NULL, 30) == ETIMEDOUT,
	    "half a message: deadline", 0);
	check(raw_drain(r, &code) == 0 && code == -1, "half a message: the link ends", 0);
	check(raw_end(r) == WS_ABNORMAL, "half a message: code", 0);

	r = raw_new(0, 0);
	start(&r->s.reader, reader, &r->s);
	waiter_start(&w, r, 8 << 20);
	check(raw_frame(r, &h, p) == WS_BINARY && !h.fin, "half a message: first frame again", 0);
	link_close(r->s.l, 1001, "");
	check(raw_drain(r, &code) == 0 && code == 1001, "half a message: close inside it", 0);
	check(waiter_end(&w) == EPIPE, "half a message: EPIPE", 0);
	check(raw_end(r) == 1001, "half a message: code of close", 0);
	free(big);
}

/* What is owed goes before the close frame, though link_close comes at once. */
static void
owed_before_close(void)
{
	struct raw *r = raw_new(0, 0);
	int i, code, early;

	for (early = 0; early < 2; early++) {	/* early: before link_run begins */
		if (early)
			r = raw_new(0, 0);
		else
			start(&r->s.reader, reader, &r->s);
		pthread_mutex_lock(&r->s.mtx);
		for (i = 0; i < WRITERS; i++)
			r->s.fin_owed[i] = 1;
		pthread_mutex_unlock(&r->s.mtx);
		link_owe_later(r->s.l);
		check(send_bytes(r->s.l, LINK_URGENT, "x", 1, NULL, -1) == 0, "owed: send", 0);
		link_close(r->s.l, 1001, "bye");
		check(send_bytes(r->s.l, LINK_BULK, "x", 1, NULL, -1) == EPIPE, "owed: closing", 0);
		if (early)
			start(&r->s.reader, reader, &r->s);
		check(raw_drain(r, &code) == WRITERS + 1, "owed: all of it", (size_t)early);
		check(code == 1001, "owed: close behind it", 0);
		raw_send(r, WS_CLOSE, "\x03\xe9", 2);
		check(raw_end(r) == 1001, "owed: code", (size_t)early);
	}
}

static void
endings(void)
{
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;
	struct raw *r;
	int code;

	r = raw_new(0, 0);
	link_abort(r->s.l);
	start(&r->s.reader, reader, &r->s);
	check(raw_end(r) == WS_ABNORMAL, "ends: aborted before it began", 0);

	r = raw_new(0, 0);
	start(&r->s.reader, reader, &r->s);
	raw_send(r, WS_TEXT, "\xff", 1);
	check(raw_drain(r, &code) == 0 && code == WS_BAD_DATA, "ends: failed", 0);
	raw_send(r, WS_CLOSE, "\x03\xef", 2);
	check(raw_drain(r, &code) == 0 && code == -1, "ends: after failing", 0);
	check(raw_end(r) == WS_BAD_DATA, "ends: code of the failure", 0);

	r = raw_new(0, 0);
	start(&r->s.reader, reader, &r->s);
	raw_send(r, WS_TEXT, "cut", 3);
	check(raw_end(r) == WS_ABNORMAL, "ends: cut", 0);

	r = raw_new(0, 0);	/* our close is never answered */
	start(&r->s.reader, reader, &r->s);
	link_close(r->s.l, WS_GOING_AWAY, "");
	check(raw_frame(r, &h, p) == WS_CLOSE && raw_frame(r, &h, p) == -1, "ends: given up", 0);
	check(raw_end(r) == WS_GOING_AWAY, "ends: code without an answer", 0);
}

static void
endings_unread(void)
{
	struct raw *r;
	int code, tcp;

	for (tcp = 0; tcp < 2; tcp++) {
		r = raw_new(tcp, 0);
		raw_fill(r);
		raw_send(r, WS_CLOSE, "\x03\xe8", 2);
		start(&r->s.reader, reader, &r->s);
		check(raw_end(r) == 1000, "ends: closed by a peer that left the rest unread", (size_t)tcp);

		r = raw_new(tcp, 0);
		raw_fill(r);
		raw_send(r, WS_CLOSE, "\x03\xe8", 2);
		shutdown(r->fd, SHUT_WR);
		start(&r->s.reader, reader, &r->s);
		check(!side_returned(&r->s, 100), "ends: half-closed, our answer waits", (size_t)tcp);
		check(raw_drain(r, &code) > 0 && code == 1000, "ends: half-closed", (size_t)tcp);
		check(raw_end(r) == 1000, "ends: code of the half-closed", (size_t)tcp);
	}
}

/* 1 as soon as the owed callback hears of a round trip; the reader may still have the writing. */
static int
told_rtt(struct side *s)
{
	int tries, told = 0;

	for (tries = 0; tries < 500 && !told; tries++) {
		link_owe(s->l);
		pthread_mutex_lock(&s->mtx);
		told = s->rtt_us > 0;
		pthread_mutex_unlock(&s->mtx);
		if (!told)
			poll(NULL, 0, 1);
	}
	return told;
}

static void
pings(void)
{
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;
	struct raw *r = raw_new(0, 150);
	int i, err;

	start(&r->s.reader, reader, &r->s);
	for (i = 0; i < 3; i++) {
		check(raw_frame(r, &h, p) == WS_PING, "pings: come", (size_t)i);
		raw_send(r, WS_PONG, p, (size_t)h.len);
	}
	check(raw_frame(r, &h, p) == WS_PING, "pings: one more", 0);
	check(told_rtt(&r->s), "pings: round trip", 0);
	check(raw_frame(r, &h, p) == -1, "pings: none without an answer", 0);
	check(side_returned(&r->s, 5000) && strcmp(r->s.why, "no answer to ping") == 0, "pings: why", 0);
	check(raw_end(r) == WS_ABNORMAL, "pings: code", 0);

	r = raw_new(0, 150);	/* a blocked writer ends with a silent peer */
	start(&r->s.reader, reader, &r->s);
	while ((err = send_bytes(r->s.l, LINK_BULK, h.key, sizeof(h.key), NULL, -1)) == 0)
		;
	check(err == EPIPE, "pings: writer of a silent peer", 0);
	check(raw_end(r) == WS_ABNORMAL, "pings: code of a silent peer", 0);
}

/* Idle links share a bell; each hears its own ringing, and the others go on. */

/* What a link holds on to, [m] of it. */
struct held {
	struct wake *bell;
	int own, pipes, out, queue;
};

static struct held
held(struct link *l)
{
	struct held h;

	pthread_mutex_lock(&l->mtx);
	h.bell = l->bell;
	h.own = l->bell == &l->own;
	h.pipes = (l->own.rd != -1) + (l->unblock.rd != -1);
	h.out = l->out != NULL;
	h.queue = l->queue != NULL;
	pthread_mutex_unlock(&l->mtx);
	return h;
}

/* Does the link have a bell of its own, or none, as is wanted, within 20 s? */
static int
until_own(struct link *l, int want)
{
	int tries;

	for (tries = 0; tries < 20000 && held(l).own != want; tries++)
		poll(NULL, 0, 1);
	return held(l).own == want;
}

static int
rings(const struct wake *w)
{
	struct pollfd pfd;

	pfd.fd = w->rd;
	pfd.events = POLLIN;
	return poll(&pfd, 1, 0) == 1;
}

/* The link takes and sends. */
static int
works(struct raw *r)
{
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;

	raw_send(r, WS_PING, "w", 1);
	if (raw_frame(r, &h, p) != WS_PONG || h.len != 1 || p[0] != 'w')
		return 0;
	return send_bytes(r->s.l, LINK_URGENT, "x", 1, NULL, -1) == 0 &&
	    raw_frame(r, &h, p) == WS_BINARY && h.len == 1 && p[0] == 'x';
}

static struct raw *
raw_start(int64_t ping_ms)
{
	struct raw *r = raw_new(0, ping_ms);

	start(&r->s.reader, reader, &r->s);
	check(works(r), "raw: begins", 0);
	return r;
}

static void
shared_bell(void)
{
	struct raw *r[3];
	struct waiter w;
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;
	int64_t from;
	int i, taken;

	for (i = 0; i < 3; i++)
		r[i] = raw_start(0);
	for (i = 0; i < 3; i++)
		check(!held(r[i]->s.l).own && held(r[i]->s.l).bell == held(r[0]->s.l).bell,
		    "bell: idle ones share it", (size_t)i);

	from = clock_ms(CLOCK_STEADY);	/* the reader has to be told, or would wait for its peer for ever */
	link_close(r[0]->s.l, 4001, "");
	check(raw_frame(r[0], &h, p) == WS_CLOSE, "bell: close is sent", 0);

	taken = raw_fill(r[1]);		/* the reader is to wait for the socket in the writers' place */
	check(until_own(r[1]->s.l, 1), "bell: a busy one has its own", 0);
	check(until_own(r[0]->s.l, 1), "bell: and one that is to close", 0);
	check(!held(r[2]->s.l).own && works(r[2]), "bell: the third was not meant", 0);
	waiter_start(&w, r[1], 5000);
	while (taken-- > 0)
		raw_frame(r[1], &h, p);
	check(raw_frame(r[1], &h, p) == WS_BINARY && h.len == 5000 && waiter_end(&w) == 0,
	    "bell: the busy one's writers go on", 0);
	check(works(r[1]) && works(r[2]), "bell: both work", 0);

	check(side_returned(&r[0]->s, 15000), "bell: the closed one gives up", 0);
	from = clock_ms(CLOCK_STEADY) - from;
	check(from >= 1900 && from < 6000, "bell: after its time", (size_t)from);
	check(raw_end(r[0]) == 4001, "bell: its code", 0);
	check(works(r[1]) && works(r[2]) && !side_returned(&r[1]->s, 0) && !side_returned(&r[2]->s, 0),
	    "bell: the others stay", 0);
	check(!rings(held(r[2]->s.l).bell), "bell: silent again", 0);
	link_abort(r[2]->s.l);
	check(side_returned(&r[2]->s, 15000) && raw_end(r[2]) == WS_ABNORMAL, "bell: aborted asleep", 0);
	check(works(r[1]) && raw_end(r[1]) == WS_ABNORMAL, "bell: the last", 0);
}

static int
rests(struct side *s)
{
	int n;

	pthread_mutex_lock(&s->mtx);
	n = s->rests;
	pthread_mutex_unlock(&s->mtx);
	return n;
}

/* Two are rung for, and one of them is slow to answer: it still finds its post, which disturbs a third only a little. */
static void
rung_together(void)
{
	struct raw *r[2], *third = raw_start(0);
	int i, code, n;

	for (i = 0; i < 2; i++) {
		r[i] = raw_start(0);
		check(held(r[i]->s.l).bell == held(third->s.l).bell, "together: a shared bell", (size_t)i);
	}
	raw_send(r[1], WS_TEXT, "H", 1);
	pthread_mutex_lock(&r[1]->s.mtx);
	while (!r[1]->s.held)
		pthread_cond_wait(&r[1]->s.news, &r[1]->s.mtx);
	pthread_mutex_unlock(&r[1]->s.mtx);
	link_close(r[1]->s.l, 4001, "");
	link_close(r[0]->s.l, 4000, "");
	check(until_own(r[0]->s.l, 1), "together: the first has answered", 0);
	check(rings(held(r[1]->s.l).bell), "together: and left the other's post", 0);
	n = rests(&third->s);
	poll(NULL, 0, 100);	/* nothing tells of what does not happen */
	n = rests(&third->s) - n;
	check(n > 0 && n < 50, "together: the third looks now and then", (size_t)n);
	check(works(third), "together: and works", 0);
	pthread_mutex_lock(&r[1]->s.mtx);
	r[1]->s.held = 0;
	pthread_cond_broadcast(&r[1]->s.news);
	pthread_mutex_unlock(&r[1]->s.mtx);
	check(until_own(r[1]->s.l, 1), "together: which the second takes", 0);
	for (i = 0; i < 2; i++) {
		check(raw_drain(r[i], &code) == 0 && code == 4000 + i, "together: closed", (size_t)code);
		raw_end(r[i]);
	}
	raw_end(third);
}

/*
 * A link that ends takes its own post out of the bell: one left there would wake
 * all who share it, every few milliseconds, for as long as they do.
 */
static void
silent_after_the_end(void)
{
	enum { ABORTED_EARLY, ABORTED, CLOSED, CUT, UNHEARD, HOWS };
	static const char *const what[] = {
		"silent: aborted before it began", "silent: aborted asleep", "silent: closed",
		"silent: cut when it closes", "silent: no answer to ping"
	};
	struct raw *stays = raw_start(0), *r;
	struct wake *bell = held(stays->s.l).bell;
	int how, i, code;

	for (how = 0; how < HOWS; how++) {
		for (i = 0; i < (how == UNHEARD ? 1 : 20); i++) {
			r = raw_new(0, how == UNHEARD ? 100 : 0);
			check(held(r->s.l).bell == bell, what[how], (size_t)i);
			if (how == ABORTED_EARLY)
				link_abort(r->s.l);
			start(&r->s.reader, reader, &r->s);
			if (how != ABORTED_EARLY && how != UNHEARD)
				check(works(r), what[how], (size_t)i);
			if (how == ABORTED)
				link_abort(r->s.l);
			if (how == CLOSED)
				raw_send(r, WS_CLOSE, "\x03\xe8", 2);
			if (how == CUT)
				shutdown(r->fd, SHUT_WR);
			if (how == CLOSED || how == CUT)
				link_close(r->s.l, WS_GOING_AWAY, "");
			raw_drain(r, &code);
			raw_end(r);
		}
		check(!rings(bell), what[how], (size_t)i);
		wake_clear(bell);	/* for the next */
	}
	check(held(stays->s.l).bell == bell && works(stays), "silent: the one that stays", 0);
	raw_end(stays);
}

/* A second of quiet, and a link that was busy holds no buffers and no pipe. */
static void
given_back(void)
{
	enum { LONG = 10000 };
	struct raw *other = raw_start(0), *r = raw_start(0);
	struct link *l = r->s.l;
	struct wake *bell;
	uint8_t *b = malloc(WS_HDR_MAX + LONG), *text = malloc(LONG), p[WS_CONTROL_MAX];
	struct ws_hdr h;
	int64_t from;
	int taken, grown, n;

	if (b == NULL || text == NULL)
		abort();
	memset(text, 'a', LONG);
	raw_write(r, b, raw_put(r, b, WS_TEXT, text, LONG));
	pthread_mutex_lock(&r->s.mtx);
	while (r->s.texts == 0)
		pthread_cond_wait(&r->s.news, &r->s.mtx);
	grown = r->s.in_cap >= LONG;
	pthread_mutex_unlock(&r->s.mtx);
	check(grown, "given back: much comes, the buffer grows", 0);
	taken = raw_fill(r);
	check(until_own(l, 1) && held(l).out && held(l).queue && held(l).pipes == 2, "given back: busy", 0);
	from = clock_ms(CLOCK_STEADY);
	while (taken-- > 0)
		raw_frame(r, &h, p);
	check(until_own(l, 0), "given back: the bell", 0);
	from = clock_ms(CLOCK_STEADY) - from;
	check(from < 5000, "given back: soon", (size_t)from);
	check(held(l).bell == held(other->s.l).bell, "given back: it shares again", 0);
	check(!held(l).out && !held(l).queue, "given back: what it writes from", 0);
	check(held(l).pipes == 0, "given back: its pipes", (size_t)held(l).pipes);
	bell = held(l).bell;
	pthread_mutex_lock(&r->s.mtx);	/* what it reads into, it alone may look at: another's ringing lets it */
	n = r->s.rests;
	wake_post(bell);
	while (r->s.rests == n)
		pthread_cond_wait(&r->s.news, &r->s.mtx);
	check(!r->s.reads_into, "given back: what it reads into", 0);
	pthread_mutex_unlock(&r->s.mtx);
	wake_take(bell);
	check(works(r) && works(other), "given back: it works on", 0);
	taken = raw_fill(r);
	check(until_own(l, 1), "given back: busy again", 0);
	while (taken-- > 0)
		raw_frame(r, &h, p);
	check(works(r), "given back: and well", 0);
	raw_end(r);
	raw_end(other);
	free(b);
	free(text);
}

/* What nobody waits for rides with the next message, or goes alone after 50 ms. */
static void
lazily(void)
{
	struct raw *r = raw_start(0);
	uint8_t p[WS_CONTROL_MAX], b[64];
	struct ws_hdr h;
	int64_t took, least = INT64_MAX, alone = INT64_MAX;
	size_t n;
	int i, code;

	for (i = 0; i < 3; i++) {
		raw_send(r, WS_TEXT, "Ls", 2);
		check(raw_frame(r, &h, p) == WS_BINARY && p[0] == 'x', "lazily: not before the message", (size_t)i);
		check(r->at < r->n && raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN,
		    "lazily: but with it", (size_t)i);

		n = raw_put(r, b, WS_TEXT, "L", 1);
		n += raw_put(r, b + n, WS_PING, "p", 1);
		raw_write(r, b, n);
		check(raw_frame(r, &h, p) == WS_PONG, "lazily: behind a pong", (size_t)i);
		check(r->at < r->n && raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN,
		    "lazily: with the pong", (size_t)i);

		took = clock_ms(CLOCK_STEADY);
		raw_send(r, WS_TEXT, "L", 1);
		check(raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN, "lazily: alone", (size_t)i);
		took = clock_ms(CLOCK_STEADY) - took;
		check(took >= 50, "lazily: not before its time", (size_t)took);
		alone = took < alone ? took : alone;
	}
	check(alone < 500, "lazily: hardly after it", (size_t)alone);
	check(works(r), "lazily: nothing is left over", 0);
	for (i = 0; i < 20; i++) {	/* somebody does wait for it */
		took = clock_ms(CLOCK_STEADY);
		raw_send(r, WS_TEXT, "Ln", 2);
		check(raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN, "lazily: and in earnest", (size_t)i);
		took = clock_ms(CLOCK_STEADY) - took;
		least = took < least ? took : least;
	}
	check(least < 50, "lazily: in earnest it does not wait", (size_t)least);
	raw_send(r, WS_TEXT, "Lc", 2);
	check(raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN, "lazily: before a close", 0);
	check(raw_drain(r, &code) == 0 && code == 4002, "lazily: the close", 0);
	raw_end(r);
}

/*
 * Hundreds of pings at once, beside all that can be owed: the last one is answered
 * (5.5.3), whether or not there is room to answer each.
 */
static void
flood(int client, int blocked)
{
	enum { PINGS = 600 };
	struct raw *r = raw_new_as(client, 0, 0);
	uint8_t p[WS_CONTROL_MAX], b[(PINGS + 3) * 16];
	struct ws_hdr h;
	size_t n = 0;
	int i, op, pongs = 0, messages = 0, taken = 0;

	start(&r->s.reader, reader, &r->s);
	if (blocked)
		taken = raw_fill(r);
	n += raw_put(r, b + n, WS_TEXT, "O", 1);
	for (i = 0; i < PINGS; i++)
		n += raw_put(r, b + n, WS_PING, "", 0);
	n += raw_put(r, b + n, WS_PING, "last", 4);
	n += raw_put(r, b + n, WS_TEXT, "end", 3);
	raw_write(r, b, n);
	pthread_mutex_lock(&r->s.mtx);
	while (r->s.texts < 2 && !r->s.returned)
		pthread_cond_wait(&r->s.news, &r->s.mtx);
	pthread_mutex_unlock(&r->s.mtx);
	while ((op = raw_frame(r, &h, p)) != -1 && !(op == WS_PONG && h.len > 0)) {
		pongs += op == WS_PONG;
		messages += op == WS_BINARY;
	}
	check(op == WS_PONG && h.len == 4 && memcmp(p, "last", 4) == 0, "flood: the last ping is answered", (size_t)pongs);
	check(pongs <= PINGS && (blocked || pongs > 0), "flood: no more than were asked for", (size_t)pongs);
	for (; op != -1 && messages < taken + 1; messages += op == WS_BINARY)
		op = raw_frame(r, &h, p);
	check(messages == taken + 1, "flood: nothing else is lost", (size_t)messages);
	check(works(r), "flood: it works on", 0);
	raw_end(r);
}

int
main(void)
{
	int i;

	signal(SIGPIPE, SIG_IGN);	/* the raw peers write to what may be gone */
	alarm(60);
	crowd(0);
	crowd(1);
	deaf_peer(0);
	deaf_peer(1);
	close_while_blocked();
	abort_while_blocked();
	half_a_message();
	owed_before_close();
	endings();
	endings_unread();
	pings();
	shared_bell();
	rung_together();
	silent_after_the_end();
	given_back();
	lazily();
	for (i = 0; i < 4; i++)
		flood(i & 1, i & 2);
	return test_end();
}
