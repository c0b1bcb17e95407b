/* The pending map: pending.h, in a time of our own. */
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "../pending.c"		/* to see who waits */
#include "test.h"

enum { PERIOD = PERIOD_MS, START = 1000 * PERIOD };

static pthread_mutex_t clock_mtx = PTHREAD_MUTEX_INITIALIZER;	/* guards now_ms */
static int64_t now_ms = START;

int64_t
clock_us(enum clock_kind kind)
{
	int64_t us;

	(void)kind;
	pthread_mutex_lock(&clock_mtx);
	us = now_ms * 1000;
	pthread_mutex_unlock(&clock_mtx);
	return us;
}

static void
set_time(int64_t ms)
{
	pthread_mutex_lock(&clock_mtx);
	now_ms = ms;
	pthread_mutex_unlock(&clock_mtx);
}

static struct pending *
map(int slots)
{
	struct pending *p = pending_new(slots);

	if (p == NULL)
		abort();
	return p;
}

static void
map_free(struct pending *p)
{
	pthread_mutex_destroy(&p->mtx);
	free(p);
}

/* As many slots as may be had at once, max at most; their ids in id. */
static int
take_all(struct pending *p, struct pending_share *s, uint32_t *id, int max)
{
	int n = 0;

	while (n < max && (id[n] = pending_take(p, s, 0)) != 0)
		n++;
	return n;
}

static void
give_all(struct pending *p, const uint32_t *id, int n)
{
	while (n > 0)
		pending_give(p, id[--n], 0);
}

/* The heads of n exchanges come, one after the other. */
static void
heads(struct pending *p, struct pending_share *s, int n, int64_t ms)
{
	uint32_t id;

	while (n-- > 0) {
		id = pending_take(p, s, 0);
		check(id != 0, "a slot for a head", (size_t)n);
		pending_give(p, id, ms);
	}
}

static void
half(void)
{
	static const struct { int slots, half; } rows[] = {
		{ 1, 1 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 7, 4 }, { 8, 4 }, { 256, 128 }, { 65535, 32768 }
	};
	struct pending_share a, b, c;
	struct pending *p;
	uint32_t *id = calloc(65536, sizeof(*id));
	size_t i;
	int n, m;

	if (id == NULL)
		abort();
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p = map(rows[i].slots);
		memset(&a, 0, sizeof(a));
		memset(&b, 0, sizeof(b));
		memset(&c, 0, sizeof(c));
		n = take_all(p, &a, id, 65536);
		check(n == rows[i].half && a.held == (unsigned)n, "half: one tunnel", i);
		m = take_all(p, &b, id + n, 65536 - n);
		check(m == rows[i].slots - n && b.held == (unsigned)m, "half: another has the rest", i);
		check(pending_take(p, &c, 0) == 0 && c.held == 0, "half: nothing is left for a third", i);
		pending_give(p, id[0], 0);
		check(a.held == (unsigned)n - 1 && b.held == (unsigned)m, "half: counted for who held it", i);
		check((id[0] = pending_take(p, &c, 0)) != 0 && c.held == 1, "half: now the third", i);
		check(pending_take(p, &a, 0) == 0, "half: and the first no more", i);
		give_all(p, id, n + m);
		check(a.held == 0 && b.held == 0 && c.held == 0, "half: all given back", i);
		check(take_all(p, &b, id, 65536) == rows[i].half, "half: all of it is to be had again", i);
		map_free(p);
	}
	free(id);
}

/*
 * A tunnel of 16 slots, 8 its half. Heads come, at times relative to the period in which it then
 * takes what it may: want slots. It goes on while as many heads have come as it holds.
 */
static void
beyond_half(void)
{
	static const struct {
		const char *name;
		struct { int n, ms; } come[3];
		int at, want;
	} rows[] = {
		{ "none", { { 0, 0 } }, 0, 8 },
		{ "fewer than half", { { 7, 0 } }, 0, 8 },
		{ "as many as half", { { 8, 0 } }, 0, 9 },
		{ "three more", { { 11, 0 } }, 0, 12 },
		{ "in the period before", { { 9, -PERIOD } }, 0, 10 },
		{ "in both", { { 5, -PERIOD }, { 5, 0 } }, 0, 11 },
		{ "last moment of the one before", { { 9, -1 } }, PERIOD - 1, 10 },
		{ "two periods ago", { { 20, -PERIOD - 1 } }, 0, 8 },
		{ "two periods ago, and some since", { { 20, -2 * PERIOD }, { 7, 0 } }, 0, 8 },
		{ "three periods in a row", { { 9, -2 * PERIOD }, { 4, -PERIOD }, { 5, 0 } }, 0, 10 },
		{ "with a gap", { { 20, -3 * PERIOD }, { 4, -PERIOD }, { 3, 0 } }, 0, 8 },
		{ "many: an eighth is left", { { 100, 0 } }, 0, 14 },
		{ "as many as would go into it", { { 14, 0 } }, 0, 14 },
		{ "just up to it", { { 13, 0 } }, 0, 14 },
		{ "just short of it", { { 12, 0 } }, 0, 13 },
	};
	struct pending_share a, b;
	struct pending *p;
	uint32_t id[16];
	size_t i, k;
	int n;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p = map(16);
		memset(&a, 0, sizeof(a));
		memset(&b, 0, sizeof(b));
		for (k = 0; k < 3; k++) {
			set_time(START + rows[i].come[k].ms);
			heads(p, &a, rows[i].come[k].n, START + rows[i].come[k].ms);
		}
		set_time(START + rows[i].at);
		n = take_all(p, &a, id, 16);
		check(n == rows[i].want, rows[i].name, (size_t)n);
		check(take_all(p, &b, id + n, 16 - n) == (16 - n < 8 ? 16 - n : 8),
		    "beyond half: another's, which has had no heads", i);
		map_free(p);
	}
	set_time(START);
}

/* The last eighth is that of all slots, rounded up, whoever holds the others. */
static void
last_eighth(void)
{
	static const struct { int slots, left; } rows[] = {
		{ 1, 0 }, { 2, 1 }, { 4, 1 }, { 8, 1 }, { 9, 2 }, { 16, 2 }, { 17, 3 }, { 64, 8 }
	};
	struct pending_share quick, other, third;
	struct pending *p;
	uint32_t id[64];
	size_t i;
	int n, m, q;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p = map(rows[i].slots);
		memset(&quick, 0, sizeof(quick));
		memset(&other, 0, sizeof(other));
		memset(&third, 0, sizeof(third));
		heads(p, &quick, 100, START);
		check(take_all(p, &quick, id, 64) == rows[i].slots - rows[i].left, "eighth: left alone", i);
		give_all(p, id, rows[i].slots - rows[i].left);
		n = rows[i].slots / 4;
		for (m = 0; m < n; m++)
			id[m] = pending_take(p, &other, 0);
		q = take_all(p, &quick, id + n, 64 - n);
		check(n + q == rows[i].slots - rows[i].left, "eighth: left, with another's beside", (size_t)q);
		check(take_all(p, &third, id + n + q, 64 - n - q) == rows[i].left, "eighth: a third's", i);
		map_free(p);
	}
}

/* What comes without a head does not count, nor does another tunnel's. */
static void
heads_that_do_not_count(void)
{
	struct pending_share a, b;
	struct pending *p = map(16);
	uint32_t id[16];

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	heads(p, &a, 20, 0);
	check(take_all(p, &a, id, 16) == 8, "heads: none came", 0);
	give_all(p, id, 8);
	heads(p, &b, 20, START);
	check(take_all(p, &a, id, 16) == 8, "heads: another's", 0);
	give_all(p, id, 8);
	heads(p, &a, 20, START);
	check(take_all(p, &a, id, 16) == 14, "heads: its own", 0);
	set_time(START + 2 * PERIOD);	/* it hangs: what it holds it keeps, and gets no more until half is left */
	give_all(p, id, 6);
	check(pending_take(p, &a, 0) == 0, "heads: too long ago, half held", 0);
	pending_give(p, id[6], 0);
	check(pending_take(p, &a, 0) != 0 && pending_take(p, &a, 0) == 0, "heads: too long ago, below half", 0);
	set_time(START);
	map_free(p);
}

static void
generations(void)
{
	struct pending_share a, b;
	struct pending *p = map(2);
	uint32_t one, two, last = 0;
	int i, zero = 0, same = 0;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	one = pending_take(p, &a, 0);
	pending_give(p, one, 0);
	pending_give(p, one, START);
	check(a.held == 0 && a.heads == 0, "stale: given twice", a.held);
	two = pending_take(p, &b, 0);
	check((two & 0xffff) == (one & 0xffff) && two != one, "stale: the same slot, another id", 0);
	pending_give(p, one, START);
	check(b.held == 1 && b.heads == 0 && a.heads == 0, "stale: the slot's next user has it still", 0);
	pending_give(p, 0, START);
	check(b.held == 1 && p->used == 1, "stale: 0 is nobody's", 0);
	pending_give(p, two, START);
	check(b.held == 0 && b.heads == 1 && p->used == 0, "stale: its own id gives it back", 0);
	for (i = 0; i < 70000; i++) {	/* a generation has 16 bits */
		one = pending_take(p, &a, 0);
		zero += one == 0;
		same += one == last;
		pending_give(p, one, 0);
		last = one;
	}
	check(zero == 0, "generations: no id is 0", (size_t)zero);
	check(same == 0, "generations: none twice in a row", (size_t)same);
	map_free(p);
}

/* Threads that wait for a slot. */

struct taker {
	struct pending *p;
	struct pending_share *share;
	int64_t ms;
	pthread_t thread;
	uint32_t id;
	int64_t took_ms;
};

static int64_t
real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void *
taker(void *arg)
{
	struct taker *t = arg;
	int64_t from = real_ms();

	t->id = pending_take(t->p, t->share, t->ms);
	t->took_ms = real_ms() - from;
	return NULL;
}

static int
waiting(struct pending *p)
{
	struct waiter *w;
	int n = 0;

	pthread_mutex_lock(&p->mtx);
	for (w = p->first; w != NULL; w = w->next)
		n++;
	pthread_mutex_unlock(&p->mtx);
	return n;
}

/* Does it come true that so many wait? */
static int
until_waiting(struct pending *p, int n)
{
	int64_t end = real_ms() + 20000;

	while (waiting(p) != n && real_ms() < end)
		poll(NULL, 0, 1);
	return waiting(p) == n;
}

static void
taker_start(struct taker *t, struct pending *p, struct pending_share *share, int64_t ms)
{
	int n = waiting(p);

	t->p = p;
	t->share = share;
	t->ms = ms;
	if (pthread_create(&t->thread, NULL, taker, t) != 0)
		abort();
	check(until_waiting(p, n + 1), "a taker waits", (size_t)n);
}

static void
in_turn(void)
{
	enum { N = 5 };
	struct pending_share hog[2], share[N];
	struct pending *p = map(8);
	struct taker t[N];
	uint32_t id[8];
	int i;

	memset(hog, 0, sizeof(hog));
	memset(share, 0, sizeof(share));
	take_all(p, &hog[0], id, 4);
	take_all(p, &hog[1], id + 4, 4);
	for (i = 0; i < N; i++)
		taker_start(&t[i], p, &share[i], 20000);
	for (i = 0; i < N; i++) {
		pending_give(p, id[i], 0);
		check(until_waiting(p, N - 1 - i), "in turn: one is served", (size_t)i);
		check(share[i].held == 1, "in turn: the first", (size_t)i);
		pthread_join(t[i].thread, NULL);
		check(t[i].id != 0 && (t[i].id & 0xffff) == (id[i] & 0xffff), "in turn: with that slot", (size_t)i);
	}
	map_free(p);
}

/* The first may have none, so the second gets it; when the first may, it does. */
static void
first_who_may(void)
{
	struct pending_share a, b, c;
	struct pending *p = map(4);
	struct taker ta, tb;
	uint32_t ia[2], ic[2];

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c, 0, sizeof(c));
	take_all(p, &a, ia, 2);
	take_all(p, &c, ic, 2);
	taker_start(&ta, p, &a, 20000);
	taker_start(&tb, p, &b, 20000);
	pending_give(p, ic[0], 0);
	check(until_waiting(p, 1), "who may: one of two", 0);
	check(b.held == 1 && a.held == 2, "who may: the second", a.held);
	pthread_join(tb.thread, NULL);
	pending_give(p, ic[1], 0);
	check(waiting(p) == 1 && a.held == 2, "who may: a free slot, and still not the first", 0);
	pending_give(p, ia[0], 0);
	pthread_join(ta.thread, NULL);
	check(ta.id != 0 && a.held == 2 && waiting(p) == 0, "who may: the first, for one of its own", a.held);
	map_free(p);
}

/* A head that comes lets a tunnel go beyond its half, its waiters too, as many as there were heads. */
static void
waiters_of_a_quick_one(void)
{
	enum { N = 6 };
	struct pending_share a;
	struct pending *p = map(16);
	struct taker t[N];
	uint32_t id[8];
	int i;

	memset(&a, 0, sizeof(a));
	heads(p, &a, 7, START);
	take_all(p, &a, id, 8);
	for (i = 0; i < N; i++)
		taker_start(&t[i], p, &a, 20000);
	pending_give(p, id[0], START);	/* eight heads; so nine may be held */
	check(until_waiting(p, N - 2), "quick: two for one", 0);
	check(a.held == 9, "quick: as many as heads, and one", a.held);
	pending_give(p, id[1], START);
	check(until_waiting(p, N - 4) && a.held == 10, "quick: two more", a.held);
	set_time(START + 2 * PERIOD);
	pending_give(p, id[2], 0);
	check(waiting(p) == N - 4 && a.held == 9, "quick: no longer", a.held);
	pending_give(p, id[3], START + 2 * PERIOD);
	pending_give(p, id[4], START + 2 * PERIOD);
	check(until_waiting(p, N - 5) && a.held == 8, "quick: below half", a.held);
	pending_give(p, id[5], START + 2 * PERIOD);
	check(until_waiting(p, 0) && a.held == 8, "quick: the last", a.held);
	for (i = 0; i < N; i++) {
		pthread_join(t[i].thread, NULL);
		check(t[i].id != 0, "quick: each has one", (size_t)i);
	}
	set_time(START);
	map_free(p);
}

static void
giving_up(void)
{
	struct pending_share a, b;
	struct pending *p = map(2);
	struct taker t[3];
	uint32_t ia, ib;
	int i;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	ia = pending_take(p, &a, 0);
	ib = pending_take(p, &b, 0);
	taker_start(&t[0], p, &a, 20000);
	taker_start(&t[1], p, &b, 150);
	taker_start(&t[2], p, &a, 20000);
	pthread_join(t[1].thread, NULL);
	check(t[1].id == 0 && b.held == 1, "giving up: no slot", b.held);
	check(t[1].took_ms >= 149 && t[1].took_ms < 15000, "giving up: after its time", (size_t)t[1].took_ms);
	check(waiting(p) == 2, "giving up: out of the middle of the queue", 0);
	pending_give(p, ib, 0);
	check(waiting(p) == 2, "giving up: those left may have none", 0);
	for (i = 0; i < 3; i += 2) {
		pending_give(p, ia, 0);
		pthread_join(t[i].thread, NULL);
		check(t[i].id != 0 && a.held == 1, "giving up: the others in turn", (size_t)i);
		ia = t[i].id;
	}
	taker_start(&t[0], p, &a, 100);
	pthread_join(t[0].thread, NULL);
	check(t[0].id == 0 && waiting(p) == 0, "giving up: the only one", 0);
	taker_start(&t[0], p, &a, 20000);
	pending_give(p, ia, 0);
	pthread_join(t[0].thread, NULL);
	check(t[0].id != 0, "giving up: the queue works on", 0);
	map_free(p);
}

/* Many at once: nothing is lost, nothing is held twice, no tunnel has more than its due. */

struct crowd {
	struct pending *p;
	struct pending_share *share;
	pthread_t thread;
	int got, missed;
};

static struct {
	pthread_mutex_t mtx;	/* guards the rest */
	int held[16], twice;
} owner = { PTHREAD_MUTEX_INITIALIZER, { 0 }, 0 };

static void *
crowd_taker(void *arg)
{
	struct crowd *c = arg;
	uint32_t id;
	int i;

	for (i = 0; i < 300; i++) {
		if ((id = pending_take(c->p, c->share, i % 3 == 0 ? 0 : 20000)) == 0) {
			c->missed += i % 3 != 0;
			continue;
		}
		pthread_mutex_lock(&owner.mtx);
		owner.twice += owner.held[id & 0xffff]++ != 0;
		pthread_mutex_unlock(&owner.mtx);
		if (i % 8 == 0)
			poll(NULL, 0, 1);
		pthread_mutex_lock(&owner.mtx);
		owner.held[id & 0xffff]--;
		pthread_mutex_unlock(&owner.mtx);
		pending_give(c->p, id, i % 2 ? START : 0);
		pending_give(c->p, id, START);
		c->got++;
	}
	return NULL;
}

static void
crowd(void)
{
	enum { THREADS = 12 };
	struct pending_share share[3];
	struct pending *p = map(8);
	struct crowd c[THREADS];
	uint32_t id[8];
	int i;

	memset(share, 0, sizeof(share));
	memset(c, 0, sizeof(c));
	for (i = 0; i < THREADS; i++) {
		c[i].p = p;
		c[i].share = &share[i % 3];
		if (pthread_create(&c[i].thread, NULL, crowd_taker, &c[i]) != 0)
			abort();
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(c[i].thread, NULL);
		check(c[i].missed == 0 && c[i].got >= 200, "crowd: who waits gets one", (size_t)c[i].missed);
	}
	check(owner.twice == 0, "crowd: one owner a slot", (size_t)owner.twice);
	for (i = 0; i < 3; i++)
		check(share[i].held == 0, "crowd: nothing is held", share[i].held);
	set_time(START + 10 * PERIOD);
	check(p->used == 0 && p->first == NULL, "crowd: nobody waits", (size_t)p->used);
	check(take_all(p, &share[0], id, 8) == 4 && take_all(p, &share[1], id + 4, 4) == 4,
	    "crowd: every slot is there", 0);
	map_free(p);
}

int
main(void)
{
	alarm(300);
	half();
	beyond_half();
	last_eighth();
	heads_that_do_not_count();
	generations();
	in_turn();
	first_who_may();
	waiters_of_a_quick_one();
	giving_up();
	crowd();
	return test_end();
}
