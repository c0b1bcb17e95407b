/*
 * link.h: a WebSocket connection (RFC 6455): one reader thread, many writers.
 *
 * The reader runs link_run. It waits for its own socket only: what it owes
 * the far end is kept as flags here, or by the user behind the owed callback,
 * and becomes frames in the hands of whoever writes next.
 * Writers combine: each queues its message; if nobody is writing, it writes
 * all that is queued, and leaves when its own bytes are out.
 */
#ifndef LINK_H
#define LINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "conn.h"
#include "ws.h"

enum {
	LINK_OWED_MAX = 4096,	/* room the owed callback gets unless told otherwise, bytes */
	LINK_PACE_MS = 100	/* see link_pace */
};
#define LINK_FREELY SIZE_MAX	/* bytes */

struct link;

struct link_ops {
	/*
	 * In the reader, no lock held: a piece of a text or binary message, in order;
	 * fin: its last. An empty message comes as one piece of length 0. buf is the callee's to change until
	 * it returns. 0, or a status code negated and *why: the connection fails with it.
	 */
	int (*data)(void *arg, uint8_t opcode, uint8_t *buf, size_t len, int fin, const char **why);
	/*
	 * The payload of one message that is owed (binary, or text: owed_text), at most cap (owed_max) bytes into buf:
	 * its length, 0 if nothing is owed; *more is set if that was not all. Called by whoever writes (so by link_send, link_owe and
	 * link_close too) under the link's mutex, so that what it says stands behind everything sent
	 * before, and in front of everything sent after: it must not call the link, nor
	 * wait. rtt_us: the last round trip measured, 0: none yet. May be NULL.
	 */
	size_t (*owed)(void *arg, uint8_t *buf, size_t cap, int64_t rtt_us, int *more);
	/* In the reader: all that one read brought has been handed on; the link is about to sleep. May be NULL. */
	void (*idle)(void *arg);
};

struct link_conf {
	int client;		/* we mask, the other side must not */
	int64_t ping_ms;	/* a ping so often; nothing heard, or nothing of a message begun, until the next ends the link; 0: never */
	uint64_t message_max;	/* payload of a message received, bytes */
	int64_t stall_ms;	/* what is left of a parcel may rest so long; 0: none are sent */
	size_t owed_max;	/* bytes of what is owed in one message; 0: LINK_OWED_MAX */
	int utf8;		/* text messages are checked to be UTF-8 (else the user refuses text) */
	int owed_text;		/* what is owed goes out as text */
};

/*
 * Takes c over. The bytes of early (read beyond the opening handshake) are read first. NULL: no memory or descriptors; then c is
 * the caller's still.
 */
struct link *link_new(const struct conn *c, const struct link_conf *, const struct link_ops *,
    void *arg, const void *early, size_t nearly);

/*
 * Bytes that stand before all else that is sent, as they are: the answer to the opening handshake. They go out with whatever is
 * sent first, so whoever learns of the link behind this call may send at once. Before any other thread knows the link. 0, or -1
 * with ENOMEM.
 */
int link_greet(struct link *, const void *buf, size_t len);

/*
 * Read until the connection ends; then it is closed, and every writer has returned or will at once. The
 * status code that ended it: received, sent, or WS_ABNORMAL. *why: a constant string for the log.
 */
int link_run(struct link *, const char **why);

enum link_class {
	LINK_URGENT,		/* small, ahead of bulk */
	LINK_HELD,		/* the same, but link_flush will follow soon */
	LINK_BULK		/* one message a key, in turn */
};

/*
 * Send one message, its payload gathered from iov. Returns 0 when the payload is no longer needed (it
 * may still wait for the socket), or -1: EPIPE (the link ended or is closing), ETIMEDOUT, ECANCELED (link_cancel).
 * An urgent one waits only while many others do. Must not be called by a reader that has others to serve: it waits.
 * A payload over 64 KiB goes out in several frames, other messages behind it; once the first is out, link_cancel
 * is too late, and missing the deadline ends the link.
 * key: whose message it is, see link_cancel; may be NULL.
 */
int link_send(struct link *, uint8_t opcode, const struct iovec *, int n,
    enum link_class, const void *key, int64_t deadline);

struct link_parcel {		/* a message that becomes the link's */
	struct iovec iov;
	/* It is not needed any more. Any thread; the link's mutex may be held: it must not call the link, nor wait. */
	void (*release)(struct link_parcel *);
};

/*
 * The same, of the bulk class, but missing the deadline once the first frame is out does not end the link: the
 * rest is sent without the caller, who gets ETIMEDOUT. The link ends when the other side takes none of it for stall_ms.
 * However it ends, release is called once.
 */
int link_send_parcel(struct link *, uint8_t opcode, struct link_parcel *, const void *key, int64_t deadline);

void link_flush(struct link *);		/* send what is queued; never blocks */
void link_cancel(struct link *, const void *key);	/* writers of key that still wait return at once */
void link_owe(struct link *);		/* the owed callback has something: never blocks; any thread */
void link_owe_later(struct link *);	/* the same, but the next writer or the reader before it sleeps will do */
void link_owe_lazily(struct link *);	/* in the reader: the same, but nobody waits for it: the next writer, or 50 ms from now, will do */

/* Close with code and reason (at most 123 bytes; copied), after what is owed. Later calls change nothing. Never blocks; any thread. */
void link_close(struct link *, int code, const char *reason);
void link_abort(struct link *);		/* end it now, no close frame */

/* Does anything come by deadline (clock_ms CLOCK_STEADY)? It is pinged; but a long message of its own would be before the
 * answer. Waits; not for the reader. */
int link_probe(struct link *, int64_t deadline);

int64_t link_rtt(struct link *);	/* the last round trip measured, microseconds; 0: none yet */
const char *link_said(const struct link *);	/* after link_run: the reason in the other side's close frame, "" if there was none */
int link_closed_by_peer(const struct link *);	/* after link_run: it sent a close frame, of its own or in answer to ours */
/*
 * Read at most so many bytes every LINK_PACE_MS, 0: none, LINK_FREELY: as they come. For a protocol without windows, where receivers
 * must catch up. While it is not read freely no silence ends the link. Never blocks; any thread.
 */
void link_pace(struct link *, size_t n);

void link_set_ping(struct link *, int64_t ms);	/* in the reader: ping so often from now on */
void link_free(struct link *);		/* after link_run has returned, and every other call */

#endif
