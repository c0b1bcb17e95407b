/*
 * limit.h: how much of something one address, or one user, may have at a time. Exact counts, in
 * a table that is no larger than what is being counted. Any thread may use it.
 */
#ifndef LIMIT_H
#define LIMIT_H

#include "cidr.h"

struct limit;

struct limit *limit_new(long max);	/* so many for each address (IPv6: each /64) or name, 1 at least; NULL: no memory */
void limit_free(struct limit *);	/* when all has been given back */

/*
 * 1, or 0: it has them all, or there is no memory. wait_ms: so long it may take until one is given back; whoever has just seen the end of
 * something begins the next before we have counted that end.
 */
int limit_take(struct limit *, const struct addr *, long wait_ms);
void limit_give(struct limit *, const struct addr *);	/* what limit_take has granted */

/* The same for anybody with a name. */
int limit_take_name(struct limit *, const char *name, long wait_ms);
void limit_give_name(struct limit *, const char *name);

/* Of so long, how long whoever may have left keeps his place when so many of max are taken: the fuller, the shorter; 1 from the half on. */
long limit_patience(long ms, long used, long max);

#endif
