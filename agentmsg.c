/*
 * agentmsg.c: sessions in the dialects that carry requests whole, with their own servers or with a tunneld in that dialect;
 * see agent.h and msgclient.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent.h"
#include "bifrostmsg.h"
#include "clock.h"
#include "json.h"
#include "jwt.h"
#include "msgclient.h"
#include "pipegatemsg.h"

enum {
	PIPEGATE_TIMEOUT_MS = 120000,	/* its server waits 300 s, */
	BIFROST_TIMEOUT_MS = 25000,	/* and a relay 30 s */
	PIPEGATE_PING_MS = 20000,
	BIFROST_PING_MS = 30000,
	PIPEGATE_ANSWER_MAX = 16777215,	/* a message that its server takes, bytes */
	BIFROST_ANSWER_MAX = 104857599,
	RENEW_MS = 45000,	/* a PipeGate server may hold a connection that broke for 40 s, and forgets the next one with it */
	NAME_TRIES = 8		/* of bifrost: a relay holds a name for up to a minute after a link broke */
};

/* Options. */

/* PipeGate: the tunnel's name is what the token says. 0, or -1 and *why. */
static int
take_id(struct tunnel_client *c, const char **why)
{
	struct jwt *t = malloc(sizeof(*t));
	char sub[JWT_TEXT_MAX + 1];
	struct str id = { sub, 0 };
	static const char no_sub[] = "has a JWT with a sub as its token";
	struct buf b;
	int rc = -1;

	*why = no_sub;
	if (t == NULL)
		return -1;
	/* the server is to judge it, but it must be one: as it is, it goes into a URL */
	if (jwt_shaped(c->token, strlen(c->token)) && (jwt_parse(t, c->token, strlen(c->token), why) == 0 || t->claims.n > 0) &&
	    json_get_str(&t->claims, 0, "sub", sub, sizeof(sub)) == 1 && sub[0] != '\0') {
		id.len = strlen(sub);
		buf_init(&b, c->id, sizeof(c->id) - 1);
		pipegate_put_path(&b, id);
		c->id[b.len] = '\0';
		rc = 0;
	}
	*why = no_sub;
	wipe(t, sizeof(*t));
	free(t);
	return rc;
}

/* What a dialect without registrations cannot have: NULL, or what is wrong with it. */
static const char *
not_native(const struct tunnel_client *c, const struct tunnel_options *o)
{
	const struct tunnel *t = &c->tunnel[0];

	if (c->ntunnels > 1)
		return "has one tunnel";
	if (t->tcp)
		return "has no TCP ports";
	if (t->path)
		return c->dialect == &agent_pipegate ? "has no --path: its tunnels are paths anyway" : "has no --path";
	if (o->share || o->connections > 1)
		return "has no --share and --connections: a name is one session's";
	if (o->key != NULL || o->host_key != NULL)
		return "has no --key-file and --host-key";
	if (o->nauth + o->nallow > 0)
		return "has no --auth-file, TUNNEL_AUTH and --allow: the server would let any caller in";
	if (c->dialect == &agent_pipegate && t->name[0] != '\0' && strcasecmp(t->name, c->id) != 0)
		return "has no --name: the token's sub is the name";
	if (c->dialect == &agent_bifrost && strchr(t->name, '.') != NULL)
		return "has no custom domains";
	return NULL;
}

/* Where callers come to, as far as a client can know. */
static void
guess_url(struct tunnel_client *c)
{
	const struct endpoint *e = &c->endpoint;
	struct tunnel *t = &c->tunnel[0];
	const char *scheme = e->tls ? "https" : "http";

	if (c->dialect == &agent_pipegate) {
		snprintf(c->prefix, sizeof(c->prefix), "%s/%s", e->path, c->id);
		snprintf(t->url, sizeof(t->url), "%s://%s%s/", scheme, e->authority, c->prefix);
	} else
		snprintf(t->url, sizeof(t->url), "%s://%s%s%s", scheme, t->name, t->name[0] != '\0' ? "." : "", e->authority);
}

static int
take(struct tunnel_client *c, const struct tunnel_options *o, const char **why)
{
	if (c->dialect == &agent_pipegate && take_id(c, why) == -1)
		return -1;
	if ((*why = not_native(c, o)) != NULL)
		return -1;
	guess_url(c);
	return 0;
}

/* Sessions. */

static struct msgclient *
msgclient_of(const struct session *s)
{
	return s->impl;
}

/* The server has been heard: callers can come. */
static void
on_heard(void *arg)
{
	struct session *s = arg;
	struct lane *lane = s->lane;
	struct tunnel_client *c = lane->c;
	struct tunnel *t = &c->tunnel[0];
	int again;

	lane->in_use = 0;
	pthread_mutex_lock(&c->mtx);
	s->ready = c->worked = 1;
	s->state[0] = LISTEN_READY;
	again = lane->served[0];
	lane->served[0] = 1;
	if (lane->renew_at != 0 && clock_ms(CLOCK_STEADY) >= lane->renew_at)
		lane->renew_at = 0;	/* this one began late enough */
	pthread_mutex_unlock(&c->mtx);
	agent_up(s, 0, t->url, "", again, 1);
}

static void
on_complaint(void *arg, const char *what)
{
	struct session *s = arg;
	char text[WHY_MAX];

	snprintf(text, sizeof(text), "the server sent what is no request: %s", what);
	agent_tell(s->lane->c, text, -1);
}

static int
open_session(struct session *s, struct shake *k, struct msgclient_conf *conf)
{
	struct tunnel_client *c = s->lane->c;

	conf->server.own.host = c->endpoint.authority;
	conf->server.own.scheme = c->endpoint.tls ? "https" : "http";
	conf->server.own.prefix = c->prefix;
	if (c->ping_ms != 0)
		conf->ping_ms = c->ping_ms > 0 ? c->ping_ms : 0;
	conf->local = c->local;
	conf->budget = &c->budget;
	conf->heard = on_heard;
	conf->complain = on_complaint;
	conf->arg = s;
	s->impl = msgclient_new(conf, &k->conn, k->buf + k->taken, k->len - k->taken);
	return s->impl != NULL ? 0 : -1;
}

/* An answer but 101, which is no refusal. */
static int
not_now(struct lane *lane, const struct shake *k, char *why, size_t whylen)
{
	struct tunnel_client *c = lane->c;
	int status = k->head.status;

	snprintf(why, whylen, "%.150s answered %d %s%s", c->endpoint.authority, status, http_reason(status),
	    status < 500 && status != 429 ? ": is the endpoint right?" : "");
	return 1;
}

/* As the lanes know them. */

/* A refusal may come behind the 101, and a tunneld registers the name behind it: callers can come once something else does. */
static void
begin(struct session *s)
{
	(void)s;
}

static struct link *
link_of(void *impl)
{
	return msgclient_link(impl);
}

static void
ref(void *impl)
{
	msgclient_ref(impl);
}

static void
unref(void *impl)
{
	msgclient_unref(impl);
}

static int
running(void *impl)
{
	return msgclient_running(impl);
}

static void
bye(void *impl)
{
	link_close(msgclient_link(impl), WS_NORMAL, "client stopped");
}

static void
end(void *impl)
{
	msgclient_end(impl);
}

/* PipeGate. */

static void
pipegate_request(struct lane *lane, struct shake *k, struct buf *target, struct buf *fields)
{
	struct tunnel_client *c = lane->c;

	(void)k;
	buf_str(target, c->endpoint.path);
	buf_str(target, "/?token=");
	buf_str(target, c->token);	/* a JWT: nothing of it needs an escape */
	buf_str(fields, "X-PipeGate-Max-Message: ");
	buf_u64(fields, MSGCLIENT_IN_MAX);
	buf_str(fields, "\r\n");
}

static int
pipegate_refused(struct lane *lane, const struct shake *k, char *why, size_t whylen)
{
	if (k->head.status != 403)
		return not_now(lane, k, why, whylen);
	agent_finish(lane->c, TUNNEL_DENIED, "the server refused the token (403): it is wrong, expired, or another server's", 0);
	return 0;
}

static int
pipegate_open(struct session *s, struct shake *k)
{
	struct msgclient_conf conf;

	memset(&conf, 0, sizeof(conf));
	conf.dialect = &pipegate_client;
	conf.ping_ms = PIPEGATE_PING_MS;
	conf.server.max = pipegate_takes(&k->head, 0);
	conf.server.ours = conf.server.max != 0;	/* the original says nothing */
	if (!conf.server.ours)
		conf.server.max = PIPEGATE_ANSWER_MAX;
	s->renew = !conf.server.ours;
	return open_session(s, k, &conf);
}

static void
pipegate_ended(struct session *s, int code, char *why, size_t whylen)
{
	struct tunnel_client *c = s->lane->c;
	int leaving;

	pthread_mutex_lock(&c->mtx);
	if ((leaving = s->leaving != 0) && s->lane->attempts == 0)
		s->lane->attempts = 1;	/* a moment, in which the server notices: it must not take the next one for this one */
	pthread_mutex_unlock(&c->mtx);
	if (leaving)
		snprintf(why, whylen, "closed, to connect anew: the server may forget this connection when it notices the end of the one before");
	if (code == WS_POLICY) {
		agent_finish(c, TUNNEL_DENIED, "the server ended the session (1008): the token is expired or revoked", 0);
		return;
	}
	if (!s->renew || link_closed_by_peer(msgclient_link(msgclient_of(s))))
		return;
	pthread_mutex_lock(&c->mtx);
	s->lane->renew_at = clock_ms(CLOCK_STEADY) + RENEW_MS;
	pthread_mutex_unlock(&c->mtx);
}

const struct agent_dialect agent_pipegate = {
	.name = "pipegate", .server = "PipeGate server", .own_path = "", .patient = 1, .timeout_ms = PIPEGATE_TIMEOUT_MS,
	.memory = MSGCLIENT_MEMORY, .take = take, .request = pipegate_request, .refused = pipegate_refused, .open = pipegate_open,
	.begin = begin, .ended = pipegate_ended, .link = link_of, .ref = ref, .unref = unref, .running = running, .bye = bye, .end = end
};

/* bifrost. */

static void
bifrost_request(struct lane *lane, struct shake *k, struct buf *target, struct buf *fields)
{
	struct tunnel_client *c = lane->c;
	const char *name = c->tunnel[0].name;

	(void)k;
	buf_str(target, c->endpoint.path);
	buf_str(target, name[0] != '\0' ? "/_bifrost/" : "/_bifrost");
	buf_str(target, name);
	buf_str(fields, "Authorization: Bearer ");
	buf_str(fields, c->token);
	buf_str(fields, "\r\n");
}

static int
bifrost_open(struct session *s, struct shake *k)
{
	struct msgclient_conf conf;

	memset(&conf, 0, sizeof(conf));
	conf.dialect = &bifrost_client;
	conf.ping_ms = BIFROST_PING_MS;
	conf.server.max = BIFROST_ANSWER_MAX;
	return open_session(s, k, &conf);
}

static void
bifrost_ended(struct session *s, int code, char *why, size_t whylen)
{
	struct lane *lane = s->lane;
	const char *said = link_said(msgclient_link(msgclient_of(s)));

	if (code != WS_POLICY)
		return;
	if (strcmp(said, "name already in use") == 0) {	/* by a ghost, maybe */
		snprintf(why, whylen, "the relay says: %s", said);
		if (++lane->in_use >= NAME_TRIES)
			agent_lost(lane->c, s, 0, TUNNEL_LOST, "name_in_use", "");
		return;
	}
	snprintf(why, whylen, "the relay refused the token (1008): %.200s", said[0] != '\0' ? said : "unauthorized");
	agent_finish(lane->c, TUNNEL_DENIED, why, 0);
}

const struct agent_dialect agent_bifrost = {
	.name = "bifrost", .server = "bifrost relay", .own_path = "/_bifrost", .patient = 1, .timeout_ms = BIFROST_TIMEOUT_MS,
	.memory = MSGCLIENT_MEMORY, .take = take, .request = bifrost_request, .refused = not_now, .open = bifrost_open,
	.begin = begin, .ended = bifrost_ended, .link = link_of, .ref = ref, .unref = unref, .running = running, .bye = bye, .end = end
};
