/*
 * native.h: the native dialect, tunnel-protocol(7), on the daemon's side.
 */
#ifndef NATIVE_H
#define NATIVE_H

#include <stddef.h>

struct caller;
struct conn;
struct daemon;
struct identity;
struct session;

/*
 * An upgrade of /_tunnel[/NAME] in c->head: judge it, answer it. A session with a reference, and the
 * connection is its; or NULL: the answer, an error, has gone out.
 */
struct session *native_accept(struct caller *c);

/* The same once somebody else has done the opening handshake, of which early was read beyond. NULL: no memory or descriptors, and the connection is the caller's still. */
struct session *native_adopt(struct daemon *, const struct conn *, const struct identity *, const char *peer, const void *early, size_t nearly);

#endif
