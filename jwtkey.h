/*
 * jwtkey.h: keys that tokens are verified with: a secret, PEM, or a JWK Set (RFC 7517, 7518 6,
 * 8037). Pure, no allocation. A key is for one algorithm, whatever a token says.
 */
#ifndef JWTKEY_H
#define JWTKEY_H

#include <stddef.h>
#include <stdint.h>

#include "json.h"

enum jwt_alg {
	JWT_ALG_OTHER,		/* one that no key is for */
	JWT_HS256, JWT_RS256, JWT_ES256, JWT_EDDSA
};

enum {
	JWT_KID_MAX = 255,	/* bytes */
	JWT_KEY_MAX = 512,	/* bytes: a secret, or a modulus of 4096 bits */
	JWT_SECRET_FIT = 32,	/* bytes: a shorter secret is weaker than HS256 (RFC 7518 3.2) */
	JWT_KEYS_MAX = 64	/* in a set */
};

struct jwt_key {
	enum jwt_alg alg;
	char kid[JWT_KID_MAX + 1];	/* "": it has none */
	/* HS256: the secret. RS256: the modulus, no leading zeros. ES256: 4, x, y of 32 bytes each. EdDSA: 32 bytes. */
	uint8_t p[JWT_KEY_MAX];
	size_t len;
	uint8_t e[4];			/* RS256: the public exponent */
	size_t elen;
};

/*
 * A secret as it stands in a file or a variable, a line end behind it left out. 0, or -1 and *why:
 * empty, too long, or PEM: a public key as a secret would let everybody sign.
 */
int jwt_key_secret(struct jwt_key *, const char *text, size_t len, const char **why);

/*
 * The public keys in PEM text: PUBLIC KEY, RSA PUBLIC KEY, or that of a CERTIFICATE. How many, at
 * least 1, in key[0..max); or -1 and *why, a constant string. RSA has 2048 to 4096 bits, EC is on
 * P-256; a private key is refused, as the daemon has no use for it.
 */
int jwt_keys_pem(struct jwt_key *key, int max, const char *text, size_t len, const char **why);

/*
 * The keys in a JWK Set (RFC 7517 5). node[0..nnodes): memory to parse in. How many, and in *skipped how
 * many more there are that cannot be used: of another type, curve, use or algorithm, a bad size, more than
 * max, or an algorithm that the build cannot verify. -1 and *why: no JWK Set at all. A secret in it is no
 * key: whoever can read it could sign.
 */
int jwt_keys_jwks(struct jwt_key *key, int max, int *skipped, struct json_node *node, size_t nnodes,
    const char *text, size_t len, const char **why);

/* Of "RS256" and the like. JWT_ALG_OTHER if the name is none of those; "Ed25519" (RFC 9864) is EdDSA. */
enum jwt_alg jwt_alg_find(const char *name);

#endif
