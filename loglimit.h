/*
 * loglimit.h: which log lines are too many of a kind. Pure: the caller owns the memory,
 * tells the time and locks.
 *
 * Lines of a kind have the same event, reason and who (the credential). Of each
 * kind LOGLIMIT_BURST may come at once and one each LOGLIMIT_EACH_MS; the others are counted, and the
 * count is to be told LOGLIMIT_TELL_MS after the first of them. When more kinds than
 * LOGLIMIT_KINDS are busy, the rest are one kind together, called "others".
 */
#ifndef LOGLIMIT_H
#define LOGLIMIT_H

#include <stddef.h>
#include <stdint.h>

enum {
	LOGLIMIT_KINDS = 512,
	LOGLIMIT_BURST = 50,
	LOGLIMIT_EACH_MS = 100,
	LOGLIMIT_TELL_MS = 5000,
	LOGLIMIT_TEXT = 64	/* bytes of an event, reason or who that tell kinds apart */
};

struct loglimit_kind {
	char event[LOGLIMIT_TEXT], reason[LOGLIMIT_TEXT], who[LOGLIMIT_TEXT];	/* "": none */
	int64_t full;		/* when all of the burst may come again */
	int64_t since;		/* when the first of count came */
	uint64_t count;		/* left out and not told yet */
};

struct loglimit {
	size_t n, told;		/* kinds in use; where loglimit_tell goes on */
	uint32_t hash[LOGLIMIT_KINDS + 1];
	struct loglimit_kind kind[LOGLIMIT_KINDS + 1];	/* the first: others */
};

void loglimit_init(struct loglimit *);

/* 1: log the line; 0: it is counted and not to be logged. reason and who may be NULL. now: milliseconds. */
int loglimit_take(struct loglimit *, const char *event, const char *reason, const char *who, int64_t now);

/*
 * The next kind whose count is to be told (all: that has one), copied to *out, its count 0 from now on. 1, or
 * 0: none. Call it until then.
 */
int loglimit_tell(struct loglimit *, int64_t now, int all, struct loglimit_kind *out);

#endif
