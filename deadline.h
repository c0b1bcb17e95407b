/*
 * deadline.h: condition variables that wait by the steady clock: the system's own,
 * by which pthread_cond_timedwait(3) ends, whatever clock.h says.
 */
#ifndef DEADLINE_H
#define DEADLINE_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

void cond_init(pthread_cond_t *);	/* waits by CLOCK_MONOTONIC */
void deadline_in(struct timespec *, int64_t ms);	/* so many milliseconds from now */
/* Wait for it; until NULL: as long as it takes. What pthread_cond_timedwait(3) says. For whatever the lead of a watch may call: it leaves first. */
int cond_wait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *until);

#endif
