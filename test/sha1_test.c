/* sha1_test.c: FIPS 180 examples, RFC 6455's, and every length around a block. */
#include "../sha1.h"
#include "test.h"

static const struct { const char *name, *in, *want; } cases[] = {
	{ "empty", "", "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
	{ "abc", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d" },
	{ "two blocks",
	    "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	    "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
	{ "112 bytes",
	    "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
	    "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
	    "a49b2446a02c645bf419f995b67091253a04a259" },
	{ "handshake, RFC 6455 1.3",
	    "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
	    "b37a4f2cc0624f1690f64606cf385945b2bec4ea" },
};

static void
hash(const void *in, size_t len, char hex[2 * SHA1_LEN + 1])
{
	uint8_t out[SHA1_LEN];
	void *p = exact(in, len);
	size_t i;

	sha1(p, len, out);
	free(p);
	for (i = 0; i < sizeof(out); i++)
		snprintf(hex + 2 * i, 3, "%02x", out[i]);
}

int
main(void)
{
	char hex[2 * SHA1_LEN + 1], chain[300 * 2 * SHA1_LEN], *million;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		hash(cases[i].in, strlen(cases[i].in), hex);
		check(strcmp(hex, cases[i].want) == 0, cases[i].name, i);
	}
	million = malloc(1000000);
	if (million == NULL)
		abort();
	memset(million, 'a', 1000000);
	hash(million, 1000000, hex);
	check(strcmp(hex, "34aa973cd4c4daa4f61eeb2bdbad27316534016f") == 0, "million a", 0);
	/* the digests of 0 to 299 bytes 'a', digested: every padding there is */
	for (i = 0; i < 300; i++) {
		hash(million, i, hex);
		memcpy(chain + i * 2 * SHA1_LEN, hex, 2 * SHA1_LEN);
	}
	free(million);
	hash(chain, sizeof(chain), hex);
	check(strcmp(hex, "2a20a884b0303b471ba7149ca641285a1219db5a") == 0, "every length", 0);
	return test_end();
}
