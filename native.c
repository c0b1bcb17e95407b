/* native.c: the native dialect on the daemon's side; see native.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "clock.h"
#include "guard.h"
#include "handshake.h"
#include "json.h"
#include "log.h"
#include "login.h"
#include "native.h"
#include "ports.h"
#include "route.h"
#include "urls.h"

enum {
	MESSAGE_MAX = 1 << 20,	/* a WebSocket message, bytes */
	NODES = 256,		/* JSON values in a control object */
	ENDPOINT_MAX = 300,
	WRITE_MS = 5000
};

static const char protocol[] = "tunnel.v1";

struct native {
	struct daemon *d;
	struct session session;
	struct mux *mux;
	/* the reader's */
	int hello;			/* the client has said it */
	char endpoint[ENDPOINT_MAX];	/* what the client dialled: "wss://tunnel.example.com" */
	int orderly;			/* it said go away */
};

static struct native *
native_of(struct session *s)
{
	return s->impl;
}

/* Control objects out. */

static void
say(struct native *n, const struct buf *b)
{
	if (mux_control(n->mux, b->p, b->len) == -1 && !mux_ended(n->mux)) {
		log_line(LOG_WARN, "control_full", "peer", n->session.peer, (char *)NULL);
		link_close(mux_link(n->mux), WS_POLICY, "control objects are not read");
	}
}

static void
put_id(struct buf *b, uint32_t id)
{
	json_put_name(b, "id");
	buf_u64(b, id);
}

static void
say_error(struct native *n, uint32_t id, const char *code, const char *message)
{
	char text[1024];
	struct buf b;

	log_line(LOG_INFO, "listen_refused", "code", code, "reason", message,
	    "peer", n->session.peer, "who", n->session.identity.who, (char *)NULL);
	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "error");
	if (id != 0)
		put_id(&b, id);
	json_put_member(&b, "code", code);
	json_put_member(&b, "message", message);
	buf_str(&b, "}");
	say(n, &b);
}

static void
say_gone(struct native *n, uint32_t id, const char *code)
{
	char text[256];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "gone");
	put_id(&b, id);
	if (code != NULL)
		json_put_member(&b, "code", code);
	buf_str(&b, "}");
	say(n, &b);
}

static void
put_guarded(struct buf *b, int guarded)
{
	if (!guarded)
		return;
	json_put_name(b, "guarded");
	buf_str(b, "true");
}

static void
say_ready(struct native *n, const struct listen *l, int guarded)
{
	char text[2048];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "ready");
	put_id(&b, l->id);
	json_put_member(&b, "url", l->url);
	if (l->path_url != NULL)
		json_put_member(&b, "path_url", l->path_url);
	put_guarded(&b, guarded);
	buf_str(&b, "}");
	say(n, &b);
}

/* Control objects in, in the reader. */

static void
hello(struct native *n, const struct json *j)
{
	const struct daemon_conf *conf = &n->d->conf;
	char text[512];
	struct buf b;

	if (json_get_str(j, 0, "instance", n->session.instance, sizeof(n->session.instance)) != 1)
		n->session.instance[0] = '\0';
	if (json_get_str(j, 0, "endpoint", n->endpoint, sizeof(n->endpoint)) != 1)
		n->endpoint[0] = '\0';
	n->hello = 1;
	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "hello");
	json_put_member(&b, "version", VERSION);
	json_put_member(&b, "domain", conf->domain[0] != '\0' ? conf->domain : "tunnel.localhost");
	json_put_name(&b, "ping");
	buf_u64(&b, (unsigned long long)(conf->ping_ms + 999) / 1000);
	buf_str(&b, "}");
	say(n, &b);
}

static int
path_name_ok(const char *name)
{
	return strcmp(name, "health") != 0 && strcmp(name, "healthz") != 0 &&
	    strcmp(name, "relay") != 0 && strcmp(name, "tunnel") != 0 && name[0] != '_';
}

/* The strings of an array called name, each given to add. How many, or -1 and *why. */
static int
add_all(const struct json *j, const char *name, struct guard *g,
    int (*add)(struct guard *, const char *, const char **), const char **why)
{
	size_t list = json_member(j, 0, name), i;
	char text[2 * SHA256_LEN + 1];
	int n = 0;

	*why = "auth and allow are arrays of strings, of one at least";
	if (list == 0 || j->node[list].type == JSON_NULL)
		return 0;
	if (j->node[list].type != JSON_ARRAY || j->node[list].size == 0)
		return -1;
	for (i = json_first(j, list); i < j->node[list].next; i = j->node[i].next, n++)
		if (j->node[i].type != JSON_STRING || json_unescape(j, i, text, sizeof(text)) == -1 ||
		    add(g, text, why) == -1)
			return -1;
	return n;
}

/* Who the callers of a listen's tunnel are. 0 and *out, from malloc, NULL for anybody; or -1 and *why. */
static int
take_guard(const struct json *j, struct guard **out, const char **why)
{
	struct guard *g = calloc(1, sizeof(*g));
	int nets, users;

	*out = NULL;
	*why = "the daemon has no memory left";
	if (g == NULL)
		return -1;
	users = add_all(j, "auth", g, guard_add_user, why);
	nets = users == -1 ? -1 : add_all(j, "allow", g, guard_add_net, why);
	if (users > 0 || nets > 0)
		*out = g;
	if (nets == -1 || *out == NULL)
		free(g);
	return nets == -1 ? -1 : 0;
}

static void
listen_http(struct native *n, const struct json *j, uint32_t id)
{
	char name[NAME_LEN_MAX + 1], url[REGISTRY_URL_MAX], path_url[REGISTRY_URL_MAX], held[64], message[160];
	struct listen want = { id, name, 0, 0, NULL, url, NULL, NULL, 0 };
	struct buf b;
	const char *why;
	int rc, guarded;

	rc = json_get_str(j, 0, "name", name, sizeof(name));
	if (rc == 0 && !scope_only_name(n->session.identity.scope, name))
		memcpy(name, "default", sizeof("default"));
	if (json_get_bool(j, 0, "path", &want.path) == -1 || json_get_bool(j, 0, "share", &want.share) == -1)
		rc = -1;
	name_fold(name);
	if (rc == -1 || !name_ok(name)) {
		say_error(n, id, "bad_name", "a name is 1 to 63 of a-z, 0-9 and '-', first a letter or digit");
		return;
	}
	if (want.path && !path_name_ok(name)) {
		say_error(n, id, "bad_name", "by path this name is the daemon's own");
		return;
	}
	if (route_reserved(&n->d->conf, name)) {
		say_error(n, id, "forbidden", "this name is the daemon's own");
		return;
	}
	if (!scope_has_name(n->session.identity.scope, name)) {
		say_error(n, id, "forbidden", "the token's scope does not hold this name");
		return;
	}
	if (take_guard(j, &want.guard, &why) == -1) {
		say_error(n, id, "bad_guard", why);
		return;
	}
	guarded = want.guard != NULL;
	buf_init(&b, url, sizeof(url));
	url_put_name(&b, &n->d->conf, n->endpoint, name);
	if (want.path) {
		buf_init(&b, path_url, sizeof(path_url));
		url_put_path(&b, &n->d->conf, n->endpoint, name);
		want.path_url = path_url;
	}
	switch (registry_listen(n->d->registry, &n->session, &want, held)) {
	case LISTEN_OK:
		log_line(LOG_INFO, "tunnel_open", "name", name, "who", n->session.identity.who,
		    "peer", n->session.peer, "guarded", guarded ? "yes" : NULL, (char *)NULL);
		say_ready(n, &want, guarded);
		break;
	case LISTEN_IN_USE:
		snprintf(message, sizeof(message), "held by %s", held);
		say_error(n, id, "name_in_use", message);
		break;
	case LISTEN_LIMIT:
		say_error(n, id, "limit", "this session holds as many tunnels as it may");
		break;
	default:
		say_error(n, id, "limit", "the daemon has no memory left");
		break;
	}
}

static void
say_port(struct native *n, uint32_t id, const struct port_got *got, int guarded)
{
	char text[512];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "ready");
	put_id(&b, id);
	json_put_name(&b, "port");
	buf_u64(&b, got->number);
	json_put_member(&b, "addr", got->addr);
	put_guarded(&b, guarded);
	buf_str(&b, "}");
	say(n, &b);
}

static void
listen_tcp(struct native *n, const struct json *j, uint32_t id)
{
	char bind[16], message[PORT_MESSAGE_MAX];
	struct port_want want;
	struct port_got got;
	struct url_base base;
	const char *code, *why;
	int64_t number;
	int guarded;

	memset(&want, 0, sizeof(want));
	want.id = id;
	if (json_get_str(j, 0, "bind", bind, sizeof(bind)) != 1)
		memcpy(bind, "loopback", sizeof("loopback"));
	want.public = strcmp(bind, "public") == 0;
	if (json_get_int(j, 0, "port", 0, 65535, &number) != 1 || json_get_bool(j, 0, "share", &want.share) == -1 ||
	    (!want.public && strcmp(bind, "loopback") != 0)) {
		say_error(n, id, "bad_port", "port is a number from 0 to 65535, bind is loopback or public");
		return;
	}
	if (take_guard(j, &want.guard, &why) == -1) {
		say_error(n, id, "bad_guard", why);
		return;
	}
	guarded = want.guard != NULL;
	url_base(&base, &n->d->conf, n->endpoint);
	want.number = (unsigned)number;
	want.host = base.host;
	if ((code = port_listen(n->d, &n->session, &want, &got, message)) != NULL) {
		say_error(n, id, code, message);
		return;
	}
	log_line(LOG_INFO, "tunnel_open", "name", got.name, "addr", got.addr, "who", n->session.identity.who,
	    "peer", n->session.peer, "guarded", guarded ? "yes" : NULL, (char *)NULL);
	say_port(n, id, &got, guarded);
}

static void
do_listen(struct native *n, const struct json *j)
{
	char kind[8];
	int64_t id;

	if (json_get_int(j, 0, "id", 1, UINT32_MAX, &id) != 1) {
		say_error(n, 0, "bad_name", "listen needs an id, a number from 1 to 4294967295");
		return;
	}
	if (json_get_str(j, 0, "kind", kind, sizeof(kind)) != 1)
		kind[0] = '\0';
	if (strcmp(kind, "http") == 0)
		listen_http(n, j, (uint32_t)id);
	else if (strcmp(kind, "tcp") == 0)
		listen_tcp(n, j, (uint32_t)id);
	else
		say_error(n, (uint32_t)id, "bad_name", "kind is http or tcp");
}

static void
do_unlisten(struct native *n, const struct json *j)
{
	int64_t id;

	if (json_get_int(j, 0, "id", 1, UINT32_MAX, &id) != 1)
		say_error(n, 0, "bad_name", "unlisten needs an id");
	else {
		registry_unlisten(n->d->registry, &n->session, (uint32_t)id);
		say_gone(n, (uint32_t)id, NULL);
	}
}

static void
take_line(struct native *n, struct json_node node[NODES], const char *line, size_t len)
{
	struct json j;
	const char *why;
	char op[32];
	int rc;

	rc = json_parse(&j, node, NODES, line, len, &why);
	if (rc == -1 || json_get_str(&j, 0, "op", op, sizeof(op)) != 1 ||
	    (!n->hello && strcmp(op, "hello") != 0)) {
		log_line(LOG_WARN, "bad_control", "peer", n->session.peer, "reason",
		    rc == -1 ? why : "no op, or no hello before it", (char *)NULL);
		link_close(mux_link(n->mux), WS_PROTOCOL_ERROR, "not a control object");
		return;
	}
	if (strcmp(op, "hello") == 0 && n->hello)
		link_close(mux_link(n->mux), WS_PROTOCOL_ERROR, "hello twice");
	else if (strcmp(op, "hello") == 0)
		hello(n, &j);
	else if (strcmp(op, "listen") == 0)
		do_listen(n, &j);
	else if (strcmp(op, "unlisten") == 0)
		do_unlisten(n, &j);
	else if (strcmp(op, "error") != 0)	/* never answer an error with one */
		say_error(n, 0, "unknown_op", "this daemon does not know that op");
}

/* The nodes are on the heap: on the stack each session's thread would keep their pages for good. */
static void
on_line(void *arg, const char *line, size_t len)
{
	struct native *n = arg;
	struct json_node *node = malloc(NODES * sizeof(*node));

	if (node != NULL)
		take_line(n, node, line, len);
	else
		link_close(mux_link(n->mux), WS_INTERNAL, "no memory");
	free(node);
}

static int
on_accept(void *arg, struct stream *s)
{
	(void)arg;
	(void)s;
	return 0;		/* only control streams come from clients */
}

static void
on_go_away(void *arg, uint32_t reason)
{
	struct native *n = arg;

	if (reason == 0)
		n->orderly = 1;
}

static const struct mux_ops mux_ops = { on_accept, on_line, on_go_away };

/* What the core asks of a session. */

static struct stream *
native_open(struct session *s, uint64_t *tally, int64_t deadline)
{
	return mux_open(native_of(s)->mux, tally, deadline);
}

static void
native_preface(struct buf *b, const struct holder *h, const char *peer, const char *local)
{
	buf_str(b, "{");
	put_id(b, h->listen_id);
	json_put_member(b, "peer", peer);
	if (local != NULL)
		json_put_member(b, "local", local);
	buf_str(b, "}\n");
}

static void
native_gone(struct session *s, uint32_t id, const char *code)
{
	say_gone(native_of(s), id, code);
}

static void
native_drain(struct session *s)
{
	char text[32];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "drain");
	buf_str(&b, "}");
	say(native_of(s), &b);
}

static void
native_end(struct session *s, int code, const char *reason)
{
	struct native *n = native_of(s);

	if (code == 0) {
		link_abort(mux_link(n->mux));
		return;
	}
	if (code == WS_GOING_AWAY)
		mux_go_away(n->mux, 0);
	link_close(mux_link(n->mux), code, reason);
}

static void
native_tally(struct session *s, const uint64_t from[2], uint64_t to[2])
{
	mux_tally(native_of(s)->mux, from, to);
}

static int
native_used_up(struct session *s)
{
	return mux_used_up(native_of(s)->mux);
}

static void
native_free(struct session *s)
{
	struct native *n = native_of(s);

	mux_unref(n->mux);
	free(n);
}

static int
native_alive(struct session *s, int64_t deadline)
{
	return link_probe(mux_link(native_of(s)->mux), deadline);
}

static void
native_run(struct session *s)
{
	struct native *n = native_of(s);
	const char *why;
	char num[16];
	int code;

	log_line(LOG_INFO, "session_start", "dialect", "native", "peer", s->peer,
	    "who", s->identity.who, (char *)NULL);
	code = link_run(mux_link(n->mux), &why);
	registry_remove(n->d->registry, s, n->orderly || code == WS_NORMAL || code == WS_POLICY);
	mux_end(n->mux);
	snprintf(num, sizeof(num), "%d", code);
	log_line(LOG_INFO, "session_end", "peer", s->peer, "who", s->identity.who,
	    "code", num, "reason", why, (char *)NULL);
	session_unref(n->d->registry, s);
}

static const struct dialect dialect = {
	.name = "native", .open = native_open, .preface = native_preface, .gone = native_gone, .drain = native_drain, .end = native_end,
	.tally = native_tally, .used_up = native_used_up, .alive = native_alive, .run = native_run, .free = native_free
};

/* The opening handshake. */

/* The NAME in /_tunnel/NAME may be used with this credential, or there is none. */
static int
name_allowed(struct str target, const char *scope)
{
	char name[NAME_LEN_MAX + 1];
	const char *query = memchr(target.p, '?', target.len);
	size_t skip = strlen("/_tunnel/");

	if (query != NULL)
		target.len = (size_t)(query - target.p);
	if (target.len <= skip)
		return 1;
	target.len -= skip;
	if (target.len > NAME_LEN_MAX)
		return 0;
	memcpy(name, target.p + skip, target.len);
	name[target.len] = '\0';
	name_fold(name);
	return scope_has_name(scope, name);
}

/* 0 and *who, accept; or the status to refuse with. */
static int
judge(struct caller *c, struct identity *who, char accept[WS_ACCEPT_LEN + 1], const char **why)
{
	int status = ws_server_check(&c->head, protocol, accept, why);

	if (status != 101)
		return status;
	*why = "no valid token came with the request";
	status = login_bearer(c, who);
	if (status == 401)
		return status;
	*why = login_later;
	if (status == 429)
		return status;
	*why = "the keys that would tell whether the token is good cannot be had";
	if (status == 503)
		return status;
	*why = "the token's scope does not hold this name";
	if (status != 0)
		return status;
	if (!name_allowed(c->head.target, who->scope))
		return 403;
	*why = "the daemon is shutting down";
	return daemon_draining(c->d) ? 503 : 0;
}

static struct native *
new_native(struct daemon *d, const struct identity *who, const char *peer)
{
	struct native *n = calloc(1, sizeof(*n));
	struct mux_conf conf;

	if (n == NULL)
		return NULL;
	n->d = d;
	n->session.dialect = &dialect;
	n->session.impl = n;
	n->session.identity = *who;
	n->session.since = clock_ms(CLOCK_WALL);
	n->session.refs = 1;
	snprintf(n->session.peer, sizeof(n->session.peer), "%s", peer);
	memset(&conf, 0, sizeof(conf));
	conf.streams_max = (int)d->conf.streams;
	conf.window_max = (uint32_t)d->conf.window;
	conf.budget = &d->budget;
	if ((n->mux = mux_new(&conf, &mux_ops, n)) == NULL) {
		free(n);
		return NULL;
	}
	return n;
}

static int
attach(struct native *n, const struct conn *c, const void *early, size_t nearly)
{
	struct link_conf conf;
	struct link *l;

	memset(&conf, 0, sizeof(conf));
	conf.ping_ms = n->d->conf.ping_ms;
	conf.message_max = MESSAGE_MAX;
	l = link_new(c, &conf, &mux_link_ops, n->mux, early, nearly);
	if (l == NULL)
		return -1;
	mux_attach(n->mux, l);
	return 0;
}

/* It is one of the daemon's from now on: what that has to say to its sessions comes behind the 101. */
static struct session *
enter(struct native *n)
{
	if (registry_add(n->d->registry, &n->session) == -1)
		link_close(mux_link(n->mux), WS_TRY_AGAIN, "too many sessions");
	if (daemon_draining(n->d))	/* since it was judged: the others have been told */
		native_drain(&n->session);
	return &n->session;
}

struct session *
native_adopt(struct daemon *d, const struct conn *c, const struct identity *who, const char *peer, const void *early, size_t nearly)
{
	struct native *n = new_native(d, who, peer);

	if (n == NULL)
		return NULL;
	if (attach(n, c, early, nearly) == 0)
		return enter(n);
	session_unref(d->registry, &n->session);
	return NULL;
}

struct session *
native_accept(struct caller *c)
{
	char accept[WS_ACCEPT_LEN + 1], text[256];
	struct identity who;
	const char *why;
	struct native *n = NULL;
	struct buf b;
	int status;

	if ((status = judge(c, &who, accept, &why)) == 0 &&
	    registry_sessions(c->d->registry) >= c->d->conf.sessions) {
		why = "too many sessions";
		status = 429;
	}
	if (status == 0 && ((n = new_native(c->d, &who, c->peer)) == NULL ||
	    attach(n, &c->conn, c->in + c->at, c->len - c->at) == -1)) {
		why = "no memory or descriptors are left";
		status = 503;
	}
	if (status != 0) {
		if (n != NULL)
			session_unref(c->d->registry, &n->session);
		caller_error(c, status, why, NULL, caller_fields(c, status));
		return NULL;
	}
	buf_init(&b, text, sizeof(text));
	ws_server_answer(&b, accept, protocol);
	/* if it cannot be written the reader finds the connection broken */
	conn_write_all(&c->conn, text, b.len, clock_ms(CLOCK_STEADY) + WRITE_MS);
	return enter(n);
}
