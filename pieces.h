/*
 * pieces.h: binary messages of wsproxy's clients, put together again. Pure; what is held is the caller's to hold.
 *
 * The browser client writes through a layer that cuts: what it sends at once comes as messages of 4096 bytes and a shorter one, or none
 * if that was all. Only the first tells what they are. How it is told whether a message of 4096 bytes goes on in the next one:
 *
 * - A control object ends with its last brace, whatever the length. None of its bytes is 0, with which every frame begins.
 * - A frame goes on unless the next message begins with the header of a connection that we know, or is a control object.
 *   Frames may carry JSON of their own, so that object is believed only if it can be one of ours, and its id is waited for: an id is known to
 *   the two sides alone. A long one does not tell before it ends, and is held; but only while some response is waited for.
 *
 * No clock is asked. A client that sends a longer message, or control objects as text, is not that one: each message of its is whole.
 */
#ifndef PIECES_H
#define PIECES_H

#include "wsproxymsg.h"

enum {
	PIECE = 4096,		/* bytes */
	PIECES_MAX = 16 << 20	/* of a control object that is held, bytes */
};

enum pieces_state { PIECES_NONE, PIECES_FRAME, PIECES_OBJECT, PIECES_PERHAPS };

struct pieces {			/* zero all at first */
	int whole;		/* nothing is cut; may be set at any time */
	enum pieces_state state;	/* what the next message may go on with; PERHAPS: an object, or the frame before it */
	char id[WSPROXY_ID + 1];	/* of the frame */
	unsigned depth;		/* of the object: brackets that are open, */
	int in_string, escaped;	/* and where its last byte stands */
};

struct pieces_ask {		/* what the caller knows */
	int (*known)(void *arg, const char *id);	/* is there a connection of this id, or was there lately? */
	int (*waiting)(void *arg);	/* is any response waited for? */
	void *arg;
};

enum pieces_verdict {
	PIECES_DROP,		/* it is nothing */
	PIECES_DATA,		/* from byte *at on for connection id, whether that is there or not */
	PIECES_CONTROL,		/* a whole control object */
	PIECES_HOLD,		/* add it to what is held, or begin to: it is not over */
	PIECES_LAST,		/* the same, and then what is held is a whole object */
	PIECES_CHECK,		/* likewise, if it is one that is waited for: say so with pieces_checked */
	PIECES_RELEASE,		/* what is held is data for connection id; then ask for this message again */
	PIECES_FORGET		/* what is held is nothing; likewise */
};

/* The next binary message. */
enum pieces_verdict pieces_take(struct pieces *, const uint8_t *p, size_t len, const struct pieces_ask *, size_t *at);

/* After PIECES_CHECK; last: the length of the message it was said of. 1: it was what it seemed to be, as far as the object goes;
 * 0: what is held is data for connection id. */
void pieces_checked(struct pieces *, int yes, size_t last);

/* No message comes now: must what is held be given up as data for connection id? As after PIECES_RELEASE. */
int pieces_stale(struct pieces *, const struct pieces_ask *);

#endif
