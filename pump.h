/*
 * pump.h: bytes both ways between a connection and a stream, with one thread.
 *
 * Stream to connection: the session's reader sends at once what the connection
 * takes; the rest is queued, within the stream's window, and drained by the
 * thread that owns the connection. Connection to stream: that thread alone.
 */
#ifndef PUMP_H
#define PUMP_H

#include "conn.h"
#include "http.h"
#include "stream.h"
#include "queue.h"
#include "wake.h"
#include "watch.h"

struct pump {
	struct conn *conn;	/* the owner's */
	struct stream *s;
	struct wake *wake;	/* ends the owner's sleep */
	struct watched *watched;	/* or it is this that is told; NULL: it has a thread; guarded by s->mtx */
	/* guarded by s->mtx */
	struct queue q;		/* for the connection */
	size_t uncredited;	/* bytes received that the window has not got back yet */
	int attached;		/* the reader may write to conn */
	int failed;		/* conn takes no more */
	int sleeping;		/* the owner is in poll(2), or about to be: wake it */
	int64_t progress;	/* clock_ms when the connection last took bytes */
	uint64_t sent;		/* bytes it has taken */
	/* the owner's alone */
	struct iovec iov[HTTP_IOV_MAX + 1];	/* iov[at..n): what the stream's window has not taken yet */
	int n, at;
	struct http_out out;	/* iov points into it */
};

void pump_init(struct pump *, struct conn *, struct stream *, struct wake *, int attached);
void pump_end(struct pump *);	/* after stream_leave */

/*
 * In the reader, s->mtx held: taken received bytes have become iov. Sent at
 * once, or queued; the owner is woken if it has to drain.
 */
void pump_put_locked(struct pump *, const struct iovec *, int n, size_t taken);

void pump_wake_locked(struct pump *);	/* end the owner's sleep, if it sleeps */
/* The owner is back from its sleep: take s->mtx; nobody need wake it any more. */
void pump_awake_lock(struct pump *);

/* Under s->mtx: send what is queued. 1: nothing is left, 0: some is, -1: the connection is broken. */
int pump_drain_locked(struct pump *);

/*
 * Push what is pending into the stream, with FIN behind it if fin. 1: all
 * gone, 0: the window is shut, -1: the stream is gone (errno).
 */
int pump_push(struct pump *, int fin, int64_t deadline);

/*
 * Make pending, when nothing is: lead, then what the body b takes of buf.
 * Bytes of buf used; or a status negated (-400) and *why. Push, then call again for the rest.
 */
long pump_take(struct pump *, struct str lead, struct http_body *b, const char *buf, size_t len,
    const char **why);

/* The same for bytes without framing. */
void pump_take_raw(struct pump *, struct str lead, const char *buf, size_t len);

#endif
