/*
 * sshtest.h: what the tests of SSH have in common: bytes from hexadecimal digits, and the vectors' keys.
 */
#ifndef SSHTEST_H
#define SSHTEST_H

#include "../base64.h"
#include "test.h"

/* The bytes of text, at most cap: how many. */
static inline size_t
unhex(void *out, size_t cap, const char *text)
{
	size_t len = strlen(text);

	if (len % 2 != 0 || len / 2 > cap || base16_decode(out, text, len) == -1)
		abort();
	return len / 2;
}

static inline int
is_hex(const void *p, size_t len, const char *text)
{
	uint8_t want[4096];

	return unhex(want, sizeof(want), text) == len && memcmp(p, want, len) == 0;
}

#endif
