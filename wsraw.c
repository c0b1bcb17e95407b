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
	TELL_MS = 30000,	/* for the link to take that a connection has ended */
	STEPS = 64,		/* in one period of the link's this part of the room that is left may be filled, */
	STEP_MIN = 16 * 1024,	/* but so many bytes: for one who takes hardly anything others are not kept from theirs */
	STEP_MAX = 256 * 1024,	/* and no more than these */
	PATIENCE_MS = 5000,	/* others wait so long for a caller who takes nothing */
	POKE_MS = 250		/* and so often such a one is tried */
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
	int64_t taken;		/* [m] clock_ms when it last took any, or the first were there to take */
	int64_t poked;		/* [m] clock_ms */
	uint64_t *tally;	/* [m] */
	int told, closing;	/* the client knows of it; and that it ends */
	int64_t hold_until;	/* clock_ms */
};

struct wsraw {
	struct wsraw_conf conf;	/* constant */
	pthread_mutex_t mtx;	/* after a stream's; guards what follows and what is marked [m] */
	pthread_cond_t change;	/* of dead, closed or heard */
	struct rstream *first;
	struct link *link;	/* of every stream */
	size_t pace;		/* as link_pace: what it was last told */
	size_t queued;		/* of all streams */
	int64_t wanted;		/* clock_ms when the link was last read on because others wanted it, */
	int moved;		/* and some caller has taken something since */
	int busy;		/* it is wanted for requests, too */
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
	w->pace = LINK_FREELY;
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

/* Is it waited for? Bytes that are its last fill nothing. Who took nothing for long while others were there is not. */
static int
is_awaited(const struct wsraw *w, const struct rstream *r, int64_t now)
{
	int64_t since = r->taken > w->wanted ? r->taken : w->wanted;

	return !r->dead && !r->closed && ((w->n == 1 && !w->busy) || now - since <= PATIENCE_MS);
}

/* The room that is left to what fills it first, or LINK_FREELY while all have plenty. */
static size_t
room_locked(const struct wsraw *w, int64_t now)
{
	const struct wsraw_conf *conf = &w->conf;
	size_t mark = w->pace != LINK_FREELY ? conf->window / 2 : conf->window;
	size_t all = 0, most = 0, room, left;
	const struct rstream *r;

	if (w->queued <= mark)
		return LINK_FREELY;
	for (r = w->first; r != NULL; r = r->next)
		if (is_awaited(w, r, now)) {
			all += r->queued;
			most = r->queued > most ? r->queued : most;
		}
	if (most <= mark && all <= 2 * mark)
		return LINK_FREELY;
	room = most < conf->queue_max ? conf->queue_max - most : 0;
	left = all < 2 * conf->queue_max ? 2 * conf->queue_max - all : 0;
	return left < room ? left : room;
}

/*
 * Read the link as fast as those who are waited for take it: the less room is left, the slower. So one who takes more than STEP_MIN in a
 * period never runs out of it. After this mutex the link's may be taken, and never the other way round.
 */
static void
pace_locked(struct wsraw *w)
{
	int64_t now = clock_ms(CLOCK_STEADY);
	size_t n = room_locked(w, now);

	if (n != LINK_FREELY && w->n == 1 && !w->busy)
		n = 0;
	else if (n != LINK_FREELY) {
		n /= STEPS;
		n = n < STEP_MIN ? STEP_MIN : n > STEP_MAX ? STEP_MAX : n;
	}
	if (n == w->pace)
		return;
	if (w->pace == 0 && w->moved) {
		w->wanted = now;
		w->moved = 0;
	}
	w->pace = n;
	link_pace(w->link, n);
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
	w->queued -= r->queued;		/* it is given no credit any more */
	pace_locked(w);
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
		late = cond_wait(&w->change, &w->mtx, &until) != 0;
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
taken_locked(struct rstream *r)
{
	r->taken = clock_ms(CLOCK_STEADY);
	r->of->moved = 1;
}

static void
r_credit(struct stream *s, size_t n, int queued)
{
	struct rstream *r = rstream_of(s);
	struct wsraw *w = r->of;

	(void)queued;	/* nobody waits for it */
	pthread_mutex_lock(&w->mtx);
	n = n < r->queued ? n : r->queued;
	r->queued -= n;
	w->queued -= n;
	if (n > 0)
		taken_locked(r);
	if (w->pace != LINK_FREELY)
		pace_locked(w);
	pthread_mutex_unlock(&w->mtx);
	share_give(w->conf.share, n);
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
	pace_locked(w);
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

static const struct stream_type type = { r_write, r_credit, r_end, r_dead, r_over, NULL, r_unref };

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
		w->link = l;
		pace_locked(w);		/* it is not alone */
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

/*
 * With a reference, if it is there and anything may still come for it. What has come is heard; closes: it is the end. A writer that holds
 * its bytes back learns both at once: else it would send them to who has just closed.
 */
static struct rstream *
get(struct wsraw *w, const char *id, int closes)
{
	struct rstream *r;

	pthread_mutex_lock(&w->mtx);
	if ((r = find_locked(w, id)) != NULL && (r->dead || r->closed))
		r = NULL;
	if (r != NULL) {
		r->refs++;
		if (!r->heard || closes)
			pthread_cond_broadcast(&w->change);
		r->heard = 1;
		r->closed = closes;
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
	int ok;

	if (!share_take(w->conf.share, len))
		return 0;
	pthread_mutex_lock(&w->mtx);
	ok = !r->dead && r->queued <= w->conf.queue_max;
	if (ok) {
		if (r->queued == 0)
			taken_locked(r);
		r->queued += len;
		w->queued += len;
		if (r->tally != NULL)
			r->tally[0] += len;
	}
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
	struct rstream *r = get(w, id, 0);

	if (r == NULL)
		return;
	cut(r);
	put(r);
}

void
wsraw_data(struct wsraw *w, const char *id, const uint8_t *p, size_t len)
{
	struct rstream *r = get(w, id, 0);

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
	struct rstream *r = get(w, id, 1);

	if (r == NULL)
		return;
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

/* Call its user, resets or not. The mutex is given up meanwhile, and the list may be another then. */
static void
call_locked(struct rstream *r, int reset)
{
	struct wsraw *w = r->of;

	r->refs++;
	pthread_mutex_unlock(&w->mtx);
	pthread_mutex_lock(&r->base.mtx);
	if (r->base.ops != NULL && reset)
		r->base.ops->reset(r->base.arg);
	else if (r->base.ops != NULL)
		r->base.ops->writable(r->base.arg);
	pthread_mutex_unlock(&r->base.mtx);
	pthread_mutex_lock(&w->mtx);
	unref_unlock(r);
	pthread_mutex_lock(&w->mtx);
}

/*
 * Who is waited for, and has taken nothing for a while, is tried: poll(2) may not speak of a socket before a good part of its buffer is
 * free, which for a slow caller takes longer than others wait.
 */
static void
poke_locked(struct wsraw *w, int64_t now)
{
	struct rstream *r;

	for (r = w->first; r != NULL;)
		if (r->queued > 0 && now - r->taken >= POKE_MS && now - r->poked >= POKE_MS && is_awaited(w, r, now)) {
			r->poked = now;
			call_locked(r, 0);
			r = w->first;
		} else
			r = r->next;
}

void
wsraw_rest(struct wsraw *w)
{
	int busy = w->conf.busy(w->conf.arg);

	pthread_mutex_lock(&w->mtx);
	w->busy = busy;
	if (!w->ended)
		pace_locked(w);
	if (!w->ended && w->pace != LINK_FREELY)
		poke_locked(w, clock_ms(CLOCK_STEADY));
	pthread_mutex_unlock(&w->mtx);
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
		call_locked(r, 1);
	}
	pthread_mutex_unlock(&w->mtx);
}

void
wsraw_hurry(struct wsraw *w)
{
	pthread_mutex_lock(&w->mtx);
	w->busy = 1;
	pace_locked(w);
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
