/*
 * guard.h: which callers a tunnel is for: by address, and by user and password (HTTP's basic
 * authentication, RFC 7617). Pure.
 */
#ifndef GUARD_H
#define GUARD_H

#include "cidr.h"
#include "http.h"
#include "sha256.h"

enum {
	GUARD_USERS_MAX = 64, GUARD_NETS_MAX = 64,
	GUARD_USER_MAX = 255	/* bytes of "user:password" */
};

struct guard {			/* zero all, then add; with nothing added everybody may pass */
	int nusers, nnets;
	uint8_t user[GUARD_USERS_MAX][SHA256_LEN];	/* SHA-256 of "user:password": no more than that is kept */
	struct cidr net[GUARD_NETS_MAX];
};

/* "user:password": both there, no controls, no ':' in user. 1 or 0. */
int guard_user_ok(const char *text);

/* Add; 0, or -1 and *why, a constant string, if it is none or one too many. */
int guard_add_user(struct guard *, const char *hex, const char **why);	/* 64 hexadecimal digits */
int guard_add_net(struct guard *, const char *cidr, const char **why);	/* see cidr_parse */

/* 1 if the one field called name has, as HTTP's basic authentication does it, a user of the guard's, or the guard has none. In a time that tells nothing about them. */
int guard_user(const struct guard *, const struct http_head *, const char *name);

enum guard_verdict { GUARD_PASS, GUARD_ADDRESS, GUARD_CREDENTIALS };
/*
 * May a caller with this address, of this request (NULL: of none, as on a raw port), pass? GUARD_ADDRESS: none of the networks has it. GUARD_CREDENTIALS:
 * Authorization is not one of the users, or is there twice. In a time that tells nothing about them.
 */
enum guard_verdict guard_check(const struct guard *, const struct addr *, const struct http_head *);

#endif
