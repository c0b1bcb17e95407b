/* jwtsig_libtls.c: signatures by public keys, by libcrypto, which comes with libtls; see jwtsig.h. */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "buf.h"
#include "der.h"
#include "jwtsig.h"

enum {
	COORDINATE = 32,
	SPKI_MAX = JWT_KEY_MAX + 64,
	INTS_MAX = 2 * (COORDINATE + 3)	/* two coordinates, with tag, length and a zero in front */
};

int
jwtsig_has(enum jwt_alg alg)
{
	return alg != JWT_ALG_OTHER;
}

/* DER, X.690 8.1.3 and 10.1. */
static void
put_head(struct buf *b, int tag, size_t len)
{
	buf_char(b, (char)tag);
	if (len >= 256)
		buf_put(b, "\x82", 1);
	else if (len >= 128)
		buf_put(b, "\x81", 1);
	if (len >= 256)
		buf_char(b, (char)(len >> 8));
	buf_char(b, (char)(len & 0xff));
}

static void
put_integer(struct buf *b, const uint8_t *p, size_t len)
{
	for (; len > 1 && *p == 0; len--)
		p++;
	put_head(b, DER_INTEGER, len + (*p >> 7));
	if (*p & 0x80)
		buf_char(b, 0);
	buf_put(b, p, len);
}

/* The key as SubjectPublicKeyInfo, the one form that every libcrypto takes. */
static EVP_PKEY *
load(const struct jwt_key *k)
{
	static const uint8_t rsa[] = { 0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0 };
	static const uint8_t ec[] = { 0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1,
	    6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 };
	static const uint8_t ed[] = { 0x30, 5, 6, 3, 0x2b, 0x65, 0x70 };
	const uint8_t *head = k->alg == JWT_RS256 ? rsa : k->alg == JWT_ES256 ? ec : ed;
	const size_t n = k->alg == JWT_RS256 ? sizeof(rsa) : k->alg == JWT_ES256 ? sizeof(ec) : sizeof(ed);
	uint8_t ints[SPKI_MAX], key[SPKI_MAX], spki[SPKI_MAX];
	const uint8_t *p = spki;
	struct buf i, b, out;

	buf_init(&b, key, sizeof(key));
	if (k->alg == JWT_RS256) {
		buf_init(&i, ints, sizeof(ints));
		put_integer(&i, k->p, k->len);
		put_integer(&i, k->e, k->elen);
		put_head(&b, DER_SEQUENCE, i.len);
		buf_put(&b, ints, i.len);
	} else
		buf_put(&b, k->p, k->len);
	buf_init(&i, ints, sizeof(ints));
	put_head(&i, DER_BIT_STRING, b.len + 1);
	buf_init(&out, spki, sizeof(spki));
	put_head(&out, DER_SEQUENCE, n + i.len + 1 + b.len);
	buf_put(&out, head, n);
	buf_put(&out, ints, i.len);
	buf_char(&out, 0);	/* no bits unused */
	buf_put(&out, key, b.len);
	return out.full ? NULL : d2i_PUBKEY(NULL, &p, (long)out.len);
}

/* r and s (RFC 7518 3.4) as libcrypto takes them, ECDSA-Sig-Value (RFC 3279 2.2.3). */
static size_t
signature(uint8_t out[INTS_MAX + 2], const uint8_t *sig)
{
	uint8_t ints[INTS_MAX];
	struct buf i, b;

	buf_init(&i, ints, sizeof(ints));
	put_integer(&i, sig, COORDINATE);
	put_integer(&i, sig + COORDINATE, COORDINATE);
	buf_init(&b, out, INTS_MAX + 2);
	put_head(&b, DER_SEQUENCE, i.len);
	buf_put(&b, ints, i.len);
	return b.len;
}

int
jwtsig_verify(const struct jwt_key *k, const void *msg, size_t len, const uint8_t *sig, size_t siglen)
{
	const size_t want = k->alg == JWT_RS256 ? k->len : 2 * COORDINATE;
	const EVP_MD *md = k->alg == JWT_EDDSA ? NULL : EVP_sha256();
	uint8_t der[INTS_MAX + 2];
	EVP_PKEY *key;
	EVP_MD_CTX *ctx;
	int ok = 0;

	if ((k->alg != JWT_RS256 && k->alg != JWT_ES256 && k->alg != JWT_EDDSA) || siglen != want)
		return 0;
	if (k->alg == JWT_ES256) {
		siglen = signature(der, sig);
		sig = der;
	}
	key = load(k);
	ctx = EVP_MD_CTX_new();
	if (key != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1)
		ok = EVP_DigestVerify(ctx, sig, siglen, msg, len) == 1;
	ERR_clear_error();	/* this thread's next error shall be its own */
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return ok;
}
