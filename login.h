/*
 * login.h: whom a caller's credential makes of it, in every dialect. From an address that comes with bad ones again and again
 * none is good for a while (backoff.h), but for the daemon's own tokens.
 */
#ifndef LOGIN_H
#define LOGIN_H

#include "auth.h"

struct caller;

extern const char login_later[];	/* what to tell whom 429 refuses */

/* 1: the caller's address has to wait, c->retry says how long. */
int login_waits(struct caller *);

/* Tell the log that peer has to wait so long. */
void login_tell(const char *peer, long ms);

/* This credential was a bad one. */
void login_failed(struct caller *, const struct str *credential);

/*
 * 0 and *who; or a status: 401, 403 for one with no scope at all (unless scopeless ones will do, too), 429 as login_waits, 503
 * if its key cannot be had now. It may wait for keys of JWTs: not in a thread that others wait for.
 */
int login_check(struct caller *, const struct str *credential, int scopeless, struct identity *who);

/* The same of the Authorization field of the request. */
int login_bearer(struct caller *, struct identity *who);

#endif
