/*
 * hist.h: a histogram of whole numbers, log-linear: in a fixed size, and off by 0.4 % at most.
 */
#ifndef HIST_H
#define HIST_H

#include <stddef.h>
#include <stdint.h>

enum {
	HIST_FINE = 128,	/* buckets to an octave */
	HIST_BITS = 40,		/* of the largest value */
	HIST_BUCKETS = (HIST_BITS - 6) * HIST_FINE
};

struct hist {			/* all zero at first */
	uint64_t n, max, bucket[HIST_BUCKETS];
};

static inline void
hist_add(struct hist *h, uint64_t v)
{
	unsigned shift = 0;

	if (v > h->max)
		h->max = v;
	if (v >> HIST_BITS != 0)
		v = ((uint64_t)1 << HIST_BITS) - 1;
	while (v >> shift >= 2 * HIST_FINE)
		shift++;
	h->bucket[shift * HIST_FINE + (v >> shift)]++;
	h->n++;
}

/* The value that so many of 1000 do not exceed, 0 if there is none. */
static inline uint64_t
hist_at(const struct hist *h, unsigned permille)
{
	uint64_t rank = (h->n * permille + 999) / 1000, seen = 0, v;
	unsigned i, shift;

	for (i = 0; i < HIST_BUCKETS; i++) {
		if ((seen += h->bucket[i]) < rank || seen == 0)
			continue;
		shift = i < 2 * HIST_FINE ? 0 : i / HIST_FINE - 1;
		v = ((uint64_t)(i - shift * HIST_FINE) << shift) + ((uint64_t)1 << shift) / 2;
		return v < h->max ? v : h->max;
	}
	return 0;
}

#endif
