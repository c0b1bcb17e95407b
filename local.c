/* local.c: streams to a local service; see local.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "local.h"
#include "pump.h"
#include "rewrite.h"

enum {
	WORKERS_MAX = 4096,
	IDLE_MAX = 64,		/* connections kept, and jobs kept for reuse */
	IDLE_MS = 4000,		/* below what common servers allow, so that they rarely close first */
	FRESH_MS = 1000,	/* a request that must not be repeated takes none older */
	DIAL_MS = 10000,
	WRITE_MS = 30000,
	PREFACE_MAX = 4096,
	IN_SIZE = HTTP_HEAD_MAX,
	EARLY_MS = 30000	/* for the rest of a request that has been answered */
};

enum state {
	ST_PREFACE, ST_HEAD,	/* the reader gathers them */
	ST_BODY,		/* content, or what comes after it: a worker has the job */
	ST_RAW			/* after a 101 */
};

struct job {			/* one exchange; [s] guarded by the stream's mutex, else the worker's */
	struct local *l;
	struct job *next;	/* in the pool */
	struct stream *s;
	struct conn conn;	/* to the local service */
	struct wake wake;
	struct pump pump;
	int64_t began;
	enum state state;	/* [s] */
	int reset;		/* [s] */
	int fin;		/* [s] the daemon ended its direction */
	int opened;		/* [s] the window has opened again */
	char *partial;		/* [s] preface and head in pieces; NULL: none */
	size_t npartial;	/* [s] */
	struct http_head head;	/* the reader's for the request, then the worker's for the response */
	struct http_body req;	/* [s] */
	char *request;		/* the head as it goes to the service; set before the worker starts */
	size_t nrequest;
	char method[32], target[256];	/* for the log, cut */
	int is_head, upgrade, idempotent;
	int reused;		/* the connection has served before */
	char in[IN_SIZE];	/* from the local service: in[at..len) is not used yet */
	size_t at, len;
	struct http_body res;
	char req_trailers[HTTP_TRAILERS_MAX];	/* [s] */
	char trailers[HTTP_TRAILERS_MAX];
	char text[HTTP_HEAD_MAX + 1024];	/* the response's head */
	int status;
	int begun;		/* a response byte has come */
	int headed;		/* the final response head has gone out */
	int raw;		/* after a 101 */
	int eof;		/* the service ended its direction */
	int keep;		/* the connection may be used again */
	const char *error;
};

struct idle {
	struct conn conn;
	int64_t since;
};

struct local {
	struct local_conf conf;
	struct workers *workers;
	pthread_mutex_t mtx;	/* guards what follows */
	struct idle idle[IDLE_MAX];
	int nidle;
	struct job *jobs;	/* for reuse: their wake descriptors and memory */
	int njobs;
};

int
local_parse(struct local_target *t, const char *text, const char **why)
{
	size_t len;
	char host[NET_HOST_MAX + 8];

	if (strncmp(text, "unix:", 5) == 0) {
		if (text[5] == '\0' || strlen(text + 5) >= sizeof(t->host)) {
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

static int
pool_get(struct local *l, struct conn *c, int64_t max_age)
{
	struct idle old[IDLE_MAX];
	int64_t now = clock_ms(CLOCK_STEADY);
	int n = 0, found = 0, i, k = 0;

	pthread_mutex_lock(&l->mtx);
	for (i = 0; i < l->nidle; i++)	/* the oldest stand first */
		if (now - l->idle[i].since >= IDLE_MS)
			old[n++] = l->idle[i];
		else
			l->idle[k++] = l->idle[i];
	l->nidle = k;
	while (l->nidle > 0 && !found && now - l->idle[l->nidle - 1].since < max_age) {
		*c = l->idle[--l->nidle].conn;
		/* bytes or an end that nobody asked for: not a connection to build on */
		if (conn_peek(c) == CONN_OPEN)
			found = 1;
		else
			old[n++].conn = *c;
	}
	pthread_mutex_unlock(&l->mtx);
	while (n > 0)
		conn_close(&old[--n].conn);
	return found;
}

static void
pool_put(struct local *l, struct conn *c)
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

static void
job_put(struct job *j)
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

static void serve(void *);

/* Give up a stream that no worker has: its job is gone after this. */
static void
abandon_locked(struct job *j)
{
	stream_reset(j->s);
	stream_leave_locked(j->s);
	pump_end(&j->pump);
	job_put(j);
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
	if (workers_run(j->l->workers, serve, j) == -1)
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

/* The worker's side. */

enum verdict {
	V_GO_ON,
	V_DONE,			/* the response is out, FIN with it */
	V_ERROR,		/* nothing has gone out: answer 502 or 504 */
	V_CUT,			/* reset the stream */
	V_RETRY			/* the kept connection was dead: once more on a fresh one */
};

struct snapshot {
	int reset, fin, drained, req_done;
};

static void
look(struct job *j, struct snapshot *now)
{
	pthread_mutex_lock(&j->s->mtx);
	now->drained = pump_drain_locked(&j->pump);
	now->reset = j->reset;
	now->fin = j->fin;
	now->req_done = j->req.done;
	j->opened = 0;
	pthread_mutex_unlock(&j->s->mtx);
}

static int
may_sleep(struct job *j, const struct snapshot *was)
{
	int same;

	pthread_mutex_lock(&j->s->mtx);
	same = j->reset == was->reset && j->fin == was->fin && j->req.done == was->req_done &&
	    !j->opened && j->pump.failed == (was->drained == -1) &&
	    !(was->drained == 1 && j->pump.q.len > 0);
	j->pump.sleeping = same;
	pthread_mutex_unlock(&j->s->mtx);
	return same;
}

/* Sleep until something happens. 1 if the service's connection is readable (or broken). */
static int
sleep_until(struct job *j, const struct snapshot *was, int events, int64_t deadline)
{
	int ev, woken;

	if (!may_sleep(j, was))
		return 0;
	ev = conn_wait(&j->conn, events, deadline, j->wake.rd, &woken);
	pthread_mutex_lock(&j->s->mtx);
	j->pump.sleeping = 0;
	pthread_mutex_unlock(&j->s->mtx);
	if (woken)
		wake_clear(&j->wake);
	return (ev & POLLIN) != 0;
}

static enum verdict
error(struct job *j, const char *what)
{
	j->error = what;
	return j->headed ? V_CUT : V_ERROR;
}

/* A connection to the service, kept or fresh. */
static enum verdict
dial(struct job *j, int fresh)
{
	const struct local_target *t = &j->l->conf.target;
	enum net_fail fail;
	int fd;

	j->reused = !fresh && pool_get(j->l, &j->conn, j->idempotent ? IDLE_MS : FRESH_MS);
	if (j->reused)
		return V_GO_ON;
	fd = t->port[0] == '\0' ? net_dial_unix(t->host, &fail) :
	    net_dial(t->host, t->port, clock_ms(CLOCK_STEADY) + DIAL_MS, &fail);
	if (fd == -1)
		return error(j, fail == NET_RESOLVE ? "resolve" : fail == NET_TIMEOUT ? "timeout" : "refused");
	net_tune(fd);
	conn_plain(&j->conn, fd);
	return V_GO_ON;
}

/* Send the head, with what has come of the content; from now on the reader writes too. */
static enum verdict
send_head(struct job *j)
{
	enum { PIECES = 8 };
	struct iovec iov[PIECES + 1];
	ssize_t sent;
	size_t head = j->nrequest;

	iov[0].iov_base = j->request;
	iov[0].iov_len = head;
	pthread_mutex_lock(&j->s->mtx);
	sent = conn_writev(&j->conn, iov, 1 + queue_peek(&j->pump.q, iov + 1, PIECES));
	if (sent >= (ssize_t)head) {
		queue_drop(&j->pump.q, (size_t)sent - head);
		j->pump.attached = 1;
	}
	pthread_mutex_unlock(&j->s->mtx);
	if (sent >= (ssize_t)head)
		return V_GO_ON;
	if (sent == -1 && errno != EAGAIN)
		return V_RETRY;
	if (sent == -1)
		sent = 0;
	if (conn_write_all(&j->conn, j->request + sent, head - (size_t)sent,
	    clock_ms(CLOCK_STEADY) + WRITE_MS) == -1)
		return errno == ETIMEDOUT ? error(j, "timeout") : V_RETRY;
	pthread_mutex_lock(&j->s->mtx);
	j->pump.attached = 1;
	pthread_mutex_unlock(&j->s->mtx);
	return V_GO_ON;
}

/* A whole response head of n bytes stands at in[at..]. */
static enum verdict
take_head(struct job *j, size_t n)
{
	struct rewrite_to to;
	struct str lead;
	struct buf out;
	const char *why;
	long used;

	memset(&to, 0, sizeof(to));
	to.minor = 1;
	buf_init(&out, j->text, sizeof(j->text));
	rewrite_response(&out, &j->head, &to);
	lead.p = j->text;
	lead.len = out.len;
	j->head.scanned = 0;
	if (out.full || (j->head.status == 101 && (!j->upgrade || j->head.upgrade.len == 0)))
		return error(j, "protocol");
	j->at += n;
	if (j->head.status < 200 && j->head.status != 101) {
		pump_take_raw(&j->pump, lead, NULL, 0);
		return V_GO_ON;
	}
	j->status = j->head.status;
	j->headed = 1;
	if (j->status == 101) {
		j->raw = 1;
		pthread_mutex_lock(&j->s->mtx);
		j->state = ST_RAW;
		pthread_mutex_unlock(&j->s->mtx);
		pump_take_raw(&j->pump, lead, j->in + j->at, j->len - j->at);
		j->at = j->len;
		return V_GO_ON;
	}
	j->keep = j->head.keep_alive;
	http_body_init(&j->res, &j->head, j->trailers, 0);
	j->res.encode = j->head.framing == HTTP_TO_EOF;
	used = pump_take(&j->pump, lead, &j->res, j->in + j->at, j->len - j->at, &why);
	if (used < 0)
		return error(j, "protocol");
	j->at += (size_t)used;
	return V_GO_ON;
}

/* Make of in[at..len) what can be pushed next. *more: more bytes are needed for that. */
static enum verdict
take_input(struct job *j, int *more)
{
	struct str none = { NULL, 0 };
	const char *why;
	long n;

	*more = 0;
	if (j->raw) {
		pump_take_raw(&j->pump, none, j->in + j->at, j->len - j->at);
		*more = j->at == j->len;
		j->at = j->len;
		return V_GO_ON;
	}
	if (!j->headed) {
		n = j->at == j->len ? 0 :
		    http_res_parse(&j->head, j->in + j->at, j->len - j->at, j->is_head, &why);
		if (n < 0)
			return error(j, "protocol");
		*more = n == 0;
		return n == 0 ? V_GO_ON : take_head(j, (size_t)n);
	}
	if (j->res.done) {	/* more than was asked for: not a connection to keep */
		j->keep = 0;
		j->at = j->len;
		return V_GO_ON;
	}
	if ((n = pump_take(&j->pump, none, &j->res, j->in + j->at, j->len - j->at, &why)) < 0)
		return error(j, "protocol");
	j->at += (size_t)n;
	return V_GO_ON;
}

/* The service has ended its direction, or the connection broke. */
static enum verdict
at_eof(struct job *j)
{
	struct str last = { HTTP_LAST_CHUNK, sizeof(HTTP_LAST_CHUNK) - 1 };

	j->eof = 1;
	j->keep = 0;
	if (j->raw)
		return V_GO_ON;
	if (!j->headed)
		return j->reused && !j->begun ? V_RETRY : error(j, "protocol");
	if (j->res.done)
		return V_GO_ON;
	if (http_body_eof(&j->res) == -1)
		return error(j, "cut short");
	if (j->res.encode)
		pump_take_raw(&j->pump, last, NULL, 0);
	return V_GO_ON;
}

/* Read from the service. 1: bytes came, or the end; 0: nothing now; *v may change. */
static int
read_more(struct job *j, enum verdict *v)
{
	ssize_t n;

	if (j->at > 0) {
		memmove(j->in, j->in + j->at, j->len - j->at);
		j->len -= j->at;
		j->at = 0;
	}
	if (j->len == sizeof(j->in)) {
		*v = error(j, "protocol");	/* a head that does not end */
		return 1;
	}
	n = conn_read(&j->conn, j->in + j->len, sizeof(j->in) - j->len);
	if (n == -1 && errno == EAGAIN)
		return 0;
	if (n > 0) {
		j->len += (size_t)n;
		j->begun = 1;
	} else if (n == 0 || !j->raw)
		*v = at_eof(j);
	else
		*v = V_CUT;
	return 1;
}

/* The response is complete: may FIN go, or is the rest of the request still wanted? */
static int
may_end(const struct job *j, const struct snapshot *now)
{
	if (j->raw)
		return j->eof;
	return j->headed && j->res.done && (now->req_done || now->fin || j->eof || now->drained == -1);
}

/* Everything between the request's head and the response's end. */
static enum verdict
relay(struct job *j)
{
	struct snapshot now;
	enum verdict v = V_GO_ON;
	int64_t deadline = CONN_FOREVER;
	int state, events, fin, more = 1, finned = 0;

	for (;;) {
		look(j, &now);
		if (now.reset)
			return V_CUT;
		if (j->raw && now.fin && now.drained == 1)
			conn_shutdown(&j->conn, SHUT_WR);
		if (j->raw && now.drained == -1)
			return V_CUT;
		fin = !finned && may_end(j, &now);
		if ((state = pump_push(&j->pump, fin, CONN_FOREVER)) == -1)
			return V_CUT;
		finned |= fin && state == 1;
		if (state == 1 && j->at < j->len) {
			if ((v = take_input(j, &more)) != V_GO_ON)
				return v;
			if (!more)
				continue;
		}
		if (state == 1 && !finned && may_end(j, &now))
			continue;	/* FIN is all that is left to push */
		if (finned && (!j->raw || (now.fin && now.drained == 1)))
			return V_DONE;
		events = now.drained == 0 ? POLLOUT : 0;
		if (state == 1 && !j->eof) {
			if (read_more(j, &v)) {
				if (v != V_GO_ON)
					return v;
				continue;
			}
			events |= POLLIN;
		}
		if (j->headed && !j->raw && j->res.done && deadline == CONN_FOREVER)
			deadline = clock_ms(CLOCK_STEADY) + EARLY_MS;
		if (clock_ms(CLOCK_STEADY) >= deadline)
			return V_CUT;
		sleep_until(j, &now, events, deadline);
	}
}

/* An answer of our own in place of the service's, with FIN. */
static void
answer_error(struct job *j)
{
	static const struct {
		const char *what, *text;
		int status;
	} table[] = {
		{ "refused", "the local service refused the connection", 502 },
		{ "resolve", "the local service's host name was not found", 502 },
		{ "timeout", "the local service did not answer in time", 504 },
		{ "protocol", "the local service gave no valid HTTP answer", 502 },
	};
	char text[512];
	struct iovec iov;
	struct buf b;
	size_t i = 0;

	while (i < sizeof(table) / sizeof(table[0]) - 1 && strcmp(table[i].what, j->error) != 0)
		i++;
	buf_init(&b, text, sizeof(text));
	buf_str(&b, "HTTP/1.1 ");
	buf_u64(&b, (unsigned)table[i].status);
	buf_str(&b, " ");
	buf_str(&b, http_reason(table[i].status));
	buf_str(&b, "\r\nX-Tunnel-Error: ");
	buf_str(&b, table[i].what);
	buf_str(&b, "\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ");
	buf_u64(&b, strlen(table[i].text) + 1);
	buf_str(&b, "\r\n\r\n");
	if (!j->is_head) {
		buf_str(&b, table[i].text);
		buf_str(&b, "\n");
	}
	j->status = table[i].status;
	iov.iov_base = text;
	iov.iov_len = b.len;
	/* the window takes it: nothing but interim heads can have gone before */
	if (stream_write(j->s, &iov, 1, 1, CONN_FOREVER) != (long)b.len)
		stream_reset(j->s);
}

static void
report(struct job *j)
{
	struct tunnel_request r;

	if (j->l->conf.request == NULL)
		return;
	r.method = j->method;
	r.target = j->target;
	r.status = j->status;
	r.ms = clock_ms(CLOCK_STEADY) - j->began;
	r.bytes = j->headed && !j->raw ? j->res.seen : 0;
	r.error = j->error;
	j->l->conf.request(j->l->conf.arg, &r);
}

/* Once more on a fresh connection? Only where it does no harm (RFC 9110, 9.2.2). */
static int
may_retry(struct job *j)
{
	int ok;

	pthread_mutex_lock(&j->s->mtx);
	ok = j->reused && j->idempotent && !j->begun && j->req.done && j->req.seen == 0 && !j->reset;
	j->pump.attached = j->pump.failed = 0;
	pthread_mutex_unlock(&j->s->mtx);
	return ok;
}

static void
serve(void *arg)
{
	struct job *j = arg;
	struct snapshot now;
	enum verdict v;
	int fresh = 0;

	j->began = clock_ms(CLOCK_STEADY);
	for (;;) {
		if ((v = dial(j, fresh)) == V_GO_ON && (v = send_head(j)) == V_GO_ON)
			v = relay(j);
		if (v != V_RETRY)
			break;
		if (!may_retry(j)) {
			v = error(j, "protocol");
			break;
		}
		conn_close(&j->conn);
		fresh = 1;
	}
	look(j, &now);
	if (v == V_ERROR && !now.reset)
		answer_error(j);
	else if (v != V_DONE)
		stream_reset(j->s);
	if (now.reset && j->error == NULL && v != V_DONE)
		j->error = "the caller left";
	stream_leave(j->s);	/* the reader writes to the connection no more */
	if (v == V_DONE && j->keep && !j->raw && now.req_done && now.drained == 1 && j->at == j->len)
		pool_put(j->l, &j->conn);
	else
		conn_close(&j->conn);
	report(j);
	pump_end(&j->pump);
	job_put(j);
}
