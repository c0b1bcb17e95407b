/*
 * sshpriv.h: a host key as a file: OpenSSH's own form ("openssh-key-v1", PROTOCOL.key) of an Ed25519 key that no passphrase protects, so that
 * ssh-keygen(1) makes it, shows it and tells its fingerprint. Pure.
 */
#ifndef SSHPRIV_H
#define SSHPRIV_H

#include <stddef.h>

#include "sshkey.h"

enum { SSHPRIV_MAX = 1024 };	/* what we write, bytes, with a NUL */

/* Read len bytes of text. 0; or -1 and *why, a constant string. */
int sshpriv_parse(struct sshkey *, const char *text, size_t len, const char **why);

/* Write it, with a comment, into out. check: any number. How many bytes. It holds the secret: wipe it. */
size_t sshpriv_put(const struct sshkey *, uint32_t check, const char *comment, char out[SSHPRIV_MAX]);

#endif
