/* bridge.c: a WebSocket and something else joined; see bridge.h. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "bridge.h"
#include "clock.h"

/* What one end has, into the other: 1: something has moved, 0: not now, -1: the other end is broken. */

static int
put_far(struct bridge *b, uint8_t *p, size_t n)
{
	uint8_t *room;
	struct iovec iov;
	ssize_t sent;

	if (b->far != NULL) {
		if ((room = wspipe_room(b->far)) == NULL)
			return b->far->end == WSPIPE_LOST ? -1 : 0;
		sent = n < WSPIPE_PIECE ? (ssize_t)n : WSPIPE_PIECE;
		memcpy(room, p, (size_t)sent);
		wspipe_put(b->far, (size_t)sent);
	} else {
		iov.iov_base = p;
		iov.iov_len = n;
		if ((sent = conn_writev(b->wr, &iov, 1)) == -1)
			return errno == EAGAIN ? 0 : -1;
	}
	wspipe_used(b->ws, (size_t)sent);
	b->in += (uint64_t)sent;
	return 1;
}

static int
inward(struct bridge *b)
{
	uint8_t *p;
	size_t n = wspipe_get(b->ws, &p);
	int rc = n > 0 ? put_far(b, p, n) : 0;

	if (rc == -1)
		b->why = "write to the target failed";
	return rc;
}

/* From another WebSocket. Its end by Close is one in order if its code says so. */
static int
outward_far(struct bridge *b, uint8_t *room)
{
	struct wspipe *f = b->far;
	uint8_t *p;
	size_t n = wspipe_get(f, &p);

	if (n > 0) {
		if (n > WSPIPE_PIECE)
			n = WSPIPE_PIECE;
		memcpy(room, p, n);
		wspipe_used(f, n);
		wspipe_put(b->ws, n);
		b->out += n;
		return 1;
	}
	if (f->end == WSPIPE_OPEN)
		return 0;
	b->why = f->end == WSPIPE_CLOSED ? "closed by the target" : f->why;
	b->far_ended = f->end == WSPIPE_CLOSED && (f->code == WS_NORMAL || f->code == WS_GOING_AWAY || f->code == WS_NO_STATUS);
	return b->far_ended ? 1 : -1;
}

static int
outward(struct bridge *b)
{
	uint8_t *room;
	ssize_t n;

	if (b->far_ended || (room = wspipe_room(b->ws)) == NULL)
		return 0;
	if (b->far != NULL)
		return outward_far(b, room);
	n = conn_read(b->rd, room, WSPIPE_PIECE);
	if (n > 0) {
		wspipe_put(b->ws, (size_t)n);
		b->out += (uint64_t)n;
		return 1;
	}
	if (n == -1 && errno == EAGAIN)
		return 0;
	b->why = "connection to the target lost";
	b->far_ended = n == 0;
	if (n == 0 && b->ws->halves)
		wspipe_half(b->ws);
	return n == 0 ? 1 : -1;
}

/* Is it over? 1, and *end. */
static int
ended(struct bridge *b, enum bridge_end *end)
{
	struct wspipe *w = b->ws;

	*end = w->end == WSPIPE_CLOSED ? BRIDGE_CLOSED : w->end == WSPIPE_FAILED ? BRIDGE_FAILED : BRIDGE_LOST;
	if (!wspipe_coming(w))
		return 1;
	if (w->end == WSPIPE_HALF && w->data == w->ndata && !b->ws_ended) {
		if (b->far == NULL)
			conn_shutdown(b->wr, SHUT_WR);
		b->ws_ended = 1;
	}
	*end = BRIDGE_FAR;
	if (b->rd != b->wr && b->quiet && b->far_ended)	/* neither reads nor writes any more */
		return 1;
	*end = BRIDGE_DONE;
	if (b->ws_ended && (b->far_ended || b->over_on_half || b->far != NULL))
		return 1;
	return b->far_ended && !w->halves && !b->stay;
}

/* What rd and wr are waited for. How many of want they are. */
static int
far_wants(struct bridge *b, struct conn_want *want)
{
	int in = !b->far_ended && b->ws->out_at == b->ws->nout ? POLLIN : 0;
	int out = b->ws->data < b->ws->ndata ? POLLOUT : 0;

	if (b->far != NULL) {
		want->conn = b->far->conn;
		want->events = wspipe_events(b->far) & (in != 0 ? ~0 : ~POLLIN);
		return 1;
	}
	want[0].conn = b->rd;
	want[0].events = b->rd == b->wr ? in | out : in;
	want[1].conn = b->wr;
	want[1].events = out;
	if (want[b->rd != b->wr].events == 0 && !b->quiet)
		want[b->rd != b->wr].events = POLLERR;	/* a reset must still be noticed */
	return 1 + (b->rd != b->wr);
}

static int64_t
tick(struct bridge *b)
{
	int64_t now = clock_ms(CLOCK_STEADY), until = wspipe_tick(b->ws, now), far;
	int there = b->far != NULL && b->far->end == WSPIPE_OPEN;

	if (b->far == NULL)
		return until;
	far = wspipe_tick(b->far, now);
	if (there && b->far->end != WSPIPE_OPEN)
		return now;	/* outward() has to see it first */
	return far < until ? far : until;
}

/* 1: go on; 0: *end. */
static int
sleep_until(struct bridge *b, int64_t until, enum bridge_end *end)
{
	struct conn_want want[CONN_WANTS];
	int n, woken, last;

	want[0].conn = b->ws->conn;
	want[0].events = wspipe_events(b->ws);
	n = 1 + far_wants(b, want + 1);
	conn_wait_any(want, n, until, b->wakefd, &woken);
	last = n - 1;
	*end = BRIDGE_STOPPED;
	if (woken && b->stop(b->arg))
		return 0;
	*end = BRIDGE_LOST;
	if (want[0].events == POLLERR && want[0].ready != 0 && conn_broken(b->ws->conn)) {
		b->why = "connection lost";
		return 0;
	}
	if (want[last].events == POLLERR && want[last].ready != 0 && b->far == NULL) {
		b->quiet = 1;
		b->why = "connection to the target lost";
		*end = BRIDGE_FAR;
		return b->rd != b->wr || !conn_broken(b->wr);
	}
	return 1;
}

enum bridge_end
bridge_run(struct bridge *b)
{
	enum bridge_end end;
	int64_t until;
	int rc = 0, moved;

	b->why = "";
	if (b->stop != NULL && b->stop(b->arg))
		return BRIDGE_STOPPED;
	for (;;) {
		if ((moved = inward(b)) == -1 || (rc = outward(b)) == -1) {
			b->err = errno;
			return BRIDGE_FAR;
		}
		wspipe_flush(b->ws);
		if (b->far != NULL)
			wspipe_flush(b->far);
		until = tick(b);	/* judges what has come, so after it was read */
		if (ended(b, &end))
			return end;
		if (moved + rc == 0 && !sleep_until(b, until, &end))
			return end;
	}
}

/* 1 if something has moved. */
static int
take_late(struct bridge *b, int *keep)
{
	struct wspipe *w = b->ws;
	uint8_t *p;
	size_t n = wspipe_coming(w) || *keep ? wspipe_get(w, &p) : 0;
	int rc = n > 0 ? 1 : 0;

	if (n > 0 && *keep && (rc = put_far(b, p, n)) == -1)
		*keep = 0;
	if (n > 0 && !*keep)
		wspipe_used(w, n);
	return rc != 0;
}

void
bridge_finish(struct bridge *b, int keep, int64_t deadline)
{
	struct wspipe *w = b->ws;
	struct conn_want want[2];
	int n, said;

	while (clock_ms(CLOCK_STEADY) < deadline && wspipe_flush(w) != -1) {
		if (take_late(b, &keep))
			continue;
		said = w->close_sent && w->out_at == w->nout;
		if (said && !wspipe_coming(w) && (!keep || w->data == w->ndata))
			return;
		n = keep && w->data < w->ndata;
		want[0].conn = w->conn;
		want[0].events = wspipe_events(w) & (n || !wspipe_coming(w) ? POLLOUT : POLLOUT | POLLIN);
		want[1].conn = b->wr;
		want[1].events = POLLOUT;
		conn_wait_any(want, 1 + n, deadline, -1, NULL);
	}
}

int
bridge_deliver(struct bridge *b, int64_t deadline)
{
	struct wspipe *w = b->ws;
	struct conn *c = b->far != NULL ? b->far->conn : b->wr;
	int rc;

	while (w->data < w->ndata) {
		if ((rc = put_far(b, w->in + w->data, w->ndata - w->data)) == -1)
			return -1;
		if (b->far != NULL)
			wspipe_flush(b->far);
		if (rc == 0 && conn_wait(c, POLLOUT, deadline, -1, NULL) == 0)
			return -1;
	}
	return 0;
}
