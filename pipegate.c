/* pipegate.c: the PipeGate dialect on the daemon's side; see pipegate.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "clock.h"
#include "handshake.h"
#include "jwtauth.h"
#include "log.h"
#include "login.h"
#include "msglink.h"
#include "pipegate.h"
#include "pipegatemsg.h"

enum {
	ANSWER_MAX = 104857600,	/* a message from a client, bytes */
	REQUEST_MAX = 1048576,	/* a message that every client takes; a byte more ends it for good */
	HEAD_ROOM = 512,	/* bytes of a message that are neither fields nor content, at least */
	PING_MS = 20000		/* or the daemon's own interval, if that is shorter */
};

struct pipegate {
	struct msglink ml;
	char name[1 + PIPEGATE_ID_MAX + 1];	/* "/id" */
	size_t request_max;	/* a message to the client, bytes */
};

static struct pipegate *
pipegate_of(struct session *s)
{
	return s->impl;
}

/* Its messages. */

static int
encode(void *arg, const struct message *m, char **text, size_t *len)
{
	struct pipegate *p = arg;

	return pipegate_encode(m, p->request_max, text, len);
}

static void
take(void *arg, uint8_t opcode, char *text, size_t len)
{
	struct pipegate *p = arg;
	struct pipegate_answer a;

	(void)opcode;	/* text or binary, all the same */
	if (pipegate_decode(&a, text, len, messages_asked, p->ml.messages))
		messages_answer(p->ml.messages, a.id, a.head, a.body);
	if (a.why != NULL)
		log_line(LOG_INFO, "bad_answer", "reason", a.why, "name", p->name, "peer", p->ml.session.peer, (char *)NULL);
	free(a.memory);
}

static const struct msglink_ops ml_ops = { encode, take, pipegate_id, NULL, NULL, NULL, NULL, MESSAGE_UUID };

/* What the core wants of a dialect. */

static void
d_end(struct session *s, int code, const char *reason)
{
	struct link *l = pipegate_of(s)->ml.link;

	if (code == 0)
		link_abort(l);
	else
		link_close(l, code == WS_GOING_AWAY ? WS_RESTART : code, reason);
}

static void
d_free(struct session *s)
{
	struct pipegate *p = pipegate_of(s);

	msglink_free(&p->ml);
	free(p);
}

/* A close frame is all that such a client is told. It would not come again if it were to drain: it stays as long as it can. */
static const struct dialect dialect = {
	.name = "pipegate", .whole = 1, .open = msglink_stream, .end = d_end,
	.tally = msglink_tally, .alive = msglink_alive, .run = msglink_run, .free = d_free
};

/* The handshake. */

enum pipegate_verdict
pipegate_is(const struct http_head *h)
{
	struct str target = h->target;
	char token[JWT_MAX + 1];
	long n;

	if (target.len == 0 || target.p[0] != '/' || (target.len > 1 && target.p[1] != '?') || !ws_is_upgrade(h) ||
	    http_field(h, "Sec-WebSocket-Protocol") != NULL)
		return PIPEGATE_NO;
	n = pipegate_token(target, token, sizeof(token));
	return n > 0 && jwt_shaped(token, (size_t)n) ? PIPEGATE_YES : PIPEGATE_MAYBE;
}

/* PipeGate's tokens of before April 2026 have sub and exp alone; the others by all of its rules. */
static int
judge(struct daemon *d, const struct jwt *t, int64_t now, struct jwt_claims *claims, const char **why)
{
	static const char issuer[] = "pipegate";
	struct jwt_rules legacy;
	const char *iss = d->conf.jwt.issuer != NULL ? d->conf.jwt.issuer : issuer;

	if (jwtauth_judge(d->jwt, t, 1, now, claims, why) == 0)
		return 0;
	memset(&legacy, 0, sizeof(legacy));
	if (!d->conf.pipegate_legacy || json_member(&t->claims, 0, "iss") != 0 || json_member(&t->claims, 0, "aud") != 0 ||
	    jwt_judge(t, &legacy, now, claims, why) == -1)
		return -1;
	snprintf(claims->iss, sizeof(claims->iss), "%s", iss);	/* the same id is the same client's, whatever its token's age */
	return 0;
}

/* Whose is the token in the target? 0, *who and the name; or -1 and *why. */
static int
identify(struct caller *c, struct identity *who, char name[1 + PIPEGATE_ID_MAX + 1], const char **why)
{
	struct jwt *t = malloc(sizeof(*t));
	char *token = c->exchange.request;	/* there is none */
	struct jwt_claims claims;
	int64_t now = clock_ms(CLOCK_WALL) / 1000;
	long n = pipegate_token(c->head.target, token, JWT_MAX + 1);
	struct str credential;
	int rc = JWTAUTH_LATER;

	*why = t == NULL ? "no memory" : n == -1 ? "no token" : "no JWT is believed here";
	if (t != NULL && n >= 0 && c->d->jwt != NULL && (rc = jwtauth_verify(c->d->jwt, t, token, (size_t)n, why)) == 0)
		rc = judge(c->d, t, now, &claims, why);
	if (rc == -1) {
		credential.p = token;
		credential.len = (size_t)n;
		login_failed(c, &credential);
	}
	if (rc == 0) {
		rc = -1;
		*why = "sub is no id: letters, digits, and what needs no escape in a path; health, healthz, relay and tunnel are taken";
		if (pipegate_id_ok(claims.sub)) {
			auth_jwt(who, &claims);
			who->expires = claims.exp + (c->d->conf.jwt.leeway_ms > 0 ? c->d->conf.jwt.leeway_ms / 1000 : 0);
			name[0] = '/';
			memcpy(name + 1, claims.sub, strlen(claims.sub) + 1);
			daemon_reload(c->d, 0);
			*why = auth_lost(c->d->auth, who, now);
			rc = *why == NULL ? 0 : -1;
		}
	}
	free(t);
	return rc == 0 ? 0 : -1;
}

static struct pipegate *
pipegate_new(struct caller *c, const struct identity *who, const struct buf *answer)
{
	struct pipegate *p = calloc(1, sizeof(*p));
	const struct daemon_conf *d = &c->d->conf;
	struct link_conf conf;
	size_t content;

	if (p == NULL)
		return NULL;
	p->ml.d = c->d;
	p->request_max = pipegate_takes(&c->head, REQUEST_MAX);
	content = (p->request_max - HEAD_ROOM) / 4 * 3;
	p->ml.session.dialect = &dialect;
	p->ml.session.impl = p;
	p->ml.session.identity = *who;
	p->ml.session.since = clock_ms(CLOCK_WALL);
	p->ml.session.refs = 1;
	p->ml.session.timeout_ms = d->pipegate_timeout_ms;
	p->ml.session.content_max = content < (size_t)d->content ? content : (size_t)d->content;
	p->ml.session.methods = PIPEGATE_METHODS;
	memcpy(p->ml.session.peer, c->peer, sizeof(c->peer));
	memset(&conf, 0, sizeof(conf));
	conf.ping_ms = d->ping_ms < PING_MS ? d->ping_ms : PING_MS;
	conf.message_max = ANSWER_MAX;
	conf.stall_ms = d->stall_ms;
	conf.utf8 = 1;
	if (msglink_open(&p->ml, &ml_ops, p, &c->conn, &conf, (int)d->streams, &c->d->bodies,
	    c->in + c->at, c->len - c->at) == 0 && link_greet(p->ml.link, answer->p, answer->len) == 0)
		return p;
	d_free(&p->ml.session);
	return NULL;
}

/* A status to refuse with, before the 101: the original's clients come again then, and never after it. */
static int
refuse(struct caller *c, struct identity *who, char *name, char accept[WS_ACCEPT_LEN + 1], const char **why)
{
	struct registry *r = c->d->registry;
	int status = ws_server_check(&c->head, NULL, accept, why);

	if (status != 101)
		return status;
	*why = login_later;
	if (login_waits(c))
		return 429;
	if (identify(c, who, name, why) == -1)
		return 403;
	*why = "another client has this path";
	if (registry_has(r, name + 1, 1))
		return 409;
	*why = "too many sessions";
	if (registry_sessions(r) >= c->d->conf.sessions)
		return 429;
	*why = "the daemon is shutting down";
	return daemon_draining(c->d) ? 503 : 101;
}

/* Where callers come to: the host that the client has found us at, or --url, which knows better. */
static void
put_url(struct buf *b, const struct caller *c, const char *name)
{
	const char *url = c->d->conf.url;

	if (url[0] != '\0')
		buf_put(b, url, strlen(url) - (url[strlen(url) - 1] == '/'));
	else {
		buf_str(b, caller_secure(c) ? "https://" : "http://");
		buf_put(b, c->head.host.p, c->head.host.len);
	}
	buf_str(b, name);
	buf_str(b, "/");
	buf_char(b, '\0');
}

/* Into the registry, before the 101 is out: the client is told no more. NULL, or why it cannot be, although that was looked at before. */
static const char *
admit(struct pipegate *p, const struct caller *c)
{
	struct registry *r = p->ml.d->registry;
	struct listen want;
	char held[64], url[REGISTRY_URL_MAX];
	struct buf b;

	memset(&want, 0, sizeof(want));
	buf_init(&b, url, sizeof(url));
	put_url(&b, c, p->name);
	if (!b.full)
		want.path_url = url;
	want.id = 1;
	want.name = p->name;
	want.path = want.share = 1;	/* one that lost its name would be lost, too */
	if (registry_add(r, &p->ml.session) == -1)
		return "too many sessions";
	if (registry_listen(r, &p->ml.session, &want, held) == LISTEN_OK)
		return NULL;
	registry_remove(r, &p->ml.session, 1);
	return "another client has this path, or no memory is left";
}

static struct session *
refused(struct caller *c, int status, const char *why)
{
	c->close = 1;
	if (status == 403)
		caller_refuse_client(c, status, why);
	else
		caller_error(c, status, why, NULL, caller_fields(c, status));
	return NULL;
}

struct session *
pipegate_accept(struct caller *c)
{
	char accept[WS_ACCEPT_LEN + 1], text[256], name[1 + PIPEGATE_ID_MAX + 1];
	struct pipegate *p;
	struct identity who;
	const char *why;
	struct buf out;
	int status;

	memset(&who, 0, sizeof(who));
	if ((status = refuse(c, &who, name, accept, &why)) != 101)
		return refused(c, status, why);
	buf_init(&out, text, sizeof(text));
	ws_server_answer(&out, accept, NULL);
	out.len -= 2;		/* the empty line: a client of ours is told what it may answer, by which it knows us, too */
	buf_str(&out, "X-PipeGate-Max-Message: ");
	buf_u64(&out, ANSWER_MAX);
	buf_str(&out, "\r\n\r\n");
	if ((p = pipegate_new(c, &who, &out)) == NULL)
		return refused(c, 503, "no memory or descriptors are left");
	memcpy(p->name, name, sizeof(name));
	if ((why = admit(p, c)) == NULL)
		log_line(LOG_INFO, "tunnel_open", "name", p->name, "who", p->ml.session.identity.who,
		    "peer", p->ml.session.peer, (char *)NULL);
	else {
		p->ml.session.refused = 1;
		log_line(LOG_INFO, "refused", "status", "1013", "reason", why, "peer", c->peer,
		    "id", c->request_id, (char *)NULL);
		link_close(p->ml.link, WS_TRY_AGAIN, why);
	}
	return &p->ml.session;
}
