/*
 * tcp.h: a TCP connection and a stream joined: bytes, half-close, reset and backpressure cross as they would cross a
 * wire. Callers of raw ports on the daemon's side, their connections to local services on the client's.
 *
 * A stream whose other side has ended both directions at once (SSH's CLOSE) ends in order: what came is delivered, what the connection
 * still has to say is dropped.
 *
 * One thread owns the connection. Like a wire, it ends nothing for being idle: TCP's own keep-alive finds the dead. It does where the stream's
 * protocol is no wire: linger_ms and stall_ms.
 */
#ifndef TCP_H
#define TCP_H

#include "conn.h"
#include "pump.h"
#include "stream.h"
#include "wake.h"

enum { TCP_IN = STREAM_PIECE };	/* read at once, bytes */

struct tcp {			/* [s] guarded by the stream's mutex, else the owner's */
	struct conn conn;
	struct wake wake;
	struct stream *s;
	struct pump pump;
	int fin;		/* [s] the other side of the stream ended its direction */
	int reset;		/* [s] it was reset, or its session has ended */
	int opened;		/* [s] the window has opened again */
	uint64_t taken;		/* bytes from the connection */
	long linger_ms;		/* so long either direction may stay open when the other has ended, without a byte; 0: for ever */
	long (*linger)(void *arg, long ms);	/* in place of linger_ms, at most that: asked when either direction has ended. NULL: as it is */
	void *linger_arg;
	long stall_ms;		/* and so long the connection may take nothing of what waits for it */
	char in[TCP_IN];
};

int tcp_init(struct tcp *);	/* 0, or -1: no descriptors */

/* s is the other end from now on; its mutex is held. attached: conn is open, too; else tcp_attach when it is. */
void tcp_join_locked(struct tcp *, struct stream *, int attached);
void tcp_attach(struct tcp *);

extern const struct stream_ops tcp_ops;		/* the reader's half; their arg is the tcp */

/*
 * Send lead to the stream, then be the connection's owner until both directions have ended: NULL; or until either side
 * broke: why, in a word. lead must stay until then.
 */
const char *tcp_run(struct tcp *, struct str lead);

/* After tcp_run, or in place of it: why NULL ends in order, else with resets, what is still open. Gives the stream back. */
void tcp_end(struct tcp *, const char *why);

#endif
