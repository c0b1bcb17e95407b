/* route.c: where a request goes; see route.h. */
#include <string.h>

#include "bifrost.h"
#include "caller.h"
#include "handshake.h"
#include "pipegate.h"
#include "pipegatemsg.h"
#include "route.h"
#include "vtunnel.h"
#include "wsproxy.h"

static int
starts(struct str s, const char *lit)
{
	return s.len >= strlen(lit) && memcmp(s.p, lit, strlen(lit)) == 0;
}

/* Host without port and final dot, in lower case; "" if it is too long. */
void
route_fold(struct str host, char out[NAME_LEN_MAX + 1])
{
	size_t i, n = host.len;
	const char *from = n > 0 && host.p[0] == '[' ? memchr(host.p, ']', n) : host.p;
	const char *colon = n > 0 && from != NULL ? memchr(from, ':', n - (size_t)(from - host.p)) : NULL;

	if (colon != NULL)
		n = (size_t)(colon - host.p);
	if (n > 0 && host.p[n - 1] == '.')
		n--;
	if (n > NAME_LEN_MAX)
		n = 0;
	for (i = 0; i < n; i++)
		out[i] = host.p[i] >= 'A' && host.p[i] <= 'Z' ?
		    (char)(host.p[i] - 'A' + 'a') : host.p[i];
	out[n] = '\0';
}

/* The label in front of the daemon's domain: 1 and its length, or 0. */
static int
label_of(const struct daemon *d, const char *host, size_t *len)
{
	const char *rest = strchr(host, '.');

	if (rest == NULL)
		return 0;
	*len = (size_t)(rest++ - host);
	if (d->conf.domain[0] != '\0')
		return strcmp(rest, d->conf.domain) == 0;
	return strcmp(rest, "localhost") == 0 && strcmp(host, "tunnel.localhost") != 0;
}

/*
 * Bifrost's rule: Host begins with a label and ".tunnel.", however long they are and whatever is behind. 1 and the label in
 * lower case (cut where it is too long to be anybody's), or 0.
 */
static int
tunnel_label(struct str host, char name[NAME_LEN_MAX + 1])
{
	static const char behind[] = ".tunnel.";
	size_t n = 0, i;
	char c;

	for (; n < host.len; n++) {
		c = (char)(host.p[n] | 0x20);
		if (!((c >= 'a' && c <= 'z') || (host.p[n] >= '0' && host.p[n] <= '9') || (n > 0 && host.p[n] == '-')))
			break;
	}
	if (n == 0 || host.len - n < sizeof(behind) - 1 || !http_same(host.p + n, behind, sizeof(behind) - 1))
		return 0;
	for (i = 0; i < n && i < NAME_LEN_MAX; i++)
		name[i] = host.p[i] >= 'A' && host.p[i] <= 'Z' ? (char)(host.p[i] - 'A' + 'a') : host.p[i];
	name[i] = '\0';
	return 1;
}

/* Rule 1: Host names a tunnel. name is NUL-terminated. */
int
route_host(struct daemon *d, const char *host, char name[NAME_LEN_MAX + 1])
{
	size_t len;

	if (label_of(d, host, &len)) {
		memcpy(name, host, len);
		name[len] = '\0';
		return name_ok(name);
	}
	if (strchr(host, '.') == NULL || !registry_has(d->registry, host, 0))
		return 0;
	memcpy(name, host, strlen(host) + 1);
	return 1;
}

int
route_url_host(const struct daemon_conf *conf, char host[NAME_LEN_MAX + 1])
{
	const char *p = strstr(conf->url, "://");
	struct str s;

	host[0] = '\0';
	if (p == NULL)
		return 0;
	s.p = p + 3;
	s.len = strcspn(s.p, "/?#");
	route_fold(s, host);
	return host[0] != '\0';
}

static int
ends_in(const char *name, const char *tail)
{
	size_t n = strlen(name), t = strlen(tail);

	return n >= t && strcmp(name + n - t, tail) == 0 && (n == t || name[n - t - 1] == '.');
}

int
route_reserved(const struct daemon_conf *conf, const char *name)
{
	char host[NAME_LEN_MAX + 1];

	if (strchr(name, '.') == NULL)
		return 0;
	if (route_url_host(conf, host) && strcmp(host, name) == 0)
		return 1;
	if (conf->domain[0] != '\0')
		return ends_in(name, conf->domain);
	return strncmp(name, "tunnel.", 7) == 0 || strstr(name, ".tunnel.") != NULL ||
	    ends_in(name, "localhost");
}

/* The daemon's own host, which no client's name can take. */
static int
is_own(const struct daemon_conf *conf, const char *host)
{
	char url[NAME_LEN_MAX + 1];

	return host[0] != '\0' && (strcmp(host, conf->domain) == 0 || (route_url_host(conf, url) && strcmp(host, url) == 0));
}

int
route_name(struct daemon *d, struct str text, char name[NAME_LEN_MAX + 1])
{
	char host[NAME_LEN_MAX + 1];

	route_fold(text, host);
	return route_host(d, host, name) || (tunnel_label(text, name) && !is_own(&d->conf, host));
}

/* From this machine itself, and for nobody else: a front proxy would say so. */
static int
is_local(const struct caller *c)
{
	static const struct cidr net[] = {
		{ { { [10] = 0xff, [11] = 0xff, [12] = 127 } }, 96 + 8 }, { { { [15] = 1 } }, 128 }
	};

	return (cidr_match(&net[0], &c->addr) || cidr_match(&net[1], &c->addr)) &&
	    http_field(&c->head, "X-Forwarded-For") == NULL && http_field(&c->head, "Forwarded") == NULL;
}

/* wsproxy's endpoints, to the letter. */
static enum route
route_web(struct str path)
{
	return str_is(path, "/relay") ? ROUTE_RELAY : str_is(path, "/tunnel") ? ROUTE_WSPROXY : ROUTE_NOBODY;
}

/* Rule 2: the endpoints. ROUTE_NOBODY if it is none. */
static enum route
route_endpoint(const struct caller *c, struct str path)
{
	const struct http_head *h = &c->head;
	int get = str_is(h->method, "GET");

	if (get && str_is(path, "/_tunnel/ask") && is_local(c))
		return ROUTE_ASK;
	if (str_is(path, "/health") || str_is(path, "/healthz"))
		return get || c->d->conf.web || str_is(h->method, "HEAD") || str_is(h->method, "OPTIONS") ?
		    ROUTE_HEALTH : ROUTE_NOBODY;
	if (!ws_is_upgrade(h))
		return str_is(h->target, "/_bifrost/ping") ? ROUTE_PING : ROUTE_NOBODY;
	if (str_is(path, "/_tunnel") || starts(path, "/_tunnel/"))
		return ROUTE_NATIVE;
	if (bifrost_is(path))
		return ROUTE_BIFROST;
	if (pipegate_is(h) == PIPEGATE_YES)
		return ROUTE_PIPEGATE;
	if (c->d->vtunnel != NULL && vtunnel_serves(c->d->vtunnel, h->target) == VTUNNEL_OWNER)
		return ROUTE_VTUNNEL;
	return route_web(path);
}

/* Rule 3: the first path segment names a path tunnel; *prefix is it with its slash. ROUTE_NOBODY if there is none. */
static enum route
route_path(struct daemon *d, struct str path, char name[NAME_LEN_MAX + 1], struct str *prefix)
{
	const char *slash;
	size_t n;
	int whole;

	name[0] = '/';		/* as an id of PipeGate's is called */
	prefix->p = path.p;
	prefix->len = pipegate_path_id(path, name + 1, &whole);
	if (prefix->len > 0 && registry_has(d->registry, name, 1))
		return whole ? ROUTE_PATH : ROUTE_SLASH;
	if (path.len < 2 || path.p[0] != '/')
		return ROUTE_NOBODY;
	slash = memchr(path.p + 1, '/', path.len - 1);
	n = slash != NULL ? (size_t)(slash - path.p) - 1 : path.len - 1;
	if (n == 0 || n > NAME_LEN_MAX)
		return ROUTE_NOBODY;
	memcpy(name, path.p + 1, n);
	name[n] = '\0';
	prefix->len = n + 1;
	return registry_has(d->registry, name, 1) ? ROUTE_PATH : ROUTE_NOBODY;
}

/* Where a request goes: the order is the whole of routing. */
enum route
route(const struct caller *c, char name[NAME_LEN_MAX + 1], struct str *prefix)
{
	struct daemon *d = c->d;
	const struct http_head *h = &c->head;
	char host[NAME_LEN_MAX + 1];
	struct str path = h->target;
	const char *query = path.len > 0 ? memchr(path.p, '?', path.len) : NULL;
	enum route r;
	int labelled;

	prefix->p = NULL;
	prefix->len = 0;
	if (query != NULL)
		path.len = (size_t)(query - path.p);
	route_fold(h->host, host);
	if (route_host(d, host, name))
		return wsproxy_name(d, name) ? ROUTE_GONE : ROUTE_TUNNEL;
	labelled = tunnel_label(h->host, name) && !is_own(&d->conf, host);
	if (labelled && d->conf.domain[0] == '\0')
		return ROUTE_TUNNEL;
	r = route_endpoint(c, path);
	if (r == ROUTE_NATIVE || r == ROUTE_BIFROST || r == ROUTE_PING)	/* whose name is in Host must not get others' tokens */
		return r;
	if (labelled && bifrost_holds(d, name))	/* beside --domain, too: its users know no other URL */
		return ROUTE_TUNNEL;
	if (r != ROUTE_NOBODY)
		return r;
	if ((r = route_path(d, path, name, prefix)) != ROUTE_NOBODY)
		return r;
	prefix->len = 0;
	if (labelled)		/* meant for a tunnel that is not there, and for no other */
		return ROUTE_NOBODY;
	if (registry_has(d->registry, "default", 0)) {
		memcpy(name, "default", sizeof("default"));
		return ROUTE_TUNNEL;
	}
	if (d->conf.web && (r = route_web(path)) != ROUTE_NOBODY)	/* what is no upgrade there is told so, if it is for nobody else */
		return r;
	if (str_is(path, "/") && (str_is(h->method, "GET") || str_is(h->method, "HEAD")) && !ws_is_upgrade(h))
		return ROUTE_PAGE;
	if (d->vtunnel != NULL && ws_is_upgrade(h) && vtunnel_serves(d->vtunnel, h->target) != VTUNNEL_NOBODY)
		return ROUTE_VTUNNEL;
	/* a client of PipeGate's whose token was cut, or that has none, is told that */
	return pipegate_is(h) == PIPEGATE_MAYBE ? ROUTE_PIPEGATE : ROUTE_NOBODY;
}
