/*
 * limit.h: how much of something one address may have at a time. Exact counts, in
 * a table that is no larger than what is being counted. Any thread may use it.
 */
#ifndef LIMIT_H
#define LIMIT_H

#include "cidr.h"

struct limit;

struct limit *limit_new(long max);	/* so many for each address (IPv6: each /64); NULL: no memory */
void limit_free(struct limit *);	/* when all has been given back */
int limit_take(struct limit *, const struct addr *);	/* 1, or 0: it has them all, or there is no memory */
void limit_give(struct limit *, const struct addr *);	/* what limit_take has granted */

#endif
