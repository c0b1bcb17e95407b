/*
 * linkrig.h: a link with its reader, and what faces it in tests: another link, or a raw peer.
 */
#ifndef LINKRIG_H
#define LINKRIG_H

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
	int stands_still;	/* ms, the next time it is; a ping that is due has not been sent then */
};

static inline size_t
msg_len(int writer, uint32_t seq)
{
	static const size_t len[] = { 0, 1, 119, 120, 5000, 16384, 32768, 65530 };

	if (writer == 0 && seq % 40 == 39)
		return BIG;
	return len[(seq + (uint32_t)writer) % 8];
}

static inline uint8_t
byte_at(int writer, uint32_t seq, size_t i)
{
	return (uint8_t)(i * 7 + seq * 13 + (size_t)writer);
}

static inline void
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

static inline int send_bytes(struct link *, enum link_class, const void *, size_t, const void *, int64_t);

/*
 * What a text asks the reader for: H, to do nothing until it may; O, to owe as much
 * as it can; L, to owe a FIN lazily, and then perhaps for more.
 */
static inline void
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

static inline int
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
static inline size_t
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

static inline void
idle(void *arg)
{
	struct side *s = arg;

	pthread_mutex_lock(&s->mtx);
	s->rests++;
	s->reads_into = s->l->in != NULL;
	pthread_cond_broadcast(&s->news);
	pthread_mutex_unlock(&s->mtx);
	poll(NULL, 0, s->stands_still);
	s->stands_still = 0;
}

static const struct link_ops ops = { data, owed, idle };

static inline void
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

static inline void *
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

static inline void
start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	if (pthread_create(t, NULL, fn, arg) != 0)
		abort();
}

/* Join the reader: the link's status code. */
static inline int
side_end(struct side *s)
{
	pthread_join(s->reader, NULL);
	link_free(s->l);
	pthread_cond_destroy(&s->news);
	pthread_mutex_destroy(&s->mtx);
	free(s->msg);
	return s->code;
}

static inline int
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

/* Wait for the reader to have taken a text. */
static inline void
side_text(struct side *s)
{
	pthread_mutex_lock(&s->mtx);
	while (s->texts == 0)
		pthread_cond_wait(&s->news, &s->mtx);
	pthread_mutex_unlock(&s->mtx);
}

/* 1 if link_run has returned, or does within ms. */
static inline int
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
static inline void
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
	if (net_listen("127.0.0.1:0", NULL, NULL, one, &why) != 1 ||
	    getsockname(one[0], (struct sockaddr *)&ss, &len) == -1 ||
	    (fd[0] = socket(AF_INET, SOCK_STREAM, 0)) == -1 ||
	    connect(fd[0], (struct sockaddr *)&ss, len) == -1 ||
	    (fd[1] = net_accept(one[0], &ss)) == -1)
		abort();
	net_tune(fd[0]);
	net_tune(fd[1]);
	close(one[0]);
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

static inline struct raw *
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

static inline struct raw *
raw_new(int tcp, int64_t ping_ms)
{
	return raw_new_as(0, tcp, ping_ms);
}

static inline int
raw_end(struct raw *r)
{
	int code;

	close(r->fd);
	code = side_end(&r->s);
	check(r->wrong == 0, "raw peer: well-formed", (size_t)r->wrong);
	free(r);
	return code;
}

static inline int
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
static inline int
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
static inline size_t
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

static inline void
raw_write(struct raw *r, const uint8_t *b, size_t n)
{
	if (write(r->fd, b, n) != (ssize_t)n)
		r->wrong++;
}

static inline void
raw_send(struct raw *r, uint8_t opcode, const void *p, size_t n)
{
	uint8_t b[WS_HDR_MAX + WS_CONTROL_MAX];

	raw_write(r, b, raw_put(r, b, opcode, p, n));
}

/* Read messages until a close frame: how many; *code is the close frame's, -1 if there was none. */
static inline int
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
static inline int
raw_fill(struct raw *r)
{
	static const uint8_t zeros[32768];
	int n = 0, late, err = 0;

	for (late = 0; late < 5; late++)	/* once may be for want of a processor */
		while ((err = send_bytes(r->s.l, LINK_BULK, zeros, sizeof(zeros), NULL, 20)) == 0) {
			n++;
			late = 0;
		}
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

static inline void *
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

static inline void
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
static inline int
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

static inline int
waiter_end(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->mtx);
	return w->err;
}

#endif
