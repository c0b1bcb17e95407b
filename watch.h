/*
 * watch.h: connections that wait, without a thread each.
 *
 * One thread, the lead, sleeps for all of them. When bytes have come for one, it calls what that one wants done, one
 * after the other. Whatever may wait there for more than a mutex (conn_wait, or for a condition) says watch_leave first: another
 * thread then takes the lead, and this one is the connection's own until it gives it back. So nobody waits for another's
 * sake, and what need not wait costs no switch of threads.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stdint.h>

#include "workers.h"

struct watch;

enum watched_state {
	WATCHED_CALLED,		/* its user's, whose thread gives it back by watch_idle or watch_later */
	WATCHED_IDLE,		/* in a list of the idle */
	WATCHED_READY,		/* in the list of those to be called */
	WATCHED_LATER		/* in the list of those to be called later */
};

struct watched {		/* in the user's memory; constant, or guarded by the watch's mutex */
	struct watch *watch;
	void (*call)(struct watched *);
	void (*later)(struct watched *);
	int fd;
	int joined;		/* it is one of the watch's; changed only by the thread whose it is */
	int added;		/* the system watches fd: it was idle once since it joined */
	int again;		/* something has come since it was called */
	enum watched_state state;
	int64_t until;
	struct watched *next, **prev;	/* in the list of its state; prev for the idle */
};

/* Threads come from there. NULL: the system knows no such thing, or no memory, descriptor or thread is left. */
struct watch *watch_new(struct workers *);
/* The lead ends with the last one that has joined: before workers_end. */
void watch_end(struct watch *);
void watch_free(struct watch *);	/* after workers_end has said 1 */

/* It is the watch's from now on, and this thread's until it is idle. fd is closed after watch_forget only. */
void watch_join(struct watched *, struct watch *, int fd, void (*call)(struct watched *), void (*later)(struct watched *));
/*
 * Have call called when bytes have come, at their end, when it is posted, and at until (clock_ms CLOCK_STEADY; up to a second
 * late if it is more than one away); or for nothing. The last that its thread does with it.
 */
void watch_idle(struct watched *, int64_t until);
/* From call, on the lead: have later called when those that are ready as well have been called. Likewise the last. */
void watch_later(struct watched *);
void watch_post(struct watched *);	/* have it called soon, or again; any thread, any lock held */
void watch_forget(struct watched *);	/* by the thread whose it is: it has left, if it had joined */

int watch_leading(const struct watch *);	/* is this thread the lead? NULL has none */
/* This thread is about to wait: if it has the lead, another takes it, and what was called has left. Any lock may be held. */
void watch_leave(void);
void watch_leave_for(int fd);		/* the same, if a line written to fd, a pipe, a terminal or a file, has to wait */

#endif
