/* local.c: streams to a local service; see local.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/socket.h>
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

	if (strncmp(text, "unix:", 5) == 0) {
		if (text[5] == '\0' || strlen(text + 5) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
			*why = "unix: needs the path of a socket, not too long";
			return -1;
		}
		memcpy(t->host, text + 5, strlen(text + 5) + 1);
		t->port[0] = '\0';
		return 0;
	}
	if (strncmp(text, "https://", 8) == 0) {
		*why = "https:// needs a build with TLS";
		return -1;
	}
	if (strncmp(text, "http://", 7) == 0)
		text += 7;
	len = strlen(text);
	if (len > 0 && text[len - 1] == '/')
		len--;
	*why = "is not PORT, HOST:PORT, http://HOST:PORT or unix:/PATH";
	if (len == 0 || len >= sizeof(host))
		return -1;
	memcpy(host, text, len);
	host[len] = '\0';
	if (net_split(host, t->host, t->port) == -1 || strcmp(t->port, "0") == 0 ||
	    strcmp(t->host, "*") == 0)
		return -1;
	if (t->host[0] == '\0')
		memcpy(t->host, "localhost", sizeof("localhost"));
	return 0;
}

struct local *
local_new(const struct local_conf *conf)
{
	struct local *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->conf = *conf;
	if ((l->workers = workers_new(conf->stack, WORKERS_MAX)) == NULL) {
		free(l);
		return NULL;
	}
	pthread_mutex_init(&l->mtx, NULL);
	return l;
}

int
local_end(struct local *l, int ms)
{
	struct job *j;

	if (!workers_end(l->workers, ms))
		return 0;
	while (l->nidle > 0)
		conn_close(&l->idle[--l->nidle].conn);
	while ((j = l->jobs) != NULL) {
		l->jobs = j->next;
		wake_close(&j->wake);
		free(j);
	}
	pthread_mutex_destroy(&l->mtx);
	free(l);
	return 1;
}

/* The pool of connections: the last one put is the first one taken. */

/* Take those that are too old out of the pool into old[IDLE_MAX]: how many. */
static int
expire_locked(struct local *l, struct conn *old)
{
	int64_t now = clock_ms(CLOCK_STEADY);
	int n = 0, i, k = 0;

	for (i = 0; i < l->nidle; i++)
		if (now - l->idle[i].since >= IDLE_MS)
			old[n++] = l->idle[i].conn;
		else
			l->idle[k++] = l->idle[i];
	l->nidle = k;
	return n;
}

void
local_tick(struct local *l)
{
	struct conn old[IDLE_MAX];
	int n;

	pthread_mutex_lock(&l->mtx);
	n = expire_locked(l, old);
	pthread_mutex_unlock(&l->mtx);
	while (n > 0)
		conn_close(&old[--n]);
}

int
local_pool_get(struct local *l, struct conn *c, int64_t max_age)
{
	struct conn old[IDLE_MAX];
	int64_t now = clock_ms(CLOCK_STEADY);
	int n, found = 0;

	pthread_mutex_lock(&l->mtx);
	n = expire_locked(l, old);
	while (l->nidle > 0 && !found && now - l->idle[l->nidle - 1].since < max_age) {
		*c = l->idle[--l->nidle].conn;
		/* bytes or an end that nobody asked for: not a connection to build on */
		if (conn_peek(c) == CONN_OPEN)
			found = 1;
		else
			old[n++] = *c;
	}
	pthread_mutex_unlock(&l->mtx);
	while (n > 0)
		conn_close(&old[--n]);
	return found;
}

void
local_pool_put(struct local *l, struct conn *c)
{
	struct conn out;

	out.fd = -1;
	pthread_mutex_lock(&l->mtx);
	if (l->nidle == IDLE_MAX) {
		out = l->idle[0].conn;
		memmove(l->idle, l->idle + 1, (IDLE_MAX - 1) * sizeof(l->idle[0]));
		l->nidle--;
	}
	l->idle[l->nidle].conn = *c;
	l->idle[l->nidle++].since = clock_ms(CLOCK_STEADY);
	pthread_mutex_unlock(&l->mtx);
	conn_close(&out);
}

/* Jobs. */

static struct job *
job_get(struct local *l)
{
	struct job *j;

	pthread_mutex_lock(&l->mtx);
	if ((j = l->jobs) != NULL) {
		l->jobs = j->next;
		l->njobs--;
	}
	pthread_mutex_unlock(&l->mtx);
	if (j == NULL) {
		if ((j = malloc(sizeof(*j))) == NULL)	/* not zeroed: most of it is never touched */
			return NULL;
		if (wake_open(&j->wake) == -1) {
			free(j);
			return NULL;
		}
	}
	j->l = l;
	j->conn.fd = -1;
	j->state = ST_PREFACE;
	j->reset = j->fin = j->opened = 0;
	j->partial = j->request = NULL;
	j->npartial = 0;
	j->head.scanned = 0;
	j->at = j->len = 0;
	j->status = j->begun = j->headed = j->raw = j->eof = j->keep = j->reused = 0;
	j->method[0] = j->target[0] = '\0';
	j->error = NULL;
	return j;
}

void
local_job_put(struct job *j)
{
	struct local *l = j->l;
	int kept = 0;

	free(j->partial);
	free(j->request);
	wake_clear(&j->wake);
	pthread_mutex_lock(&l->mtx);
	if (l->njobs < IDLE_MAX) {
		j->next = l->jobs;
		l->jobs = j;
		l->njobs++;
		kept = 1;
	}
	pthread_mutex_unlock(&l->mtx);
	if (!kept) {
		wake_close(&j->wake);
		free(j);
	}
}

/* The request: callbacks in the session's reader, the stream's mutex held. */

/* Give up a stream that no worker has: its job is gone after this. */
static void
abandon_locked(struct job *j)
{
	stream_reset(j->s);
	stream_leave_locked(j->s);
	pump_end(&j->pump);
	local_job_put(j);
}

static void
copy_cut(char *to, size_t cap, struct str s)
{
	size_t n = s.len < cap - 1 ? s.len : cap - 1;

	memcpy(to, s.p, n);
	to[n] = '\0';
}

/* The preface line: ours is listen id 1. */
static int
preface_ok(const char *line, size_t len)
{
	struct json_node node[32];
	struct json j;
	const char *why;
	int64_t id;

	return json_parse(&j, node, 32, line, len, &why) == 0 &&
	    json_get_int(&j, 0, "id", 1, UINT32_MAX, &id) == 1 && id == 1;
}

/* The head is whole in j->head: write it as the service shall see it. 0, or -1. */
static int
compose_locked(struct job *j)
{
	struct http_head *h = &j->head;
	struct str host;
	struct buf out;
	size_t cap = HTTP_HEAD_MAX + NET_HOST_MAX + 64;

	host.p = j->l->conf.host_header;
	host.len = strlen(host.p);
	copy_cut(j->method, sizeof(j->method), h->method);
	copy_cut(j->target, sizeof(j->target), h->target);
	j->is_head = strcmp(j->method, "HEAD") == 0;
	j->upgrade = h->upgrade.len > 0;
	j->idempotent = http_idempotent(h->method);
	if ((j->request = malloc(cap)) == NULL)
		return -1;
	buf_init(&out, j->request, cap);
	rewrite_local(&out, h, host);
	j->nrequest = out.len;
	http_body_init(&j->req, h, j->req_trailers, 0);
	h->scanned = 0;		/* next, it is the response's */
	return out.full ? -1 : 0;
}

/* Content of the request, into the queue or on to the service. */
static void
content_locked(struct job *j, const char *p, size_t len)
{
	struct http_out out;
	struct iovec iov;
	const char *why;
	long n;

	if (j->state == ST_RAW) {
		iov.iov_base = (char *)(uintptr_t)p;
		iov.iov_len = len;
		pump_put_locked(&j->pump, &iov, 1, len);
		return;
	}
	while (len > 0 && !j->req.done && !j->reset) {
		if ((n = http_body_take(&j->req, p, len, &out, &why)) < 0) {
			j->reset = 1;	/* the worker ends it */
			break;
		}
		pump_put_locked(&j->pump, out.iov, out.n, (size_t)n);
		p += n;
		len -= (size_t)n;
	}
	if (j->req.done || j->reset)
		pump_wake_locked(&j->pump);
}

/* Preface and head at p: how many bytes they take, 0 if they are not whole, -1 if they are no good. */
static long
parse_start_locked(struct job *j, const char *p, size_t len)
{
	const char *nl = memchr(p, '\n', len < PREFACE_MAX ? len : PREFACE_MAX), *why;
	size_t pre;
	int n;

	if (nl == NULL)
		return len >= PREFACE_MAX ? -1 : 0;
	pre = (size_t)(nl - p) + 1;
	if (j->state == ST_PREFACE) {
		if (!preface_ok(p, pre - 1))
			return -1;
		j->state = ST_HEAD;
	}
	n = http_req_parse(&j->head, p + pre, len - pre, &why);
	if (n < 0 || (n > 0 && compose_locked(j) == -1))
		return -1;
	return n == 0 ? 0 : (long)pre + n;
}

/* Bytes before the worker has the job. Returns how many were used, or -1: it is no request. */
static long
start_locked(struct job *j, const char *p, size_t len)
{
	size_t had = j->npartial, k = len, room = PREFACE_MAX + HTTP_HEAD_MAX - had;
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
	const char *p = (const char *)buf;
	long n;

	if (j->reset)
		return;
	if (j->state >= ST_BODY) {
		content_locked(j, p, len);
		return;
	}
	if ((n = start_locked(j, p, len)) == -1) {
		abandon_locked(j);
		return;
	}
	if (j->request == NULL)
		return;		/* more is needed */
	j->state = ST_BODY;
	content_locked(j, p + n, len - (size_t)n);
	if (workers_run(j->l->workers, local_serve, j) == -1)
		abandon_locked(j);
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

int
local_accept(struct local *l, struct stream *s)
{
	struct job *j = job_get(l);

	if (j == NULL)
		return 0;
	j->s = s;
	pump_init(&j->pump, &j->conn, s, &j->wake, 0);
	s->ops = &ops;
	s->arg = j;
	return 1;
}
