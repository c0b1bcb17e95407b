/*
 * webgate.h: what stands in front of /relay and /tunnel: who may come in, how many at a time, from which pages; and how
 * they are answered. The words and their order are wsproxy's.
 */
#ifndef WEBGATE_H
#define WEBGATE_H

#include "auth.h"
#include "buf.h"
#include "cidr.h"

struct caller;
struct daemon;

struct web_pass {		/* somebody who has been let in */
	struct identity identity;	/* who, scope ("": no name, no port of its own) and expiry; "anonymous" where no credential is wanted */
	struct addr addr;	/* the caller's, be it behind proxies we trust */
	int anonymous;
};

/*
 * The request in c->head is for /relay or /tunnel. 1: it is a GET, or a HEAD that webgate_upgrade will refuse; or 0, and it is
 * answered: OPTIONS, or 405.
 */
int webgate_enter(struct caller *);

/*
 * Whose is it? By the query's token, else by Authorization. 0 and *p; or -1: answered, 401 and the like. To be asked before any
 * parameter is looked at. It may wait for keys of JWTs.
 */
int webgate_login(struct caller *, struct web_pass *p);

/* Count it, of this address and user: 0, and webgate_give when it has ended, however it has; or -1: answered, 429. Before anything that costs us. */
int webgate_take(struct caller *, const struct web_pass *p);
void webgate_give(struct daemon *, const struct web_pass *p);

/* Is it an opening handshake, from a page that may? 0: webgate_switch may follow; or -1: answered. */
int webgate_upgrade(struct caller *);

/* Send the 101, with the subprotocol (NULL: none). 0, or -1 with errno: the connection is broken. */
int webgate_switch(struct caller *, const char *protocol);

/* Refuse, before the 101: text and a newline as plain text, with the fields of webgate_cors. text may hold what the caller has sent, but no secret. */
void webgate_answer(struct caller *, int status, const char *text);

/* 1 if one of the rules lets pages of this origin open WebSockets. */
int webgate_listed(const struct daemon_conf *, struct str origin);

/* Field lines for an answer to the page that asks (CORS), if its origin may read it. */
void webgate_cors(const struct caller *, struct buf *);

#endif
