/*
 * wsproxy.h: wsproxy's /tunnel on the daemon's side: clients, browsers among them, that are given a random name and a raw port. They take each request as a
 * JSON message and raw connections as binary frames.
 *
 * The name is no one that a scope can hold: in the registry it is called "wsproxy:" and its 16 hexadecimal digits. It ends with the session.
 */
#ifndef WSPROXY_H
#define WSPROXY_H

#include "scope.h"

struct caller;
struct daemon;
struct session;

/*
 * A name as Host has it becomes the one in the registry, if it is of 16 hexadecimal digits and nobody else's. 1 if then nobody has it at
 * all: a tunnel that was one of these clients', or never was.
 */
int wsproxy_name(struct daemon *, char name[NAME_LEN_MAX + 1]);

/* A request for /tunnel, behind webgate_enter (webgate.h): as native_accept (native.h). */
struct session *wsproxy_accept(struct caller *c);

#endif
