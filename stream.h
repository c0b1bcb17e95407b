/*
 * stream.h: one byte stream inside a session, whatever carries it: an HTTP/1.1 message each way, or raw
 * bytes. A dialect makes them; mux.c has those of yamux, message.c those that become one message.
 *
 * One thread writes. What arrives is told by callbacks that run in the session's reader under the stream's own
 * mutex: they must not block, and what they keep they must be able to hold (at most the window).
 */
#ifndef STREAM_H
#define STREAM_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	STREAM_IOV_MAX = 40,	/* pieces in one stream_write */
	/*
	 * Read and written at once when there is much, bytes. With the headers of frame, message and packet it fits in one packet of
	 * 64 KiB, the largest that systems make: of 64 KiB the rest would be a packet of its own, which costs as much as a long one.
	 */
	STREAM_PIECE = 65024
};

struct stream;

struct stream_ops {		/* the user's; in the reader, the stream's mtx held */
	void (*data)(void *arg, const uint8_t *buf, size_t len);
	void (*fin)(void *arg);		/* the other side ended its direction */
	void (*reset)(void *arg);	/* RST, or the session ended: nothing comes any more */
	void (*writable)(void *arg);	/* the window has opened again */
};

enum stream_end { STREAM_FIN, STREAM_FIN_LAZILY, STREAM_RESET };

struct stream_type {		/* the carrier's; see the functions below */
	long (*write)(struct stream *, const struct iovec *, int n, int fin, int64_t deadline);
	void (*credit)(struct stream *, size_t n, int queued);
	void (*end)(struct stream *, enum stream_end);
	int (*dead)(struct stream *);
	int (*over)(struct stream *);
	void (*flush)(struct stream *);	/* NULL: nothing is held */
	void (*unref)(struct stream *);	/* the user's reference */
};

struct stream {			/* the first member of a carrier's own */
	pthread_mutex_t mtx;		/* guards ops, arg and what the user hangs on it */
	const struct stream_ops *ops;	/* NULL: nobody listens, data is dropped */
	void *arg;
	const struct stream_type *type;	/* constant */
	int held;		/* the writer's: stream_flush will follow soon, so that writes may wait for others */
};

/*
 * Write as much of iov as the window allows, with FIN behind it if fin and all of it went.
 * Bytes taken (0: the window is shut, writable will be called); -1 with errno: EPIPE
 * (reset, or the session ended), ESHUTDOWN (the other side has ended both directions, in order: its fin is told), ECANCELED, ETIMEDOUT. May wait for the link, not for the window. One writer a stream.
 */
long stream_write(struct stream *, const struct iovec *, int n, int fin, int64_t deadline);

void stream_flush(struct stream *);	/* the writer's: what was held goes out, and nothing more is held */

/* n more bytes have been delivered for good; queued: others wait behind them. Any thread; the stream's mtx may be held. */
void stream_credit(struct stream *, size_t n, int queued);
/* End our direction; the stream's writer has returned. Never blocks; mtx may be held. */
void stream_fin(struct stream *);
void stream_fin_lazily(struct stream *);	/* the same in the reader, when nobody waits for it: see link_owe_lazily */
/* RST: nothing is sent or called back after it; a writer that waits returns. Never blocks; mtx may be held. */
void stream_reset(struct stream *);
int stream_dead(struct stream *);	/* reset by either side, or the session has ended */
int stream_over(struct stream *);	/* the session has ended */

/*
 * The user has done with it, after stream_fin or stream_reset: no callback runs once this returns
 * (mtx must not be held). Drops the reference. What still comes is dropped until the other side ends the stream.
 */
void stream_leave(struct stream *);
void stream_leave_locked(struct stream *);	/* the same, from within a callback */

#endif
