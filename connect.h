/*
 * connect.h: the CONNECT proxy: an HTTP proxy that the caller has chosen, on listeners of its own. Domains that clients have
 * registered (proxymap.h) lead to their tunnels, all else where rules allow it.
 */
#ifndef CONNECT_H
#define CONNECT_H

struct caller;

/* A request to the proxy, in c->head. On return it was answered, or the connection was used up and c->close says so. */
void connect_serve(struct caller *);

#endif
