/*
 * mux.h: flow-controlled streams over a link: yamux, tunnel-protocol(7).
 *
 * One reader thread (link_run) feeds mux_input; everybody else writes.
 * Lock order: stream, link, mux. The mux takes no stream's mutex under its own, and calls no link under it.
 */
#ifndef MUX_H
#define MUX_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "budget.h"
#include "link.h"
#include "stream.h"

struct mux;

enum {
	MUX_LINE_MAX = 16384,		/* one control object, bytes */
	MUX_CONTROL_QUEUE = 262144,	/* control lines waiting for the other side to read, bytes */
	MUX_UNACKED_MAX = 256,		/* our streams the other side has not acknowledged */
	MUX_IDS_MAX = 1 << 30		/* streams before a session asks to be replaced */
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
	struct budget *budget;		/* what windows may grow into, of all sessions */
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

#endif
