/* loglimit_test.c: how many lines of a kind pass, and that the rest is told, all of it. */
#include "../loglimit.h"
#include "test.h"

enum { BURST = LOGLIMIT_BURST, EACH = LOGLIMIT_EACH_MS, TELL = LOGLIMIT_TELL_MS };

static struct loglimit l;	/* large */

/* So many lines at this time: how many pass. */
static int
lines(const char *event, const char *reason, const char *who, int n, int64_t now)
{
	int passed = 0;

	while (n-- > 0)
		passed += loglimit_take(&l, event, reason, who, now);
	return passed;
}

/* What is told of a kind, all others are taken, too: the sum of all. */
static uint64_t
told(int64_t now, int all, const char *event, uint64_t *count)
{
	struct loglimit_kind k;
	uint64_t sum = 0;

	*count = 0;
	while (loglimit_tell(&l, now, all, &k)) {
		sum += k.count;
		if (strcmp(k.event, event) == 0)
			*count += k.count;
	}
	return sum;
}

/* One kind: so many lines at such times, from a fresh start. */
static void
rates(void)
{
	static const struct {
		const char *name;
		int64_t at;	/* after the row before; -1: afresh */
		int lines, pass;
	} rows[] = {
		{ "the burst and no more", -1, BURST + 1, BURST },
		{ "at the same time", 0, 5, 0 },
		{ "a moment before the next", EACH - 1, 5, 0 },
		{ "the next", 1, 5, 1 },
		{ "ten later", 10 * EACH, 100, 10 },
		{ "after a rest the whole burst", 1000 * EACH, 100, BURST },
		{ "half of it", BURST / 2 * EACH, 100, BURST / 2 },
		{ "one each", -1, 1, 1 },
		{ "a burst less one", 0, BURST, BURST - 1 },
		{ "exactly the rate", EACH, 1, 1 },
		{ "again", EACH, 1, 1 },
		{ "twice the rate", EACH, 2, 1 },
	};
	uint64_t count, left = 0;
	int64_t now = 0;
	size_t i;
	int n;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].at == -1) {
			check(told(now, 1, "e", &count) == left, "all that was left out is told", i);
			loglimit_init(&l);
			left = 0;
			now = 1000000;
		} else
			now += rows[i].at;
		n = lines("e", NULL, NULL, rows[i].lines, now);
		check(n == rows[i].pass, rows[i].name, (size_t)n);
		left += (uint64_t)(rows[i].lines - n);
	}
	check(told(now, 1, "e", &count) == left && count == left, "all that was left out is told", i);
}

static void
kinds(void)
{
	static const char *const kind[][3] = {
		{ "e", NULL, NULL }, { "f", NULL, NULL }, { "e", "r", NULL }, { "e", NULL, "r" }, { "e", "s", NULL },
		{ "er", NULL, NULL }, { "e", "r", "w" }, { "e", "rw", NULL }, { "e", "r", "x" }
	};
	static char a[300], b[300];
	size_t i;

	loglimit_init(&l);
	for (i = 0; i < sizeof(kind) / sizeof(kind[0]); i++)
		check(lines(kind[i][0], kind[i][1], kind[i][2], BURST + 3, 5) == BURST, "a kind of its own", i);
	check(lines("e", "", "", 1, 5) == 0, "none is empty", 0);
	memset(a, 'x', sizeof(a) - 1);
	memset(b, 'x', sizeof(b) - 1);
	b[LOGLIMIT_TEXT - 1] = 'y';
	check(lines(a, a, a, BURST, 5) == BURST && lines(b, b, b, 1, 5) == 0, "long texts: what is kept counts", 0);
	b[LOGLIMIT_TEXT - 2] = 'y';
	check(lines(b, a, a, 1, 5) == 1 && lines(a, b, a, 1, 5) == 1 && lines(a, a, b, 1, 5) == 1, "to its last byte", 0);
}

/* When it is told. */
static void
telling(void)
{
	struct loglimit_kind k;
	uint64_t n;

	loglimit_init(&l);
	check(!loglimit_tell(&l, 0, 1, &k), "nothing", 0);
	lines("e", "r", "w", BURST, 1000);
	check(told(1000 + 10 * TELL, 0, "e", &n) == 0, "nothing was left out", 0);
	lines("e", "r", "w", 7, 1000);
	check(told(1000 + TELL - 1, 0, "e", &n) == 0, "not yet", 0);
	check(loglimit_tell(&l, 1000 + TELL, 0, &k) && k.count == 7 && strcmp(k.event, "e") == 0 &&
	    strcmp(k.reason, "r") == 0 && strcmp(k.who, "w") == 0, "in time", 0);
	check(!loglimit_tell(&l, 1000 + TELL, 1, &k), "once", 0);
	lines("e", "r", "w", BURST + 4, 100000);
	lines("f", NULL, NULL, BURST + 6, 100000);
	check(told(100000, 0, "f", &n) == 0 && told(100000, 1, "f", &n) == 10 && n == 6, "at the end, at once", 0);
}

/* More kinds than there is room for: bounded, nothing lost, room again afterwards. */
static void
many(void)
{
	uint64_t left = 0, passed = 0, n;
	char name[32];
	int i, round;

	loglimit_init(&l);
	for (round = 0; round < 3; round++)
		for (i = 0; i < 2 * LOGLIMIT_KINDS; i++) {
			snprintf(name, sizeof(name), "%d", i);
			n = (uint64_t)lines("e", name, NULL, BURST, 1000 + round);
			passed += n;
			left += BURST - n;
		}
	check(passed <= (LOGLIMIT_KINDS + 1) * (BURST + 1), "bounded", (size_t)passed);
	check(told(2000, 1, "others", &n) == left, "nothing is lost", (size_t)left);
	check(n > 0, "others are told of", (size_t)n);
	check(lines("g", NULL, NULL, BURST, 1000 + BURST * EACH + TELL + 10) == BURST, "a new kind once others are idle", 0);
	check(l.n == LOGLIMIT_KINDS + 1, "in an old one's place", l.n);
	lines("e", "0", NULL, 2 * BURST, 1000 + BURST * EACH + TELL + 11);
	check(told(1000000, 0, "g", &n) == BURST && n == 0, "which nobody takes for the old one", (size_t)n);
}

int
main(void)
{
	rates();
	kinds();
	telling();
	many();
	return test_end();
}
