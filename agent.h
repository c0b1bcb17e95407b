/*
 * agent.h: what the client's files share: client.c (options, start and end), agent.c (lanes: connections that are kept up),
 * reach.c (from nothing to a WebSocket) and a file for what a session speaks: agentnative.c, agentmsg.c, agentvtunnel.c.
 */
#ifndef AGENT_H
#define AGENT_H

#include <pthread.h>

#include "buf.h"
#include "http.h"
#include "local.h"
#include "net.h"
#include "proxy.h"
#include "sha256.h"
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
	NODES = 64, WHY_MAX = 512,
	URL_MAX = 1500, PATH_MAX_ = 256, ID_MAX = 800, TOKEN_MAX = 8192, NAME_MAX_ = 254,
	WINDOW_MAX = 8 << 20, BUFFER_MAX = 32 << 20
};

struct endpoint {
	char host[NET_HOST_MAX], port[6];
	int tls;
	char authority[NET_HOST_MAX + 8];	/* for Host */
	char url[NET_HOST_MAX + 16];		/* for hello */
	char path[PATH_MAX_];	/* in front of the dialect's own: "", "/a"; never in the native one */
};

struct lane;

/* What a session has made of a tunnel. */
enum listen_state { LISTEN_ASKED, LISTEN_READY, LISTEN_NOT_NOW };

struct session {		/* one connection of a lane */
	struct lane *lane;
	void *impl;		/* the dialect's: a mux or a msgclient */
	int64_t began;		/* clock_ms */
	int asked;		/* [c] how many tunnels it has sent listens for */
	int greeted;		/* [c] hello has been said: it may be asked for tunnels */
	int asking;		/* [c] some thread does so, and the session stays meanwhile */
	int full;		/* [c] there was no room for it: when answers come, it goes on */
	char state[TUNNEL_MAX];	/* [c] enum listen_state */
	int ready;		/* [c] a listen was answered by ready */
	int to_move;		/* [c] the daemon wants it to be replaced */
	int drained;		/* [c] a successor has been started */
	int64_t leaving;	/* [c] clock_ms when it was to get no more streams; 0: it may */
	int listed;		/* [c] */
	int renew;		/* should it break, the next one is to be replaced, too: see lane.renew_at */
	struct session *next;	/* [c] all that run, so that close finds them */
};

struct lane {			/* one of --connections */
	struct tunnel_client *c;
	char instance[17];	/* hex; the daemon replaces the lane's lost session by its next */
	int attempts;		/* [c] since it last worked */
	int in_use;		/* bifrost: how often the name was in use since */
	int64_t renew_at;	/* [c] clock_ms when its session is to be replaced by another; 0: never */
	char served[TUNNEL_MAX];	/* [c] this tunnel has been ready before */
};

struct tunnel {			/* its listen id is its number plus 1 */
	char name[NAME_MAX_];	/* "": the daemon chooses; with tcp: a domain, or "" */
	int tcp, port, public;	/* as in tunnel.h; a domain's port: [c] the server's own for it, as last told, or 0 */
	char target[NET_HOST_MAX + 16];	/* as shown */
	int path;
	char url[URL_MAX];	/* [c] as last told */
	int up;			/* [c] it has been ready */
	int lost;		/* [c] for good */
};

struct shake;

struct agent_dialect {		/* what the lanes need to know of what a session speaks */
	const char *name;	/* as an option */
	const char *server;	/* what is at the endpoint, for people */
	const char *protocol;	/* the subprotocol, NULL: none */
	const char *own_path;	/* what an endpoint's path may end with, though it is the dialect's to add; NULL: an endpoint has no path */
	int tokenless;
	int patient;		/* whatever answers, only a refusal of the token is final */
	int timeout_ms;		/* for an answer of the local service, if nothing else is said; 0: none */
	size_t memory;		/* for what all sessions hold, bytes */
	/* The options, once all dialects' part of them has been taken: 0; or -1 and *why: what is wrong, or the dialect does not have. */
	int (*take)(struct tunnel_client *, const struct tunnel_options *, const char **why);
	/* The opening handshake's request-target and fields of its own, with their CRLF. */
	void (*request)(struct lane *, struct shake *, struct buf *target, struct buf *fields);
	/* What an answer but 101 means: 1: try again, why says what it was ("": that has been told); 0: it is over. */
	int (*refused)(struct lane *, const struct shake *, char *why, size_t whylen);
	/* After the 101: take the connection over, set s->impl. 0, or -1: no memory or descriptors. */
	int (*open)(struct session *, struct shake *);
	void (*begin)(struct session *);	/* before its reader runs */
	/* Its reader has ended with code, and why is what will be told: has it said that it makes no sense to come again? */
	void (*ended)(struct session *, int code, char *why, size_t whylen);
	/* Of s->impl, which may outlive s. */
	struct link *(*link)(void *impl);
	void (*ref)(void *impl);
	void (*unref)(void *impl);
	int (*running)(void *impl);	/* exchanges */
	void (*bye)(void *impl);	/* end it in order; never blocks */
	void (*end)(void *impl);	/* link_run has returned */
	/* Those that follow may be NULL. */
	void (*give_up)(void *impl, int i);	/* tunnel i, which is lost, and which this session has; never blocks */
	void (*watch)(void *impl);	/* every TICK_MS or so, after begin */
	void (*more)(struct session *);	/* any thread, which has set s->asking: ask for the tunnels that are new, and clear it. NULL: all tunnels are there from the start */
};

extern const struct agent_dialect agent_native, agent_pipegate, agent_bifrost, agent_vtunnel;

struct agent_keys {		/* vtunnel's */
	int has_seed, has_pin;
	uint8_t seed[32];	/* ours, of Ed25519 */
	uint8_t pin[SHA256_LEN];	/* SHA-256 of the host key's blob */
};

struct tunnel_client {
	const struct agent_dialect *dialect;
	char id[ID_MAX];	/* PipeGate: the token's sub, as a URL has it */
	char prefix[PATH_MAX_ + ID_MAX];	/* and what callers' paths begin with: "/id" */
	struct tunnel_events events;
	void *arg;
	struct endpoint endpoint;
	struct proxy proxy;	/* host "": none */
	struct tls_client *tls;	/* for an endpoint with TLS */
	char *token;		/* "": none */
	struct agent_keys keys;
	struct tunnel *tunnel;	/* [TUNNEL_MAX], constant up to ntunnels but for their [c] */
	int share, nlanes;
	int has_auth;		/* callers need a password, which those of a TCP tunnel do not have */
	char *ca;		/* for targets; NULL: the system's */
	char *fields;		/* of each opening handshake, with their CRLF; NULL: none */
	long ping_ms;		/* 0: as the dialect and the daemon have it; below: none */
	long retry_min_ms, retry_max_ms;
	long timeout_ms;	/* as in tunnel.h */
	struct log *log;	/* of its threads; NULL: none */
	char *guard;		/* of each listen: ',"auth":[...],"allow":[...]'; NULL: callers need nothing */
	size_t stack;
	struct local *local;
	struct budget budget;
	struct lane lane[LANES_MAX];

	struct wake wake;	/* readable when it is over: ends a lane's connecting */

	pthread_mutex_t mtx;	/* guards what follows, and what is marked [c] */
	pthread_cond_t change;	/* a thread has ended, or closing */
	int ntunnels;
	int started;		/* lanes and keeper have been */
	int kept;		/* the keeper runs, which looks after the lanes until all have ended */
	int connected;		/* a session has begun */
	char trouble[WHY_MAX];	/* why none has, as last told */
	int threads;		/* of lanes */
	int worked;		/* a tunnel has been ready */
	int advised;		/* what to do about the first failure has been told */
	int taken;		/* a tunnel was taken over: its exchanges may end */
	enum tunnel_end end;	/* why it is over */
	int over;
	char why[WHY_MAX];
	struct session *sessions;
};

/* A client with nothing in it, and its endpoint, token, proxy and trust: 0, or -1 and why. */
struct tunnel_client *client_alloc(void);
int client_place(struct tunnel_client *, const struct tunnel_options *, char *why, size_t whylen);
void client_free(struct tunnel_client *);
/* All of it, by its options; lc[TUNNEL_MAX] gets what the tunnels lead to, whose tls are the caller's if it fails: 0, or -1 and why. */
int client_make(struct tunnel_client *, const struct tunnel_options *, struct local_service *lc, char *why, size_t whylen);
/* One tunnel, and what it leads to, likewise: 0, or -1 and why. */
int client_tunnel(const struct tunnel_client *, const struct tunnel_spec *, struct tunnel *, struct local_service *, char *why, size_t whylen);
int client_fits_locked(const struct tunnel_client *, const struct tunnel *, const char *target, char *why, size_t whylen);	/* beside the others, target being the program's word: likewise */

/* It is over: the first reason counts. gently: the running exchanges may end. */
void agent_finish(struct tunnel_client *, enum tunnel_end, const char *why, int gently);
void agent_look(struct tunnel_client *);	/* close sessions that are leaving and have nothing to do; watch the others */
int agent_start(struct lane *);	/* a thread that connects, and serves: 0, or -1 with errno */
/* Tunnel i is refused or taken away for good, told in session s (NULL: none). Over, with end, if it was the last one. */
void agent_lost(struct tunnel_client *, struct session *s, int i, enum tunnel_end, const char *code, const char *message);
void agent_more(struct tunnel_client *);	/* there is a new tunnel: all sessions ask for it */
void agent_up(struct session *, int i, const char *url, const char *path_url, int again, int news);	/* tunnel i is ready: tell it, if it is news or again */
int agent_tunnels(struct tunnel_client *);	/* how many there are */
int agent_first(struct tunnel_client *);	/* the first tunnel that is not lost, or -1 */
int agent_first_locked(const struct tunnel_client *);
void agent_tell(struct tunnel_client *, const char *what, int64_t retry_ms);	/* as tunnel.h's connection */

struct shake {			/* an opening handshake under way */
	struct conn conn;
	char buf[HTTP_HEAD_MAX];
	size_t len, taken;	/* buf[taken..len) is of the session already */
	struct http_head head;
	int tunnel;		/* whose name the request-target has, or -1 */
};

/* Header fields of the program's for each opening handshake, into c->fields. 0, or -1 and why, which quotes no value. */
int reach_fields(struct tunnel_client *, const struct tunnel_options *, char *why, size_t whylen);
/* A connection after its opening handshake: 1; 0: try again; -1: it is over. why says what was wrong. */
int reach(struct lane *, struct shake *, char *why, size_t whylen);
int reach_refused(struct lane *, const struct shake *, char *why, size_t whylen);	/* the native dialect's */
/* A status that the dialect's server does not give to what we have sent. Over, unless it once worked: 0. 1: try again. */
int reach_strange(struct tunnel_client *, const struct shake *, char *why, size_t whylen);
/* What is there is not what we look for, or will not have us: over, with why, unless it once was, or the dialect waits: 0. 1: try again. */
int reach_hopeless(struct tunnel_client *, enum tunnel_end, const char *why);
int reach_connect(struct tunnel_client *, struct conn *, char *why, size_t whylen);	/* the same, without the handshake */
int reach_answer(struct shake *, int wakefd, const char **why);	/* read the answer's head: 0, or -1 */
void reach_reason(struct shake *, int wakefd);	/* and some of its content */

#endif
