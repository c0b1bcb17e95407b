/*
 * sshkex.h: key exchange: algorithms (RFC 4253, 7.1), curve25519-sha256 (RFC 8731), keys from its secret. Pure.
 */
#ifndef SSHKEX_H
#define SSHKEX_H

#include "sha256.h"
#include "sshkey.h"

enum {
	SSH_COOKIE_LEN = 16,
	SSH_KEXINIT_MAX = 1024		/* one of ours, bytes */
};

struct sshkex_offer {		/* what a KEXINIT of ours says */
	int server;
	int first;		/* the connection's first: with the markers of strict key exchange and EXT_INFO */
	const char *keys;	/* host key algorithms */
	const char *ciphers;	/* for both directions */
};

/* Every cipher there is, the one that suits this machine first. */
const char *sshkex_ciphers(void);

void sshkex_put_init(struct buf *, const uint8_t cookie[SSH_COOKIE_LEN], const struct sshkex_offer *);

struct sshkex_choice {
	struct str host_key;		/* the algorithm; points into the client's KEXINIT */
	enum sshcipher_alg c2s, s2c;
	int strict;			/* the other side has the marker */
	int ext_info;			/* likewise */
	int wrong_guess;		/* its next packet is of a key exchange that was not chosen: ignore it */
};

/* What two KEXINIT come to. server: theirs is the client's. 0, or a reason negated, and *why. */
int sshkex_choose(struct sshkex_choice *, const struct str *mine, const struct str *theirs, int server, const char **why);

/* The exchange hash: the versions and both KEXINIT, then what the exchange itself brings. */
struct sshkex_text {
	struct str vc, vs, ic, is;
};
void sshkex_hash_begin(struct sha256 *, const struct sshkex_text *);
void sshkex_hash_end(struct sha256 *, uint8_t h[SHA256_LEN], struct str host_key, const uint8_t qc[SSH_X25519_LEN],
    const uint8_t qs[SSH_X25519_LEN], const uint8_t k[SSH_X25519_LEN]);

/* Key or IV letter ('A' to 'F'), len bytes of it (RFC 4253, 7.2). */
void sshkex_derive(uint8_t *out, size_t len, char letter, const uint8_t k[SSH_X25519_LEN],
    const uint8_t h[SHA256_LEN], const uint8_t session[SHA256_LEN]);

/* The cipher of a direction, keyed. NULL: no memory. */
struct sshcipher *sshkex_cipher(enum sshcipher_alg, int c2s, const uint8_t k[SSH_X25519_LEN],
    const uint8_t h[SHA256_LEN], const uint8_t session[SHA256_LEN]);

#endif
