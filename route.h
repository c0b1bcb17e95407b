/*
 * route.h: where a request goes, by its Host and path. The order of rules is tunneld(8), ROUTING.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "http.h"
#include "scope.h"

struct caller;
struct daemon;
struct daemon_conf;

enum route {
	ROUTE_TUNNEL,		/* name, by Host or as default */
	ROUTE_GONE,		/* name, which nobody has, and nobody will */
	ROUTE_PATH,		/* name is the first path segment */
	ROUTE_SLASH,		/* likewise, but no slash is behind it */
	ROUTE_NATIVE, ROUTE_BIFROST, ROUTE_PIPEGATE, ROUTE_RELAY, ROUTE_WSPROXY, ROUTE_VTUNNEL, ROUTE_HEALTH, ROUTE_PING, ROUTE_PAGE, ROUTE_ASK,
	ROUTE_OFF,		/* an endpoint that this daemon does not offer */
	ROUTE_NOBODY
};

/* For the request in c->head. name: the tunnel's; *prefix: the path's first bytes that are its name, or empty. */
enum route route(const struct caller *c, char name[NAME_LEN_MAX + 1], struct str *prefix);

/* Host without port and final dot, in lower case; "" if it is too long. */
void route_fold(struct str host, char out[NAME_LEN_MAX + 1]);

/* The host of --url, folded. 1, or 0: there is none. */
int route_url_host(const struct daemon_conf *, char host[NAME_LEN_MAX + 1]);

/*
 * The daemon's own host names, and what stands in front of its domain, are no
 * custom domains: their holder would get everybody's handshakes, tokens and all. 1 if name is such.
 */
int route_reserved(const struct daemon_conf *, const char *name);

/* Does this (folded) Host name a tunnel, by --domain (.localhost without it) or as a custom domain? name is NUL-terminated. */
int route_host(struct daemon *d, const char *host, char name[NAME_LEN_MAX + 1]);
/* The same of any Host, also as bifrost's rule has it. */
int route_name(struct daemon *d, struct str host, char name[NAME_LEN_MAX + 1]);

#endif
