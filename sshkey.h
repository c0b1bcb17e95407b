/*
 * sshkey.h: keys and signatures as SSH writes them: ssh-ed25519 (RFC 8709), ecdsa-sha2-nistp256 (RFC 5656). Pure.
 */
#ifndef SSHKEY_H
#define SSHKEY_H

#include "sshwire.h"

enum {
	SSH_BLOB_MAX = 128,	/* a public key's blob, bytes */
	SSH_SIGNATURE_MAX = 128	/* a signature's */
};

/* What we sign and verify with, the best first: for KEXINIT, and for server-sig-algs. */
#define SSH_KEY_ALGS "ssh-ed25519,ecdsa-sha2-nistp256"

enum sshkey_type { SSHKEY_ED25519, SSHKEY_P256 };

struct sshkey {			/* with its secret */
	enum sshkey_type type;
	uint8_t secret[32];	/* Ed25519: the seed */
	uint8_t blob[SSH_BLOB_MAX];	/* its public key */
	size_t nblob;
};

const char *sshkey_alg(enum sshkey_type);

/* 0, or -1: the secret is none. secret is copied. */
int sshkey_init(struct sshkey *, enum sshkey_type, const uint8_t secret[32]);

void sshkey_sign(const struct sshkey *, struct buf *out, const void *msg, size_t len);	/* at most SSH_SIGNATURE_MAX bytes */

/* The algorithm of a public key's blob, if it is well-formed and ours: a constant string. NULL: it is not. */
const char *sshkey_blob_alg(const void *blob, size_t len);
/* 1: sig is blob's signature of msg. */
int sshkey_verify(const void *blob, size_t nblob, struct str sig, const void *msg, size_t len);

#endif
