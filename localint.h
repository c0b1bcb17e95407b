/*
 * localint.h: what local.c (the reader's side, and what is kept) and serve.c
 * (the worker's) share.
 */
#ifndef LOCALINT_H
#define LOCALINT_H

#include "local.h"
#include "pump.h"

enum {
	WORKERS_MAX = 4096,
	IDLE_MAX = 64,		/* connections kept, and jobs kept for reuse */
	IDLE_MS = 4000,		/* below what common servers allow, so that they rarely close first */
	FRESH_MS = 1000,	/* a request that must not be repeated takes none older */
	DIAL_MS = 10000,
	WRITE_MS = 30000,
	PREFACE_MAX = 4096,
	IN_SIZE = HTTP_HEAD_MAX,
	EARLY_MS = 30000	/* for the rest of a request that has been answered */
};

enum state {
	ST_PREFACE, ST_HEAD,	/* the reader gathers them */
	ST_BODY,		/* content, or what comes after it: a worker has the job */
	ST_RAW			/* after a 101 */
};

struct job {			/* one exchange; [s] guarded by the stream's mutex, else the worker's */
	struct local *l;
	struct job *next;	/* in the pool */
	struct stream *s;
	struct conn conn;	/* to the local service */
	struct wake wake;
	struct pump pump;
	int64_t began;
	enum state state;	/* [s] */
	int reset;		/* [s] */
	int fin;		/* [s] the daemon ended its direction */
	int opened;		/* [s] the window has opened again */
	char *partial;		/* [s] preface and head in pieces; NULL: none */
	size_t npartial;	/* [s] */
	struct http_head head;	/* the reader's for the request, then the worker's for the response */
	struct http_body req;	/* [s] */
	char *request;		/* the head as it goes to the service; set before the worker starts */
	size_t nrequest;
	char method[32], target[256];	/* for the log, cut */
	int is_head, upgrade, idempotent;
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
	int keep;		/* the connection may be used again */
	const char *error;
};

struct idle {
	struct conn conn;
	int64_t since;
};

struct local {
	struct local_conf conf;
	struct workers *workers;
	pthread_mutex_t mtx;	/* guards what follows */
	struct idle idle[IDLE_MAX];
	int nidle;
	struct job *jobs;	/* for reuse: their wake descriptors and memory */
	int njobs;
};

int local_pool_get(struct local *, struct conn *, int64_t max_age);	/* 1: an idle connection, sound as far as one can see */
void local_pool_put(struct local *, struct conn *);
void local_job_put(struct job *);
void local_serve(void *job);	/* on a worker's thread, from the whole request head on */

#endif
