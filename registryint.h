/*
 * registryint.h: what registry.c (sessions and their hold on names) and names.c (what
 * is told of names, and what is known of them from outside) share. Not for others.
 */
#ifndef REGISTRYINT_H
#define REGISTRYINT_H

#include "registry.h"

enum { CHAINS = 1024 };

struct tunnel {			/* a name that is held or in its grace period */
	char name[NAME_LEN_MAX + 1];
	char who[sizeof(((struct identity *)0)->who)];
	struct lease *lease;	/* NULL: none */
	int any;		/* its name was chosen for the last holder's listen, which these two tell */
	char instance[INSTANCE_MAX + 1];
	uint32_t listen_id;
	struct holder *holders;
	int64_t grace_until;	/* clock_ms, CLOCK_STEADY; with no holder */
	int64_t since;
	int path;
	char dialect[DIALECT_NAME_MAX];	/* of its holders, the last one's after they are lost; "": not known */
	int moving;		/* its client has been told to come: callers alone bound how many wait */
	int waiting;		/* exchanges */
	int refs;		/* the table's, one a holder, one a waiting exchange */
	int linked;		/* in the table */
	struct pending_share share;	/* guarded by the pending map */
	struct tunnel *next;
};

struct registry {
	struct registry_conf conf;	/* constant */
	pthread_mutex_t mtx;		/* guards everything below, and what registry.h marks [r] */
	pthread_cond_t change;		/* a name has got a holder, or is free */
	struct tunnel *chain[CHAINS];
	struct session *sessions;
	int nsessions, running;
};

/* What ends in _locked wants the registry's mutex held. */
struct tunnel *registry_find_locked(struct registry *, const char *name);
struct tunnel *registry_name_locked(struct registry *, const char *name);	/* held by nobody; NULL: no memory */
struct holder *registry_held_locked(const struct tunnel *, const struct session *);	/* by this session; NULL: it does not */
/* Take h off its tunnel and its session. Its session's reference to it is dropped. */
void registry_drop_locked(struct holder *h);
/* It was asked to move, its successor has its names, and its exchanges are done. */
int64_t registry_grace(const struct registry *, const struct session *);	/* how long its names are kept, ms */
int64_t registry_grace(const struct registry *, const struct session *);	/* so long its names are kept when it is lost, ms */
int registry_moved_locked(const struct session *);
/* All sessions, each with a reference, in memory of the caller's to free; *n of them. NULL if there are none. */
struct session **registry_all(struct registry *, int *n);

#endif
