/* backoff_test.c: whoever fails waits, longer and longer, and alone. */
#include <pthread.h>
#include <stdio.h>

#include "../backoff.h"
#include "test.h"

enum { FREE = 5 };

static struct addr
addr(const char *text)
{
	struct addr a;

	check(addr_parse(&a, text) == 0, text, 0);
	return a;
}

/* Fail with a text never used before. */
static long
fail(struct backoff *b, const struct addr *a, int64_t now)
{
	static unsigned n;

	n++;
	return backoff_failed(b, a, &n, sizeof(n), now);
}

static void
longer(void)
{
	static const long want[] = { 0, 0, 0, 0, 0, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
	struct addr a = addr("192.0.2.1"), other = addr("192.0.2.2");
	struct backoff *b = backoff_new(FREE);
	int64_t now = 1000000;
	size_t i;

	check(backoff_wait(b, &a, now) == 0, "nobody waits at first", 0);
	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		check(fail(b, &a, now) == want[i], "the wait", i);
		check(backoff_wait(b, &a, now) == want[i], "as asked", i);
	}
	check(backoff_wait(b, &other, now) == 0, "another address does not", 0);
	check(backoff_wait(b, &a, now + BACKOFF_MAX_MS - 1) == 1, "to the end", 0);
	check(backoff_wait(b, &a, now + BACKOFF_MAX_MS) == 0, "and no longer", 0);
	/* 13 at now; after 60 s 7 are left */
	check(fail(b, &a, now + 6 * BACKOFF_FORGET_MS) == 4000, "some were forgotten", 0);
	check(fail(b, &a, now + 100 * BACKOFF_FORGET_MS) == 0, "all were forgotten", 0);
	backoff_free(b);
}

/* One a BACKOFF_FORGET_MS is as good as none, whatever the fractions. */
static void
slowly(void)
{
	struct addr a = addr("2001:db8::1"), same = addr("2001:db8::ffff"), other = addr("2001:db8:0:1::1");
	struct backoff *b = backoff_new(FREE);
	int64_t now = 0;
	int i, waits = 0;

	for (i = 0; i < 1000; i++, now += BACKOFF_FORGET_MS)
		waits += fail(b, &a, now) > 0;
	check(waits == 0, "one in ten seconds", (size_t)waits);
	for (i = 0, waits = 0; i < 1000; i++, now += BACKOFF_FORGET_MS / 2)
		waits += fail(b, &a, now) > 0;
	check(waits > 900, "two in ten seconds", (size_t)waits);
	now = 100 * (int64_t)now;
	for (i = 0; i <= FREE; i++)
		fail(b, i % 2 ? &a : &same, now);
	check(backoff_wait(b, &same, now) == 1000, "a /64 is one", 0);
	check(backoff_wait(b, &other, now) == 0, "the next is another", 0);
	backoff_free(b);
}

/* A client that was left behind with a bad token, or several. */
static void
stale(void)
{
	struct addr a = addr("192.0.2.1");
	struct backoff *b = backoff_new(FREE);
	long waited = 0;
	int i;

	for (i = 0; i < 1000; i++)
		waited += backoff_failed(b, &a, "stale 1", 7, i) + backoff_failed(b, &a, "stale 2", 7, i);
	check(waited == 0, "the same again counts once", (size_t)waited);
	for (i = 0; i < FREE; i++)
		waited += fail(b, &a, 1000);
	check(waited > 0, "others count beside it", 0);
	backoff_free(b);
}

/* More addresses than there is room for: it stays of one size, and whoever fails most is kept. */
static void
many(void)
{
	struct addr a = addr("192.0.2.1"), x = addr("10.0.0.0");
	struct backoff *b = backoff_new(FREE);
	unsigned i;

	for (i = 0; i < 2 * FREE; i++)
		fail(b, &a, 0);
	for (i = 0; i < 100000; i++) {
		x.ip[13] = (uint8_t)(i >> 16);
		x.ip[14] = (uint8_t)(i >> 8);
		x.ip[15] = (uint8_t)i;
		fail(b, &x, 0);
	}
	check(backoff_wait(b, &a, 0) > 0, "still known", 0);
	backoff_free(b);
}

enum { THREADS = 8, ROUNDS = 2000 };

static struct backoff *shared;
static struct addr common;

static void *
worker(void *arg)
{
	char text[32];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		snprintf(text, sizeof(text), "%p %d", arg, i);
		backoff_failed(shared, &common, text, strlen(text), 0);
		backoff_wait(shared, &common, 0);
	}
	return NULL;
}

static void
threads(void)
{
	pthread_t t[THREADS];
	int i, each[THREADS];

	common = addr("203.0.113.9");
	shared = backoff_new(THREADS * ROUNDS);
	for (i = 0; i < THREADS; i++)
		check(pthread_create(&t[i], NULL, worker, &each[i]) == 0, "thread", (size_t)i);
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	check(backoff_wait(shared, &common, 0) == 0, "none too many was counted", 0);
	check(fail(shared, &common, 0) == 1000, "nor one too few", 0);
	backoff_free(shared);
}

int
main(void)
{
	longer();
	slowly();
	stale();
	many();
	threads();
	return test_end();
}
