/*
 * proxymap.h: the proxy map: which tunnel answers for a host and port that
 * somebody asks the CONNECT proxy for (connect.h). Clients register the keys
 * of it. Memory only; calls are safe from any thread.
 */
#ifndef PROXYMAP_H
#define PROXYMAP_H

#include "http.h"	/* struct str */

enum {
	PROXYMAP_KEY_MAX = 262,		/* bytes of a key: a host, ':', a port */
	PROXYMAP_TEXT_MAX = PROXYMAP_KEY_MAX + 16,	/* of one written out, with the NUL */
	PROXYMAP_MAX = 4096,		/* entries in all */
	PROXYMAP_OWNER_MAX = 256,	/* entries of one credential */
	PROXYMAP_FIELDS_MAX = 4096	/* bytes of the fields of one entry */
};

struct proxymap;

extern const char proxymap_nowhere[];	/* in place of a tunnel's name, which it is none of: see proxymap_moved */

/* Returns an empty map, or NULL without memory. */
struct proxymap *proxymap_new(void);

/* Nobody may be using it any more. NULL is fine. */
void proxymap_free(struct proxymap *);

struct proxymap_set {
	const char *key;	/* "host:port", in any case; the host may be
				 * "*.suffix" (one or more labels in front, not
				 * the suffix itself) or "prefix.*" (one or more
				 * behind); an asterisk elsewhere is literal */
	const char *name;	/* of a tunnel in the registry: "tcp:40123" */
	const char *who;	/* identity.who */
	const char *to;		/* where its client leads the tunnel's callers */
	struct str fields;	/* "Name: value\r\n"..., valid and bounded
				 * already: set, replacing, on plain HTTP
				 * requests to that key; may be empty */
};

/*
 * Map a key to a tunnel's name; what the same credential set before is
 * replaced. Everything is copied. NULL; or a constant line for people: the
 * key is another credential's, or malformed, or one too many, or there is no
 * memory. held answers whether a registry name is held or in its grace: an
 * entry of another credential is taken over if its name is not. It is called
 * without a lock of the map.
 *
 * An entry stays for the life of the process, so that what was once mapped is
 * never passed through to the network: its client is away, says the answer.
 * Only where there is no room left do those make it, the oldest first, whose
 * tunnel has gone.
 */
const char *proxymap_set(struct proxymap *, const struct proxymap_set *,
    int (*held)(void *arg, const char *name), void *arg);

/*
 * The client leads the callers of this tunnel of who's to here from now on. Keys that led to another place by it lead nowhere, as if
 * their client were away, until they are set again.
 */
void proxymap_moved(struct proxymap *, const char *name, const char *who, const char *to);

struct proxymap_hit {
	char name[16];		/* "tcp:40123" */
	struct str fields;	/* from malloc, the caller's; may be empty */
	char *who;		/* likewise: whose it is. Another's tunnel that has got
				 * this name since is not meant */
};

/*
 * What answers for host and port: an exact key before a leading wildcard
 * before a trailing one, then the longer key. Case does not count, nor does a
 * final dot of the host, nor how an address is written. 1 and the hit; 0: not mapped; -1: no memory.
 */
int proxymap_find(struct proxymap *, struct str host, unsigned port,
    struct proxymap_hit *);

/* The entry of this very key, as in proxymap_set; the same answers. */
int proxymap_get(struct proxymap *, const char *key, struct proxymap_hit *);

/*
 * For a takeover: the entry at this place, with its key and *to, from malloc
 * as what is in the hit. 1; 0: there is none, nor behind it; -1: no memory.
 */
int proxymap_at(struct proxymap *, int place, char key[PROXYMAP_TEXT_MAX],
    struct proxymap_hit *, char **to);

#endif
