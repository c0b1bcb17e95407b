/* request.c: an exchange's request, from the caller into the stream; see request.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "daemon.h"
#include "request.h"
#include "rewrite.h"

enum { SLOT_MS = 1000 };	/* for a slot: a burst may pass, a tunnel that hangs gets 429 */

int
request_raw_end(const struct exchange *x)
{
	return errno == ECONNABORTED && x->raw;
}

static void
note_request_done(struct exchange *x)
{
	pthread_mutex_lock(&x->s->mtx);
	x->req_done = x->req.done;
	x->opened = 0;
	pthread_mutex_unlock(&x->s->mtx);
}

int64_t
request_patience_ms(const struct exchange *x)
{
	const struct session *s = x->holder != NULL ? x->holder->session : NULL;

	return s != NULL && s->timeout_ms != 0 ? s->timeout_ms : x->c->d->conf.timeout_ms;
}

size_t
request_content_max(const struct exchange *x)
{
	struct session *s = x->holder->session;

	return s->dialect->content_max != NULL ? s->dialect->content_max(s) : s->content_max;
}

struct ending
request_too_large(struct exchange *x)
{
	snprintf(x->told, sizeof(x->told), "the content is too large for this tunnel's client: its limit is %zu bytes",
	    request_content_max(x));
	return ending(V_ERROR, 413, x->told, "body_too_large");
}

struct ending
request_refused(const struct exchange *x)
{
	if (x->to->proxy != NULL)
		return ending(V_ERROR, 502, "the tunnel's client cannot reach the service", "stream_reset");
	if (x->holder->session->dialect->ask != NULL)	/* it has been asked, and has tried */
		return ending(V_ERROR, 502, "the local service cannot be reached", "stream_refused");
	return ending(V_ERROR, 503, "the tunnel's client refused the request", "stream_reset");
}

/* A write to the stream has failed. */
static struct ending
write_failed(struct exchange *x, int err)
{
	if (err == ETIMEDOUT)
		return ending(V_ERROR, 504, "the tunnel is stuck", "link_stuck");
	if (err == ENOMEM)
		return ending(V_ERROR, 503, "no memory is left", "no_memory");
	if (err == EMSGSIZE)
		return ending(V_ERROR, 413, "the request is too large for a message to this tunnel's client", "body_too_large");
	if (x->to->open != NULL)
		return ending(V_ERROR, 502, "the server has ended the connection", "server_lost");
	if (err == EINVAL)
		return ending(V_ERROR, 400, "this tunnel's client cannot be told of such a request", "unspeakable");
	if (x->to->proxy != NULL && !stream_over(x->s))
		return request_refused(x);
	return stream_dead(x->s) && !stream_over(x->s) ? request_refused(x) :
	    ending(V_ERROR, 502, "the tunnel's client has gone", "session_lost");
}

/* The slot from now on. What it was. */
static uint32_t
set_slot(struct exchange *x, uint32_t slot)
{
	uint32_t was;

	if (x->s != NULL)
		pthread_mutex_lock(&x->s->mtx);
	was = x->slot;
	x->slot = slot;
	if (x->s != NULL)
		pthread_mutex_unlock(&x->s->mtx);
	return was;
}

int
request_out(const struct exchange *x)
{
	return x->req.done && x->pump.at == x->pump.n;
}

void
request_give_slot(struct exchange *x)
{
	uint32_t slot = set_slot(x, 0);

	if (slot != 0)
		pending_give(x->c->d->pending, slot, 0);
}

struct ending
request_take_slot(struct exchange *x)
{
	uint32_t slot = pending_take(x->c->d->pending, registry_share(x->holder), SLOT_MS);

	set_slot(x, slot);
	return slot != 0 ? ending(V_GO_ON, 0, NULL, NULL) :
	    ending(V_ERROR, 429, "too many requests wait for an answer", "slots_full");
}

/* Some of the content has been taken; a whole message holds no slot until it can be sent. */
static struct ending
content_taken(struct exchange *x, int first)
{
	if (x->req.done != x->req_done)
		note_request_done(x);	/* before its last byte can be answered */
	if (x->whole && x->req.seen > request_content_max(x))
		return request_too_large(x);
	if (x->whole && first && !x->req.done)
		request_give_slot(x);
	return x->whole && !first && x->req.done ? request_take_slot(x) : ending(V_GO_ON, 0, NULL, NULL);
}

const char *
request_local(const struct exchange *x, char text[NET_ADDR_MAX])
{
	struct sockaddr_storage ss;

	if (x->to->proxy == NULL)
		return NULL;
	net_local(x->c->conn.fd, &ss);
	net_format(&ss, text);
	return text;
}

/* What goes before the request on a tunnel's stream. */
static void
put_preface(struct exchange *x, struct buf *out)
{
	char local[NET_ADDR_MAX];

	if (x->holder != NULL && x->holder->session->dialect->preface != NULL)
		x->holder->session->dialect->preface(out, x->holder, x->c->peer, request_local(x, local));
}

/* CONNECT's: only what goes before the bytes; with nothing to be said first the stream is opened all the same. */
static struct ending
send_preface(struct exchange *x)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + request_patience_ms(x);
	struct str lead;
	struct buf out;

	buf_init(&out, x->request, sizeof(x->request));
	put_preface(x, &out);
	lead.p = x->request;
	lead.len = out.len;
	pump_take_raw(&x->pump, lead, NULL, 0);
	if ((lead.len == 0 ? stream_write(x->s, NULL, 0, 0, deadline) : pump_push(&x->pump, 0, deadline)) == -1)
		return write_failed(x, errno);
	x->forwarded = x->read = clock_ms(CLOCK_STEADY);
	return ending(V_GO_ON, 0, NULL, NULL);
}

struct ending
request_send(struct exchange *x)
{
	struct caller *c = x->c;
	struct http_head *h = &c->head;
	struct rewrite_via via;
	struct str target = h->target, prefix = x->to->prefix, lead;
	struct ending e;
	struct buf out;
	const char *why = NULL;
	long n;

	if (x->to->connect)
		return send_preface(x);
	memset(&via, 0, sizeof(via));
	via.proxy = x->to->proxy;
	via.set = x->to->set;
	via.peer.p = c->host;
	via.peer.len = strlen(c->host);
	via.proto.p = c->secure ? "https" : "http";
	via.proto.len = strlen(via.proto.p);
	via.request_id.p = c->request_id;
	via.request_id.len = strlen(c->request_id);
	via.prefix = prefix;
	via.trusted = c->trusted;
	if (prefix.len > 0) {
		target.p += prefix.len;
		target.len -= prefix.len;
		if (target.len == 0 || *target.p != '/') {	/* "/name", "/name?query" */
			x->trailers[0] = '/';
			if (target.len > HTTP_TRAILERS_MAX - 1)
				return ending(V_ERROR, 414, "the request target is too long", NULL);
			memcpy(x->trailers + 1, target.p, target.len);
			target.p = x->trailers;
			target.len++;
		}
	}
	buf_init(&out, x->request, sizeof(x->request));
	put_preface(x, &out);
	rewrite_request(&out, h, target, &via);
	if (out.full)
		return ending(V_ERROR, 431, "the request head is too long", NULL);
	lead.p = x->request;
	lead.len = out.len;
	n = pump_take(&x->pump, lead, &x->req, c->in + c->at, c->len - c->at, &why);
	if (n < 0)
		return ending(V_ERROR, 400, "the request content is malformed", why);
	c->at += (size_t)n;
	e = content_taken(x, 1);
	if (e.v != V_GO_ON)
		return e;
	if (pump_push(&x->pump, 0, clock_ms(CLOCK_STEADY) + request_patience_ms(x)) == -1)
		return write_failed(x, errno);
	x->forwarded = x->read = clock_ms(CLOCK_STEADY);
	return ending(V_GO_ON, 0, NULL, NULL);
}

int
request_more(struct exchange *x)
{
	struct caller *c = x->c;
	ssize_t n;

	c->at = c->len = 0;
	n = conn_read(&c->conn, c->in, STREAM_PIECE);
	if (n > 0) {
		c->len = (size_t)n;
		x->read = clock_ms(CLOCK_STEADY);
		x->watch = 1;
		return 1;
	}
	if (n == -1 && errno == EAGAIN)
		return 0;
	if (n == 0 || request_raw_end(x))
		x->eof = clock_ms(CLOCK_STEADY);
	return -1;
}

struct ending
request_push(struct exchange *x, int *stuck)
{
	struct caller *c = x->c;
	struct str none = { NULL, 0 };
	int64_t t = clock_ms(CLOCK_STEADY);
	const char *why = NULL;
	int state, moved = x->pump.at < x->pump.n;
	struct ending e;
	long n = 0;

	note_request_done(x);
	while ((state = pump_push(&x->pump, 0, t + request_patience_ms(x))) == 1 &&
	    c->len > c->at && !x->req.done) {
		n = pump_take(&x->pump, none, &x->req, c->in + c->at, c->len - c->at, &why);
		if (n < 0)
			return ending(V_ERROR, 400, "the request content is malformed", why);
		c->at += (size_t)n;
		moved = 1;
		e = content_taken(x, 0);
		if (e.v != V_GO_ON)
			return e;
	}
	if (state == -1 && (errno == ETIMEDOUT || errno == ENOMEM || errno == EINVAL || errno == EMSGSIZE))
		return write_failed(x, errno);
	*stuck = state != 1;
	if (moved && !*stuck)
		x->forwarded = clock_ms(CLOCK_STEADY);
	return ending(V_GO_ON, 0, NULL, NULL);
}

void
request_push_raw(struct exchange *x, int *stuck)
{
	struct caller *c = x->c;
	struct str none = { NULL, 0 };
	int state;

	note_request_done(x);
	if ((state = pump_push(&x->pump, 0, CONN_FOREVER)) == 1 && c->len > c->at) {
		pump_take_raw(&x->pump, none, c->in + c->at, c->len - c->at);
		c->at = c->len;
		state = pump_push(&x->pump, 0, CONN_FOREVER);
	}
	if (state == -1 && errno == ESHUTDOWN) {	/* nobody takes it any more; closing with it unread would be a reset */
		x->pump.at = x->pump.n;
		c->at = c->len;
		state = 1;
	}
	*stuck = state != 1;
	if (state == 1 && x->eof != 0)
		stream_fin(x->s);
}
