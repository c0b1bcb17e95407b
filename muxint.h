/*
 * muxint.h: what mux.c (streams and writers) and muxin.c (the reader) share.
 */
#ifndef MUXINT_H
#define MUXINT_H

#include "mux.h"
#include "yamux.h"

enum {
	TABLE = 64,		/* hash chains; ids are handed out in turn, so they spread */
	FIRST_BYTES = 16384,	/* of a stream, sent ahead of bulk */
	FRAME_URGENT = 16384,	/* payload of a frame, bytes */
	FRAME_BULK = STREAM_PIECE,
	ACKS_LATE = 64,		/* acknowledge alone only when this many wait */
	RESETS = 64,		/* refused streams to be told, at most */
	RTT_FLOOR_US = 2000	/* below this the clock and the scheduler are measured */
};

struct ystream {		/* a stream of yamux; but for base guarded by the mux's mutex */
	struct stream base;
	struct mux *mux;		/* constant */
	uint32_t id;			/* constant */
	struct ystream *next;		/* in the table */
	struct ystream *owed_next;
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

struct mux {
	struct mux_conf conf;
	const struct mux_ops *ops;
	void *arg;
	struct link *link;		/* constant after mux_attach */

	pthread_mutex_t mtx;		/* guards everything below but the reader's */
	pthread_cond_t acks;		/* unacked has fallen, or the end */
	struct ystream *table[TABLE];
	struct ystream *owed_first, **owed_last;
	int refs, nstreams, unacked, acks_owed, ended;
	uint32_t next_id;		/* ours to hand out */
	int pong, away;			/* owed */
	uint32_t resets[RESETS];	/* ids refused, owed an RST */
	int nresets;
	uint32_t pong_value, away_reason;
	char *ctl;			/* control lines to be sent; NULL: none */
	size_t nctl;
	uint32_t ctl_window;		/* what we may send on stream 1 */
	int ctl_open, ctl_syn, ctl_ack;	/* stream 1 exists; its SYN, its ACK is owed */
	uint32_t ctl_recv, ctl_credit;	/* what the other side may send; read, not granted again yet */

	uint8_t hdr[YAMUX_HDR];		/* the reader's: header under way */
	size_t nhdr;
	struct yamux_hdr h;		/* of the data under way */
	uint32_t left;			/* bytes of it to come */
	struct ystream *to;		/* whose, NULL: dropped or control */
	char *line;			/* control line that comes in pieces; NULL: none */
	size_t nline;
};

extern const struct stream_type mux_stream_type;
struct ystream *mux_find_locked(struct mux *, uint32_t id);
struct ystream *mux_new_stream(struct mux *);	/* NULL: no memory */
void mux_add_locked(struct mux *, struct ystream *, uint32_t id);	/* with the table's reference and the user's */
void mux_stream_unref(struct mux *, struct ystream *);
void mux_unref_unlock(struct mux *, struct ystream *);	/* the same, with the mux's mutex held, which is given back */
void mux_acked_locked(struct mux *, struct ystream *);
/* Both sides are done, though our FIN may wait to go out: its place among those open is free. */
void mux_uncount_locked(struct mux *, struct ystream *);
/* Take s out of the table when nothing more can happen to it. 1: the table's reference is the caller's to drop. */
int mux_retire_locked(struct mux *, struct ystream *);
void mux_owe_locked(struct mux *, struct ystream *);	/* put it into the list of those that owe */
size_t mux_owed(void *mux, uint8_t *buf, size_t cap, int64_t rtt_us, int *more);	/* link_ops.owed */

#endif
