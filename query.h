/*
 * query.h: the parts of a request-target: path, query and a form's pairs in it (RFC 3986 sections 2.1 and 3.4). Pure.
 */
#ifndef QUERY_H
#define QUERY_H

#include "http.h"

/* s without its first n bytes. */
struct str str_behind(struct str s, size_t n);

/* What stands in front of the first c, or all; *rest is what is behind it, p NULL if there is none. */
struct str str_split(struct str s, char c, struct str *rest);

/* The byte at the start of s, percent-decoded; *n is how many bytes stand for it. */
char query_byte(struct str s, size_t *n);

/* A form's text decoded: '+' is a blank. Its length; it is never longer. */
size_t query_decode(struct str s, char *out);

/*
 * A value of name in the target's query, the first or the last one, decoded ('+' is a blank) into out[cap] with a NUL.
 * Its length; -1: there is none; -2: it does not fit, or has a NUL in it.
 */
enum query_which { QUERY_FIRST, QUERY_LAST };
long query_get(struct str target, const char *name, enum query_which, char *out, size_t cap);

#endif
