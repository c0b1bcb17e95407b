/* jwted_none.c: no Ed25519; see jwted.h. */
#include "jwted.h"

int
jwted_has(void)
{
	return 0;
}

int
jwted_verify(const uint8_t key[JWTED_KEY], const void *msg, size_t len, const uint8_t sig[JWTED_SIG])
{
	(void)key;
	(void)msg;
	(void)len;
	(void)sig;
	return 0;
}
