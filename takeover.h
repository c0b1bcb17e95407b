/*
 * takeover.h: a new daemon in place of the running one, over the control socket.
 *
 * The new one says "takeover"; from then on both write JSON objects, one a line:
 *
 *	old	{"op":"socket","kind":"public","tls":false,"ssh":false,"any":false,"given":false}	one a listening socket, which comes with it
 *	old	{"op":"socket","kind":"proxy","any":false,"given":false}	one a socket of the CONNECT proxy, likewise
 *	old	{"op":"socket","kind":"control"}
 *	old	{"op":"offer"}				those were all
 *	new	{"op":"ready","pid":4711}		it could accept now
 *	old	{"op":"port","port":9000,"public":false}	one a socket of a raw TCP port, which comes with it; those of a port follow each other
 *	old	{"op":"name","name":"preview","who":"token:4be1c0de","path":false,"lost":false,"ms":10000}	one a name: keep it so long;
 *			a port's is "tcp:9000", and if it was chosen, "any":true,"instance":"9f3c2a…","id":2 tell for whose listen
 *	old	{"op":"go"}
 *	new	{"op":"taken"}				it accepts: the old one stops
 *	old	{"op":"port",...}, {"op":"name",...}	what has come in between
 *	old	{"op":"done"}
 *
 * Until "taken" has arrived nothing has changed for the old one. It says {"op":"refused","reason":"..."} in place of anything
 * when it goes on: then the new one must end. A connection that just ends means that the other side is no more.
 * Members and objects that are not known are ignored.
 */
#ifndef TAKEOVER_H
#define TAKEOVER_H

#include <stddef.h>

#include "conn.h"
#include "daemon.h"

/* The running daemon's side, on the control thread, once asked. When it returns and daemon_moved(), all is the other's. */
void takeover_give(struct daemon *, struct conn *);

/* The new daemon's side, before it has threads. */

enum { TAKEOVER_LINE = 1024 };

struct takeover {
	struct conn conn;	/* to the old one */
	char in[TAKEOVER_LINE];	/* in[at..len) has been read and not used */
	size_t at, len;
	int fd;			/* has come with what was read, and is not used; -1: none */
	int alone;		/* the old one is no more */
	int control;		/* the control socket, the caller's */
	struct daemon_listener have[LISTENERS_MAX];	/* the caller's, but for those with fd -1 */
	int n;
	int names;		/* so many were taken */
	struct {		/* sockets of raw ports whose names have not come yet */
		unsigned number;
		int public, fd[NET_LISTEN_MAX], n;
	} *port;
	int nports;
};

/*
 * Ask the daemon that runs with this state folder for its sockets. 0; or -1 and why; errno is ENOENT or ECONNREFUSED if none runs.
 */
int takeover_ask(struct takeover *, const char *state, char *why, size_t whylen);

/* A public socket that fits: of this address, or port 0 for one whose port was any and that is of the kind of like; then it is the caller's. Or -1. */
int takeover_find(struct takeover *, const struct daemon_listener *like, const struct sockaddr *);

void takeover_drop(struct takeover *);		/* close the public sockets that are left */

/* All is checked and open: get the word, and the names. 0, or -1 and why. */
int takeover_go(struct takeover *, struct daemon *, char *why, size_t whylen);

/* The daemon accepts: the other may stop. 0; or -1 and why: it goes on, and the caller must not. */
int takeover_taken(struct takeover *, struct daemon *, char *why, size_t whylen);

#endif
