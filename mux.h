/*
 * mux.h: flow-controlled streams over a link: yamux, tunnel-protocol(7).
 *
 * One reader thread (link_run) feeds mux_input; everybody else writes. A
 * stream's user is told of what arrives by callbacks that run in the reader
 * under the stream's own mutex: they must not block, and what they keep they
 * must be able to hold (at most the window).
 * Lock order: stream, link, mux. The mux takes no stream's mutex under its own, and calls no link under it.
 */
#ifndef MUX_H
#define MUX_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "link.h"

struct mux;

enum {
	MUX_LINE_MAX = 16384,		/* one control object, bytes */
	MUX_CONTROL_QUEUE = 262144,	/* control lines waiting for the other side to read, bytes */
	MUX_UNACKED_MAX = 256,		/* our streams the other side has not acknowledged */
	STREAM_IOV_MAX = 40,		/* pieces in one stream_write */
	MUX_IDS_MAX = 1 << 30		/* streams before a session asks to be replaced */
};

struct stream_ops {		/* in the reader, the stream's mtx held */
	void (*data)(void *arg, const uint8_t *buf, size_t len);
	void (*fin)(void *arg);		/* the other side ended its direction */
	void (*reset)(void *arg);	/* RST, or the session ended: nothing comes any more */
	void (*writable)(void *arg);	/* the window has opened again */
};

struct stream {
	pthread_mutex_t mtx;		/* guards ops, arg and what the user hangs on it */
	const struct stream_ops *ops;	/* NULL: nobody listens, data is dropped */
	void *arg;
	struct mux *mux;		/* constant */
	uint32_t id;			/* constant */
	/* the rest is mux.c's, guarded by the mux's mutex */
	struct stream *next;		/* in the table */
	struct stream *owed_next;
	uint64_t sent;
	int64_t epoch_us;		/* when the receive window was last opened */
	uint32_t send_window, recv_window;
	uint32_t recv_max;		/* what recv_window is opened to */
	uint32_t credit;		/* delivered, not granted again yet */
	int refs;
	unsigned owed:1, owe_ack:1, owe_fin:1, owe_rst:1, owe_update:1, syn_sent:1, acked:1,
	    fin_sent:1, fin_seen:1, dead:1, left:1, blocked:1, backed_up:1, queued:1, counted:1, over:1;
	uint64_t *tally;		/* bytes [0] received, [1] sent; NULL: not counted */
};

/* Memory that windows may grow into, shared by all sessions of a process. */
struct budget {
	pthread_mutex_t mtx;
	size_t left;			/* bytes */
};

struct mux_ops {
	/* In the reader: the other side opens a stream. It has a reference for the
	 * user if 1 is returned (and ops and arg set); 0 resets it. */
	int (*accept)(void *arg, struct stream *);
	/* In the reader: a line of the control stream, without its newline, NUL-terminated. */
	void (*line)(void *arg, const char *line, size_t len);
	void (*go_away)(void *arg, uint32_t reason);	/* in the reader */
};

struct mux_conf {
	int client;			/* we open odd ids, and stream 1 is ours */
	int streams_max;		/* open at once */
	uint32_t window_max;		/* bytes a stream's window may grow to */
	struct budget *budget;
};

extern const struct link_ops mux_link_ops;	/* for link_new; its arg is the mux */

/* A new mux holds one reference. mux_attach gives it its link, which is freed with the last one. */
struct mux *mux_new(const struct mux_conf *, const struct mux_ops *, void *arg);
void mux_attach(struct mux *, struct link *);
struct link *mux_link(struct mux *);
void mux_ref(struct mux *);
void mux_unref(struct mux *);

/* In the reader, after link_run: every stream is reset, every writer returns. */
void mux_end(struct mux *);

/* A line of at most MUX_LINE_MAX bytes for the control stream; a newline is added. Never blocks; any thread. -1: too much is waiting, or the session has ended. */
int mux_control(struct mux *, const char *line, size_t len);
void mux_go_away(struct mux *, uint32_t reason);	/* behind the control lines; never blocks */

/*
 * Open a stream: nothing is sent until the first write. Waits until deadline while too many are unacknowledged.
 * NULL with errno: EPIPE (session ended), EMFILE (streams_max), ETIMEDOUT, ENOMEM. The caller holds a reference, and
 * sets ops and arg under the stream's mtx when it is ready for callbacks: before that the other side can only have reset it.
 */
struct stream *mux_open(struct mux *, uint64_t *tally, int64_t deadline);
int mux_used_up(struct mux *);		/* 1 when its ids run out */
int mux_ended(struct mux *);
int mux_streams(struct mux *);		/* open ones, but for the control stream */
void mux_tally(struct mux *, const uint64_t from[2], uint64_t to[2]);	/* copy a tally while it is counted */

/*
 * Write as much of iov as the window allows, with FIN behind it if fin and all of it went.
 * Bytes taken (0: the window is shut, writable will be called); -1 with errno: EPIPE
 * (reset, or the session ended), ECANCELED, ETIMEDOUT. May wait for the link, not for the window. One writer a stream.
 */
long stream_write(struct stream *, const struct iovec *, int n, int fin, int64_t deadline);

/* n more bytes have been delivered for good; queued: others wait behind them. Any thread; the stream's mtx may be held. */
void stream_credit(struct stream *, size_t n, int queued);
/* End our direction; the stream's writer has returned. Never blocks; mtx may be held. */
void stream_fin(struct stream *);
void stream_fin_lazily(struct stream *);	/* the same in the reader, when nobody waits for it: see link_owe_lazily */
/* RST: nothing is sent or called back after it; a writer that waits returns. Never blocks; mtx may be held. */
void stream_reset(struct stream *);
int stream_dead(struct stream *);	/* reset by either side, or the session has ended */

/*
 * The user has done with it, after stream_fin or stream_reset: no callback runs once this returns
 * (mtx must not be held). Drops the reference. What still comes is dropped until the other side ends the stream.
 */
void stream_leave(struct stream *);
void stream_leave_locked(struct stream *);	/* the same, from within a callback */

#endif
