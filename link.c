/* link.c: a WebSocket connection: its beginning, reader and end; see link.h. The writers are in linkout.c. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "deadline.h"
#include "linkint.h"
#include "random.h"

enum {
	IN_FIRST = 4096,	/* read at once, bytes, */
	IN_SIZE = 256 * 1024,	/* and when more comes than that */
	DISTURBED_MS = 5,	/* without the bell after it was rung for another */
	LAZY_MS = 50,		/* what nobody waits for may take so long */
	QUIET_MS = 1000,	/* buffers are given back when nothing has come for so long */
	CLOSE_MS = 2000		/* for the other side's close frame and the end */
};

struct link *
link_new(const struct conn *c, const struct link_conf *conf, const struct link_ops *ops,
    void *arg, const void *early, size_t nearly)
{
	struct link *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->own.rd = l->own.wr = l->unblock.rd = l->unblock.wr = -1;
	l->in_cap = nearly > IN_FIRST ? nearly : IN_FIRST;
	if ((nearly > 0 && (l->in = malloc(l->in_cap)) == NULL) ||
	    random_bytes(&l->mask_state, sizeof(l->mask_state)) == -1 ||
	    (l->bell = wake_join()) == NULL) {
		free(l->in);
		free(l);
		return NULL;
	}
	if (nearly > 0)
		memcpy(l->in, early, nearly);
	l->nin = nearly;
	l->pace = l->quota = LINK_FREELY;
	l->conn = *c;
	l->conf = *conf;
	if (l->conf.owed_max == 0)
		l->conf.owed_max = LINK_OWED_MAX;
	l->ops = ops;
	l->arg = arg;
	l->last = &l->first;
	pthread_mutex_init(&l->mtx, NULL);
	cond_init(&l->quiet);
	return l;
}

void
link_free(struct link *l)
{
	if (l->bell != &l->own)
		wake_leave(l->bell);
	wake_close(&l->own);
	wake_close(&l->unblock);
	pthread_cond_destroy(&l->quiet);
	pthread_mutex_destroy(&l->mtx);
	free(l->queue);
	free(l->out);
	free(l->in);
	free(l);
}

/* Fail the connection (7.1.7): tell the other side why, then end. */
static void
fail(struct link *l, int code, const char *why)
{
	if (l->why == NULL)
		l->why = why;
	l->deaf = 1;
	link_close(l, code, why);
}

/* The payload of a ping is in ctl: owe the pong. */
static void
owe_pong(struct link *l)
{
	size_t need = 1 + l->nctl;

	pthread_mutex_lock(&l->mtx);
	if (need > sizeof(l->pongs) - l->npongs) {
		pthread_mutex_unlock(&l->mtx);
		linkout_now(l);
		pthread_mutex_lock(&l->mtx);
	}
	if (need > sizeof(l->pongs) - l->npongs)
		l->npongs = 0;		/* only the last ping must be answered (5.5.3) */
	l->pongs[l->npongs] = (uint8_t)l->nctl;
	memcpy(l->pongs + l->npongs + 1, l->ctl, l->nctl);
	l->npongs += need;
	pthread_mutex_unlock(&l->mtx);
}

static int
control(struct link *l, const char **why)
{
	uint64_t id = 0;
	int code, i;

	switch (l->hdr.opcode) {
	case WS_PING:
		owe_pong(l);
		return 0;
	case WS_PONG:
		for (i = 0; i < 8 && l->nctl == 8; i++)
			id = id << 8 | l->ctl[i];
		pthread_mutex_lock(&l->mtx);
		if (l->ping_us != 0 && id == l->ping_id) {
			l->rtt_us = clock_us(CLOCK_STEADY) - l->ping_us + 1;
			l->ping_us = 0;
		}
		pthread_mutex_unlock(&l->mtx);
		return 0;
	default:
		if ((code = ws_close_parse(l->ctl, l->nctl, why)) < 0)
			return code;
		l->got_close = code;
		if (l->nctl > 2)
			memcpy(l->got_reason, l->ctl + 2, l->nctl - 2);
		if (l->why == NULL)
			l->why = "closed by the other side";
		link_close(l, code, "");	/* the answer, unless we spoke first */
		return 0;
	}
}

/* Hand on n bytes of the payload under way, unmasked. 0, or a status code negated. */
static int
payload(struct link *l, uint8_t *p, size_t n, const char **why)
{
	int end;

	if (l->hdr.masked)
		l->mask_at = ws_mask(p, p, n, l->hdr.key, l->mask_at);
	l->left -= n;
	if (l->left == 0)
		l->in_frame = 0;
	if (l->hdr.opcode & 8) {
		memcpy(l->ctl + l->nctl, p, n);
		l->nctl += n;
		return l->left == 0 ? control(l, why) : 0;
	}
	l->moved = 1;
	end = l->left == 0 && l->hdr.fin;
	if (l->opcode == WS_TEXT && l->conf.utf8 &&
	    (ws_utf8(&l->utf8, p, n) == -1 || (end && l->utf8 != 0))) {
		*why = "text that is not UTF-8";
		return -WS_BAD_DATA;
	}
	if ((n == 0 && !end) || l->give_up != 0)
		return 0;
	return l->ops->data(l->arg, l->opcode, p, n, end, why);
}

/* Read one frame header at in[in_at..]. 1 if it was whole, 0 if more is needed, or a status code negated. */
static int
header(struct link *l, const char **why)
{
	int n, rc;

	n = ws_hdr_parse(&l->hdr, l->in + l->in_at, l->nin - l->in_at, why);
	if (n <= 0)
		return n;
	if (l->hdr.masked == (l->conf.client != 0)) {	/* 5.1 */
		*why = l->conf.client ? "masked frame from the server" : "unmasked frame from the client";
		return -WS_PROTOCOL_ERROR;
	}
	if ((rc = ws_sequence(&l->in_message, &l->hdr, &l->opcode, why)) < 0)
		return rc;
	if (!(l->hdr.opcode & 8)) {
		if (l->hdr.opcode != WS_CONTINUATION) {
			l->message = 0;
			l->utf8 = 0;
		}
		if (l->hdr.len > l->conf.message_max - l->message) {
			*why = "message too big";
			return -WS_TOO_BIG;
		}
		l->message += l->hdr.len;
	}
	l->in_at += (size_t)n;
	l->left = l->hdr.len;
	l->mask_at = 0;
	l->nctl = 0;
	l->in_frame = 1;
	return 1;
}

/* Every whole frame that has come, and what there is of the last. 0, or a status code negated. */
static int
frames(struct link *l, const char **why)
{
	size_t n;
	int rc = 1;

	while (rc > 0 && l->got_close == 0) {
		if (!l->in_frame && (rc = header(l, why)) <= 0)
			break;
		n = l->nin - l->in_at;
		if (n > l->left)
			n = (size_t)l->left;
		if (n == 0 && l->left > 0)
			break;
		l->in_at += n;
		if ((rc = payload(l, l->in + l->in_at - n, n, why)) < 0)
			break;
		rc = 1;
	}
	if (l->in_at < l->nin)	/* part of a header */
		memmove(l->in, l->in + l->in_at, l->nin - l->in_at);
	l->nin -= l->in_at;
	l->in_at = 0;
	return rc < 0 ? rc : 0;
}

/* A read has filled the buffer: there will be more. */
static void
grow(struct link *l)
{
	uint8_t *in = realloc(l->in, IN_SIZE);

	if (in == NULL)
		return;
	l->in = in;
	l->in_cap = IN_SIZE;
}

/* Read once and handle what came. */
static void
take_input(struct link *l)
{
	const char *why = "";
	size_t room;
	ssize_t n;
	int rc, full;

	if (l->in == NULL && (l->in = malloc(l->in_cap)) == NULL) {
		l->why = "no memory";
		l->over = 1;
		return;
	}
	if (l->deaf || l->got_close != 0)	/* nothing counts after that but the end */
		l->nin = 0;
	room = l->in_cap - l->nin;
	n = conn_read(&l->conn, l->in + l->nin, room < l->quota ? room : l->quota);
	if (n == -1 && errno == EAGAIN)
		return;
	if (l->quota != LINK_FREELY)
		l->next_read = clock_ms(CLOCK_STEADY) + LINK_PACE_MS;
	if (n <= 0) {
		if (l->why == NULL)
			l->why = n == 0 ? "connection closed" : "connection lost";
		l->eof = 1;
		/* half-closed, it still takes our close frame */
		l->over = n == -1 || !(l->deaf || l->got_close != 0);
		return;
	}
	l->heard = l->fresh = 1;
	if (l->deaf || l->got_close != 0)
		return;
	l->nin += (size_t)n;
	full = l->nin == l->in_cap;
	if ((rc = frames(l, &why)) < 0)
		fail(l, -rc, why);
	if (l->in_cap == IN_SIZE)
		return;
	if (full)
		grow(l);
	else if (l->nin == 0) {	/* an idle link holds no memory */
		free(l->in);
		l->in = NULL;
	}
}

/* A quiet link holds no buffers, and no descriptors but its connection. */
static void
trim(struct link *l)
{
	struct wake *shared;

	if (l->nin == 0) {
		free(l->in);
		l->in = NULL;
		l->in_cap = IN_FIRST;
	}
	pthread_mutex_lock(&l->mtx);
	linkout_trim_locked(l);
	if (l->bell == &l->own && !l->rung && (shared = wake_join()) != NULL) {
		l->bell = shared;
		wake_close(&l->own);
	}
	pthread_mutex_unlock(&l->mtx);
}

/* The bell has been rung, for us or for another link. */
static void
answer_bell(struct link *l)
{
	pthread_mutex_lock(&l->mtx);
	l->disturbed = !l->rung;
	if (l->rung) {
		wake_take(l->bell);
		l->rung = 0;
		if (l->bell != &l->own && wake_open(&l->own) == 0) {
			wake_leave(l->bell);
			l->bell = &l->own;
		}
	}
	pthread_mutex_unlock(&l->mtx);
}

void
linkout_ring_locked(struct link *l)
{
	if (l->rung)
		return;
	l->rung = 1;
	wake_post(l->bell);
}

static void
give_up(struct link *l, const char *why)
{
	if (l->why == NULL)
		l->why = why;
	link_abort(l);
}

/* Ping in time; end the link if nothing came since the last one, or nothing of a message that has begun. */
static void
ping(struct link *l, int64_t now)
{
	if (l->conf.ping_ms == 0 || now < l->next_ping)
		return;
	if (l->next_ping != 0 && (!l->heard || (l->in_message && !l->moved))) {
		if (clock_overslept(now, l->next_ping, l->conf.ping_ms)) {
			l->next_ping = now + l->conf.ping_ms;
			return;
		}
		give_up(l, l->heard ? "half a message, and no more of it" : "no answer to ping");
		return;
	}
	l->next_ping = now + l->conf.ping_ms;
	l->heard = l->moved = 0;
	pthread_mutex_lock(&l->mtx);
	l->ping = 1;
	pthread_mutex_unlock(&l->mtx);
}

/* Is it over? After a close was asked for: when to stop waiting, and whether everything has been said. */
static void
closing(struct link *l, int64_t now)
{
	int asked, said, ended;

	pthread_mutex_lock(&l->mtx);
	asked = l->close_code != 0;
	said = l->close_sent && l->out_at == l->nout;
	ended = l->ended;
	if (l->aborted)
		l->over = 1;
	if (l->fresh && l->probes > 0) {
		l->answers++;
		pthread_cond_broadcast(&l->quiet);
	}
	l->fresh = 0;
	pthread_mutex_unlock(&l->mtx);
	if (!asked)
		return;
	if (l->give_up == 0)
		l->give_up = now + CLOSE_MS;
	if (now >= l->give_up || (l->eof && (said || ended)))
		l->over = 1;
	/* A client leaves it to the server to close first (7.1.1). */
	if (said && !l->said && (l->deaf || (l->got_close != 0 && !l->conf.client))) {
		l->said = 1;
		conn_shutdown(&l->conn, SHUT_WR);
	}
}

/* When a message whose sender has left is given up, and the link with it, unless more of it is taken. */
static int64_t
orphan_until(struct link *l)
{
	int64_t until = CONN_FOREVER;

	if (l->conf.stall_ms == 0)
		return until;
	pthread_mutex_lock(&l->mtx);
	if (l->orphan)
		until = l->orphan_ms + l->conf.stall_ms;
	pthread_mutex_unlock(&l->mtx);
	return until;
}

/* Something is owed that nobody waits for. */
static int
lazy_owed(struct link *l)
{
	int lazy;

	pthread_mutex_lock(&l->mtx);
	lazy = l->owed && l->lazy;
	pthread_mutex_unlock(&l->mtx);
	return lazy;
}

/* Is there to be no read yet? Else the quota is that of the next one. */
static int
is_paused(struct link *l, int64_t now)
{
	pthread_mutex_lock(&l->mtx);
	l->quota = l->close_code == 0 && !l->ended ? l->pace : LINK_FREELY;
	pthread_mutex_unlock(&l->mtx);
	if (l->quota == LINK_FREELY)
		return 0;
	l->heard = l->moved = 1;	/* it is we who do not hear */
	return l->quota == 0 || now < l->next_read;
}

/* What can be done without waiting, then sleep. 1 if there is something to read. */
static int
await_input(struct link *l)
{
	int64_t until = orphan_until(l), now = clock_ms(CLOCK_STEADY);
	int events, ev, woken, lazy, paused;

	if (now >= until)
		give_up(l, "a message was not taken");
	ping(l, now);
	if (l->ops->idle != NULL)
		l->ops->idle(l->arg);
	paused = is_paused(l, now);
	if ((lazy = lazy_owed(l)) && now >= l->lazy_until) {
		link_owe_later(l);
		lazy = 0;
	}
	events = linkout_now(l) ? POLLOUT : 0;
	closing(l, now);
	if (l->over)
		return 0;
	if (!l->eof)
		events |= paused ? POLLERR : POLLIN;	/* a connection that has broken is noticed */
	if (l->conf.ping_ms != 0 && l->next_ping < until)
		until = l->next_ping;
	if (lazy && l->lazy_until < until)
		until = l->lazy_until;
	if (paused && l->quota > 0 && l->next_read < until)
		until = l->next_read;
	if (!l->idle && now >= l->busy_ms + QUIET_MS) {
		trim(l);
		l->idle = 1;
	}
	if (!l->idle && l->busy_ms + QUIET_MS < until)
		until = l->busy_ms + QUIET_MS;
	if (l->give_up != 0 && l->give_up < until)
		until = l->give_up;
	if (l->disturbed && now + DISTURBED_MS < until)
		until = now + DISTURBED_MS;
	ev = conn_wait(&l->conn, events, until, l->disturbed ? -1 : l->bell->rd, &woken);
	now = clock_ms(CLOCK_STEADY);
	l->disturbed = 0;
	if (woken)
		answer_bell(l);
	if (ev != 0 || (woken && !l->disturbed)) {
		l->busy_ms = now;
		l->idle = 0;
	}
	if (paused)		/* it is over, whatever else there is to read */
		l->quota = LINK_FREELY;
	return !l->eof && (ev & (paused ? POLLERR | POLLHUP : POLLIN));
}

void
link_pace(struct link *l, size_t n)
{
	int wake;

	pthread_mutex_lock(&l->mtx);
	wake = l->pace != n && (l->pace == 0 || n == LINK_FREELY);	/* else the next read is soon enough */
	l->pace = n;
	if (wake && !l->ended)
		linkout_ring_locked(l);
	pthread_mutex_unlock(&l->mtx);
}

void
link_set_ping(struct link *l, int64_t ms)
{
	int64_t next = clock_ms(CLOCK_STEADY) + ms;

	l->conf.ping_ms = ms;
	if (next < l->next_ping)
		l->next_ping = next;
}

int64_t
link_rtt(struct link *l)
{
	int64_t rtt;

	pthread_mutex_lock(&l->mtx);
	rtt = l->rtt_us;
	pthread_mutex_unlock(&l->mtx);
	return rtt;
}

const char *
link_said(const struct link *l)
{
	return l->got_reason;
}

int
link_closed_by_peer(const struct link *l)
{
	return l->got_close != 0;
}

void
link_owe_later(struct link *l)
{
	pthread_mutex_lock(&l->mtx);
	l->owed = 1;
	l->lazy = 0;
	pthread_mutex_unlock(&l->mtx);
}

void
link_owe_lazily(struct link *l)
{
	pthread_mutex_lock(&l->mtx);
	if (!l->owed) {
		l->owed = l->lazy = 1;
		l->lazy_until = clock_ms(CLOCK_STEADY) + LAZY_MS;
	}
	pthread_mutex_unlock(&l->mtx);
}

void
link_abort(struct link *l)
{
	pthread_mutex_lock(&l->mtx);
	l->aborted = 1;
	linkout_end_locked(l);
	linkout_ring_locked(l);		/* for a reader that waits for its answer to go out only */
	pthread_mutex_unlock(&l->mtx);
}

int
link_probe(struct link *l, int64_t deadline)
{
	struct timespec until;
	unsigned answers;
	int alive, rc = 0;

	deadline_in(&until, deadline - clock_ms(CLOCK_STEADY));
	pthread_mutex_lock(&l->mtx);
	answers = l->answers;
	l->probes++;
	l->ping = 1;
	linkout_ring_locked(l);
	while (!l->ended && l->answers == answers && rc == 0)
		rc = cond_wait(&l->quiet, &l->mtx, &until);
	l->probes--;
	alive = !l->ended && l->answers != answers;
	pthread_mutex_unlock(&l->mtx);
	return alive;
}

int
link_run(struct link *l, const char **why)
{
	const char *bad = "";
	int code, rc;

	if (l->nin > 0 && (rc = frames(l, &bad)) < 0)
		fail(l, -rc, bad);
	while (!l->over)
		if (await_input(l))
			take_input(l);
	pthread_mutex_lock(&l->mtx);
	linkout_end_locked(l);
	while (l->writing)
		pthread_cond_wait(&l->quiet, &l->mtx);
	if (l->rung)
		wake_take(l->bell);
	l->rung = 1;		/* nobody is there to be woken any more */
	code = l->got_close != 0 ? l->got_close :
	    l->close_code != 0 ? l->close_code : WS_ABNORMAL;
	pthread_mutex_unlock(&l->mtx);
	conn_close(&l->conn);
	*why = l->why != NULL ? l->why : "closed";
	return code;
}
