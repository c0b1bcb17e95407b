/*
 * wsraw.h: raw connections of a wsproxy tunnel: streams (stream.h) as data frames of a connection id each, over a link.
 *
 * The protocol has no windows, and a message that ends both of a connection's directions. So what comes for a caller who does not read waits
 * here, up to a bound, beyond which that connection is cut, and no other: the reader never waits for it. But as long as the caller takes
 * anything the link is read the slower the less room is left, down to 160 KiB a second, so that one who takes as much does not meet the bound;
 * and where it is alone, so that nobody has to wait with it, the link is not read at all until it has caught up. Others wait some seconds for
 * one who takes nothing, and no longer.
 */
#ifndef WSRAW_H
#define WSRAW_H

#include "budget.h"
#include "link.h"
#include "stream.h"
#include "wsproxymsg.h"

struct wsraw;

struct wsraw_conf {
	int max;		/* connections at once */
	size_t window;		/* when so many bytes wait for one caller, or twice as many for all, the link is read slowly; */
	size_t queue_max;	/* and more never wait for one, but for a message */
	struct share *share;	/* what pays for them */
	/* Send a control object, "tcp_open" or "tcp_close"; as link_send. */
	int (*tell)(void *arg, const char *type, const char *id, int64_t deadline);
	/* How long a caller's first bytes are held, in ms, unless the client sends something first; 0: not at all. */
	long (*hold_ms)(void *arg);
	int (*busy)(void *arg);	/* is the link wanted for anything else? */
	void *arg;
};

struct wsraw *wsraw_new(const struct wsraw_conf *);	/* NULL: no memory */
void wsraw_free(struct wsraw *);	/* after wsraw_end, when every stream was left */

/*
 * As mux_open; never waits. The first write, be it of nothing, tells the client; a write may wait for the hold. What is written after the client has
 * closed the connection is taken, and dropped. FIN, and leaving, close it in both directions as far as the client
 * knows; what it still sends is delivered until the stream is left.
 */
struct stream *wsraw_open(struct wsraw *, struct link *, uint64_t *tally);

/* In the reader. */
void wsraw_data(struct wsraw *, const char *id, const uint8_t *p, size_t len);
void wsraw_close(struct wsraw *, const char *id);	/* by the client */
void wsraw_cut(struct wsraw *, const char *id);	/* something of what came for it is lost */
int wsraw_is(struct wsraw *, const char *id);	/* there is such a connection, */
int wsraw_known(struct wsraw *, const char *id);	/* or was lately */
void wsraw_rest(struct wsraw *);		/* the reader is about to sleep, or to read: how fast? */
void wsraw_end(struct wsraw *);		/* the session is over, every stream is reset */

void wsraw_hurry(struct wsraw *);	/* the link is wanted for a request: read on */
void wsraw_lock(struct wsraw *);	/* hold what guards the tallies: for a copy of one */
void wsraw_unlock(struct wsraw *);

#endif
