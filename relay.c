/* relay.c: a relay's life; see relay.h. */
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "caller.h"
#include "clock.h"
#include "log.h"
#include "relayint.h"
#include "sha256.h"

enum {
	CLOSE_MS = 5000,	/* for a Close to go out, and its answer to come */
	DELIVER_MS = 5000,	/* what the caller sent before it left goes to the target so long, */
	LINGER_MS = 1000,	/* which then has so long to end, too */
	LINGER_MAX = 1 << 20
};

struct relays {
	pthread_mutex_t mtx;	/* guards what follows; alone */
	struct relay *first;
	int n;
};

struct relay {
	struct relay *next, **at;	/* [relays.mtx] */
	int64_t expires;	/* [constant] of its credential, seconds since 1970, 0: never */
	struct wake *wake;	/* [constant] posted: look whether it may go on */
	struct caller *c;
	struct web_pass pass;
	int counted;		/* webgate_give is owed */
	struct relay_to to;
	struct conn conn;	/* to the target */
	struct wspipe *up;	/* over it, with Cloudflare's variant */
	struct bridge bridge;
	int code;		/* why it was stopped: a status code, */
	const char *reason;	/* and words for both sides */
	int64_t began;		/* clock_ms */
	struct wspipe ws;	/* last */
};

/* All of them. */

struct relays *
relays_new(void)
{
	struct relays *all = calloc(1, sizeof(*all));

	if (all != NULL)
		pthread_mutex_init(&all->mtx, NULL);
	return all;
}

void
relays_free(struct relays *all)
{
	if (all == NULL)
		return;
	pthread_mutex_destroy(&all->mtx);
	free(all);
}

int
relays_running(struct relays *all)
{
	int n;

	if (all == NULL)
		return 0;
	pthread_mutex_lock(&all->mtx);
	n = all->n;
	pthread_mutex_unlock(&all->mtx);
	return n;
}

static void
look(struct relays *all, int64_t now)
{
	struct relay *r;

	if (all == NULL)
		return;
	pthread_mutex_lock(&all->mtx);
	for (r = all->first; r != NULL; r = r->next)
		if (now == 0 || (r->expires != 0 && now >= r->expires))
			wake_post(r->wake);
	pthread_mutex_unlock(&all->mtx);
}

void
relays_look(struct relays *all)
{
	look(all, 0);
}

void
relays_tick(struct relays *all, int64_t now)
{
	look(all, now);
}

static void
enter(struct relays *all, struct relay *r)
{
	pthread_mutex_lock(&all->mtx);
	r->at = &all->first;
	r->next = all->first;
	if (r->next != NULL)
		r->next->at = &r->next;
	all->first = r;
	all->n++;
	pthread_mutex_unlock(&all->mtx);
}

/* From now on nobody posts its wake, which is the caller's again. */
static void
leave(struct relays *all, struct relay *r)
{
	pthread_mutex_lock(&all->mtx);
	*r->at = r->next;
	if (r->next != NULL)
		r->next->at = r->at;
	all->n--;
	pthread_mutex_unlock(&all->mtx);
	wake_clear(r->wake);
}

/* One. */

/* May it go on? 1: no. */
static int
stop(void *arg)
{
	struct relay *r = arg;
	struct daemon *d = r->c->d;

	wake_clear(r->wake);
	if (daemon_draining(d) == 2) {
		r->code = WS_GOING_AWAY;
		r->reason = "shutting down";
	} else if ((r->reason = auth_lost(d->auth, &r->pass.identity, clock_ms(CLOCK_WALL) / 1000)) != NULL)
		r->code = WS_POLICY;
	return r->reason != NULL;
}

static void
give(struct relay *r)
{
	if (r->counted)
		webgate_give(r->c->d, &r->pass);
	r->counted = 0;
}

/* Tell the caller that it is over, and why; its place is free then, whatever the target does. */
static void
say_over(struct relay *r, enum bridge_end end)
{
	struct caller *c = r->c;
	struct wspipe *w = &r->ws;
	int64_t deadline = clock_ms(CLOCK_STEADY) + CLOSE_MS;

	switch (end) {
	case BRIDGE_DONE:
		wspipe_close(w, WS_NORMAL, "relay ended");
		break;
	case BRIDGE_CLOSED:
		wspipe_answer(w);
		break;
	case BRIDGE_FAR:
		wspipe_close(w, WS_INTERNAL, r->bridge.why);
		break;
	case BRIDGE_STOPPED:
		wspipe_close(w, r->code, r->reason);
		break;
	default:
		break;
	}
	bridge_finish(&r->bridge, end == BRIDGE_DONE, deadline);
	c->abort = w->end == WSPIPE_LOST;
	if (!c->abort)
		conn_shutdown(&c->conn, SHUT_WR);
	give(r);
}

/* The target has ended or will soon: see that all we have sent gets there, which closing with its bytes unread would not. */
static void
linger(struct relay *r)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + LINGER_MS;
	size_t seen = 0;
	ssize_t n;

	conn_shutdown(&r->conn, SHUT_WR);
	while (seen < LINGER_MAX && clock_ms(CLOCK_STEADY) < deadline) {
		if ((n = conn_read(&r->conn, r->ws.out, sizeof(r->ws.out))) > 0)
			seen += (size_t)n;
		else if (n == 0 || conn_wait(&r->conn, POLLIN, deadline, -1, NULL) == 0)
			return;
	}
}

/* End the target's side: in order if the caller's did, else with a reset, so that nobody takes a part for the whole. */
static void
end_target(struct relay *r, enum bridge_end end)
{
	struct wspipe *w = &r->ws;
	int code = w->end == WSPIPE_CLOSED ? w->code : 0, in_order;

	in_order = end == BRIDGE_DONE ||
	    (end == BRIDGE_CLOSED && (code == WS_NORMAL || code == WS_GOING_AWAY || code == WS_NO_STATUS));
	if (end != BRIDGE_FAR && end != BRIDGE_DONE && bridge_deliver(&r->bridge, clock_ms(CLOCK_STEADY) + DELIVER_MS) == -1)
		in_order = 0;
	if (r->up != NULL) {
		r->bridge.ws = r->up;
		r->bridge.far = NULL;
		wspipe_close(r->up, in_order ? WS_NORMAL : WS_GOING_AWAY, "");
		bridge_finish(&r->bridge, 0, clock_ms(CLOCK_STEADY) + LINGER_MS);
	} else if (in_order)
		linger(r);
	else
		conn_reset_on_close(&r->conn);
	conn_close(&r->conn);
}

static void
log_end(struct relay *r, const char *reason)
{
	char in[24], out[24], ms[24];

	snprintf(in, sizeof(in), "%llu", (unsigned long long)r->bridge.in);
	snprintf(out, sizeof(out), "%llu", (unsigned long long)r->bridge.out);
	snprintf(ms, sizeof(ms), "%lld", (long long)(clock_ms(CLOCK_STEADY) - r->began));
	log_line(LOG_INFO, "relay_close", "target", r->to.at.shown, "reason", reason, "in", in, "out", out, "ms", ms,
	    "who", r->pass.identity.who, "peer", r->c->peer, "id", r->c->request_id, (char *)NULL);
}

/* Both connections stand. */
static void
copy(struct relay *r, const char *addr)
{
	struct bridge *b = &r->bridge;
	enum bridge_end end;
	const char *reason;

	log_line(LOG_INFO, "relay_open", "target", r->to.at.shown, "addr", addr, "who", r->pass.identity.who,
	    "peer", r->c->peer, "id", r->c->request_id, (char *)NULL);
	b->rd = b->wr = &r->conn;
	b->far = r->up;
	end = bridge_run(b);
	reason = end == BRIDGE_DONE ? "relay ended" : end == BRIDGE_CLOSED ? "closed by the caller" :
	    end == BRIDGE_STOPPED ? r->reason : end == BRIDGE_FAR || r->ws.why[0] == '\0' ? b->why : r->ws.why;
	say_over(r, end);
	r->c->access.bytes = b->out;
	end_target(r, end);
	log_end(r, reason);
}

/* After the 101. */
static void
run(struct relay *r)
{
	struct caller *c = r->c;
	char addr[NET_ADDR_MAX];
	const char *why;

	c->close = 1;
	c->access.status = 101;
	wspipe_init(&r->ws, &c->conn, 0, c->in + c->at, c->len - c->at);
	c->at = c->len = 0;
	r->ws.halves = r->to.access ? 0 : http_list_has(&c->head, "Sec-WebSocket-Protocol", WSPIPE_HALVES);
	r->ws.ping_ms = c->d->conf.ping_ms;
	r->ws.stall_ms = c->d->conf.stall_ms;
	r->bridge.ws = &r->ws;
	r->bridge.wakefd = r->wake->rd;
	r->bridge.stop = stop;
	r->bridge.arg = r;
	r->began = clock_ms(CLOCK_STEADY);
	if (relayto_dial(c, &r->to, &r->conn, &r->up, addr, &why) == 0) {
		copy(r, addr);
		return;
	}
	log_line(LOG_INFO, "relay_failed", "target", r->to.at.shown, "addr", addr, "reason", why, "who", r->pass.identity.who,
	    "peer", c->peer, "id", c->request_id, (char *)NULL);
	if (stop(r))
		wspipe_close(&r->ws, r->code, r->reason);
	else
		wspipe_close(&r->ws, WS_INTERNAL, r->to.access ? "cannot reach CF tunnel" : "cannot reach target");
	bridge_finish(&r->bridge, 0, clock_ms(CLOCK_STEADY) + CLOSE_MS);
	c->abort = r->ws.end == WSPIPE_LOST;
	give(r);
}

/* Everything up to the 101. 0, or -1: answered. */
static int
admit(struct relay *r)
{
	struct caller *c = r->c;

	if (relayto_take(c, &r->to) == -1 || webgate_take(c, &r->pass) == -1)
		return -1;
	r->counted = 1;
	/* before the name is looked up: else anybody could look up names with us */
	if (webgate_upgrade(c) == -1 || relayto_find(c, &r->to) == -1)
		return -1;
	if (daemon_draining(c->d) || (c->wake.rd == -1 && wake_open(&c->wake) == -1)) {
		webgate_answer(c, 503, daemon_draining(c->d) ? "shutting down" : "no descriptors are left");
		return -1;
	}
	return 0;
}

void
relay_serve(struct caller *c)
{
	struct relays *all = c->d->relays;
	struct web_pass pass;
	struct relay *r;

	if (webgate_login(c, &pass) == -1)
		return;
	if ((r = malloc(sizeof(*r))) == NULL) {
		webgate_answer(c, 503, "no memory");
		return;
	}
	memset(r, 0, offsetof(struct relay, ws));	/* the rest is large, and mostly never touched */
	r->c = c;
	r->pass = pass;
	r->expires = pass.identity.expires;
	r->wake = &c->wake;
	if (admit(r) == 0) {
		enter(all, r);
		if (webgate_switch(c, !r->to.access && http_list_has(&c->head, "Sec-WebSocket-Protocol", WSPIPE_HALVES) ?
		    WSPIPE_HALVES : NULL) == 0)
			run(r);
		c->close = 1;
		leave(all, r);
	}
	give(r);
	free(r->up);
	wipe(&r->to, sizeof(r->to));
	free(r);
}
