/*
 * linkint.h: what link.c (the reader) and linkout.c (the writers) share.
 * Nobody else includes it.
 */
#ifndef LINKINT_H
#define LINKINT_H

#include <pthread.h>

#include "link.h"
#include "wake.h"

enum { LINK_PONGS = 512 };	/* payloads of pongs owed, bytes */

struct writer;

struct link {			/* [m] guarded by mtx, [w] whoever has set writing, [r] the reader's, [c] constant */
	struct conn conn;	/* [c] its descriptor is closed by the reader when nobody writes */
	struct link_conf conf;	/* [c] */
	const struct link_ops *ops;	/* [c] */
	void *arg;		/* [c] */

	pthread_mutex_t mtx;
	struct wake own;	/* [m] ends the reader's sleep, */
	struct wake *bell;	/* [m] or one that idle links share, which is dear when it is rung often */
	int rung;		/* [m] a post for us is in it */
	struct wake unblock;	/* [m] ends a writer's wait for the socket; opened for the first */
	pthread_cond_t quiet;	/* writing has become 0 */
	struct writer *first, **last;	/* [m] waiting writers, in turn */
	struct writer *active;	/* [m] for whose sake somebody writes, or NULL */
	uint8_t *queue;		/* [m] urgent messages, framed; NULL until the first */
	size_t nqueue;		/* [m] */
	int writing;		/* [m] somebody is; if nobody is, first has been signalled */
	int orphan;		/* [m] the first writer's message goes on without its sender; */
	int64_t orphan_ms;	/* [m] clock_ms when bytes were last taken since */
	int parted;		/* [m] a message's first frame is in out, its last is not */
	int owed;		/* [m] ask the owed callback */
	int lazy;		/* [m] but not for its sake alone before lazy_until */
	int64_t burst_at;	/* [m] when the last urgent message was sent, in periods, */
	int burst, crowd;	/* [m] how many there were in that period, and in the one before */
	int ended;		/* [m] nothing can be sent any more */
	int aborted;		/* [m] nor shall anything be read */
	size_t pace;		/* [m] see link_pace; until a close is asked for */
	int close_code;		/* [m] not 0: close asked for */
	char close_reason[WS_CONTROL_MAX - 1];	/* [m] a status code shorter, a NUL longer */
	int close_sent;		/* [m] the close frame is in out */
	uint8_t pongs[LINK_PONGS];	/* [m] payloads owed, a length before each */
	size_t npongs;		/* [m] */
	int ping;		/* [m] one is owed */
	uint64_t ping_id;	/* [m] what the last ping carried */
	int64_t ping_us;	/* [m] when it was put into out, 0: answered */
	unsigned answers;	/* [m] signs of life, for probes */
	int probes;		/* [m] who waits for one */
	int64_t rtt_us;		/* [m] */
	uint64_t mask_state;	/* [m] */
	size_t out_at, nout;	/* [m] out[out_at..nout) is still to go */
	uint8_t *out;		/* [w] framed bytes on their way; NULL: none */
	size_t out_cap;		/* [w] its size: little for what is owed alone */

	uint8_t *in;		/* [r] NULL while nothing comes */
	size_t in_cap;		/* [r] its size: little until a read fills it */
	int64_t busy_ms;	/* [r] clock_ms when something last happened */
	int disturbed;		/* [r] the bell was another's */
	int idle;		/* [r] the buffers have been given back since */
	size_t in_at, nin;	/* [r] in[in_at..nin) is still to be read */
	struct ws_hdr hdr;	/* [r] of the frame under way */
	uint64_t left;		/* [r] bytes of its payload to come */
	size_t mask_at;		/* [r] */
	int in_frame;		/* [r] */
	uint8_t in_message, opcode;	/* [r] see ws_sequence */
	uint64_t message;	/* [r] payload bytes of the message under way */
	uint32_t utf8;		/* [r] */
	uint8_t ctl[WS_CONTROL_MAX];	/* [r] a control frame's payload */
	size_t nctl;		/* [r] */
	int heard;		/* [r] since the last ping */
	int moved;		/* [r] bytes of a message, likewise */
	int fresh;		/* [r] bytes have come that no probe has been told of */
	int64_t next_ping;	/* [r] */
	int64_t give_up;	/* [r] 0, or when to stop waiting for the other side's close */
	int64_t lazy_until;	/* [r] with lazy */
	size_t quota;		/* [r] bytes that the next read may take, */
	int64_t next_read;	/* [r] which comes no sooner, if there is a pace */
	int got_close;		/* [r] its code, 0: none */
	char got_reason[WS_CONTROL_MAX - 1];	/* [r] with a NUL */
	int deaf;		/* [r] we failed the connection: nothing more is handled */
	int said;		/* [r] our direction is shut */
	int eof;		/* [r] nothing more can be read */
	int over;		/* [r] link_run is to return */
	const char *why;	/* [r] */
};

/* Write what can be written without waiting. 1 if there is more, and the reader is to wait for the socket. */
int linkout_now(struct link *);

/* Nothing more can be sent: every writer returns, and the connection is shut down, which wakes the reader. */
void linkout_ring_locked(struct link *);	/* wake the reader */
void linkout_end_locked(struct link *);

/* Give the buffers back, if nothing is in them. */
void linkout_trim_locked(struct link *);

/* Frames. */
void linkframe_hdr_locked(struct link *, struct ws_hdr *, uint8_t opcode, size_t len);

/* Frame h->len bytes of iov, from byte at on, at p, which has room for it; they may stand WS_HDR_MAX behind it. The frame's length. */
size_t linkframe_put(uint8_t *p, const struct ws_hdr *h, const struct iovec *iov, size_t at);

struct span {			/* bytes [from, to) of out */
	size_t from, to;
};

/*
 * The same behind what is in out, which has room for it, with mtx not held: 0; or 1: a long payload was not copied but written at once,
 * behind out, and what the socket did not take of both is in out; or -1 with errno: the connection is broken. [w]
 */
int linkframe_send(struct link *, const struct ws_hdr *, const struct iovec *, size_t at, struct span *out);

#endif
