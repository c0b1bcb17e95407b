/*
 * auth.h: credentials to identities. Holds the token store as last read well.
 */
#ifndef AUTH_H
#define AUTH_H

#include <stdint.h>

#include "http.h"
#include "jwt.h"
#include "revoked.h"
#include "scope.h"
#include "store.h"

struct auth;

struct identity {
	char who[JWT_WHO_MAX + 1];	/* "token:4be1c0de", or as jwt_who has it: equal for the same credential */
	char scope[STORE_SCOPE_MAX + 1];
	int64_t expires;		/* seconds since 1970, 0: never */
	int has_jti;			/* a JWT's, by which it may be revoked: */
	uint8_t jti[SHA256_LEN];	/* its hash */
};

/* dir: the open state folder, the caller's. Reads the store; a damaged one is NULL and why. -1: there is none, see auth_take. */
struct auth *auth_new(int dir, char *why, size_t whylen);
void auth_free(struct auth *);

void auth_take(struct auth *, struct store *);	/* in place of all tokens there were; its memory is auth's from then on */

/* Read the store again if its file has changed (or always, if force). 1: read, 0: unchanged, -1: damaged or
 * unreadable, why says so, and the last good set stays in force. The same damage is told once. */
int auth_reload(struct auth *, int force, char *why, size_t whylen);

/* The credential in an Authorization field's value ("Bearer …"; NULL: no field): 1, or 0 if there is none. */
int auth_bearer(const struct str *authorization, struct str *credential);

/* The identity of a token. 0, or a status: 401. JWTs are jwtauth.h's. */
int auth_check(struct auth *, const struct str *token, int64_t now, struct identity *);

/* The identity that a JWT's claims make, but for its scope and the end, which are the dialect's to judge. */
void auth_jwt(struct identity *, const struct jwt_claims *);

/* Is it still good? NULL, or the reason code: "revoked", "expired". */
const char *auth_lost(struct auth *, const struct identity *, int64_t now);

#endif
