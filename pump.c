/* pump.c: bytes both ways between a connection and a stream; see pump.h. */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "pump.h"

enum {
	DRAIN_IOV = 16,
	SPINS = 200
};

void
pump_init(struct pump *p, struct conn *c, struct stream *s, struct wake *wake, int attached)
{
	p->conn = c;
	p->s = s;
	p->wake = wake;
	p->watched = NULL;
	queue_init(&p->q);
	p->uncredited = 0;
	p->attached = attached;
	p->failed = p->sleeping = 0;
	p->progress = clock_ms(CLOCK_STEADY);
	p->sent = 0;
	p->n = p->at = 0;
}

void
pump_end(struct pump *p)
{
	queue_free(&p->q);
}

void
pump_wake_locked(struct pump *p)
{
	if (!p->sleeping)
		return;
	p->sleeping = 0;	/* once is enough */
	if (p->watched != NULL)
		watch_post(p->watched);
	else
		wake_post(p->wake);
}

void
pump_awake_lock(struct pump *p)
{
	int i, busy = 1;

	/* often the reader is still in the very send whose effect has woken us: a moment's patience spares two context switches */
	for (i = 0; i < SPINS && busy; i++)
		busy = pthread_mutex_trylock(&p->s->mtx);
	if (busy)
		pthread_mutex_lock(&p->s->mtx);
	if (!p->sleeping && p->watched == NULL)	/* somebody has posted */
		wake_clear(p->wake);
	p->sleeping = 0;
}

static void
fail_locked(struct pump *p)
{
	p->failed = 1;
	queue_free(&p->q);
	pump_wake_locked(p);
}

/* Give the window back what is delivered: all but what still waits in the queue. */
static void
credit_locked(struct pump *p)
{
	size_t n;

	if (p->q.len >= p->uncredited)
		return;
	n = p->uncredited - p->q.len;
	p->uncredited -= n;
	stream_credit(p->s, n, p->q.len > 0);
}

void
pump_put_locked(struct pump *p, const struct iovec *iov, int n, size_t taken)
{
	ssize_t sent = 0;
	size_t skip;
	int was_empty = p->q.len == 0;

	if (p->failed)
		return;
	p->uncredited += taken;
	if (was_empty && p->attached && n > 0) {
		sent = conn_writev(p->conn, iov, n);
		if (sent == -1 && errno != EAGAIN) {
			fail_locked(p);
			return;
		}
		if (sent == -1)
			sent = 0;
		p->sent += (size_t)sent;
	}
	for (skip = (size_t)sent; n > 0; n--, iov++) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		if (queue_put(&p->q, (char *)iov->iov_base + skip, iov->iov_len - skip) == -1) {
			fail_locked(p);
			return;
		}
		skip = 0;
	}
	if (was_empty && p->q.len > 0) {
		p->progress = clock_ms(CLOCK_STEADY);
		pump_wake_locked(p);
	}
	credit_locked(p);
}

int
pump_drain_locked(struct pump *p)
{
	struct iovec iov[DRAIN_IOV];
	ssize_t sent;

	while (p->q.len > 0 && p->attached && !p->failed) {
		sent = conn_writev(p->conn, iov, queue_peek(&p->q, iov, DRAIN_IOV));
		if (sent == -1 && errno != EAGAIN) {
			fail_locked(p);
			break;
		}
		if (sent == -1)
			break;
		p->progress = clock_ms(CLOCK_STEADY);
		p->sent += (size_t)sent;
		queue_drop(&p->q, (size_t)sent);
	}
	if (p->failed)
		return -1;
	credit_locked(p);
	return p->q.len == 0;
}

int
pump_push(struct pump *p, int fin, int64_t deadline)
{
	long n;

	if (p->at == p->n && !fin)
		return 1;
	n = stream_write(p->s, p->iov + p->at, p->n - p->at, fin, deadline);
	if (n == -1)
		return -1;
	iov_skip(p->iov, p->n, &p->at, (size_t)n);
	return p->at == p->n;
}

static void
add(struct pump *p, const char *buf, size_t len)
{
	if (len == 0)
		return;
	p->iov[p->n].iov_base = (char *)(uintptr_t)buf;
	p->iov[p->n++].iov_len = len;
}

long
pump_take(struct pump *p, struct str lead, struct http_body *b, const char *buf, size_t len,
    const char **why)
{
	long used = 0;
	int i;

	p->n = p->at = 0;
	add(p, lead.p, lead.len);
	if (len > 0 && !b->done) {
		if ((used = http_body_take(b, buf, len, &p->out, why)) < 0)
			return used;
		for (i = 0; i < p->out.n; i++)
			p->iov[p->n++] = p->out.iov[i];
	}
	return used;
}

void
pump_take_raw(struct pump *p, struct str lead, const char *buf, size_t len)
{
	p->n = p->at = 0;
	add(p, lead.p, lead.len);
	add(p, buf, len);
}
