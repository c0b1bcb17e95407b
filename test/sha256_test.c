/* sha256_test.c: FIPS 180-4 examples and RFC 4231, cut at every byte. */
#include "../sha256.h"
#include "test.h"

static const struct { const char *name, *in, *want; } hashes[] = {
	{ "empty", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "two blocks",
	    "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	{ "112 bytes",
	    "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
	    "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
	    "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
};

/* RFC 4231; a key or text given as one byte and a count is that byte repeated. */
static const struct {
	const char *name, *key;
	size_t keys;
	const char *in;
	size_t ins, outlen;
	const char *want;
} macs[] = {
	{ "4.2 case 1", "\x0b", 20, "Hi There", 0, 32,
	    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
	{ "4.3 case 2", "Jefe", 0, "what do ya want for nothing?", 0, 32,
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
	{ "4.4 case 3", "\xaa", 20, "\xdd", 50, 32,
	    "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe" },
	{ "4.5 case 4",
	    "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d"
	    "\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19", 0, "\xcd", 50, 32,
	    "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b" },
	{ "4.6 case 5, truncated", "\x0c", 20, "Test With Truncation", 0, 16,
	    "a3b6167473100ee06e0c796c2955552b" },
	{ "4.7 case 6", "\xaa", 131,
	    "Test Using Larger Than Block-Size Key - Hash Key First", 0, 32,
	    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
	{ "4.8 case 7", "\xaa", 131,
	    "This is a test using a larger than block-size key and a larger t"
	    "han block-size data. The key needs to be hashed before being use"
	    "d by the HMAC algorithm.", 0, 32,
	    "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2" },
	{ "empty key and text", "", 0, "", 0, 32,
	    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad" },
};

static int
is_hex(const uint8_t *p, size_t len, const char *want)
{
	char hex[2 * SHA256_LEN + 1] = "";
	size_t i;

	for (i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", p[i]);
	return strcmp(hex, want) == 0;
}

static int
is_zero(const void *p, size_t len)
{
	const uint8_t *b = p;
	size_t i;

	for (i = 0; i < len && b[i] == 0; i++)
		;
	return i == len;
}

static void
test_hash(size_t i)
{
	struct sha256 s;
	uint8_t out[SHA256_LEN];
	size_t len = strlen(hashes[i].in), cut;
	char *a, *b;

	for (cut = 0; cut <= len; cut++) {
		a = exact(hashes[i].in, cut);
		b = exact(hashes[i].in + cut, len - cut);
		memset(&s, 0xa5, sizeof(s));
		sha256_init(&s);
		sha256_update(&s, a, cut);
		sha256_update(&s, b, len - cut);
		sha256_final(&s, out);
		check(is_hex(out, sizeof(out), hashes[i].want), hashes[i].name, cut);
		check(is_zero(&s, sizeof(s)), "state wiped", cut);
		free(a);
		free(b);
	}
	sha256(hashes[i].in, len, out);
	check(is_hex(out, sizeof(out), hashes[i].want), "in one", i);
}

static size_t
expand(uint8_t *out, const char *s, size_t times)
{
	if (times > 0)
		memset(out, s[0], times);
	else
		memcpy(out, s, strlen(s));
	return times > 0 ? times : strlen(s);
}

static void
test_mac(size_t i)
{
	struct hmac m;
	uint8_t key[200], in[200], out[SHA256_LEN];
	size_t keylen = expand(key, macs[i].key, macs[i].keys);
	size_t len = expand(in, macs[i].in, macs[i].ins), cut;
	void *k = exact(key, keylen), *a, *b;

	for (cut = 0; cut <= len; cut++) {
		a = exact(in, cut);
		b = exact(in + cut, len - cut);
		hmac_init(&m, k, keylen);
		hmac_update(&m, a, cut);
		hmac_update(&m, b, len - cut);
		hmac_final(&m, out);
		check(is_hex(out, macs[i].outlen, macs[i].want), macs[i].name, cut);
		check(is_zero(&m, sizeof(m)), "state wiped", cut);
		free(a);
		free(b);
	}
	free(k);
}

static void
test_long(void)
{
	struct sha256 s, all;
	uint8_t out[SHA256_LEN];
	char a[1000];
	size_t i;

	memset(a, 'a', sizeof(a));
	sha256_init(&s);
	for (i = 0; i < 1000; i++)
		sha256_update(&s, a, sizeof(a));
	sha256_final(&s, out);
	check(is_hex(out, sizeof(out),
	    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
	    "million a", 0);
	/* the digests of 0 to 299 bytes 'a', digested: every padding there is */
	sha256_init(&all);
	for (i = 0; i < 300; i++) {
		sha256(a, i, out);
		sha256_update(&all, out, sizeof(out));
	}
	sha256_final(&all, out);
	check(is_hex(out, sizeof(out), "80e953e3b006c4bab43fd5d792f8bd29c122f6cf1497318365fe66bf2d61398d"), "every length", 0);
}

static void
test_equal(void)
{
	uint8_t a[33], b[33];
	size_t i;
	unsigned bit;

	memset(a, 0x5a, sizeof(a));
	memcpy(b, a, sizeof(b));
	check(ct_equal(a, b, sizeof(a)), "equal", 0);
	check(ct_equal(a, b, 0), "nothing equals nothing", 0);
	for (i = 0; i < sizeof(a); i++)
		for (bit = 0; bit < 8; bit++) {
			b[i] = (uint8_t)(b[i] ^ 1U << bit);
			check(!ct_equal(a, b, sizeof(a)), "one bit differs", i * 8 + bit);
			check(ct_equal(a, b, i), "differs behind len", i * 8 + bit);
			b[i] = a[i];
		}
	wipe(a, sizeof(a) - 1);
	check(is_zero(a, sizeof(a) - 1) && a[sizeof(a) - 1] == 0x5a, "wipe", 0);
}

int
main(void)
{
	size_t i;

	for (i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++)
		test_hash(i);
	for (i = 0; i < sizeof(macs) / sizeof(macs[0]); i++)
		test_mac(i);
	test_long();
	test_equal();
	return test_end();
}
