/* limit.c: how much of something one address may have; see limit.h. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "limit.h"

enum { BUCKETS = 1024 };

struct count {			/* an address that has something */
	struct count *next;
	struct addr addr;
	long n;
};

struct limit {
	long max;
	pthread_mutex_t mtx;	/* guards the table */
	struct count *bucket[BUCKETS];
};

struct limit *
limit_new(long max)
{
	struct limit *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->max = max;
	pthread_mutex_init(&l->mtx, NULL);
	return l;
}

void
limit_free(struct limit *l)
{
	pthread_mutex_destroy(&l->mtx);
	free(l);
}

/* Who is counted: an IPv6 host has all of its /64. */
static struct addr
whole(const struct addr *a)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	struct addr w = *a;

	if (memcmp(a->ip, v4, sizeof(v4)) != 0)
		memset(w.ip + 8, 0, 8);
	return w;
}

static struct count **
find_locked(struct limit *l, const struct addr *a)
{
	struct count **p;
	uint32_t h = 2166136261u;	/* FNV-1a */
	size_t i;

	for (i = 0; i < sizeof(a->ip); i++)
		h = (h ^ a->ip[i]) * 16777619u;
	for (p = &l->bucket[h % BUCKETS]; *p != NULL; p = &(*p)->next)
		if (memcmp((*p)->addr.ip, a->ip, sizeof(a->ip)) == 0)
			break;
	return p;
}

int
limit_take(struct limit *l, const struct addr *addr)
{
	struct addr a = whole(addr);
	struct count **p, *c;
	int ok = 0;

	pthread_mutex_lock(&l->mtx);
	p = find_locked(l, &a);
	if ((c = *p) == NULL && (c = calloc(1, sizeof(*c))) != NULL) {
		c->addr = a;
		*p = c;
	}
	if (c != NULL && (ok = c->n < l->max))
		c->n++;
	pthread_mutex_unlock(&l->mtx);
	return ok;
}

void
limit_give(struct limit *l, const struct addr *addr)
{
	struct addr a = whole(addr);
	struct count **p, *c;

	pthread_mutex_lock(&l->mtx);
	p = find_locked(l, &a);
	c = *p;
	if (--c->n == 0) {
		*p = c->next;
		free(c);
	}
	pthread_mutex_unlock(&l->mtx);
}
