/*
 * agent.h: what client.c (options, start and end) and agent.c (sessions) share.
 */
#ifndef AGENT_H
#define AGENT_H

#include <pthread.h>

#include "local.h"
#include "mux.h"
#include "net.h"
#include "proxy.h"
#include "tunnel.h"
#include "wake.h"

enum {
	LANES_MAX = 64,
	STACK_DEFAULT = 256 * 1024,	/* getaddrinfo(3) of some systems wants much */
	DIAL_MS = 10000,
	SHAKE_MS = 10000,
	PING_MS = 30000,	/* until the daemon has said its own */
	MESSAGE_MAX = 1 << 20,
	STREAMS_MAX = 4096,
	SETTLED_MS = 5000,	/* a session that lasted so long starts the back-off anew */
	LEAVE_MS = 60000,	/* for the running exchanges of a session that is leaving */
	LOOK_MS = 100,		/* how often it is looked whether they are done */
	TICK_MS = 1000,		/* how often the client looks after its lanes */
	END_MS = 3000,		/* for running exchanges when all is over */
	NODES = 64,
	URL_MAX = 700, TOKEN_MAX = 8192, NAME_MAX_ = 254,
	WINDOW_MAX = 8 << 20, BUFFER_MAX = 32 << 20
};

struct endpoint {
	char host[NET_HOST_MAX], port[6];
	int tls;
	char authority[NET_HOST_MAX + 8];	/* for Host */
	char url[NET_HOST_MAX + 16];		/* for hello */
};

struct lane;

struct session {		/* one connection of a lane */
	struct lane *lane;
	struct mux *mux;
	int64_t began;		/* clock_ms */
	int ready;		/* [c] its listen was answered */
	int drained;		/* [c] a successor has been started */
	int64_t leaving;	/* [c] clock_ms when it was to get no more streams; 0: it may */
	int listed;		/* [c] */
	struct session *next;	/* [c] all that run, so that close finds them */
};

struct lane {			/* one of --connections */
	struct tunnel_client *c;
	char instance[17];	/* hex; the daemon replaces the lane's lost session by its next */
	int attempts;		/* [c] since it last worked */
	int served;		/* [c] it has been ready before */
};

struct tunnel_client {
	struct tunnel_events events;
	void *arg;
	struct endpoint endpoint;
	struct proxy proxy;	/* host "": none */
	struct tls_client *tls;	/* for an endpoint with TLS */
	char *token;
	char name[NAME_MAX_];	/* "": the daemon chooses */
	char target[NET_HOST_MAX + 16];	/* as shown */
	int share, nlanes;
	size_t stack;
	struct local *local;
	struct budget budget;
	struct lane lane[LANES_MAX];

	struct wake wake;	/* readable when it is over: ends a lane's connecting */

	pthread_mutex_t mtx;	/* guards what follows, and what is marked [c] */
	pthread_cond_t change;	/* a thread has ended, or closing */
	int threads, worked;
	char url[URL_MAX];	/* as last told */
	enum tunnel_end end;	/* why it is over */
	int over;
	char why[256];
	struct session *sessions;
};

/* It is over: the first reason counts. gently: the running exchanges may end. */
void agent_finish(struct tunnel_client *, enum tunnel_end, const char *why, int gently);
void agent_look(struct tunnel_client *);	/* close sessions that are leaving and have nothing to do */
int agent_start(struct lane *);	/* a thread that connects, and serves: 0, or -1 with errno */

#endif
