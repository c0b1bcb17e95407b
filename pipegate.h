/*
 * pipegate.h: the PipeGate dialect on the daemon's side: clients that serve an id, the first segment of callers' paths,
 * and take each request as a JSON message.
 *
 * An id is a name that no Host can be, and no scope holds: in the registry it is called "/id".
 */
#ifndef PIPEGATE_H
#define PIPEGATE_H

struct caller;
struct http_head;
struct session;

enum pipegate_verdict {
	PIPEGATE_NO,
	PIPEGATE_MAYBE,		/* an upgrade of "/": its, if nobody else would have it */
	PIPEGATE_YES		/* and "token" in its query has the shape of a compact JWS */
};

/* Is it one of its handshakes? One that offers a subprotocol is none. */
enum pipegate_verdict pipegate_is(const struct http_head *h);

/* Such an upgrade, in c->head: as native_accept (native.h). */
struct session *pipegate_accept(struct caller *c);

#endif
