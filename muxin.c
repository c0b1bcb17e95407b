/* muxin.c: streams over a link, the reader's side; see mux.h. */
#include <stdlib.h>
#include <string.h>

#include "muxint.h"

static int
broken(struct mux *m, const char **why, const char *what)
{
	pthread_mutex_lock(&m->mtx);
	m->away = 1;
	m->away_reason = YAMUX_PROTOCOL_ERROR;
	m->nctl = 0;
	pthread_mutex_unlock(&m->mtx);
	link_owe_later(m->link);
	*why = what;
	return -WS_PROTOCOL_ERROR;
}

enum event { FIN, RESET, WRITABLE };

static void
tell(struct ystream *s, enum event e)
{
	pthread_mutex_lock(&s->base.mtx);
	if (s->base.ops != NULL) {
		if (e == FIN)
			s->base.ops->fin(s->base.arg);
		else if (e == RESET)
			s->base.ops->reset(s->base.arg);
		else
			s->base.ops->writable(s->base.arg);
	}
	pthread_mutex_unlock(&s->base.mtx);
}

/* The other side's SYN for id. The stream with a reference, or NULL: refused. */
static struct ystream *
accept_stream(struct mux *m, uint32_t id)
{
	struct ystream *s = NULL;

	pthread_mutex_lock(&m->mtx);
	/* in any order: threads that open streams overtake each other on their way out */
	if (m->conf.client && id % 2 == 0 && m->nstreams < m->conf.streams_max &&
	    (s = mux_new_stream(m)) != NULL)
		mux_add_locked(m, s, id);
	if (s != NULL) {
		s->syn_sent = 1;
		s->owe_ack = 1;
		m->acks_owed++;
		s->refs++;
	} else if (m->nresets < RESETS)
		m->resets[m->nresets++] = id;
	pthread_mutex_unlock(&m->mtx);
	if (s == NULL) {
		link_owe_later(m->link);
		return NULL;
	}
	if (!m->ops->accept(m->arg, &s->base)) {
		stream_reset(&s->base);
		mux_stream_unref(m, s);	/* the user's reference */
	}
	return s;
}

static int
control_frame(struct mux *m, const char **why)
{
	int over;

	if (m->h.flags & (YAMUX_FIN | YAMUX_RST)) {
		*why = "control stream closed";
		return -WS_NORMAL;
	}
	pthread_mutex_lock(&m->mtx);
	if (m->h.flags & YAMUX_SYN && !m->conf.client && !m->ctl_open) {
		m->ctl_open = m->ctl_ack = 1;
	} else if (m->h.flags & YAMUX_SYN || !m->ctl_open) {
		pthread_mutex_unlock(&m->mtx);
		return broken(m, why, "control stream opened twice, or not at all");
	}
	if (m->h.type == YAMUX_UPDATE) {
		if (m->h.len > UINT32_MAX - m->ctl_window) {
			pthread_mutex_unlock(&m->mtx);
			return broken(m, why, "window beyond 2^32");
		}
		m->ctl_window += m->h.len;
		pthread_mutex_unlock(&m->mtx);
		link_owe_later(m->link);
		return 0;
	}
	over = m->h.len > m->ctl_recv;
	if (!over)
		m->ctl_recv -= m->h.len;
	pthread_mutex_unlock(&m->mtx);
	if (over)
		return broken(m, why, "control stream's window overrun");
	m->left = m->h.len;
	return 0;
}

/* A window update for s. 0, or -1 if it breaks the protocol. *opened: s waited for it. */
static int
update_locked(struct ystream *s, uint32_t n, int *opened)
{
	if (n > UINT32_MAX - s->send_window)
		return -1;
	s->send_window += n;
	*opened = s->blocked && n > 0;
	if (n > 0)
		s->blocked = 0;
	return 0;
}

/* FIN and RST take effect behind the frame's data. Gives the reader's reference back. */
static void
ending(struct mux *m, struct ystream *s, uint16_t flags)
{
	enum event e = flags & YAMUX_RST ? RESET : FIN;
	int news;

	if (!(flags & (YAMUX_FIN | YAMUX_RST))) {
		mux_stream_unref(m, s);
		return;
	}
	pthread_mutex_lock(&m->mtx);
	if (e == RESET) {
		news = !s->dead;
		s->dead = 1;
	} else {
		news = !s->fin_seen && !s->dead;
		s->fin_seen = 1;
		if (s->owe_fin)
			mux_uncount_locked(m, s);
	}
	pthread_mutex_unlock(&m->mtx);
	if (e == RESET)
		link_cancel(m->link, s);
	if (news)
		tell(s, e);
	pthread_mutex_lock(&m->mtx);
	if (mux_retire_locked(m, s))
		s->refs--;
	mux_unref_unlock(m, s);
}

/* A data or window update header for a stream but the control stream. */
static int
stream_frame(struct mux *m, const char **why)
{
	struct ystream *s;
	const struct yamux_hdr *h = &m->h;
	int opened = 0, bad = 0, deaf;

	if (h->type == YAMUX_DATA)
		m->left = h->len;
	pthread_mutex_lock(&m->mtx);
	if ((s = mux_find_locked(m, h->id)) != NULL)
		s->refs++;
	if (h->flags & YAMUX_SYN) {
		if (s != NULL) {
			mux_unref_unlock(m, s);
			return broken(m, why, "SYN for a live stream");
		}
		pthread_mutex_unlock(&m->mtx);
		s = accept_stream(m, h->id);
		pthread_mutex_lock(&m->mtx);
	}
	if (s == NULL) {
		pthread_mutex_unlock(&m->mtx);
		return 0;	/* unknown: read and dropped */
	}
	if (h->flags & YAMUX_ACK)
		mux_acked_locked(m, s);
	deaf = s->fin_seen || s->dead;
	if (h->type == YAMUX_UPDATE)
		bad = update_locked(s, h->len, &opened) == -1;
	else if (h->len > s->recv_window)
		bad = 1;
	else {
		s->recv_window -= h->len;
		if (s->tally != NULL)
			s->tally[0] += h->len;
	}
	pthread_mutex_unlock(&m->mtx);
	if (bad) {
		mux_stream_unref(m, s);
		return broken(m, why, "window overrun");
	}
	if (opened)
		tell(s, WRITABLE);
	if (m->left > 0 && !deaf) {
		m->to = s;
		return 0;
	}
	ending(m, s, deaf ? h->flags & YAMUX_RST : h->flags);
	return 0;
}

static int
frame(struct mux *m, const char **why)
{
	const struct yamux_hdr *h = &m->h;

	m->left = 0;
	switch (h->type) {
	case YAMUX_PING:
		if (h->flags & YAMUX_SYN) {
			pthread_mutex_lock(&m->mtx);
			m->pong = 1;
			m->pong_value = h->len;
			pthread_mutex_unlock(&m->mtx);
			link_owe_later(m->link);
		}
		return 0;
	case YAMUX_GO_AWAY:
		m->ops->go_away(m->arg, h->len);
		return 0;
	default:
		return h->id == 1 ? control_frame(m, why) : stream_frame(m, why);
	}
}

static int
control_data(struct mux *m, uint8_t *p, size_t n, const char **why)
{
	uint8_t *nl;
	size_t k;

	pthread_mutex_lock(&m->mtx);
	m->ctl_credit += (uint32_t)n;
	pthread_mutex_unlock(&m->mtx);
	link_owe_later(m->link);
	while (n > 0) {
		nl = memchr(p, '\n', n);
		k = nl != NULL ? (size_t)(nl - p) : n;
		if (k > MUX_LINE_MAX - m->nline)
			return broken(m, why, "control line too long");
		if (nl != NULL && m->nline == 0) {
			*nl = '\0';
			m->ops->line(m->arg, (const char *)p, k++);
		} else if (m->line == NULL && (m->line = malloc(MUX_LINE_MAX + 1)) == NULL) {
			*why = "no memory";
			return -WS_INTERNAL;
		} else {
			memcpy(m->line + m->nline, p, k);
			m->nline += k;
			if (nl != NULL) {
				k++;
				m->line[m->nline] = '\0';
				m->ops->line(m->arg, m->line, m->nline);
				m->nline = 0;
				free(m->line);
				m->line = NULL;
			}
		}
		p += k;
		n -= k;
	}
	return 0;
}

static int
data(struct mux *m, uint8_t *p, size_t n, const char **why)
{
	struct ystream *s = m->to;
	int rc = 0;

	m->left -= (uint32_t)n;
	if (m->h.id == 1)
		rc = control_data(m, p, n, why);
	else if (s != NULL) {
		pthread_mutex_lock(&s->base.mtx);
		if (s->base.ops != NULL)
			s->base.ops->data(s->base.arg, p, n);
		pthread_mutex_unlock(&s->base.mtx);
	}
	if (m->left == 0 && s != NULL) {
		m->to = NULL;
		ending(m, s, m->h.flags);
	}
	return rc;
}

static int
input(void *arg, uint8_t opcode, uint8_t *buf, size_t len, int fin, const char **why)
{
	struct mux *m = arg;
	size_t n;
	int rc = 0;

	(void)fin;		/* message boundaries mean nothing */
	if (opcode == WS_TEXT) {
		*why = "text message";
		return -WS_UNSUPPORTED;
	}
	while (len > 0 && rc == 0) {
		if (m->left > 0) {
			n = len < m->left ? len : m->left;
			rc = data(m, buf, n, why);
		} else {
			n = YAMUX_HDR - m->nhdr;
			if (n > len)
				n = len;
			memcpy(m->hdr + m->nhdr, buf, n);
			m->nhdr += n;
			if (m->nhdr == YAMUX_HDR) {
				m->nhdr = 0;
				if (yamux_parse(&m->h, m->hdr, YAMUX_HDR, why) < 0)
					return broken(m, why, *why);
				rc = frame(m, why);
			}
		}
		buf += n;
		len -= n;
	}
	return rc;
}

/* Before the reader sleeps: acknowledge streams that have waited long for a frame to ride on. */
static void
idle(void *arg)
{
	struct mux *m = arg;
	struct ystream *s;
	int i, owe = 0;

	pthread_mutex_lock(&m->mtx);
	if (m->acks_owed > ACKS_LATE)
		for (i = 0; i < TABLE; i++)
			for (s = m->table[i]; s != NULL; s = s->next)
				if (s->owe_ack) {
					mux_owe_locked(m, s);
					owe = 1;
				}
	pthread_mutex_unlock(&m->mtx);
	if (owe)
		link_owe_later(m->link);
}

const struct link_ops mux_link_ops = { input, mux_owed, idle };

void
mux_end(struct mux *m)
{
	struct ystream *s;
	int i, gone;

	if (m->to != NULL)
		mux_stream_unref(m, m->to);
	m->to = NULL;
	pthread_mutex_lock(&m->mtx);
	m->ended = 1;
	pthread_cond_broadcast(&m->acks);
	m->owed_first = NULL;
	m->owed_last = &m->owed_first;
	for (i = 0; i < TABLE; i++)
		while ((s = m->table[i]) != NULL) {
			s->dead = 1;
			s->owed = 0;
			s->refs++;
			gone = mux_retire_locked(m, s);
			pthread_mutex_unlock(&m->mtx);
			tell(s, RESET);
			if (gone)
				mux_stream_unref(m, s);
			mux_stream_unref(m, s);
			pthread_mutex_lock(&m->mtx);
		}
	pthread_mutex_unlock(&m->mtx);
}
