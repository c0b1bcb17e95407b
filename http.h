/*
 * http.h: HTTP/1.1 message heads and bodies, RFC 9112 and RFC 9110.
 * Pure: the caller owns every buffer; names and values point into it.
 * Strict where an attacker lives: what two parsers could read in two ways
 * is refused, never guessed.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "buf.h"

enum {
	HTTP_HEAD_MAX = 36864,		/* start line and fields, bytes */
	HTTP_TARGET_MAX = 8192,		/* request-target, bytes */
	HTTP_FIELDS_MAX = 144,		/* field lines in a head or trailer section */
	HTTP_TRAILERS_MAX = 8192	/* trailer section, bytes */
};

struct str {			/* bytes, not NUL-terminated */
	const char *p;
	size_t len;
};

static inline int
str_is(struct str s, const char *lit)
{
	return s.len == strlen(lit) && (s.len == 0 || memcmp(s.p, lit, s.len) == 0);
}

struct http_field {
	struct str name;	/* as it was written */
	struct str value;	/* without the white space around it */
};

enum http_framing {		/* how a message's body ends, RFC 9112 section 6.3 */
	HTTP_NO_BODY,
	HTTP_LENGTH,		/* after length bytes */
	HTTP_CHUNKED,		/* with the last chunk and its trailer section */
	HTTP_TO_EOF		/* with the connection; responses only */
};

enum http_form {		/* of a request-target, RFC 9112 section 3.2 */
	HTTP_ORIGIN,
	HTTP_ABSOLUTE,		/* http://... */
	HTTP_ABSOLUTE_TLS,	/* https://... */
	HTTP_AUTHORITY,		/* CONNECT's */
	HTTP_ASTERISK
};

struct http_head {
	size_t scanned;		/* parser's own: set to 0 before the first call */
	size_t start, line;	/* parser's own: where the start line is, and this line */
	int minor;		/* HTTP/1.minor, 0 or 1 (anything above counts as 1) */
	struct str method;	/* requests */
	enum http_form form;	/* requests: of the target as it came */
	struct str target;	/* requests: origin-form or "*", absolute-form is split; CONNECT's as it came */
	struct str host;	/* requests: Host, or the target's authority, which goes before it; may be empty */
	int status;		/* responses: 100 to 599 */
	struct str reason;	/* responses: may be empty */
	enum http_framing framing;
	uint64_t length;	/* set with HTTP_LENGTH; for a response to HEAD see below */
	int has_length;		/* there is a Content-Length (also where framing is HTTP_NO_BODY) */
	int keep_alive;		/* the connection may be used again, RFC 9112 section 9.3 */
	int expect_continue;	/* requests: Expect: 100-continue */
	struct str upgrade;	/* first protocol of Upgrade, only if Connection names upgrade
				   and only in HTTP/1.1 (RFC 9110 section 7.8) */
	size_t nfields;
	struct http_field field[HTTP_FIELDS_MAX];	/* in the order they came */
};

/*
 * Read the request head at the start of buf. Call again with more bytes and
 * the same h until it does not return 0; buf may move in between.
 *  > 0  the head's length in bytes, its empty line included; *h is filled in
 *    0  no whole head in len bytes yet, and nothing wrong so far
 *  < 0  a status, negated: 400, 414 (target), 431 (fields), 501 (a transfer
 *       coding but chunked), 505 (not HTTP/1.x); *why is a constant string
 * One or two empty lines before the request line are skipped (2.2). Refused
 * with 400: bare CR or LF, NUL and other controls, obsolete folding, space
 * before a colon, an empty or non-token name, Host missing in HTTP/1.1 or
 * repeated or with bytes no host has, Content-Length and Transfer-Encoding
 * together, differing or malformed lengths (equal ones count as one),
 * Transfer-Encoding in HTTP/1.0 or repeated, '#' or blanks or controls in the target,
 * CONNECT, "*" with a method other than OPTIONS, an absolute-form with a
 * query but no path (it cannot be split into bytes of buf).
 */
int http_req_parse(struct http_head *h, const char *buf, size_t len, const char **why);

/* The same for a proxy: CONNECT is taken, its target being HOST or HOST:PORT. */
int http_proxy_parse(struct http_head *h, const char *buf, size_t len, const char **why);

/*
 * The same for a response head; is_head says that it answers a HEAD request.
 * framing is RFC 9112 section 6.3: none for HEAD, 1xx, 204 and 304.
 *  < 0  -502: what came is no HTTP/1.x response we would relay (whatever is
 *       wrong with it, over-long heads included)
 */
int http_res_parse(struct http_head *h, const char *buf, size_t len, int is_head,
    const char **why);

/* 1 for a token (RFC 9110 section 5.6.2), for a byte of one, of a field value (5.5). */
int http_is_token(struct str s);
int http_is_tchar(unsigned char c);
int http_is_text(unsigned char c);

/* The value of the first field called name (any case), or NULL. */
const struct str *http_field(const struct http_head *h, const char *name);

/* Comparison ignoring ASCII case; s may hold NUL bytes, lit is a C string. */
int http_same(const char *a, const char *b, size_t len);

static inline int
http_is(struct str s, const char *lit)
{
	size_t len = strlen(lit);	/* counted by the compiler */

	return s.len == len && http_same(s.p, lit, len);
}

/*
 * Walk a comma-separated list (RFC 9110 section 5.6.1) that may be spread
 * over several fields called name: *tok is the next element, without white space
 * around it; empty elements are skipped, a comma in a quoted-string does not
 * split. Start with *at = 0; *at is the walk's own. 1, or 0 at the end.
 */
int http_list_next(const struct http_head *h, const char *name, size_t *at, struct str *tok);

/* 1 if an element of the list field called name equals lit (any case). */
int http_list_has(const struct http_head *h, const char *name, const char *lit);

/*
 * A body on its way through. The walk checks its framing and writes it anew:
 * a chunk's size in shortest hexadecimal, chunk extensions dropped, trailers
 * filtered (rewrite.h says which fields pass).
 */
struct http_body {
	enum http_framing framing;
	uint64_t left;		/* bytes left of the length or of this chunk */
	int state;		/* the walk's own */
	int bare;		/* write the data alone, without chunk framing and trailers */
	int encode;		/* the caller's, set after init: the source runs to EOF, write it
				   chunked; after http_body_eof send HTTP_LAST_CHUNK */
	int done;		/* the whole body has been seen */
	uint64_t seen;		/* bytes of data (without framing) so far */
	size_t nline;		/* bytes of the line being read */
	size_t nsection;	/* bytes of the trailer section, those dropped too */
	size_t nfields;		/* field lines in it */
	size_t ntrailers;	/* bytes in trailers: whole lines that are kept */
	char *trailers;		/* the caller's, HTTP_TRAILERS_MAX bytes, or NULL: trailers are dropped */
};

#define HTTP_LAST_CHUNK "0\r\n\r\n"

/* What a piece of body has become: send iov[0..n) in order. */
enum { HTTP_IOV_MAX = 32 };
struct http_out {
	struct iovec iov[HTTP_IOV_MAX];
	int n;
	size_t ntext;
	char text[512];		/* chunk-size lines; iov points here, into buf, or into trailers */
};

/*
 * Start a body with h's framing. bare: see above. A body of framing
 * HTTP_NO_BODY, or of length 0, is done at once.
 */
void http_body_init(struct http_body *b, const struct http_head *h, char *trailers, int bare);

/*
 * Take what it can of len bytes and say in *out what to send for them.
 *  >= 0  bytes taken; fewer than len when the body is done (what follows is
 *        the next message) or when out is full: send it and call again.
 *        More than 0 if len is and the body was not done.
 *  < 0   -400: broken chunk framing, trailers too long; *why is a constant string
 * Data is sent as it comes, a partial chunk included. out->iov points into
 * buf: send, or copy, before buf is used again.
 * Chunk sizes have at most 15 digits, a chunk-size line (extension included)
 * at most 256 bytes; the last chunk and its trailers go out when all of them
 * are there and found good. Extension bytes are checked (no control but HTAB, no bare CR or LF) and dropped.
 */
long http_body_take(struct http_body *b, const char *buf, size_t len,
    struct http_out *out, const char **why);

/*
 * The body's source has ended. 0 if that is the proper end (done, or
 * HTTP_TO_EOF, which is done now), -1 if the body is cut short.
 */
int http_body_eof(struct http_body *b);

/* The reason phrase of a status code we send, "Unknown" for others. */
const char *http_reason(int status);

extern const char http_month[12][4];	/* as dates have them, in English whatever the locale (RFC 9110 section 5.6.7) */

/* 1 for methods that may be repeated without harm (RFC 9110 section 9.2.2). */
int http_idempotent(struct str method);

#endif
