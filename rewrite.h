/*
 * rewrite.h: heads as an intermediary passes them on, RFC 9110 section 7.6.
 * Pure: bytes in, bytes out. Hop-by-hop fields are dropped, those that
 * Connection names too; the rest pass in order, duplicates included,
 * byte for byte.
 */
#ifndef REWRITE_H
#define REWRITE_H

#include "http.h"
#include "reverse.h"

/* What the daemon adds to a request; empty strings add nothing. */
struct rewrite_via {
	struct str peer;	/* the caller's address, without port */
	struct str proto;	/* "http" or "https" */
	struct str request_id;	/* used unless trusted and the request has one */
	struct str prefix;	/* X-Forwarded-Prefix */
	int trusted;		/* believe X-Forwarded-* and X-Request-Id that came in */
	const char *proxy;	/* we are a proxy that the caller chose, of this name; NULL: we are not */
	struct str set;		/* field lines, each with its CRLF: they replace those of their names */
};

/*
 * Request head for the tunnel: method, target, HTTP/1.1, the fields kept.
 * target replaces h->target. Host is h->host. Set: X-Forwarded-For (appended
 * to, if trusted), -Proto, -Host, X-Real-IP, X-Request-Id, X-Forwarded-Prefix.
 * Framing is written anew: one Content-Length or Transfer-Encoding: chunked.
 * An upgrade (h->upgrade) is rebuilt as "Connection: Upgrade" and one Upgrade
 * token; h2c is dropped with HTTP2-Settings. TE is "trailers", which needs
 * "Connection: TE" beside it (section 10.1.4), or nothing. Expect passes, but
 * not from HTTP/1.0, which knows no 100. Names that CGI would fold into one of
 * ours (X_Forwarded_For) are dropped, trusted or not.
 * A proxy adds Via and "Connection: close", and says nothing of where a request
 * came from: what the caller says of that passes. Of via->set what concerns
 * one connection, framing or Host is left out.
 * Too long: out->full.
 */
void rewrite_request(struct buf *out, const struct http_head *h, struct str target,
    const struct rewrite_via *via);

/*
 * Request head for the local service: as it came but for Host, which becomes
 * host unless that is empty (then it stays); Host is first and the framing
 * field last, once. Adds no other field.
 */
void rewrite_local(struct buf *out, const struct http_head *h, struct str host);

/* How a response's body goes out to the caller. */
struct rewrite_to {
	int minor;		/* the caller's HTTP/1.minor */
	int close;		/* Connection: close; else keep-alive is said to HTTP/1.0 */
	struct str request_id;	/* X-Request-Id, unless the response has one; empty: none */
	int64_t date;		/* Date, in a final response that has none: seconds since 1970; 0: none */
	const char *fields;	/* more of ours, in a final response; NULL: none */
	const char *proxy;	/* as above: Via is added */
	const struct reverse *back;	/* Location, Content-Location and Set-Cookie as the caller needs them; NULL: as they are */
};

/*
 * Response head for the caller: HTTP/1.1, status, reason, fields kept,
 * framing anew (a body that runs to EOF becomes chunked for an HTTP/1.1
 * caller, and is bare with Connection: close for an HTTP/1.0 one, as is a
 * chunked one). A 101 keeps one Upgrade token, and so does a 426; other 1xx add nothing of ours.
 */
void rewrite_response(struct buf *out, const struct http_head *h, const struct rewrite_to *to);

void rewrite_date(struct buf *out, int64_t t);	/* the field line Date; t: seconds since 1970 */

/* 1 if a trailer field of this name may pass (RFC 9110 section 6.5.1): no
 * framing, routing, authentication, control or payload field. */
int rewrite_trailer_ok(struct str name);

#endif
