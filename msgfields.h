/*
 * msgfields.h: fields in messages: what the dialects that carry requests whole, as JSON, have in common: the daemon's side and
 * the client's. Pure, no allocation.
 */
#ifndef MSGFIELDS_H
#define MSGFIELDS_H

#include "http.h"

/* Heads to messages. */

/*
 * Walk the fields that go on: *i is the next one's index, the first of its name; begin with *i = 0 and add 1 for the
 * next call. 0 at the end. Left out: what belongs to one hop, and the framing, which is made anew.
 */
int msgfields_next(const struct http_head *h, size_t *i);

/* 1 if of several such fields only the first counts; the others are joined. */
int msgfields_single(struct str name);
int msgfields_same(struct str a, struct str b);	/* names, whatever their case */
void msgfields_lower(struct buf *b, struct str name);
void msgfields_latin1(struct buf *b, struct str s);	/* the inside of a JSON string: bytes as code points of the same number */

/* Messages to heads. */

enum {
	MSGFIELDS_HEAD = HTTP_HEAD_MAX,	/* a response head that is composed, bytes */
	MSGFIELDS_NAME = 255
};

struct msgfields {		/* large: not for a stack */
	struct { struct str name, value; } field[HTTP_FIELDS_MAX];	/* name: bytes; value: JSON */
	size_t n;
	int split;		/* a Set-Cookie may be several, joined by commas: take them apart */
	int utf8;		/* values are bytes as they stand, not code points of the same number */
	char scratch[MSGFIELDS_HEAD];
};

/*
 * The members of the object that text is which are called name[0..n) (at most 16 bytes; fold: in any case): their values' texts; p NULL:
 * there is none. Of several the last counts. 1; or 0 and *why if text is no JSON object; then what stands in front of what is wrong.
 */
int msgfields_scan(struct str *value, const char *const *name, size_t n, int fold, struct str text, const char **why);

/* 1: there is no such member, or it is null. */
int msgfields_null(struct str value);

/* A JSON string's inside. 0: it is none. */
int msgfields_inside(struct str value, struct str *out);

/* A JSON string's bytes into out[cap] with a NUL: their number, or -1: it is none, or does not fit, or there is a NUL among them. */
long msgfields_string(struct str value, char *out, size_t cap);

/*
 * The members of a JSON object; of several of one name the last counts. Names are decoded where they stand, so the text
 * is written to. 0, or -1: no object, too many, or a name that is no token.
 */
int msgfields_take(struct msgfields *, struct str object);

/* Index of the first member called name (any case), n if there is none. */
size_t msgfields_find(const struct msgfields *, const char *name);

/* A string, number or constant as bytes of a field value, in scratch. Its length, or -1: it is none, or has controls. */
long msgfields_text(struct msgfields *, struct str value);

/* The value as a number of at most 14 digits: its digits and a NUL in scratch. 1 or 0. */
int msgfields_digits(struct msgfields *, struct str value);

/*
 * Write a response head: the status line, the fields (an array's elements are a line each) but those of framing, and
 * Content-Length: len, or its own where no content may come (bare, 304); none in a 204. 0, or -1.
 */
int msgfields_head(struct buf *b, struct msgfields *, int status, int bare, size_t len);

struct msgfields_own {		/* what a client adds to a request that lacks it; "": nothing */
	const char *host;	/* Host */
	const char *scheme;	/* X-Forwarded-Proto; and X-Forwarded-Host is Host then */
	const char *prefix;	/* X-Forwarded-Prefix */
};

/*
 * The same for a request: without what belongs to one hop, the fields that Connection names among it, and an empty Cookie. Content-Length
 * where there is content, or the method wants some. method and target are not judged. 0, or -1.
 */
int msgfields_request(struct buf *b, struct msgfields *, struct str method, struct str target, const struct msgfields_own *,
    size_t len);

#endif
