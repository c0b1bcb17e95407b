/* wsproxy.c: wsproxy's tunnels on the daemon's side; see wsproxy.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "clock.h"
#include "deadline.h"
#include "log.h"
#include "msgin.h"
#include "msglink.h"
#include "pieces.h"
#include "ports.h"
#include "query.h"
#include "random.h"
#include "urls.h"
#include "webgate.h"
#include "wsproxy.h"
#include "wsraw.h"

enum {
	ANSWER_MAX = 10485760,	/* a message from a client, bytes */
	CONTROL_MAX = 1024,	/* one to it that is no request */
	SMALL_ROOM = 512,	/* bytes of a small message that are no content, at least */
	RAW_MAX = 100,		/* raw connections of one tunnel */
	RAW_SHARE = 8,		/* one may have this part of the daemon's memory for bodies wait for it */
	WRITE_MS = 5000
};

enum { SPEAKS_TEXT = 1, SPEAKS_BINARY = 2 };	/* how control objects are sent; both until it is known */

struct wsproxy {
	struct web_pass pass;
	struct msglink ml;
	struct wsraw *raw;
	char name[NAME_LEN_MAX + 1];	/* "wsproxy:0123456789abcdef" */
	struct pieces pieces;	/* the reader's, as the next */
	struct msgin held;	/* what pieces holds */
	pthread_mutex_t mtx;	/* guards what follows; alone */
	pthread_cond_t said;	/* ready is */
	int ready;		/* the client has been told its name: now the rest may follow */
	int speaks;
	int settled;		/* it has shown how it does, or said so */
};

static const char prefix[] = "wsproxy:";

static struct wsproxy *
wsproxy_of(struct session *s)
{
	return s->impl;
}

/* Control objects to the client. */

static int
how(struct wsproxy *w)
{
	int speaks;

	pthread_mutex_lock(&w->mtx);
	speaks = w->speaks;
	pthread_mutex_unlock(&w->mtx);
	return speaks;
}

/* The same when it has been told its name, which is a matter of a moment. */
static int
await_ready(struct wsproxy *w)
{
	int speaks;

	pthread_mutex_lock(&w->mtx);
	while (!w->ready)
		pthread_cond_wait(&w->said, &w->mtx);
	speaks = w->speaks;
	pthread_mutex_unlock(&w->mtx);
	return speaks;
}

static int
say(struct wsproxy *w, int speaks, const struct buf *b, int64_t deadline)
{
	struct iovec iov;

	iov.iov_base = b->p;
	iov.iov_len = b->len;
	if (speaks & SPEAKS_TEXT && link_send(w->ml.link, WS_TEXT, &iov, 1, LINK_URGENT, NULL, deadline) == -1)
		return -1;
	return speaks & SPEAKS_BINARY ? link_send(w->ml.link, WS_BINARY, &iov, 1, LINK_URGENT, NULL, deadline) : 0;
}

static int
tell(void *arg, const char *type, const char *id, int64_t deadline)
{
	struct wsproxy *w = arg;
	char text[CONTROL_MAX];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	wsproxy_put_tcp(&b, type, id);
	return say(w, await_ready(w), &b, deadline);
}

static long
hold_ms(void *arg)
{
	struct wsproxy *w = arg;

	return how(w) & SPEAKS_BINARY ? w->ml.d->conf.wsproxy_hold_ms : 0;
}

/* Requests. */

/* It may be the browser client, or is. Who says nothing takes messages of any length, if no browser. */
static int
is_small(struct wsproxy *w)
{
	return (how(w) & SPEAKS_BINARY) != 0;
}

static int
encode(void *arg, const struct message *m, char **text, size_t *len)
{
	int small = is_small(arg);

	return wsproxy_encode(m, small ? WSPROXY_SMALL : SIZE_MAX, small, text, len);
}

static int
send_request(void *arg, struct link_parcel *p, const void *key, int64_t deadline)
{
	struct wsproxy *w = arg;
	int speaks = await_ready(w);

	if (speaks == (SPEAKS_TEXT | SPEAKS_BINARY) &&
	    link_send(w->ml.link, WS_BINARY, &p->iov, 1, LINK_BULK, key, deadline) == -1) {
		p->release(p);
		return -1;
	}
	return link_send_parcel(w->ml.link, speaks & SPEAKS_TEXT ? WS_TEXT : WS_BINARY, p, key, deadline);
}

/* What comes, in the reader. */

/* A control object has come so. */
static void
learn(struct wsproxy *w, int spoken)
{
	int text;

	pthread_mutex_lock(&w->mtx);
	if (!w->settled) {
		w->speaks = spoken;
		w->settled = 1;
	}
	text = w->speaks == SPEAKS_TEXT;
	pthread_mutex_unlock(&w->mtx);
	w->pieces.whole |= text;
}

static void
respond(struct wsproxy *w, const struct wsproxy_control *c, const char **why)
{
	struct wsproxy_answer a;
	int is_head = messages_asked(w->ml.messages, c->id);

	*why = "nobody waits for it";
	if (is_head == -1)
		return;
	if (wsproxy_respond(&a, c, is_head))
		messages_answer(w->ml.messages, c->id, a.head, a.body);
	*why = a.why;
	free(a.memory);
}

static void
control(struct wsproxy *w, int spoken, char *text, size_t len)
{
	struct str all = { text, len };
	struct wsproxy_control c;
	const char *why = NULL;
	enum wsproxy_type type = wsproxy_read(&c, all, &why);

	if (type != WSPROXY_JUNK) {
		why = NULL;
		learn(w, spoken);
	}
	if (type == WSPROXY_CLOSE)
		wsraw_close(w->raw, c.id);
	else if (type == WSPROXY_RESPONSE)
		respond(w, &c, &why);
	if (why != NULL)
		log_line(LOG_INFO, "bad_answer", "reason", why, "name", w->name, "peer", w->ml.session.peer, (char *)NULL);
}

/* Is it one that is waited for? */
static int
is_ours(struct wsproxy *w, const char *text, size_t len)
{
	struct str all = { text, len };
	struct wsproxy_control c;
	const char *why;

	switch (wsproxy_read(&c, all, &why)) {
	case WSPROXY_RESPONSE:
		return messages_asked(w->ml.messages, c.id) != -1;
	case WSPROXY_CLOSE:
		return wsraw_is(w->raw, c.id);
	default:
		return 0;
	}
}

static int
known(void *arg, const char *id)
{
	struct wsproxy *w = arg;

	return wsraw_known(w->raw, id);
}

static int
waiting(void *arg)
{
	struct wsproxy *w = arg;

	return messages_open_ones(w->ml.messages) > 0;
}

/* Data after all; NULL: for which there was no room. */
static void
release(struct wsproxy *w, const char *p, size_t len)
{
	if (p != NULL)
		wsraw_data(w->raw, w->pieces.id, (const uint8_t *)p, len);
	else
		wsraw_cut(w->raw, w->pieces.id);
}

/* What was held is data, or nothing. */
static void
let_go(struct wsproxy *w, int is_data)
{
	if (is_data)
		release(w, w->held.p, w->held.len);
	msgin_drop(&w->held);
	w->held.skip = 0;
}

static void
hold(struct wsproxy *w, uint8_t *p, size_t len)
{
	char *text;

	if (w->held.len + len > PIECES_MAX)
		link_close(w->ml.link, WS_TOO_BIG, "message too big");
	else if (msgin_take(&w->held, p, len, 0, &text, &len) == MSGIN_NO_ROOM)
		msgin_drop(&w->held);
}

/* With this piece what is held is a whole object. check: if it is one that is waited for. */
static void
take_held(struct wsproxy *w, int check, uint8_t *p, size_t len)
{
	size_t n = 0, last = len;
	char *text = NULL;
	int ours = 1;

	if (msgin_take(&w->held, p, len, 1, &text, &n) != MSGIN_WHOLE)
		text = NULL;
	if (check) {
		ours = text != NULL && is_ours(w, text, n);
		pieces_checked(&w->pieces, ours, last);
	}
	if (!ours)
		release(w, text, n);
	else if (text != NULL)
		control(w, SPEAKS_BINARY, text, n);
	msgin_drop(&w->held);
}

static void
take_binary(struct wsproxy *w, uint8_t *p, size_t len)
{
	const struct pieces_ask ask = { known, waiting, w };
	enum pieces_verdict v;
	size_t at = 0;

	while ((v = pieces_take(&w->pieces, p, len, &ask, &at)) == PIECES_RELEASE || v == PIECES_FORGET)
		let_go(w, v == PIECES_RELEASE);
	switch (v) {
	case PIECES_DATA:
		if (len > at)
			wsraw_data(w->raw, w->pieces.id, p + at, len - at);
		break;
	case PIECES_CONTROL:
		control(w, SPEAKS_BINARY, (char *)p, len);
		break;
	case PIECES_HOLD:
		hold(w, p, len);
		break;
	case PIECES_LAST:
	case PIECES_CHECK:
		take_held(w, v == PIECES_CHECK, p, len);
		break;
	default:
		break;
	}
}

static void
take(void *arg, uint8_t opcode, char *text, size_t len)
{
	struct wsproxy *w = arg;

	if (opcode == WS_TEXT)
		control(w, SPEAKS_TEXT, text, len);
	else
		take_binary(w, (uint8_t *)text, len);
}

static void
rest(void *arg)
{
	struct wsproxy *w = arg;
	const struct pieces_ask ask = { known, waiting, w };

	if (pieces_stale(&w->pieces, &ask))
		let_go(w, 1);
	wsraw_rest(w->raw);
}

static void
over(void *arg)
{
	struct wsproxy *w = arg;

	wsraw_end(w->raw);
	msgin_drop(&w->held);
	webgate_give(w->ml.d, &w->pass);
}

static const struct msglink_ops ml_ops = { encode, take, wsproxy_id, NULL, send_request, rest, over, MESSAGE_HEX12 };

/* What the core wants of a dialect. */

static struct stream *
d_open(struct session *s, uint64_t *tally, int64_t deadline)
{
	struct wsproxy *w = wsproxy_of(s);
	struct stream *stream = messages_open(w->ml.messages, tally);

	(void)deadline;
	wsraw_hurry(w->raw);
	return stream;
}

static struct stream *
d_open_raw(struct session *s, uint64_t *tally, int64_t deadline)
{
	struct wsproxy *w = wsproxy_of(s);

	(void)deadline;
	return wsraw_open(w->raw, w->ml.link, tally);
}

static void
d_end(struct session *s, int code, const char *reason)
{
	struct link *l = wsproxy_of(s)->ml.link;

	if (code == 0)
		link_abort(l);
	else
		link_close(l, code, reason);
}

static void
d_tally(struct session *s, const uint64_t from[2], uint64_t to[2])
{
	struct wsproxy *w = wsproxy_of(s);

	wsraw_lock(w->raw);	/* it may be either's */
	messages_tally(w->ml.messages, from, to);
	wsraw_unlock(w->raw);
}

static void
d_free(struct session *s)
{
	struct wsproxy *w = wsproxy_of(s);

	msglink_free(&w->ml);
	if (w->raw != NULL)
		wsraw_free(w->raw);
	pthread_cond_destroy(&w->said);
	pthread_mutex_destroy(&w->mtx);
	free(w);
}

static size_t
d_content_max(struct session *s)
{
	size_t small = WSPROXY_SMALL - SMALL_ROOM;

	return is_small(wsproxy_of(s)) && s->content_max > small ? small : s->content_max;
}

/* A close frame is all that such a client is told. It would come again to another name if it were to drain: it stays as long as it can. */
static const struct dialect dialect = {
	.name = "wsproxy", .whole = 1, .brief = 1, .cors = 1, .open = d_open, .open_raw = d_open_raw, .end = d_end,
	.content_max = d_content_max, .words = wsproxy_words,
	.tally = d_tally, .alive = msglink_alive, .run = msglink_run, .free = d_free
};

int
wsproxy_name(struct daemon *d, char name[NAME_LEN_MAX + 1])
{
	if (strlen(name) != WSPROXY_LABEL || !wsproxy_is_hex(name, WSPROXY_LABEL) || registry_has(d->registry, name, 0))
		return 0;
	memmove(name + sizeof(prefix) - 1, name, WSPROXY_LABEL + 1);
	memcpy(name, prefix, sizeof(prefix) - 1);
	return !registry_has(d->registry, name, 0);
}

/* The handshake. */

/* How does it speak? What the query says, or both ways to a browser; anything else is no such client as those that know but binary messages. */
static void
guess(struct wsproxy *w, const struct http_head *h)
{
	char text[8];

	w->speaks = http_field(h, "Origin") != NULL ? SPEAKS_TEXT | SPEAKS_BINARY : SPEAKS_TEXT;
	if (query_get(h->target, "control", QUERY_LAST, text, sizeof(text)) < 0)
		return;
	if (strcmp(text, "binary") == 0)
		w->speaks = SPEAKS_BINARY;
	else if (strcmp(text, "text") == 0)
		w->speaks = SPEAKS_TEXT;
	else
		return;
	w->settled = 1;
	w->pieces.whole = w->speaks == SPEAKS_TEXT;
}

static int
open_raws(struct wsproxy *w)
{
	const struct daemon_conf *d = &w->ml.d->conf;
	struct wsraw_conf conf;

	conf.max = d->port_callers < RAW_MAX ? (int)d->port_callers : RAW_MAX;
	conf.queue_max = (size_t)(d->window > d->bodies / RAW_SHARE ? d->window : d->bodies / RAW_SHARE);
	conf.window = (size_t)d->window < conf.queue_max / 4 ? (size_t)d->window : conf.queue_max / 4;
	conf.share = &w->ml.share;
	conf.tell = tell;
	conf.hold_ms = hold_ms;
	conf.busy = waiting;
	conf.arg = w;
	return (w->raw = wsraw_new(&conf)) != NULL ? 0 : -1;
}

static struct wsproxy *
wsproxy_new(struct caller *c, const struct web_pass *pass)
{
	struct wsproxy *w = calloc(1, sizeof(*w));
	const struct daemon_conf *d = &c->d->conf;
	struct link_conf conf;

	if (w == NULL)
		return NULL;
	w->ml.d = c->d;
	w->pass = *pass;
	w->ml.session.dialect = &dialect;
	w->ml.session.impl = w;
	w->ml.session.identity = pass->identity;
	w->ml.session.since = clock_ms(CLOCK_WALL);
	w->ml.session.refs = 1;
	w->ml.session.timeout_ms = d->wsproxy_timeout_ms;
	w->ml.session.content_max = (size_t)d->content;
	w->ml.session.closes_whole = 1;
	memcpy(w->ml.session.peer, c->peer, sizeof(c->peer));
	w->held.share = &w->ml.share;
	w->held.max = PIECES_MAX + PIECE;
	pthread_mutex_init(&w->mtx, NULL);
	cond_init(&w->said);
	guess(w, &c->head);
	memset(&conf, 0, sizeof(conf));
	conf.ping_ms = d->ping_ms;
	conf.message_max = ANSWER_MAX;
	conf.stall_ms = d->stall_ms;
	if (open_raws(w) == 0 && msglink_open(&w->ml, &ml_ops, w, &c->conn, &conf, (int)d->streams, &c->d->bodies,
	    c->in + c->at, c->len - c->at) == 0)
		return w;
	d_free(&w->ml.session);
	return NULL;
}

/*
 * Where callers come to: https and the domain, as the original says, whose TLS is a proxy's; but with the port that the client has found us
 * at, if it has come over TLS, or as --url says. "" without a domain.
 */
static void
put_url(struct buf *b, const struct caller *c, const char *label)
{
	const struct daemon_conf *conf = &c->d->conf;
	char endpoint[8 + NAME_LEN_MAX + 8];
	struct str host = { conf->domain, strlen(conf->domain) };

	if (caller_secure(c) && c->head.host.len < NAME_LEN_MAX)
		host = c->head.host;
	snprintf(endpoint, sizeof(endpoint), "https://%.*s", (int)host.len, host.p);
	if (conf->domain[0] != '\0')
		url_put_name(b, conf, endpoint, label);
	else
		buf_char(b, '\0');
}

/* A raw port, or 0. */
static unsigned
open_port(struct wsproxy *w, const struct caller *c)
{
	const struct daemon_conf *conf = &w->ml.d->conf;
	char message[PORT_MESSAGE_MAX], endpoint[NAME_LEN_MAX + 16];
	struct port_want want;
	struct port_got got;
	struct url_base base;

	if (w->ml.d->ports == NULL || conf->ports[0] == '\0')
		return 0;
	snprintf(endpoint, sizeof(endpoint), "https://%.*s", c->head.host.len < NAME_LEN_MAX ? (int)c->head.host.len : 0,
	    c->head.host.p);
	url_base(&base, conf, endpoint);
	memset(&want, 0, sizeof(want));
	want.id = 2;
	want.public = conf->nbind > 0;	/* such a client cannot ask for the one or the other */
	want.host = base.host;
	if (port_listen(w->ml.d, &w->ml.session, &want, &got, message) != NULL) {
		log_line(LOG_WARN, "no_port", "name", w->name, "reason", message, "peer", w->ml.session.peer, (char *)NULL);
		return 0;
	}
	log_line(LOG_INFO, "tunnel_open", "name", got.name, "addr", got.addr, "who", w->ml.session.identity.who,
	    "peer", w->ml.session.peer, (char *)NULL);
	return got.number;
}

/* Into the registry, with a name: NULL and where callers come to; or why not. */
static const char *
admit(struct wsproxy *w, const struct caller *c, char url[REGISTRY_URL_MAX])
{
	struct registry *r = w->ml.d->registry;
	unsigned char raw[WSPROXY_LABEL / 2];
	char label[WSPROXY_LABEL + 1], held[64];
	struct listen want;
	struct buf b;

	if (random_bytes(raw, sizeof(raw)) == -1)
		return "no random bytes";
	buf_init(&b, label, sizeof(label));
	buf_hex(&b, raw, sizeof(raw));
	buf_char(&b, '\0');
	snprintf(w->name, sizeof(w->name), "%s%s", prefix, label);
	buf_init(&b, url, REGISTRY_URL_MAX);
	put_url(&b, c, label);
	memset(&want, 0, sizeof(want));
	want.id = 1;
	want.name = w->name;
	want.url = !b.full && url[0] != '\0' ? url : NULL;
	if (b.full)
		url[0] = '\0';
	if (registry_add(r, &w->ml.session) == -1)
		return "too many sessions";
	if (registry_listen(r, &w->ml.session, &want, held) == LISTEN_OK)
		return NULL;
	registry_remove(r, &w->ml.session, 1);
	return "no memory";
}

/* It is in: tell it, and then all that waits to be told. */
static void
announce(struct wsproxy *w, const struct caller *c, const char *url)
{
	char text[CONTROL_MAX + REGISTRY_URL_MAX];
	struct buf b;

	log_line(LOG_INFO, "tunnel_open", "name", w->name, "who", w->ml.session.identity.who, "peer", w->ml.session.peer, (char *)NULL);
	buf_init(&b, text, sizeof(text));
	wsproxy_put_ready(&b, url, open_port(w, c));
	say(w, how(w), &b, clock_ms(CLOCK_STEADY) + WRITE_MS);
	pthread_mutex_lock(&w->mtx);
	w->ready = 1;
	pthread_cond_broadcast(&w->said);
	pthread_mutex_unlock(&w->mtx);
}

/* A session for it, or NULL: it is answered. The pass is the session's then. */
static struct wsproxy *
upgrade(struct caller *c, const struct web_pass *pass)
{
	struct wsproxy *w;

	if (webgate_upgrade(c) == -1)
		return NULL;
	if (daemon_draining(c->d) || registry_sessions(c->d->registry) >= c->d->conf.sessions) {
		webgate_answer(c, 503, "not now");
		return NULL;
	}
	if ((w = wsproxy_new(c, pass)) == NULL)
		webgate_answer(c, 503, "no memory or descriptors are left");
	return w;
}

struct session *
wsproxy_accept(struct caller *c)
{
	char url[REGISTRY_URL_MAX];
	struct web_pass pass;
	struct wsproxy *w;
	const char *why;

	if (webgate_login(c, &pass) == -1 || webgate_take(c, &pass) == -1)
		return NULL;
	if ((w = upgrade(c, &pass)) == NULL) {
		webgate_give(c->d, &pass);
		return NULL;
	}
	webgate_switch(c, NULL);	/* if that fails the session ends at once */
	if ((why = admit(w, c, url)) == NULL)
		announce(w, c, url);
	else {
		w->ml.session.refused = 1;
		log_line(LOG_INFO, "refused", "status", "1013", "reason", why, "peer", c->peer, "id", c->request_id, (char *)NULL);
		link_close(w->ml.link, WS_TRY_AGAIN, why);
	}
	return &w->ml.session;
}
