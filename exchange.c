/* exchange.c: one HTTP exchange over a stream; see exchange.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
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

/* All that the caller has to say is in the stream. */
static int
request_out(const struct exchange *x)
{
	return x->req.done && x->pump.at == x->pump.n;
}

/* 1, and the owner counts as asleep, if nothing has happened since the snapshot. */
static int
may_sleep(struct exchange *x, const struct snapshot *was)
{
	int same;

	if (x->c->wake.rd == -1)
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

/* Sleep until something happens, or deadline; look at the caller then. */
static void
sleep_until(struct exchange *x, const struct snapshot *was, int events, int64_t deadline)
{
	struct caller *c = x->c;
	int ev, watching = x->watch && x->eof == 0 && !(events & POLLIN);

	if (!may_sleep(x, was))
		return;
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
		sleep_until(x, &now, events, deadline);
	}
}

/* The stream is the exchange's. */
static void
join(struct exchange *x, int connected)
{
	pump_init(&x->pump, &x->c->conn, x->s, &x->c->wake, 1);
	pthread_mutex_lock(&x->s->mtx);
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

/* What an error says beside its text. */
static const char *
error_fields(struct exchange *x, int status)
{
	const struct session *s = x->holder != NULL ? x->holder->session : NULL;

	if (status == 429 || status == 503)
		return "Retry-After: 1\r\n";
	if (status == 401)
		return "WWW-Authenticate: Basic realm=\"tunnel\", charset=\"UTF-8\"\r\n";
	if (status != 405 || s == NULL)
		return "";
	snprintf(x->told, sizeof(x->told), "Allow: %s\r\n", s->methods);
	return x->told;
}

/* The same behind those that every answer of the tunnel's gets. */
static const char *
all_fields(struct exchange *x, int status)
{
	const char *own = error_fields(x, status);
	size_t n = strlen(x->cors), k = strlen(own);

	if (n == 0 || n + k >= sizeof(x->cors))
		return own;
	memcpy(x->cors + n, own, k + 1);
	return x->cors;
}

/* The words of whose dialect the tunnel is in, or NULL. */
static const char *
error_words(const struct exchange *x, const struct ending *e)
{
	struct registry *r = x->c->d->registry;
	struct session *s = x->to->proxy != NULL ? NULL : x->holder != NULL ? x->holder->session : registry_holder(r, x->to->name);
	const char *words = s != NULL && s->dialect->words != NULL ? s->dialect->words(e->status, e->why) : NULL;

	if (s != NULL && x->holder == NULL)
		session_unref(r, s);
	return words;
}

/* 1 if bytes of the response are left unsent. */
static int
finish_stream(struct exchange *x, enum verdict v)
{
	int unsent;

	if (x->finned && v == V_DONE)
		;
	else if (v == V_DONE && request_out(x))
		stream_fin(x->s);
	else
		stream_reset(x->s);
	stream_leave(x->s);
	unsent = x->pump.q.len > 0;
	pump_end(&x->pump);
	free(x->partial);
	return unsent;
}

/* Show the tunnel's client what has become of the request. */
static void
show(const struct exchange *x, const struct ending *e)
{
	struct session *s = x->holder->session;
	int status = x->status != 0 ? x->status : e->v == V_ERROR ? e->status : ACCESS_LEFT;

	s->dialect->seen(s, x->seen, (unsigned)status, (x->finned ? x->heard : clock_ms(CLOCK_STEADY)) - x->began);
}

void
exchange_run(struct caller *c, const struct exchange_to *to)
{
	struct exchange *x = &c->exchange;
	const char *fields = "", *words = NULL;
	struct ending e;
	int unsent = 0;

	start(x, c, to);
	e = count_it(x);
	if (e.v == V_GO_ON && to->open == NULL)
		e = find_holder(x);
	if (x->holder != NULL && x->holder->session->dialect->seen != NULL)
		access_seen(c, x->seen);	/* while it is there */
	if (e.v == V_GO_ON && x->holder != NULL && x->holder->guard != NULL)
		e = check_guard(x);
	if (e.v == V_GO_ON && x->holder != NULL)
		x->whole = to->proxy == NULL && x->holder->session->dialect->whole;
	if (e.v == V_GO_ON && x->whole)
		e = check_whole(x);
	if (e.v == V_GO_ON)
		e = open_stream(x);
	if (e.v == V_GO_ON)
		e = request_send(x);
	if (e.v == V_GO_ON)
		e = relay(x);
	if (e.v != V_DONE)	/* the reader has given it when the head came */
		request_give_slot(x);
	if (x->s != NULL)
		unsent = finish_stream(x, e.v);
	if (e.v == V_ERROR) {	/* while it is known whose they are */
		fields = all_fields(x, e.status);
		words = error_words(x, &e);
	}
	if (x->seen[0] != '\0')
		show(x, &e);
	if (x->holder != NULL)
		registry_done(c->d->registry, x->holder);
	if (x->counted)
		limit_give(c->d->exchanges, &x->addr);
	if (e.v == V_ERROR && (x->status != 0 || unsent))
		e.v = V_CUT;	/* a head has gone out, or a part of one: an error behind it would be another's answer */
	if (e.why != NULL && e.v != V_ERROR)
		log_line(LOG_INFO, "exchange_failed", "name", to->name, "reason", e.why,
		    "peer", c->peer, "id", c->request_id, (char *)NULL);
	c->access.status = x->status;
	c->access.bytes = x->s != NULL && x->pump.sent > x->heads ? x->pump.sent - x->heads : 0;
	c->access.ended = x->finned ? x->heard : 0;	/* its thread may have slept on */
	/* a half-closed caller has said all it will: what it sent ahead is still answered */
	c->close = !x->keep || !x->req.done || x->closing || (x->eof != 0 && c->at == c->len);
	switch (e.v) {
	case V_ERROR:
		if (words != NULL)
			caller_plain(c, e.status, words, fields);
		else
			caller_error(c, e.status, e.text, e.why, fields);
		break;
	case V_CUT:
		/* without framing of its own only a reset tells that the body is not whole */
		c->abort = c->minor == 0 || x->status == 101 || to->connect;
		c->close = c->cut = 1;
		break;
	case V_LEFT:
		c->close = 1;
		c->abort = to->connect;		/* it is no end that the server has made */
		break;
	default:
		break;
	}
}
