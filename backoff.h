/*
 * backoff.h: whoever fails again and again, at logging in, waits longer and longer. A table of a fixed size, by address (IPv6: each /64);
 * the clock is the caller's (clock_ms, CLOCK_STEADY). Any thread may use it.
 *
 * So many failures are free, and one is forgotten every BACKOFF_FORGET_MS; each beyond that means waiting, 1 s, 2, 4 and so on, up to
 * BACKOFF_MAX_MS. Failing with what has failed before counts once: a client left behind with an old token guesses
 * nothing, and those that share its address are not to suffer. When the table is full, whoever has failed least is forgotten.
 */
#ifndef BACKOFF_H
#define BACKOFF_H

#include <stddef.h>

#include "cidr.h"

enum { BACKOFF_FORGET_MS = 10000, BACKOFF_MAX_MS = 60000 };

struct backoff;

struct backoff *backoff_new(long free);	/* so many are free; NULL: no memory, or no random bytes */
void backoff_free(struct backoff *);

/* How long it has still to wait, ms; 0: not at all. */
long backoff_wait(struct backoff *, const struct addr *, int64_t now);

/* It has failed, with this text, which is not kept. How long it has to wait from now on. */
long backoff_failed(struct backoff *, const struct addr *, const void *text, size_t len, int64_t now);

#endif
