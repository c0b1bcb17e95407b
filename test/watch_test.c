/* Connections that wait without a thread each: watch.h. A system without that has nothing to check but that it says so. */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../clock.h"
#include "../conn.h"
#include "../deadline.h"
#include "../watch.h"
#include "test.h"

enum { WATCHED = 8, MANY = 40, LONG_MS = 20000, STACK = STACK_SIZE };

static struct one {
	struct watched watched;
	int fd[2];
	void (*fn)(struct one *);	/* what its call does; NULL: read, and be idle again */
	int64_t until;
	int calls, laters, bytes, ended, left;
} ones[MANY];

static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;	/* guards the counts, and: */
static pthread_cond_t change;
static int gate;		/* open: who waits for it may go on */
static char order[128];		/* of calls and laters */

static struct one *
one_of(struct watched *w)
{
	return (struct one *)(void *)w;
}

static void
note(int *count, char kind)
{
	size_t n;

	pthread_mutex_lock(&mtx);
	++*count;
	n = strlen(order);
	if (n < sizeof(order) - 1)
		order[n] = kind;
	pthread_cond_broadcast(&change);
	pthread_mutex_unlock(&mtx);
}

static void
take(struct one *o)
{
	char buf[16];
	ssize_t n;

	while ((n = recv(o->fd[0], buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		pthread_mutex_lock(&mtx);
		o->bytes += (int)n;
		pthread_mutex_unlock(&mtx);
	}
	pthread_mutex_lock(&mtx);
	o->ended |= n == 0;
	pthread_mutex_unlock(&mtx);
}

static void
idle(struct one *o)
{
	int64_t until;

	pthread_mutex_lock(&mtx);
	until = o->until;
	pthread_mutex_unlock(&mtx);
	watch_idle(&o->watched, until);
}

static void
called(struct watched *w)
{
	struct one *o = one_of(w);
	void (*fn)(struct one *);

	take(o);
	pthread_mutex_lock(&mtx);
	fn = o->fn;
	pthread_mutex_unlock(&mtx);
	if (fn != NULL)
		fn(o);
	else {
		note(&o->calls, 'c');
		idle(o);
	}
}

static void
later(struct watched *w)
{
	struct one *o = one_of(w);

	note(&o->laters, 'l');
	idle(o);
}

static int
reached(const int *count, int want)
{
	struct timespec until;
	int rc = 0, ok;

	deadline_in(&until, LONG_MS);
	pthread_mutex_lock(&mtx);
	while (*count < want && rc == 0)
		rc = cond_wait(&change, &mtx, &until);
	ok = *count >= want;
	pthread_mutex_unlock(&mtx);
	return ok;
}

static int
value(const int *p)
{
	int v;

	pthread_mutex_lock(&mtx);
	v = *p;
	pthread_mutex_unlock(&mtx);
	return v;
}

static void
open_gate(int to)
{
	pthread_mutex_lock(&mtx);
	gate = to;
	pthread_cond_broadcast(&change);
	pthread_mutex_unlock(&mtx);
}

static void
add(struct watch *w, int i)
{
	struct one *o = &ones[i];

	memset(o, 0, sizeof(*o));
	o->until = CONN_FOREVER;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, o->fd) == -1)
		abort();
	watch_join(&o->watched, w, o->fd[0], called, later);
}

static void
say(int i)
{
	if (write(ones[i].fd[1], "x", 1) != 1)
		abort();
}

/* Bytes, their end, a post and a time. */
static void
events(struct watch *w)
{
	struct one *o = &ones[0];
	int64_t began;

	add(w, 0);
	say(0);			/* before it is idle */
	watch_idle(&o->watched, CONN_FOREVER);
	check(reached(&o->calls, 1) && reached(&o->bytes, 1), "bytes that came before", 0);
	say(0);
	check(reached(&o->bytes, 2), "bytes", 0);
	pthread_mutex_lock(&mtx);
	o->calls = 0;
	o->until = began = clock_ms(CLOCK_STEADY) + 30;
	pthread_mutex_unlock(&mtx);
	watch_post(&o->watched);
	check(reached(&o->calls, 2), "a post, then its time", 0);
	check(clock_ms(CLOCK_STEADY) >= began, "not before its time", 0);
	pthread_mutex_lock(&mtx);
	o->until = CONN_FOREVER;
	pthread_mutex_unlock(&mtx);
	shutdown(o->fd[1], SHUT_WR);
	check(reached(&o->ended, 1), "the end", 0);
}

static void
wait_at_gate(struct one *o)
{
	note(&o->calls, 'w');
	pthread_mutex_lock(&mtx);
	while (!gate)
		cond_wait(&change, &mtx, NULL);
	pthread_mutex_unlock(&mtx);
	close(o->fd[0]);
	close(o->fd[1]);
	pthread_mutex_lock(&mtx);
	o->left = !o->watched.joined;
	pthread_mutex_unlock(&mtx);
	note(&o->laters, 'g');
}

static void
gone(struct one *o, int *count)
{
	watch_forget(&o->watched);
	close(o->fd[0]);
	close(o->fd[1]);
	note(count, 'f');
}

static void
forget(struct one *o)
{
	gone(o, &o->calls);
}

static void
leaves(struct one *o)
{
	gone(o, &o->left);
}

/* Those of long patience are looked at together: a little late, and not too early. */
static void
far(struct watch *w)
{
	int64_t until = clock_ms(CLOCK_STEADY) + 1050;

	add(w, 1);
	ones[1].fn = forget;
	watch_idle(&ones[1].watched, until);
	check(reached(&ones[1].calls, 1) && clock_ms(CLOCK_STEADY) >= until, "a time that is far", 0);
}

/* Who waits holds nobody up: each has its thread then. */
static void
leave(struct watch *w)
{
	int i;

	open_gate(0);
	for (i = 1; i < WATCHED; i++) {
		add(w, i);
		ones[i].fn = i < WATCHED - 1 ? wait_at_gate : NULL;
		watch_idle(&ones[i].watched, CONN_FOREVER);
		say(i);
		check(reached(&ones[i].calls, 1), "called beside those that wait", (size_t)i);
	}
	for (i = 1; i < WATCHED - 1; i++)
		check(value(&ones[i].laters) == 0, "it waits", (size_t)i);
	open_gate(1);
	for (i = 1; i < WATCHED - 1; i++)
		check(reached(&ones[i].laters, 1) && value(&ones[i].left), "it has waited, and is watched no more", (size_t)i);
	say(WATCHED - 1);
	check(reached(&ones[WATCHED - 1].calls, 2), "the lead is still there", 0);
}

static void
put_off(struct one *o)
{
	note(&o->calls, 'c');
	watch_later(&o->watched);
}

/* Hold the lead up by what it must not do, so that several are ready at once. */
static void
block(struct one *o)
{
	struct timespec tick = { 0, 1000000 };

	note(&o->calls, 'b');
	while (!value(&gate))
		nanosleep(&tick, NULL);
	idle(o);
}

/* n of them, the lead's own among them; they are called in this order, c, and called later, l. */
static void
behind_others(struct watch *w, int n, const char *want)
{
	int i;

	open_gate(0);
	for (i = 1; i < n; i++) {
		if (i == WATCHED - 1)	/* which is there already */
			continue;
		add(w, i);
		ones[i].fn = i == 1 ? block : put_off;
		watch_idle(&ones[i].watched, CONN_FOREVER);
	}
	say(1);
	check(reached(&ones[1].calls, 1), "the lead is busy", 0);
	pthread_mutex_lock(&mtx);
	memset(order, 0, sizeof(order));
	pthread_mutex_unlock(&mtx);
	for (i = 2; i < n; i++)
		if (i != WATCHED - 1)
			say(i);
	open_gate(1);
	for (i = 2; i < n; i++)
		check(i == WATCHED - 1 || reached(&ones[i].laters, 1), "later, all of them", (size_t)i);
	pthread_mutex_lock(&mtx);
	check(strcmp(order, want) == 0, "behind those that are ready", strlen(order));
	pthread_mutex_unlock(&mtx);
	for (i = 1; i < n; i++) {
		if (i == WATCHED - 1)
			continue;
		pthread_mutex_lock(&mtx);
		ones[i].fn = forget;
		ones[i].calls = 0;
		pthread_mutex_unlock(&mtx);
		watch_post(&ones[i].watched);
		check(reached(&ones[i].calls, 1), "forgotten", (size_t)i);
	}
}

/* What comes for one that is being called is not lost. */
static void
meanwhile(struct watch *w)
{
	open_gate(0);
	add(w, 1);
	ones[1].fn = block;
	watch_idle(&ones[1].watched, CONN_FOREVER);
	say(1);
	check(reached(&ones[1].calls, 1), "it is called", 0);
	watch_post(&ones[1].watched);
	pthread_mutex_lock(&mtx);
	ones[1].fn = forget;
	pthread_mutex_unlock(&mtx);
	open_gate(1);
	check(reached(&ones[1].calls, 2), "and again", 0);
}

/* What the system does not watch is looked at now and then. */
static void
blind(struct watch *w)
{
	struct one *o = &ones[1];

	memset(o, 0, sizeof(*o));
	if ((o->fd[0] = open("/", O_RDONLY)) == -1 || (o->fd[1] = dup(o->fd[0])) == -1)
		abort();
	o->until = CONN_FOREVER;
	watch_join(&o->watched, w, o->fd[0], called, later);
	watch_idle(&o->watched, CONN_FOREVER);
	check(reached(&o->calls, 2), "a folder, again and again", 0);
	pthread_mutex_lock(&mtx);
	o->fn = leaves;
	pthread_mutex_unlock(&mtx);
	check(reached(&o->left, 1), "and for the last time", 0);
}

static void
let_go(struct one *o)
{
	watch_forget(&o->watched);
	note(&o->calls, 'f');
}

/* Whoever has been forgotten is nobody's concern, though its descriptor is open. */
static void
forgotten(struct watch *w)
{
	int i;

	for (i = 1; i < 3; i++) {
		add(w, i);
		ones[i].fn = i == 1 ? let_go : forget;
		watch_idle(&ones[i].watched, CONN_FOREVER);
	}
	say(1);
	check(reached(&ones[1].calls, 1), "forgotten", 1);
	say(1);
	say(2);
	check(reached(&ones[2].calls, 1), "forgotten", 2);
	check(!ones[1].watched.again, "for good", 0);
	close(ones[1].fd[0]);
	close(ones[1].fd[1]);
}

int
main(void)
{
	struct timespec tick = { 0, 100000000 };
	struct workers *workers = workers_new(STACK, WATCHED);
	struct watch *w;

	cond_init(&change);
	if (workers == NULL)
		abort();
	watch_leave();		/* who has no lead has none to give */
	if ((w = watch_new(workers)) == NULL) {
		check(workers_end(workers, LONG_MS), "no watch, no threads", 0);
		return test_end();
	}
	check(!watch_leading(w) && !watch_leading(NULL), "another thread leads", 0);
	events(w);
	far(w);
	leave(w);
	behind_others(w, 5, "ccclll");
	behind_others(w, MANY, "cccccccccccccccccccccccccccccccc" "llllllllllllllllllllllllllllllll" "ccccclllll");	/* not for ever */
	meanwhile(w);
	blind(w);
	forgotten(w);
	add(w, 1);		/* one that comes, and goes at last without having waited */
	watch_end(w);
	pthread_mutex_lock(&mtx);
	ones[0].fn = ones[WATCHED - 1].fn = forget;
	pthread_mutex_unlock(&mtx);
	watch_post(&ones[0].watched);
	watch_post(&ones[WATCHED - 1].watched);
	check(reached(&ones[WATCHED - 1].calls, 1), "all but one have gone", 0);
	nanosleep(&tick, NULL);	/* the lead sleeps by now */
	watch_forget(&ones[1].watched);
	close(ones[1].fd[0]);
	close(ones[1].fd[1]);
	check(workers_end(workers, LONG_MS), "the lead ends with the last", 0);
	watch_free(w);
	return test_end();
}
