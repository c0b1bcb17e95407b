/*
 * store.h: the token store, a text file "tokens" in the state folder,
 * as tokens.h describes it. Changes are safe between processes, not between
 * threads of one: fcntl(2) locks belong to the process.
 */
#ifndef STORE_H
#define STORE_H

#include <stddef.h>
#include <stdint.h>

#include "scope.h"
#include "tokens.h"

/*
 * Read dir/tokens (dir: an open folder). A missing file is an empty set. 0; or -1 with
 * errno set and why filled in: "tokens:3: bad hash" for a damaged line (errno EINVAL),
 * else the system's reason. On failure *s is untouched. store_free gives back what
 * store_load allocated (and empties *s).
 */
int store_load(struct store *s, int dir, char *why, size_t whylen);
void store_free(struct store *s);

/*
 * The token with this text, NULL if none; time independent of the text's bytes (every
 * entry's hash is compared in constant time). Expiry is not judged here.
 */
const struct token *store_find(const struct store *s, const char *text, size_t len);
const struct token *store_by_id(const struct store *s, const char *id);

/*
 * Issue: makes id and secret, appends a line, replaces the file atomically under the
 * lock (dir/tokens.lock, fcntl), with the folder's owner. *t is filled in and text
 * receives the token (TOKEN_LEN + NUL); wipe it after use. A scope, note or time that
 * cannot stand in the file is errno EINVAL.
 * Revoke: removes the line with this id; 1 if it was there, 0 if not.
 * -1 with errno and why as for store_load. A damaged file is never rewritten.
 */
int store_issue(int dir, const char *scope, int64_t now, int64_t expires, const char *note,
    struct token *t, char text[TOKEN_LEN + 1], char *why, size_t whylen);
/* Add: tokens of another system, but for those whose hash is there; one whose id is taken gets another. How many, or -1. */
long store_add(int dir, struct token *, size_t n, char *why, size_t whylen);
int store_revoke(int dir, const char *id, char *why, size_t whylen);

/*
 * Replace name in dir: a crash leaves the old bytes or the new, never a mix. Mode
 * 0600; if we are root, the folder's owner. 0, or -1 with errno.
 */
int store_replace(int dir, const char *name, const void *buf, size_t len);

/* Wait for the lock on the folder's files, under which one is read, changed and replaced: a descriptor, which unlocks it when it is closed; or -1 with errno. */
int store_lock(int dir);

#endif
