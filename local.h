/*
 * local.h: the client's side of an exchange: streams to local services, over
 * connections that are kept alive.
 */
#ifndef LOCAL_H
#define LOCAL_H

#include <stdint.h>

#include "mux.h"
#include "net.h"
#include "tlsconn.h"
#include "tunnel.h"
#include "workers.h"

struct local;

struct local_target {
	char host[NET_HOST_MAX];	/* or the path of a unix socket */
	char port[6];			/* "": unix socket */
	int tls;
	int raw;			/* with tls: no HTTP is in it */
};

struct local_service {		/* what a tunnel leads to */
	struct local_target target;
	char host_header[NET_HOST_MAX + 8];	/* Host for the service; "": the caller's stays */
	struct tls_client *tls;		/* for a target with TLS; freed with the local */
	int rewrite;			/* URLs in responses are made the caller's: reverse.h */
	int tcp;			/* plain connections, and no HTTP: of the above only target and its tls count */
	int proxy_protocol;		/* with tcp: see tunnel.h */
	int64_t timeout_ms;		/* for an exchange, from its request to the end of the response; 0: none */
	void (*accept)(void *arg, int tunnel, int fd, const char *peer);	/* NULL: target it is; else the program itself, which gets one end of a socketpair(2) */
	void *arg;
};

struct local_conf {
	const struct local_service *service;	/* copied; service[i] is for listen id i + 1 */
	int n;
	int max;		/* of local_add, too */
	size_t stack;
	void (*request)(void *arg, const struct tunnel_request *);	/* may be NULL */
	void *arg;
};

/* "3000", "host:port", "http://host[:port]", "https://host[:port]", "tls://host:port", "unix:/path". 0, or -1 and *why, a constant string. */
int local_parse(struct local_target *, const char *text, const char **why);

struct local *local_new(const struct local_conf *);	/* NULL: no memory; then the tls are still the caller's */
void local_add(struct local *, const struct local_service *);	/* the next listen id's, of which there are at most max. Any thread */

/*
 * In a session's reader: take a new stream; its preface says whose it is. 1 if it is taken (its reference too).
 * At most so many exchanges run at a time that no thread is made that the system cannot give: then the stream is reset.
 */
int local_accept(struct local *, struct stream *);

/*
 * The same for a session with one tunnel, whose streams have no preface: s->mtx is held, and s->ops are ours from now on. 0, or -1: no memory
 * or descriptor, and the stream is as it was.
 */
int local_begin_locked(struct local *, struct stream *);

struct local_raw {		/* a session's, whose streams have no preface; on a thread of the local's, no lock held */
	void (*reached)(void *arg, struct stream *, const char *why);	/* the target; or not, and why, in a word: the stream will be reset */
	void (*left)(void *arg);	/* the stream has been given back */
};

/*
 * A caller of the TCP tunnel i, whose stream is s: its reference is the local's from now on. 0; or -1: no memory, descriptor or thread, and
 * it is the caller's still. s->mtx must not be held.
 */
int local_begin_raw(struct local *, int i, struct stream *s, const struct local_raw *, void *arg);

/* When no session is left: wait for the running exchanges (their streams are reset), at most ms. Frees it if all ended: 1. */
int local_end(struct local *, int ms);

#endif
