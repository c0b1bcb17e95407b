/* sshcrypt.c: primitives for SSH, by BearSSL and libsodium; see sshcrypt.h. */
#include <bearssl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "be32.h"
#include "sha256.h"
#include "sshcrypt.h"

struct sshcipher {
	enum sshcipher_alg alg;
	br_aes_gen_ctr_keys aes;
	br_gcm_context gcm;
	uint8_t iv[SSH_CIPHER_IV_MAX];	/* its last eight bytes count packets (RFC 5647, 7.1) */
	/* two keys: the packet's, then its length's, so that the length, read before the tag, tells nothing of the packet */
	uint8_t key[2][crypto_stream_chacha20_KEYBYTES];
};

int
sshcrypt_init(void)
{
	return sodium_init() == -1 ? -1 : 0;
}

/* X25519 */

void
ssh_x25519_public(uint8_t pub[SSH_X25519_LEN], const uint8_t secret[SSH_X25519_LEN])
{
	br_ec_get_default()->mulgen(pub, secret, SSH_X25519_LEN, BR_EC_curve25519);
}

int
ssh_x25519(uint8_t shared[SSH_X25519_LEN], const uint8_t secret[SSH_X25519_LEN],
    const uint8_t theirs[SSH_X25519_LEN])
{
	static const uint8_t zero[SSH_X25519_LEN];

	memcpy(shared, theirs, SSH_X25519_LEN);
	br_ec_get_default()->mul(shared, SSH_X25519_LEN, secret, SSH_X25519_LEN, BR_EC_curve25519);
	return ct_equal(shared, zero, sizeof(zero)) ? -1 : 0;
}

/* Ed25519 */

void
ssh_ed25519_public(uint8_t pub[SSH_ED25519_PUB], const uint8_t seed[SSH_ED25519_SEED])
{
	uint8_t secret[crypto_sign_SECRETKEYBYTES];

	crypto_sign_seed_keypair(pub, secret, seed);
	wipe(secret, sizeof(secret));
}

void
ssh_ed25519_sign(uint8_t sig[SSH_ED25519_SIG], const uint8_t seed[SSH_ED25519_SEED], const void *msg, size_t len)
{
	uint8_t pub[SSH_ED25519_PUB], secret[crypto_sign_SECRETKEYBYTES];

	crypto_sign_seed_keypair(pub, secret, seed);
	crypto_sign_detached(sig, NULL, msg, len, secret);
	wipe(secret, sizeof(secret));
}

int
ssh_ed25519_verify(const uint8_t pub[SSH_ED25519_PUB], const uint8_t sig[SSH_ED25519_SIG], const void *msg, size_t len)
{
	return crypto_sign_verify_detached(sig, msg, len, pub) == 0;
}

/* ECDSA */

static br_ec_private_key
p256_key(uint8_t *secret)
{
	br_ec_private_key k;

	k.curve = BR_EC_secp256r1;
	k.x = secret;
	k.xlen = SSH_P256_SECRET;
	return k;
}

int
ssh_p256_public(uint8_t pub[SSH_P256_PUB], const uint8_t secret[SSH_P256_SECRET])
{
	const br_ec_impl *ec = br_ec_get_default();
	uint8_t x[SSH_P256_SECRET];
	br_ec_private_key k;
	const uint8_t *order;
	size_t len, i;
	int less = 0, nonzero = 0;

	order = ec->order(BR_EC_secp256r1, &len);
	for (i = 0; i < SSH_P256_SECRET && !less && secret[i] == order[i]; i++)
		;
	less = i < SSH_P256_SECRET && secret[i] < order[i];
	for (i = 0; i < SSH_P256_SECRET; i++)
		nonzero |= secret[i];
	if (!less || !nonzero)
		return -1;
	memcpy(x, secret, sizeof(x));
	k = p256_key(x);
	len = br_ec_compute_pub(ec, NULL, pub, &k);
	wipe(x, sizeof(x));
	return len == SSH_P256_PUB ? 0 : -1;
}

void
ssh_p256_sign(uint8_t sig[SSH_P256_SIG], const uint8_t secret[SSH_P256_SECRET], const void *msg, size_t len)
{
	uint8_t hash[SHA256_LEN], x[SSH_P256_SECRET];
	br_ec_private_key k;

	sha256(msg, len, hash);
	memcpy(x, secret, sizeof(x));	/* it wants it writable */
	k = p256_key(x);
	br_ecdsa_sign_raw_get_default()(br_ec_get_default(), &br_sha256_vtable, hash, &k, sig);
	wipe(x, sizeof(x));
}

int
ssh_p256_verify(const uint8_t pub[SSH_P256_PUB], const uint8_t sig[SSH_P256_SIG], const void *msg, size_t len)
{
	uint8_t hash[SHA256_LEN], q[SSH_P256_PUB];
	br_ec_public_key key;

	sha256(msg, len, hash);
	memcpy(q, pub, sizeof(q));
	key.curve = BR_EC_secp256r1;
	key.q = q;
	key.qlen = sizeof(q);
	return br_ecdsa_vrfy_raw_get_default()(br_ec_get_default(), hash, sizeof(hash), &key, sig, SSH_P256_SIG) == 1;
}

/* Ciphers */

static const struct {
	size_t key, iv, block;
} sizes[] = {
	{ 16, 12, 16 }, { 32, 12, 16 }, { 64, 0, 8 }
};

size_t
sshcipher_key_len(enum sshcipher_alg alg)
{
	return sizes[alg].key;
}

size_t
sshcipher_iv_len(enum sshcipher_alg alg)
{
	return sizes[alg].iv;
}

size_t
sshcipher_block(enum sshcipher_alg alg)
{
	return sizes[alg].block;
}

static const br_block_ctr_class *
native_aes(void)
{
	const br_block_ctr_class *c = br_aes_x86ni_ctr_get_vtable();

	return c != NULL ? c : br_aes_pwr8_ctr_get_vtable();
}

int
sshcipher_fast_aes(void)
{
	return native_aes() != NULL;
}

static br_ghash
best_ghash(void)
{
	br_ghash g = br_ghash_pclmul_get();

	if (g == 0)
		g = br_ghash_pwr8_get();
	return g != 0 ? g : br_ghash_ctmul64;
}

struct sshcipher *
sshcipher_new(enum sshcipher_alg alg, const uint8_t *key, const uint8_t *iv)
{
	const br_block_ctr_class *aes = native_aes();
	struct sshcipher *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->alg = alg;
	if (alg == SSH_CHACHA20_POLY1305) {
		memcpy(c->key, key, sizeof(c->key));
		return c;
	}
	memcpy(c->iv, iv, sizeof(c->iv));
	if (aes == NULL)
		aes = &br_aes_ct64_ctr_vtable;
	aes->init(&c->aes.vtable, key, sizes[alg].key);
	br_gcm_init(&c->gcm, &c->aes.vtable, best_ghash());
	return c;
}

void
sshcipher_free(struct sshcipher *c)
{
	if (c == NULL)
		return;
	wipe(c, sizeof(*c));
	free(c);
}

static void
gcm_begin(struct sshcipher *c, const uint8_t *p)
{
	br_gcm_reset(&c->gcm, c->iv, sizeof(c->iv));
	br_gcm_aad_inject(&c->gcm, p, 4);
	br_gcm_flip(&c->gcm);
}

static void
gcm_next_nonce(struct sshcipher *c)
{
	int i;

	for (i = SSH_CIPHER_IV_MAX - 1; i >= SSH_CIPHER_IV_MAX - 8 && ++c->iv[i] == 0; i--)
		;
}

static void
chacha_nonce(uint8_t nonce[crypto_stream_chacha20_NONCEBYTES], uint32_t seq)
{
	memset(nonce, 0, 4);
	be32_put(nonce + 4, seq);
}

/* Block 0 of the packet's key stream is Poly1305's key. */
static void
chacha_mac_key(const struct sshcipher *c, const uint8_t *nonce, uint8_t mac[crypto_onetimeauth_poly1305_KEYBYTES])
{
	crypto_stream_chacha20(mac, crypto_onetimeauth_poly1305_KEYBYTES, nonce, c->key[0]);
}

uint32_t
sshcipher_length(const struct sshcipher *c, uint32_t seq, const uint8_t in[4])
{
	uint8_t nonce[crypto_stream_chacha20_NONCEBYTES], plain[4];

	if (c->alg != SSH_CHACHA20_POLY1305)
		return be32_get(in);
	chacha_nonce(nonce, seq);
	crypto_stream_chacha20_xor(plain, in, sizeof(plain), nonce, c->key[1]);
	return be32_get(plain);
}

void
sshcipher_seal(struct sshcipher *c, uint32_t seq, uint8_t *p, size_t len)
{
	uint8_t nonce[crypto_stream_chacha20_NONCEBYTES], mac[crypto_onetimeauth_poly1305_KEYBYTES];

	if (c->alg != SSH_CHACHA20_POLY1305) {
		gcm_begin(c, p);
		br_gcm_run(&c->gcm, 1, p + 4, len);
		br_gcm_get_tag(&c->gcm, p + 4 + len);
		gcm_next_nonce(c);
		return;
	}
	chacha_nonce(nonce, seq);
	chacha_mac_key(c, nonce, mac);
	crypto_stream_chacha20_xor(p, p, 4, nonce, c->key[1]);
	crypto_stream_chacha20_xor_ic(p + 4, p + 4, len, nonce, 1, c->key[0]);
	crypto_onetimeauth_poly1305(p + 4 + len, p, 4 + len, mac);
	wipe(mac, sizeof(mac));
}

int
sshcipher_open(struct sshcipher *c, uint32_t seq, uint8_t *p, size_t len)
{
	uint8_t nonce[crypto_stream_chacha20_NONCEBYTES], mac[crypto_onetimeauth_poly1305_KEYBYTES];
	int bad;

	if (c->alg != SSH_CHACHA20_POLY1305) {
		gcm_begin(c, p);
		br_gcm_run(&c->gcm, 0, p + 4, len);
		bad = !br_gcm_check_tag(&c->gcm, p + 4 + len);
		gcm_next_nonce(c);
		return bad ? -1 : 0;
	}
	chacha_nonce(nonce, seq);
	chacha_mac_key(c, nonce, mac);
	bad = crypto_onetimeauth_poly1305_verify(p + 4 + len, p, 4 + len, mac) != 0;
	wipe(mac, sizeof(mac));
	if (bad)
		return -1;
	crypto_stream_chacha20_xor_ic(p + 4, p + 4, len, nonce, 1, c->key[0]);
	return 0;
}
