/* wsraw.c: raw connections of a wsproxy tunnel; see wsraw.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "deadline.h"
#include "random.h"
#include "wsraw.h"

enum {
	DATA_MAX = 32768,	/* bytes in a frame */
	LATELY = 128,		/* ids that are remembered when their connections have gone */
	TELL_MS = 30000		/* for the link to take that a connection has ended */
};

struct rstream {		/* [m] guarded by the raws' mutex, [c] constant, else the writer's */
	struct stream base;
	struct wsraw *of;	/* [c] */
	struct link *link;	/* [c] */
	struct rstream *next;	/* [m] */
	char id[WSPROXY_ID + 1];	/* [c] */
	int refs;		/* [m] the list's, the user's, and the reader's for a moment */
	int dead;		/* [m] nothing goes either way any more */
	int closed;		/* [m] by the client */
	int heard;		/* [m] something has come from the client */
	size_t queued;		/* [m] bytes that the caller has not taken */
	uint64_t *tally;	/* [m] */
	int told, closing;	/* the client knows of it; and that it ends */
	int64_t hold_until;	/* clock_ms */
};

struct wsraw {
	struct wsraw_conf conf;	/* constant */
	pthread_mutex_t mtx;	/* after a stream's; guards what follows and what is marked [m] */
	pthread_cond_t change;	/* of dead, closed or heard */
	struct rstream *first;
	struct link *paused;	/* for the one stream there is; NULL: it is read */
	int n, ended;
	char gone[LATELY][WSPROXY_ID + 1];
	size_t ngone;
};

static struct rstream *
rstream_of(struct stream *s)
{
	return (struct rstream *)(void *)s;
}

struct wsraw *
wsraw_new(const struct wsraw_conf *conf)
{
	struct wsraw *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->conf = *conf;
	pthread_mutex_init(&w->mtx, NULL);
	cond_init(&w->change);
	return w;
}

void
wsraw_free(struct wsraw *w)
{
	pthread_cond_destroy(&w->change);
	pthread_mutex_destroy(&w->mtx);
	free(w);
}

static struct rstream *
find_locked(struct wsraw *w, const char *id)
{
	struct rstream *r;

	for (r = w->first; r != NULL && strcmp(r->id, id) != 0; r = r->next)
		;
	return r;
}

/* Read on. After this mutex the link's may be taken, and never the other way round. */
static void
resume_locked(struct wsraw *w)
{
	if (w->paused != NULL)
		link_pause(w->paused, 0);
	w->paused = NULL;
}

/* Called with the mutex held, which is given back. */
static void
unref_unlock(struct rstream *r)
{
	int left = --r->refs;

	pthread_mutex_unlock(&r->of->mtx);
	if (left > 0)
		return;
	share_give(r->of->conf.share, r->queued);
	pthread_mutex_destroy(&r->base.mtx);
	free(r);
}

/* Off the list, whose reference the caller has then. */
static void
unlist_locked(struct rstream *r)
{
	struct wsraw *w = r->of;
	struct rstream **p;

	for (p = &w->first; *p != r; p = &(*p)->next)
		;
	*p = r->next;
	w->n--;
	resume_locked(w);
	memcpy(w->gone[w->ngone++ % LATELY], r->id, sizeof(r->id));
}

/* The writer's side. */

/* 0, or -1 with errno; *closed: there is nobody to write to. */
static int
await_turn(struct rstream *r, size_t total, int *closed)
{
	struct wsraw *w = r->of;
	struct timespec until;
	int64_t left = r->hold_until - clock_ms(CLOCK_STEADY);
	int late = total == 0 || left <= 0, dead;

	if (!late)
		deadline_in(&until, left);
	pthread_mutex_lock(&w->mtx);
	while (!late && !r->dead && !w->ended && !r->closed && !r->heard)
		late = pthread_cond_timedwait(&w->change, &w->mtx, &until) != 0;
	dead = r->dead || w->ended;
	*closed = r->closed;
	if (r->tally != NULL && !dead && !r->closed)
		r->tally[1] += total;
	pthread_mutex_unlock(&w->mtx);
	if (total > 0)
		r->hold_until = 0;
	errno = EPIPE;
	return dead ? -1 : 0;
}

static int
send_frame(struct rstream *r, const char *p, size_t len, int64_t deadline)
{
	uint8_t header[WSPROXY_HEADER];
	struct iovec v[2];

	wsproxy_frame_put(header, r->id);
	v[0].iov_base = header;
	v[0].iov_len = sizeof(header);
	v[1].iov_base = (void *)(uintptr_t)p;
	v[1].iov_len = len;
	return link_send(r->link, WS_BINARY, v, 2, LINK_BULK, r, deadline);
}

static int
send_all(struct rstream *r, const struct iovec *iov, int n, int64_t deadline)
{
	size_t at, len;

	for (; n > 0; n--, iov++)
		for (at = 0; at < iov->iov_len; at += len) {
			len = iov->iov_len - at < DATA_MAX ? iov->iov_len - at : DATA_MAX;
			if (send_frame(r, (const char *)iov->iov_base + at, len, deadline) == -1)
				return -1;
		}
	return 0;
}

static int
tell_open(struct rstream *r, int64_t deadline)
{
	const struct wsraw_conf *conf = &r->of->conf;

	if (r->told)
		return 0;
	r->told = 1;		/* it may be answered before this returns */
	if (conf->tell(conf->arg, "tcp_open", r->id, deadline) == -1)
		return -1;
	r->hold_until = clock_ms(CLOCK_STEADY) + conf->hold_ms(conf->arg);
	return 0;
}

static void
tell_close(struct rstream *r)
{
	const struct wsraw_conf *conf = &r->of->conf;

	if (r->told && !r->closing)
		conf->tell(conf->arg, "tcp_close", r->id, clock_ms(CLOCK_STEADY) + TELL_MS);
	r->closing = 1;
}

static long
r_write(struct stream *s, const struct iovec *iov, int n, int fin, int64_t deadline)
{
	struct rstream *r = rstream_of(s);
	size_t total = iov_len(iov, n);
	int closed;

	if (tell_open(r, deadline) == -1 || await_turn(r, total, &closed) == -1)
		return -1;
	if (!closed && send_all(r, iov, n, deadline) == -1)
		return -1;
	if (fin || closed)
		tell_close(r);
	return (long)total;
}

static void
r_credit(struct stream *s, size_t n, int queued)
{
	struct rstream *r = rstream_of(s);

	(void)queued;	/* nobody waits for it */
	pthread_mutex_lock(&r->of->mtx);
	n = n < r->queued ? n : r->queued;
	r->queued -= n;
	if (r->queued <= r->of->conf.window / 2)
		resume_locked(r->of);
	pthread_mutex_unlock(&r->of->mtx);
	share_give(r->of->conf.share, n);
}

/* A writer that waits returns. The client is told when the stream is left: this must not wait. */
static void
r_end(struct stream *s, enum stream_end end)
{
	struct rstream *r = rstream_of(s);
	struct wsraw *w = r->of;

	if (end != STREAM_RESET)
		return;
	pthread_mutex_lock(&w->mtx);
	r->dead = 1;
	resume_locked(w);
	pthread_cond_broadcast(&w->change);
	pthread_mutex_unlock(&w->mtx);
	link_cancel(r->link, r);
}

static int
r_dead(struct stream *s)
{
	struct rstream *r = rstream_of(s);
	int dead;

	pthread_mutex_lock(&r->of->mtx);
	dead = r->dead || r->of->ended;
	pthread_mutex_unlock(&r->of->mtx);
	return dead;
}

static int
r_over(struct stream *s)
{
	struct wsraw *w = rstream_of(s)->of;
	int ended;

	pthread_mutex_lock(&w->mtx);
	ended = w->ended;
	pthread_mutex_unlock(&w->mtx);
	return ended;
}

static void
r_unref(struct stream *s)
{
	struct rstream *r = rstream_of(s);
	struct wsraw *w = r->of;

	tell_close(r);
	pthread_mutex_lock(&w->mtx);
	r->dead = 1;
	r->tally = NULL;
	unlist_locked(r);
	r->refs--;		/* the list's */
	unref_unlock(r);
}

static const struct stream_type type = { r_write, r_credit, r_end, r_dead, r_over, r_unref };

struct stream *
wsraw_open(struct wsraw *w, struct link *l, uint64_t *tally)
{
	struct rstream *r = calloc(1, sizeof(*r));
	unsigned char raw[WSPROXY_ID / 2];
	struct buf b;
	int err = 0;

	if (r == NULL || random_bytes(raw, sizeof(raw)) == -1) {
		free(r);
		errno = ENOMEM;
		return NULL;
	}
	buf_init(&b, r->id, WSPROXY_ID);
	buf_hex(&b, raw, sizeof(raw));
	pthread_mutex_init(&r->base.mtx, NULL);
	r->base.type = &type;
	r->of = w;
	r->link = l;
	r->tally = tally;
	r->refs = 2;
	pthread_mutex_lock(&w->mtx);
	if (w->ended)
		err = EPIPE;
	else if (w->n >= w->conf.max || find_locked(w, r->id) != NULL)
		err = EMFILE;
	else {
		r->next = w->first;
		w->first = r;
		w->n++;
		resume_locked(w);	/* it is not alone */
	}
	pthread_mutex_unlock(&w->mtx);
	if (err == 0)
		return &r->base;
	pthread_mutex_destroy(&r->base.mtx);
	free(r);
	errno = err;
	return NULL;
}

/* The reader's side. */

/* With a reference, if it is there and anything may still come for it. */
static struct rstream *
get(struct wsraw *w, const char *id)
{
	struct rstream *r;

	pthread_mutex_lock(&w->mtx);
	if ((r = find_locked(w, id)) != NULL && (r->dead || r->closed))
		r = NULL;
	if (r != NULL) {
		r->refs++;
		if (!r->heard)
			pthread_cond_broadcast(&w->change);
		r->heard = 1;
	}
	pthread_mutex_unlock(&w->mtx);
	return r;
}

static void
put(struct rstream *r)
{
	pthread_mutex_lock(&r->of->mtx);
	unref_unlock(r);
}

/* Count len bytes until the caller has taken them. 0: there are too many. */
static int
charge(struct rstream *r, size_t len)
{
	struct wsraw *w = r->of;
	int ok, busy = w->conf.busy(w->conf.arg);

	if (!share_take(w->conf.share, len))
		return 0;
	pthread_mutex_lock(&w->mtx);
	ok = r->queued <= w->conf.queue_max;
	if (ok)
		r->queued += len;
	if (ok && r->queued > w->conf.window && w->n == 1 && !busy && w->paused == NULL) {
		w->paused = r->link;
		link_pause(r->link, 1);
	}
	if (ok && r->tally != NULL)
		r->tally[0] += len;
	pthread_mutex_unlock(&w->mtx);
	if (!ok)
		share_give(w->conf.share, len);
	return ok;
}

static void
cut(struct rstream *r)
{
	r_end(&r->base, STREAM_RESET);
	pthread_mutex_lock(&r->base.mtx);
	if (r->base.ops != NULL)
		r->base.ops->reset(r->base.arg);
	pthread_mutex_unlock(&r->base.mtx);
}

void
wsraw_cut(struct wsraw *w, const char *id)
{
	struct rstream *r = get(w, id);

	if (r == NULL)
		return;
	cut(r);
	put(r);
}

void
wsraw_data(struct wsraw *w, const char *id, const uint8_t *p, size_t len)
{
	struct rstream *r = get(w, id);

	if (r == NULL)
		return;
	if (charge(r, len)) {
		pthread_mutex_lock(&r->base.mtx);
		if (r->base.ops != NULL)
			r->base.ops->data(r->base.arg, p, len);
		pthread_mutex_unlock(&r->base.mtx);
	} else
		cut(r);
	put(r);
}

void
wsraw_close(struct wsraw *w, const char *id)
{
	struct rstream *r = get(w, id);

	if (r == NULL)
		return;
	pthread_mutex_lock(&w->mtx);
	r->closed = 1;
	pthread_cond_broadcast(&w->change);
	pthread_mutex_unlock(&w->mtx);
	pthread_mutex_lock(&r->base.mtx);
	if (r->base.ops != NULL)
		r->base.ops->fin(r->base.arg);
	pthread_mutex_unlock(&r->base.mtx);
	put(r);
}

int
wsraw_is(struct wsraw *w, const char *id)
{
	int is;

	pthread_mutex_lock(&w->mtx);
	is = find_locked(w, id) != NULL;
	pthread_mutex_unlock(&w->mtx);
	return is;
}

int
wsraw_known(struct wsraw *w, const char *id)
{
	int is;
	size_t i;

	pthread_mutex_lock(&w->mtx);
	is = find_locked(w, id) != NULL;
	for (i = 0; i < LATELY && !is; i++)
		is = strcmp(w->gone[i], id) == 0;
	pthread_mutex_unlock(&w->mtx);
	return is;
}

void
wsraw_end(struct wsraw *w)
{
	struct rstream *r;

	pthread_mutex_lock(&w->mtx);
	w->ended = 1;
	pthread_cond_broadcast(&w->change);
	for (;;) {
		for (r = w->first; r != NULL && r->dead; r = r->next)
			;
		if (r == NULL)
			break;
		r->dead = 1;
		r->refs++;
		pthread_mutex_unlock(&w->mtx);
		pthread_mutex_lock(&r->base.mtx);
		if (r->base.ops != NULL)
			r->base.ops->reset(r->base.arg);
		pthread_mutex_unlock(&r->base.mtx);
		pthread_mutex_lock(&w->mtx);
		unref_unlock(r);
		pthread_mutex_lock(&w->mtx);
	}
	pthread_mutex_unlock(&w->mtx);
}

void
wsraw_hurry(struct wsraw *w)
{
	pthread_mutex_lock(&w->mtx);
	resume_locked(w);
	pthread_mutex_unlock(&w->mtx);
}

void
wsraw_lock(struct wsraw *w)
{
	pthread_mutex_lock(&w->mtx);
}

void
wsraw_unlock(struct wsraw *w)
{
	pthread_mutex_unlock(&w->mtx);
}
