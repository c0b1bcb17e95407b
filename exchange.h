/*
 * exchange.h: one HTTP exchange over a stream.
 *
 * The caller's thread sends the request and sleeps in poll(2) on the caller's connection; the session's reader
 * parses the response and writes it to that connection at once. What the
 * connection does not take waits in the pump's queue for the caller's thread. A response that goes
 * out whole within the first sleep wakes nobody: the caller's next request does.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include "http.h"
#include "pump.h"
#include "registry.h"

struct caller;
struct ending;
struct exchange;

struct exchange_to {		/* where a request goes; constant while the exchange runs */
	const char *name;	/* the tunnel's */
	struct str prefix;	/* the path's first bytes to strip ("/name"), or empty */
	int waits;		/* the exchange may go on without this thread: all this must outlive the call, but for prefix */
	/* The rest is for the CONNECT proxy (connect.h), and 0 otherwise. */
	const char *proxy;	/* as whom it passes the request on: rewrite.h. To a TCP port's tunnel, whose service gets HTTP as it stands */
	int connect;		/* bytes both ways, once a 200 has been said: there is no more HTTP */
	const char *who;	/* whose tunnel it is: the same name may be another's by now */
	struct str set;		/* fields: rewrite.h */
	struct stream *(*open)(struct exchange *, struct ending *);	/* in place of a tunnel: a stream of direct.h; or NULL, and why */
	void *arg;		/* for open */
};

enum response {
	RES_HEAD,		/* no final head yet */
	RES_BODY,
	RES_RAW,		/* after a 101 */
	RES_DONE,		/* all of it has come */
	RES_BAD,		/* ended, or was nonsense, before a final head */
	RES_CUT			/* ended inside the body */
};

enum { CORS_MAX = 640 };	/* bytes, see webgate_cors */

struct exchange {		/* [s] guarded by the stream's mutex, else the caller thread's */
	struct caller *c;
	const struct exchange_to *to;
	struct holder *holder;	/* NULL: none yet, or it goes to no tunnel */
	int whole;		/* as a message: its session's dialect has no other */
	struct stream *s;
	uint32_t slot;		/* [s] in the pending map; 0: given back */
	struct pump pump;
	struct http_body req;	/* the request's content */
	char req_trailers[HTTP_TRAILERS_MAX];
	int is_head, upgrade, keep;	/* what was asked for; constant while the stream lives */
	int expect;		/* waits for 100 (Continue) */
	char cors[CORS_MAX];	/* fields that the answer gets; constant while the stream lives */
	int64_t forwarded;	/* clock_ms when the last of the request went out */
	int64_t read;		/* clock_ms when content last came from the caller */
	int64_t eof;		/* clock_ms when the caller ended its direction; 0: it has not */
	int watch;		/* look for the caller leaving; off when it has sent too much ahead */
	int gone;		/* the caller's connection is broken */
	int asleep;		/* it was, and the reader does not know yet that it is back */
	int alone;		/* nobody else holds the name: who has the fewest running is not asked */
	int slept;		/* for the response, once already */
	int raw;		/* upgraded, and known to be */
	char told[128];		/* what an error says */
	char seen[ACCESS_SEEN_MAX];	/* the request, for the tunnel's client; "": it does not want to know */
	int64_t began;		/* clock_ms */
	struct addr addr;	/* whom it is counted for, if counted: --exchanges-per-ip */
	int counted;

	enum response res;	/* [s] */
	int req_done;		/* [s] the whole request has come from the caller */
	int closing;		/* [s] the head said Connection: close */
	int fin;		/* [s] the client has ended the stream */
	int opened;		/* [s] the window has opened again; with CONNECT: for the first time, for the target is connected */
	int reset;		/* [s] or reset it, or the session has ended */
	int nothing;		/* [s] not a byte came before that */
	int continued;		/* [s] a 100 has gone to the caller */
	int lazy;		/* [s] the owner sleeps, and need not be woken if the response goes out whole */
	int finned;		/* [s] so it did, and the reader has ended the stream */
	const char *why;	/* [s] for the log, with RES_BAD and RES_CUT */
	int64_t heard;		/* [s] clock_ms when response bytes last came */
	int status;		/* [s] */
	uint64_t heads;		/* [s] bytes of response heads that were passed on */
	struct http_head head;	/* [s] of the response */
	struct http_body body;	/* [s] */
	char *partial;		/* [s] a head that comes in pieces; NULL: none */
	size_t npartial;
	char request[HTTP_HEAD_MAX + 4096];	/* preface and head as they go out */
	char text[HTTP_HEAD_MAX + 4096];	/* [s] the response's head as it goes out */
	char trailers[HTTP_TRAILERS_MAX];	/* [s] */
};

extern const struct stream_ops response_ops;	/* the reader's half: response.c; its arg is the exchange */
void response_connected_locked(struct exchange *);	/* CONNECT's target is: 200 goes out, then bytes */

/*
 * Pass the request in c->head on. 0: the answer has gone out, be it an error; c->close says whether the
 * connection may be used again. 1: c is the watch's now, which goes on with it.
 */
int exchange_run(struct caller *c, const struct exchange_to *);
int exchange_go_on(struct caller *c);	/* by the watch: the same for an exchange that has begun */
void exchange_later(struct caller *c);	/* by the watch: what was written, and others' with it, goes out */

#endif
