/*
 * pending.h: the pending map: a fixed number of slots for exchanges that wait
 * for their final response head. An id is slot and generation, so that a late
 * answer never reaches a slot's next user.
 */
#ifndef PENDING_H
#define PENDING_H

#include <stdint.h>

struct pending;

struct pending_share {		/* one tunnel's; guarded by the map, all 0 at first */
	unsigned held;		/* slots */
	int64_t period;		/* of heads that have come: the last one, */
	unsigned heads, before;	/* how many in it, and in the one before */
};

struct pending *pending_new(int slots);		/* at most 65535; NULL: no memory */
void pending_free(struct pending *);		/* nobody has a slot, or waits for one */

/*
 * A slot's id; or 0 if for ms milliseconds none was to be had. Who waits is served in turn. A
 * tunnel may hold half of the slots. One that answers at once, so that a slot is its for a tenth of a
 * second only, may go on until an eighth is left for the others: it is busy, and does not hang.
 */
uint32_t pending_take(struct pending *, struct pending_share *, int64_t ms);

/* The slot is free again; never blocks, a stale id is ignored. now: clock_ms if the head has come, else 0. */
void pending_give(struct pending *, uint32_t id, int64_t now);

#endif
