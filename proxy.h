/*
 * proxy.h: to the daemon through an HTTP proxy: CONNECT (RFC 9110 section
 * 9.3.6) with Basic credentials (RFC 7617), and NO_PROXY's list of exceptions.
 */
#ifndef PROXY_H
#define PROXY_H

#include <stddef.h>
#include <stdint.h>

#include "base64.h"
#include "net.h"

struct conn;

enum {
	PROXY_USER_MAX = 1024,	/* user name, ':' and password, bytes */
	PROXY_AUTH_MAX = BASE64_LEN(PROXY_USER_MAX) + 1
};

struct proxy {
	char host[NET_HOST_MAX], port[6];
	char auth[PROXY_AUTH_MAX];	/* a secret: credentials in base64; "": none are sent */
};

/*
 * "[http://][USER[:PASSWORD]@]HOST[:PORT][/]", an IPv6 address in brackets; %XX in USER and
 * PASSWORD is decoded. Port 80 if none is given, as the scheme has it (curl takes 1080). 0,
 * or -1 and *why, a constant string, which a password in url never gets into.
 */
int proxy_parse(struct proxy *, const char *url, const char **why);

/*
 * 1 if the list exempts host (IPv6 without brackets) and port from ALL_PROXY and its like. Its entries stand
 * between commas or blanks: "*"; a name, for itself and all below it, with or without a "." or "*." before it; an
 * address; a network, "10.0.0.0/8". All but "*" may end in ":PORT" (IPv6 in brackets then). Names are
 * not resolved, so that a network exempts addresses only. What is no such entry exempts nothing.
 */
int proxy_exempt(const char *list, const char *host, const char *port);

enum {
	PROXY_AGAIN = -1,	/* cut, silent, no memory, busy, or cannot reach host itself */
	PROXY_REFUSED = -2	/* it would answer the same again, or is no HTTP proxy */
};

/*
 * On a connection to the proxy: have it connect to host and port. 0 if c is now as good as a connection to there;
 * else one of the above, and in why a line that names the proxy and says what can be done (256 bytes hold any).
 * Waits until deadline (clock_ms CLOCK_STEADY) or until wakefd (-1: none) is readable, in conn_wait alone. Does not close c.
 */
int proxy_connect(struct conn *, const struct proxy *, const char *host, const char *port,
    int64_t deadline, int wakefd, char *why, size_t whylen);

#endif
