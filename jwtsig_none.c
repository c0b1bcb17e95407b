/* jwtsig_none.c: no signatures by public keys in a build without a TLS library; see jwtsig.h. */
#include "jwtsig.h"

int
jwtsig_has(enum jwt_alg alg)
{
	return alg == JWT_HS256;
}

int
jwtsig_verify(const struct jwt_key *k, const void *msg, size_t len, const uint8_t *sig, size_t siglen)
{
	(void)k;
	(void)msg;
	(void)len;
	(void)sig;
	(void)siglen;
	return 0;
}
