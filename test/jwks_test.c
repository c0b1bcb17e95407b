/* jwks_test.c: when a key set is fetched, by a clock of the test's own. */
#include "../jwks.h"
#include "test.h"

#define S 1000
#define MIN (60 * S)
#define H (60 * MIN)

/* One story a group of rows: at a time, somebody wants a key; what he is told, and how the fetch, if any, ends. */
static const struct {
	const char *name;
	int64_t at;		/* -1: a new story begins */
	int known;
	enum jwks_step want;
	int64_t takes;		/* with JWKS_FETCH: milliseconds; then, ok or not, known2 is asked at once */
	int ok, known2;
	enum jwks_step then;
} rows[] = {
	{ "a set that is fresh", -1, 0, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "the first key", 5, 0, JWKS_FETCH, 100, 1, 1, JWKS_USE },
	{ "again", 1 * S, 1, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "just before 15 min", 15 * MIN + 104, 1, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "15 min", 15 * MIN + 105, 1, JWKS_FETCH, 100, 1, 1, JWKS_USE },
	{ "fresh again", 15 * MIN + 205 + 14 * MIN, 1, JWKS_USE, 0, 0, 0, JWKS_USE },

	{ "an unknown kid", -1, 0, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "is fetched for", 0, 0, JWKS_FETCH, 0, 1, 0, JWKS_NONE },
	{ "not within 10 s", 9999, 0, JWKS_NONE, 0, 0, 0, JWKS_USE },
	{ "while known ones pass", 9999, 1, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "after 10 s", 10 * S, 0, JWKS_FETCH, 0, 1, 1, JWKS_USE },
	{ "not within the next", 19 * S, 0, JWKS_NONE, 0, 0, 0, JWKS_USE },
	{ "and again", 20 * S, 0, JWKS_FETCH, 0, 1, 0, JWKS_NONE },

	{ "an outage", -1, 0, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "good", 0, 0, JWKS_FETCH, 0, 1, 1, JWKS_USE },
	{ "stale, and a failure that takes time", 15 * MIN, 1, JWKS_FETCH, 10 * S, 0, 1, JWKS_USE },
	{ "the 10 s begin with its end", 15 * MIN + 15 * S, 1, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "unknown ones are refused meanwhile", 15 * MIN + 15 * S, 0, JWKS_NONE, 0, 0, 0, JWKS_USE },
	{ "then it is tried again", 15 * MIN + 20 * S, 1, JWKS_FETCH, 0, 0, 1, JWKS_USE },
	{ "just before 24 h", 24 * H - 1, 1, JWKS_FETCH, 0, 0, 1, JWKS_USE },
	{ "24 h", 24 * H, 1, JWKS_NONE, 0, 0, 0, JWKS_USE },
	{ "later", 25 * H, 1, JWKS_FETCH, 0, 0, 1, JWKS_NONE },
	{ "it is back", 26 * H, 1, JWKS_FETCH, 0, 1, 1, JWKS_USE },
	{ "and good", 26 * H + 14 * MIN, 1, JWKS_USE, 0, 0, 0, JWKS_USE },

	{ "none from the start", -1, 0, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "nothing", 0, 0, JWKS_FETCH, 0, 0, 0, JWKS_NONE },
	{ "nothing yet", 5 * S, 0, JWKS_NONE, 0, 0, 0, JWKS_USE },
	{ "at last", 10 * S, 0, JWKS_FETCH, 0, 1, 1, JWKS_USE },

	{ "a key that is gone from the set", -1, 0, JWKS_USE, 0, 0, 0, JWKS_USE },
	{ "there", 0, 0, JWKS_FETCH, 0, 1, 1, JWKS_USE },
	{ "gone", 15 * MIN, 1, JWKS_FETCH, 0, 1, 0, JWKS_NONE },
};

static void
renewed(void)
{
	struct jwks k;

	memset(&k, 0, sizeof(k));
	jwks_end(&k, 1, 0);
	check(jwks_next(&k, 1, S) == JWKS_USE, "fresh", 0);
	jwks_renew(&k);
	check(jwks_next(&k, 1, S) == JWKS_FETCH, "it is fetched again at once", 0);
	jwks_end(&k, 0, S);
	check(jwks_next(&k, 1, 2 * S) == JWKS_USE, "a failure: it still counts", 0);
	check(jwks_next(&k, 1, 11 * S) == JWKS_FETCH, "a failure: again after 10 s", 0);
	jwks_end(&k, 1, 11 * S);
	check(jwks_next(&k, 1, 22 * S) == JWKS_USE, "then it is fresh", 0);
}

int
main(void)
{
	struct jwks k = { 0, 0, 0, 0, 0, 0 };
	enum jwks_step step;
	int64_t now;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].at == -1) {
			memset(&k, 0, sizeof(k));
			continue;
		}
		now = rows[i].at;
		step = jwks_next(&k, rows[i].known, now);
		check(step == rows[i].want, rows[i].name, i);
		if (step != JWKS_FETCH)
			continue;
		jwks_begin(&k);
		/* who comes now waits, unless the set is fresh and has his key */
		check(jwks_next(&k, 0, now) == JWKS_WAIT, rows[i].name, i);
		check(jwks_next(&k, 1, now) == (k.has && now - k.good < JWKS_FRESH_MS ? JWKS_USE : JWKS_WAIT), rows[i].name, i);
		now += rows[i].takes;
		jwks_end(&k, rows[i].ok, now);
		check(jwks_next(&k, rows[i].known2, now) == rows[i].then, rows[i].name, i);
	}
	renewed();
	return test_end();
}
