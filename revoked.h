/*
 * revoked.h: the JWTs that are not to be believed any more, though they are signed: a text file "jwt-revoked" in the state folder.
 *
 * One line a token, "HASH EXPIRES": SHA-256 of its jti in lower-case hex, and when it would have expired, seconds since 1970,
 * "-" if that is not known. Empty ones and those beginning with '#' are ignored.
 */
#ifndef REVOKED_H
#define REVOKED_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

extern const char revoked_name[];	/* "jwt-revoked" */

struct revoked {		/* as read; plain data, owned by the caller */
	uint8_t (*hash)[SHA256_LEN];
	size_t n;
};

/* Read text: 0, and r->hash is the caller's to free; or -1: what is wrong with line *line (from 1 on), or, if that is 0, no memory. */
int revoked_parse(struct revoked *r, const char *text, size_t len, size_t *line);

/* Read dir/jwt-revoked (dir: an open folder); none is an empty set. 0; or -1 with errno (EINVAL: a damaged line) and why, *r untouched. */
int revoked_load(struct revoked *r, int dir, char *why, size_t whylen);

/*
 * Add one, expires 0: not known; and leave those out that have expired more than 30 days before now (seconds since 1970). With the folder's
 * owner, if we are root. 0; or -1 with errno, and nothing has changed.
 */
int revoked_add(int dir, const char *jti, int64_t expires, int64_t now);

int revoked_has(const struct revoked *r, const uint8_t hash[SHA256_LEN]);

#endif
