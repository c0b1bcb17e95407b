/*
 * reverse.h: URLs in a response's fields, from the local service's to the caller's. Pure.
 */
#ifndef REVERSE_H
#define REVERSE_H

#include "buf.h"
#include "http.h"

struct reverse {		/* where the caller thinks it is */
	struct str scheme;	/* "https" */
	struct str host;	/* with its port, if it has one */
	struct str prefix;	/* of the path, without a slash at its end: "/hooks"; empty: none */
	struct str local;	/* Host as the service was told */
};

/*
 * The value of a Location or Content-Location field (RFC 9110 sections 10.2.2 and 8.7): a path gets the
 * prefix, a URL of the service's host, or of the caller's, the caller's scheme, host and prefix.
 * Others (another host, a relative path) stay as they are.
 */
void reverse_location(struct buf *out, struct str value, const struct reverse *);

/*
 * That of a Set-Cookie field (RFC 6265 section 4.1): Path gets the prefix, Domain is left out if it
 * is the service's host. A cookie called __Host-… must have the path "/": it stays as it is.
 */
void reverse_cookie(struct buf *out, struct str value, const struct reverse *);

#endif
