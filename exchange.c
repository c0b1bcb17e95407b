/* exchange.c: one HTTP exchange over a stream; see exchange.h. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "caller.h"
#include "clock.h"
#include "daemon.h"
#include "direct.h"
#include "exchange.h"
#include "guard.h"
#include "handshake.h"
#include "log.h"
#include "request.h"
#include "webgate.h"

enum {
	LOOK_MS = 250,		/* how often a waiting thread looks whether the daemon drains */
	SHUT_MS = 1000,		/* for what is still to come to a client that cannot end one direction alone */
	COUNT_MS = 100,		/* for an exchange of the same address that is just ending */
	LAZY_MS = 50		/* how long a finished exchange may go on unnoticed by its thread */
};

/* The caller's side. */

/*
 * 1 if the caller's connection is broken. Sets eof if it has ended its direction.
 * What it sends ahead is read into c->in, behind what is there (nothing moves: c->head
 * may still point into it), so that its end is seen behind it; when that is full, watch goes off.
 */
static int
look_at_caller(struct exchange *x)
{
	struct caller *c = x->c;
	size_t room = sizeof(c->in) - c->len;
	ssize_t n;

	if (x->eof != 0 || !x->watch)
		return 0;
	if (room == 0) {
		x->watch = 0;
		return 0;
	}
	if ((n = conn_read(&c->conn, c->in + c->len, room)) == -1 && !request_raw_end(x))
		return errno != EAGAIN;
	if (n <= 0)
		x->eof = clock_ms(CLOCK_STEADY);
	else
		c->len += (size_t)n;
	return 0;
}

/* 1 if the caller has left: broken, or half closed and nothing has come for it for so long. */
static int
caller_left(struct exchange *x)
{
	if (look_at_caller(x))
		return 1;
	return x->eof != 0 && clock_ms(CLOCK_STEADY) - x->eof >= x->c->d->conf.half_close_ms;
}

/* May its address have another? */
static struct ending
count_it(struct exchange *x)
{
	struct limit *l = x->c->d->exchanges;

	x->counted = 0;
	if (l == NULL)
		return ending(V_GO_ON, 0, NULL, NULL);
	caller_address(x->c, &x->addr);
	if (!(x->counted = limit_take(l, &x->addr, COUNT_MS)))
		return ending(V_ERROR, 429, "too many requests from this address", "address_full");
	return ending(V_GO_ON, 0, NULL, NULL);
}

/* A holder of the name, waiting while it is in its grace period. */
static struct ending
find_holder(struct exchange *x)
{
	struct registry *r = x->c->d->registry;
	const char *name = x->to->name, *who = x->to->who;
	int need_path = x->to->prefix.len > 0;
	enum pick_result rc;
	int queued = 0;

	do {
		rc = registry_pick(r, name, need_path, LOOK_MS, &queued, &x->holder,
		    &x->alone);
		if (rc == PICK_WAIT && caller_left(x)) {
			registry_leave(r, name, &queued);
			return ending(V_LEFT, 0, NULL, "caller_left");
		}
		if (rc == PICK_WAIT && daemon_draining(x->c->d)) {
			registry_leave(r, name, &queued);
			if (daemon_moved(x->c->d))	/* its client goes there, and so would a new connection */
				return ending(V_ERROR, 503, "the tunnel has moved to the next daemon: come again", "moved");
			return ending(V_ERROR, 504, "the daemon is shutting down", "shutdown");
		}
		if (rc == PICK_WAIT && x->to->proxy != NULL && clock_ms(CLOCK_STEADY) - x->forwarded >= x->c->d->conf.grace_ms) {
			registry_leave(r, name, &queued);	/* the dialect may keep it for longer than that */
			rc = PICK_NONE;
		}
	} while (rc == PICK_WAIT);
	if (rc == PICK_OK && who != NULL && strcmp(x->holder->session->identity.who, who) != 0) {
		registry_done(r, x->holder);
		x->holder = NULL;
		rc = PICK_NONE;
	}
	if (rc == PICK_OK)
		return ending(V_GO_ON, 0, NULL, NULL);
	if (rc == PICK_FULL)
		return ending(V_ERROR, 503, "too many requests wait for this tunnel to come back", "queue_full");
	return ending(V_ERROR, 503, x->to->proxy != NULL ? "the client that serves this domain is away" : "no client serves this name", NULL);
}

/* Whom the tunnel's client lets in. */
static struct ending
check_guard(struct exchange *x)
{
	struct caller *c = x->c;
	struct addr who;

	caller_address(c, &who);
	switch (guard_check(x->holder->guard, &who, &c->head)) {
	case GUARD_ADDRESS:
		return ending(V_ERROR, 403, "this tunnel is not for callers from this address", "guard_address");
	case GUARD_CREDENTIALS:
		return ending(V_ERROR, 401, "this tunnel wants a user and a password", "guard_credentials");
	default:
		return ending(V_GO_ON, 0, NULL, NULL);
	}
}

/* Is it one of a list as in Allow? */
static int
knows_method(const char *methods, struct str method)
{
	size_t n;

	for (; *methods != '\0'; methods += n + strspn(methods + n, ", ")) {
		n = strcspn(methods, ",");
		if (n == method.len && memcmp(methods, method.p, n) == 0)
			return 1;
	}
	return 0;
}

/* What a client that takes whole messages cannot have. */
static struct ending
check_whole(struct exchange *x)
{
	const struct session *s = x->holder->session;
	const struct http_head *h = &x->c->head;
	static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct caller *c = x->c;
	struct buf b;

	if (s->dialect->cors) {
		buf_init(&b, x->cors, sizeof(x->cors) - 1);
		webgate_cors(c, &b);
		x->cors[b.full ? 0 : b.len] = '\0';
		if (str_is(h->method, "OPTIONS"))
			return ending(V_ERROR, 204, "", NULL);	/* may a page ask? That is the daemon's to say */
	}
	if (ws_is_upgrade(h))
		return ending(V_ERROR, 501, "this tunnel's client knows no WebSocket", "no_upgrade");
	if (s->methods != NULL && !knows_method(s->methods, h->method))
		return ending(V_ERROR, 405, "this tunnel's client knows no such method", "method");
	if (h->framing == HTTP_LENGTH && h->length > request_content_max(x))
		return request_too_large(x);
	/* nobody else will say it */
	if (x->expect && c->minor > 0 && c->at == c->len && conn_write_all(&c->conn, go, sizeof(go) - 1,
	    clock_ms(CLOCK_STEADY) + c->d->conf.idle_ms) == -1)
		return ending(V_LEFT, 0, NULL, "caller_left");
	x->expect = 0;
	return ending(V_GO_ON, 0, NULL, NULL);
}

static void
earlier(int64_t *deadline, int64_t when)
{
	if (when < *deadline)
		*deadline = when;
}

/* The request is whole: how long to sleep for the response's head. */
static struct ending
await_head(struct exchange *x, int64_t *deadline)
{
	const struct daemon_conf *conf = &x->c->d->conf;
	int64_t t = clock_ms(CLOCK_STEADY);

	if (x->slept && daemon_draining(x->c->d) == 2)
		return ending(V_ERROR, 504, "the daemon is shutting down", "shutdown");
	if (t - x->forwarded >= request_patience_ms(x))
		return ending(V_ERROR, 504, "no response in time", "timeout");
	if (x->eof != 0 && t - x->eof >= conf->half_close_ms)
		return ending(V_LEFT, 0, NULL, "caller_left");
	earlier(deadline, x->forwarded + request_patience_ms(x));
	if (x->eof != 0)
		earlier(deadline, x->eof + conf->half_close_ms);
	earlier(deadline, t + (x->slept ? LOOK_MS : LAZY_MS));
	return ending(V_GO_ON, 0, NULL, NULL);
}

/* The response as it stands, taken under the stream's mutex. */
struct snapshot {
	enum response res;
	int fin, reset, nothing, drained, continued;
	int64_t heard, progress;
	const char *why;
};

static void
look(struct exchange *x, struct snapshot *now)
{
	if (x->asleep) {
		pump_awake_lock(&x->pump);
		x->asleep = x->lazy = 0;
	} else
		pthread_mutex_lock(&x->s->mtx);
	now->drained = pump_drain_locked(&x->pump);
	now->res = x->res;
	now->fin = x->fin;
	now->reset = x->reset;
	now->nothing = x->nothing;
	now->continued = x->continued;
	now->heard = x->heard;
	now->progress = x->pump.progress;
	now->why = x->why;
	pthread_mutex_unlock(&x->s->mtx);
}

/* 1, and the owner counts as asleep, if nothing has happened since the snapshot. */
static int
may_sleep(struct exchange *x, const struct snapshot *was)
{
	int same;

	if (x->c->wake.rd == -1 && x->pump.watched == NULL)
		wake_open(&x->c->wake);	/* without one, sleep is short */
	pthread_mutex_lock(&x->s->mtx);
	same = x->res == was->res && x->fin == was->fin && x->reset == was->reset &&
	    !x->pump.failed && !x->opened && !(was->drained == 1 && x->pump.q.len > 0);
	x->pump.sleeping = same;
	x->lazy = same && !x->slept && x->res == RES_HEAD && request_out(x) && x->keep &&
	    x->watch && x->eof == 0 && x->c->at == x->c->len && x->alone && !x->counted;
	x->slept |= same && x->res == RES_HEAD && request_out(x);
	pthread_mutex_unlock(&x->s->mtx);
	return same;
}

/* The same connection as conn_wait would, and the one that the stream is: what that brings is taken here. The caller's events. */
static int
wait_both(struct exchange *x, int events, int64_t deadline)
{
	struct conn_want w[2] = { { &x->c->conn, events, 0 }, { direct_conn(x->s), direct_events(x->s), 0 } };

	conn_wait_any(w, 2, deadline, x->c->wake.rd, NULL);
	pump_awake_lock(&x->pump);
	pthread_mutex_unlock(&x->s->mtx);
	x->asleep = 0;
	direct_move(x->s, w[1].ready);
	return w[0].ready;
}

/* From now on a thread is the caller's, until the exchange ends: there is more to do than to wait for its next request. */
static void
keep_thread(struct exchange *x)
{
	stream_flush(x->s);
	watch_leave();
	if (x->pump.watched == NULL)
		return;
	watch_forget(&x->c->watched);
	pthread_mutex_lock(&x->s->mtx);
	x->pump.watched = NULL;
	pthread_mutex_unlock(&x->s->mtx);
}

/* Sleep until something happens, or deadline; look at the caller then. 1 if that is the watch's to do. */
static int
sleep_until(struct exchange *x, const struct snapshot *was, int events, int64_t deadline)
{
	struct caller *c = x->c;
	int ev, watching = x->watch && x->eof == 0 && !(events & POLLIN);

	if (events != 0 || !watching || was->res == RES_RAW || !c->watched.joined)
		keep_thread(x);
	if (!may_sleep(x, was))
		return 0;
	if (x->pump.watched != NULL) {
		c->until = deadline;
		if (x->s->held && watch_leading(c->watched.watch))	/* others may be about to write, too */
			watch_later(&c->watched);
		else
			exchange_later(c);
		return 1;
	}
	if (watching)
		events |= POLLIN;
	if (events == 0 && was->res != RES_RAW)
		events = POLLERR;	/* at least a reset is noticed */
	if (c->wake.rd == -1)
		earlier(&deadline, clock_ms(CLOCK_STEADY) + 50);
	x->asleep = 1;
	ev = x->to->open != NULL ? wait_both(x, events, deadline) : conn_wait(&c->conn, events, deadline, c->wake.rd, NULL);
	if (ev & POLLERR || (watching && ev & POLLIN && look_at_caller(x)))
		x->gone = 1;
	return 0;
}

/* It has ended without a response that can be passed on. */
static struct ending
no_answer(const struct exchange *x, const struct snapshot *now)
{
	int over = stream_over(x->s);

	if (x->to->open != NULL)
		return ending(V_ERROR, 502, "the server gave no valid answer", now->why);
	if (over)
		return ending(V_ERROR, 502, "the tunnel's client has gone", now->why);
	if (!now->reset || !now->nothing)
		return ending(V_ERROR, 502, "the local service gave no valid answer", now->why);
	return request_refused(x);
}

/* Is it over? V_GO_ON if not. */
static struct ending
judge(struct exchange *x, const struct snapshot *now)
{
	if (now->drained == -1)
		return ending(V_LEFT, 0, NULL, "caller_left");
	if (!now->drained) {
		if (clock_ms(CLOCK_STEADY) - now->progress >= x->c->d->conf.stall_ms)
			return ending(V_LEFT, 0, NULL, "caller_stalled");
		return ending(V_GO_ON, 0, NULL, NULL);
	}
	if (now->res == RES_BAD)
		return no_answer(x, now);
	if (now->res == RES_CUT)
		return ending(V_CUT, 0, NULL, now->why);
	if (now->res == RES_DONE && (request_out(x) || now->fin || now->reset))
		return ending(V_DONE, 0, NULL, NULL);
	if (now->res == RES_RAW && now->fin && x->eof != 0 && request_out(x))
		return ending(V_DONE, 0, NULL, NULL);
	return ending(V_GO_ON, 0, NULL, NULL);
}

/* The request's content still comes. Returns V_GO_ON with *events set to sleep, or 0 to look again. */
static struct ending
request_step(struct exchange *x, const struct snapshot *now, int *events, int64_t *deadline)
{
	struct caller *c = x->c;
	const struct daemon_conf *conf = &c->d->conf;
	struct ending e;
	int stuck = 0, n;
	int64_t t;

	e = request_push(x, &stuck);
	if (e.v != V_GO_ON || (x->req.done && !stuck))
		return e;
	t = clock_ms(CLOCK_STEADY);
	if (stuck) {
		if (now->res == RES_HEAD && t - x->forwarded >= request_patience_ms(x))
			return ending(V_ERROR, 504, "no response in time", "timeout");
		if (now->res != RES_HEAD && t - x->forwarded >= conf->stall_ms &&
		    t - now->heard >= conf->stall_ms)
			return ending(V_CUT, 0, NULL, "request_stalled");
		earlier(deadline, now->res == RES_HEAD ? x->forwarded + request_patience_ms(x) : t + LOOK_MS);
		x->read = t;	/* it is not the caller who keeps us waiting */
		*events = 0;
		return e;
	}
	if ((n = request_more(x)) == 1)
		return e;
	if (n == -1)
		return ending(V_LEFT, 0, NULL, "caller_left");
	if (x->expect && !now->continued && now->res == RES_HEAD) {	/* it waits, as we do */
		if (t - x->forwarded >= request_patience_ms(x))
			return ending(V_ERROR, 504, "no response in time", "timeout");
		earlier(deadline, x->forwarded + request_patience_ms(x));
		*events = POLLIN;
		return e;
	}
	if (t - x->read >= conf->idle_ms) {
		if (now->res != RES_HEAD)
			return ending(now->res == RES_DONE ? V_DONE : V_CUT, 0, NULL, "request_idle");
		return ending(V_ERROR, 408, "the request content did not arrive in time", "request_idle");
	}
	earlier(deadline, x->read + conf->idle_ms);
	*events = POLLIN;
	return e;
}

/* No byte moves, in either direction: for how long that may be so, once one has ended (half) or before. 0: for ever. */
static long
raw_patience(const struct exchange *x, const struct snapshot *now, int half)
{
	const struct daemon_conf *conf = &x->c->d->conf;
	long patience;

	if (!half)
		return x->to->connect ? conf->proxy_idle_ms : 0;
	if (!x->to->connect || x->holder == NULL || !x->holder->session->closes_whole)
		return conf->stall_ms;
	/* who has ended its direction may have left, and must not keep others from the session's streams */
	patience = limit_patience(conf->half_close_ms, registry_running_on(x->c->d->registry, x->holder->session), conf->streams);
	return now->fin && patience > SHUT_MS ? SHUT_MS : patience;
}

static struct ending
raw_step(struct exchange *x, const struct snapshot *now, int *events, int64_t *deadline)
{
	struct caller *c = x->c;
	int stuck, n = 0;
	int64_t moved;
	long patience;

	x->raw = 1;
	if (now->fin && now->drained == 1)
		conn_shutdown(&c->conn, SHUT_WR);
	request_push_raw(x, &stuck);
	if (!stuck && x->eof == 0) {
		n = request_more(x);
		if (n == -1 && x->eof == 0)
			return ending(V_LEFT, 0, NULL, "caller_left");
		*events = n == 0 ? POLLIN : -1;
	}
	/* half closed: it may stay so while bytes move */
	if ((patience = raw_patience(x, now, now->fin || x->eof != 0)) == 0)
		return ending(V_GO_ON, 0, NULL, NULL);
	moved = x->read > now->heard ? x->read : now->heard;
	moved = moved > now->progress ? moved : now->progress;
	if (clock_ms(CLOCK_STEADY) - moved < patience) {
		earlier(deadline, moved + patience);
		return ending(V_GO_ON, 0, NULL, NULL);
	}
	if (!now->fin && x->eof == 0)
		return ending(V_LEFT, 0, NULL, "idle");
	return x->holder != NULL && x->to->connect && x->holder->session->closes_whole ? ending(V_DONE, 0, NULL, NULL) :
	    ending(V_LEFT, 0, NULL, "half_closed");
}

/* Everything between the request's first bytes and the response's last. */
static struct ending
relay(struct exchange *x)
{
	struct caller *c = x->c;
	const struct daemon_conf *conf = &c->d->conf;
	struct snapshot now;
	struct ending e;
	int64_t deadline, t;
	int events;

	for (;;) {
		look(x, &now);
		e = judge(x, &now);
		if (e.v != V_GO_ON)
			return e;
		if (x->gone)
			return ending(V_LEFT, 0, NULL, "caller_left");
		deadline = CONN_FOREVER;
		events = 0;
		if (now.res == RES_RAW) {
			e = raw_step(x, &now, &events, &deadline);
		} else if (!request_out(x)) {
			events = -1;
			keep_thread(x);
			e = request_step(x, &now, &events, &deadline);
		} else if (now.res == RES_HEAD && now.drained == 1) {
			e = await_head(x, &deadline);
		}
		if (e.v != V_GO_ON)
			return e;
		if (events == -1)	/* bytes came: no sleep */
			continue;
		t = clock_ms(CLOCK_STEADY);
		if (now.drained == 0) {
			events |= POLLOUT;
			earlier(&deadline, now.progress + conf->stall_ms);
		} else if (x->eof != 0 && now.res == RES_BODY) {
			if (t - x->eof >= conf->half_close_ms && t - now.heard >= conf->half_close_ms)
				return ending(V_LEFT, 0, NULL, "caller_left");
			earlier(&deadline, (x->eof > now.heard ? x->eof : now.heard) + conf->half_close_ms);
		}
		if (sleep_until(x, &now, events, deadline))
			return ending(V_WAIT, 0, NULL, NULL);
	}
}

/* The stream is the exchange's. */
static void
join(struct exchange *x, int connected)
{
	struct caller *c = x->c;
	int watched = x->to->waits && x->keep && caller_watch(c);

	pump_init(&x->pump, &c->conn, x->s, &c->wake, 1);
	x->s->held = watched && watch_leading(c->d->watch);
	pthread_mutex_lock(&x->s->mtx);
	if (watched)
		x->pump.watched = &c->watched;
	x->s->arg = x;
	x->s->ops = &response_ops;
	if (connected && x->to->connect)
		response_connected_locked(x);
	pthread_mutex_unlock(&x->s->mtx);
}

static struct ending
open_stream(struct exchange *x)
{
	struct session *s = x->holder != NULL ? x->holder->session : NULL;
	const struct dialect *dialect;
	struct ending e = ending(V_GO_ON, 0, NULL, NULL);
	char local[NET_ADDR_MAX];

	if (s == NULL) {
		if ((x->s = x->to->open(x, &e)) != NULL)
			join(x, 1);
		return e;
	}
	if (!x->to->connect && (e = request_take_slot(x)).v != V_GO_ON)
		return e;
	dialect = s->dialect;
	x->s = (x->to->proxy != NULL && dialect->open_raw != NULL ? dialect->open_raw : dialect->open)(s, x->holder->tally,
	    clock_ms(CLOCK_STEADY) + request_patience_ms(x));
	if (x->s != NULL) {
		join(x, dialect->ask == NULL);
		if (dialect->ask == NULL || dialect->ask(s, x->s, x->holder, x->c->peer, request_local(x, local)) == 0)
			return e;
		return ending(V_ERROR, 502, "the tunnel's client has gone", "session_lost");
	}
	switch (errno) {
	case EMFILE:
		return ending(V_ERROR, 503, "the tunnel has too many open streams", "streams_full");
	case ETIMEDOUT:
		return ending(V_ERROR, 504, "the tunnel's client does not take the request", "unacknowledged");
	case EPIPE:
		return ending(V_ERROR, 502, "the tunnel's client has gone", "session_lost");
	default:
		return ending(V_ERROR, 503, "no memory is left", "no_memory");
	}
}

static void
start(struct exchange *x, struct caller *c, const struct exchange_to *to)
{
	struct http_head *h = &c->head;

	x->c = c;
	x->to = to;
	x->holder = NULL;
	x->whole = x->alone = 0;
	x->s = NULL;
	x->slot = 0;
	x->is_head = h->method.len == 4 && memcmp(h->method.p, "HEAD", 4) == 0;
	x->upgrade = h->upgrade.len > 0 && !http_is(h->upgrade, "h2c");
	x->keep = !c->close;	/* the caller's thread has looked whether the daemon drains */
	x->expect = h->expect_continue;
	x->cors[0] = '\0';
	x->began = x->forwarded = x->read = x->heard = clock_ms(CLOCK_STEADY);
	x->seen[0] = '\0';
	x->eof = 0;
	x->watch = 1;
	x->gone = x->asleep = x->slept = x->lazy = x->finned = x->raw = 0;
	x->res = RES_HEAD;
	x->closing = x->fin = x->reset = x->continued = x->opened = 0;
	x->nothing = 1;
	x->why = NULL;
	x->status = 0;
	x->heads = 0;
	x->head.scanned = 0;
	x->partial = NULL;
	x->npartial = 0;
	http_body_init(&x->req, h, x->req_trailers, 0);
	x->req_done = x->req.done;
}

int
exchange_run(struct caller *c, const struct exchange_to *to)
{
	struct exchange *x = &c->exchange;
	struct ending e;

	start(x, c, to);
	e = count_it(x);
	if (e.v == V_GO_ON && to->open == NULL)
		e = find_holder(x);
	if (x->holder != NULL && x->holder->session->dialect->seen != NULL)
		access_seen(c, x->seen);	/* while it is there */
	if (e.v == V_GO_ON && x->holder != NULL)
		x->whole = to->proxy == NULL && x->holder->session->dialect->whole;
	if (e.v == V_GO_ON && x->holder != NULL && (x->whole || x->holder->guard != NULL || x->holder->session->dialect->ask != NULL))
		watch_leave();	/* a password takes its time, and so do messages and channels */
	if (e.v == V_GO_ON && x->holder != NULL && x->holder->guard != NULL)
		e = check_guard(x);
	if (e.v == V_GO_ON && x->whole)
		e = check_whole(x);
	if (e.v == V_GO_ON)
		e = open_stream(x);
	if (e.v == V_GO_ON)
		e = request_send(x);
	if (e.v == V_GO_ON)
		e = relay(x);
	return exchange_end(x, e);
}

int
exchange_go_on(struct caller *c)
{
	struct exchange *x = &c->exchange;

	x->asleep = 1;
	if (look_at_caller(x))
		x->gone = 1;
	return exchange_end(x, relay(x));
}

void
exchange_later(struct caller *c)
{
	stream_flush(c->exchange.s);
	watch_idle(&c->watched, c->until);
}
