/* jwted_sodium.c: Ed25519 by libsodium; see jwted.h. */
#include <sodium.h>

#include "jwted.h"

int
jwted_has(void)
{
	return 1;
}

int
jwted_verify(const uint8_t key[JWTED_KEY], const void *msg, size_t len, const uint8_t sig[JWTED_SIG])
{
	return crypto_sign_ed25519_verify_detached(sig, msg, len, key) == 0;
}
