/* local.c: streams to a local service; see local.h. */
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "localint.h"
#include "rewrite.h"

int
local_parse(struct local_target *t, const char *text, const char **why)
{
	size_t len;
	char host[NET_HOST_MAX + 8];
	const char *port = NULL;	/* what the scheme implies */

	t->tls = t->raw = 0;
	if (strncmp(text, "unix:", 5) == 0) {
		if (text[5] == '\0' || strlen(text + 5) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
			*why = "unix: needs the path of a socket, not too long";
			return -1;
		}
		memcpy(t->host, text + 5, strlen(text + 5) + 1);
		t->port[0] = '\0';
		return 0;
	}
	t->tls = strncmp(text, "https://", 8) == 0;
	t->raw = strncmp(text, "tls://", 6) == 0;
	if (t->raw) {
		text += 6;
		t->tls = 1;
	} else if (t->tls || strncmp(text, "http://", 7) == 0) {
		text += t->tls ? 8 : 7;
		port = t->tls ? ":443" : ":80";
	}
	len = strlen(text);
	if (len > 0 && text[len - 1] == '/')
		len--;
	*why = t->raw ? "is not tls://HOST:PORT" : "is not PORT, HOST:PORT, http[s]://HOST[:PORT] or unix:/PATH";
	if (len == 0 || len >= sizeof(host) - 5)
		return -1;
	memcpy(host, text, len);
	host[len] = '\0';
	if (port != NULL && (strchr(host, ':') == NULL || host[len - 1] == ']'))
		memcpy(host + len, port, strlen(port) + 1);
	if (net_split(host, t->host, t->port) == -1 || strcmp(t->port, "0") == 0 ||
	    strcmp(t->host, "*") == 0 || (t->raw && t->host[0] == '\0'))
		return -1;
	if (t->host[0] == '\0')
		memcpy(t->host, "localhost", sizeof("localhost"));
	return 0;
}

struct local *
local_new(const struct local_conf *conf)
{
	struct local *l = calloc(1, sizeof(*l) + (size_t)conf->max * sizeof(l->pool[0]));
	int i;

	if (l == NULL)
		return NULL;
	l->request = conf->request;
	l->arg = conf->arg;
	l->n = conf->n;
	for (i = 0; i < conf->n; i++)
		l->pool[i].to = conf->service[i];
	if ((l->workers = workers_new(conf->stack, WORKERS_MAX)) == NULL) {
		free(l);
		return NULL;
	}
	l->watch = watch_new(l->workers);
	pthread_mutex_init(&l->mtx, NULL);
	return l;
}

void
local_add(struct local *l, const struct local_service *s)
{
	pthread_mutex_lock(&l->mtx);
	l->pool[l->n++].to = *s;
	pthread_mutex_unlock(&l->mtx);
}

/* End the sleep of a job that is parked, or taken and not started. */
static void
rouse(struct job *j)
{
	if (j->watches)
		watch_post(&j->watched);
	else
		wake_post(&j->wake);
}

int
local_end(struct local *l, int ms)
{
	struct job *j;
	int i;

	pthread_mutex_lock(&l->mtx);
	l->ending = 1;
	for (i = 0; i < l->n; i++)
		for (j = l->pool[i].parked; j != NULL; j = j->next)
			rouse(j);
	pthread_mutex_unlock(&l->mtx);
	if (l->watch != NULL)
		watch_end(l->watch);
	if (!workers_end(l->workers, ms))
		return 0;
	if (l->watch != NULL)
		watch_free(l->watch);
	pthread_mutex_destroy(&l->mtx);
	for (i = 0; i < l->n; i++)
		if (l->pool[i].to.tls != NULL)
			tls_client_free(l->pool[i].to.tls);
	free(l);
	return 1;
}

/* Parked jobs. */

static void
park_locked(struct job *j)
{
	j->parked = 1;
	j->started = 0;
	j->next = j->pool->parked;
	j->pool->parked = j;
	j->pool->nparked++;
}

static void
unpark_locked(struct job *j)
{
	struct job **p;

	for (p = &j->pool->parked; *p != j; p = &(*p)->next)
		;
	*p = j->next;
	j->parked = 0;
	j->pool->nparked--;
}

int
local_park(struct job *j)
{
	struct local *l = j->l;
	int events = POLLIN, ev, rc = -1;

	j->since = clock_ms(CLOCK_STEADY);
	pthread_mutex_lock(&l->mtx);
	if (l->ending || j->pool->nparked >= PARKED_MAX / l->n)
		rc = 0;
	else
		park_locked(j);
	pthread_mutex_unlock(&l->mtx);
	while (rc == -1) {
		/* taken, its connection is left alone until the request is whole */
		ev = conn_wait(&j->conn, events, events != 0 ? j->since + IDLE_MS : CONN_FOREVER,
		    j->wake.rd, NULL);
		pthread_mutex_lock(&l->mtx);
		if (j->waiting)
			wake_clear(&j->wake);
		if (j->started)
			rc = 1;
		else if (j->parked && (ev != 0 || l->ending ||
		    clock_ms(CLOCK_STEADY) >= j->since + IDLE_MS)) {
			unpark_locked(j);	/* its time is over, or the service ended it */
			rc = 0;
		}
		j->waiting = rc == -1 && !j->parked;
		events = j->waiting ? 0 : POLLIN;
		pthread_mutex_unlock(&l->mtx);
	}
	return rc;
}

int
local_leave(struct job *j)
{
	struct local *l = j->l;
	int ok;

	if (!j->watched.joined)
		watch_join(&j->watched, l->watch, j->conn.fd, local_called, local_later);
	j->since = clock_ms(CLOCK_STEADY);
	pthread_mutex_lock(&l->mtx);
	j->waiting = 0;
	if ((ok = !l->ending && j->pool->nparked < PARKED_MAX / l->n))
		park_locked(j);
	pthread_mutex_unlock(&l->mtx);
	if (ok)
		watch_idle(&j->watched, j->since + IDLE_MS);
	return ok;
}

/* It is parked, or taken for an exchange that has not begun. 1: its time is over, or the service has ended it. */
static int
judge_parked(struct job *j)
{
	struct local *l = j->l;
	int quiet = conn_quiet(&j->conn), over;

	pthread_mutex_lock(&l->mtx);
	over = j->parked && (!quiet || l->ending || clock_ms(CLOCK_STEADY) >= j->since + IDLE_MS);
	if (over)
		unpark_locked(j);
	pthread_mutex_unlock(&l->mtx);
	return over;
}

void
local_called(struct watched *w)
{
	struct job *j = local_job(w);
	struct local *l = j->l;
	int64_t until;
	int started;

	pthread_mutex_lock(&l->mtx);
	started = j->started;
	j->waiting = !started && !j->parked;	/* its connection is left alone until the request is whole */
	until = j->waiting ? CONN_FOREVER : j->since + IDLE_MS;
	pthread_mutex_unlock(&l->mtx);
	if (started)
		local_serve(j);
	else if (judge_parked(j))
		local_drop(j);
	else
		watch_idle(w, until);
}

/* Jobs. */

static struct job *
job_new(struct local *l, struct pool *pool)
{
	struct job *j = malloc(sizeof(*j));	/* not zeroed: most of it is never touched */

	if (j == NULL)
		return NULL;
	if (wake_open(&j->wake) == -1) {
		free(j);
		return NULL;
	}
	j->l = l;
	j->pool = pool;
	j->conn.fd = -1;
	j->watched.joined = 0;
	j->watches = l->watch != NULL && pool->to.tls == NULL;	/* TLS may have read what the system does not tell of */
	j->threaded = j->parked = j->waiting = 0;
	j->partial = NULL;
	return j;
}

struct job *
local_job(struct watched *w)
{
	return (struct job *)(void *)((char *)w - offsetof(struct job, watched));
}

void
local_job_free(struct job *j)
{
	free(j->partial);
	wake_close(&j->wake);
	free(j);
}

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
	park_locked(j);
	if (j->waiting || l->ending)
		rouse(j);
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
		if ((fresh = job_new(l, pool)) == NULL)
			return -1;
		pthread_mutex_lock(&l->mtx);
		j = fresh;
	} else
		unpark_locked(j);
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
