/* limit.c: how much of something somebody may have; see limit.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "deadline.h"
#include "limit.h"

enum { BUCKETS = 1024 };

struct count {			/* somebody who has something */
	struct count *next;
	long n;
	size_t len;
	unsigned char key[];
};

struct limit {
	long max;
	pthread_mutex_t mtx;	/* guards what follows */
	pthread_cond_t given;
	int waiting;		/* for that */
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
	cond_init(&l->given);
	return l;
}

void
limit_free(struct limit *l)
{
	pthread_mutex_destroy(&l->mtx);
	pthread_cond_destroy(&l->given);
	free(l);
}

static struct count **
find_locked(struct limit *l, const void *key, size_t len)
{
	const unsigned char *k = key;
	struct count **p;
	uint32_t h = 2166136261u;	/* FNV-1a */
	size_t i;

	for (i = 0; i < len; i++)
		h = (h ^ k[i]) * 16777619u;
	for (p = &l->bucket[h % BUCKETS]; *p != NULL; p = &(*p)->next)
		if ((*p)->len == len && memcmp((*p)->key, key, len) == 0)
			break;
	return p;
}

static int
take_locked(struct limit *l, const void *key, size_t len)
{
	struct count **p = find_locked(l, key, len), *c = *p;

	if (c == NULL) {	/* n is 0, and max is more */
		if ((c = calloc(1, sizeof(*c) + len)) == NULL)
			return 0;
		c->len = len;
		memcpy(c->key, key, len);
		*p = c;
	}
	if (c->n == l->max)
		return 0;
	c->n++;
	return 1;
}

static int
take(struct limit *l, const void *key, size_t len, long wait_ms)
{
	struct timespec until;
	int ok, rc = wait_ms > 0 ? 0 : ETIMEDOUT;

	pthread_mutex_lock(&l->mtx);
	if (!(ok = take_locked(l, key, len)) && rc == 0) {
		deadline_in(&until, wait_ms);
		l->waiting++;
		while (!ok && rc == 0) {
			rc = cond_wait(&l->given, &l->mtx, &until);
			ok = take_locked(l, key, len);
		}
		l->waiting--;
	}
	pthread_mutex_unlock(&l->mtx);
	return ok;
}

static void
give(struct limit *l, const void *key, size_t len)
{
	struct count **p, *c;

	pthread_mutex_lock(&l->mtx);
	p = find_locked(l, key, len);
	c = *p;
	if (--c->n == 0) {
		*p = c->next;
		free(c);
	}
	if (l->waiting > 0)
		pthread_cond_broadcast(&l->given);
	pthread_mutex_unlock(&l->mtx);
}

int
limit_take(struct limit *l, const struct addr *addr, long wait_ms)
{
	struct addr a = addr_network(addr);

	return take(l, a.ip, sizeof(a.ip), wait_ms);
}

void
limit_give(struct limit *l, const struct addr *addr)
{
	struct addr a = addr_network(addr);

	give(l, a.ip, sizeof(a.ip));
}

int
limit_take_name(struct limit *l, const char *name, long wait_ms)
{
	return take(l, name, strlen(name), wait_ms);
}

void
limit_give_name(struct limit *l, const char *name)
{
	give(l, name, strlen(name));
}

long
limit_patience(long ms, long used, long max)
{
	double half = (double)max / 2, part = (double)used < half ? (half - (double)used) / half : 0;

	return 1 + (long)((double)(ms - 1) * part * part * part);
}
