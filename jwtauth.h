/*
 * jwtauth.h: the keys that JWTs are believed by: configured, and from a JWK Set that is kept elsewhere;
 * and whom a token makes of its bearer. Any thread may use it.
 */
#ifndef JWTAUTH_H
#define JWTAUTH_H

#include "auth.h"
#include "jwt.h"

enum {
	JWT_FILES_MAX = 8,
	JWT_LEEWAY = 30,	/* seconds, where nothing else is said; of PipeGate's rules 0 */
	JWT_WHY_MAX = 400
};

struct jwt_conf {		/* the strings are the caller's and must stay; NULL: none */
	const char *secret;		/* the secret itself, from the environment */
	const char *secret_file;
	const char *key[JWT_FILES_MAX];	/* PEM */
	int nkeys;
	const char *jwks;		/* a file or a URL */
	const char *issuer, *audience;
	long leeway_ms;			/* -1: as above */
};

struct jwtauth;

int jwtauth_is_url(const char *jwks);	/* no file */

/* Is there anything to believe a token by? */
int jwtauth_configured(const struct jwt_conf *);

/* Read secret and PEM files. NULL, and one line in why that names what is wrong. The JWK Set is read when it is needed. */
struct jwtauth *jwtauth_new(const struct jwt_conf *, char why[JWT_WHY_MAX]);
void jwtauth_free(struct jwtauth *);	/* nobody uses it any more */

/* Read secret and PEM files again, and the JWK Set at its next use. 0, or -1, why, and all stays as it was. */
int jwtauth_reload(struct jwtauth *, char why[JWT_WHY_MAX]);

/*
 * The three steps of jwt.h on a token. 0 and *c; or -1 and *why, a constant string; or JWTAUTH_LATER and *why: no key of
 * ours has signed it, but that of a JWK Set which cannot be had now may have. *t (which is large: the caller's
 * memory) can be looked at after. It may wait for the JWK Set, some 10 s: not in a thread that others wait for.
 */
enum { JWTAUTH_LATER = -2 };
int jwtauth_verify(struct jwtauth *, struct jwt *t, const char *text, size_t len, const char **why);
int jwtauth_judge(struct jwtauth *, const struct jwt *t, int pipegate, int64_t now, struct jwt_claims *c, const char **why);

/* A token of these claims, signed with the secret. 0, or -1: there is no secret, or it is too long. */
int jwtauth_sign(struct jwtauth *, const char *claims, size_t len, char out[JWT_MAX + 1]);

/*
 * All of it, for the native dialect and its like: 0 and who bears this token; or a status, 401, 403 where the token is good
 * and holds no name at all (unless scopeless ones will do), or 503: JWTAUTH_LATER. peer, for the log, which tells why. Its session ends with the token, leeway and all.
 */
int jwtauth_check(struct jwtauth *, const struct str *token, int64_t now, int scopeless, const char *peer, struct identity *);

#endif
