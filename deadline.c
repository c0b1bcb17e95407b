/* deadline.c: condition variables that wait by the steady clock; see deadline.h. */
#include "deadline.h"
#include "watch.h"

void
cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

void
deadline_in(struct timespec *ts, int64_t ms)
{
	if (ms < 0)
		ms = 0;
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += (time_t)(ms / 1000);
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

int
cond_wait(pthread_cond_t *cond, pthread_mutex_t *mtx, const struct timespec *until)
{
	watch_leave();
	return until != NULL ? pthread_cond_timedwait(cond, mtx, until) : pthread_cond_wait(cond, mtx);
}
