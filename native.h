/*
 * native.h: the native dialect, tunnel-protocol(7), on the daemon's side.
 */
#ifndef NATIVE_H
#define NATIVE_H

struct caller;
struct session;

/*
 * An upgrade of /_tunnel[/NAME] in c->head: judge it, answer it. A session with a reference, and the
 * connection is its; or NULL: the answer, an error, has gone out.
 */
struct session *native_accept(struct caller *c);

#endif
