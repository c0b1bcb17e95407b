/* clock.c: the system's clocks; see clock.h. */
#include <time.h>

#include "clock.h"

int64_t
clock_us(enum clock_kind kind)
{
	struct timespec ts;

	clock_gettime(kind == CLOCK_STEADY ? CLOCK_MONOTONIC : CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
