/* pump.c: bytes both ways between a connection and a stream; see pump.h. */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "pump.h"

enum { DRAIN_IOV = 16 };

void
pump_init(struct pump *p, struct conn *c, struct stream *s, struct wake *wake, int attached)
{
	p->conn = c;
	p->s = s;
	p->wake = wake;
	queue_init(&p->q);
	p->uncredited = 0;
	p->attached = attached;
	p->failed = p->sleeping = 0;
	p->progress = clock_ms(CLOCK_STEADY);
	p->out.n = 0;
	p->at = 0;
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
	wake_post(p->wake);
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

	while (p->q.len > 0 && !p->failed) {
		sent = conn_writev(p->conn, iov, queue_peek(&p->q, iov, DRAIN_IOV));
		if (sent == -1 && errno != EAGAIN) {
			fail_locked(p);
			break;
		}
		if (sent == -1)
			break;
		p->progress = clock_ms(CLOCK_STEADY);
		queue_drop(&p->q, (size_t)sent);
	}
	if (p->failed)
		return -1;
	credit_locked(p);
	return p->q.len == 0;
}

int
pump_push(struct pump *p, int64_t deadline)
{
	long n;

	if (p->at == p->out.n)
		return 1;
	n = stream_write(p->s, p->out.iov + p->at, p->out.n - p->at, 0, deadline);
	if (n == -1)
		return -1;
	iov_skip(p->out.iov, p->out.n, &p->at, (size_t)n);
	return p->at == p->out.n;
}

long
pump_body(struct pump *p, struct http_body *b, const char *buf, size_t len, int64_t deadline,
    int *state, const char **why)
{
	size_t used = 0;
	long n;

	*state = pump_push(p, deadline);
	while (*state == 1 && used < len && !b->done) {
		n = http_body_take(b, buf + used, len - used, &p->out, why);
		p->at = 0;
		if (n < 0) {
			p->out.n = 0;
			return n;
		}
		used += (size_t)n;
		*state = pump_push(p, deadline);
	}
	return (long)used;
}
