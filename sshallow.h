/*
 * sshallow.h: the files of SSH's listeners: the daemon's host key, and the clients' keys as last read well (sshkeys.h has their form).
 */
#ifndef SSHALLOW_H
#define SSHALLOW_H

#include <stddef.h>
#include <stdint.h>

#include "auth.h"
#include "sshkey.h"

/*
 * The host key: file path, or without one (NULL) ssh_host_ed25519_key in the state folder: dir, shown as state. If there is none it is made, mode
 * 0600, but not with make 0: then it is *k of zeros. 0; or -1 and why: a file that others can read is none.
 */
int sshallow_host_key(struct sshkey *k, const char *path, int dir, const char *state, int make, char *why, size_t whylen);

struct sshallow;

/* path must stay; it may change before there are threads (chroot). NULL and why: it cannot be read, or is damaged. */
struct sshallow *sshallow_new(const char *path, char *why, size_t whylen);
void sshallow_free(struct sshallow *);

/* Read the file again if it has changed (or always, if force), and tell the log. A damaged one leaves the last good set in force. */
void sshallow_reload(struct sshallow *, int force);

/* Whose key is this? 1, and who's scope and expiry; 0: it may not come in. now: seconds since 1970. */
int sshallow_find(struct sshallow *, struct str blob, int64_t now, struct identity *who);

/* Is what was found good still? NULL, or the reason code: "revoked" (another scope, too), "expired" (by what stands there now). */
const char *sshallow_lost(struct sshallow *, struct str blob, int64_t now, const struct identity *who);

#endif
