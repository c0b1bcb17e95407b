/*
 * origin.h: rules about the Origin of browsers' requests (RFC 6454), as wsproxy has them. Pure.
 *
 * A rule is a shell glob for host[:port], or for scheme://host[:port] if it has "://" in it: "app.example.com", "*.example.com",
 * "http://localhost:*", "*".
 */
#ifndef ORIGIN_H
#define ORIGIN_H

#include "http.h"

enum { ORIGIN_MAX = 200, ORIGINS_MAX = 64 };	/* bytes of a rule */

/* 1; or 0 and *why, a constant string: nothing could ever match it, or it is no glob. */
int origin_rule_ok(const char *rule, const char **why);

/* May a page of this origin read our answers (CORS)? The rule is "*", the origin itself, or ends in ":*" for any port of it. */
int origin_reads(const char *rule, struct str origin);

/*
 * May it open a WebSocket? The whole glob: '*' and '?' match no '/', [a-z], [^a-z] and \x as path.Match has them, in any case. "*" matches
 * "null", too.
 */
int origin_opens(const char *rule, struct str origin);

/* host[:port] of an origin; empty if there is none, as in "null". */
struct str origin_host(struct str origin);

#endif
