/*
 * budget.h: memory that many users share: what is left of it. Never waits.
 */
#ifndef BUDGET_H
#define BUDGET_H

#include <pthread.h>
#include <stddef.h>

struct budget {
	pthread_mutex_t mtx;
	size_t left;			/* bytes */
	size_t size;			/* all of it; for shares alone */
};

/* One user's share: half of the budget, or more while a quarter is left to the others. So nobody can starve them. */
struct share {
	struct budget *of;
	size_t held;			/* guarded by its mutex */
};

static inline void
budget_give(struct budget *b, size_t n)
{
	pthread_mutex_lock(&b->mtx);
	b->left += n;
	pthread_mutex_unlock(&b->mtx);
}

static inline int
budget_take(struct budget *b, size_t n)		/* 1, or 0: there is not so much */
{
	int ok;

	pthread_mutex_lock(&b->mtx);
	ok = b->left >= n;
	if (ok)
		b->left -= n;
	pthread_mutex_unlock(&b->mtx);
	return ok;
}

static inline int
share_take(struct share *s, size_t n)		/* 1, or 0: there is not so much for this user */
{
	struct budget *b = s->of;
	int ok;

	pthread_mutex_lock(&b->mtx);
	ok = b->left >= n && (s->held + n <= b->size / 2 || b->left - n >= b->size / 4);
	if (ok) {
		b->left -= n;
		s->held += n;
	}
	pthread_mutex_unlock(&b->mtx);
	return ok;
}

static inline void
share_give(struct share *s, size_t n)
{
	pthread_mutex_lock(&s->of->mtx);
	s->of->left += n;
	s->held -= n;
	pthread_mutex_unlock(&s->of->mtx);
}

#endif
