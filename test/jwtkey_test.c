/* jwtkey_test.c: keys from secrets, PEM and JWK Sets. */
#include "../jwtkey.h"
#include "../jwtsig.h"
#include "jwt_vectors.h"
#include "test.h"

enum { NODES = 256, MAX = 4 };

static struct json_node node[NODES];

static void
secrets(void)
{
	static const struct { const char *in; size_t len; long want; } rows[] = {
		{ "secret", 6, 6 }, { "secret\n", 7, 6 }, { "secret\r\n", 8, 6 }, { "secret\n\n", 8, 7 }, { " s ", 3, 3 },
		{ "a\0b", 3, 3 }, { "", 0, -1 }, { "\n", 1, -1 }, { "\r\n", 2, -1 }, { "-----BEGIN PUBLIC KEY-----", 26, -1 },
	};
	static const char too_long[JWT_KEY_MAX + 2] = { 'x' };
	struct jwt_key k;
	const char *why;
	size_t i;
	char *p;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p = exact(rows[i].in, rows[i].len);
		why = NULL;
		check(jwt_key_secret(&k, p, rows[i].len, &why) == (rows[i].want == -1 ? -1 : 0), rows[i].in, i);
		check(rows[i].want == -1 ? why != NULL : k.alg == JWT_HS256 && k.len == (size_t)rows[i].want &&
		    memcmp(k.p, rows[i].in, k.len) == 0, rows[i].in, i);
		free(p);
	}
	check(jwt_key_secret(&k, too_long, JWT_KEY_MAX, &why) == 0, "512 bytes", 0);
	check(jwt_key_secret(&k, too_long, JWT_KEY_MAX + 1, &why) == -1, "513 bytes", 0);
}

static const char private_pem[] = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n";

static const struct { const char *name, *text; enum jwt_alg alg; size_t len; } pems[] = {
	{ "RSA", rsa_pem, JWT_RS256, 256 }, { "RSA of 4096 bits", rsa4096_pem, JWT_RS256, 512 },
	{ "RSA, PKCS#1", rsa_pkcs1_pem, JWT_RS256, 256 }, { "EC", ec_pem, JWT_ES256, 65 },
	{ "Ed25519", ed_pem, JWT_EDDSA, 32 }, { "EC in a certificate", ec_cert_pem, JWT_ES256, 65 },
	{ "RSA of 1024 bits", weak_pem, JWT_ALG_OTHER, 0 }, { "P-384", ec384_pem, JWT_ALG_OTHER, 0 },
	{ "a private key", private_pem, JWT_ALG_OTHER, 0 }, { "nothing", "", JWT_ALG_OTHER, 0 },
	{ "no PEM", "a secret", JWT_ALG_OTHER, 0 },
	{ "an object that is no key", "-----BEGIN X-----\nAAAA\n-----END X-----\n", JWT_ALG_OTHER, 0 },
	{ "no DER", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", JWT_ALG_OTHER, 0 },
};

static void
pem(void)
{
	struct jwt_key key[MAX];
	char text[4096], *p;
	const char *why;
	size_t i, n, cut;
	int rc, want;

	for (i = 0; i < sizeof(pems) / sizeof(pems[0]); i++) {
		why = NULL;
		want = pems[i].len > 0 && jwtsig_has(pems[i].alg) ? 1 : -1;
		rc = jwt_keys_pem(key, MAX, pems[i].text, strlen(pems[i].text), &why);
		check(rc == want, pems[i].name, i);
		check(rc == 1 ? key[0].alg == pems[i].alg && key[0].len == pems[i].len && key[0].kid[0] == '\0' :
		    why != NULL, pems[i].name, i);
		for (cut = 0; cut + 1 < strlen(pems[i].text); cut += 7) {
			p = exact(pems[i].text, cut);
			check(jwt_keys_pem(key, MAX, p, cut, &why) == -1, pems[i].name, cut);
			free(p);
		}
	}
	n = (size_t)snprintf(text, sizeof(text), "some text\n%s\n%s", rsa_pem, ec_pem);
	want = jwtsig_has(JWT_RS256) ? 2 : -1;
	check(jwt_keys_pem(key, MAX, text, n, &why) == want, "two keys", 0);
	check(jwt_keys_pem(key, 1, text, n, &why) == -1, "one key too many", 0);
	n = (size_t)snprintf(text, sizeof(text), "%s%s", rsa_pem, private_pem);
	check(jwt_keys_pem(key, MAX, text, n, &why) == -1, "a private key beside a public one", 0);
}

/* %R stands for the RSA modulus, %X and %Y for the EC point, %E for the Ed25519 key. */
static const struct { const char *name, *text; int keys, skipped; enum jwt_alg alg; } sets[] = {
	{ "RSA", "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a\",\"n\":\"%R\",\"e\":\"AQAB\"}]}", 1, 0, JWT_RS256 },
	{ "RSA with all it can have", "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a\",\"use\":\"sig\",\"alg\":\"RS256\",\"key_ops\":[\"verify\"],"
	    "\"x5c\":[\"MIIB\"],\"x5t\":\"x\",\"n\":\"%R\",\"e\":\"AQAB\"}],\"more\":1}", 1, 0, JWT_RS256 },
	{ "RSA with zeros in front", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AAAA%R\",\"e\":\"AAEAAQ\"}]}", 1, 0, JWT_RS256 },
	{ "EC", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%X\",\"y\":\"%Y\"}]}", 1, 0, JWT_ES256 },
	{ "Ed25519", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%E\"}]}", 1, 0, JWT_EDDSA },
	{ "Ed25519, RFC 9864", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%E\",\"alg\":\"Ed25519\"}]}", 1, 0, JWT_EDDSA },
	{ "none", "{\"keys\":[]}", 0, 0, JWT_RS256 },
	{ "for encryption", "{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\",\"n\":\"%R\",\"e\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "use no string", "{\"keys\":[{\"kty\":\"RSA\",\"use\":1,\"n\":\"%R\",\"e\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "for signing alone", "{\"keys\":[{\"kty\":\"RSA\",\"key_ops\":[\"sign\"],\"n\":\"%R\",\"e\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "another alg", "{\"keys\":[{\"kty\":\"RSA\",\"alg\":\"PS256\",\"n\":\"%R\",\"e\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "alg HS256", "{\"keys\":[{\"kty\":\"RSA\",\"alg\":\"HS256\",\"n\":\"%R\",\"e\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "a secret", "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"%X\"}]}", 0, 1, JWT_RS256 },
	{ "an even exponent", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%R\",\"e\":\"AQAC\"}]}", 0, 1, JWT_RS256 },
	{ "exponent 1", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%R\",\"e\":\"AQ\"}]}", 0, 1, JWT_RS256 },
	{ "exponent 0", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%R\",\"e\":\"AA\"}]}", 0, 1, JWT_RS256 },
	{ "an exponent of 5 bytes", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%R\",\"e\":\"AQAAAAE\"}]}", 0, 1, JWT_RS256 },
	{ "no exponent", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%R\"}]}", 0, 1, JWT_RS256 },
	{ "RSA of few bits", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%X\",\"e\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "RSA of many bits", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%R%R%R\",\"e\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "a modulus in base64", "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%R==\",\"e\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "another curve", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"%X\",\"y\":\"%Y\"}]}", 0, 1, JWT_RS256 },
	{ "half a point", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%X\"}]}", 0, 1, JWT_RS256 },
	{ "a short point", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%X\",\"y\":\"AQAB\"}]}", 0, 1, JWT_RS256 },
	{ "X25519", "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"%E\"}]}", 0, 1, JWT_RS256 },
	{ "kid no string", "{\"keys\":[{\"kty\":\"EC\",\"kid\":1,\"crv\":\"P-256\",\"x\":\"%X\",\"y\":\"%Y\"}]}", 0, 1, JWT_RS256 },
	{ "not objects", "{\"keys\":[1,\"x\",null,[]]}", 0, 4, JWT_RS256 },
	{ "good after bad", "{\"keys\":[1,{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%X\",\"y\":\"%Y\"}]}", 1, 1, JWT_ES256 },
	{ "no set", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%X\",\"y\":\"%Y\"}", -1, 0, JWT_RS256 },
	{ "keys no array", "{\"keys\":{}}", -1, 0, JWT_RS256 },
	{ "keys twice", "{\"keys\":[],\"keys\":[]}", -1, 0, JWT_RS256 },
	{ "an array", "[]", -1, 0, JWT_RS256 },
	{ "HTML", "<html></html>", -1, 0, JWT_RS256 },
	{ "nothing", "", -1, 0, JWT_RS256 },
};

/* The text with what its %X stand for. */
static size_t
fill(char *out, const char *in)
{
	size_t n = 0;
	const char *s;

	for (; *in != '\0'; in++) {
		if (*in != '%') {
			out[n++] = *in;
			continue;
		}
		in++;
		s = *in == 'R' ? rsa_n : *in == 'X' ? ec_x : *in == 'Y' ? ec_y : ed_x;
		memcpy(out + n, s, strlen(s));
		n += strlen(s);
	}
	return n;
}

static void
jwks(void)
{
	struct jwt_key key[MAX];
	char text[4096], *p;
	const char *why;
	size_t i, n, cut;
	int rc, skipped, total;

	for (i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		n = fill(text, sets[i].text);
		p = exact(text, n);
		rc = jwt_keys_jwks(key, MAX, &skipped, node, NODES, p, n, &why);
		total = sets[i].keys + sets[i].skipped;
		if (sets[i].keys == 1 && jwtsig_has(sets[i].alg))
			check(rc == 1 && skipped == sets[i].skipped && key[0].alg == sets[i].alg, sets[i].name, i);
		else
			check(rc == (sets[i].keys == -1 ? -1 : 0) && (rc == -1 || skipped == total), sets[i].name, i);
		free(p);
		for (cut = 0; cut < n; cut += 5) {
			p = exact(text, cut);
			check(jwt_keys_jwks(key, MAX, &skipped, node, NODES, p, cut, &why) == -1, sets[i].name, cut);
			free(p);
		}
	}
	n = (size_t)snprintf(text, sizeof(text), "{\"keys\":[%s", "");
	for (i = 0; i < 6; i++) {
		n += fill(text + n, &",{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%X\",\"y\":\"%Y\"}"[i == 0]);
	}
	n += (size_t)snprintf(text + n, sizeof(text) - n, "]}");
	rc = jwt_keys_jwks(key, MAX, &skipped, node, NODES, text, n, &why);
	check(jwtsig_has(JWT_ES256) ? rc == MAX && skipped == 2 : rc == 0 && skipped == 6, "more than there is room for", 0);
	check(jwt_keys_jwks(key, MAX, &skipped, node, 8, text, n, &why) == -1 && strcmp(why, "too many values") == 0,
	    "more values than there is room for", 0);
}

static void
names(void)
{
	check(jwt_alg_find("HS256") == JWT_HS256 && jwt_alg_find("none") == JWT_ALG_OTHER &&
	    jwt_alg_find("") == JWT_ALG_OTHER && jwt_alg_find("Ed25519") == JWT_EDDSA, "alg", 0);
}

int
main(void)
{
	secrets();
	pem();
	jwks();
	names();
	return test_end();
}
