/* tcp.c: a TCP connection and a stream joined; see tcp.h. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "clock.h"
#include "tcp.h"

int
tcp_init(struct tcp *t)
{
	t->conn.fd = -1;
	t->s = NULL;
	t->fin = t->reset = t->opened = 0;
	t->taken = 0;
	t->linger_ms = t->stall_ms = 0;
	t->linger = NULL;
	return wake_open(&t->wake);
}

void
tcp_join_locked(struct tcp *t, struct stream *s, int attached)
{
	t->s = s;
	pump_init(&t->pump, &t->conn, s, &t->wake, attached);
	s->ops = &tcp_ops;
	s->arg = t;
}

void
tcp_attach(struct tcp *t)
{
	pthread_mutex_lock(&t->s->mtx);
	t->pump.attached = 1;
	pthread_mutex_unlock(&t->s->mtx);
}

/* The reader's half: callbacks with the stream's mutex held. */

static void
on_data(void *arg, const uint8_t *buf, size_t len)
{
	struct tcp *t = arg;
	struct iovec iov;

	iov.iov_base = (void *)(uintptr_t)buf;
	iov.iov_len = len;
	pump_put_locked(&t->pump, &iov, len > 0, len);
}

static void
on_fin(void *arg)
{
	struct tcp *t = arg;

	t->fin = 1;
	pump_wake_locked(&t->pump);
}

static void
on_reset(void *arg)
{
	struct tcp *t = arg;

	t->reset = 1;
	pump_wake_locked(&t->pump);
}

static void
on_writable(void *arg)
{
	struct tcp *t = arg;

	t->opened = 1;
	pump_wake_locked(&t->pump);
}

const struct stream_ops tcp_ops = { on_data, on_fin, on_reset, on_writable };

/* The owner's. */

enum {
	SHUT_MS = 1000,		/* at most, for who has been sent all there was to end the connection, too */
	DEAF_MS = 30000		/* so long a connection may take nothing of the rest, when nobody takes anything of its */
};

struct snapshot {
	int fin, reset, drained;
	int closed;		/* the other side has ended both directions at once */
	uint64_t sent;
	int64_t progress;
};

static void
look(struct tcp *t, struct snapshot *now)
{
	pthread_mutex_lock(&t->s->mtx);
	now->drained = pump_drain_locked(&t->pump);
	now->fin = t->fin;
	now->reset = t->reset;
	now->closed = t->fin && !t->reset && stream_dead(t->s) && !stream_over(t->s);
	now->sent = t->pump.sent;
	now->progress = t->pump.progress;
	t->opened = 0;
	pthread_mutex_unlock(&t->s->mtx);
}

/* 1, and the owner counts as asleep, if nothing has happened since the snapshot. */
static int
may_sleep(struct tcp *t, const struct snapshot *was)
{
	int same;

	pthread_mutex_lock(&t->s->mtx);
	same = t->fin == was->fin && t->reset == was->reset && !t->opened && !t->pump.failed &&
	    !(was->drained == 1 && t->pump.q.len > 0);
	t->pump.sleeping = same;
	pthread_mutex_unlock(&t->s->mtx);
	return same;
}

/*
 * Sleep until something happens. events: what the connection is waited for. With none, while nobody reads or writes it, a reset
 * must still be noticed: -1. After both FINs there is a hang-up to see, again and again: *ended, and it is left alone.
 */
static int
sleep_until(struct tcp *t, const struct snapshot *was, int events, int64_t deadline, int *ended)
{
	int ev, idle = events == 0;

	if (!may_sleep(t, was))
		return 0;
	ev = conn_wait(&t->conn, idle && !*ended ? POLLERR : events, deadline, t->wake.rd, NULL);
	pump_awake_lock(&t->pump);
	pthread_mutex_unlock(&t->s->mtx);
	if (!idle || ev == 0)
		return 0;
	*ended = 1;
	return conn_broken(&t->conn) ? -1 : 0;
}

struct patience {
	uint64_t sent;		/* when it had taken so much */
	int64_t since;		/* clock_ms; 0: neither direction had ended */
	long linger_ms;
};

/* Until when to wait: shut, finned: the directions that have ended, to the connection and from it; deaf: nobody takes what it sends. */
static int64_t
wait_until(const struct tcp *t, const struct snapshot *now, struct patience *p, int shut, int finned, int deaf)
{
	if (t->stall_ms > 0 && now->drained == 0)
		return now->progress + t->stall_ms;
	if (!deaf && (t->linger_ms == 0 || !(shut || finned)))
		return CONN_FOREVER;
	if (p->since == 0)
		p->linger_ms = t->linger != NULL ? t->linger(t->linger_arg, t->linger_ms) : t->linger_ms;
	if (p->since == 0 || p->sent != now->sent) {
		p->sent = now->sent;
		p->since = clock_ms(CLOCK_STEADY);
	}
	if (shut && (deaf || p->linger_ms > SHUT_MS))
		return p->since + SHUT_MS;
	return p->since + (deaf ? DEAF_MS : p->linger_ms);
}

const char *
tcp_run(struct tcp *t, struct str lead)
{
	static const struct str none = { NULL, 0 };
	struct snapshot now;
	struct patience patience = { 0, 0, 0 };
	int events, state, eof = 0, shut = 0, finned = 0, ended = 0, deaf = 0;
	int64_t until;
	ssize_t n;

	pump_take_raw(&t->pump, lead, NULL, 0);
	for (;;) {
		look(t, &now);
		if (now.reset)
			return stream_over(t->s) ? "session_lost" : "stream_reset";
		if (now.drained == -1)
			return "connection_lost";
		if (now.fin && now.drained == 1 && !shut) {
			conn_shutdown(&t->conn, SHUT_WR);
			shut = 1;
		}
		if ((state = pump_push(&t->pump, eof && !finned, CONN_FOREVER)) == -1) {
			if (errno != ESHUTDOWN)
				return stream_over(t->s) ? "session_lost" : "stream_reset";
			/* what it has sent is delivered all the same; what comes is read, for a close with it unread would be a reset */
			deaf = state = 1;
		}
		deaf |= now.closed;
		finned |= eof && state == 1;
		if (finned && shut)
			return NULL;
		until = wait_until(t, &now, &patience, shut, finned, deaf);
		if (until != CONN_FOREVER && clock_ms(CLOCK_STEADY) >= until)
			return now.drained == 0 ? "caller_stalled" : NULL;
		events = now.drained == 0 ? POLLOUT : 0;
		if (state == 1 && !eof) {
			n = conn_read(&t->conn, t->in, sizeof(t->in));
			if (n == -1 && errno != EAGAIN)
				return "connection_lost";
			if (n > 0) {
				t->taken += (uint64_t)n;
				if (!deaf)
					pump_take_raw(&t->pump, none, t->in, (size_t)n);
			}
			eof = n == 0;
			if (n != -1)
				continue;
			events |= POLLIN;
		}
		if (sleep_until(t, &now, events, until, &ended) == -1)
			return "connection_lost";
	}
}

void
tcp_end(struct tcp *t, const char *why)
{
	if (t->s != NULL) {
		if (why != NULL)
			stream_reset(t->s);
		stream_leave(t->s);	/* the reader writes to the connection no more */
		pump_end(&t->pump);
	}
	if (why != NULL && t->conn.fd != -1)
		conn_reset_on_close(&t->conn);
	conn_close(&t->conn);
	wake_close(&t->wake);
}
