/*
 * jsonscan.h: JSON (RFC 8259) of any size, scanned where it stands: no nodes, and no limit but that of depth.
 * Pure. It takes what JSON.parse of ECMAScript takes: lone surrogates in escapes, and several members of one name, the
 * last of which counts there. Whether bytes are UTF-8 it leaves to jsonscan_latin1.
 */
#ifndef JSONSCAN_H
#define JSONSCAN_H

#include "http.h"

enum { JSONSCAN_DEPTH_MAX = 65536 };

struct jsonscan {		/* a walk over an object or array */
	const char *p, *end;	/* what is still to be read */
	char close;		/* its last byte */
	int begun;
	const char *why;	/* with -1: "not JSON", "cut short" or "too deep" */
};

/* Begin with the object ('{') or array ('[') at the start of text, blanks before it aside. 0; or -1: it is none. */
int jsonscan_begin(struct jsonscan *, struct str text, char open);

/*
 * The next member or element, its value with all in it judged. 1: *name is a string's inside (of a member; untouched else), *value the
 * text, a string's with its quotes; 0: that was all, and p stands behind the closing bracket; -1: this is no JSON, why tells.
 */
int jsonscan_next(struct jsonscan *, struct str *name, struct str *value);

/* Is there nothing but blanks from p on? */
int jsonscan_at_end(const struct jsonscan *);

/*
 * The inside of a sound string as bytes, each of its code points' number; out may be s.p. Their number, or -1: some are above
 * U+00FF, or they do not fit into cap.
 */
long jsonscan_latin1(struct str s, char *out, size_t cap);

/* The same as UTF-8: never longer than it is written. Half of a surrogate pair becomes U+FFFD; bytes stay as they are. */
long jsonscan_utf8(struct str s, char *out, size_t cap);

#endif
