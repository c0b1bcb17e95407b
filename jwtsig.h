/*
 * jwtsig.h: signatures by a public key, RFC 7518 3.3 (RS256) and 3.4 (ES256), RFC 8037 (EdDSA), as the TLS
 * library has them: jwtsig_bearssl.c, jwtsig_libtls.c or jwtsig_none.c, which goes with it in config.mk.
 */
#ifndef JWTSIG_H
#define JWTSIG_H

#include "jwtkey.h"

/* Can this build verify it? HS256: always, but in jwt.c. */
int jwtsig_has(enum jwt_alg);

/* 1 if sig is what the key's owner made for msg; else 0. Of keys and signatures whose sizes are not as they must be: 0. */
int jwtsig_verify(const struct jwt_key *, const void *msg, size_t len, const uint8_t *sig, size_t siglen);

#endif
