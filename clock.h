/*
 * clock.h: the only place that asks what time it is, so that tests can link another.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

enum clock_kind {
	CLOCK_STEADY,		/* never set back: for waits and durations */
	CLOCK_WALL		/* since 1970-01-01 UTC: for expiry and people */
};

int64_t clock_us(enum clock_kind kind);	/* microseconds; the one function to replace */

static inline int64_t
clock_ms(enum clock_kind kind)
{
	return clock_us(kind) / 1000;
}

/*
 * A deadline at the end of an interval (ms), met so late that we stood still ourselves, as on a paused machine:
 * what others did not do by then says nothing about them.
 */
static inline int
clock_overslept(int64_t now, int64_t deadline, int64_t interval)
{
	return now - deadline >= interval / 4;
}

#endif
