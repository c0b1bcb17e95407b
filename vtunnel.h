/*
 * vtunnel.h: vtunnel on the daemon's side: SSH inside a WebSocket, at any path that is nobody else's. Its clients listen on
 * loopback ports, and each caller of one is a channel.
 *
 * The host key is the one that vtunnel derives from the client's public key, as its clients demand; so whoever knows that key can pose as
 * this daemon. Clients that say "Tunnel-Host-Key: own" in the handshake, and those without a key, are shown the daemon's own instead, which is
 * in the state folder.
 */
#ifndef VTUNNEL_H
#define VTUNNEL_H

#include <stddef.h>

#include "http.h"	/* struct str */

struct caller;
struct daemon;
struct session;
struct vtunnel;

struct vtunnel_conf {		/* the strings are the program's and must stay */
	const char *keys;	/* --vtunnel-key: lines as of the file */
	const char *file;	/* --vtunnel-keys; NULL: none */
	int open;		/* --open vtunnel: where there is no key for a path, everybody may come */
	const char *state;	/* the state folder, by its name; NULL: there is none */
};

/* Is it asked for at all? */
int vtunnel_configured(const struct vtunnel_conf *);

/*
 * Read the keys, and the daemon's own from dir, the open state folder (made if there is none; dir -1: what is there is only looked at, and without any
 * there is one that lasts as long as this). NULL, and why in one line; with errno EINVAL if it is what the options say, another if a file is no good or
 * something cannot be had.
 */
struct vtunnel *vtunnel_new(const struct vtunnel_conf *, int dir, char *why, size_t whylen);
void vtunnel_free(struct vtunnel *);	/* nobody uses it any more */
void vtunnel_tell(struct vtunnel *);	/* log what its clients and its operator should know at the start */

/* Read the file of keys again if it has changed, or if force; what is wrong is logged, and what was good stays. v NULL: nothing. */
void vtunnel_reload(struct vtunnel *v, int force);

enum vtunnel_serves { VTUNNEL_NOBODY, VTUNNEL_SOMEBODY, VTUNNEL_OWNER };
/* Who is there for this path (target: as requested): nobody; whoever comes where there is nothing else; a key that has it for its own. */
enum vtunnel_serves vtunnel_serves(struct vtunnel *, struct str target);

/* An upgrade to be answered: as native_accept (native.h). */
struct session *vtunnel_accept(struct caller *);

#endif
