/*
 * pending.h: the pending map: a fixed number of slots for exchanges that wait
 * for their final response head. An id is slot and generation, so that a late
 * answer never reaches a slot's next user.
 */
#ifndef PENDING_H
#define PENDING_H

#include <stdint.h>

struct pending;

struct pending *pending_new(int slots);		/* at most 65535; NULL: no memory */

/*
 * A slot's id; or 0 if for ms milliseconds none was free, or *held was half of
 * them already. *held counts the slots of one tunnel; guarded by the map.
 * Who waits is served in turn.
 */
uint32_t pending_take(struct pending *, unsigned *held, int64_t ms);

void pending_give(struct pending *, uint32_t id);	/* the slot is free again; never blocks, a stale id is ignored */

#endif
