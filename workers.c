/* workers.c: threads for connections and streams; see workers.h. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "deadline.h"
#include "log.h"
#include "workers.h"

enum { IDLE_MS = 10000 };	/* a thread without a job ends after this */

struct job {
	struct job *next;
	void (*fn)(void *);
	void *arg;
};

struct workers {
	pthread_mutex_t mtx;	/* guards everything below */
	pthread_cond_t work;	/* a job is queued, or the end */
	pthread_cond_t left;	/* a thread has ended */
	struct job *first, **last;
	struct job *patient;	/* jobs that may have to wait for a thread */
	int queued, idle, threads, max, ending;	/* queued: patient ones, too */
	size_t stack;
};

struct workers *
workers_new(size_t stack, int max)
{
	struct workers *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	pthread_mutex_init(&w->mtx, NULL);
	cond_init(&w->work);
	cond_init(&w->left);
	w->last = &w->first;
	w->max = max;
	w->stack = stack;
	return w;
}

struct start {			/* of a thread */
	void *(*fn)(void *);
	void *arg;
	struct log *log;
};

static void *
begin(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	log_use(s.log);
	return s.fn(s.arg);
}

/*
 * The process's signals are for the threads of the program: one that waits for them (sigwait, signalfd) must not find that another has
 * been interrupted, or the process ended, because a thread of ours takes them. What a thread does to itself stays as it is.
 */
static void
block_signals(sigset_t *before)
{
	static const int own[] = { SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP };
	sigset_t set;
	size_t i;

	sigfillset(&set);
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&set, own[i]);
	pthread_sigmask(SIG_BLOCK, &set, before);
}

int
thread_start(size_t stack, void *(*fn)(void *), void *arg)
{
	struct start *s = malloc(sizeof(*s));
	pthread_attr_t attr;
	sigset_t before;
	pthread_t t;
	int err;

	if (s == NULL)
		return ENOMEM;
	s->fn = fn;
	s->arg = arg;
	s->log = log_used();
	if ((err = pthread_attr_init(&attr)) == 0) {
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attr, stack);
		block_signals(&before);
		err = pthread_create(&t, &attr, begin, s);	/* which inherits that */
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		pthread_attr_destroy(&attr);
	}
	if (err != 0)
		free(s);
	return err;
}

/* The next job; NULL when there was none for a while, or at the end. */
static struct job *
next_job_locked(struct workers *w)
{
	struct timespec until;
	struct job *j;
	int rc = 0;

	deadline_in(&until, IDLE_MS);
	w->idle++;
	while (w->queued == 0 && !w->ending && rc == 0)
		rc = pthread_cond_timedwait(&w->work, &w->mtx, &until);
	w->idle--;
	if ((j = w->first) != NULL) {
		if ((w->first = j->next) == NULL)
			w->last = &w->first;
	} else if ((j = w->patient) != NULL)
		w->patient = j->next;
	if (j != NULL)
		w->queued--;
	return j;
}

static void *
worker(void *arg)
{
	struct workers *w = arg;
	struct job *j, run;

	pthread_mutex_lock(&w->mtx);
	while ((j = next_job_locked(w)) != NULL) {
		pthread_mutex_unlock(&w->mtx);
		run = *j;
		free(j);
		run.fn(run.arg);
		pthread_mutex_lock(&w->mtx);
	}
	w->threads--;
	pthread_cond_signal(&w->left);
	pthread_mutex_unlock(&w->mtx);
	return NULL;
}

static struct job *
job_new(void (*fn)(void *), void *arg)
{
	struct job *j = malloc(sizeof(*j));

	if (j == NULL)
		return NULL;
	j->next = NULL;
	j->fn = fn;
	j->arg = arg;
	return j;
}

/* A thread for one more job, 0: there is none. */
static int
thread_locked(struct workers *w)
{
	if (w->ending)
		return 0;
	if (w->queued < w->idle)
		return 1;
	if (w->threads >= w->max || thread_start(w->stack, worker, w) != 0)
		return 0;
	w->threads++;
	return 1;
}

int
workers_run(struct workers *w, void (*fn)(void *), void *arg)
{
	struct job *j = job_new(fn, arg);
	int ok;

	if (j == NULL)
		return -1;
	pthread_mutex_lock(&w->mtx);
	if ((ok = thread_locked(w))) {
		*w->last = j;
		w->last = &j->next;
		w->queued++;
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->mtx);
	if (ok)
		return 0;
	free(j);
	errno = EAGAIN;
	return -1;
}

int
workers_run_patiently(struct workers *w, void (*fn)(void *), void *arg)
{
	struct job *j = job_new(fn, arg);

	if (j == NULL)
		return -1;
	pthread_mutex_lock(&w->mtx);
	thread_locked(w);
	j->next = w->patient;
	w->patient = j;
	w->queued++;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->mtx);
	return 0;
}

int
workers_end(struct workers *w, int ms)
{
	struct timespec until;
	int rc = 0, gone;

	deadline_in(&until, ms);
	pthread_mutex_lock(&w->mtx);
	w->ending = 1;
	pthread_cond_broadcast(&w->work);
	while (w->threads > 0 && rc == 0)
		rc = pthread_cond_timedwait(&w->left, &w->mtx, &until);
	gone = w->threads == 0;
	pthread_mutex_unlock(&w->mtx);
	if (gone) {
		pthread_cond_destroy(&w->work);
		pthread_cond_destroy(&w->left);
		pthread_mutex_destroy(&w->mtx);
		free(w);
	}
	return gone;
}
