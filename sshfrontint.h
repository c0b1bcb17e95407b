/*
 * sshfrontint.h: what sshfront.c (who comes, what they see) and sshforward.c (their forwards) share.
 */
#ifndef SSHFRONTINT_H
#define SSHFRONTINT_H

#include "sshallow.h"
#include "sshfront.h"
#include "sshsess.h"
#include "sshterm.h"

enum {
	FRONT_BIND_MAX = 255,	/* a bind address as it comes, bytes */
	FRONT_SAID_MAX = 16,	/* lines kept until somebody can read them */
	FRONT_LINE_MAX = 512
};

struct sshfront {		/* constant, but for what allow guards itself */
	struct sshkey host;
	struct sshallow *allow;
};

struct forward {		/* a remote forward; guarded by front's mtx */
	struct forward *next;
	uint32_t id;		/* of the listen: two may share one, for ports 80 and 443 of a name */
	uint32_t port;		/* as the client knows it */
	char bind[FRONT_BIND_MAX + 1];	/* as the client wrote it, and wants to hear it again */
	char name[NAME_LEN_MAX + 1];
	char url[REGISTRY_URL_MAX];
};

struct front {			/* a client's connection */
	struct sshsess sess;	/* first */
	const struct sshfront *files;
	char host[NET_ADDR_MAX];	/* the address that the client has dialled */
	struct sshterm term;
	/* the reader's */
	int failed;		/* a key was not taken, the last one: */
	uint8_t blob[SSH_BLOB_MAX];	/* once authenticated, whose it is; constant then */
	size_t nblob;
	char user[NAME_LEN_MAX + 1];	/* "": it is no name */
	uint32_t last_id;
	char *said[FRONT_SAID_MAX];
	int nsaid;

	pthread_mutex_t mtx;	/* guards what follows; no other is taken under it */
	struct forward *first;
	int64_t quit_ms;	/* clock_ms: its user has ended it; 0: not */
};

static inline struct front *
front_of(struct sshsess *e)
{
	return (struct front *)(void *)e;
}

/* As sshsess.h has them. */
void sshforward_global(struct sshsess *, struct str name, struct str data, int want_reply);
int sshforward_ask(struct sshsess *, struct stream *, const struct holder *, const char *peer, const char *local);
void sshforward_gone(struct sshsess *, uint32_t listen_id, const char *code);

/* A copy of the first forward whose id is above after: 1; 0: there is none. */
int sshforward_next(struct front *, struct forward *out, uint32_t after);
void sshforward_show(struct front *, const struct forward *);	/* its URL, to whoever looks */
void sshforward_free(struct front *);	/* all of them; nobody else is there any more */

#endif
