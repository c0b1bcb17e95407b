/*
 * request.h: an exchange's request on its way to the stream. The caller thread's; shared by exchange.c and request.c.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include "caller.h"

enum verdict {			/* how an exchange ended */
	V_GO_ON,
	V_WAIT,			/* the watch calls when there is more */
	V_DONE,			/* the response is out */
	V_ERROR,		/* answer with status */
	V_LEFT,			/* the caller has gone, or is of no use any more */
	V_CUT			/* the response is cut short: close, so that the caller sees it */
};

struct ending {
	enum verdict v;
	int status;		/* with V_ERROR */
	const char *text;	/* for people */
	const char *why;	/* for the log; NULL: nothing to log */
};

static inline struct ending
ending(enum verdict v, int status, const char *text, const char *why)
{
	struct ending e;

	e.v = v;
	e.status = status;
	e.text = text;
	e.why = why;
	return e;
}

/* A read has failed: it is the end of an upgraded connection over TLS, whose bytes know their own end, without close_notify. */
int request_raw_end(const struct exchange *);

int64_t request_patience_ms(const struct exchange *);	/* how long a response head may take */

/* The content is, or will be, more than a whole message can hold. */
size_t request_content_max(const struct exchange *);	/* bytes, of a client that takes it whole */
struct ending request_too_large(struct exchange *);
/* Its stream was reset before a byte came. */
struct ending request_refused(const struct exchange *);

/* Of a TCP port's caller, the address it has come to, in text; NULL for others. */
const char *request_local(const struct exchange *, char text[NET_ADDR_MAX]);

/* A slot in the pending map, waiting a while for one; and back. */
struct ending request_take_slot(struct exchange *);
void request_give_slot(struct exchange *);

/* Compose preface and head, and send them with what has come of the content. */
struct ending request_send(struct exchange *);

/* Read more of the caller's bytes into c->in. 1: some came, 0: none now, -1: end or error (eof is set at the end). */
int request_more(struct exchange *);

int request_out(const struct exchange *);	/* all that the caller has to say is in the stream */

/* Move the request's content on. *stuck: the stream's window is shut, or the stream is gone, which will show in res. */
struct ending request_push(struct exchange *, int *stuck);
void request_push_raw(struct exchange *, int *stuck);	/* after a 101: any bytes */

/* It is over, whatever it was: 0; but for V_WAIT: then it may be another thread's already, and 1. */
int exchange_end(struct exchange *, struct ending);

#endif
