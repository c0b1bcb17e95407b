/* localin.c: streams to a local service, the session's reader's side: preface and request; see localint.h. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "localint.h"
#include "rewrite.h"

/* For a new exchange. The local's mutex is held: the thread sees all of it, or is parked. */
static void
job_init_locked(struct job *j, struct stream *s)
{
	free(j->partial);
	j->partial = NULL;
	j->nrequest = 0;
	j->started = 0;
	j->s = s;
	j->state = ST_HEAD;
	j->reset = j->fin = j->opened = 0;
	j->npartial = 0;
	j->head.scanned = 0;
	j->at = j->len = 0;
	j->status = j->begun = j->headed = j->raw = j->eof = j->keep = j->reused = 0;
	j->method[0] = j->target[0] = '\0';
	j->error = NULL;
	j->detail[0] = '\0';
	pump_init(&j->pump, &j->conn, s, &j->wake, 0);
	j->pump.sleeping = j->threaded;
	if (j->threaded && j->watches)
		j->pump.watched = &j->watched;
	j->relaying = 0;
}

/* The exchange begins: from here on the thread may look at it, once the stream's mutex is free. */
static int
start_thread_locked(struct job *j)
{
	struct local *l = j->l;
	int waiting;

	if (!j->threaded) {
		j->threaded = j->started = 1;
		return workers_run(l->workers, local_serve, j);
	}
	pthread_mutex_lock(&l->mtx);
	j->started = 1;
	waiting = j->waiting;
	pthread_mutex_unlock(&l->mtx);
	if (waiting)
		pump_wake_locked(&j->pump);
	return 0;
}

/* The request: callbacks in the session's reader, the stream's mutex held. */

/* Give up a stream whose exchange has not begun: its job is not the reader's after this. */
static void
abandon_locked(struct job *j)
{
	struct local *l = j->l;

	stream_reset(j->s);
	stream_leave_locked(j->s);
	pump_end(&j->pump);
	if (!j->threaded) {
		local_job_free(j);
		return;
	}
	pthread_mutex_lock(&l->mtx);
	local_park_locked(j);
	if (j->waiting || l->ending)
		local_rouse_locked(j);
	pthread_mutex_unlock(&l->mtx);
}

static void
copy_cut(char *to, size_t cap, struct str s)
{
	size_t n = s.len < cap - 1 ? s.len : cap - 1;

	memcpy(to, s.p, n);
	to[n] = '\0';
}

/* Where the caller thinks it is: the daemon has said so. */
static void
note_caller(struct job *j)
{
	static const char *const names[] = { "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix" };
	struct str *part[] = { &j->back.scheme, &j->back.host, &j->back.prefix };
	const struct str *value;
	struct buf b;
	size_t i;

	j->back_text[0] = '\0';
	if (!j->pool->to.rewrite)
		return;
	buf_init(&b, j->back_text, sizeof(j->back_text));
	for (i = 0; i < 3; i++) {
		value = http_field(&j->head, names[i]);
		part[i]->p = j->back_text + b.len;
		part[i]->len = value != NULL ? value->len : 0;
		buf_put(&b, value != NULL ? value->p : "", part[i]->len);
	}
	j->back.local.p = j->pool->to.host_header;
	j->back.local.len = strlen(j->back.local.p);
	if (j->back.local.len == 0)	/* it was told the caller's */
		j->back.local = j->back.host;
	if (b.full || j->back.scheme.len == 0 || j->back.host.len == 0)
		j->back_text[0] = '\0';
}

/* The head is whole in j->head: write it as the service shall see it. 0, or -1. */
static int
compose_locked(struct job *j)
{
	struct http_head *h = &j->head;
	struct str host;
	struct buf out;

	host.p = j->pool->to.host_header;
	host.len = strlen(host.p);
	copy_cut(j->method, sizeof(j->method), h->method);
	copy_cut(j->target, sizeof(j->target), h->target);
	j->is_head = strcmp(j->method, "HEAD") == 0;
	j->upgrade = h->upgrade.len > 0;
	j->idempotent = http_idempotent(h->method);
	note_caller(j);
	buf_init(&out, j->request, sizeof(j->request));
	rewrite_local(&out, h, host);
	j->nrequest = out.len;
	http_body_init(&j->req, h, j->req_trailers, 0);
	h->scanned = 0;		/* next, it is the response's */
	return out.full ? -1 : 0;
}

/* Content of the request, behind lead, into the queue or on to the service. */
static void
content_locked(struct job *j, struct str lead, const char *p, size_t len)
{
	struct iovec iov[HTTP_IOV_MAX + 1];
	struct http_out out;
	const char *why;
	long n;
	int k;

	do {
		k = 0;
		n = (long)len;
		if (lead.len > 0) {
			iov[k].iov_base = (char *)(uintptr_t)lead.p;
			iov[k++].iov_len = lead.len;
			lead.len = 0;
		}
		if (j->state == ST_RAW) {
			iov[k].iov_base = (char *)(uintptr_t)p;
			iov[k++].iov_len = len;
		} else if (len > 0 && !j->req.done) {
			if ((n = http_body_take(&j->req, p, len, &out, &why)) < 0) {
				j->reset = 1;	/* the thread ends it */
				pump_wake_locked(&j->pump);
				return;
			}
			memcpy(iov + k, out.iov, (size_t)out.n * sizeof(iov[0]));
			k += out.n;
		}
		pump_put_locked(&j->pump, iov, k, (size_t)n);
		p += n;
		len -= (size_t)n;
	} while (len > 0 && !(j->state == ST_BODY && j->req.done));
}

/* The request's head is whole: to the service, with what there is of the content. 0, or -1: no thread. */
static int
begin_locked(struct job *j, const char *p, size_t len)
{
	struct str lead = { NULL, 0 };

	j->began = clock_ms(CLOCK_STEADY);
	j->until = j->pool->to.timeout_ms != 0 ? j->began + j->pool->to.timeout_ms : CONN_FOREVER;
	j->state = ST_BODY;
	/*
	 * A kept connection may be dead by the time it is used: what must not be repeated wants a fresh one.
	 * Bytes that nobody asked for must not become the answer.
	 */
	if (j->threaded && (j->idempotent || j->began - j->since < FRESH_MS) && conn_quiet(&j->conn)) {
		j->reused = j->pump.attached = 1;
		lead.p = j->request;
		lead.len = j->nrequest;
	}
	if (start_thread_locked(j) == -1)
		return -1;
	if (lead.len == 0)
		pump_wake_locked(&j->pump);
	if (lead.len > 0 || len > 0)
		content_locked(j, lead, p, len);
	return 0;
}

/* The head at p: how many bytes it takes, 0 if it is not whole, -1 if it is no good. */
static long
parse_start_locked(struct job *j, const char *p, size_t len)
{
	const char *why;
	int n = http_req_parse(&j->head, p, len, &why);

	return n < 0 || (n > 0 && compose_locked(j) == -1) ? -1 : n;
}

/* Bytes before the thread has the job. Returns how many were used, or -1: it is no request. */
static long
start_locked(struct job *j, const char *p, size_t len)
{
	size_t had = j->npartial, k = len, room = HTTP_HEAD_MAX - had;
	long n;

	if (j->partial == NULL) {
		if ((n = parse_start_locked(j, p, len)) != 0) {
			if (n > 0)
				pump_put_locked(&j->pump, NULL, 0, (size_t)n);
			return n;
		}
		if (len > room || (j->partial = malloc(room)) == NULL)
			return -1;
	}
	if (k > room)
		k = room;
	memcpy(j->partial + had, p, k);
	j->npartial = had + k;
	n = parse_start_locked(j, j->partial, j->npartial);
	if (n < 0 || (n == 0 && k == room))
		return -1;
	if (n > 0)
		k = (size_t)n - had;
	pump_put_locked(&j->pump, NULL, 0, k);	/* the window gets them back */
	return (long)k;
}

static void
on_data(void *arg, const uint8_t *buf, size_t len)
{
	struct job *j = arg;
	struct str none = { NULL, 0 };
	const char *p = (const char *)buf;
	long n;

	if (j->reset)
		return;
	if (j->state >= ST_BODY) {
		content_locked(j, none, p, len);
		if (j->state == ST_BODY && j->req.done)
			pump_wake_locked(&j->pump);
		return;
	}
	if ((n = start_locked(j, p, len)) == -1) {
		abandon_locked(j);
		return;
	}
	if (j->nrequest == 0)
		return;		/* more is needed */
	if (begin_locked(j, p + n, len - (size_t)n) == -1) {
		j->threaded = 0;
		abandon_locked(j);
	}
}

static void
on_fin(void *arg)
{
	struct job *j = arg;

	if (j->state < ST_BODY) {	/* no request came */
		abandon_locked(j);
		return;
	}
	j->fin = 1;
	pump_wake_locked(&j->pump);
}

static void
on_reset(void *arg)
{
	struct job *j = arg;

	if (j->state < ST_BODY) {
		abandon_locked(j);
		return;
	}
	j->reset = 1;
	pump_wake_locked(&j->pump);
}

static void
on_writable(void *arg)
{
	struct job *j = arg;

	j->opened = 1;
	pump_wake_locked(&j->pump);
}

static const struct stream_ops ops = { on_data, on_fin, on_reset, on_writable };

/* The preface, a line before the request that names the listen. */

enum { PREFACE_NODES = 32 };

struct opening {		/* a stream whose preface has not come yet; its mutex guards it */
	struct local *l;
	struct stream *s;
	char *text;		/* a preface in pieces; NULL: none */
	size_t n;
};

static void
opening_free(struct opening *o)
{
	free(o->text);
	free(o);
}

static void
refuse_locked(struct opening *o)
{
	stream_reset(o->s);
	stream_leave_locked(o->s);
	opening_free(o);
}

/* The pool of the listen that a preface names, or NULL: none of ours. */
static struct pool *
find_pool(struct local *l, struct json *j, struct json_node node[PREFACE_NODES], const char *line, size_t len)
{
	const char *why;
	int64_t id;
	int n;

	pthread_mutex_lock(&l->mtx);
	n = l->n;
	pthread_mutex_unlock(&l->mtx);
	if (json_parse(j, node, PREFACE_NODES, line, len, &why) == -1 || json_get_int(j, 0, "id", 1, n, &id) != 1)
		return NULL;
	return &l->pool[id - 1];
}

/* A job for an exchange, one with a connection if there is one. 0, or -1: none can be had. len: of the preface. */
static int
begin_job_locked(struct local *l, struct pool *pool, struct stream *s, size_t len)
{
	struct job *j, *fresh = NULL;

	pthread_mutex_lock(&l->mtx);
	if ((j = pool->parked) == NULL) {
		pthread_mutex_unlock(&l->mtx);
		if ((fresh = local_job_new(l, pool)) == NULL)
			return -1;
		pthread_mutex_lock(&l->mtx);
		j = fresh;
	} else
		local_unpark_locked(j);
	job_init_locked(j, s);
	pthread_mutex_unlock(&l->mtx);
	s->ops = &ops;
	s->arg = j;
	pump_put_locked(&j->pump, NULL, 0, len);	/* the window gets it back */
	return 0;
}

int
local_begin_locked(struct local *l, struct stream *s)
{
	return begin_job_locked(l, &l->pool[0], s, 0);
}

/* A piece of a preface that does not come in one. 0, or -1: too long, or no memory. */
static int
gather_locked(struct opening *o, const uint8_t *p, size_t len)
{
	if (len > PREFACE_MAX - o->n || (o->text == NULL && (o->text = malloc(PREFACE_MAX)) == NULL))
		return -1;
	memcpy(o->text + o->n, p, len);
	o->n += len;
	return 0;
}

static void
on_preface(void *arg, const uint8_t *buf, size_t len)
{
	struct opening *o = arg;
	const uint8_t *nl = len > 0 ? memchr(buf, '\n', len) : NULL;
	size_t k = nl != NULL ? (size_t)(nl - buf) + 1 : len, whole = k;
	const char *line = (const char *)buf;
	struct json_node node[PREFACE_NODES];
	struct pool *pool = NULL;
	struct stream *s = o->s;
	struct json json;

	if (nl == NULL || o->n > 0) {
		if (gather_locked(o, buf, k) == -1) {
			refuse_locked(o);
			return;
		}
		line = o->text;
		whole = o->n;
	}
	if (nl == NULL)
		return;
	if (whole <= PREFACE_MAX)
		pool = find_pool(o->l, &json, node, line, whole - 1);
	if (pool == NULL || (pool->to.tcp ? rawlocal_begin_locked(o->l, pool, s, &json, whole) :
	    begin_job_locked(o->l, pool, s, whole)) == -1) {
		refuse_locked(o);
		return;
	}
	opening_free(o);
	if (len > k)
		s->ops->data(s->arg, buf + k, len - k);
}

static void
on_no_preface(void *arg)
{
	refuse_locked(arg);
}

static void
on_idle(void *arg)
{
	(void)arg;		/* nothing waits for the window yet */
}

static const struct stream_ops opening_ops = { on_preface, on_no_preface, on_no_preface, on_idle };

int
local_accept(struct local *l, struct stream *s)
{
	struct opening *o = malloc(sizeof(*o));

	if (o == NULL)
		return 0;
	o->l = l;
	o->s = s;
	o->text = NULL;
	o->n = 0;
	s->ops = &opening_ops;
	s->arg = o;
	return 1;
}
