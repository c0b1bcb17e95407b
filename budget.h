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
};

static inline int
budget_take(struct budget *b, size_t n)		/* 1, or 0: there is not so much */
{
	int ok;

	pthread_mutex_lock(&b->mtx);
	if ((ok = b->left >= n))
		b->left -= n;
	pthread_mutex_unlock(&b->mtx);
	return ok;
}

static inline void
budget_give(struct budget *b, size_t n)
{
	pthread_mutex_lock(&b->mtx);
	b->left += n;
	pthread_mutex_unlock(&b->mtx);
}

#endif
