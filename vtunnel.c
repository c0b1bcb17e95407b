/* vtunnel.c: vtunnel's sessions on the daemon's side; see vtunnel.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "handshake.h"
#include "log.h"
#include "ports.h"
#include "proxymap.h"
#include "random.h"
#include "scope.h"
#include "sha256.h"
#include "sshsess.h"
#include "vtunnelint.h"
#include "webgate.h"

enum {
	GRACE_MS = 35000,	/* so long vtunnel's own server has callers wait for a client that is away */
	CHOSEN_MIN = 61000,	/* for domains without a pool: of the numbers that nobody is assigned (RFC 6335) those that Linux has no connections begin at */
	DOMAIN_IDS = 1 << 16,	/* listens of ports have the port's number as their id, those of domains begin here */
	TEXT_MAX = 1024,
	WRITE_MS = 5000
};

struct vsess {
	struct sshsess sess;	/* first */
	struct sshkey host;	/* shown to this client */
	char path[VTUNNEL_PATH_MAX];	/* which keys count; "": those of all other paths */
	enum vtunnel_door door;
	unsigned generation;	/* the keys it was last compared with; guarded by the daemon's ssh.mtx once it is ready */
	struct grant {		/* what was listened for with success; guarded by order */
		unsigned port;
		uint32_t id;	/* of the listen */
		char *to, *domain, *fields;	/* local_addr and the rest, from malloc; to is NULL: not known */
	} grants[SESSION_TUNNELS_MAX];
	int ngrants;
	pthread_mutex_t order;	/* held over a listen and its reply, and over opening a channel: so that this comes behind it. Before the registry's */
};

static struct vsess *
vsess_of(struct sshsess *e)
{
	return (struct vsess *)(void *)e;
}

static struct str
path_of(const struct vsess *v)
{
	struct str path;

	path.p = v->path;
	path.len = strlen(v->path);
	return path;
}

/* Who comes in. */

static int
on_auth(struct sshsess *e, struct str user, struct str blob)
{
	struct vsess *v = vsess_of(e);
	char scope[STORE_SCOPE_MAX + 1];

	(void)user;		/* it says nothing: they are all called "vtunnel" */
	if (v->door == VTUNNEL_OPEN)
		return blob.len == 0;
	return blob.len > 0 && vtunnel_key_ok(e->d->vtunnel, path_of(v), blob, scope);
}

/* A Go program ends a channel both ways as soon as one direction ends, and whatever is under way then is lost. */
static int
is_go(struct ssh *s)
{
	static const char go[] = "SSH-2.0-Go";
	const char *peer = ssh_peer(s);
	size_t n = sizeof(go) - 1;

	return strncmp(peer, go, n) == 0 && (peer[n] == '\0' || peer[n] == ' ');
}

static const char *
on_ready(struct sshsess *e)
{
	struct vsess *v = vsess_of(e);
	struct identity *who = &e->session.identity;

	e->session.grace_ms = GRACE_MS;
	v->generation = vtunnel_generation(e->d->vtunnel);
	if (is_go(e->ssh)) {
		e->session.closes_whole = 1;
		ssh_for_go(e->ssh);
	}
	if (v->door == VTUNNEL_OPEN) {
		snprintf(who->who, sizeof(who->who), "anonymous");
		memcpy(who->scope, "*", 2);
		return NULL;
	}
	key_who(ssh_user_key(e->ssh), who->who);
	/* the file may have changed since it was asked */
	return vtunnel_key_ok(e->d->vtunnel, path_of(v), ssh_user_key(e->ssh), who->scope) ? NULL : "the key is not known any more";
}

static const char *
on_lost(struct sshsess *e)
{
	struct vsess *v = vsess_of(e);
	unsigned now = vtunnel_generation(e->d->vtunnel);
	char scope[STORE_SCOPE_MAX + 1];

	if (v->door == VTUNNEL_OPEN || now == v->generation)
		return NULL;
	v->generation = now;
	return vtunnel_key_ok(e->d->vtunnel, path_of(v), ssh_user_key(e->ssh), scope) &&
	    strcmp(scope, e->session.identity.scope) == 0 ? NULL : "revoked";
}

/* Listening. */

/* In turn and exactly once, or not at all any more. */
static void
reply(struct sshsess *e, int ok, const char *text, size_t len)
{
	if (ssh_reply(e->ssh, ok, text, len) == -1)
		sshsess_end(&e->session, WS_POLICY, "replies are not read");
}

static void
refuse(struct sshsess *e, const char *code, const char *text)
{
	log_line(LOG_INFO, "listen_refused", "code", code, "reason", text,
	    "peer", e->session.peer, "who", e->session.identity.who, (char *)NULL);
	reply(e, 0, text, strlen(text));
}

/* Why there is no port, as a Go program would say it, of which its users look for the end. */
static void
refuse_port(struct sshsess *e, int64_t number, const char *code, const char *why)
{
	static const struct {
		const char *code, *go;
	} table[] = {
		{ "port_in_use", "bind: address already in use" },
		{ "forbidden", "bind: permission denied" },
	};
	static const char program[] = "another program of the daemon's machine has it";	/* of which Go says no more */
	char text[TEXT_MAX];
	size_t i = 0;

	while (i < sizeof(table) / sizeof(table[0]) && strcmp(table[i].code, code) != 0)
		i++;
	if (i == sizeof(table) / sizeof(table[0]))
		snprintf(text, sizeof(text), "listen tcp 127.0.0.1:%lld: %s", (long long)number, why);
	else if (strcmp(why, program) == 0)
		snprintf(text, sizeof(text), "listen tcp 127.0.0.1:%lld: %s", (long long)number, table[i].go);
	else
		snprintf(text, sizeof(text), "listen tcp 127.0.0.1:%lld: %s (%s)", (long long)number, table[i].go, why);
	refuse(e, code, text);
}

static void
log_open(const struct sshsess *e, const struct port_got *got)
{
	log_line(LOG_INFO, "tunnel_open", "name", got->name, "addr", got->addr, "who", e->session.identity.who,
	    "peer", e->session.peer, (char *)NULL);
}

static void
grant(struct sshsess *e, const struct port_got *got)
{
	static const struct str none = { NULL, 0 };
	char text[64];
	struct buf b;

	log_open(e, got);
	buf_init(&b, text, sizeof(text));
	vtunnel_put(&b, got->number, "", "", none);
	reply(e, 1, b.p, b.len);
}

static int
is_held(void *registry, const char *name)
{
	return registry_has(registry, name, 0);
}

/* The host of a key of the proxy map, which has a port. */
static void
host_of(const char *key, char host[VTUNNEL_ADDR_MAX])
{
	size_t i, n = (size_t)(strrchr(key, ':') - key);

	for (i = 0; i < n; i++)
		host[i] = key[i] >= 'A' && key[i] <= 'Z' ? (char)(key[i] - 'A' + 'a') : key[i];
	host[n] = '\0';
}

struct lead {			/* where a port's callers are led to, and who they are */
	const char *to, *domain;
	struct str headers;
};

/* key leads to this port from now on. NULL, or why not. */
static const char *
map(struct sshsess *e, const struct lead *l, const char *key, const char *name)
{
	struct proxymap_set set = { key, name, e->session.identity.who, l->to, l->headers };
	char host[VTUNNEL_ADDR_MAX];
	const char *why;

	host_of(key, host);
	if (strcmp(e->session.identity.scope, "*") != 0 && !scope_has_name(e->session.identity.scope, host))
		why = "the key's scope does not hold this domain";
	else
		why = proxymap_set(e->d->proxymap, &set, is_held, e->d->registry);
	log_line(LOG_INFO, why == NULL ? "proxy_mapped" : "proxy_not_mapped", "key", key, "name", name, "reason", why,
	    "peer", e->session.peer, "who", e->session.identity.who, (char *)NULL);
	return why;
}

static const char *const usual[] = { ":80", ":443" };	/* ports of domains that say none */

/* Has domain a port of its own? */
static int
has_port(const char *domain)
{
	const char *colon = strrchr(domain, ':');

	return colon != NULL && colon != domain && colon[1] != '\0';
}

/* The domain with its port, or with the two that are usual, leads to name. NULL, or why not. */
static const char *
map_domain(struct sshsess *e, const struct lead *l, const char *name)
{
	char key[VTUNNEL_ADDR_MAX + 8];
	const char *why = NULL;
	size_t i;

	if (has_port(l->domain))
		return map(e, l, l->domain, name);
	for (i = 0; i < sizeof(usual) / sizeof(usual[0]) && why == NULL; i++) {
		snprintf(key, sizeof(key), "%s%s", l->domain, usual[i]);
		why = map(e, l, key, name);
	}
	return why;
}

/* The client leads the callers of this port to there: so does the proxy from now on. NULL, or why not. */
static const char *
lead(struct sshsess *e, const struct lead *l, const char *name)
{
	proxymap_moved(e->d->proxymap, name, e->session.identity.who, l->to);
	if (l->domain[0] != '\0')
		return map_domain(e, l, name);
	if (vtunnel_maps(l->to))	/* as its README says; the port is good without */
		map(e, l, l->to, name);
	return NULL;
}

static void
forget(struct grant *g)
{
	free(g->to);
	free(g->domain);
	free(g->fields);
	g->to = g->domain = g->fields = NULL;
}

static void
keep(struct vsess *v, unsigned port, uint32_t id, const struct lead *l)
{
	struct grant *g = v->grants;

	while (g < v->grants + v->ngrants && g->port != port)
		g++;
	if (g == v->grants + SESSION_TUNNELS_MAX)
		return;		/* as many as it can hold at once have been others */
	if (g == v->grants + v->ngrants)
		v->ngrants++;
	forget(g);
	g->port = port;
	g->id = id;
	g->domain = strdup(l->domain);
	if ((g->fields = calloc(1, l->headers.len + 1)) != NULL && l->headers.len > 0)
		memcpy(g->fields, l->headers.p, l->headers.len);
	if (g->domain != NULL && g->fields != NULL)
		g->to = strdup(l->to);
}

static void
listen_port(struct sshsess *e, const struct vtunnel_msg *m)
{
	const struct lead there = { m->local_addr, "", m->headers };
	char message[PORT_MESSAGE_MAX], text[TEXT_MAX];
	struct port_want want;
	struct port_got got;
	const char *code;

	if (m->port < 0 || m->port > 65535) {
		snprintf(text, sizeof(text), "listen tcp: address %lld: invalid port", (long long)m->port);
		refuse(e, "bad_port", text);
		return;
	}
	if (m->port == 0) {
		refuse(e, "bad_port", "port 0 is for a domain: of a port alone the client would not learn which it is");
		return;
	}
	memset(&want, 0, sizeof(want));
	want.id = want.number = (unsigned)m->port;
	if ((code = port_listen(e->d, &e->session, &want, &got, message)) != NULL) {
		refuse_port(e, m->port, code, message);
		return;
	}
	lead(e, &there, got.name);
	keep(vsess_of(e), got.number, want.id, &there);
	grant(e, &got);
}

/* The id of a domain's listen: the same one the next time, and no port's. */
static uint32_t
domain_id(const char *domain)
{
	uint32_t h = 2166136261u;	/* FNV-1a */

	for (; *domain != '\0'; domain++)
		h = (h ^ (unsigned char)*domain) * 16777619u;
	return h < DOMAIN_IDS ? h + DOMAIN_IDS : h;
}

static enum use_result
use_of(struct sshsess *e, unsigned port, uint32_t *id)
{
	char name[PORT_NAME_MAX];

	snprintf(name, sizeof(name), "tcp:%u", port);
	return registry_use(e->d->registry, &e->session, name, id);
}

/* Is it one of those that are chosen for domains? */
static int
is_chosen(const struct sshsess *e, unsigned port)
{
	const char *pool = e->d->conf.ports;

	return pool[0] != '\0' ? scope_has_port(pool, port) : port >= CHOSEN_MIN;
}

/*
 * What a client that has come back asks for, the number that it has learnt for a domain with that one's target, is the domain's port still. This
 * process may be another than the one that has chosen it. had: the one it had in this one. 0: there is none.
 */
static unsigned
learnt(struct sshsess *e, const char *to, unsigned had)
{
	struct vsess *v = vsess_of(e);
	const struct grant *g;
	uint32_t id;

	for (g = v->grants; g < v->grants + v->ngrants; g++)
		if (g->to != NULL && strcmp(g->to, to) == 0 &&
		    (g->port == had || is_chosen(e, g->port)) && use_of(e, g->port, &id) == USE_OWN && id == g->port)
			return g->port;
	return 0;
}

/* The port that the proxy leads the domain's callers to, if the domain is this credential's. 0: there is none. */
static unsigned
led_to(struct sshsess *e, const char *domain)
{
	char key[VTUNNEL_ADDR_MAX + 8];
	struct proxymap_hit hit;
	unsigned port = 0;

	snprintf(key, sizeof(key), "%s%s", domain, has_port(domain) ? "" : usual[0]);
	if (proxymap_get(e->d->proxymap, key, &hit) != 1)
		return 0;
	if (strcmp(hit.who, e->session.identity.who) != 0 || !port_name(hit.name, &port))
		port = 0;
	free(hit.who);
	free((char *)(uintptr_t)hit.fields.p);
	return port;
}

/*
 * Is this the domain's port, with which nobody does anything else? A client that has come back may have said the number last; of those a
 * predecessor has told no id is known.
 */
static int
is_for(struct sshsess *e, unsigned port, const char *domain, uint32_t id)
{
	uint32_t now;

	switch (use_of(e, port, &now)) {
	case USE_NONE:
		return 1;
	case USE_OTHERS:
		return now == id || ((now == port || now == 0) && led_to(e, domain) == port);
	default:
		return now == id;
	}
}

/* The port for a domain: that which it has had, if nothing else has it now. 0: any. */
static unsigned
again(struct sshsess *e, const struct vtunnel_msg *m, uint32_t id)
{
	unsigned port = vtunnel_port_of(e->d->vtunnel, e->session.identity.who, m->domain), tries;
	uint16_t any;
	uint32_t now;

	if (port == 0 && !is_chosen(e, port = led_to(e, m->domain)))
		port = 0;
	if (port != 0 && is_for(e, port, m->domain, id))
		return port;
	if ((port = learnt(e, m->local_addr, port)) != 0 || e->d->conf.ports[0] != '\0')
		return port;
	for (tries = 0; tries < 8 && random_bytes(&any, sizeof(any)) == 0; tries++) {
		port = CHOSEN_MIN + any % (65536 - CHOSEN_MIN);
		if (use_of(e, port, &now) == USE_NONE)
			return port;
	}
	return 0;
}

/* A domain is refused, and its listen no more. had: the one that this session had the port by, which is as it was; 0: there was none. */
static void
take_away(struct sshsess *e, const struct port_want *w, unsigned port, uint32_t had)
{
	char message[PORT_MESSAGE_MAX];
	struct port_want want;
	struct port_got got;

	if (had == 0)
		registry_unlisten(e->d->registry, &e->session, w->id);
	if (had == 0 || had == w->id)	/* the same domain's: once more, and in vain */
		return;
	memset(&want, 0, sizeof(want));
	want.id = want.number = port;	/* as what the client has listened for */
	port_listen(e->d, &e->session, &want, &got, message);
}

static void
listen_domain(struct sshsess *e, const struct vtunnel_msg *m)
{
	const struct lead there = { m->local_addr, m->domain, m->headers };
	char message[PORT_MESSAGE_MAX], text[TEXT_MAX];
	struct vtunnel *v = e->d->vtunnel;
	const char *who = e->session.identity.who, *code, *why;
	struct port_want want;
	struct port_got got;
	unsigned port;
	uint32_t had = 0;

	if (strlen(m->domain) >= PROXYMAP_KEY_MAX - 6) {
		refuse(e, "bad_name", "the domain is too long");
		return;
	}
	memset(&want, 0, sizeof(want));
	want.id = domain_id(m->domain);
	want.again = port = again(e, m, want.id);
	want.any = 1;
	if (port == 0 || use_of(e, port, &had) != USE_OWN)
		had = 0;
	if ((code = port_listen(e->d, &e->session, &want, &got, message)) != NULL) {
		refuse_port(e, 0, code, message);
		return;
	}
	if ((why = lead(e, &there, got.name)) != NULL) {
		take_away(e, &want, got.number, got.number == port ? had : 0);
		snprintf(text, sizeof(text), "%.300s: %s", m->domain, why);
		refuse(e, "forbidden", text);
		return;
	}
	vtunnel_port_is(v, who, m->domain, got.number);
	keep(vsess_of(e), got.number, want.id, &there);
	grant(e, &got);
}

/* Have a port again, that nobody has. */
static void
take_back(struct sshsess *e, const struct grant *g)
{
	const struct lead there = { g->to, g->domain, { g->fields, strlen(g->fields) } };
	char message[PORT_MESSAGE_MAX];
	struct port_want want;
	struct port_got got;

	if (g->domain[0] != '\0' && vtunnel_port_of(e->d->vtunnel, e->session.identity.who, g->domain) != g->port)
		return;		/* the domain has another by now */
	memset(&want, 0, sizeof(want));
	want.id = g->id;
	want.any = 1;
	*(g->id == g->port ? &want.number : &want.again) = g->port;
	if (port_listen(e->d, &e->session, &want, &got, message) != NULL)
		return;
	if (got.number != g->port || lead(e, &there, got.name) != NULL)		/* of another port the client knows nothing */
		registry_unlisten(e->d->registry, &e->session, want.id);
	else
		log_open(e, &got);
}

/* What was taken over and is nobody's any more. The client knows nothing of all this. */
static int
on_regain(struct sshsess *e)
{
	struct vsess *v = vsess_of(e);
	const struct grant *g;
	enum use_result use;
	uint32_t id;
	int more = 0;

	if (pthread_mutex_trylock(&v->order) != 0)
		return 1;	/* its reader listens: the janitor does not wait for that */
	for (g = v->grants; g < v->grants + v->ngrants; g++) {
		use = use_of(e, g->port, &id);
		more |= use == USE_OTHERS;
		if (use == USE_NONE && g->to != NULL)
			take_back(e, g);
	}
	pthread_mutex_unlock(&v->order);
	return more;
}

static void
on_listen(struct sshsess *e, struct str data)
{
	struct vtunnel_msg *m = malloc(sizeof(*m));
	struct vsess *v = vsess_of(e);
	const char *why = "no memory";

	pthread_mutex_lock(&v->order);
	if (m == NULL || vtunnel_parse(m, data.p, data.len, &why) == -1)
		refuse(e, "bad_listen", why);
	else if (m->domain[0] != '\0')
		listen_domain(e, m);
	else
		listen_port(e, m);
	pthread_mutex_unlock(&v->order);
	free(m);
}

static void
on_global(struct sshsess *e, struct str name, struct str data, int want_reply)
{
	if (!want_reply)
		return;		/* whoever listens wants to know of what comes of it */
	if (str_is(name, "listen"))
		on_listen(e, data);
	else if (str_is(name, "ping"))
		reply(e, 1, "pong", 4);
	else
		reply(e, 0, "", 0);
}

/* Callers. */

static int
on_ask(struct sshsess *e, struct stream *s, const struct holder *h, const char *peer, const char *local)
{
	static const struct str none = { NULL, 0 };
	struct vsess *v = vsess_of(e);
	unsigned number = 0;
	char text[64];
	struct buf b;
	int rc;

	(void)peer;		/* nobody is told */
	(void)local;
	port_name(registry_name(h), &number);
	buf_init(&b, text, sizeof(text));
	vtunnel_put(&b, number, "", "", none);
	pthread_mutex_lock(&v->order);
	rc = ssh_ask(s, "tunnel", b.p, b.len);
	pthread_mutex_unlock(&v->order);
	return rc;
}

static void
on_free(struct sshsess *e)
{
	struct vsess *v = vsess_of(e);

	while (v->ngrants > 0)
		forget(&v->grants[--v->ngrants]);
	wipe(&v->host, sizeof(v->host));
	pthread_mutex_destroy(&v->order);
	free(v);
}

static const struct dialect dialect = SSHSESS_DIALECT("vtunnel");
static const struct sshsess_ops ops = {
	.ping = "ping", .auth = on_auth, .ready = on_ready, .global = on_global, .ask = on_ask, .regain = on_regain, .lost = on_lost, .free = on_free
};

/* The opening handshake. */

/* 0 and accept, or the status to refuse with, as vtunnel's server does. */
static int
judge(const struct caller *c, char accept[WS_ACCEPT_LEN + 1])
{
	const struct http_head *h = &c->head;
	const char *why;

	if (!str_is(h->method, "GET"))
		return 405;
	return ws_server_check(h, NULL, accept, &why) == 101 ? 0 : 400;
}

static void
answer(struct caller *c, int status)
{
	static const char fields[] = "Sec-WebSocket-Version: 13\r\n";

	caller_plain(c, status, status == 405 ? "Method Not Allowed" : status == 400 ? "Bad Request" : "Service Unavailable", fields);
}

/* Where no key is wanted just being able to reach us would do, as every page's visitor may: Go programs have no Origin. */
static int
is_strange_page(const struct caller *c)
{
	const struct str *origin = http_field(&c->head, "Origin");

	return origin != NULL && !webgate_listed(&c->d->conf, *origin);
}

/* NULL: refused with *status, and why. */
static struct vsess *
new_session(struct caller *c, int *status, const char **why)
{
	const struct str *host_key = http_field(&c->head, "Tunnel-Host-Key");
	struct vsess *v = calloc(1, sizeof(*v));
	struct str path = vtunnel_path(c->head.target);
	struct ssh_conf conf;
	int own = host_key != NULL && http_is(*host_key, "own");

	*why = "no memory or descriptors are left";
	if (v == NULL)
		return NULL;
	pthread_mutex_init(&v->order, NULL);
	memset(&conf, 0, sizeof(conf));
	v->door = vtunnel_door(c->d->vtunnel, path, own, &v->host);
	if (path.len < sizeof(v->path))		/* longer ones are no key's own */
		memcpy(v->path, path.p, path.len);
	conf.trans.keys[0] = &v->host;
	if (v->door == VTUNNEL_OPEN && !own)	/* whoever prefers the one or the other takes either unseen */
		conf.trans.keys[1] = vtunnel_fresh(c->d->vtunnel);
	if (v->door == VTUNNEL_OPEN && is_strange_page(c)) {
		*status = 403;
		*why = "a page of this origin may not: --origin tells which may";
	} else if (v->door != VTUNNEL_SHUT && sshsess_open_ws(&v->sess, c, &dialect, &ops, &conf, why) == 0)
		return v;
	on_free(&v->sess);
	return NULL;
}

struct session *
vtunnel_accept(struct caller *c)
{
	char accept[WS_ACCEPT_LEN + 1], text[256];
	const char *why = "too many sessions";
	struct vsess *v = NULL;
	struct buf b;
	int status = judge(c, accept);

	if (c->head.framing != HTTP_NO_BODY)
		c->close = 1;	/* its content is nobody's */
	if (status != 0) {
		answer(c, status);
		return NULL;
	}
	status = 503;
	if (daemon_draining(c->d))
		why = "the daemon is shutting down";
	else if (registry_sessions(c->d->registry) < c->d->conf.sessions)
		v = new_session(c, &status, &why);
	if (v == NULL) {
		caller_error(c, status, why, NULL, caller_fields(c, status));
		return NULL;
	}
	buf_init(&b, text, sizeof(text));
	ws_server_answer(&b, accept, NULL);
	/* if it cannot be written the reader finds the connection broken */
	conn_write_all(&c->conn, text, b.len, clock_ms(CLOCK_STEADY) + WRITE_MS);
	return &v->sess.session;
}
