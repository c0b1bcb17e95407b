/* watch.c: connections that wait, without a thread each; see watch.h. */
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "conn.h"
#include "ready.h"
#include "wake.h"
#include "watch.h"

enum {
	LATER_MAX = 32,		/* so many are called before the first is called later */
	BLIND_MS = 50,		/* between looks at what the system does not watch */
	SOON_MS = 1000		/* what is to be called further ahead is, once in so long at most, looked at */
};

struct idlers {			/* a list of the idle */
	struct watched *first;
	int64_t next;		/* nobody is to be called before */
};

struct watch {
	struct workers *workers;
	int set;		/* the system's */
	struct wake wake;	/* ends the lead's sleep */
	pthread_mutex_t mtx;	/* guards what follows, and those watched; nothing but the workers' is taken under it */
	int asleep, posted;	/* the lead is, or is about to be; it is being woken */
	int ending;
	int n;			/* who has joined */
	struct idlers soon, late;	/* two, because those of long patience are many */
	struct watched *ready, **last, *later, **later_last;
	int nlater, turn;	/* turn: it is theirs */
	struct watched *called;	/* by the lead; NULL: or forgotten since */
};

static pthread_once_t leading_once = PTHREAD_ONCE_INIT;
static pthread_key_t leading;	/* the watch whose lead a thread is, so that whoever waits need not be told */
static int leading_made;

static void lead(void *);

static void
make_key(void)
{
	leading_made = pthread_key_create(&leading, NULL) == 0;
}

/* The watch whose lead this thread is, or NULL. */
static struct watch *
led(void)
{
	pthread_once(&leading_once, make_key);
	return leading_made ? pthread_getspecific(leading) : NULL;
}

struct watch *
watch_new(struct workers *workers)
{
	struct watch *w;

	pthread_once(&leading_once, make_key);
	if (!leading_made || (w = calloc(1, sizeof(*w))) == NULL)
		return NULL;
	w->workers = workers;
	w->wake.rd = w->wake.wr = -1;
	w->last = &w->ready;
	w->later_last = &w->later;
	w->soon.next = w->late.next = CONN_FOREVER;
	pthread_mutex_init(&w->mtx, NULL);
	if ((w->set = ready_open()) == -1 || wake_open(&w->wake) == -1 || ready_add(w->set, w->wake.rd, NULL) == -1 ||
	    workers_run(workers, lead, w) == -1) {
		watch_free(w);
		return NULL;
	}
	return w;
}

void
watch_free(struct watch *w)
{
	if (w->set != -1)
		close(w->set);
	wake_close(&w->wake);
	pthread_mutex_destroy(&w->mtx);
	free(w);
}

static void
wake_lead_locked(struct watch *w)
{
	if (!w->asleep || w->posted)
		return;
	w->posted = 1;
	wake_post(&w->wake);
}

void
watch_end(struct watch *w)
{
	pthread_mutex_lock(&w->mtx);
	w->ending = 1;
	wake_lead_locked(w);
	pthread_mutex_unlock(&w->mtx);
}

/* Lists. */

/* When to look at one of a list: those that have time are looked at together. */
static int64_t
look_at(const struct watch *w, const struct idlers *l, int64_t until)
{
	if (l == &w->soon || until > INT64_MAX - SOON_MS)
		return until;
	return (until / SOON_MS + 1) * SOON_MS;
}

static void
idle_locked(struct watch *w, struct watched *i)
{
	struct idlers *l = &w->late;
	int64_t at;

	if (i->until != CONN_FOREVER && i->until < clock_ms(CLOCK_STEADY) + SOON_MS)
		l = &w->soon;
	i->state = WATCHED_IDLE;
	if ((i->next = l->first) != NULL)
		l->first->prev = &i->next;
	i->prev = &l->first;
	l->first = i;
	if ((at = look_at(w, l, i->until)) < l->next) {
		l->next = at;
		wake_lead_locked(w);
	}
}

static void
ready_locked(struct watch *w, struct watched *i)
{
	i->state = WATCHED_READY;
	i->next = NULL;
	*w->last = i;
	w->last = &i->next;
}

/* An idle one has something to do, or any other will have. */
static void
come_locked(struct watch *w, struct watched *i)
{
	if (i->state != WATCHED_IDLE) {
		i->again = 1;
		return;
	}
	if ((*i->prev = i->next) != NULL)
		i->next->prev = i->prev;
	ready_locked(w, i);
}

static struct watched *
take_locked(struct watched **first, struct watched ***last)
{
	struct watched *i = *first;

	if (i != NULL && (*first = i->next) == NULL)
		*last = first;
	return i;
}

/* What its user does with it. */

void
watch_join(struct watched *i, struct watch *w, int fd, void (*call)(struct watched *), void (*later)(struct watched *))
{
	i->watch = w;
	i->call = call;
	i->later = later;
	i->fd = fd;
	i->added = i->again = 0;
	i->joined = 1;
	i->state = WATCHED_CALLED;
	pthread_mutex_lock(&w->mtx);
	w->n++;
	pthread_mutex_unlock(&w->mtx);
}

void
watch_idle(struct watched *i, int64_t until)
{
	struct watch *w = i->watch;
	int64_t blind;

	pthread_mutex_lock(&w->mtx);
	/* not before, because what the lead has been told of must not be forgotten by another thread */
	if (!i->added)
		i->added = ready_add(w->set, i->fd, i) == 0;
	i->until = until;
	if (!i->added && (blind = clock_ms(CLOCK_STEADY) + BLIND_MS) < until)
		i->until = blind;
	if (i->again) {
		i->again = 0;
		ready_locked(w, i);
		wake_lead_locked(w);
	} else
		idle_locked(w, i);
	pthread_mutex_unlock(&w->mtx);
}

void
watch_later(struct watched *i)
{
	struct watch *w = i->watch;

	pthread_mutex_lock(&w->mtx);
	i->state = WATCHED_LATER;
	i->next = NULL;
	*w->later_last = i;
	w->later_last = &i->next;
	w->nlater++;
	pthread_mutex_unlock(&w->mtx);
}

void
watch_post(struct watched *i)
{
	struct watch *w = i->watch;

	pthread_mutex_lock(&w->mtx);
	come_locked(w, i);
	wake_lead_locked(w);
	pthread_mutex_unlock(&w->mtx);
}

static void
forget_locked(struct watch *w, struct watched *i)
{
	if (w->called == i)
		w->called = NULL;
	if (i->added)
		ready_del(w->set, i->fd);
	i->joined = i->added = 0;
	if (--w->n == 0 && w->ending)
		wake_lead_locked(w);
}

void
watch_forget(struct watched *i)
{
	struct watch *w = i->watch;

	if (!i->joined)
		return;
	pthread_mutex_lock(&w->mtx);
	forget_locked(w, i);
	pthread_mutex_unlock(&w->mtx);
}

/* The lead. */

int
watch_leading(const struct watch *w)
{
	return w != NULL && led() == w;
}

void
watch_leave(void)
{
	struct watch *w = led();

	if (w == NULL)
		return;
	pthread_mutex_lock(&w->mtx);
	if (workers_run_patiently(w->workers, lead, w) == 0) {	/* else all must wait */
		pthread_setspecific(leading, NULL);
		if (w->called != NULL)
			forget_locked(w, w->called);
	}
	pthread_mutex_unlock(&w->mtx);
}

void
watch_leave_for(int fd)
{
	struct pollfd pfd;

	if (led() == NULL)
		return;
	pfd.fd = fd;
	pfd.events = POLLOUT;
	if (poll(&pfd, 1, 0) != 1)
		watch_leave();
}

/* Those of a list whose time has come. */
static void
expire_locked(struct watch *w, struct idlers *l, int64_t now)
{
	struct watched *i, *next;

	if (now < l->next)
		return;
	l->next = CONN_FOREVER;
	for (i = l->first; i != NULL; i = next) {
		next = i->next;
		if (i->until <= now)
			come_locked(w, i);
		else if (look_at(w, l, i->until) < l->next)
			l->next = look_at(w, l, i->until);
	}
}

static void
sleep_locked(struct watch *w)
{
	struct ready ev[READY_MAX];
	int64_t now, next = w->soon.next < w->late.next ? w->soon.next : w->late.next;
	int n, k, ms = -1;

	if (next != CONN_FOREVER) {
		now = clock_ms(CLOCK_STEADY);
		ms = next <= now ? 0 : next - now > INT_MAX ? INT_MAX : (int)(next - now);
	}
	w->asleep = 1;
	pthread_mutex_unlock(&w->mtx);
	n = ready_wait(w->set, ev, ms);
	pthread_mutex_lock(&w->mtx);
	w->asleep = 0;
	for (k = 0; k < n; k++) {
		if (ev[k].arg == NULL) {
			wake_clear(&w->wake);
			w->posted = 0;
			continue;
		}
		come_locked(w, ev[k].arg);
		if (ev[k].ended)	/* bytes may stand before the end, which is told but once */
			((struct watched *)ev[k].arg)->again = 1;
	}
	now = clock_ms(CLOCK_STEADY);
	expire_locked(w, &w->soon, now);
	expire_locked(w, &w->late, now);
}

/* Whose turn it is, and for what; NULL: the lead may sleep. */
static struct watched *
next_locked(struct watch *w, void (**fn)(struct watched *))
{
	struct watched *i;

	if (w->nlater == LATER_MAX || w->ready == NULL)
		w->turn = 1;
	if (w->turn && (i = take_locked(&w->later, &w->later_last)) != NULL) {
		*fn = i->later;
		w->nlater--;
		return i;
	}
	w->turn = 0;
	if ((i = take_locked(&w->ready, &w->last)) != NULL)
		*fn = i->call;
	return i;
}

static void
lead(void *arg)
{
	struct watch *w = arg;
	struct watched *i;
	void (*fn)(struct watched *);

	pthread_setspecific(leading, w);
	pthread_mutex_lock(&w->mtx);
	while ((i = next_locked(w, &fn)) != NULL || !w->ending || w->n > 0) {
		if (i == NULL) {
			sleep_locked(w);
			continue;
		}
		i->state = WATCHED_CALLED;
		w->called = i;
		pthread_mutex_unlock(&w->mtx);
		fn(i);
		if (!watch_leading(w))
			return;
		pthread_mutex_lock(&w->mtx);
		w->called = NULL;
	}
	pthread_mutex_unlock(&w->mtx);
	pthread_setspecific(leading, NULL);
}
