/* jwtkey.c: keys that tokens are verified with; see jwtkey.h. */
#include <string.h>

#include "base64.h"
#include "der.h"
#include "jwtkey.h"
#include "jwtsig.h"
#include "pem.h"
#include "sha256.h"
#include "x509.h"

enum {
	RSA_BITS_MIN = 2048, RSA_BITS_MAX = 4096,
	COORDINATE = 32,	/* bytes of a P-256 one, and of an Ed25519 key */
	DER_MAX = 4096,		/* bytes of a PEM object */
	WORD_MAX = 32		/* kty, crv, alg, use: whatever is longer, we do not know */
};

static const struct {
	const char *name;
	enum jwt_alg alg;
} algs[] = {
	{ "HS256", JWT_HS256 }, { "RS256", JWT_RS256 }, { "ES256", JWT_ES256 },
	{ "EdDSA", JWT_EDDSA }, { "Ed25519", JWT_EDDSA }
};

enum jwt_alg
jwt_alg_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(algs) / sizeof(algs[0]); i++)
		if (strcmp(algs[i].name, name) == 0)
			return algs[i].alg;
	return JWT_ALG_OTHER;
}

static int
bad(const char **why, const char *what)
{
	*why = what;
	return -1;
}

int
jwt_key_secret(struct jwt_key *k, const char *text, size_t len, const char **why)
{
	if (len > 0 && text[len - 1] == '\n')
		len -= len > 1 && text[len - 2] == '\r' ? 2 : 1;
	if (len == 0)
		return bad(why, "the secret is empty");
	if (len > JWT_KEY_MAX)
		return bad(why, "the secret is over 512 bytes");
	if (len > 10 && memcmp(text, "-----BEGIN", 10) == 0)
		return bad(why, "this is PEM and no secret: a public key belongs to --jwt-key");
	memset(k, 0, sizeof(*k));
	k->alg = JWT_HS256;
	memcpy(k->p, text, len);
	k->len = len;
	return 0;
}

static struct der
without_zeros(struct der n)
{
	for (; n.len > 0 && n.p[0] == 0; n.len--)
		n.p++;
	return n;
}

static int
set_rsa(struct jwt_key *k, struct der n, struct der e, const char **why)
{
	size_t bits;
	unsigned top;

	n = without_zeros(n);
	e = without_zeros(e);
	bits = n.len * 8;
	for (top = n.len > 0 ? n.p[0] : 0x80; (top & 0x80) == 0; top <<= 1)
		bits--;
	if (bits < RSA_BITS_MIN)
		return bad(why, "the RSA key has less than 2048 bits");
	if (bits > RSA_BITS_MAX)
		return bad(why, "the RSA key has more than 4096 bits");
	if ((n.p[n.len - 1] & 1) == 0 || e.len == 0 || e.len > sizeof(k->e) ||
	    (e.p[e.len - 1] & 1) == 0 || (e.len == 1 && e.p[0] < 3))
		return bad(why, "the RSA key is no sound one");
	k->alg = JWT_RS256;
	memcpy(k->p, n.p, n.len);
	k->len = n.len;
	memcpy(k->e, e.p, e.len);
	k->elen = e.len;
	return 0;
}

static void
set_plain(struct jwt_key *k, enum jwt_alg alg, struct der p)
{
	k->alg = alg;
	memcpy(k->p, p.p, p.len);
	k->len = p.len;
}

/* RSAPublicKey, RFC 8017 A.1.1. */
static int
rsa_public_key(struct jwt_key *k, struct der in, const char **why)
{
	struct der seq, n, e;

	if (!der_take(&in, DER_SEQUENCE, &seq) || in.len != 0 || !der_take(&seq, DER_INTEGER, &n) ||
	    !der_take(&seq, DER_INTEGER, &e) || seq.len != 0)
		return bad(why, "the RSA key is no sound one");
	return set_rsa(k, n, e, why);
}

static int
is_oid(struct der oid, const char *bytes, size_t len)
{
	return oid.len == len && memcmp(oid.p, bytes, len) == 0;
}

/* SubjectPublicKeyInfo: RFC 3279 2.3.1 (RSA), RFC 5480 (EC), RFC 8410 (Ed25519). */
static int
public_key(struct jwt_key *k, struct der in, const char **why)
{
	static const char rsa[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", ec[] = "\x2a\x86\x48\xce\x3d\x02\x01";
	static const char p256[] = "\x2a\x86\x48\xce\x3d\x03\x01\x07", ed25519[] = "\x2b\x65\x70";
	struct der seq, algorithm, oid, curve, key;

	if (!der_take(&in, DER_SEQUENCE, &seq) || in.len != 0 || !der_take(&seq, DER_SEQUENCE, &algorithm) ||
	    !der_take(&seq, DER_BIT_STRING, &key) || seq.len != 0 || !der_take(&algorithm, DER_OID, &oid) ||
	    key.len == 0 || key.p[0] != 0)
		return bad(why, "the public key is not in DER");
	key.p++;
	key.len--;
	if (is_oid(oid, rsa, sizeof(rsa) - 1))
		return rsa_public_key(k, key, why);
	if (is_oid(oid, ec, sizeof(ec) - 1)) {
		if (!der_take(&algorithm, DER_OID, &curve) || !is_oid(curve, p256, sizeof(p256) - 1))
			return bad(why, "the EC key is not on P-256, which ES256 is for");
		if (key.len != 1 + 2 * COORDINATE || key.p[0] != 4)
			return bad(why, "the EC key is no uncompressed point");
		set_plain(k, JWT_ES256, key);
		return 0;
	}
	if (!is_oid(oid, ed25519, sizeof(ed25519) - 1) || key.len != COORDINATE)
		return bad(why, "the public key is neither RSA nor EC nor Ed25519");
	set_plain(k, JWT_EDDSA, key);
	return 0;
}

/* One object: 1, 0 if it is none that holds a key, -1. */
static int
pem_key(struct jwt_key *k, const char *label, struct der der, const char **why)
{
	struct x509 cert;
	int rc;

	memset(k, 0, sizeof(*k));
	if (strstr(label, "PRIVATE KEY") != NULL)
		return bad(why, "this is a private key: give the public one (openssl pkey -pubout)");
	if (strcmp(label, "PUBLIC KEY") == 0)
		rc = public_key(k, der, why);
	else if (strcmp(label, "RSA PUBLIC KEY") == 0)
		rc = rsa_public_key(k, der, why);
	else if (strcmp(label, "CERTIFICATE") == 0)
		rc = x509_parse(&cert, der.p, der.len, why) == -1 ? -1 : public_key(k, cert.spki, why);
	else
		return 0;
	if (rc == 0 && !jwtsig_has(k->alg))
		return bad(why, "this build cannot verify with such a key");
	return rc == 0 ? 1 : -1;
}

int
jwt_keys_pem(struct jwt_key *key, int max, const char *text, size_t len, const char **why)
{
	uint8_t raw[DER_MAX];
	char label[PEM_LABEL_MAX];
	struct der der = { raw, 0 };
	size_t at = 0;
	int n = 0, rc, got = 0;

	while ((rc = pem_next(text, len, &at, label, raw, sizeof(raw), &der.len, why)) == 1) {
		if (n == max) {
			rc = bad(why, "too many keys");
			break;
		}
		if ((got = pem_key(&key[n], label, der, why)) == -1)
			break;
		n += got;
	}
	wipe(raw, sizeof(raw));		/* it may have been a private key */
	if (rc == -1 || got == -1)
		return -1;
	return n > 0 ? n : bad(why, "there is no public key in PEM");
}

/* JWK Sets. */

/* A member that must equal want where it is there. */
static int
may_be(const struct json *j, size_t obj, const char *name, const char *want)
{
	char word[WORD_MAX];
	int rc = json_get_str(j, obj, name, word, sizeof(word));

	return rc == 0 || (rc == 1 && strcmp(word, want) == 0);
}

/* A member in base64url: its bytes, which are in raw[cap]. */
static int
get_bytes(const struct json *j, size_t obj, const char *name, uint8_t *raw, size_t cap, struct der *out)
{
	char text[BASE64URL_LEN(JWT_KEY_MAX + 1) + 1];
	long n;

	if (json_get_str(j, obj, name, text, sizeof(text)) != 1 ||
	    strlen(text) / 4 * 3 + 2 > cap || (n = base64url_decode(raw, text, strlen(text))) <= 0)
		return 0;
	out->p = raw;
	out->len = (size_t)n;
	return 1;
}

enum { RAW_MAX = JWT_KEY_MAX + 8 };

/* The key's own members, by kty: 1 or 0. */
static int
jwk_material(struct jwt_key *k, const struct json *j, size_t obj, const char *kty)
{
	uint8_t raw[RAW_MAX], other[RAW_MAX];
	struct der a, b;
	const char *why;
	char crv[WORD_MAX];

	if (strcmp(kty, "RSA") == 0)
		return get_bytes(j, obj, "n", raw, sizeof(raw), &a) && get_bytes(j, obj, "e", other, sizeof(other), &b) &&
		    set_rsa(k, a, b, &why) == 0;
	if (json_get_str(j, obj, "crv", crv, sizeof(crv)) != 1 ||
	    !get_bytes(j, obj, "x", raw + 1, sizeof(raw) - 1, &a) || a.len != COORDINATE)
		return 0;
	if (strcmp(kty, "OKP") == 0 && strcmp(crv, "Ed25519") == 0) {
		set_plain(k, JWT_EDDSA, a);
		return 1;
	}
	if (strcmp(kty, "EC") != 0 || strcmp(crv, "P-256") != 0 ||
	    !get_bytes(j, obj, "y", other, sizeof(other), &b) || b.len != COORDINATE)
		return 0;
	raw[0] = 4;
	memcpy(raw + 1 + COORDINATE, b.p, COORDINATE);
	a.p = raw;
	a.len = 1 + 2 * COORDINATE;
	set_plain(k, JWT_ES256, a);
	return 1;
}

/* May it verify, as far as key_ops (RFC 7517 4.3) says? */
static int
ops_allow(const struct json *j, size_t obj)
{
	size_t ops = json_member(j, obj, "key_ops"), i;
	char word[WORD_MAX];

	if (ops == 0)
		return 1;
	if (j->node[ops].type != JSON_ARRAY)
		return 0;
	for (i = json_first(j, ops); i != 0 && i < j->node[ops].next; i = j->node[i].next)
		if (j->node[i].type == JSON_STRING && json_unescape(j, i, word, sizeof(word)) != -1 &&
		    strcmp(word, "verify") == 0)
			return 1;
	return 0;
}

static int
jwk_key(struct jwt_key *k, const struct json *j, size_t obj)
{
	char kty[WORD_MAX], alg[WORD_MAX];
	int rc;

	memset(k, 0, sizeof(*k));
	if (json_get_str(j, obj, "kty", kty, sizeof(kty)) != 1 || !may_be(j, obj, "use", "sig") ||
	    !ops_allow(j, obj) || json_get_str(j, obj, "kid", k->kid, sizeof(k->kid)) == -1 ||
	    !jwk_material(k, j, obj, kty))
		return 0;
	rc = json_get_str(j, obj, "alg", alg, sizeof(alg));
	return (rc == 0 || (rc == 1 && jwt_alg_find(alg) == k->alg)) && jwtsig_has(k->alg);
}

int
jwt_keys_jwks(struct jwt_key *key, int max, int *skipped, struct json_node *node, size_t nnodes,
    const char *text, size_t len, const char **why)
{
	struct json j;
	size_t keys, i;
	int n = 0;

	if (json_parse(&j, node, nnodes, text, len, why) == -1)
		return -1;
	keys = json_member(&j, 0, "keys");
	if (keys == 0 || j.node[keys].type != JSON_ARRAY)
		return bad(why, "no JWK Set: it has no array called keys");
	*skipped = 0;
	for (i = json_first(&j, keys); i != 0 && i < j.node[keys].next; i = j.node[i].next) {
		if (n < max && j.node[i].type == JSON_OBJECT && jwk_key(&key[n], &j, i))
			n++;
		else
			++*skipped;
	}
	return n;
}
