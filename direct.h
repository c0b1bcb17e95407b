/*
 * direct.h: a TCP connection that we have made, as a stream (stream.h), with no other thread than its user's: who waits for its
 * own connection waits for this one too, and lets it move. So its callbacks run where direct_move was called.
 */
#ifndef DIRECT_H
#define DIRECT_H

#include "conn.h"
#include "stream.h"

/* fd is the stream's; both end with stream_leave. NULL: no memory, and fd is still the caller's. */
struct stream *direct_new(int fd);

struct conn *direct_conn(struct stream *);

/* What its connection is to be waited for; 0: nothing. */
int direct_events(const struct stream *);

/* ready: what conn_wait_any has said of it. The stream's mtx must not be held. */
void direct_move(struct stream *, int ready);

#endif
