/*
 * sshsess.h: a client's SSH connection as a session of the daemon: what all dialects over ssh.h share. It becomes one of the daemon's
 * sessions when the client has authenticated; before that it is bounded in time, and in number for each address, and counts as a caller.
 *
 * It is pinged through SSH, not below it: what answers is the client, and a key exchange that it does not finish ends it, too.
 */
#ifndef SSHSESS_H
#define SSHSESS_H

#include "caller.h"
#include "daemon.h"
#include "registry.h"
#include "ssh.h"
#include "sshtcp.h"

enum { SSHSESS_WHO_MAX = 4 + 12 + 1, SSHSESS_LOGIN_MS = 30000 };

struct sshsess;

struct sshsess_ops {		/* the dialect's; in the reader unless told otherwise. Those marked * may be NULL */
	const char *ping;	/* a global request that its clients answer, one way or the other */
	int (*auth)(struct sshsess *, struct str user, struct str blob);	/* as in ssh.h */
	/*
	 * The client has authenticated: set session.identity and what else there is to say of the session. NULL, and it is
	 * one of the daemon's from now on; or why not, a constant string.
	 */
	const char *(*ready)(struct sshsess *);
	void (*global)(struct sshsess *, struct str name, struct str data, int want_reply);	/* as in ssh.h */
	int (*open)(struct sshsess *, struct stream *, struct str type, struct str data);	/* * as in ssh.h; NULL: clients open none */
	int (*request)(struct sshsess *, struct stream *, struct str type, struct str data);	/* * as in ssh.h */
	/*
	 * Have a channel opened for a caller of h's tunnel: ssh_ask, with its type and what it says. local: where the caller has come to, NULL for
	 * HTTP's. 0, or -1. Any thread.
	 */
	int (*ask)(struct sshsess *, struct stream *, const struct holder *h, const char *peer, const char *local);
	void (*gone)(struct sshsess *, uint32_t listen_id, const char *code);	/* * any thread: see registry.h */
	/* * the janitor's thread, now and then once a tunnel was taken over, while the client answers: have back what is nobody's. 1: call again */
	int (*regain)(struct sshsess *);
	const char *(*lost)(struct sshsess *);	/* * any thread, now and then: why its key is no good any more, a word; NULL: it is */
	void (*over)(struct sshsess *);		/* * the connection has ended */
	void (*free)(struct sshsess *);		/* the last: give the memory back */
};

struct sshsess {		/* the first member of a dialect's own; zero all at first */
	struct session session;
	struct daemon *d;
	const struct sshsess_ops *ops;
	struct ssh *ssh;
	struct link *link;	/* one of the two */
	struct sshtcp *tcp;
	struct addr addr;	/* the client's, counted until it has authenticated */

	struct sshsess *next;	/* guarded by the daemon's ssh.mtx, as the rest up to mtx */
	int ready;		/* one of the daemon's sessions */
	int64_t began;		/* clock_ms */
	int64_t pinged;		/* clock_ms; the last ping, or when it was answered last */
	int64_t ended;		/* clock_ms: it has been told to end; 0: it has not */
	int late;		/* it has taken too long to log in */
	int deaf;		/* no ping was answered in time */
	int deprived;		/* another session has taken a tunnel over */
	int64_t looked;		/* clock_ms: when it was seen to that it gets it back, if it can */

	pthread_mutex_t mtx;	/* guards the rest; alone */
	uint64_t asked, answered;	/* pings */
};

/*
 * Begin one over a WebSocket whose opening handshake c has had, or over TCP; the connection is taken over. name: the dialect's, a constant table made
 * by sshsess_dialect. of conf trans.keys are the dialect's, the rest is set here. 0; or -1, and *why it is refused: a
 * constant string; then the connection is the caller's still, and the memory too.
 */
int sshsess_open_ws(struct sshsess *, struct caller *c, const struct dialect *, const struct sshsess_ops *, struct ssh_conf *, const char **why);
int sshsess_open_tcp(struct sshsess *, struct daemon *, const struct conn *, const struct sockaddr_storage *peer, const struct dialect *,
    const struct sshsess_ops *, struct ssh_conf *, const char **why);

/* The functions of registry.h that are the same for all: a dialect's table is SSHSESS_DIALECT("name"). Then run is dialect->run. */
struct stream *sshsess_open(struct session *, uint64_t *tally, int64_t deadline);
int sshsess_ask(struct session *, struct stream *, const struct holder *, const char *peer, const char *local);
void sshsess_gone(struct session *, uint32_t listen_id, const char *code);
void sshsess_end(struct session *, int code, const char *reason);
void sshsess_tally(struct session *, const uint64_t from[2], uint64_t to[2]);
void sshsess_run(struct session *);
void sshsess_free(struct session *);

#define SSHSESS_DIALECT(word) { \
	.name = word, .open = sshsess_open, .gone = sshsess_gone, .end = sshsess_end, .tally = sshsess_tally, \
	.run = sshsess_run, .free = sshsess_free, .ask = sshsess_ask }

/* Janitor's work: pings, logins that take too long, keys that are no good any more. */
void sshsess_tick(struct daemon *);
void sshsess_cut(struct daemon *);	/* end them all at once, those that have not logged in, too */

/* The identity of a key: "key:" and 12 hexadecimal digits. Not its fingerprint, which for vtunnel's is a secret. */
void key_who(struct str blob, char out[SSHSESS_WHO_MAX]);

#endif
