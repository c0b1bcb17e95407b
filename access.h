/*
 * access.h: the access log's lines: the combined format, then the tunnel's name,
 * milliseconds and the request id.
 *
 *	192.0.2.7 - - [21/Nov/2026:10:02:11 +0000] "GET / HTTP/1.1" 200 512 "-" "curl/8" preview 12 6f2a90b100000017
 *
 * Quotes, backslashes and what is not printable ASCII are
 * escaped as Apache does it (\" \\ \n \r \t \xHH); a value beyond ACCESS_VALUE_MAX bytes is cut and ends in "...".
 */
#ifndef ACCESS_H
#define ACCESS_H

#include <stddef.h>
#include <stdint.h>

#include "scope.h"

struct caller;
struct daemon;

enum {
	ACCESS_VALUE_MAX = 1024,
	ACCESS_SEEN_MAX = 160,	/* a request as its tunnel's client is shown it, bytes */
	ACCESS_LEFT = 499,	/* status: the caller left before a head could go out; as nginx has it */
	ACCESS_LINE = 3 * 4 * ACCESS_VALUE_MAX + 1024
};

struct access {			/* an exchange, for its line; the caller thread's */
	int64_t began;		/* clock_ms, steady */
	int64_t ended;		/* likewise; 0: with access_end */
	int status;		/* 0: none */
	uint64_t bytes;		/* behind the head */
	size_t len, answer;	/* of the caller's access_text; where status and bytes go in it */
	char tunnel[NAME_LEN_MAX + 1];	/* "": none */
};

/* The request in c->head as its tunnel's client is shown it: method and target, escaped likewise, and cut. NUL-terminated. */
void access_seen(const struct caller *c, char out[ACCESS_SEEN_MAX]);

/*
 * A request has come: compose what may be overwritten before its end. sound: its head is in c->head; 0: it is a bad
 * one, in c->in, or none.
 */
void access_begin(struct caller *c, int sound);

/* It goes to this tunnel. */
void access_tunnel(struct caller *c, const char *name);

/* It is over: write the line. None of these does anything without an access log. */
void access_end(struct caller *c);

/*
 * A connection to the raw port called name, from host, is over: its line, likewise. began: clock_ms, steady; why: as in the log, NULL: it has
 * ended in order; bytes: that went to the caller.
 */
void access_port(const struct daemon *, const char *host, const char *name, int64_t began, const char *why, uint64_t bytes);

#endif
