/* pending.c: the pending map; see pending.h. */
#include <pthread.h>
#include <stdlib.h>

#include "deadline.h"
#include "pending.h"

struct slot {			/* guarded by the map's mtx */
	pthread_cond_t cond;	/* signalled when state leaves PENDING_WAITING */
	enum pending_state state;
	uint16_t gen;		/* upper half of the id */
	int next_free;
	unsigned *held;		/* the tunnel's count */
};

struct pending {
	pthread_mutex_t mtx;	/* guards everything below */
	int slots, used, first_free;
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
	for (i = 0; i < slots; i++) {
		cond_init(&p->slot[i].cond);
		p->slot[i].next_free = i + 1;
	}
	return p;
}

uint32_t
pending_take(struct pending *p, unsigned *held)
{
	struct slot *s;
	uint32_t id = 0;
	int i;

	pthread_mutex_lock(&p->mtx);
	if (p->first_free < p->slots && *held < (unsigned)(p->slots + 1) / 2) {
		i = p->first_free;
		s = &p->slot[i];
		p->first_free = s->next_free;
		s->state = PENDING_WAITING;
		if (++s->gen == 0)
			s->gen = 1;	/* so that no id is 0 */
		s->held = held;
		++*held;
		p->used++;
		id = (uint32_t)s->gen << 16 | (uint32_t)i;
	}
	pthread_mutex_unlock(&p->mtx);
	return id;
}

static struct slot *
find_locked(struct pending *p, uint32_t id)
{
	struct slot *s = &p->slot[id & 0xffff];

	return s->gen == id >> 16 && s->state != PENDING_FREE ? s : NULL;
}

void
pending_set(struct pending *p, uint32_t id, enum pending_state state)
{
	struct slot *s;

	pthread_mutex_lock(&p->mtx);
	if ((s = find_locked(p, id)) != NULL && s->state == PENDING_WAITING) {
		s->state = state;
		pthread_cond_signal(&s->cond);
	}
	pthread_mutex_unlock(&p->mtx);
}

enum pending_state
pending_wait(struct pending *p, uint32_t id, int64_t ms)
{
	struct timespec until;
	struct slot *s = &p->slot[id & 0xffff];
	enum pending_state state;
	int rc = 0;

	deadline_in(&until, ms);
	pthread_mutex_lock(&p->mtx);
	while (s->state == PENDING_WAITING && rc == 0)
		rc = pthread_cond_timedwait(&s->cond, &p->mtx, &until);
	state = s->state;	/* an answer that raced the clock still counts */
	pthread_mutex_unlock(&p->mtx);
	return state;
}

void
pending_give(struct pending *p, uint32_t id)
{
	struct slot *s;

	pthread_mutex_lock(&p->mtx);
	if ((s = find_locked(p, id)) != NULL) {
		s->state = PENDING_FREE;
		--*s->held;
		s->next_free = p->first_free;
		p->first_free = (int)(id & 0xffff);
		p->used--;
	}
	pthread_mutex_unlock(&p->mtx);
}

int
pending_used(struct pending *p)
{
	int used;

	pthread_mutex_lock(&p->mtx);
	used = p->used;
	pthread_mutex_unlock(&p->mtx);
	return used;
}
