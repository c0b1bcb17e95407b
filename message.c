/* message.c: exchanges in whole messages; see message.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"
#include "message.h"
#include "random.h"

enum {
	FREE_MAX = 65536	/* an answer that small costs no more than the caller's own buffer */
};

struct mstream {		/* [m] guarded by the messages' mutex, else the writer's */
	struct stream base;
	struct messages *of;
	struct mstream *next;	/* [m] */
	int refs;		/* [m] the list's and the user's */
	int listed;		/* [m] an answer may come */
	int dead;		/* [m] */
	int sent;		/* [m] written by the writer alone */
	int started;
	uint64_t *tally;	/* [m] */
	struct message request;
	int bare;		/* the answer has no content: HEAD */
	size_t queued;		/* [m] bytes of the answer that the caller has not taken */
	char *head;		/* the text that request.head points into */
	struct content content;	/* of the request */
};

struct messages {
	enum message_ids ids;
	int (*send)(void *arg, const struct message *, int64_t deadline);
	void (*idle)(void *arg);
	void *arg;
	int max;
	struct share *share;
	pthread_mutex_t mtx;	/* after a stream's; guards what follows and what is marked [m] */
	struct mstream *first;
	int n, ended;
};

static struct mstream *
mstream_of(struct stream *s)
{
	return (struct mstream *)(void *)s;
}

static int
make_id(enum message_ids kind, char out[MESSAGE_ID_LEN + 1])
{
	unsigned char raw[16];
	struct buf b;
	int i;

	if (random_bytes(raw, sizeof(raw)) == -1)
		return -1;
	buf_init(&b, out, MESSAGE_ID_LEN);
	if (kind == MESSAGE_HEX12) {
		buf_hex(&b, raw, 6);
		out[b.len] = '\0';
		return 0;
	}
	raw[6] = (unsigned char)((raw[6] & 0x0f) | 0x40);	/* section 5.4 */
	raw[8] = (unsigned char)((raw[8] & 0x3f) | 0x80);
	for (i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			buf_char(&b, '-');
		buf_hex(&b, raw + i, 1);
	}
	out[MESSAGE_ID_LEN] = '\0';
	return 0;
}

static void
drop_request(struct mstream *m)
{
	free(m->head);
	m->head = NULL;
	content_drop(&m->content);
}

/* Called with the mutex held, which is given back. */
static void
unref_unlock(struct mstream *m)
{
	int left = --m->refs;

	pthread_mutex_unlock(&m->of->mtx);
	if (left > 0)
		return;
	drop_request(m);
	share_give(m->of->share, m->queued);
	pthread_mutex_destroy(&m->base.mtx);
	free(m);
}

/* 1 if it was in the list; its reference is the caller's then. */
static int
unlist_locked(struct mstream *m)
{
	struct mstream **p;

	if (!m->listed)
		return 0;
	for (p = &m->of->first; *p != m; p = &(*p)->next)
		;
	*p = m->next;
	m->listed = 0;
	m->of->n--;
	return 1;
}

/* The head stands whole at the beginning of what is written first. Its length, or -1. */
static long
start(struct mstream *m, const struct iovec *iov)
{
	const char *why;
	int n;

	if ((m->head = malloc(iov->iov_len)) == NULL)
		return -1;
	memcpy(m->head, iov->iov_base, iov->iov_len);
	n = http_req_parse(&m->request.head, m->head, iov->iov_len, &why);
	if (n <= 0) {
		errno = EPROTO;
		return -1;
	}
	m->bare = m->request.head.method.len == 4 && memcmp(m->request.head.method.p, "HEAD", 4) == 0;
	http_body_init(&m->content.walk, &m->request.head, NULL, 1);
	m->started = 1;
	return n;
}

static long
m_write(struct stream *s, const struct iovec *iov, int n, int fin, int64_t deadline)
{
	struct mstream *m = mstream_of(s);
	size_t total = 0;
	long skip = 0;
	int i, dead;

	(void)fin;
	pthread_mutex_lock(&m->of->mtx);
	dead = m->dead || m->of->ended;
	for (i = 0; i < n; i++)
		total += iov[i].iov_len;
	if (m->tally != NULL)
		m->tally[1] += total;
	pthread_mutex_unlock(&m->of->mtx);
	if (dead) {
		errno = EPIPE;
		return -1;
	}
	if (!m->started && n > 0 && (skip = start(m, iov)) == -1)
		return -1;
	for (i = 0; i < n; i++, skip = 0)
		if (content_put(&m->content, (const char *)iov[i].iov_base + skip, iov[i].iov_len - (size_t)skip) == -1)
			return -1;
	if (!m->content.walk.done || m->sent)
		return (long)total;
	pthread_mutex_lock(&m->of->mtx);
	m->sent = 1;		/* from here on an answer may come */
	pthread_mutex_unlock(&m->of->mtx);
	m->request.body = m->content.p;
	m->request.len = m->content.len;
	if (m->of->send(m->of->arg, &m->request, deadline) == -1)
		return -1;
	drop_request(m);
	return (long)total;
}

static void
m_credit(struct stream *s, size_t n, int queued)
{
	struct mstream *m = mstream_of(s);

	(void)queued;	/* an answer is there whole, or not at all */
	pthread_mutex_lock(&m->of->mtx);
	n = n < m->queued ? n : m->queued;
	m->queued -= n;
	pthread_mutex_unlock(&m->of->mtx);
	share_give(m->of->share, n);
}

/* Nobody waits for the answer any more. */
static void
m_end(struct stream *s, enum stream_end end)
{
	struct mstream *m = mstream_of(s);
	struct messages *ms = m->of;
	int idle = 0;

	pthread_mutex_lock(&ms->mtx);
	if (end == STREAM_RESET)
		m->dead = 1;
	if (unlist_locked(m)) {
		idle = ms->n == 0;
		unref_unlock(m);	/* the user still has it */
	} else
		pthread_mutex_unlock(&ms->mtx);
	if (idle)
		ms->idle(ms->arg);
}

static int
m_dead(struct stream *s)
{
	struct mstream *m = mstream_of(s);
	int dead;

	pthread_mutex_lock(&m->of->mtx);
	dead = m->dead || m->of->ended;
	pthread_mutex_unlock(&m->of->mtx);
	return dead;
}

static int
m_over(struct stream *s)
{
	struct mstream *m = mstream_of(s);
	int ended;

	pthread_mutex_lock(&m->of->mtx);
	ended = m->of->ended;
	pthread_mutex_unlock(&m->of->mtx);
	return ended;
}

static void
m_unref(struct stream *s)
{
	struct mstream *m = mstream_of(s);

	pthread_mutex_lock(&m->of->mtx);
	m->tally = NULL;
	unref_unlock(m);
}

static const struct stream_type type = { m_write, m_credit, m_end, m_dead, m_over, NULL, m_unref };

struct messages *
messages_new(enum message_ids ids, int (*send)(void *, const struct message *, int64_t), void (*idle)(void *), void *arg,
    int max, struct share *share)
{
	struct messages *ms = calloc(1, sizeof(*ms));

	if (ms == NULL)
		return NULL;
	ms->ids = ids;
	ms->send = send;
	ms->idle = idle;
	ms->arg = arg;
	ms->max = max;
	ms->share = share;
	pthread_mutex_init(&ms->mtx, NULL);
	return ms;
}

void
messages_free(struct messages *ms)
{
	pthread_mutex_destroy(&ms->mtx);
	free(ms);
}

struct stream *
messages_open(struct messages *ms, uint64_t *tally)
{
	struct mstream *m = calloc(1, sizeof(*m));
	int err = 0;

	if (m == NULL || make_id(ms->ids, m->request.id) == -1) {
		free(m);
		errno = ENOMEM;
		return NULL;
	}
	pthread_mutex_init(&m->base.mtx, NULL);
	m->base.type = &type;
	m->of = ms;
	m->tally = tally;
	m->content.share = ms->share;
	m->content.max = SIZE_MAX;	/* the exchange has limits of its own */
	m->refs = 2;
	pthread_mutex_lock(&ms->mtx);
	if (ms->ended)
		err = EPIPE;
	else if (ms->n >= ms->max)
		err = EMFILE;
	else {
		m->listed = 1;
		m->next = ms->first;
		ms->first = m;
		ms->n++;
	}
	pthread_mutex_unlock(&ms->mtx);
	if (err == 0)
		return &m->base;
	pthread_mutex_destroy(&m->base.mtx);
	free(m);
	errno = err;
	return NULL;
}

/* What the caller does not take at once will be queued for it: it counts until then. 0: there is no room. */
static int
charge(struct mstream *m, size_t n)
{
	if (n <= FREE_MAX)
		return 1;
	if (!share_take(m->of->share, n))
		return 0;
	pthread_mutex_lock(&m->of->mtx);
	m->queued = n;
	pthread_mutex_unlock(&m->of->mtx);
	return 1;
}

static void
deliver(struct mstream *m, struct str head, struct str body, int room)
{
	if (m->bare)
		body.len = 0;
	room = room && (head.p == NULL || charge(m, head.len + body.len));
	pthread_mutex_lock(&m->base.mtx);
	if (m->base.ops != NULL && !room)
		m->base.ops->reset(m->base.arg);
	if (m->base.ops != NULL && room && head.p != NULL)
		m->base.ops->data(m->base.arg, (const uint8_t *)head.p, head.len);
	if (m->base.ops != NULL && room && head.p != NULL && body.len > 0)
		m->base.ops->data(m->base.arg, (const uint8_t *)body.p, body.len);
	if (m->base.ops != NULL && room)
		m->base.ops->fin(m->base.arg);	/* without a head before it, it is a 502 */
	pthread_mutex_unlock(&m->base.mtx);
}

/* One that waits for its answer: an answer before the question is none. */
static struct mstream *
find_locked(struct messages *ms, const char *id)
{
	struct mstream *m;

	for (m = ms->first; m != NULL && strcmp(m->request.id, id) != 0; m = m->next)
		;
	return m != NULL && m->sent ? m : NULL;
}

int
messages_asked(void *arg, const char *id)
{
	struct messages *ms = arg;
	struct mstream *m;
	int rc = -1;

	pthread_mutex_lock(&ms->mtx);
	if ((m = find_locked(ms, id)) != NULL)
		rc = m->bare;
	pthread_mutex_unlock(&ms->mtx);
	return rc;
}

static int
answer(struct messages *ms, const char *id, struct str head, struct str body, int room)
{
	struct mstream *m;
	int idle;

	pthread_mutex_lock(&ms->mtx);
	if ((m = find_locked(ms, id)) == NULL) {
		pthread_mutex_unlock(&ms->mtx);
		return 0;
	}
	unlist_locked(m);
	idle = ms->n == 0;
	if (m->tally != NULL)
		m->tally[0] += head.len + body.len;
	pthread_mutex_unlock(&ms->mtx);
	deliver(m, head, body, room);
	pthread_mutex_lock(&ms->mtx);
	unref_unlock(m);
	if (idle)
		ms->idle(ms->arg);
	return 1;
}

int
messages_answer(struct messages *ms, const char *id, struct str head, struct str body)
{
	return answer(ms, id, head, body, 1);
}

void
messages_refuse(struct messages *ms, const char *id)
{
	struct str none = { NULL, 0 };

	answer(ms, id, none, none, 0);
}

void
messages_end(struct messages *ms)
{
	struct mstream *m;

	pthread_mutex_lock(&ms->mtx);
	ms->ended = 1;
	while ((m = ms->first) != NULL) {
		unlist_locked(m);
		pthread_mutex_unlock(&ms->mtx);
		pthread_mutex_lock(&m->base.mtx);
		if (m->base.ops != NULL)
			m->base.ops->reset(m->base.arg);
		pthread_mutex_unlock(&m->base.mtx);
		pthread_mutex_lock(&ms->mtx);
		unref_unlock(m);
		pthread_mutex_lock(&ms->mtx);
	}
	pthread_mutex_unlock(&ms->mtx);
}

int
messages_open_ones(struct messages *ms)
{
	int n;

	pthread_mutex_lock(&ms->mtx);
	n = ms->n;
	pthread_mutex_unlock(&ms->mtx);
	return n;
}

void
messages_tally(struct messages *ms, const uint64_t from[2], uint64_t to[2])
{
	pthread_mutex_lock(&ms->mtx);
	to[0] = from[0];
	to[1] = from[1];
	pthread_mutex_unlock(&ms->mtx);
}
