/* limit_test.c: counts of addresses are exact, also from many threads. */
#include <poll.h>
#include <pthread.h>

#include "../limit.c"		/* to see who waits */
#include "test.h"

static struct addr
addr(const char *text)
{
	struct addr a;

	check(addr_parse(&a, text) == 0, text, 0);
	return a;
}

static struct limit *shared_one;

/* Who counts as who. */
static void
addresses(void)
{
	static const struct {
		const char *a, *b;
		int same;
	} table[] = {
		{ "192.0.2.1", "192.0.2.1", 1 }, { "192.0.2.1", "192.0.2.2", 0 },
		{ "192.0.2.1", "::ffff:192.0.2.1", 1 },
		{ "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", 1 },
		{ "2001:db8:1:2::1", "2001:db8:1:3::1", 0 },
		{ "::1", "::2", 1 }, { "::1", "127.0.0.1", 0 }
	};
	struct addr a, b;
	struct limit *l;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		l = limit_new(1);
		a = addr(table[i].a);
		b = addr(table[i].b);
		check(limit_take(l, &a, 0), "the first", i);
		check(limit_take(l, &b, 0) == !table[i].same, "the second", i);
		if (!table[i].same)
			limit_give(l, &b);
		limit_give(l, &a);
		check(limit_take(l, &b, 0), "given back", i);
		limit_give(l, &b);
		limit_free(l);
	}
}

/* As many as there may be, whatever the number of addresses; more of them than buckets. */
static void
counts(void)
{
	struct limit *l = limit_new(3);
	struct addr a;
	int i, n, wrong = 0;

	memset(&a, 0, sizeof(a));
	a.ip[10] = a.ip[11] = 0xff;
	for (n = 0; n < 5; n++)
		for (i = 0; i < 5000; i++) {
			a.ip[14] = (uint8_t)(i >> 8);
			a.ip[15] = (uint8_t)i;
			wrong += limit_take(l, &a, 0) != (n < 3);
		}
	check(wrong == 0, "three of five for each", (size_t)wrong);
	for (n = 0; n < 3; n++)
		for (i = 0; i < 5000; i++) {
			a.ip[14] = (uint8_t)(i >> 8);
			a.ip[15] = (uint8_t)i;
			limit_give(l, &a);
		}
	check(limit_take(l, &a, 0) && limit_take(l, &a, 0) && limit_take(l, &a, 0) && !limit_take(l, &a, 0), "all were given back", 0);
	for (n = 0; n < 3; n++)
		limit_give(l, &a);
	limit_free(l);
}

/* Users are counted as addresses are, and beside them. */
static void
names(void)
{
	struct limit *l = limit_new(2);
	struct addr a;
	int i;

	memset(&a, 0, sizeof(a));
	for (i = 0; i < 2; i++)
		check(limit_take_name(l, "token:1", 0) && limit_take_name(l, "token:12", 0) && limit_take_name(l, "", 0), "names", (size_t)i);
	check(!limit_take_name(l, "token:1", 0) && !limit_take_name(l, "", 0), "no third", 0);
	check(limit_take(l, &a, 0), "an address of zeros is no empty name", 0);
	limit_give(l, &a);
	limit_give_name(l, "token:1");
	check(limit_take_name(l, "token:1", 0) && !limit_take_name(l, "token:12", 0), "one was given back", 0);
	for (i = 0; i < 2; i++) {
		limit_give_name(l, "token:1");
		limit_give_name(l, "token:12");
		limit_give_name(l, "");
	}
	limit_free(l);
}

static void *
giver(void *arg)
{
	struct addr a = *(struct addr *)arg;
	int waiting;

	do {
		poll(NULL, 0, 1);
		pthread_mutex_lock(&shared_one->mtx);
		waiting = shared_one->waiting;
		pthread_mutex_unlock(&shared_one->mtx);
	} while (!waiting);
	limit_give(shared_one, &a);
	return NULL;
}

/* What is about to end is waited for. */
static void
soon(void)
{
	struct addr a = addr("192.0.2.1");
	pthread_t t;

	shared_one = limit_new(1);
	check(limit_take(shared_one, &a, 1), "the first does not wait", 0);
	check(!limit_take(shared_one, &a, 1), "one that does not end", 0);
	check(pthread_create(&t, NULL, giver, &a) == 0, "thread", 0);
	check(limit_take(shared_one, &a, 20000), "one that ends", 0);
	pthread_join(t, NULL);
	limit_give(shared_one, &a);
	limit_free(shared_one);
}

enum { THREADS = 8, ROUNDS = 20000, AT_ONCE = 5 };

static struct limit *shared;
static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;
static int have, most, took;	/* guarded by mtx */

static void *
worker(void *arg)
{
	struct addr a = *(struct addr *)arg;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if (!limit_take(shared, &a, 0))
			continue;
		pthread_mutex_lock(&mtx);
		took++;
		if (++have > most)
			most = have;
		pthread_mutex_unlock(&mtx);
		pthread_mutex_lock(&mtx);
		have--;
		pthread_mutex_unlock(&mtx);
		limit_give(shared, &a);
	}
	return NULL;
}

static void
threads(void)
{
	struct addr a = addr("203.0.113.9");
	pthread_t t[THREADS];
	int i;

	shared = limit_new(AT_ONCE);
	for (i = 0; i < THREADS; i++)
		check(pthread_create(&t[i], NULL, worker, &a) == 0, "thread", (size_t)i);
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	check(most <= AT_ONCE && took > 0, "never more at a time", (size_t)most);
	for (i = 0; i < AT_ONCE; i++)
		check(limit_take(shared, &a, 0), "all of them are free again", (size_t)i);
	check(!limit_take(shared, &a, 0), "and no more", 0);
	for (i = 0; i < AT_ONCE; i++)
		limit_give(shared, &a);
	limit_free(shared);
}

static void
patience(void)
{
	static const struct {
		long ms, used, max, want;
	} row[] = {
		{ 5000, 0, 16, 5000 }, { 5000, 4, 16, 625 }, { 5000, 7, 16, 10 }, { 5000, 8, 16, 1 }, { 5000, 16, 16, 1 }, { 5000, 99, 16, 1 },
		{ 1, 0, 16, 1 }, { 5000, 1, 1, 1 }, { 86400000, 511, 1024, 1 }, { 86400000, 0, 1024, 86400000 },
	};
	size_t i;

	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		check(limit_patience(row[i].ms, row[i].used, row[i].max) == row[i].want, "the fuller, the shorter", i);
}

int
main(void)
{
	addresses();
	counts();
	names();
	soon();
	patience();
	threads();
	return test_end();
}
