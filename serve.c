/* serve.c: exchanges at the local service, on a job's thread; see localint.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "localint.h"
#include "rewrite.h"

enum { READS_MAX = 4 };		/* in one go: who has more to read keeps others waiting */

enum verdict {
	V_GO_ON,
	V_DONE,			/* the response is out, FIN with it */
	V_ERROR,		/* nothing has gone out: answer 502 or 504 */
	V_CUT,			/* reset the stream */
	V_WAIT,			/* the watch calls when there is more */
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

/* From now on a thread is the job's, until the exchange ends: there is more to do than to wait for bytes. */
static void
keep_thread(struct job *j)
{
	stream_flush(j->s);
	watch_leave();
	if (j->pump.watched == NULL)
		return;
	watch_forget(&j->watched);
	pthread_mutex_lock(&j->s->mtx);
	j->pump.watched = NULL;
	pthread_mutex_unlock(&j->s->mtx);
}

/* Sleep until something happens. 1 if that is the watch's to do. */
static int
sleep_until(struct job *j, const struct snapshot *was, int events, int64_t deadline)
{
	stream_flush(j->s);
	if (events != POLLIN || j->raw || !j->watched.joined)
		keep_thread(j);
	if (!may_sleep(j, was))
		return 0;
	if (j->pump.watched != NULL) {
		watch_idle(&j->watched, deadline);
		return 1;
	}
	conn_wait(&j->conn, events, deadline, j->wake.rd, NULL);
	pump_awake_lock(&j->pump);
	pthread_mutex_unlock(&j->s->mtx);
	return 0;
}

static enum verdict
error(struct job *j, const char *what)
{
	j->error = what;
	return j->headed ? V_CUT : V_ERROR;
}

/* The service is the program itself: ours of two ends, the other one is its. -1 without descriptors. */
static int
join_program(const struct local_service *to, int i, const char *peer)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1)
		return -1;
	if (net_flags(fd[0]) == -1 || fcntl(fd[1], F_SETFD, FD_CLOEXEC) == -1) {
		close(fd[0]);
		close(fd[1]);
		return -1;
	}
	to->accept(to->arg, i, fd[1], peer);
	return fd[0];
}

int
local_dial(const struct local *l, const struct pool *p, const char *peer, int64_t deadline, const char **why)
{
	const struct local_target *t = &p->to.target;
	enum net_fail fail;
	int fd;

	*why = "descriptors";
	if (p->to.accept != NULL)
		return join_program(&p->to, (int)(p - l->pool), peer);
	fd = t->port[0] == '\0' ? net_dial_unix(t->host, &fail) : net_dial(t->host, t->port, deadline, -1, &fail);
	if (fd == -1)
		*why = fail == NET_RESOLVE ? "resolve" : fail == NET_TIMEOUT ? "timeout" : "refused";
	else
		net_tune_local(fd);
	return fd;
}

/* When something that has ms is to be done, within the exchange's time. */
static int64_t
in(const struct job *j, int64_t ms)
{
	int64_t at = clock_ms(CLOCK_STEADY) + ms;

	return at < j->until ? at : j->until;
}

/* A fresh connection to the service. */
static enum verdict
dial(struct job *j)
{
	const struct local_target *t = &j->pool->to.target;
	const char *why;
	int fd;

	keep_thread(j);
	conn_close(&j->conn);
	if ((fd = local_dial(j->l, j->pool, "", in(j, DIAL_MS), &why)) == -1)
		return error(j, why);
	conn_plain(&j->conn, fd);
	if (t->tls && tlsconn_connect(&j->conn, j->pool->to.tls, t->host, in(j, DIAL_MS), -1, j->detail) != TLS_OK)
		return error(j, "tls");
	j->detail[0] = '\0';
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
	if (conn_write_all(&j->conn, j->request + sent, head - (size_t)sent, in(j, WRITE_MS)) == -1)
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
	to.back = j->back_text[0] != '\0' ? &j->back : NULL;
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
	if (j->head.status == 101) {
		j->status = 101;
		j->headed = j->raw = 1;
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
	j->status = j->head.status;
	j->headed = 1;
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

/* The service has ended its direction, in order, or the connection broke: then nothing tells that content without framing is whole. */
static enum verdict
at_eof(struct job *j, int in_order)
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
	if (!in_order || http_body_eof(&j->res) == -1)
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
	} else if (n == 0 || !j->raw || errno == ECONNABORTED)	/* raw bytes know their own end */
		*v = at_eof(j, n == 0);
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

/* The stream takes no more of the response. */
static enum verdict
unwanted(struct job *j)
{
	if (errno == EMSGSIZE || errno == ENOMEM)	/* message dialects have limits */
		j->error = errno == EMSGSIZE ? "too large" : "no memory";
	return V_CUT;
}

static void
relay_begin(struct job *j)
{
	j->relaying = j->more = 1;
	j->finned = 0;
	j->deadline = j->until;
}

/* Everything between the request's head and the response's end. */
static enum verdict
relay(struct job *j)
{
	struct snapshot now;
	enum verdict v = V_GO_ON;
	int state, events, fin, reads = 0;

	for (;;) {
		if (reads > READS_MAX)
			keep_thread(j);
		look(j, &now);
		if (now.reset)
			return V_CUT;
		if (j->raw && now.fin && now.drained == 1)
			conn_shutdown(&j->conn, SHUT_WR);
		if (j->raw && now.drained == -1)
			return V_CUT;
		fin = !j->finned && may_end(j, &now);
		if ((state = pump_push(&j->pump, fin, CONN_FOREVER)) == -1)
			return unwanted(j);
		j->finned |= fin && state == 1;
		if (state == 1 && j->at < j->len) {
			if ((v = take_input(j, &j->more)) != V_GO_ON)
				return v;
			if (!j->more)
				continue;
		}
		if (state == 1 && !j->finned && may_end(j, &now))
			continue;	/* FIN is all that is left to push */
		/* a service that has answered early may read on */
		if (j->finned && (j->raw ? now.fin && now.drained == 1 : now.drained != 0))
			return V_DONE;
		events = now.drained == 0 ? POLLOUT : 0;
		if (state == 1 && !j->eof) {
			if (read_more(j, &v)) {
				reads++;
				if (v != V_GO_ON)
					return v;
				continue;
			}
			events |= POLLIN;
		}
		/* all of the response is in the stream: the rest of the request has so long */
		if (state == 1 && j->headed && !j->raw && j->res.done && j->deadline == j->until)
			j->deadline = in(j, EARLY_MS);
		if (clock_ms(CLOCK_STEADY) >= j->deadline)
			return j->finned ? V_DONE : j->deadline < j->until || (j->headed && j->res.done) ? V_CUT : error(j, "timeout");
		if (sleep_until(j, &now, events, j->deadline))
			return V_WAIT;
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
		{ "tls", "no trusted TLS connection to the local service", 502 },
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

	if (j->l->request == NULL)
		return;
	r.tunnel = (int)(j->pool - j->l->pool);
	r.method = j->method;
	r.target = j->target;
	r.status = j->status;
	r.ms = clock_ms(CLOCK_STEADY) - j->began;
	r.bytes = j->headed && !j->raw ? j->res.seen : 0;
	r.error = j->error != NULL && j->detail[0] != '\0' ? j->detail : j->error;
	j->l->request(j->l->arg, &r);
}

/* The reader has sent the request on the kept connection. */
static int
attached(struct job *j)
{
	int yes;

	pump_awake_lock(&j->pump);
	yes = j->pump.attached;
	pthread_mutex_unlock(&j->s->mtx);
	return yes;
}

/* Once more on a fresh connection? Only where it does no harm (RFC 9110, 9.2.2). */
static int
may_retry(struct job *j)
{
	int ok;

	pthread_mutex_lock(&j->s->mtx);
	ok = j->reused && j->idempotent && !j->begun && j->req.done && j->req.seen == 0 &&
	    j->req.framing != HTTP_CHUNKED && !j->reset;
	j->pump.attached = j->pump.failed = 0;
	queue_free(&j->pump.q);		/* the rest of the head */
	pthread_mutex_unlock(&j->s->mtx);
	j->reused = j->eof = j->keep = 0;
	j->at = j->len = 0;
	return ok;
}

/* The exchange is over: what is left to do once its response is out. 1 if the connection may serve another. */
static int
finish(struct job *j, enum verdict v)
{
	struct snapshot now;

	look(j, &now);
	if (v == V_ERROR && !now.reset)
		answer_error(j);
	else if (v != V_DONE)
		stream_reset(j->s);
	if (now.reset && j->error == NULL && v != V_DONE)
		j->error = "the caller left";
	stream_flush(j->s);
	stream_leave(j->s);	/* the reader writes to the connection no more */
	report(j);
	pump_end(&j->pump);
	return v == V_DONE && j->keep && !j->raw && now.req_done && now.drained == 1 && j->at == j->len;
}

/* One exchange, from where it was left. */
static enum verdict
serve(struct job *j)
{
	enum verdict v = V_RETRY;

	if (attached(j)) {
		if (!j->relaying)
			relay_begin(j);
		if ((v = relay(j)) == V_RETRY && !may_retry(j))
			v = error(j, "protocol");
	}
	if (v == V_RETRY && (v = dial(j)) == V_GO_ON && (v = send_head(j)) == V_GO_ON) {
		relay_begin(j);
		v = relay(j);
	}
	return v == V_RETRY ? error(j, "protocol") : v;
}

void
local_drop(struct job *j)
{
	watch_forget(&j->watched);
	conn_close(&j->conn);
	local_job_free(j);
}

/* After an exchange: 1 if this thread is to serve the next, 0 if the job is not its any more. */
static int
go_on(struct job *j, enum verdict v)
{
	int rc = 0, watches = j->watches;

	if (finish(j, v))
		rc = watches ? local_leave(j) : local_park(j);
	if (rc == 0)
		local_drop(j);
	return rc && !watches;
}

void
local_later(struct watched *w)
{
	struct job *j = local_job(w);

	if (go_on(j, V_DONE))
		local_serve(j);
}

void
local_serve(void *arg)
{
	struct job *j = arg;
	enum verdict v;

	do {
		j->s->held = watch_leading(j->l->watch);
		if ((v = serve(j)) == V_WAIT)
			return;
		if (v == V_DONE && j->s->held && watch_leading(j->l->watch)) {	/* others may be about to write, too */
			watch_later(&j->watched);
			return;
		}
	} while (go_on(j, v));
}
