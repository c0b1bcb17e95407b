/* sshcrypt_test.c: published vectors: RFC 7748, RFC 8032, RFC 6979, draft-ietf-sshm-chacha20-poly1305; AES-GCM by OpenSSL. */
#include "../sshcrypt.h"
#include "sshtest.h"

static const struct { const char *name, *secret, *point, *want; } products[] = {
	{ "RFC 7748 5.2, first", "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
	    "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
	    "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
	{ "RFC 7748 5.2, second", "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
	    "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
	    "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957" },
};

/* Points of small order, and their other spellings: the secret would be zero for everybody. */
static const char *const low[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static const struct { const char *name, *seed, *pub, *msg, *sig; } signatures[] = {
	{ "RFC 8032 7.1, test 1", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
	    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b" },
	{ "RFC 8032 7.1, test 2", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
	    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00" },
	{ "RFC 8032 7.1, test 3", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
	    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
	    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a" },
};

static const struct packet {
	const char *name;
	enum sshcipher_alg alg;
	const char *key, *iv;
	uint32_t seq;
	const char *plain, *sealed;	/* with the length field */
} packets[] = {
	{ "the draft's packet", SSH_CHACHA20_POLY1305,
	    "8bbff6855fc102338c373e73aac0c914f076a905b2444a32eecaffeae22becc5e9b7a7a5825a8249346ec1c28301cf394543fc7569887d76e168f37562ac0740",
	    "", 7,
	    "00000048065e00000000000000384c6f72656d20697073756d20646f6c6f722073697420616d65742c20636f6e7365637465747572206164697069736963696e6720656c69744e43e804dc6c",
	    "2c3ecce4a5bc05895bf07a7ba956b6c68829ac7c83b780b7000ecde745afc705bbc378ce03a280236b87b53bed5839662302b164b6286a48cd1e097138e3cb909b8b2b829dd18d2a35ff82d995349e855bf02c298ef775f2d1a7e8b8" },
	{ "the last sequence number", SSH_CHACHA20_POLY1305,
	    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
	    "", 0xffffffff, "000000100668656c6c6f20737368000000000000",
	    "b90ee4a00ffa69f7c26bf491e55eabb2728602ae087cecb3cf1a082291a4797804172fc8" },
	{ "AES-256-GCM", SSH_AES256_GCM, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "404142434445464748494a4b", 0,
	    "000000100668656c6c6f20737368000000000000",
	    "00000010e4d1cb4f4a53a770beac17369b64135bddece5abe0e3e6878ac284d79aaaae47" },
};

/* The second packet of a key: the counter has moved on, within its eight bytes. */
static const struct { const char *name, *iv, *first, *second; } counters[] = {
	{ "counter", "404142434445464748494a4b", "00000010e4d1cb4f4a53a770beac17369b64135bddece5abe0e3e6878ac284d79aaaae47",
	    "000000104489f5f13255e76ca6eadc07272cb07eff276e232e751a5d23067477b813223c" },
	{ "counter at its end", "40414243ffffffffffffffff", "00000010616ec9fa6b597d46ae6065881fc6ec4728aee577526b44dbc1c93907513567d9",
	    "00000010772e9f86c4f93e97c86da4bacf3257d6d57e3c866b5f070dd7df7830d93f4195" },
};

static void
test_x25519(void)
{
	uint8_t a[32], b[32], pa[32], pb[32], k[32];
	size_t i;

	for (i = 0; i < sizeof(products) / sizeof(products[0]); i++) {
		unhex(a, sizeof(a), products[i].secret);
		unhex(pa, sizeof(pa), products[i].point);
		check(ssh_x25519(k, a, pa) == 0 && is_hex(k, 32, products[i].want), products[i].name, i);
	}
	unhex(a, sizeof(a), "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
	unhex(b, sizeof(b), "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
	ssh_x25519_public(pa, a);
	ssh_x25519_public(pb, b);
	check(is_hex(pa, 32, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"), "RFC 7748 6.1, Alice", 0);
	check(is_hex(pb, 32, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"), "RFC 7748 6.1, Bob", 0);
	for (i = 0; i < 2; i++)
		check(ssh_x25519(k, i ? b : a, i ? pa : pb) == 0 &&
		    is_hex(k, 32, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"), "RFC 7748 6.1, shared", i);
	for (i = 0; i < sizeof(low) / sizeof(low[0]); i++) {
		unhex(pa, sizeof(pa), low[i]);
		check(ssh_x25519(k, b, pa) == -1, "point of low order", i);
	}
}

static void
test_ed25519(void)
{
	uint8_t seed[32], pub[32], sig[64], msg[64];
	size_t i, n, bit;

	for (i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		unhex(seed, sizeof(seed), signatures[i].seed);
		n = unhex(msg, sizeof(msg), signatures[i].msg);
		ssh_ed25519_public(pub, seed);
		check(is_hex(pub, sizeof(pub), signatures[i].pub), signatures[i].name, 0);
		ssh_ed25519_sign(sig, seed, msg, n);
		check(is_hex(sig, sizeof(sig), signatures[i].sig), signatures[i].name, 1);
		check(ssh_ed25519_verify(pub, sig, msg, n), signatures[i].name, 2);
		for (bit = 0; bit < 8 * sizeof(sig); bit += 7) {
			sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
			check(!ssh_ed25519_verify(pub, sig, msg, n), "signature with a wrong bit", bit);
			sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		msg[n] = 0;
		check(!ssh_ed25519_verify(pub, sig, msg, n + 1), "signature of another message", i);
	}
	memset(pub, 0, sizeof(pub));
	pub[0] = 1;		/* the neutral element: as a key it would take a signature of anything */
	memset(sig, 0, sizeof(sig));
	sig[0] = 1;
	check(!ssh_ed25519_verify(pub, sig, "x", 1), "public key of low order", 0);
}

static void
test_p256(void)
{
	static const char *const bad[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",	/* the order */
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	};
	uint8_t secret[32], pub[SSH_P256_PUB], sig[SSH_P256_SIG];
	size_t i;

	unhex(secret, sizeof(secret), "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
	check(ssh_p256_public(pub, secret) == 0 && is_hex(pub, sizeof(pub),
	    "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"),
	    "RFC 6979 A.2.5, public key", 0);
	ssh_p256_sign(sig, secret, "sample", 6);
	check(is_hex(sig, sizeof(sig),
	    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"),
	    "RFC 6979 A.2.5, sample", 0);
	check(ssh_p256_verify(pub, sig, "sample", 6), "RFC 6979 A.2.5, verified", 0);
	check(!ssh_p256_verify(pub, sig, "Sample", 6), "another message", 0);
	sig[0] ^= 1;
	check(!ssh_p256_verify(pub, sig, "sample", 6), "wrong r", 0);
	pub[10] ^= 1;
	sig[0] ^= 1;
	check(!ssh_p256_verify(pub, sig, "sample", 6), "point that is not on the curve", 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		unhex(secret, sizeof(secret), bad[i]);
		check(ssh_p256_public(pub, secret) == -1, "secret that is none", i);
	}
}

static struct sshcipher *
keyed(enum sshcipher_alg alg, const char *key, const char *iv)
{
	uint8_t k[SSH_CIPHER_KEY_MAX], v[SSH_CIPHER_IV_MAX];
	struct sshcipher *c;

	check(unhex(k, sizeof(k), key) == sshcipher_key_len(alg) && unhex(v, sizeof(v), iv) == sshcipher_iv_len(alg),
	    "length of key and IV", (size_t)alg);
	if ((c = sshcipher_new(alg, k, v)) == NULL)
		abort();
	return c;
}

static void
test_packet(const struct packet *k)
{
	uint8_t plain[128], sealed[128], p[128];
	size_t n = unhex(plain, sizeof(plain), k->plain), i;
	struct sshcipher *c = keyed(k->alg, k->key, k->iv);

	check(unhex(sealed, sizeof(sealed), k->sealed) == n + SSH_TAG_LEN, k->name, 0);
	memcpy(p, plain, n);
	sshcipher_seal(c, k->seq, p, n - 4);
	check(memcmp(p, sealed, n + SSH_TAG_LEN) == 0, k->name, 1);
	sshcipher_free(c);
	for (i = 0; i <= n + SSH_TAG_LEN; i++) {	/* at last without a wrong byte */
		c = keyed(k->alg, k->key, k->iv);
		memcpy(p, sealed, n + SSH_TAG_LEN);
		check(sshcipher_length(c, k->seq, p) == n - 4, "length", i);
		p[i < n + SSH_TAG_LEN ? i : 0] ^= i < n + SSH_TAG_LEN ? 0x20 : 0;
		check(sshcipher_open(c, k->seq, p, n - 4) == (i < n + SSH_TAG_LEN ? -1 : 0), k->name, 100 + i);
		sshcipher_free(c);
	}
	check(memcmp(p + 4, plain + 4, n - 4) == 0, k->name, 2);
}

static void
test_ciphers(void)
{
	uint8_t p[64];
	struct sshcipher *c;
	size_t i, n;

	for (i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
		test_packet(&packets[i]);
	for (i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		c = keyed(SSH_AES256_GCM, packets[2].key, counters[i].iv);
		n = unhex(p, sizeof(p), packets[2].plain);
		sshcipher_seal(c, 9, p, n - 4);
		check(is_hex(p, n + SSH_TAG_LEN, counters[i].first), counters[i].name, 1);
		n = unhex(p, sizeof(p), packets[2].plain);
		sshcipher_seal(c, 9, p, n - 4);
		check(is_hex(p, n + SSH_TAG_LEN, counters[i].second), counters[i].name, 2);
		sshcipher_free(c);
	}
	sshcipher_free(NULL);
}

int
main(void)
{
	if (sshcrypt_init() == -1)
		abort();
	test_x25519();
	test_ed25519();
	test_p256();
	test_ciphers();
	return test_end();
}
