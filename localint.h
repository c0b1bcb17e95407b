/*
 * localint.h: what local.c (the kept connections), localin.c (the reader's side) and serve.c (the thread's) share.
 *
 * A job is a connection to the local service. After an exchange it stays parked, watched (watch.h), or where that cannot be
 * with a thread asleep in poll(2) on it. The session's reader that takes the next request to it writes
 * that to the connection at once; the service's answer is what wakes the watch, or the thread.
 */
#ifndef LOCALINT_H
#define LOCALINT_H

#include "json.h"
#include "local.h"
#include "pump.h"
#include "reverse.h"
#include "watch.h"

enum {
	WORKERS_MAX = 4096,
	PARKED_MAX = 256,	/* connections kept, each with its thread; shared out evenly among the services */
	IDLE_MS = 4000,		/* below what common servers allow, so that they rarely close first */
	FRESH_MS = 1000,	/* a request that must not be repeated takes none older */
	DIAL_MS = 10000,
	WRITE_MS = 30000,
	PREFACE_MAX = 4096,
	IN_SIZE = STREAM_PIECE,	/* a head, or a bulk frame of content */
	BACK_MAX = 1024,
	EARLY_MS = 30000	/* for the rest of a request that has been answered */
};

enum state {
	ST_HEAD,		/* the reader gathers it */
	ST_BODY,		/* content, or what comes after it: the thread has begun */
	ST_RAW			/* after a 101 */
};

struct job {			/* [s] guarded by the stream's mutex, [l] by the local's, else the thread's; the reader's before it starts */
	struct local *l;
	struct pool *pool;	/* whose connection it is */
	struct job *next;	/* [l] in the list of the parked */
	struct watched watched;	/* in place of a thread that sleeps, */
	int watches;		/* once it has been parked; constant */
	int threaded;		/* a thread has it: it was parked */
	int parked;		/* [l] in that list */
	int started;		/* [l] an exchange has begun: the thread is to serve it */
	int waiting;		/* [l] the thread waits for that, or to be parked again: wake it */
	int64_t since;		/* clock_ms when it was parked */
	struct stream *s;	/* of the exchange */
	struct conn conn;	/* to the local service */
	struct wake wake;
	struct pump pump;
	int64_t began;
	int64_t until;		/* clock_ms when the exchange's time is over, or CONN_FOREVER */
	enum state state;	/* [s] */
	int reset;		/* [s] */
	int fin;		/* [s] the daemon ended its direction */
	int opened;		/* [s] the window has opened again */
	char *partial;		/* [s] a head in pieces; NULL: none */
	size_t npartial;	/* [s] */
	struct http_head head;	/* the reader's for the request, then the thread's for the response */
	struct http_body req;	/* [s] */
	char request[HTTP_HEAD_MAX + NET_HOST_MAX + 64];	/* the head as it goes to the service */
	size_t nrequest;	/* 0: it is not whole yet; set before the thread starts */
	char method[32], target[256];	/* for the log, cut */
	int is_head, upgrade, idempotent;
	struct reverse back;	/* its parts point into back_text, and to the service's Host */
	char back_text[BACK_MAX];	/* "": responses are not rewritten */
	int reused;		/* the connection has served before */
	char in[IN_SIZE];	/* from the local service: in[at..len) is not used yet */
	size_t at, len;
	struct http_body res;
	char req_trailers[HTTP_TRAILERS_MAX];	/* [s] */
	char trailers[HTTP_TRAILERS_MAX];
	char text[HTTP_HEAD_MAX + 1024];	/* the response's head */
	int status;
	int begun;		/* a response byte has come */
	int headed;		/* the final response head has gone out */
	int raw;		/* after a 101 */
	int eof;		/* the service ended its direction */
	int relaying;		/* relay has begun, and waits: it */
	int more;		/* needs more bytes, */
	int finned;		/* has pushed FIN, */
	int64_t deadline;	/* and goes on until then */
	int keep;		/* the connection may be used again */
	const char *error;
	char detail[TLS_WHY_MAX];	/* for people; "": error says it all */
};

struct pool {			/* a service, and the connections kept to it */
	struct local_service to;
	struct job *parked;	/* [l] the last one put is the first one taken */
	int nparked;		/* [l] */
};

struct local {
	void (*request)(void *arg, const struct tunnel_request *);
	void *arg;
	struct workers *workers;
	struct watch *watch;	/* for jobs that wait; NULL: they keep their threads */
	pthread_mutex_t mtx;	/* guards ending and what is marked [l]; after a stream's, with nothing taken under it */
	int ending;
	int n;			/* [l] */
	struct pool pool[];	/* pool[i] is for listen id i + 1 */
};

/*
 * In the reader, s->mtx held: a caller of a TCP tunnel, whose preface j, of len bytes in all, has come. Its callbacks are s's from now
 * on. 0; or -1: no memory, descriptor or thread, and s is as it was.
 */
int rawlocal_begin_locked(struct local *, struct pool *, struct stream *s, const struct json *j, size_t len);

/* A connection to the service, without TLS, by deadline, for a caller, "" if it is for many. -1 with *error, a word. */
int local_dial(const struct local *, const struct pool *, const char *peer, int64_t deadline, const char **error);

/* The local's mutex held: into the list of the parked, and out of it. */
void local_park_locked(struct job *);
void local_unpark_locked(struct job *);
void local_rouse_locked(struct job *);	/* end the sleep of a job that is parked, or taken and not started */

/* On the job's thread, after an exchange: 1 when the next has begun, 0: the connection is of no use any more. */
int local_park(struct job *);
/* The same for one that is watched: 1 when it is the watch's, and not this thread's any more. */
int local_leave(struct job *);
void local_called(struct watched *);	/* by the watch: there is something to do */
void local_later(struct watched *);	/* by the watch: end the exchange */

/* A job without a connection, yet to be readied for an exchange. NULL: no memory or descriptor. */
struct job *local_job_new(struct local *, struct pool *);
struct job *local_job(struct watched *);
void local_drop(struct job *);		/* close its connection, and free it */
void local_job_free(struct job *);
void local_serve(void *job);	/* the thread, from the first whole request head on; or the watch's, until there is nothing to do */

#endif
