/* jwtsig_bearssl.c: signatures by public keys, by BearSSL; see jwtsig.h. */
#include <bearssl.h>
#include <string.h>

#include "jwted.h"
#include "jwtsig.h"
#include "sha256.h"

int
jwtsig_has(enum jwt_alg alg)
{
	return alg == JWT_HS256 || alg == JWT_RS256 || alg == JWT_ES256 || (alg == JWT_EDDSA && jwted_has());
}

/* RFC 8017 8.2.2. BearSSL writes the padding anew and compares all of it. */
static int
rsa(const struct jwt_key *k, const uint8_t hash[SHA256_LEN], const uint8_t *sig, size_t siglen)
{
	uint8_t n[JWT_KEY_MAX], e[sizeof(k->e)], signed_hash[SHA256_LEN];
	br_rsa_public_key key;

	if (siglen != k->len)
		return 0;
	memcpy(n, k->p, k->len);	/* it wants them writable */
	memcpy(e, k->e, k->elen);
	key.n = n;
	key.nlen = k->len;
	key.e = e;
	key.elen = k->elen;
	return br_rsa_pkcs1_vrfy_get_default()(sig, siglen, BR_HASH_OID_SHA256, SHA256_LEN, &key, signed_hash) == 1 &&
	    ct_equal(signed_hash, hash, SHA256_LEN);
}

static int
ecdsa(const struct jwt_key *k, const uint8_t hash[SHA256_LEN], const uint8_t *sig, size_t siglen)
{
	uint8_t q[1 + 2 * 32];
	br_ec_public_key key;

	/* RFC 7518 3.4: r and s of 32 bytes each. BearSSL itself would take shorter ones */
	if (siglen != 64 || k->len != sizeof(q))
		return 0;
	memcpy(q, k->p, sizeof(q));
	key.curve = BR_EC_secp256r1;
	key.q = q;
	key.qlen = sizeof(q);
	return br_ecdsa_vrfy_raw_get_default()(br_ec_get_default(), hash, SHA256_LEN, &key, sig, siglen) == 1;
}

int
jwtsig_verify(const struct jwt_key *k, const void *msg, size_t len, const uint8_t *sig, size_t siglen)
{
	uint8_t hash[SHA256_LEN];

	if (k->alg == JWT_EDDSA)
		return k->len == JWTED_KEY && siglen == JWTED_SIG && jwted_verify(k->p, msg, len, sig);
	sha256(msg, len, hash);
	switch (k->alg) {
	case JWT_RS256:
		return rsa(k, hash, sig, siglen);
	case JWT_ES256:
		return ecdsa(k, hash, sig, siglen);
	default:
		return 0;
	}
}
