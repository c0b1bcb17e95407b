/* backoff.c: whoever fails again and again waits longer and longer; see backoff.h. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "random.h"
#include "sha256.h"

enum {
	SETS = 1024, WAYS = 4,	/* as many addresses as SETS * WAYS, if they fall so */
	TEXTS = 8,		/* of those that failed last */
	FIRST_MS = 1000
};

struct failing {		/* an address; n 0: none */
	struct addr addr;
	long n;			/* failures, when at was */
	int64_t at, until;
	uint64_t text[TEXTS];	/* hashes; 0: none */
	unsigned next;		/* the oldest of them */
};

struct backoff {
	long free;
	unsigned char key[16];	/* so that nobody chooses whose place he takes */
	pthread_mutex_t mtx;	/* guards the table */
	struct failing set[SETS][WAYS];
};

struct backoff *
backoff_new(long free_ones)
{
	struct backoff *b = calloc(1, sizeof(*b));

	if (b == NULL || random_bytes(b->key, sizeof(b->key)) == -1) {
		free(b);
		return NULL;
	}
	b->free = free_ones;
	pthread_mutex_init(&b->mtx, NULL);
	return b;
}

void
backoff_free(struct backoff *b)
{
	pthread_mutex_destroy(&b->mtx);
	free(b);
}

static uint64_t
hash(const struct backoff *b, const void *p, size_t len)
{
	uint8_t out[SHA256_LEN];
	struct sha256 s;
	uint64_t h;

	sha256_init(&s);
	sha256_update(&s, b->key, sizeof(b->key));
	sha256_update(&s, p, len);
	sha256_final(&s, out);
	memcpy(&h, out, sizeof(h));
	return h | 1;		/* never 0 */
}

/* What has not been forgotten of it. */
static long
remembered(const struct failing *f, int64_t now)
{
	int64_t forgotten = now > f->at ? (now - f->at) / BACKOFF_FORGET_MS : 0;

	return forgotten < f->n ? f->n - (long)forgotten : 0;
}

static struct failing *
find_locked(struct backoff *b, const struct addr *a)
{
	struct failing *set = b->set[hash(b, a->ip, sizeof(a->ip)) / 2 % SETS];
	int i;

	for (i = 0; i < WAYS; i++)
		if (set[i].n > 0 && memcmp(set[i].addr.ip, a->ip, sizeof(a->ip)) == 0)
			return &set[i];
	return NULL;
}

/* A place for a new one. */
static struct failing *
place_locked(struct backoff *b, const struct addr *a, int64_t now)
{
	struct failing *set = b->set[hash(b, a->ip, sizeof(a->ip)) / 2 % SETS], *f = &set[0];
	int i;

	for (i = 1; i < WAYS; i++)
		if (remembered(&set[i], now) < remembered(f, now))
			f = &set[i];
	memset(f, 0, sizeof(*f));
	f->addr = *a;
	f->at = now;
	return f;
}

/* 1 if the text is one of the last. */
static int
known(struct failing *f, uint64_t h)
{
	int i;

	for (i = 0; i < TEXTS; i++)
		if (f->text[i] == h)
			return 1;
	f->text[f->next++ % TEXTS] = h;
	return 0;
}

long
backoff_wait(struct backoff *b, const struct addr *addr, int64_t now)
{
	struct addr a = addr_network(addr);
	const struct failing *f;
	long wait = 0;

	pthread_mutex_lock(&b->mtx);
	if ((f = find_locked(b, &a)) != NULL && f->until > now)
		wait = (long)(f->until - now);
	pthread_mutex_unlock(&b->mtx);
	return wait;
}

long
backoff_failed(struct backoff *b, const struct addr *addr, const void *text, size_t len, int64_t now)
{
	struct addr a = addr_network(addr);
	uint64_t h = hash(b, text, len);
	struct failing *f;
	long left, beyond, wait = 0;

	pthread_mutex_lock(&b->mtx);
	if ((f = find_locked(b, &a)) == NULL)
		f = place_locked(b, &a, now);
	if (!known(f, h)) {
		if ((left = remembered(f, now)) < f->n)
			f->at += (f->n - left) * BACKOFF_FORGET_MS;
		if (left == 0)
			f->at = now;
		f->n = left + 1;
		beyond = f->n - b->free;
		if (beyond > 0)
			wait = beyond < 7 ? (long)FIRST_MS << (beyond - 1) : BACKOFF_MAX_MS;
		wait = wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
		if (now + wait > f->until)
			f->until = now + wait;
	}
	pthread_mutex_unlock(&b->mtx);
	return wait;
}
