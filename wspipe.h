/*
 * wspipe.h: a WebSocket connection (RFC 6455) as a pipe: binary messages are bytes, whose boundaries mean nothing.
 *
 * One thread owns it and its connection; nothing here waits. What is not taken is not read: memory is
 * bounded, and the far end feels it. Text is refused. Where both ends agreed on it, an empty message ends a direction.
 */
#ifndef WSPIPE_H
#define WSPIPE_H

#include <stddef.h>
#include <stdint.h>

#include "conn.h"
#include "ws.h"

enum { WSPIPE_PIECE = 32768, WSPIPE_IN = 65536 };	/* a message sent, and read at once; bytes */

/* Subprotocol of those who agree: between our own programs. */
#define WSPIPE_HALVES "relay.tunnel.v1"

enum wspipe_end {		/* how what comes has ended */
	WSPIPE_OPEN,
	WSPIPE_HALF,		/* by an empty message */
	WSPIPE_CLOSED,		/* by a Close, of which code and reason came */
	WSPIPE_FAILED,		/* by us, for an error of theirs: our Close is on its way */
	WSPIPE_LOST		/* the connection ended or broke, or nothing answers */
};

struct wspipe {
	struct conn *conn;
	int client;		/* we mask, the other side must not */
	int halves;		/* an empty message ends a direction */
	int64_t ping_ms;	/* a ping so often; nothing heard until the next ends it; 0: never */
	int64_t stall_ms;	/* the other side takes a byte so often, if there is one; 0: whenever it likes */

	enum wspipe_end end;
	int code;		/* of the Close that came, WS_NO_STATUS if it had none; with WSPIPE_FAILED of ours */
	char reason[WS_CONTROL_MAX - 1];	/* likewise, NUL-terminated; may hold anything */
	int eof;		/* with LOST: the connection ended in order, but without a Close */
	const char *why;	/* a constant string for the log, with FAILED and LOST */

	/* what comes: in[data..ndata) is payload to be taken, in[raw..nin) frames to be read */
	size_t data, ndata, raw, nin;
	struct ws_hdr hdr;
	uint64_t left;		/* of the frame's payload */
	size_t mask_at, nctl;
	int in_frame, bytes;	/* bytes: the message under way had some */
	uint8_t in_message, opcode;
	uint8_t ctl[WS_CONTROL_MAX];

	/* what goes: out[out_at..nout), and what is owed */
	size_t out_at, nout;
	uint8_t pong[WS_CONTROL_MAX];
	size_t npong;
	int has_pong, ping, half, close_code, close_sent;
	char close_reason[WS_CONTROL_MAX - 1];
	uint64_t pings;
	int blocked;		/* the connection takes no more now */
	int64_t progress;	/* clock_ms when it last did */
	int64_t next_ping;
	int pinged, heard, paused;	/* since the last ping: it is out; something came; we did not look */

	uint8_t in[WSPIPE_IN];
	uint8_t out[WS_HDR_MAX + WSPIPE_PIECE];
};

/* The bytes of early (read beyond the opening handshake, at most WSPIPE_IN) are read first. Its other members are zero, but for the first five. */
void wspipe_init(struct wspipe *, struct conn *, int client, const void *early, size_t nearly);

int wspipe_coming(const struct wspipe *);	/* more may come: it is open, or half so */

/* Payload that has come, reading if there is none: its length, and *p is where; 0: none now, or end says that there will be none. */
size_t wspipe_get(struct wspipe *, uint8_t **p);
void wspipe_used(struct wspipe *, size_t n);	/* so much of it was taken */

/* Where the next message's payload may be put, WSPIPE_PIECE bytes; NULL: not now. Then wspipe_put sends n of them. */
uint8_t *wspipe_room(struct wspipe *);
void wspipe_put(struct wspipe *, size_t n);
void wspipe_half(struct wspipe *);	/* our direction has ended: only with halves */

/* Close, after what was put; nothing can be put any more. reason is copied, cut at 123 bytes. Later calls change nothing. */
void wspipe_close(struct wspipe *, int code, const char *reason);
void wspipe_answer(struct wspipe *);	/* with code and reason of the Close that came */

/* Send what can be sent now: 1: all is out, 0: the connection takes no more, -1: it is broken (end says so). */
int wspipe_flush(struct wspipe *);

/* What the connection is to be waited for. POLLERR alone: only whether it breaks. */
int wspipe_events(struct wspipe *);

/* Do what is due (a ping; end); when to come again, clock_ms. Sets end if the other side is no more. */
int64_t wspipe_tick(struct wspipe *, int64_t now);

#endif
