/*
 * daemon.h: what the parts of tunneld share.
 */
#ifndef DAEMON_H
#define DAEMON_H

#include <pthread.h>
#include <stdint.h>

#include "auth.h"
#include "cidr.h"
#include "limit.h"
#include "mux.h"
#include "pending.h"
#include "registry.h"
#include "tlsconn.h"
#include "workers.h"

enum { TRUST_MAX = 64 };

struct daemon_conf {		/* times in milliseconds, sizes in bytes */
	char domain[NAME_LEN_MAX + 1];	/* "": none */
	char url[256];			/* base URL for clients, "": from their endpoint */
	long head_ms, idle_ms, timeout_ms, half_close_ms, keep_alive_ms, stall_ms;
	long grace_ms, drain_ms, ping_ms;
	long slots, queue, streams, callers, sessions;
	long window, buffer;
	long bodies;
	long handshakes;	/* under way, of one address */
	struct tls_files cert[TLS_PAIRS_MAX];	/* for listeners that speak TLS */
	int ncerts;
	int redirect;		/* plain HTTP is answered with 308 */
	struct cidr trust[TRUST_MAX];
	int ntrust;
};

struct daemon_listener {
	int fd;
	int tls;		/* it speaks TLS, and plain HTTP if 0 */
};

struct daemon {
	struct daemon_conf conf;	/* constant once threads run */
	struct registry *registry;
	struct pending *pending;
	struct auth *auth;
	struct workers *workers;
	struct budget budget;		/* of windows */
	struct budget bodies;		/* of requests and answers that are gathered */
	struct limit *handshakes;
	const struct sink *access;	/* the access log; NULL: none */
	char boot[9];			/* first half of request ids: random hex */
	char addr[NET_ADDR_MAX];	/* of the first listener that speaks TLS, or the first */
	int addr_tls;
	char https_port[6];		/* where plain HTTP is redirected to, "" if nowhere */

	void (*stop)(void);		/* the control socket was asked to stop the daemon */
	void (*drained)(void);		/* daemon_drain has come to its end; does not return */

	pthread_mutex_t mtx;		/* guards what follows */
	int draining;			/* 1: no new connections; 2: nor any more waiting */
	int ncallers;
	struct caller *spare;		/* memory and wakes for the next connections */
	int nspare;
	uint32_t requests;
	struct tls_server *tls;		/* NULL: no certificates */
};

/* Make everything but threads; stop, drained, tls and access are the caller's to set then. dir: the open state folder. 0, or -1 and why. */
int daemon_init(struct daemon *, const struct daemon_conf *, int dir, char *why, size_t whylen);

/* Start the threads: accept on the n listeners (logged as listening) and on the control socket. 0, or -1 with errno. */
int daemon_start(struct daemon *, const struct daemon_listener *, int n, int control);

/* Certificates and keys as they are now, counted for the caller; NULL: none. */
struct tls_server *daemon_tls(struct daemon *);

/* Read the token store again, if it has changed or if force; then the certificates too. */
void daemon_reload(struct daemon *, int force);

/* Begin to drain, on a thread: 0, or -1 with errno. */
int daemon_drain(struct daemon *);

int daemon_draining(struct daemon *);
void daemon_request_id(struct daemon *, char id[17]);

#endif
