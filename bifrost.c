/* bifrost.c: the bifrost dialect on the daemon's side; see bifrost.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bifrost.h"
#include "bifrostmsg.h"
#include "caller.h"
#include "clock.h"
#include "handshake.h"
#include "log.h"
#include "login.h"
#include "msglink.h"

enum {
	ANSWER_MAX = 104857600,	/* a message, bytes */
	PROBE_MS = 3000		/* for a name's holder to answer a ping */
};

static const char unauthorized[] = "unauthorized", in_use[] = "name already in use";

struct bifrost {
	struct msglink ml;
	char name[NAME_LEN_MAX + 1];
	pthread_mutex_t mtx;	/* guards what follows; alone */
	int leaving;		/* its name was taken: closed when nothing runs */
};

static struct bifrost *
bifrost_of(struct session *s)
{
	return s->impl;
}

/* Its messages. */

static void
close_if_idle(void *arg)
{
	struct bifrost *b = arg;
	int leaving;

	pthread_mutex_lock(&b->mtx);
	leaving = b->leaving;
	pthread_mutex_unlock(&b->mtx);
	if (leaving && messages_open_ones(b->ml.messages) == 0)
		link_close(b->ml.link, WS_POLICY, in_use);
}

static int
encode(void *arg, const struct message *m, char **text, size_t *len)
{
	(void)arg;
	return bifrost_encode(m, text, len);
}

static void
take(void *arg, uint8_t opcode, char *text, size_t len)
{
	struct bifrost *b = arg;
	struct bifrost_answer a;

	(void)opcode;	/* text or binary, all the same */
	if (!bifrost_decode(&a, text, len, messages_asked, b->ml.messages))
		return;
	messages_answer(b->ml.messages, a.id, a.head, a.body);
	free(a.memory);
}

static const struct msglink_ops ml_ops = { encode, take, bifrost_id, close_if_idle, NULL, NULL, NULL, MESSAGE_UUID };

/* What the core wants of a dialect. */

static void
d_gone(struct session *s, uint32_t id, const char *code)
{
	struct bifrost *b = bifrost_of(s);

	(void)id;
	if (strcmp(code, "taken_over") != 0)
		return;		/* the session is ended, too */
	pthread_mutex_lock(&b->mtx);
	b->leaving = 1;
	pthread_mutex_unlock(&b->mtx);
	close_if_idle(b);
}

static void
d_end(struct session *s, int code, const char *reason)
{
	if (code == 0)
		link_abort(bifrost_of(s)->ml.link);
	else
		link_close(bifrost_of(s)->ml.link, code, code == WS_POLICY ? unauthorized : reason);
}

static void
d_free(struct session *s)
{
	struct bifrost *b = bifrost_of(s);

	msglink_free(&b->ml);
	pthread_mutex_destroy(&b->mtx);
	free(b);
}

/* It knows nothing of draining: it comes again after the close. */
static const struct dialect dialect = {
	.name = "bifrost", .whole = 1, .open = msglink_stream, .gone = d_gone, .end = d_end,
	.tally = msglink_tally, .alive = msglink_alive, .run = msglink_run, .free = d_free
};

int
bifrost_holds(struct daemon *d, const char *name)
{
	return registry_speaks(d->registry, name, dialect.name);
}

/* The handshake. */

/* What is behind the prefix, up to a query: *name. 0: it is not bifrost's path. */
static int
split(struct str path, struct str *name)
{
	static const char prefix[] = "/_bifrost";
	size_t n = sizeof(prefix) - 1;
	const char *query = path.len > 0 ? memchr(path.p, '?', path.len) : NULL;

	if (query != NULL)
		path.len = (size_t)(query - path.p);
	if (path.len > 1 && path.p[0] == '/' && path.p[1] == '/') {	/* of an endpoint with a final '/' */
		path.p++;
		path.len--;
	}
	if (path.len < n || !http_same(path.p, prefix, n))
		return 0;
	name->p = path.p + n;
	name->len = path.len - n;
	if (name->len == 0)
		return memcmp(path.p, prefix, n) == 0;	/* the short form knows its case */
	if (name->p[0] != '/')
		return 0;
	name->p++;
	name->len--;
	if (name->len > 0 && name->p[name->len - 1] == '/')
		name->len--;
	return 1;
}

int
bifrost_is(struct str path)
{
	struct str name;

	return split(path, &name);
}

/* The tunnel's name in lower case, "default" if there is none in the path. 0, or -1: no name. */
static int
take_name(struct str target, char name[NAME_LEN_MAX + 1])
{
	struct str s;
	size_t i;

	if (!split(target, &s) || s.len > NAME_LEN_MAX || memchr(s.p, '.', s.len) != NULL)
		return -1;
	for (i = 0; i < s.len; i++)
		name[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] - 'A' + 'a') : s.p[i];
	name[i] = '\0';
	if (s.len == 0)
		memcpy(name, "default", sizeof("default"));
	return name_ok(name) ? 0 : -1;
}

/* Is the name's holder there? Another credential's is left in peace: the name would stay its own. */
static int
holder_lives(struct bifrost *b)
{
	struct session *other = registry_holder(b->ml.d->registry, b->name);
	int alive;

	if (other == NULL)
		return 0;
	link_owe(b->ml.link);	/* the 101, for this may take its time */
	alive = strcmp(other->identity.who, b->ml.session.identity.who) != 0 ||
	    other->dialect->alive(other, clock_ms(CLOCK_STEADY) + PROBE_MS);
	if (!alive)	/* a ghost: its connection has broken without a word */
		other->dialect->end(other, 0, "");
	session_unref(b->ml.d->registry, other);
	return alive;
}

/* May this credential serve the name, and is it free? NULL, or why not, and *code. */
static const char *
admit(struct bifrost *b, struct caller *c, int *code)
{
	const struct str *field = http_field(&c->head, "Authorization");
	struct daemon *d = b->ml.d;
	char held[64];
	const struct listen want = { 1, b->name, 0, 0, NULL, NULL, NULL, NULL, 0 };
	enum listen_result rc;
	int status;

	*code = WS_POLICY;	/* which is final for the client */
	/* its own platform takes one blank, and the scheme as it is written */
	if (field == NULL || field->len < 8 || memcmp(field->p, "Bearer ", 7) != 0 || field->p[7] == ' ')
		return unauthorized;
	if ((status = login_bearer(c, &b->ml.session.identity)) == 503 || status == 429) {
		*code = WS_TRY_AGAIN;
		return "not now";
	}
	if (status != 0 || !scope_has_name(b->ml.session.identity.scope, b->name))
		return unauthorized;
	if (holder_lives(b))
		return in_use;
	*code = WS_TRY_AGAIN;
	if (registry_add(d->registry, &b->ml.session) == -1)
		return "too many sessions";
	if ((rc = registry_listen(d->registry, &b->ml.session, &want, held)) == LISTEN_OK)
		return NULL;
	registry_remove(d->registry, &b->ml.session, 1);
	if (rc != LISTEN_IN_USE)
		return "no memory";
	*code = WS_POLICY;
	return in_use;
}

static struct bifrost *
bifrost_new(struct caller *c, const char *accept)
{
	struct bifrost *b = calloc(1, sizeof(*b));
	struct link_conf conf;
	struct buf answer;
	char text[256];

	if (b == NULL)
		return NULL;
	b->ml.d = c->d;
	b->ml.session.dialect = &dialect;
	b->ml.session.impl = b;
	b->ml.session.since = clock_ms(CLOCK_WALL);
	b->ml.session.refs = 1;
	b->ml.session.content_max = (size_t)c->d->conf.content;
	memcpy(b->ml.session.peer, c->peer, sizeof(c->peer));
	memcpy(b->ml.session.identity.who, "-", 2);
	pthread_mutex_init(&b->mtx, NULL);
	memset(&conf, 0, sizeof(conf));
	conf.ping_ms = c->d->conf.ping_ms;
	conf.message_max = ANSWER_MAX;
	conf.stall_ms = c->d->conf.timeout_ms;
	conf.utf8 = 1;
	buf_init(&answer, text, sizeof(text));
	ws_server_answer(&answer, accept, NULL);
	if (msglink_open(&b->ml, &ml_ops, b, &c->conn, &conf, (int)c->d->conf.streams, &c->d->bodies,
	    c->in + c->at, c->len - c->at) == 0 && link_greet(b->ml.link, answer.p, answer.len) == 0)
		return b;
	d_free(&b->ml.session);
	return NULL;
}

struct session *
bifrost_accept(struct caller *c)
{
	char accept[WS_ACCEPT_LEN + 1], name[NAME_LEN_MAX + 1];
	const char *why = "";
	struct bifrost *b = NULL;
	struct identity who;
	int code, status = ws_server_check(&c->head, NULL, accept, &why);

	if (status == 101 && take_name(c->head.target, name) == -1) {
		why = "no tunnel can have this name";
		status = 400;
	}
	if (status == 101 && login_waits(c) && login_bearer(c, &who) != 0) {
		why = login_later;
		status = 429;
	}
	if (status == 101 && (b = bifrost_new(c, accept)) == NULL) {
		why = "no memory or descriptors are left";
		status = 503;
	}
	if (status != 101) {
		c->close = 1;
		caller_error(c, status, why, NULL, caller_fields(c, status));
		return NULL;
	}
	memcpy(b->name, name, sizeof(name));
	if (daemon_draining(c->d)) {
		b->ml.session.refused = 1;
		link_close(b->ml.link, WS_GOING_AWAY, "shutting down");
	} else if ((why = admit(b, c, &code)) != NULL) {
		b->ml.session.refused = 1;
		log_line(LOG_INFO, "refused", "status", code == WS_POLICY ? "1008" : "1013", "reason", why, "peer", c->peer,
		    "id", c->request_id, (char *)NULL);
		link_close(b->ml.link, code, why);
	} else
		log_line(LOG_INFO, "tunnel_open", "name", b->name, "who", b->ml.session.identity.who,
		    "peer", b->ml.session.peer, (char *)NULL);
	return &b->ml.session;
}
