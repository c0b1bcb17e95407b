/* mux.c: flow-controlled streams over a link; see mux.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "deadline.h"
#include "muxint.h"

struct mux *
mux_new(const struct mux_conf *conf, const struct mux_ops *ops, void *arg)
{
	struct mux *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	m->conf = *conf;
	m->ops = ops;
	m->arg = arg;
	m->owed_last = &m->owed_first;
	m->refs = 1;
	m->next_id = conf->client ? 3 : 2;	/* 1 is the control stream */
	m->ctl_window = m->ctl_recv = YAMUX_WINDOW;
	m->ctl_open = m->ctl_syn = conf->client;
	pthread_mutex_init(&m->mtx, NULL);
	cond_init(&m->acks);
	return m;
}

void
mux_attach(struct mux *m, struct link *l)
{
	m->link = l;
}

struct link *
mux_link(struct mux *m)
{
	return m->link;
}

void
mux_ref(struct mux *m)
{
	pthread_mutex_lock(&m->mtx);
	m->refs++;
	pthread_mutex_unlock(&m->mtx);
}

static void
mux_free(struct mux *m)
{
	if (m->link != NULL)
		link_free(m->link);
	pthread_cond_destroy(&m->acks);
	pthread_mutex_destroy(&m->mtx);
	free(m->ctl);
	free(m->line);
	free(m);
}

void
mux_unref(struct mux *m)
{
	int refs;

	pthread_mutex_lock(&m->mtx);
	refs = --m->refs;
	pthread_mutex_unlock(&m->mtx);
	if (refs == 0)
		mux_free(m);
}

/* The table and references. A stream in the table holds one, and one of the mux. */

struct ystream *
mux_find_locked(struct mux *m, uint32_t id)
{
	struct ystream *s;

	for (s = m->table[id / 2 % TABLE]; s != NULL && s->id != id; s = s->next)
		;
	return s;
}

struct ystream *
mux_new_stream(struct mux *m)
{
	struct ystream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	pthread_mutex_init(&s->base.mtx, NULL);
	s->base.type = &mux_stream_type;
	s->mux = m;
	s->send_window = s->recv_window = s->recv_max = YAMUX_WINDOW;
	s->epoch_us = clock_us(CLOCK_STEADY);
	s->refs = 2;		/* the table's and the user's */
	return s;
}

/* A stream that has not got into the table. */
static void
drop_stream(struct ystream *s)
{
	pthread_mutex_destroy(&s->base.mtx);
	free(s);
}

void
mux_add_locked(struct mux *m, struct ystream *s, uint32_t id)
{
	struct ystream **head = &m->table[id / 2 % TABLE];

	s->id = id;
	s->queued = 1;
	s->next = *head;
	*head = s;
	m->nstreams++;
	m->refs++;
}

void
mux_stream_unref(struct mux *m, struct ystream *s)
{
	pthread_mutex_lock(&m->mtx);
	mux_unref_unlock(m, s);
}

void
mux_unref_unlock(struct mux *m, struct ystream *s)
{
	int gone = --s->refs == 0, last = gone && --m->refs == 0;
	struct budget *budget = m->conf.budget;	/* the mux may go now */

	pthread_mutex_unlock(&m->mtx);
	if (!gone)
		return;
	if (s->recv_max > YAMUX_WINDOW && budget != NULL)
		budget_give(budget, s->recv_max - YAMUX_WINDOW);
	drop_stream(s);
	if (last)
		mux_free(m);
}

void
mux_acked_locked(struct mux *m, struct ystream *s)
{
	if (s->acked)
		return;
	s->acked = 1;
	if (s->counted) {
		s->counted = 0;
		m->unacked--;
		pthread_cond_broadcast(&m->acks);
	}
}

void
mux_uncount_locked(struct mux *m, struct ystream *s)
{
	if (s->over || !s->queued || !s->fin_seen)
		return;
	s->over = 1;
	m->nstreams--;
}

/* Take s out of the table when nothing more can happen to it. 1: the table's reference is the caller's to drop. */
int
mux_retire_locked(struct mux *m, struct ystream *s)
{
	struct ystream **p;

	if (!s->queued || s->owed || !(s->dead || (s->fin_sent && s->fin_seen)))
		return 0;
	for (p = &m->table[s->id / 2 % TABLE]; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	s->queued = 0;
	if (!s->over)
		m->nstreams--;
	mux_acked_locked(m, s);
	if (s->owe_ack)
		m->acks_owed--;
	s->owe_ack = 0;
	return 1;
}

void
mux_owe_locked(struct mux *m, struct ystream *s)
{
	if (s->owed || !s->queued)
		return;
	s->owed = 1;
	s->owed_next = NULL;
	*m->owed_last = s;
	m->owed_last = &s->owed_next;
}

/* What is owed, as frames. */

static size_t
put_frame(uint8_t *buf, uint8_t type, uint16_t flags, uint32_t id, uint32_t len)
{
	struct yamux_hdr h;

	h.type = type;
	h.flags = flags;
	h.id = id;
	h.len = len;
	yamux_write(buf, &h);
	return YAMUX_HDR;
}

/* What to add to the window: what was delivered, and growth. */
static uint32_t
grant_locked(struct mux *m, struct ystream *s, int64_t rtt)
{
	int64_t now = clock_us(CLOCK_STEADY);
	uint32_t grant = s->credit, more = 0, room;

	if (rtt < RTT_FLOOR_US)
		rtt = RTT_FLOOR_US;
	/*
	 * Half a window went in hardly more than a round trip: the window is what holds the sender up.
	 * More, because a sender that stands still for the update comes back just after one.
	 */
	if (!s->backed_up && 2 * (now - s->epoch_us) < 3 * rtt && s->recv_max < m->conf.window_max) {
		room = m->conf.window_max - s->recv_max;
		more = s->recv_max < room ? s->recv_max : room;
		if (m->conf.budget != NULL) {
			pthread_mutex_lock(&m->conf.budget->mtx);
			if (m->conf.budget->left < more)
				more = (uint32_t)m->conf.budget->left;
			m->conf.budget->left -= more;
			pthread_mutex_unlock(&m->conf.budget->mtx);
		}
	}
	s->recv_max += more;
	s->recv_window += grant + more;
	s->credit = 0;
	s->backed_up = 0;
	s->epoch_us = now;
	return grant + more;
}

/* Frames owed for one stream: at most two headers. */
static size_t
put_owed_locked(struct mux *m, struct ystream *s, uint8_t *buf, int64_t rtt)
{
	uint16_t flags = 0;
	uint32_t grant = 0;
	size_t n = 0;

	if (s->owe_ack) {
		flags |= YAMUX_ACK;
		m->acks_owed--;
	}
	if (s->owe_update && !s->dead && !s->fin_seen)
		grant = grant_locked(m, s, rtt);
	if (s->owe_rst) {
		/* a stream nobody has heard of needs no reset */
		if (s->syn_sent)
			n += put_frame(buf, YAMUX_UPDATE, (uint16_t)(flags | YAMUX_RST), s->id, 0);
	} else {
		if (s->owe_fin && !s->fin_sent) {
			flags |= YAMUX_FIN;
			s->fin_sent = 1;
		}
		if (flags != 0 || grant > 0)
			n += put_frame(buf, YAMUX_UPDATE, flags, s->id, grant);
	}
	s->owe_ack = s->owe_update = s->owe_rst = s->owe_fin = 0;
	return n;
}

/* Control lines, as far as stream 1's window and cap go. */
static size_t
put_control_locked(struct mux *m, uint8_t *buf, size_t cap)
{
	uint16_t flags = 0;
	size_t n = m->nctl, at = 0;

	if (!m->ctl_open)
		return 0;
	if (m->ctl_syn)
		flags = YAMUX_SYN;
	else if (m->ctl_ack)
		flags = YAMUX_ACK;
	if (m->ctl_credit >= YAMUX_WINDOW / 2) {
		at = put_frame(buf, YAMUX_UPDATE, flags, 1, m->ctl_credit);
		m->ctl_recv += m->ctl_credit;
		m->ctl_credit = 0;
		flags = 0;
		m->ctl_syn = m->ctl_ack = 0;
	}
	if (n > m->ctl_window)
		n = m->ctl_window;
	if (n > cap - at - YAMUX_HDR)
		n = cap - at - YAMUX_HDR;
	if (n == 0)
		return at;
	m->ctl_syn = m->ctl_ack = 0;
	at += put_frame(buf + at, YAMUX_DATA, flags, 1, (uint32_t)n);
	memcpy(buf + at, m->ctl, n);
	m->nctl -= n;
	memmove(m->ctl, m->ctl + n, m->nctl);
	if (m->nctl == 0) {
		free(m->ctl);
		m->ctl = NULL;
	}
	m->ctl_window -= (uint32_t)n;
	return at + n;
}

size_t
mux_owed(void *arg, uint8_t *buf, size_t cap, int64_t rtt, int *more)
{
	struct mux *m = arg;
	struct ystream *s, *gone = NULL, *next;
	size_t n = 0;

	pthread_mutex_lock(&m->mtx);
	if (m->pong) {
		m->pong = 0;
		n += put_frame(buf + n, YAMUX_PING, YAMUX_ACK, 0, m->pong_value);
	}
	while (m->nresets > 0 && cap - n >= YAMUX_HDR)
		n += put_frame(buf + n, YAMUX_UPDATE, YAMUX_RST, m->resets[--m->nresets], 0);
	while ((s = m->owed_first) != NULL && cap - n >= 2 * YAMUX_HDR) {
		if ((m->owed_first = s->owed_next) == NULL)
			m->owed_last = &m->owed_first;
		s->owed = 0;
		n += put_owed_locked(m, s, buf + n, rtt);
		if (mux_retire_locked(m, s)) {
			s->owed_next = gone;
			gone = s;
		}
	}
	if (cap - n > 2 * YAMUX_HDR)
		n += put_control_locked(m, buf + n, cap - n);
	/* last of all, when the lines before it are out */
	if (m->away && m->nctl == 0 && cap - n >= YAMUX_HDR) {
		m->away = 0;
		n += put_frame(buf + n, YAMUX_GO_AWAY, 0, 0, m->away_reason);
	}
	*more = m->owed_first != NULL || m->nresets > 0 || (m->away && m->nctl == 0) ||
	    (m->ctl_open && m->nctl > 0 && m->ctl_window > 0);
	pthread_mutex_unlock(&m->mtx);
	for (; gone != NULL; gone = next) {
		next = gone->owed_next;
		mux_stream_unref(m, gone);
	}
	return n;
}

int
mux_control(struct mux *m, const char *line, size_t len)
{
	char *p;
	int rc = 0;

	pthread_mutex_lock(&m->mtx);
	if (m->ended || len >= MUX_CONTROL_QUEUE - m->nctl ||
	    (p = realloc(m->ctl, m->nctl + len + 1)) == NULL)
		rc = -1;
	else {
		m->ctl = p;
		memcpy(m->ctl + m->nctl, line, len);
		m->nctl += len;
		m->ctl[m->nctl++] = '\n';
	}
	pthread_mutex_unlock(&m->mtx);
	if (rc == 0)
		link_owe(m->link);
	return rc;
}

void
mux_go_away(struct mux *m, uint32_t reason)
{
	pthread_mutex_lock(&m->mtx);
	m->away = 1;
	m->away_reason = reason;
	pthread_mutex_unlock(&m->mtx);
	link_owe(m->link);
}

void
mux_tally(struct mux *m, const uint64_t from[2], uint64_t to[2])
{
	pthread_mutex_lock(&m->mtx);
	to[0] = from[0];
	to[1] = from[1];
	pthread_mutex_unlock(&m->mtx);
}

int
mux_streams(struct mux *m)
{
	int n;

	pthread_mutex_lock(&m->mtx);
	n = m->nstreams;
	pthread_mutex_unlock(&m->mtx);
	return n;
}

int
mux_ended(struct mux *m)
{
	int ended;

	pthread_mutex_lock(&m->mtx);
	ended = m->ended;
	pthread_mutex_unlock(&m->mtx);
	return ended;
}

/* Streams from our side. */

int
mux_used_up(struct mux *m)
{
	int up;

	pthread_mutex_lock(&m->mtx);
	up = m->next_id / 2 >= MUX_IDS_MAX;
	pthread_mutex_unlock(&m->mtx);
	return up;
}

/*
 * The table is full: streams that their users have left, and whose other side
 * never ended its direction, make room.
 */
static void
reap_locked(struct mux *m)
{
	struct ystream *s;
	int i;

	for (i = 0; i < TABLE; i++)
		for (s = m->table[i]; s != NULL; s = s->next)
			if (s->left && !s->dead) {
				s->dead = s->owe_rst = 1;
				mux_owe_locked(m, s);
			}
}

struct stream *
mux_open(struct mux *m, uint64_t *tally, int64_t deadline)
{
	struct timespec until;
	struct ystream *s = mux_new_stream(m);
	int rc = 0, err = 0, full;

	if (s == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	pthread_mutex_lock(&m->mtx);
	if (m->unacked >= MUX_UNACKED_MAX)
		deadline_in(&until, deadline - clock_ms(CLOCK_STEADY));
	while (m->unacked >= MUX_UNACKED_MAX && !m->ended && rc == 0)
		rc = cond_wait(&m->acks, &m->mtx, &until);
	if (m->ended)
		err = EPIPE;
	else if (m->unacked >= MUX_UNACKED_MAX)
		err = ETIMEDOUT;
	else if (m->nstreams >= m->conf.streams_max || m->next_id > UINT32_MAX - 2)
		err = EMFILE;
	else {
		mux_add_locked(m, s, m->next_id);
		m->next_id += 2;
		m->unacked++;
		s->counted = 1;
		s->tally = tally;
	}
	full = m->nstreams >= m->conf.streams_max;
	if (full)
		reap_locked(m);
	pthread_mutex_unlock(&m->mtx);
	if (full)
		link_owe(m->link);
	if (err == 0)
		return &s->base;
	drop_stream(s);
	errno = err;
	return NULL;
}

/* Flags for the stream's next frame, and how many of want bytes may go. */
static size_t
claim_locked(struct mux *m, struct ystream *s, size_t want, int fin, uint16_t *flags)
{
	size_t n = want;

	if (n > s->send_window)
		n = s->send_window;
	if (n > (s->sent < FIRST_BYTES ? FRAME_URGENT : FRAME_BULK))
		n = s->sent < FIRST_BYTES ? FRAME_URGENT : FRAME_BULK;
	*flags = 0;
	if (n == 0 && want > 0) {
		s->blocked = 1;
		return 0;
	}
	if (!s->syn_sent && s->counted) {
		*flags |= YAMUX_SYN;
		s->syn_sent = 1;
	}
	if (s->owe_ack) {
		*flags |= YAMUX_ACK;
		s->owe_ack = 0;
		m->acks_owed--;
	}
	if (fin && n == want) {
		*flags |= YAMUX_FIN;
		s->fin_sent = 1;
	}
	s->send_window -= (uint32_t)n;
	return n;
}

static struct ystream *
ystream_of(struct stream *s)
{
	return (struct ystream *)(void *)s;
}

/* FIN has gone out with the last bytes: if the other side's came before, nothing more can happen to the stream. */
static void
fin_written(struct mux *m, struct ystream *s)
{
	int gone;

	pthread_mutex_lock(&m->mtx);
	gone = mux_retire_locked(m, s);
	pthread_mutex_unlock(&m->mtx);
	if (gone)
		mux_stream_unref(m, s);
}

static long
ystream_write(struct stream *base, const struct iovec *iov, int count, int fin, int64_t deadline)
{
	struct ystream *s = ystream_of(base);
	struct mux *m = s->mux;
	struct iovec v[STREAM_IOV_MAX + 1];
	enum link_class class;
	uint8_t hdr[YAMUX_HDR];
	uint16_t flags;
	size_t total = iov_len(iov, count), done = 0, n;

	do {
		pthread_mutex_lock(&m->mtx);
		if (s->dead || s->fin_sent || m->ended) {
			pthread_mutex_unlock(&m->mtx);
			errno = EPIPE;
			return -1;
		}
		class = s->sent >= FIRST_BYTES ? LINK_BULK : base->held ? LINK_HELD : LINK_URGENT;
		n = claim_locked(m, s, total - done, fin, &flags);
		s->sent += n;
		if (s->tally != NULL)
			s->tally[1] += n;
		pthread_mutex_unlock(&m->mtx);
		if (n == 0 && done < total)
			break;
		v[0].iov_base = hdr;
		v[0].iov_len = put_frame(hdr, YAMUX_DATA, flags, s->id, (uint32_t)n);
		if (link_send(m->link, WS_BINARY, v, 1 + iov_cut(v + 1, STREAM_IOV_MAX, iov, done, n),
		    class, s, deadline) == -1)
			return -1;
		done += n;
	} while (done < total);
	if (fin && done == total)
		fin_written(m, s);
	return (long)done;
}

static void
ystream_credit(struct stream *base, size_t n, int queued)
{
	struct ystream *s = ystream_of(base);
	struct mux *m = s->mux;
	int owe = 0;

	pthread_mutex_lock(&m->mtx);
	s->credit += (uint32_t)n;
	if (queued)
		s->backed_up = 1;
	if (!s->owe_update && s->credit >= s->recv_max / 2 && !s->dead && !s->fin_seen) {
		s->owe_update = 1;
		mux_owe_locked(m, s);
		owe = 1;
	}
	pthread_mutex_unlock(&m->mtx);
	if (owe)
		link_owe(m->link);
}

/* Note what is owed for s, and have it sent by owe_it. */
static void
finish(struct ystream *s, int rst, void (*owe_it)(struct link *))
{
	struct mux *m = s->mux;
	int gone = 0, owe = 0;

	pthread_mutex_lock(&m->mtx);
	if (!s->dead && !m->ended) {
		if (rst) {
			s->dead = s->owe_rst = 1;
			owe = 1;
		} else if (!s->fin_sent) {
			s->owe_fin = 1;
			owe = 1;
		}
	}
	if (owe)
		mux_owe_locked(m, s);
	else
		gone = mux_retire_locked(m, s);
	if (s->owe_fin)
		mux_uncount_locked(m, s);
	pthread_mutex_unlock(&m->mtx);
	if (rst)
		link_cancel(m->link, s);
	if (owe)
		owe_it(m->link);
	if (gone)
		mux_stream_unref(m, s);
}

static void
ystream_end(struct stream *s, enum stream_end end)
{
	finish(ystream_of(s), end == STREAM_RESET, end == STREAM_FIN_LAZILY ? link_owe_lazily : link_owe);
}

static int
ystream_dead(struct stream *base)
{
	struct ystream *s = ystream_of(base);
	int dead;

	pthread_mutex_lock(&s->mux->mtx);
	dead = s->dead || s->mux->ended;
	pthread_mutex_unlock(&s->mux->mtx);
	return dead;
}

static int
ystream_over(struct stream *s)
{
	return mux_ended(ystream_of(s)->mux);
}

static void
ystream_flush(struct stream *s)
{
	link_flush(ystream_of(s)->mux->link);
}

static void
ystream_unref(struct stream *base)
{
	struct ystream *s = ystream_of(base);

	pthread_mutex_lock(&s->mux->mtx);
	s->tally = NULL;
	s->left = 1;
	mux_unref_unlock(s->mux, s);
}

const struct stream_type mux_stream_type = {
	ystream_write, ystream_credit, ystream_end, ystream_dead, ystream_over, ystream_flush, ystream_unref
};
