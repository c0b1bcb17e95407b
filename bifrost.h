/*
 * bifrost.h: the bifrost dialect on the daemon's side: clients that serve one name and take each
 * request as a JSON message.
 */
#ifndef BIFROST_H
#define BIFROST_H

#include "http.h"

struct caller;
struct daemon;
struct session;

int bifrost_is(struct str path);	/* 1 for a path of its handshake: /_bifrost[/NAME] */

int bifrost_holds(struct daemon *, const char *name);	/* 1 if such a client serves this name, or did until its grace period */

/* An upgrade of such a path in c->head: as native_accept (native.h), but credential and name are judged after the 101. */
struct session *bifrost_accept(struct caller *c);

#endif
