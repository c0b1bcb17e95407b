/*
 * daemon.h: what the parts of tunneld share.
 */
#ifndef DAEMON_H
#define DAEMON_H

#include <pthread.h>
#include <stdint.h>

#include "auth.h"
#include "cidr.h"
#include "mux.h"
#include "pending.h"
#include "registry.h"
#include "workers.h"

enum { TRUST_MAX = 64 };

struct daemon_conf {		/* times in milliseconds, sizes in bytes */
	char domain[NAME_LEN_MAX + 1];	/* "": none */
	char url[256];			/* base URL for clients, "": from their endpoint */
	long head_ms, idle_ms, timeout_ms, half_close_ms, keep_alive_ms, stall_ms;
	long grace_ms, drain_ms, ping_ms;
	long slots, queue, streams, callers, sessions;
	long window, buffer;
	struct cidr trust[TRUST_MAX];
	int ntrust;
};

struct daemon {
	struct daemon_conf conf;	/* constant once threads run */
	struct registry *registry;
	struct pending *pending;
	struct auth *auth;
	struct workers *workers;
	struct budget budget;
	char boot[9];			/* first half of request ids: random hex */

	pthread_mutex_t mtx;		/* guards what follows */
	int draining;
	int ncallers;
	uint32_t requests;
};

int daemon_draining(struct daemon *);
void daemon_request_id(struct daemon *, char id[17]);

#endif
