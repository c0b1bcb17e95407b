/* msgclient.c: requests that come whole, as streams; see msgclient.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "clock.h"
#include "content.h"
#include "msgclient.h"
#include "msgin.h"
#include "parcel.h"

enum {
	CALLS_MAX = 1024,	/* requests at once, each with a thread */
	FREE_MAX = 65536,	/* content that small is not worth counting */
	REFUSALS_MAX = 1024,	/* answers of our own that wait for the socket */
	COMPLAIN_MS = 60000,
	ANSWER_MS = 300000,	/* nobody waits for an answer that has not begun to go out by then */
	STALL_MS = 60000,
	OVERHEAD = 128		/* of an answer's text beside id, fields and content, bytes */
};

struct refusal {
	struct refusal *next;
	char *text;
	size_t len;
};

struct msgclient {
	struct msgclient_conf conf;	/* constant */
	struct link *link;
	struct share share;
	struct msgin in;	/* the reader's, and so the next two */
	int heard;
	int64_t complained;	/* clock_ms, 0: never */

	pthread_mutex_t mtx;	/* after a stream's and the link's; guards what follows and what is marked [m] */
	struct call *first;
	int n, refs, ended;
	struct refusal *refusals, **last;
	int nrefusals;
};

struct call {			/* [m] guarded by the msgclient's mutex, else the writer's */
	struct stream base;
	struct msgclient *of;
	struct call *next;	/* [m] */
	int refs;		/* [m] the list's and the user's */
	int listed;		/* [m] it is to be answered */
	size_t queued;		/* [m] bytes of the request that the service has not taken */
	char id[CLIENTMSG_ID_MAX];
	size_t idlen;
	int bare;		/* a HEAD request */
	char *text;		/* the response's head */
	int headed;
	struct http_head head;	/* points into text */
	struct content content;
	int failed;		/* why there is no answer: an error number */
};

static struct call *
call_of(struct stream *s)
{
	return (struct call *)(void *)s;
}

/* The end of a call, and of a session. */

static void
unref_unlock(struct msgclient *m)
{
	struct refusal *r;
	int left = --m->refs;

	pthread_mutex_unlock(&m->mtx);
	if (left > 0)
		return;
	while ((r = m->refusals) != NULL) {
		m->refusals = r->next;
		free(r->text);
		free(r);
	}
	msgin_drop(&m->in);
	if (m->link != NULL)
		link_free(m->link);
	pthread_mutex_destroy(&m->mtx);
	free(m);
}

void
msgclient_ref(struct msgclient *m)
{
	pthread_mutex_lock(&m->mtx);
	m->refs++;
	pthread_mutex_unlock(&m->mtx);
}

void
msgclient_unref(struct msgclient *m)
{
	pthread_mutex_lock(&m->mtx);
	unref_unlock(m);
}

/* Called with the mutex held, which is given back. */
static void
drop_unlock(struct call *c)
{
	struct msgclient *m = c->of;

	if (--c->refs > 0) {
		pthread_mutex_unlock(&m->mtx);
		return;
	}
	pthread_mutex_unlock(&m->mtx);
	content_drop(&c->content);
	share_give(&m->share, c->queued);
	free(c->text);
	pthread_mutex_destroy(&c->base.mtx);
	free(c);
	msgclient_unref(m);
}

/* 1 if it was in the list; its reference is the caller's then. */
static int
unlist_locked(struct call *c)
{
	struct call **p;

	if (!c->listed)
		return 0;
	for (p = &c->of->first; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	c->listed = 0;
	c->of->n--;
	return 1;
}

static int
is_over(struct call *c)
{
	int over;

	pthread_mutex_lock(&c->of->mtx);
	over = !c->listed || c->of->ended;
	pthread_mutex_unlock(&c->of->mtx);
	return over;
}

/* Answers of our own: they must not wait, so they are owed. */

static size_t
owed(void *arg, uint8_t *buf, size_t cap, int64_t rtt_us, int *more)
{
	struct msgclient *m = arg;
	struct refusal *r;
	size_t n;

	(void)rtt_us;
	pthread_mutex_lock(&m->mtx);
	if ((r = m->refusals) != NULL) {
		if ((m->refusals = r->next) == NULL)
			m->last = &m->refusals;
		m->nrefusals--;
	}
	*more = m->refusals != NULL;
	pthread_mutex_unlock(&m->mtx);
	if (r == NULL)
		return 0;
	n = r->len <= cap ? r->len : 0;		/* refuse() has seen to it */
	memcpy(buf, r->text, n);
	free(r->text);
	free(r);
	return n;
}

/* The text of such an answer. 0, or -1: no memory. */
static int
refusal_text(struct msgclient *m, struct str id, int err, char **text, size_t *len)
{
	static const struct {
		int err;
		const char *head, *body;
	} table[] = {
		{ EMSGSIZE, "HTTP/1.1 502 Bad Gateway\r\nX-Tunnel-Error: too large\r\n", "the local service's answer is too large\n" },
		{ ENOMEM, "HTTP/1.1 503 Service Unavailable\r\nX-Tunnel-Error: busy\r\nRetry-After: 1\r\n",
		    "the client has no room for this request\n" },
		{ EINVAL, "HTTP/1.1 502 Bad Gateway\r\nX-Tunnel-Error: request\r\n",
		    "this request cannot be told the local service\n" },
		{ 0, "HTTP/1.1 502 Bad Gateway\r\nX-Tunnel-Error: cut short\r\n", "the local service broke off its answer\n" },
	};
	static const char fields[] = "Cache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n\r\n";
	struct clientmsg_answer a;
	struct http_head h;
	const char *why;
	char head[512];
	struct buf b;
	size_t i = 0;

	while (table[i].err != 0 && table[i].err != err)
		i++;
	buf_init(&b, head, sizeof(head));
	buf_str(&b, table[i].head);
	buf_str(&b, fields);
	memset(&h, 0, sizeof(h));
	http_res_parse(&h, head, b.len, 0, &why);
	a.id = id;
	a.head = &h;
	a.body = (const uint8_t *)table[i].body;
	a.len = strlen(table[i].body);
	return m->conf.dialect->encode(&a, &m->conf.server, text, len);
}

/* Whose request cannot be answered otherwise. Any thread, never waits. */
static void
refuse(struct msgclient *m, struct str id, int err)
{
	struct refusal *r = malloc(sizeof(*r));
	int full;

	if (r == NULL || refusal_text(m, id, err, &r->text, &r->len) == -1) {
		free(r);
		return;
	}
	r->next = NULL;
	pthread_mutex_lock(&m->mtx);
	if (!(full = m->ended || m->nrefusals == REFUSALS_MAX || r->len > LINK_OWED_MAX)) {	/* else it reads nothing anyway */
		*m->last = r;
		m->last = &r->next;
		m->nrefusals++;
	}
	pthread_mutex_unlock(&m->mtx);
	if (full) {
		free(r->text);
		free(r);
		return;
	}
	link_owe(m->link);
}

/* The service's answer, on its thread. */

/* All of it has come. 0, or -1 with errno. */
static int
answer(struct call *c)
{
	struct msgclient *m = c->of;
	struct parcel *p = parcel_new(&m->share, BASE64_LEN(c->content.len));
	struct clientmsg_answer a;
	char *text;

	if (p == NULL)
		return -1;
	a.id.p = c->id;
	a.id.len = c->idlen;
	a.head = &c->head;
	a.body = c->content.p;
	a.len = c->content.len;
	if (m->conf.dialect->encode(&a, &m->conf.server, &text, &p->link.iov.iov_len) == -1)
		return parcel_drop(p);
	p->link.iov.iov_base = text;
	content_drop(&c->content);
	pthread_mutex_lock(&m->mtx);
	if (unlist_locked(c))	/* it is answered, whatever becomes of it */
		c->refs--;	/* the user has one */
	pthread_mutex_unlock(&m->mtx);
	return link_send_parcel(m->link, WS_TEXT, &p->link, c, clock_ms(CLOCK_STEADY) + ANSWER_MS);
}

/* A head stands whole where it begins: bytes of it, or -1 with errno. One of 1xx is nothing to the server. */
static long
take_head(struct call *c, const char *p, size_t n)
{
	const char *why;
	long used;

	c->head.scanned = 0;
	if ((used = http_res_parse(&c->head, p, n, c->bare, &why)) <= 0) {
		errno = EPROTO;
		return -1;
	}
	if (c->head.status < 200)
		return used;
	if ((c->text = malloc((size_t)used)) == NULL)
		return -1;
	memcpy(c->text, p, (size_t)used);
	c->head.scanned = 0;
	http_res_parse(&c->head, c->text, (size_t)used, c->bare, &why);
	http_body_init(&c->content.walk, &c->head, NULL, 1);
	c->headed = 1;
	return used;
}

static int
take(struct call *c, const char *p, size_t n)
{
	long used;

	for (; !c->headed && n > 0; p += used, n -= (size_t)used)
		if ((used = take_head(c, p, n)) == -1)
			return -1;
	return n > 0 ? content_put(&c->content, p, n) : 0;
}

static long
c_write(struct stream *s, const struct iovec *iov, int n, int fin, int64_t deadline)
{
	struct call *c = call_of(s);
	size_t total = 0;
	int i, rc = 0;

	(void)deadline;
	c->failed = 0;
	if (is_over(c)) {
		errno = EPIPE;
		return -1;
	}
	for (i = 0; i < n && rc == 0; i++) {
		rc = take(c, iov[i].iov_base, iov[i].iov_len);
		total += iov[i].iov_len;
	}
	if (rc == 0 && fin) {
		errno = EPROTO;
		rc = c->headed && c->content.walk.done ? answer(c) : -1;
	}
	if (rc == 0)
		return (long)total;
	c->failed = errno;
	return -1;
}

static void
c_credit(struct stream *s, size_t n, int queued)
{
	struct call *c = call_of(s);

	(void)queued;
	pthread_mutex_lock(&c->of->mtx);
	n = n < c->queued ? n : c->queued;
	c->queued -= n;
	pthread_mutex_unlock(&c->of->mtx);
	share_give(&c->of->share, n);
}

/* No answer will come from the service any more: if there was none, it is ours to give. */
static void
c_end(struct stream *s, enum stream_end end)
{
	struct call *c = call_of(s);
	struct str id = { c->id, c->idlen };
	int listed;

	(void)end;
	pthread_mutex_lock(&c->of->mtx);
	if ((listed = unlist_locked(c)))
		c->refs--;	/* the user has one */
	listed = listed && !c->of->ended;
	pthread_mutex_unlock(&c->of->mtx);
	if (listed)
		refuse(c->of, id, c->failed);
}

static int
c_dead(struct stream *s)
{
	return is_over(call_of(s));
}

static int
c_over(struct stream *s)
{
	struct msgclient *m = call_of(s)->of;
	int ended;

	pthread_mutex_lock(&m->mtx);
	ended = m->ended;
	pthread_mutex_unlock(&m->mtx);
	return ended;
}

static void
c_unref(struct stream *s)
{
	struct call *c = call_of(s);

	pthread_mutex_lock(&c->of->mtx);
	drop_unlock(c);
}

static const struct stream_type type = { c_write, c_credit, c_end, c_dead, c_over, NULL, c_unref };

/* Requests, in the reader. */

/* A call for a request, with a reference for the service and one that the list has. NULL: there are too many, or no memory. */
static struct call *
call_new(struct msgclient *m, const struct clientmsg_request *r)
{
	struct call *c = calloc(1, sizeof(*c));
	size_t content = r->body.len > FREE_MAX ? r->body.len : 0;
	int ok;

	if (c == NULL)
		return NULL;
	if (!share_take(&m->share, content)) {
		free(c);
		return NULL;
	}
	pthread_mutex_init(&c->base.mtx, NULL);
	c->base.type = &type;
	c->of = m;
	c->refs = 2;
	c->queued = content;
	c->bare = r->bare;
	c->idlen = r->id.len;
	memcpy(c->id, r->id.p, r->id.len);
	c->content.share = &m->share;
	c->content.max = m->conf.server.max > OVERHEAD ? (m->conf.server.max - OVERHEAD) / 4 * 3 : 0;
	pthread_mutex_lock(&m->mtx);
	if ((ok = m->n < CALLS_MAX)) {
		c->listed = 1;
		c->next = m->first;
		m->first = c;
		m->n++;
		m->refs++;
	}
	pthread_mutex_unlock(&m->mtx);
	if (ok)
		return c;
	share_give(&m->share, content);
	pthread_mutex_destroy(&c->base.mtx);
	free(c);
	return NULL;
}

/* To the service. While we hold the stream's mutex it is not gone. */
static void
deliver(struct call *c, const struct clientmsg_request *r)
{
	struct stream *s = &c->base;
	int begun;

	pthread_mutex_lock(&c->of->mtx);
	c->refs++;
	pthread_mutex_unlock(&c->of->mtx);
	pthread_mutex_lock(&s->mtx);
	if ((begun = local_begin_locked(c->of->conf.local, s) == 0)) {
		c->failed = EINVAL;	/* should it be given up before it has begun */
		s->ops->data(s->arg, (const uint8_t *)r->head.p, r->head.len);
	}
	if (s->ops != NULL && begun && r->body.len > 0)
		s->ops->data(s->arg, (const uint8_t *)r->body.p, r->body.len);
	pthread_mutex_unlock(&s->mtx);
	if (!begun) {
		c->failed = ENOMEM;
		stream_reset(s);
		stream_leave(s);
	}
	pthread_mutex_lock(&c->of->mtx);
	drop_unlock(c);
}

static void
complain(struct msgclient *m, const char *why)
{
	int64_t now = clock_ms(CLOCK_STEADY);

	if (m->complained != 0 && now - m->complained < COMPLAIN_MS)
		return;
	m->complained = now;
	m->conf.complain(m->conf.arg, why);
}

/* A whole message; room: there is memory for it, else it is but the beginning of one. */
static void
take_message(struct msgclient *m, char *text, size_t len, int room)
{
	struct clientmsg_request r;
	struct call *c;

	m->conf.dialect->decode(&r, text, len, &m->conf.server);
	if (r.id.p == NULL && room)
		complain(m, r.why);
	else if (r.id.p != NULL && (!room || r.head.p == NULL))
		refuse(m, r.id, room ? EINVAL : ENOMEM);
	else if (r.id.p != NULL && (c = call_new(m, &r)) != NULL)
		deliver(c, &r);
	else if (r.id.p != NULL)
		refuse(m, r.id, ENOMEM);
	free(r.memory);
}

static void
tell_heard(struct msgclient *m)
{
	if (m->heard)
		return;
	m->heard = 1;
	m->conf.heard(m->conf.arg);
}

static int
on_data(void *arg, uint8_t opcode, uint8_t *buf, size_t len, int fin, const char **why)
{
	struct msgclient *m = arg;
	enum msgin_verdict verdict;
	char *text;

	(void)opcode;		/* text or binary, all the same */
	(void)why;
	tell_heard(m);
	if ((verdict = msgin_take(&m->in, buf, len, fin, &text, &len)) == MSGIN_MORE)
		return 0;
	take_message(m, text, len, verdict == MSGIN_WHOLE);
	msgin_drop(&m->in);
	return 0;
}

/* The first ping is sent with the first message, and its answer comes behind a refusal, if there is one. */
static void
on_idle(void *arg)
{
	struct msgclient *m = arg;

	if (!m->heard && link_rtt(m->link) > 0)
		tell_heard(m);
}

static const struct link_ops link_ops = { on_data, owed, on_idle };

/* Sessions. */

struct msgclient *
msgclient_new(const struct msgclient_conf *conf, const struct conn *conn, const void *early, size_t nearly)
{
	struct msgclient *m = calloc(1, sizeof(*m));
	struct link_conf lc;

	if (m == NULL)
		return NULL;
	m->conf = *conf;
	m->refs = 1;
	m->last = &m->refusals;
	m->share.of = conf->budget;
	m->in.share = &m->share;
	m->in.max = MSGCLIENT_IN_MAX;
	pthread_mutex_init(&m->mtx, NULL);
	memset(&lc, 0, sizeof(lc));
	lc.client = 1;
	lc.ping_ms = conf->ping_ms;
	lc.message_max = MSGCLIENT_IN_MAX;
	lc.stall_ms = STALL_MS;
	lc.utf8 = 1;
	lc.owed_text = 1;
	if ((m->link = link_new(conn, &lc, &link_ops, m, early, nearly)) == NULL) {
		msgclient_unref(m);
		return NULL;
	}
	return m;
}

struct link *
msgclient_link(struct msgclient *m)
{
	return m->link;
}

int
msgclient_running(struct msgclient *m)
{
	int n;

	pthread_mutex_lock(&m->mtx);
	n = m->n;
	pthread_mutex_unlock(&m->mtx);
	return n;
}

void
msgclient_end(struct msgclient *m)
{
	struct call *c;

	pthread_mutex_lock(&m->mtx);
	m->ended = 1;
	while ((c = m->first) != NULL) {
		unlist_locked(c);
		pthread_mutex_unlock(&m->mtx);
		pthread_mutex_lock(&c->base.mtx);
		if (c->base.ops != NULL)
			c->base.ops->reset(c->base.arg);
		pthread_mutex_unlock(&c->base.mtx);
		pthread_mutex_lock(&m->mtx);
		drop_unlock(c);
		pthread_mutex_lock(&m->mtx);
	}
	pthread_mutex_unlock(&m->mtx);
}
