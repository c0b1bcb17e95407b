/*
 * jwks.h: when a set of keys that is kept elsewhere is fetched, and how long it counts. Pure: the
 * times are milliseconds of a clock that is never set back, and the fetching is the caller's.
 */
#ifndef JWKS_H
#define JWKS_H

#include <stdint.h>

enum {
	JWKS_FRESH_MS = 15 * 60 * 1000,		/* it is taken as it is */
	JWKS_RETRY_MS = 10 * 1000,		/* from one fetch to the next, at least */
	JWKS_STALE_MS = 24 * 60 * 60 * 1000	/* it counts, as long as fetching fails */
};

struct jwks {			/* all 0 at first: nothing was fetched */
	int64_t good;		/* when the set came, if has */
	int64_t tried;		/* when the last fetch ended, if asked */
	int has, asked, busy;
	int renew;		/* a new one is wanted, fresh or not */
};

enum jwks_step {
	JWKS_USE,		/* take the set as it is */
	JWKS_FETCH,		/* jwks_begin, fetch, jwks_end, and ask again */
	JWKS_WAIT,		/* somebody fetches: ask again when that has ended */
	JWKS_NONE		/* there is no such key to be had */
};

/* What to do for a key which is in the set, or is not (known). */
enum jwks_step jwks_next(const struct jwks *, int known, int64_t now);

/* 1 if the set still counts, fresh or not. */
int jwks_counts(const struct jwks *, int64_t now);

/* 1 if the last fetch has failed: what the set lacks may be there. */
int jwks_failed(const struct jwks *);

void jwks_renew(struct jwks *);		/* it may have changed: fetch it when it is next asked for */
void jwks_begin(struct jwks *);
void jwks_end(struct jwks *, int ok, int64_t now);	/* ok: there is a new set */

#endif
