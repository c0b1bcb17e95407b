/* linkout.c: a link's writers: whoever writes, writes for all; see link.h. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"
#include "deadline.h"
#include "linkint.h"

enum {
	QUEUE_SIZE = 128 * 1024,	/* urgent messages waiting, bytes */
	QUEUE_FULL = 64 * 1024,	/* above this an urgent message waits its turn like bulk */
	FRAME_MAX = 64 * 1024 + 64,	/* payload of a frame, a bulk one of a mux with its header: a longer message is sent in several */
	/* written at once, bytes: all that is urgent and owed leaves room for a frame in turn */
	OUT_REST = 6 * LINK_PONGS + 256,	/* beside what is owed: pongs, empty ones too, and a close frame */
	CROWD = 160, CROWD_MS = 8,	/* so many urgent messages in one to two times so many milliseconds are many */
	BLIND_MS = 50,		/* between looks, when there is no descriptor to be woken by */
	MORE_ROUNDS = 4		/* how often a writer goes on for others before the reader must */
};

enum turn { QUEUED, TAKEN, DONE, GONE, CANCELLED };
enum for_whom { FOR_SENDER, FOR_READER };

struct writer {			/* on a waiting writer's stack, a parcel's on the heap */
	struct writer *next;
	pthread_cond_t cond;
	struct link_parcel *parcel;	/* [c] what is sent, if it is the link's to release */
	int orphan;		/* [m] nobody waits for it any more: half of it was out when its time was over */
	enum turn turn;		/* [m] in the list while QUEUED, and only then */
	int leave;		/* [m] not QUEUED any more, it is not to wait for the socket either */
	size_t at;		/* [m] bytes of the payload that were framed */
	const void *key;
	const struct iovec *iov;
	size_t len;
	uint8_t opcode;
};

static void
writer_init(struct writer *w, uint8_t opcode, const struct iovec *iov, size_t len, const void *key)
{
	memset(w, 0, sizeof(*w));
	cond_init(&w->cond);
	w->opcode = opcode;
	w->iov = iov;
	w->len = len;
	w->key = key;
}

static void
parcel_free(struct writer *w)
{
	w->parcel->release(w->parcel);
	pthread_cond_destroy(&w->cond);
	free(w);
}

/* Frame a small message into out. [w] */
static void
out_put_locked(struct link *l, uint8_t opcode, const void *payload, size_t len)
{
	struct iovec iov;
	struct ws_hdr h;

	iov.iov_base = (void *)(uintptr_t)payload;
	iov.iov_len = len;
	linkframe_hdr_locked(l, &h, opcode, len);
	l->nout += linkframe_put(l->out + l->nout, &h, &iov, 0);
}

/* The list of waiting writers. */

static void
append_locked(struct link *l, struct writer *w)
{
	w->turn = QUEUED;
	w->next = NULL;
	*l->last = w;
	l->last = &w->next;
}

static void
prepend_locked(struct link *l, struct writer *w)
{
	w->turn = QUEUED;
	if ((w->next = l->first) == NULL)
		l->last = &w->next;
	l->first = w;
}

static void
take_out_locked(struct link *l, struct writer **p, enum turn turn)
{
	struct writer *w = *p;

	if ((*p = w->next) == NULL)
		l->last = p;
	w->turn = turn;
}

/* Tell the writer what has become of its message. */
static void
tell_locked(struct link *l, struct writer *w)
{
	if (!w->orphan) {
		pthread_cond_signal(&w->cond);
		return;
	}
	l->orphan = 0;
	parcel_free(w);
}

/* Take out the writer at *p, and tell it. */
static void
dismiss_locked(struct link *l, struct writer **p, enum turn turn)
{
	struct writer *w = *p;

	take_out_locked(l, p, turn);
	tell_locked(l, w);
}

static void
refuse_writers_locked(struct link *l)
{
	while (l->first != NULL)
		dismiss_locked(l, &l->first, GONE);
	if (l->active != NULL)
		l->active->leave = 1;
}

/* The first whose thread waits. Only the very first can be one without: the message that has begun. */
static struct writer *
waiting_locked(const struct link *l)
{
	return l->first != NULL && l->first->orphan ? l->first->next : l->first;
}

/* Nobody writes any more: who is first in turn goes on. Without waiting writers, the reader does. */
static void
pass_on_locked(struct link *l)
{
	struct writer *w = waiting_locked(l);

	if (!l->writing && w != NULL)
		pthread_cond_signal(&w->cond);
}

void
linkout_end_locked(struct link *l)
{
	if (l->ended)
		return;
	l->ended = 1;
	pthread_cond_broadcast(&l->quiet);
	refuse_writers_locked(l);
	conn_shutdown(&l->conn, SHUT_RDWR);
}

/* The least that out has. */
static size_t
out_small(const struct link *l)
{
	return l->conf.owed_max + OUT_REST;
}

/* Memory for out, which is empty: much only if there is much to send. */
static int
out_room_locked(struct link *l)
{
	size_t need = (l->nqueue > 0 || l->first != NULL ? QUEUE_SIZE + FRAME_MAX : 0) + out_small(l);

	l->out_at = l->nout = 0;
	if (l->out_cap >= need)
		return 1;
	free(l->out);
	l->out_cap = 0;
	if ((l->out = malloc(need)) != NULL)
		l->out_cap = need;
	return l->out != NULL;
}

int
link_greet(struct link *l, const void *buf, size_t len)
{
	int rc = -1;

	pthread_mutex_lock(&l->mtx);
	if (len <= out_small(l) && out_room_locked(l)) {
		memcpy(l->out, buf, len);
		l->nout = len;
		rc = 0;
	}
	pthread_mutex_unlock(&l->mtx);
	if (rc == -1)
		errno = ENOMEM;
	return rc;
}

static void
drop_out_locked(struct link *l)
{
	free(l->out);
	l->out = NULL;
	l->out_cap = l->out_at = l->nout = 0;
}

void
linkout_trim_locked(struct link *l)
{
	if (l->writing || l->out_at < l->nout || l->nqueue > 0)
		return;
	drop_out_locked(l);
	free(l->queue);
	l->queue = NULL;
	wake_close(&l->unblock);
}

static int
more_locked(const struct link *l)
{
	return l->out_at < l->nout || (!l->close_sent && (l->nqueue > 0 ||
	    l->first != NULL || (l->owed && !l->lazy) || l->npongs > 0 || l->ping || l->close_code != 0));
}

/* There is more, and nobody but the reader to write it. */
static int
stuck_locked(const struct link *l)
{
	return !l->writing && waiting_locked(l) == NULL && !l->ended && more_locked(l);
}

/* The reader must be woken: to write, or because the close frame may be out. */
static int
reader_wanted_locked(const struct link *l)
{
	return stuck_locked(l) || (l->close_sent && !l->writing);
}

static void
want_reader_locked(struct link *l)
{
	if (reader_wanted_locked(l))
		linkout_ring_locked(l);
}

/* Filling out. */

static void
fill_control_locked(struct link *l)
{
	uint8_t id[8];
	size_t at, n;
	int i;

	for (at = 0; at < l->npongs; at += n) {
		n = l->pongs[at++];
		out_put_locked(l, WS_PONG, l->pongs + at, n);
	}
	l->npongs = 0;
	if (l->ping) {
		l->ping = 0;
		l->ping_us = clock_us(CLOCK_STEADY);
		l->ping_id++;
		for (i = 0; i < 8; i++)
			id[i] = (uint8_t)(l->ping_id >> (56 - 8 * i));
		out_put_locked(l, WS_PING, id, sizeof(id));
	}
}

/*
 * Urgent messages, then what the user owes: a FIN must not overtake its
 * stream's data, nor data an ACK that was taken off its stream to be sent alone.
 */
static void
fill_urgent_locked(struct link *l)
{
	uint8_t *buf;
	size_t n;

	if (l->nqueue > 0) {
		memcpy(l->out + l->nout, l->queue, l->nqueue);
		l->nout += l->nqueue;
		l->nqueue = 0;
	}
	if (!l->owed)
		return;
	l->owed = l->lazy = 0;
	if (l->ops->owed == NULL)
		return;
	buf = l->out + l->nout + WS_HDR_MAX;	/* its header goes in front of it */
	if ((n = l->ops->owed(l->arg, buf, l->conf.owed_max, l->rtt_us, &l->owed)) > 0)
		out_put_locked(l, l->conf.owed_text ? WS_TEXT : WS_BINARY, buf, n);
}

static void
fill_close_locked(struct link *l)
{
	uint8_t buf[WS_CONTROL_MAX];
	size_t n = 0;

	if (l->close_code != WS_NO_STATUS) {
		buf[0] = (uint8_t)(l->close_code >> 8);
		buf[1] = (uint8_t)l->close_code;
		n = strlen(l->close_reason);
		memcpy(buf + 2, l->close_reason, n);
		n += 2;
	}
	out_put_locked(l, WS_CLOSE, buf, n);
	l->close_sent = 1;
}

static size_t
next_len(const struct writer *w)
{
	return w->len - w->at < FRAME_MAX ? w->len - w->at : FRAME_MAX;
}

/*
 * The next frame of the first in turn. mtx is given up meanwhile. 1: it was written at once, with what
 * was in out before it; what the socket did not take of both is there now.
 */
static int
fill_turn_locked(struct link *l)
{
	struct writer *w = l->first;
	struct ws_hdr h;
	struct span out;
	int rc;

	linkframe_hdr_locked(l, &h, w->at == 0 ? w->opcode : WS_CONTINUATION, next_len(w));
	h.fin = w->at + h.len == w->len;
	take_out_locked(l, &l->first, TAKEN);
	out.from = l->out_at;
	out.to = l->nout;
	pthread_mutex_unlock(&l->mtx);
	rc = linkframe_send(l, &h, w->iov, w->at, &out);
	pthread_mutex_lock(&l->mtx);
	l->out_at = out.from;
	l->nout = out.to;
	if (rc == -1)
		linkout_end_locked(l);
	else if (rc == 1 && l->orphan)
		l->orphan_ms = clock_ms(CLOCK_STEADY);
	w->at += (size_t)h.len;
	l->parted = !h.fin;
	if (!h.fin && !l->ended && l->close_code == 0) {
		prepend_locked(l, w);
		if (!w->orphan)
			pthread_cond_signal(&w->cond);
		return rc != 0;
	}
	w->turn = h.fin ? DONE : GONE;	/* the others were told meanwhile */
	tell_locked(l, w);
	return rc != 0;
}

/* Fill the empty out. mtx is held, and given up meanwhile. 0: there was nothing, or it is over. [w] */
static int
fill_locked(struct link *l)
{
	int sent = 0;

	if (!out_room_locked(l)) {
		linkout_end_locked(l);	/* without memory this session goes, the rest stay */
		return 0;
	}
	if (l->close_sent)
		return 0;
	fill_control_locked(l);
	if (!l->parted)		/* only control frames may stand inside a message (5.4) */
		fill_urgent_locked(l);
	if (l->close_code != 0 && (!l->owed || l->parted)) {
		fill_close_locked(l);
		return 1;
	}
	/* A writer whose urgent message came meanwhile must not overtake it with its next. */
	while (!sent && l->first != NULL && !l->ended && (l->parted || l->nqueue == 0) &&
	    l->out_cap - l->nout >= WS_HDR_MAX + next_len(l->first))
		sent = fill_turn_locked(l);
	return sent || l->nout > 0;
}

/* Sleep until the socket takes more, or somebody wants us to look again. 0 at the deadline. */
static int
await_room_locked(struct link *l, int64_t deadline)
{
	int64_t blind = clock_ms(CLOCK_STEADY) + BLIND_MS, until = deadline;
	int ev, woken;

	if (l->unblock.rd == -1)	/* most links never need it */
		wake_open(&l->unblock);
	if (l->unblock.rd == -1 && blind < until)
		until = blind;
	pthread_mutex_unlock(&l->mtx);
	ev = conn_wait(&l->conn, POLLOUT, until, l->unblock.rd, &woken);
	if (woken)
		wake_clear(&l->unblock);
	pthread_mutex_lock(&l->mtx);
	return ev != 0 || woken || until < deadline;
}

/*
 * Write from out. Waits for the socket until deadline, for me only; 0 if it would have to
 * wait longer, or at the end. mtx is given up meanwhile.
 */
static int
flush_locked(struct link *l, const struct writer *me, int64_t deadline)
{
	struct iovec iov;
	ssize_t n;
	int err;

	iov.iov_base = l->out + l->out_at;
	iov.iov_len = l->nout - l->out_at;
	pthread_mutex_unlock(&l->mtx);
	n = conn_writev(&l->conn, &iov, 1);
	err = n == -1 ? errno : 0;
	pthread_mutex_lock(&l->mtx);
	if (n > 0) {
		l->out_at += (size_t)n;
		if (l->orphan)
			l->orphan_ms = clock_ms(CLOCK_STEADY);
		return 1;
	}
	if (err != EAGAIN)
		linkout_end_locked(l);
	return err == EAGAIN && me != NULL && (me->turn == QUEUED || !me->leave) &&
	    await_room_locked(l, deadline);
}

static void
count_urgent_locked(struct link *l)
{
	int64_t now = clock_ms(CLOCK_STEADY) / CROWD_MS;

	if (now != l->burst_at) {
		l->crowd = now == l->burst_at + 1 ? l->burst : 0;
		l->burst_at = now;
		l->burst = 0;
	}
	l->burst++;
}

/*
 * When many urgent messages go out, others are about to follow: let their threads put them
 * beside ours, for then one system call, and one wake-up over there, does for all. Not for
 * a reader, which has more to read, or a stream's lock. [w]
 */
static void
gather_locked(struct link *l)
{
	if (l->burst + l->crowd < CROWD || l->nqueue == 0)
		return;
	pthread_mutex_unlock(&l->mtx);
	sched_yield();
	pthread_mutex_lock(&l->mtx);
}

/*
 * Write what there is, for a sender after it has gathered what others send, and do not leave before
 * me's message is out, if there is a me. Nobody writes, mtx is held; it is given up for system calls.
 */
static void
write_locked(struct link *l, enum for_whom who, struct writer *me, int64_t deadline)
{
	int rounds = me != NULL;

	l->writing = 1;
	l->active = me;
	while (!l->ended) {
		if (l->out_at == l->nout) {
			if ((me == NULL || me->turn != QUEUED) &&
			    (rounds++ >= MORE_ROUNDS || (rounds > 1 && l->first != NULL)))
				break;	/* our own is out: somebody else's turn */
			if (who == FOR_SENDER)
				gather_locked(l);
			if (l->ended)
				break;
			if (!fill_locked(l))
				break;
			if (l->out_at == l->nout)
				continue;	/* it is out already */
		}
		if (!flush_locked(l, me, deadline))
			break;
	}
	if (l->out_at == l->nout && l->out_cap == out_small(l))
		drop_out_locked(l);
	l->writing = 0;
	l->active = NULL;
	pthread_cond_broadcast(&l->quiet);
	pass_on_locked(l);
}

int
linkout_now(struct link *l)
{
	int stuck;

	pthread_mutex_lock(&l->mtx);
	if (stuck_locked(l))
		write_locked(l, FOR_READER, NULL, 0);
	stuck = stuck_locked(l);
	pthread_mutex_unlock(&l->mtx);
	return stuck;
}

void
link_owe(struct link *l)
{
	pthread_mutex_lock(&l->mtx);
	l->owed = 1;
	l->lazy = 0;
	if (stuck_locked(l))
		write_locked(l, FOR_READER, NULL, 0);
	want_reader_locked(l);
	pthread_mutex_unlock(&l->mtx);
}

void
link_flush(struct link *l)
{
	pthread_mutex_lock(&l->mtx);
	if (!l->writing && l->nqueue > 0)	/* ahead of bulk writers that wait */
		write_locked(l, FOR_READER, NULL, 0);
	want_reader_locked(l);
	pthread_mutex_unlock(&l->mtx);
}

void
link_close(struct link *l, int code, const char *reason)
{
	pthread_mutex_lock(&l->mtx);
	if (l->close_code == 0) {
		l->close_code = code;
		strncpy(l->close_reason, reason, sizeof(l->close_reason) - 1);
		refuse_writers_locked(l);
	}
	if (l->active != NULL)
		wake_post(&l->unblock);
	if (stuck_locked(l))
		write_locked(l, FOR_READER, NULL, 0);
	linkout_ring_locked(l);		/* the reader begins to wait for the other side's close */
	pthread_mutex_unlock(&l->mtx);
}

void
link_cancel(struct link *l, const void *key)
{
	struct writer **p = &l->first;

	pthread_mutex_lock(&l->mtx);
	while (*p != NULL)
		if ((*p)->key == key && (*p)->at == 0)
			dismiss_locked(l, p, CANCELLED);
		else
			p = &(*p)->next;
	if (l->active != NULL && l->active->key == key) {
		l->active->leave = 1;
		wake_post(&l->unblock);
	}
	pass_on_locked(l);	/* whose turn it was may be gone */
	want_reader_locked(l);
	pthread_mutex_unlock(&l->mtx);
}

/* Give up: the deadline has passed. */
static int
late_locked(struct link *l, struct writer *me)
{
	struct writer **p;

	if (me->at > 0 && me->parcel != NULL) {
		me->orphan = l->orphan = 1;
		l->orphan_ms = clock_ms(CLOCK_STEADY);
	} else {
		for (p = &l->first; *p != me; p = &(*p)->next)
			;
		take_out_locked(l, p, GONE);
		if (me->at > 0)		/* half a message is out: nothing can follow it */
			linkout_end_locked(l);
	}
	pass_on_locked(l);
	return ETIMEDOUT;
}

/* Wait for our turn, or write if nobody does. 0, or an error number. */
static int
wait_turn_locked(struct link *l, struct writer *me, int64_t deadline)
{
	struct timespec until;
	int late = 0;

	if (deadline != CONN_FOREVER)
		deadline_in(&until, deadline - clock_ms(CLOCK_STEADY));
	for (;;) {
		if (me->turn == DONE)
			return 0;
		if (me->turn == GONE)
			return EPIPE;
		if (me->turn == CANCELLED)
			return ECANCELED;
		if (me->turn == QUEUED && late)
			return late_locked(l, me);
		if (me->turn == QUEUED && !l->writing) {
			write_locked(l, FOR_SENDER, me, deadline);
			late = 1;	/* else it would not have come back with the message */
		} else
			late = cond_wait(&me->cond, &l->mtx,
			    deadline == CONN_FOREVER || me->turn == TAKEN ? NULL : &until) == ETIMEDOUT;
	}
}

static int
send_in_turn_locked(struct link *l, uint8_t opcode, const struct iovec *iov, size_t len,
    const void *key, int64_t deadline)
{
	struct writer me;
	int err;

	writer_init(&me, opcode, iov, len, key);
	append_locked(l, &me);
	err = wait_turn_locked(l, &me, deadline);
	pthread_cond_destroy(&me.cond);
	return err;
}

int
link_send_parcel(struct link *l, uint8_t opcode, struct link_parcel *parcel, const void *key, int64_t deadline)
{
	struct writer *me = malloc(sizeof(*me));
	int err = EPIPE, orphan = 0;

	if (me == NULL) {
		parcel->release(parcel);
		errno = ENOMEM;
		return -1;
	}
	writer_init(me, opcode, &parcel->iov, parcel->iov.iov_len, key);
	me->parcel = parcel;
	pthread_mutex_lock(&l->mtx);
	if (!l->ended && l->close_code == 0) {
		append_locked(l, me);
		err = wait_turn_locked(l, me, deadline);
		orphan = me->orphan;
	}
	want_reader_locked(l);
	pthread_mutex_unlock(&l->mtx);
	if (!orphan)
		parcel_free(me);
	errno = err;
	return err == 0 ? 0 : -1;
}

int
link_send(struct link *l, uint8_t opcode, const struct iovec *iov, int n,
    enum link_class class, const void *key, int64_t deadline)
{
	struct ws_hdr h;
	size_t len = iov_len(iov, n);
	int err = 0, step_aside = 0;

	pthread_mutex_lock(&l->mtx);
	if (l->ended || l->close_code != 0)
		err = EPIPE;
	else if (class == LINK_BULK || l->nqueue > QUEUE_FULL ||
	    len > QUEUE_SIZE - QUEUE_FULL - WS_HDR_MAX ||
	    (l->queue == NULL && (l->queue = malloc(QUEUE_SIZE)) == NULL))
		err = send_in_turn_locked(l, opcode, iov, len, key, deadline);
	else {
		linkframe_hdr_locked(l, &h, opcode, len);
		l->nqueue += linkframe_put(l->queue + l->nqueue, &h, iov, 0);
		count_urgent_locked(l);
		if (class != LINK_HELD && !l->writing)
			write_locked(l, FOR_SENDER, NULL, 0);
	}
	if (class != LINK_HELD)
		want_reader_locked(l);
	/*
	 * Beside urgent traffic a bulk writer does not use its time slice up: small messages cross several
	 * threads at both ends, and each of these would wait for a slice of a few milliseconds.
	 */
	if (class == LINK_BULK)
		step_aside = clock_ms(CLOCK_STEADY) / CROWD_MS - l->burst_at <= 1;
	pthread_mutex_unlock(&l->mtx);
	if (step_aside)
		sched_yield();
	if (err != 0)
		errno = err;
	return err == 0 ? 0 : -1;
}
