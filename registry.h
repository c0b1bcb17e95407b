/*
 * registry.h: who holds which name: sessions and their tunnels. A TCP port is a name, too: "tcp:9000".
 *
 * Lock order: registry, ports; registry, stream, link, mux; pending is last, alone. Written here and nowhere else.
 * No dialect function is called with the registry's mutex held.
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include <pthread.h>
#include <stdint.h>

#include "auth.h"
#include "mux.h"
#include "net.h"
#include "pending.h"

enum { INSTANCE_MAX = 64, SESSION_TUNNELS_MAX = 64 };

struct registry;
struct session;
struct holder;

enum { DIALECT_NAME_MAX = 16 };	/* with the NUL */

/* What a dialect can do with its sessions. Any thread; none of these blocks but open and alive. */
struct dialect {
	const char *name;	/* another daemon is told it, too */
	int whole;		/* its streams are messages (message.h): limits, no upgrades, and 100 (Continue) is ours to say */
	/* A stream to the tunnel; see mux_open. */
	struct stream *(*open)(struct session *, uint64_t *tally, int64_t deadline);
	/* End the session: with a close code and a reason, or (code 0) at once. */
	void (*end)(struct session *, int code, const char *reason);
	/* Copy the counters given to open; the registry's mutex is held here, as an exception. */
	void (*tally)(struct session *, const uint64_t from[2], uint64_t to[2]);
	/* Does its client answer? Waits until deadline. NULL where none has a bearer token: only bifrost asks, of its own credential's. */
	int (*alive)(struct session *, int64_t deadline);
	void (*run)(struct session *);		/* be its reader until it ends; drops the reference */
	void (*free)(struct session *);		/* the last reference is gone: give impl back */
	/* The rest may be NULL. */
	/* What goes in front of the request on a stream; of a port's caller, with where it has come to (else local is NULL). */
	void (*preface)(struct buf *, const struct holder *, const char *peer, const char *local);
	/* The tunnel was taken away: tell the client why. */
	void (*gone)(struct session *, uint32_t listen_id, const char *code);
	void (*drain)(struct session *);	/* ask the client to go to another session; NULL: it cannot be asked to */
	int (*used_up)(struct session *);	/* no more streams to be had: it should be replaced */
	struct stream *(*open_raw)(struct session *, uint64_t *tally, int64_t deadline);	/* as open, for a port's caller */
	size_t (*content_max)(struct session *);	/* of a request now; else the session's */
	const char *(*words)(int status, const char *why);	/* what a caller is told of an error, as plain text; NULL: as usual */
	int brief;		/* what it has registered ends with the session, which cannot come again */
	int cors;		/* its answers lose their CORS fields, and get ours */
	/* In place of the preface, for streams that begin with a message of their own: once the stream's callbacks are set. 0, or -1: it cannot be had. */
	int (*ask)(struct session *, struct stream *, const struct holder *, const char *peer, const char *local);
	/* An exchange of its tunnels is over: what, as access_seen composes it ("GET /"); a port's caller has no status, 0. Any thread; must not block. */
	void (*seen)(struct session *, const char *what, unsigned status, int64_t ms);
};

struct session {		/* made by a dialect; constant but for the members marked [r], the registry's */
	const struct dialect *dialect;
	void *impl;		/* the dialect's own */
	struct identity identity;
	char peer[NET_ADDR_MAX];
	char instance[INSTANCE_MAX + 1];	/* one per client process, or "" */
	int64_t since;		/* clock_ms, CLOCK_WALL */
	int refused;		/* never one of the daemon's sessions: all that is left to do is to close it */
	int counts;		/* as a caller still, until its client has logged in or gone: daemon_leave is left to its run */
	/* of a session in whole messages: */
	size_t content_max;	/* of a request, bytes */
	const char *methods;	/* all that its client knows, as in Allow; NULL: any */
	long timeout_ms;	/* for a response head; 0: the daemon's */
	int64_t grace_ms;	/* so long its names are kept, at least, if any are kept at all */
	int closes_whole;	/* of raw connections: one direction cannot be ended alone */
	int refs;		/* [r] */
	int running;		/* [r] exchanges */
	int draining;		/* [r] was asked to move: ended when it has, and nothing runs */
	int listed, dead;	/* [r] */
	int ntunnels;		/* [r] */
	struct holder *holders;	/* [r] */
	struct session *next;	/* [r] of all sessions */
};

struct tunnel;

struct guard;

struct holder {			/* a session's hold on a name; [r] */
	struct session *session;
	struct tunnel *tunnel;
	struct guard *guard;	/* who its callers are; NULL: anybody. Constant, as are the next two */
	char *url, *path_url;	/* for status; NULL: none */
	uint32_t listen_id;
	int path;		/* reachable as /name/… too */
	int share;
	int running;		/* exchanges */
	uint64_t tally[2];	/* bytes from the client, and to it; guarded by its mux */
	uint64_t requests;
	int64_t since;		/* clock_ms, CLOCK_WALL */
	int refs;		/* the session's and one for each exchange */
	struct holder *next;	/* of this tunnel */
	struct holder *snext;	/* of this session */
};

struct registry_conf {
	int64_t grace_ms;
	int queue;		/* exchanges waiting for one lost tunnel */
	int sessions;		/* at once */
};

struct registry *registry_new(const struct registry_conf *);
void registry_free(struct registry *);	/* when all sessions have ended, and no exchange runs */

/* Sessions. add: 0, or -1 if there are too many; it takes a reference of its own. */
int registry_add(struct registry *, struct session *);
void session_ref(struct registry *, struct session *);
void session_unref(struct registry *, struct session *);
/* The session is over: orderly frees its names at once, else they are kept for the grace period. */
void registry_remove(struct registry *, struct session *, int orderly);

struct lease {			/* what is kept as long as its name is taken: a port's sockets */
	void (*end)(struct lease *);	/* give one reference back; the registry's mutex may be held: it must not block */
};

struct listen {			/* what a session asks for */
	uint32_t id;
	const char *name;
	int path, share;
	struct guard *guard;	/* from malloc; the registry's from then on, whatever comes of it */
	const char *url, *path_url;	/* where callers come to, for status; NULL: not said */
	struct lease *lease;	/* NULL: none; its reference is the registry's from then on if all goes well */
	int any;		/* a name was chosen for it: see registry_again */
};

enum listen_result { LISTEN_OK, LISTEN_IN_USE, LISTEN_LIMIT, LISTEN_NO_MEMORY };
/*
 * Register a name for s. LISTEN_IN_USE: by fills held[64] with "token:4be1c0de since 10:02 UTC".
 * Sessions that lose the name to s are told (gone taken_over), unless they are of the same instance.
 */
enum listen_result registry_listen(struct registry *, struct session *s, const struct listen *, char held[64]);
/* 1 if it was there; its running exchanges go on. */
int registry_unlisten(struct registry *, struct session *, uint32_t listen_id);
/* The name chosen for this listen of an earlier session of the same client process: 1, or 0: there is none. */
int registry_again(struct registry *, const struct session *, uint32_t listen_id, char name[NAME_LEN_MAX + 1]);
enum use_result { USE_NONE, USE_OTHERS, USE_OWN };
/* Who uses the name: nobody; another session, or one that was lost, with *listen_id, whoever's it is; this one, with *listen_id. */
enum use_result registry_use(struct registry *, const struct session *, const char *name, uint32_t *listen_id);
/* If name is of s's own credential: take it from all its holders, who are told, and free it. */
void registry_oust(struct registry *, struct session *s, const char *name);

enum pick_result {
	PICK_OK, PICK_NONE,	/* nobody holds the name */
	PICK_WAIT,		/* lost and in its grace period, still so after the wait */
	PICK_FULL		/* as many wait already as may */
};
/*
 * A holder for one exchange, the one with the fewest running; alone: it is the only one. Waits up to wait_ms while the name is in its grace period; *queued
 * is the caller's, 0 before the first call for an exchange: keep it over PICK_WAIT, and call registry_leave if it gives up after one.
 */
enum pick_result registry_pick(struct registry *, const char *name, int need_path, int64_t wait_ms,
    int *queued, struct holder **, int *alone);
void registry_leave(struct registry *, const char *name, int *queued);
void registry_done(struct registry *, struct holder *);	/* the exchange is over */
struct pending_share *registry_share(struct holder *);	/* the tunnel's in the pending map */
const char *registry_name(const struct holder *);	/* the tunnel's; constant */

struct session *registry_holder(struct registry *, const char *name);	/* one that holds name, with a reference; NULL: nobody */

/* 1 if name is held, or in its grace period. need_path: and reachable by path. */
int registry_has(struct registry *, const char *name, int need_path);

int registry_running(struct registry *);	/* exchanges */
int registry_running_on(struct registry *, const struct session *);	/* of this one */
int registry_sessions(struct registry *);

/* 1 if name's clients speak the dialect of this name, in its grace period too. */
int registry_speaks(struct registry *, const char *name, const char *dialect);

/* The session's credential is no good any more: its tunnels are gone, and so is it. code: why, a word. */
void registry_expel(struct registry *, struct session *, const char *code);
/* Janitor's work: free names whose grace is over, end sessions whose credential is lost. */
void registry_tick(struct registry *, struct auth *);
void registry_drain(struct registry *);		/* ask all sessions to move */
void registry_end(struct registry *, int code, const char *reason);	/* end all */

/*
 * For a takeover. Keep a name for its credential for ms, as if its session had just been lost. 1 if the name was not there; then
 * the lease's reference is the registry's.
 */
struct hold {
	const char *name, *who;
	const char *dialect;	/* its client speaks; "": not known */
	int path;
	int moving;		/* it has been told to come, and as many exchanges may wait for it as there are callers */
	int64_t ms;
	struct lease *lease;	/* as in struct listen, as are the next three */
	int any;
	const char *instance;	/* of its session */
	uint32_t listen_id;
};
int registry_hold(struct registry *, const struct hold *);
/* End sessions whose dialect cannot drain, each as soon as nothing runs, so that their clients come again. */
void registry_part(struct registry *);

enum { REGISTRY_URL_MAX = 400 };

/* Walk all tunnels for status, a copy at a time. */
struct tunnel_status {
	char name[NAME_LEN_MAX + 1];
	char who[sizeof(((struct identity *)0)->who)];
	char dialect[DIALECT_NAME_MAX];
	char peer[NET_ADDR_MAX];
	int64_t since;		/* of the holder, ms; of the loss in grace */
	char url[REGISTRY_URL_MAX], path_url[REGISTRY_URL_MAX];	/* "": not known, or not by path */
	int running, path, lost, guarded, whole, brief;
	int any;		/* the next two tell whose listen it was chosen for */
	char instance[INSTANCE_MAX + 1];
	uint32_t listen_id;
	int64_t left;		/* of the grace period, ms, when lost */
	uint64_t in, out, requests;	/* bytes from callers to the client, and back */
};
/* How many there are; the first max of them in *out. */
size_t registry_status(struct registry *, struct tunnel_status *out, size_t max);

#endif
