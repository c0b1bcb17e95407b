/* portcall.c: a caller of a raw TCP port; see ports.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "clock.h"
#include "guard.h"
#include "log.h"
#include "ports.h"
#include "tcp.h"

enum {
	LOOK_MS = 250,		/* how often one that waits is looked at */
	PREFACE_MAX = 512
};

struct call {
	struct daemon *d;
	struct port *port;
	char name[PORT_NAME_MAX];
	char peer[NET_ADDR_MAX], local[NET_ADDR_MAX];
	struct sockaddr_storage from;
	struct holder *holder;	/* NULL: none */
	char preface[PREFACE_MAX];
	struct tcp tcp;		/* last: most of its buffer is never touched */
};

/* It has reset the connection, or closed it altogether. */
static int
left(struct call *c)
{
	return (conn_wait(&c->tcp.conn, POLLERR, 0, -1, NULL) & (POLLERR | POLLHUP)) != 0;
}

/* A holder of the port, waiting while it is in its grace period. NULL, or why there is none. */
static const char *
find_holder(struct call *c)
{
	struct registry *r = c->d->registry;
	enum pick_result rc;
	int queued = 0, alone;

	do {
		rc = registry_pick(r, c->name, 0, LOOK_MS, &queued, &c->holder, &alone);
		if (rc == PICK_WAIT && (left(c) || daemon_draining(c->d))) {
			registry_leave(r, c->name, &queued);
			return left(c) ? "caller_left" : "shutdown";
		}
	} while (rc == PICK_WAIT);
	return rc == PICK_OK ? NULL : rc == PICK_FULL ? "queue_full" : "nobody";
}

static const char *
check_guard(const struct call *c)
{
	char host[NET_ADDR_MAX];
	struct addr who;

	if (c->holder->guard == NULL)
		return NULL;
	memset(&who, 0, sizeof(who));
	net_format_host(&c->from, host);
	if (addr_parse(&who, host) == -1 || guard_check(c->holder->guard, &who, NULL) != GUARD_PASS)
		return "guard_address";
	return NULL;
}

/* Of one who has ended its direction nobody knows whether it has left: many of those must not keep others out. */
static long
linger(void *port, long ms)
{
	return port_linger(port, ms);
}

/* A stream, joined with the connection, and its preface. NULL, or why not. */
static const char *
open_stream(struct call *c, struct str *lead)
{
	struct session *session = c->holder->session;
	const struct dialect *dialect = session->dialect;
	int64_t deadline = clock_ms(CLOCK_STEADY) + c->d->conf.timeout_ms;
	struct stream *s;
	struct buf b;

	s = (dialect->open_raw != NULL ? dialect->open_raw : dialect->open)(session, c->holder->tally, deadline);
	if (s == NULL)
		return errno == EMFILE ? "streams_full" : errno == ETIMEDOUT ? "unacknowledged" :
		    errno == EPIPE ? "session_lost" : "no_memory";
	pthread_mutex_lock(&s->mtx);
	tcp_join_locked(&c->tcp, s, 1);
	pthread_mutex_unlock(&s->mtx);
	if (dialect->ask != NULL && dialect->ask(session, s, c->holder, c->peer, c->local) == -1)
		return "session_lost";
	buf_init(&b, c->preface, sizeof(c->preface));
	if (dialect->preface != NULL)
		dialect->preface(&b, c->holder, c->peer, c->local);
	lead->p = c->preface;
	lead->len = b.len;
	if (session->closes_whole) {
		c->tcp.linger_ms = c->d->conf.half_close_ms;
		c->tcp.linger = c->port != NULL ? linger : NULL;
		c->tcp.linger_arg = c->port;
		c->tcp.stall_ms = c->d->conf.stall_ms;
	}
	/* with nothing to be said first it is opened all the same */
	return b.len == 0 && stream_write(s, NULL, 0, 0, deadline) == -1 ? "session_lost" : NULL;
}

static void
serve(struct call *c)
{
	int64_t began = clock_ms(CLOCK_STEADY);
	void (*seen)(struct session *, const char *, unsigned, int64_t);
	char host[NET_ADDR_MAX], what[ACCESS_SEEN_MAX];
	struct str lead;
	const char *why;

	if ((why = find_holder(c)) == NULL && (why = check_guard(c)) == NULL && (why = open_stream(c, &lead)) == NULL)
		why = tcp_run(&c->tcp, lead);
	tcp_end(&c->tcp, why);
	if (c->holder != NULL && (seen = c->holder->session->dialect->seen) != NULL) {
		snprintf(what, sizeof(what), "%s from %s%s%s", c->name, c->peer, why != NULL ? ": " : "", why != NULL ? why : "");
		seen(c->holder->session, what, 0, clock_ms(CLOCK_STEADY) - began);
	}
	if (c->holder != NULL)
		registry_done(c->d->registry, c->holder);
	if (why != NULL)
		log_line(LOG_INFO, "call_failed", "name", c->name, "reason", why, "peer", c->peer, (char *)NULL);
	net_format_host(&c->from, host);
	access_port(c->d, host, c->name, began, why, c->tcp.s != NULL ? c->tcp.pump.sent : 0);
}

static struct call *
new_call(struct daemon *d, struct port *port, const char *name, int fd, const struct sockaddr_storage *peer)
{
	struct call *c = malloc(sizeof(*c));
	struct sockaddr_storage local;

	if (c == NULL)
		return NULL;
	if (tcp_init(&c->tcp) == -1) {
		free(c);
		return NULL;
	}
	c->d = d;
	c->port = port;
	c->holder = NULL;
	c->from = *peer;
	snprintf(c->name, sizeof(c->name), "%s", name);
	net_tune(fd);
	net_format(peer, c->peer);
	net_local(fd, &local);
	net_format(&local, c->local);
	conn_plain(&c->tcp.conn, fd);
	return c;
}

/* port: NULL: it has not come to any. */
static void
call(struct daemon *d, struct port *port, const char *name, int fd, const struct sockaddr_storage *peer)
{
	const char *why = "callers_full";
	int entered = daemon_enter(d);
	struct call *c = entered ? new_call(d, port, name, fd, peer) : NULL;
	struct conn conn;

	if (c != NULL)
		serve(c);
	else {
		if (entered)
			why = "no_memory";
		log_line(LOG_WARN, why, "for", "port", (char *)NULL);
		conn_plain(&conn, fd);
		conn_reset_on_close(&conn);
		conn_close(&conn);
	}
	free(c);
	if (entered)
		daemon_leave(d);
}

void
port_join(struct daemon *d, const char *name, int fd, const struct sockaddr_storage *peer)
{
	call(d, NULL, name, fd, peer);
}

void
port_call(void *arg)
{
	struct port_job j = *(struct port_job *)arg;
	char name[PORT_NAME_MAX];

	free(arg);
	snprintf(name, sizeof(name), "tcp:%u", port_number(j.port));
	call(j.d, j.port, name, j.fd, &j.peer);
	port_left(j.port);
}
