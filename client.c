/* client.c: the client as a library: options, start and end; see tunnel.h. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent.h"
#include "buf.h"
#include "clock.h"
#include "deadline.h"
#include "guard.h"
#include "json.h"
#include "jwt.h"
#include "log.h"
#include "msgclient.h"
#include "pipegatemsg.h"
#include "random.h"
#include "scope.h"
#include "sha256.h"
#include "watch.h"

enum {
	RETRY_MIN_MS = 1000, RETRY_MAX_MS = 30000,
	GUARD_TEXT = 64 + GUARD_USERS_MAX * (2 * SHA256_LEN + 3) + GUARD_NETS_MAX * 53	/* the longest network has 50 bytes */
};

/* Options. */

/* NULL: there is none of that name. */
static const struct agent_dialect *
find_dialect(const char *name)
{
	static const struct agent_dialect *const all[] = { &agent_native, &agent_pipegate, &agent_bifrost, &agent_vtunnel };
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(name != NULL ? name : "native", all[i]->name) == 0)
			return all[i];
	return NULL;
}

/* What is in front of a dialect's own path. 0, or -1. */
static int
take_path(struct tunnel_client *c, const char *path, const char **why)
{
	struct endpoint *e = &c->endpoint;
	const char *own = c->dialect->own_path;
	size_t len = strlen(path), nown = own != NULL ? strlen(own) : 0, i;

	*why = "has a query: the token is not a part of the endpoint";
	if (strpbrk(path, "?#") != NULL)
		return -1;
	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len >= nown && nown > 0 && memcmp(path + len - nown, own, nown) == 0)
		len -= nown;
	*why = own == NULL ? "has a path: a tunneld is the whole of its host" : "has a path that is too long, or no path";
	if (len >= sizeof(e->path) || (len > 0 && own == NULL))
		return -1;
	for (i = 0; i < len; i++)
		if (path[i] <= ' ' || path[i] > '~')
			return -1;
	memcpy(e->path, path, len);
	e->path[len] = '\0';
	return 0;
}

/* "https://host[:port][/path]", "wss://…", and the same without TLS. */
static int
parse_endpoint(struct tunnel_client *c, const char *text, const char **why)
{
	static const struct {
		const char *scheme;
		int tls;
	} table[] = { { "https://", 1 }, { "wss://", 1 }, { "http://", 0 }, { "ws://", 0 } };
	struct endpoint *e = &c->endpoint;
	const char *rest;
	char host[NET_HOST_MAX + 8];
	size_t len, i = 0;

	*why = "is not https://HOST[:PORT], or wss, or without TLS http or ws";
	while (i < 4 && strncmp(text, table[i].scheme, strlen(table[i].scheme)) != 0)
		i++;
	if (i == 4)
		return -1;
	rest = text + strlen(table[i].scheme);
	e->tls = table[i].tls;
	len = strcspn(rest, "/?#");
	if (len == 0 || len >= sizeof(host) - 4)
		return -1;
	memcpy(host, rest, len);
	host[len] = '\0';
	memcpy(e->authority, host, len + 1);
	if (strchr(host, ':') == NULL || host[len - 1] == ']')
		memcpy(host + len, e->tls ? ":443" : ":80", e->tls ? 5 : 4);
	if (net_split(host, e->host, e->port) == -1 || e->host[0] == '\0' ||
	    e->host[0] == '*' || strcmp(e->port, "0") == 0)
		return -1;
	snprintf(e->url, sizeof(e->url), e->tls ? "wss://%s" : "ws://%s", e->authority);
	return take_path(c, rest + len, why);
}

static int
token_ok(const char *token)
{
	size_t n = token != NULL ? strlen(token) : 0, i;

	for (i = 0; i < n; i++)
		if (token[i] <= ' ' || token[i] > '~')	/* it goes into a header field */
			return 0;
	return n > 0 && n < TOKEN_MAX;
}

/* Host for the local service: what was asked for, else the target as a browser would name it. */
static void
host_header(struct local_service *lc, const char *host)
{
	const struct local_target *t = &lc->target;
	const char *name = t->port[0] == '\0' ? "localhost" : t->host;
	int std = t->port[0] == '\0' || strcmp(t->port, t->tls ? "443" : "80") == 0;
	int v6 = strchr(name, ':') != NULL;

	lc->host_header[0] = '\0';
	if (host == NULL)
		snprintf(lc->host_header, sizeof(lc->host_header), "%s%s%s%s%s", v6 ? "[" : "", name,
		    v6 ? "]" : "", std ? "" : ":", std ? "" : t->port);
	else if (strcmp(host, "keep") != 0)
		snprintf(lc->host_header, sizeof(lc->host_header), "%s", host);
}

static int
host_ok(const char *host)
{
	size_t i;

	for (i = 0; host[i] != '\0'; i++)
		if (host[i] <= ' ' || host[i] > '~' || strchr("/@?#\\\"<>", host[i]) != NULL)
			return 0;
	return i > 0 && i < NET_HOST_MAX;
}

int
tunnel_target(const char *target, char *host, size_t hostlen, char *port, size_t portlen,
    char *why, size_t whylen)
{
	struct local_target t;
	const char *wrong;

	if (local_parse(&t, target, &wrong) == -1) {
		snprintf(why, whylen, "'%.100s' %s", target, wrong);
		return -1;
	}
	if (strlen(t.host) >= hostlen || strlen(t.port) >= portlen) {
		snprintf(why, whylen, "'%.100s' is too long", target);
		return -1;
	}
	memcpy(host, t.host, strlen(t.host) + 1);
	memcpy(port, t.port, strlen(t.port) + 1);
	return t.port[0] != '\0';
}

int
tunnel_auth_ok(const char *text)
{
	return guard_user_ok(text);
}

int
tunnel_probe(const char *target)
{
	struct local_target t;
	const char *wrong;
	enum net_fail fail;
	int fd;

	if (local_parse(&t, target, &wrong) == -1)
		return 0;
	fd = t.port[0] == '\0' ? net_dial_unix(t.host, &fail) :
	    net_dial(t.host, t.port, clock_ms(CLOCK_STEADY) + 1000, -1, &fail);
	if (fd == -1)
		return 0;
	close(fd);
	return 1;
}

/* Names are compared in lower case. */
static int
take_name(char *out, size_t cap, const char *name, size_t len)
{
	size_t i;

	if (len >= cap)
		return -1;
	for (i = 0; i < len; i++)
		out[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
	out[len] = '\0';
	return name_ok(out) ? 0 : -1;
}

static const char no_name[] = "is no name: 1 to 63 of a-z, 0-9 and '-', first a letter or digit";

int
tunnel_split(const char *text, char *name, size_t namelen, const char **target, char *why, size_t whylen)
{
	size_t len = strcspn(text, "=:/[");

	*target = text;
	if (text[len] != '=')
		return 0;
	*target = text + len + 1;
	if (take_name(name, namelen, text, len) == 0)
		return 1;
	snprintf(why, whylen, "'%.*s' %s", len < 100 ? (int)len : 100, text, no_name);
	return -1;
}

static void
on_request(void *arg, const struct tunnel_request *r)
{
	struct tunnel_client *c = arg;

	if (c->events.request == NULL)
		return;
	watch_leave_for(STDERR_FILENO);	/* where programs show it: others do not wait for a terminal that has been stopped */
	c->events.request(c->arg, r);
}

/* Whom to trust at the endpoint. 0, or -1 and why. */
static int
take_trust(struct tunnel_client *c, const struct tunnel_options *o, char *why, size_t whylen)
{
	char wrong[TLS_WHY_MAX];
	struct tls_trust trust;
	int i;

	memset(&trust, 0, sizeof(trust));
	trust.ca = o->ca;
	for (i = 0; i < o->npins; i++)
		if (tls_pin_parse(trust.pin[trust.npins++], o->pins[i]) == -1) {
			snprintf(why, whylen, "'%.100s' is no pin: sha256: and 44 characters of base64", o->pins[i]);
			return -1;
		}
	if (c->endpoint.tls && (c->tls = tls_client_new(&trust, wrong)) == NULL) {
		snprintf(why, whylen, "%s", wrong);
		return -1;
	}
	if (!c->endpoint.tls && trust.npins > 0) {
		snprintf(why, whylen, "a pin is for an endpoint with TLS: https://");
		return -1;
	}
	return 0;
}

/* The proxy, unless the endpoint is exempt: its URL is not even looked at then. */
static int
take_proxy(struct tunnel_client *c, const struct tunnel_options *o, const char **why)
{
	if (o->proxy == NULL || (o->no_proxy != NULL &&
	    proxy_exempt(o->no_proxy, c->endpoint.host, c->endpoint.port)))
		return 0;
	return proxy_parse(&c->proxy, o->proxy, why);
}

static int
complain(char *why, size_t whylen, const char *word, const char *wrong)
{
	if (word != NULL)
		snprintf(why, whylen, "'%.100s' %s", word, wrong);
	else
		snprintf(why, whylen, "%s", wrong);
	return -1;
}

/* Is it a list of n texts? */
static int
list_ok(const char *const *list, int n, int max)
{
	int i = 0;

	while (n <= max && i < n && list != NULL && list[i] != NULL)
		i++;
	return i == n;
}

/* A target as it is shown: "unix:/path", "localhost:3000", "[::1]:3000", with what stands in front of a host. */
static void
show_target(struct tunnel *t, const struct local_target *to, const char *scheme)
{
	if (to->port[0] == '\0')
		snprintf(t->target, sizeof(t->target), "unix:%.250s", to->host);
	else
		snprintf(t->target, sizeof(t->target), strchr(to->host, ':') != NULL ? "%s[%s]:%s" : "%s%s:%s", scheme, to->host, to->port);
}

/* Whom to trust at a target with TLS. 0, or -1 and why. */
static int
take_target_tls(struct local_service *lc, const struct tunnel_spec *spec, const char *ca, char *why, size_t whylen)
{
	char wrong[TLS_WHY_MAX];
	struct tls_trust trust;

	if (!lc->target.tls)
		return 0;
	memset(&trust, 0, sizeof(trust));
	trust.ca = ca;
	trust.insecure = spec->insecure_target;
	return (lc->tls = tls_client_new(&trust, wrong)) != NULL ? 0 : complain(why, whylen, NULL, wrong);
}

/* "example.com", "*.example.com", "mail.*", each maybe with a port. 0, or -1. */
static int
take_domain(char *out, size_t cap, const char *domain)
{
	size_t n = strlen(domain), i;

	if (n == 0 || n >= cap)
		return -1;
	for (i = 0; i <= n; i++) {
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:*", domain[i]) == NULL)
			return -1;
		out[i] = domain[i] >= 'A' && domain[i] <= 'Z' ? (char)(domain[i] - 'A' + 'a') : domain[i];
	}
	return 0;
}

/* One tunnel for a TCP port; its target has been parsed. 0, or -1 and why. */
static int
take_port(struct tunnel *t, struct local_service *lc, const struct tunnel_spec *spec, const char *target, const char *ca, char *why, size_t whylen)
{
	const struct local_target *to = &lc->target;

	if (!to->raw && strstr(target, "://") != NULL)
		return complain(why, whylen, target, "is not PORT, HOST:PORT, tls://HOST:PORT or unix:/PATH");
	if (spec->port < 0 || spec->port > 65535)
		return complain(why, whylen, NULL, "a port is a number from 1 to 65535, or 0 for any");
	if (spec->proxy_protocol < 0 || spec->proxy_protocol > 2)
		return complain(why, whylen, NULL, "the PROXY protocol has versions 1 and 2");
	if (spec->name != NULL && take_domain(t->name, sizeof(t->name), spec->name) == -1)
		return complain(why, whylen, spec->name, "is no domain: a-z, 0-9, '-' and '.', maybe with '*.' in front or '.*' behind, and a port");
	show_target(t, to, to->raw ? "tls://" : "");
	t->tcp = lc->tcp = 1;
	t->port = spec->port;
	t->public = spec->is_public;
	lc->proxy_protocol = spec->proxy_protocol;
	return take_target_tls(lc, spec, ca, why, whylen);
}

/* Another tunnel has its name, or its port. */
static int
same_tunnel(const struct tunnel *a, const struct tunnel *b)
{
	if (a->tcp != b->tcp || a->port != b->port)
		return 0;
	if (a->port != 0)
		return 1;
	return !(a->tcp && a->name[0] == '\0') && strcmp(a->name, b->name) == 0;	/* any port is no port of another */
}

/* The program itself is what it leads to. */
static void
take_accept(struct tunnel *t, struct local_service *lc, const struct tunnel_spec *spec, void *arg)
{
	lc->accept = spec->accept;
	lc->arg = arg;
	memcpy(t->target, "program", sizeof("program"));
}

int
client_tunnel(const struct tunnel_client *c, const struct tunnel_spec *spec, struct tunnel *t, struct local_service *lc,
    char *why, size_t whylen)
{
	const char *target = spec->accept != NULL ? "80" : spec->target != NULL ? spec->target : "";
	const char *bad;

	memset(t, 0, sizeof(*t));
	memset(lc, 0, sizeof(*lc));
	lc->timeout_ms = c->timeout_ms != 0 ? c->timeout_ms : c->dialect->timeout_ms;
	if (local_parse(&lc->target, target, &bad) == -1)
		return complain(why, whylen, target, bad);
	if (spec->tcp) {
		if (take_port(t, lc, spec, target, c->ca, why, whylen) == -1)
			return -1;
		if (spec->accept != NULL)
			take_accept(t, lc, spec, c->arg);
		return 0;
	}
	if (lc->target.raw)
		return complain(why, whylen, spec->target, "is for TCP ports: https:// is what HTTP has");
	if (spec->name != NULL && take_name(t->name, sizeof(t->name), spec->name, strlen(spec->name)) == -1)
		return complain(why, whylen, spec->name, no_name);
	if (spec->host != NULL && !host_ok(spec->host))
		return complain(why, whylen, spec->host, "is no Host");
	show_target(t, &lc->target, lc->target.tls ? "https://" : "http://");
	host_header(lc, spec->host);
	t->path = spec->path;
	lc->rewrite = spec->rewrite;
	if (spec->accept != NULL)
		take_accept(t, lc, spec, c->arg);
	return take_target_tls(lc, spec, c->ca, why, whylen);
}

int
client_fits_locked(const struct tunnel_client *c, const struct tunnel *t, const char *target, char *why, size_t whylen)
{
	const char *word = target != NULL ? target : t->target;
	const struct tunnel *other;
	int k;

	if (c->ntunnels == TUNNEL_MAX)
		return complain(why, whylen, NULL, "64 tunnels are as many as a client can have");
	if (t->tcp && c->has_auth)
		return complain(why, whylen, NULL, "auth: callers of a TCP port have no user and password");
	for (k = 0; k < c->ntunnels; k++) {
		other = &c->tunnel[k];
		if ((t->name[0] == '\0' && !t->tcp) || (other->name[0] == '\0' && !other->tcp))
			return complain(why, whylen, t->name[0] == '\0' && !t->tcp ? word : other->target, "needs a name beside the others");
		if (same_tunnel(other, t))
			return complain(why, whylen, t->tcp ? word : t->name,
			    t->tcp ? "has the port of another tunnel" : "is the name of two tunnels");
	}
	/* each lane would get a port of its own */
	if (t->tcp && t->port == 0 && c->nlanes > 1)
		return complain(why, whylen, word, "can have any port over one connection only");
	return 0;
}

/* The tunnels that are there from the start. 0, or -1 and why. */
static int
take_tunnels(struct tunnel_client *c, const struct tunnel_options *o, struct local_service *lc,
    char *why, size_t whylen)
{
	struct tunnel_spec one = { o->name, o->target, o->host, o->insecure_target, o->path, o->rewrite, 0, 0, 0, 0, NULL };
	const struct tunnel_spec *spec = o->tunnels != NULL ? o->tunnels : &one;
	int i, n = o->tunnels != NULL || o->ntunnels != 0 ? o->ntunnels : o->target != NULL;

	if (n < 0 || n > TUNNEL_MAX || (o->tunnels == NULL && o->ntunnels != 0)) {
		snprintf(why, whylen, "tunnels: up to %d", TUNNEL_MAX);
		return -1;
	}
	for (i = 0; i < n; i++) {
		if (client_tunnel(c, &spec[i], &c->tunnel[i], &lc[i], why, whylen) == -1 ||
		    client_fits_locked(c, &c->tunnel[i], spec[i].target, why, whylen) == -1)
			return -1;
		c->ntunnels++;
	}
	if (n == 0 && c->dialect->more == NULL)
		return complain(why, whylen, c->dialect->name, "needs its tunnel from the start");
	return 0;
}

/* Who may come, as the members of a listen. 0, or -1 and why, which quotes no password. */
static int
take_guard(struct tunnel_client *c, const struct tunnel_options *o, char *why, size_t whylen)
{
	uint8_t hash[SHA256_LEN];
	struct cidr net;
	const char *wrong;
	struct buf b;
	int i;

	if (!list_ok(o->auth, o->nauth, GUARD_USERS_MAX) || !list_ok(o->allow, o->nallow, GUARD_NETS_MAX))
		return complain(why, whylen, NULL, "auth and allow: 64 at most, and as many as their numbers say");
	if (o->nauth + o->nallow == 0)
		return 0;
	if ((c->guard = malloc(GUARD_TEXT)) == NULL)
		return -1;
	buf_init(&b, c->guard, GUARD_TEXT - 1);
	for (i = 0; i < o->nauth; i++) {
		if (!guard_user_ok(o->auth[i]))
			return complain(why, whylen, NULL, "auth: one is not user:password");
		sha256(o->auth[i], strlen(o->auth[i]), hash);
		buf_str(&b, i > 0 ? ",\"" : ",\"auth\":[\"");
		buf_hex(&b, hash, sizeof(hash));
		buf_str(&b, i == o->nauth - 1 ? "\"]" : "\"");
	}
	for (i = 0; i < o->nallow; i++) {
		if (cidr_parse(&net, o->allow[i], &wrong) == -1) {
			snprintf(why, whylen, "--allow: '%.100s': %s", o->allow[i], wrong);
			return -1;
		}
		buf_str(&b, i > 0 ? ",\"" : ",\"allow\":[\"");
		buf_str(&b, o->allow[i]);
		buf_str(&b, i == o->nallow - 1 ? "\"]" : "\"");
	}
	c->guard[b.len] = '\0';
	return 0;
}

/* What the dialect makes of it, once all else has been taken. 0, or -1 and why. */
static int
take_dialect(struct tunnel_client *c, const struct tunnel_options *o, char *why, size_t whylen)
{
	const char *wrong;

	if (c->dialect->take(c, o, &wrong) == 0)
		return 0;
	snprintf(why, whylen, "the dialect %s %s", c->dialect->name, wrong);
	return -1;
}

/* Times of the connection. 0, or -1 and why. */
static int
take_times(struct tunnel_client *c, const struct tunnel_options *o, char *why, size_t whylen)
{
	c->ping_ms = o->ping_ms;
	c->timeout_ms = o->timeout_ms;
	c->retry_min_ms = o->retry_min_ms != 0 ? o->retry_min_ms : RETRY_MIN_MS;
	c->retry_max_ms = o->retry_max_ms != 0 ? o->retry_max_ms :
	    c->retry_min_ms > RETRY_MAX_MS ? c->retry_min_ms : RETRY_MAX_MS;
	if (c->retry_min_ms < 1 || c->retry_max_ms < c->retry_min_ms || c->retry_max_ms > 86400000 || c->ping_ms > 86400000)
		return complain(why, whylen, NULL, "retry_min_ms, retry_max_ms: 1 to a day, the first being the smaller; ping_ms: up to a day");
	return 0;
}

int
client_place(struct tunnel_client *c, const struct tunnel_options *o, char *why, size_t whylen)
{
	const char *wrong = NULL;

	if ((c->dialect = find_dialect(o->dialect)) == NULL)
		return complain(why, whylen, o->dialect, "is no dialect: native, pipegate, bifrost or vtunnel");
	if (o->endpoint == NULL)
		return complain(why, whylen, NULL, "there is no endpoint: https://HOST[:PORT]");
	if (!list_ok(o->pins, o->npins, TLS_PINS_MAX) || !list_ok(o->headers, o->nheaders, INT_MAX))
		return complain(why, whylen, NULL, "pins (8 at most) and headers: as many as their numbers say");
	if (parse_endpoint(c, o->endpoint, &wrong) == -1)
		return complain(why, whylen, strpbrk(o->endpoint, "?#") != NULL ? NULL : o->endpoint,	/* a query may be a token */
		    strpbrk(o->endpoint, "?#") != NULL ? "the endpoint has a query: the token is not a part of it" : wrong);
	if (!c->dialect->tokenless && !token_ok(o->token))	/* never quoted */
		return complain(why, whylen, NULL, "there is no token, or it has bytes no token has");
	if (take_proxy(c, o, &wrong) == -1)
		return complain(why, whylen, NULL, wrong);	/* it may hold a password */
	if ((c->token = strdup(c->dialect->tokenless ? "" : o->token)) == NULL || wake_open(&c->wake) == -1)
		return complain(why, whylen, NULL, "no memory or descriptors");
	if (reach_fields(c, o, why, whylen) == -1 || take_times(c, o, why, whylen) == -1)
		return -1;
	return take_trust(c, o, why, whylen);
}

static int
take_options(struct tunnel_client *c, const struct tunnel_options *o, struct local_service *lc,
    char *why, size_t whylen)
{
	if (client_place(c, o, why, whylen) == -1)
		return -1;
	if (o->connections < 0 || o->connections > LANES_MAX)
		return complain(why, whylen, NULL, "connections: 1 to 64");
	c->nlanes = o->connections > 1 ? o->connections : 1;
	c->has_auth = o->nauth > 0;
	if (o->ca != NULL && (c->ca = strdup(o->ca)) == NULL)
		return complain(why, whylen, NULL, "no memory");
	if (take_tunnels(c, o, lc, why, whylen) == -1 || take_guard(c, o, why, whylen) == -1)
		return -1;
	return take_dialect(c, o, why, whylen);
}

static int
make_instances(struct tunnel_client *c)
{
	unsigned char raw[8];
	struct buf b;
	int i;

	for (i = 0; i < c->nlanes; i++) {
		if (random_bytes(raw, sizeof(raw)) == -1)
			return -1;
		buf_init(&b, c->lane[i].instance, sizeof(c->lane[i].instance) - 1);
		buf_hex(&b, raw, sizeof(raw));
		c->lane[i].instance[b.len] = '\0';
		c->lane[i].c = c;
	}
	return 0;
}

/* Everything but the options, which are taken. 0, or -1: no memory, no random bytes. */
static int
make_ready(struct tunnel_client *c, const struct tunnel_options *o, const struct local_service *service)
{
	struct local_conf lc;

	memset(&lc, 0, sizeof(lc));
	c->share = o->share || c->nlanes > 1;
	c->stack = o->stack != 0 ? o->stack : STACK_DEFAULT;
	c->budget.left = c->budget.size = c->dialect->memory;
	lc.service = service;
	lc.n = c->ntunnels;
	lc.max = TUNNEL_MAX;
	lc.stack = c->stack;
	lc.request = on_request;
	lc.arg = c;
	if (make_instances(c) == -1)
		return -1;
	return (c->local = local_new(&lc)) != NULL ? 0 : -1;
}

int
client_make(struct tunnel_client *c, const struct tunnel_options *o, struct local_service *lc, char *why, size_t whylen)
{
	return take_options(c, o, lc, why, whylen) == -1 ? -1 : make_ready(c, o, lc);
}

struct tunnel_client *
client_alloc(void)
{
	struct tunnel_client *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->wake.rd = c->wake.wr = -1;
	pthread_mutex_init(&c->budget.mtx, NULL);
	pthread_mutex_init(&c->mtx, NULL);
	cond_init(&c->change);
	return c;
}

/* All but what local_end frees. */
void
client_free(struct tunnel_client *c)
{
	if (c->token != NULL) {
		wipe(c->token, strlen(c->token));
		free(c->token);
	}
	wipe(&c->keys, sizeof(c->keys));
	wipe(&c->proxy, sizeof(c->proxy));
	if (c->tls != NULL)
		tls_client_free(c->tls);
	wake_close(&c->wake);
	pthread_cond_destroy(&c->change);
	pthread_mutex_destroy(&c->mtx);
	pthread_mutex_destroy(&c->budget.mtx);
	if (c->fields != NULL) {
		wipe(c->fields, strlen(c->fields));
		free(c->fields);
	}
	if (c->log != NULL)
		log_free(c->log);
	free(c->ca);
	free(c->guard);
	free(c->tunnel);
	free(c);
}
