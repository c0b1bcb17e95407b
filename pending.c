/* pending.c: the pending map; see pending.h. */
#include <pthread.h>
#include <stdlib.h>

#include "clock.h"
#include "deadline.h"
#include "pending.h"

enum { PERIOD_MS = 50 };	/* two of them are the tenth of a second */

struct slot {			/* guarded by the map's mtx */
	int taken;
	uint16_t gen;		/* upper half of the id */
	int next_free;
	struct pending_share *share;
};

struct waiter {			/* on the stack of a thread that wants a slot */
	struct waiter *next;
	pthread_cond_t cond;	/* signalled when id is set */
	struct pending_share *share;
	uint32_t id;
};

struct pending {
	pthread_mutex_t mtx;	/* guards everything below */
	int slots, used, first_free;
	struct waiter *first, **last;
	struct slot slot[];
};

struct pending *
pending_new(int slots)
{
	struct pending *p = calloc(1, sizeof(*p) + (size_t)slots * sizeof(p->slot[0]));
	int i;

	if (p == NULL)
		return NULL;
	pthread_mutex_init(&p->mtx, NULL);
	p->slots = slots;
	p->last = &p->first;
	for (i = 0; i < slots; i++)
		p->slot[i].next_free = i + 1;
	return p;
}

void
pending_free(struct pending *p)
{
	pthread_mutex_destroy(&p->mtx);
	free(p);
}

static int
may_have_locked(const struct pending *p, const struct pending_share *share)
{
	int64_t period;

	if (p->first_free == p->slots)
		return 0;
	if (share->held < (unsigned)(p->slots + 1) / 2)
		return 1;
	period = clock_ms(CLOCK_STEADY) / PERIOD_MS - share->period;
	return p->slots - p->used > (p->slots + 7) / 8 && period <= 1 &&
	    share->heads + (period == 0 ? share->before : 0) >= share->held;
}

static void
count_head_locked(struct pending_share *share, int64_t now)
{
	int64_t period = now / PERIOD_MS;

	if (period != share->period) {
		share->before = period == share->period + 1 ? share->heads : 0;
		share->period = period;
		share->heads = 0;
	}
	share->heads++;
}

static uint32_t
take_locked(struct pending *p, struct pending_share *share)
{
	int i = p->first_free;
	struct slot *s = &p->slot[i];

	p->first_free = s->next_free;
	s->taken = 1;
	if (++s->gen == 0)
		s->gen = 1;	/* so that no id is 0 */
	s->share = share;
	share->held++;
	p->used++;
	return (uint32_t)s->gen << 16 | (uint32_t)i;
}

static void
unqueue_locked(struct pending *p, struct waiter *w)
{
	struct waiter **q;

	for (q = &p->first; *q != w; q = &(*q)->next)
		;
	if ((*q = w->next) == NULL)
		p->last = q;
}

/* Slots are free: to the first who may have one. */
static void
serve_waiters_locked(struct pending *p)
{
	struct waiter *w, *next;

	for (w = p->first; w != NULL && p->first_free < p->slots; w = next) {
		next = w->next;
		if (!may_have_locked(p, w->share))
			continue;
		unqueue_locked(p, w);
		w->id = take_locked(p, w->share);
		pthread_cond_signal(&w->cond);
	}
}

uint32_t
pending_take(struct pending *p, struct pending_share *share, int64_t ms)
{
	struct timespec until;
	struct waiter me;
	int rc = 0;

	me.id = 0;
	pthread_mutex_lock(&p->mtx);
	if (may_have_locked(p, share))
		me.id = take_locked(p, share);
	else {
		deadline_in(&until, ms);
		cond_init(&me.cond);
		me.next = NULL;
		me.share = share;
		*p->last = &me;
		p->last = &me.next;
		while (me.id == 0 && rc == 0)
			rc = cond_wait(&me.cond, &p->mtx, &until);
		if (me.id == 0)
			unqueue_locked(p, &me);
		pthread_cond_destroy(&me.cond);
	}
	pthread_mutex_unlock(&p->mtx);
	return me.id;
}

static struct slot *
find_locked(struct pending *p, uint32_t id)
{
	struct slot *s = &p->slot[id & 0xffff];

	return s->gen == id >> 16 && s->taken ? s : NULL;
}

void
pending_give(struct pending *p, uint32_t id, int64_t now)
{
	struct slot *s;

	pthread_mutex_lock(&p->mtx);
	if ((s = find_locked(p, id)) != NULL) {
		s->taken = 0;
		s->share->held--;
		if (now != 0)
			count_head_locked(s->share, now);
		s->next_free = p->first_free;
		p->first_free = (int)(id & 0xffff);
		p->used--;
		serve_waiters_locked(p);
	}
	pthread_mutex_unlock(&p->mtx);
}
