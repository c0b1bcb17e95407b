/*
 * bridge.h: a WebSocket and something else joined, a connection or another WebSocket: bytes both ways, with one thread, which is
 * the caller's. Each way holds no more than one read; who does not take stops who sends.
 */
#ifndef BRIDGE_H
#define BRIDGE_H

#include "wspipe.h"

enum bridge_end {
	BRIDGE_DONE,		/* both ways have ended, in order; or far has, and ws cannot be told without a Close */
	BRIDGE_CLOSED,		/* ws has been closed by its other side; what came before may still have to be delivered */
	BRIDGE_FAILED,		/* likewise by us, for an error of theirs */
	BRIDGE_LOST,		/* ws is broken, or does not answer */
	BRIDGE_FAR,		/* the other end is, or has not ended in order; why says so */
	BRIDGE_STOPPED		/* stop has said so */
};

struct bridge {
	struct wspipe *ws;
	struct wspipe *far;	/* the other end, */
	struct conn *rd, *wr;	/* or, if that is NULL, where it is read and written; may be the same */
	int stay;		/* when far has ended, and ws cannot be told without a Close: go on, it will see to the end */
	int over_on_half;	/* when ws has ended by half, it is all over */
	int wakefd;		/* -1: none; readable: ask stop */
	int (*stop)(void *arg);	/* 1: end it. It makes wakefd unreadable */
	void *arg;

	uint64_t in, out;	/* bytes from ws, to ws */
	const char *why;	/* a constant string */
	int err;		/* with BRIDGE_FAR: errno */
	int far_ended, ws_ended;	/* far sends no more; ws does not, and far knows it */
	int quiet;		/* rd and wr hang up, which is known */
};

/* Copy until it ends; ws is still open then, but for what it has been sent. far, too. */
enum bridge_end bridge_run(struct bridge *);

/*
 * Send ws the Close that it was asked for and, by deadline, await its other side's. keep: what still comes goes to wr as long as
 * that takes it; else it is dropped.
 */
void bridge_finish(struct bridge *, int keep, int64_t deadline);

/* What has come from ws goes to the other end by deadline. 0, or -1: it did not all. */
int bridge_deliver(struct bridge *, int64_t deadline);

#endif
