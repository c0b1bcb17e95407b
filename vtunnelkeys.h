/*
 * vtunnelkeys.h: the keys that vtunnel's clients may come with: lines of a file. Pure.
 *
 * One key a line, "vt-pub-… [SCOPE] [path=/PATH] [# comment]"; empty lines and those beginning with '#' are ignored. Without a scope it
 * is "*": any port from 1024 up. A key with a path is for that path alone (a query does not count), the others for all other paths.
 */
#ifndef VTUNNELKEYS_H
#define VTUNNELKEYS_H

#include "tokens.h"	/* STORE_SCOPE_MAX */
#include "vtunnelmsg.h"

enum { VTUNNEL_PATH_MAX = 128, VTUNNEL_KEYS_MAX = 4096 };

struct vtunnel_key {
	uint8_t pub[VTUNNEL_KEY];
	char scope[STORE_SCOPE_MAX + 1];
	char path[VTUNNEL_PATH_MAX];	/* "": no path of its own */
};

struct vtunnel_keys {		/* secrets: plain data, the owner's */
	struct vtunnel_key *key;
	size_t n;
};

/* What a line holds: 1 and *k; 0: nothing; -1 and *why, a constant string. */
int vtunnel_key_line(struct vtunnel_key *k, const char *line, size_t len, const char **why);

/*
 * Add the keys of text to what is there. 0; or -1: *why says what is wrong with line *line (from 1 on; 0: no line's), and some may
 * have been added. A key that is there already is an error.
 */
int vtunnel_keys_add(struct vtunnel_keys *, const char *text, size_t len, size_t *line, const char **why);
void vtunnel_keys_free(struct vtunnel_keys *);		/* wipes them; empty then */

/* The first key for this path, without a query: those that have it for their own, else those without one. NULL: none. */
const struct vtunnel_key *vtunnel_keys_first(const struct vtunnel_keys *, const char *path, size_t len);
/* The key for this path whose blob this is, compared in constant time. NULL: none. */
const struct vtunnel_key *vtunnel_keys_find(const struct vtunnel_keys *, const char *path, size_t len, const void *blob, size_t nblob);
/* 1: k is a path's first, whose derived host key is offered there, and not the only one. */
int vtunnel_keys_shared(const struct vtunnel_keys *, const struct vtunnel_key *k);

#endif
