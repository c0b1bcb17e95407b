/* jwt_test.c: tokens that must pass, and those that must not, RFC 7515 and 7519. */
#include "../base64.h"
#include "../jwt.h"
#include "../jwtsig.h"
#include "jwt_vectors.h"
#include "test.h"

enum { KEYS_MAX = 16 };

#define HOUR 3600
static const int64_t now = 1767225600;	/* 2026-01-01 */

/* RFC 7515 A.1 to A.5, whose claims are those of RFC 7519 3.1; RFC 7519 6.1. */
#define RFC_CLAIMS "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
static const char rfc_secret[] =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
static const char rfc_jwks[] = "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W2"
    "6mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo"
    "9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxv"
    "b3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp"
    "oQ\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

static const struct { const char *name, *token; enum jwt_alg alg; const char *why; } rfc[] = {
	{ "RFC 7515 A.1, RFC 7519 3.1: HS256", "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_CLAIMS
	    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", JWT_HS256, NULL },
	{ "RFC 7515 A.2: RS256", "eyJhbGciOiJSUzI1NiJ9." RFC_CLAIMS
	    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
	    "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07"
	    "Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI"
	    "8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw", JWT_RS256, NULL },
	{ "RFC 7515 A.3: ES256", "eyJhbGciOiJFUzI1NiJ9." RFC_CLAIMS
	    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
	    JWT_ES256, NULL },
	{ "RFC 7515 A.4: ES512", "eyJhbGciOiJFUzUxMiJ9.e30.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZq"
	    "wqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ER"
	    "BXukOXolLzeO_Jn", JWT_ALG_OTHER, "alg is not one that we know" },
	{ "RFC 7515 A.5, RFC 7519 6.1: unsecured", "eyJhbGciOiJub25lIn0." RFC_CLAIMS ".", JWT_ALG_OTHER,
	    "alg is none: the token is not signed" },
	{ "RFC 7516 A.1: a JWE", "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoT"
	    ".48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji.XFBoMYUZodetZdvTiFvSkQ",
	    JWT_ALG_OTHER, "the token has not three parts" },
};

static struct jwt jwt;

/* Parse and verify, from memory of exactly that size. */
static enum jwt_verdict
verdict(const char *token, size_t len, const struct jwt_key *key, int n, const char **why)
{
	char *p = exact(token, len);
	enum jwt_verdict v = JWT_BAD;

	*why = NULL;
	if (jwt_parse(&jwt, p, len, why) == 0)
		v = jwt_verify(&jwt, key, (size_t)n, why);
	free(p);
	return v;
}

static void
vectors(void)
{
	static const char in[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
	static const char ed[] =
	    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
	struct jwt_key key[KEYS_MAX];
	struct json_node node[64];
	uint8_t raw[80];
	const char *why;
	int skipped, n = 0, i;

	n = jwt_keys_jwks(key, KEYS_MAX - 1, &skipped, node, 64, rfc_jwks, sizeof(rfc_jwks) - 1, &why);
	check(n + skipped == 3 && (n > 0) == jwtsig_has(JWT_RS256), "keys of the RFCs", (size_t)n);
	/* RFC 8037 A.5: its payload is no JSON */
	if (jwtsig_has(JWT_EDDSA)) {
		check(base64url_decode(raw, ed, sizeof(ed) - 1) == 64 &&
		    jwtsig_verify(&key[n - 1], in, sizeof(in) - 1, raw, 64), "RFC 8037 A.5", 0);
		raw[63] ^= 1;
		check(!jwtsig_verify(&key[n - 1], in, sizeof(in) - 1, raw, 64), "RFC 8037 A.5", 1);
	}
	memset(&key[n], 0, sizeof(key[n]));
	key[n].alg = JWT_HS256;
	key[n].len = (size_t)base64url_decode(key[n].p, rfc_secret, sizeof(rfc_secret) - 1);
	n++;
	for (i = 0; i < (int)(sizeof(rfc) / sizeof(rfc[0])); i++) {
		enum jwt_verdict v = verdict(rfc[i].token, strlen(rfc[i].token), key, n, &why);

		if (rfc[i].why != NULL)
			check(v != JWT_GOOD && why != NULL && strcmp(why, rfc[i].why) == 0, rfc[i].name, 0);
		else if (jwtsig_has(rfc[i].alg))
			check(v == JWT_GOOD && jwt.alg == rfc[i].alg, rfc[i].name, 0);
		else
			check(v == JWT_NO_KEY, rfc[i].name, 0);
	}
}

/* All keys of jwt_vectors.h, but for kid and algorithms as they come. */
static int
all_keys(struct jwt_key *key)
{
	static const char *const pem[] = { rsa_pem, rsa4096_pem, rsa3_pem, ec_pem, ed_pem };
	const char *why;
	int n = 0, i;

	check(jwt_key_secret(&key[n++], hs_secret, sizeof(hs_secret) - 1, &why) == 0, "secret", 0);
	for (i = 0; i < 5; i++)
		if (jwt_keys_pem(&key[n], KEYS_MAX - n, pem[i], strlen(pem[i]), &why) == 1)
			n++;
	check(n == 1 + 4 * jwtsig_has(JWT_RS256) + jwtsig_has(JWT_EDDSA), "keys", (size_t)n);
	return n;
}

static void
good_and_bad(void)
{
	static const struct { const char *name, *token; enum jwt_alg alg; } good[] = {
		{ "HS256", hs_token, JWT_HS256 }, { "RS256", rs_token, JWT_RS256 }, { "RS256, 4096 bits", rs4096_token, JWT_RS256 },
		{ "RS256, e = 3", rs3_token, JWT_RS256 }, { "RS256, a kid that no key has", rs_kid_token, JWT_RS256 },
		{ "ES256", es_token, JWT_ES256 }, { "EdDSA", ed_token, JWT_EDDSA }
	};
	struct jwt_key key[KEYS_MAX];
	const char *why;
	enum jwt_verdict v;
	size_t i, k;
	int n = all_keys(key), matching;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		v = verdict(good[i].token, strlen(good[i].token), key, n, &why);
		check(v == (jwtsig_has(good[i].alg) ? JWT_GOOD : JWT_NO_KEY), good[i].name, 0);
		/* a key that is for another algorithm is not even tried */
		for (k = 0; k < (size_t)n; k++) {
			v = verdict(good[i].token, strlen(good[i].token), &key[k], 1, &why);
			check((v == JWT_NO_KEY) == (key[k].alg != good[i].alg), good[i].name, k + 1);
		}
	}
	check(verdict(weak_token, strlen(weak_token), key, n, &why) != JWT_GOOD, "RSA of 1024 bits", 0);
	for (i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		v = verdict(attacks[i].token, strlen(attacks[i].token), key, n, &why);
		for (matching = 0, k = 0; k < (size_t)n; k++)
			matching |= key[k].alg == jwt.alg;
		check(v != JWT_GOOD, attacks[i].name, i);
		check(why != NULL && (attacks[i].why[0] == '\0' || strcmp(why, attacks[i].why) == 0 ||
		    (v == JWT_NO_KEY && !matching)), attacks[i].name, i);
	}
}

/* No letter of a good token may be another, and none may be missing. */
static void
changed(const char *name, const char *token, const struct jwt_key *key, int n)
{
	size_t len = strlen(token), i;
	char *copy = exact(token, len + 1);
	const char *why;

	check(verdict(token, len, key, n, &why) == JWT_GOOD, name, 0);
	for (i = 0; i < len; i++) {
		copy[i] = token[i] == 'A' ? 'B' : 'A';
		check(verdict(copy, len, key, n, &why) != JWT_GOOD && why != NULL, name, i);
		copy[i] = token[i];
		check(verdict(token, i, key, n, &why) != JWT_GOOD && why != NULL, name, i);
	}
	free(copy);
}

static void
changes(void)
{
	struct jwt_key key[KEYS_MAX];
	int n = all_keys(key);

	changed("HS256 changed", hs_token, key, n);
	if (jwtsig_has(JWT_ES256))
		changed("ES256 changed", es_token, key, n);
	if (jwtsig_has(JWT_EDDSA))
		changed("EdDSA changed", ed_token, key, n);
}

static void
sizes(void)
{
	static char token[2 * JWT_MAX], claims[JWT_MAX];
	struct jwt_key key;
	const char *why;
	size_t n, last = 0;

	jwt_key_secret(&key, hs_secret, sizeof(hs_secret) - 1, &why);
	for (n = 10; n < sizeof(claims); n++) {
		memset(claims, ' ', n);
		memcpy(claims, "{\"sub\":1", 8);
		claims[n - 1] = '}';
		if (jwt_sign(&key, claims, n, token) == -1)
			break;
		last = strlen(token);
	}
	check(last <= JWT_MAX && last > JWT_MAX - 4, "the longest token that can be made", last);
	check(verdict(token, last, &key, 1, &why) == JWT_GOOD, "the longest token", last);
	memset(token + last, 'A', sizeof(token) - last);
	check(verdict(token, JWT_MAX + 1, &key, 1, &why) == JWT_BAD && strstr(why, "8 KiB") != NULL, "over 8 KiB", 0);
}

static void
kids(void)
{
	struct jwt_key key[3];
	const char *why;

	jwt_key_secret(&key[0], hs_secret, sizeof(hs_secret) - 1, &why);
	key[1] = key[0];
	key[2] = key[0];
	memcpy(key[0].kid, "other", 6);
	memcpy(key[1].kid, "key 2", 6);
	check(verdict(hs_token, strlen(hs_token), key, 3, &why) == JWT_GOOD, "no kid in the token: any key", 0);
	if (!jwtsig_has(JWT_RS256))
		return;
	check(jwt_keys_pem(key, 1, rsa_pem, strlen(rsa_pem), &why) == 1, "key", 0);
	memcpy(key[0].kid, "key 2", 6);
	check(verdict(rs_kid_token, strlen(rs_kid_token), key, 3, &why) == JWT_NO_KEY &&
	    strcmp(why, "kid names no key of ours") == 0, "another kid: not tried", 0);
	memcpy(key[0].kid, "key 1", 6);
	check(verdict(rs_kid_token, strlen(rs_kid_token), key, 3, &why) == JWT_GOOD, "its kid", 0);
}

/* Claims. */

#define S "\"sub\":\"demo\""
#define E "\"exp\":1767229200"
#define ALL S "," E ",\"nbf\":1767225600,\"iat\":1767225600,\"iss\":\"pipegate\",\"aud\":\"pipegate\",\"jti\":\"1\""

static const struct jwt_rules plain = { 30, NULL, NULL, 0 }, no_leeway = { 0, NULL, NULL, 0 };
static const struct jwt_rules named = { 30, "https://id.example.com", "tunnel", 0 };
static const struct jwt_rules pipegate = { 0, NULL, NULL, 1 }, pipegate_own = { 0, "me", "you", 1 };

static const struct {
	const char *claims, *why;	/* NULL: they pass */
	const struct jwt_rules *rules;
	const char *scope;
} claims[] = {
	{ S "," E, NULL, &plain, "demo" },
	{ S, "exp is missing", &plain, "" },
	{ S ",\"exp\":null", "exp is missing", &plain, "" },
	{ E, "sub is missing", &plain, "" },
	{ "\"sub\":\"\"," E, "sub is missing", &plain, "" },
	{ "\"sub\":1," E, "sub is no string, or too long", &plain, "" },
	{ "\"sub\":\"a\\u0000b\"," E, "sub is no string, or too long", &plain, "" },
	/* times: 1767225600 is now */
	{ S ",\"exp\":1767225570", "exp is past", &plain, "" },
	{ S ",\"exp\":1767225571", NULL, &plain, "demo" },
	{ S ",\"exp\":1767225600", "exp is past", &no_leeway, "" },
	{ S ",\"exp\":1767225601", NULL, &no_leeway, "demo" },
	{ S ",\"exp\":1767225600.9", "exp is past", &no_leeway, "" },
	{ S ",\"exp\":1767225601.9", NULL, &no_leeway, "demo" },
	{ S ",\"exp\":1.8e9", "exp is no time", &plain, "" },
	{ S ",\"exp\":-1", "exp is no time", &plain, "" },
	{ S ",\"exp\":0", "exp is past", &plain, "" },
	{ S ",\"exp\":\"1767229200\"", "exp is no time", &plain, "" },
	{ S ",\"exp\":true", "exp is no time", &plain, "" },
	{ S ",\"exp\":[1767229200]", "exp is no time", &plain, "" },
	{ S ",\"exp\":92233720368547758070", "exp is no time", &plain, "" },
	{ S ",\"exp\":9223372036854775807", "exp is no time", &plain, "" },
	{ S ",\"exp\":922337203685477580", NULL, &plain, "demo" },
	{ S "," E ",\"nbf\":1767225630", NULL, &plain, "demo" },
	{ S "," E ",\"nbf\":1767225631", "nbf is still to come", &plain, "" },
	{ S "," E ",\"nbf\":1767225601", "nbf is still to come", &no_leeway, "" },
	{ S "," E ",\"nbf\":\"x\"", "nbf is no time", &plain, "" },
	{ S "," E ",\"iat\":1767225631", "iat is still to come", &plain, "" },
	{ S "," E ",\"iat\":{}", "iat is no time", &plain, "" },
	/* iss and aud */
	{ S "," E ",\"iss\":\"https://id.example.com\",\"aud\":\"tunnel\"", NULL, &named, "demo" },
	{ S "," E ",\"iss\":\"https://id.example.com\",\"aud\":[\"other\",\"tunnel\"]", NULL, &named, "demo" },
	{ S "," E ",\"iss\":\"https://id.example.com\",\"aud\":[\"other\",[\"tunnel\"]]", "aud is another", &named, "" },
	{ S "," E ",\"iss\":\"https://id.example.com\",\"aud\":{\"tunnel\":1}", "aud is another", &named, "" },
	{ S "," E ",\"iss\":\"https://id.example.com\",\"aud\":\"tunnel2\"", "aud is another", &named, "" },
	{ S "," E ",\"iss\":\"https://id.example.com\",\"aud\":\"tunnel\\u0000\"", "aud is another", &named, "" },
	{ S "," E ",\"iss\":\"https://id.example.com\",\"aud\":\"\"", "aud is another", &named, "" },
	{ S "," E ",\"iss\":\"https://id.example.com\",\"aud\":[]", "aud is another", &named, "" },
	{ S "," E ",\"iss\":\"https://id.example.com\"", "aud is missing", &named, "" },
	{ S "," E ",\"iss\":\"https://id.example.com/\",\"aud\":\"tunnel\"", "iss is another", &named, "" },
	{ S "," E ",\"iss\":[\"https://id.example.com\"],\"aud\":\"tunnel\"", "iss is no string, or too long", &named, "" },
	{ S "," E ",\"aud\":\"tunnel\"", "iss is missing", &named, "" },
	{ S "," E ",\"iss\":\"any\",\"aud\":[\"any\"],\"jti\":\"x\"", NULL, &plain, "demo" },
	{ S "," E ",\"jti\":1", "jti is no string, or too long", &plain, "" },
	/* PipeGate's: pipegate.md section 3 */
	{ ALL, NULL, &pipegate, "demo" },
	{ S "," E ",\"nbf\":\"1767225600\",\"iat\":1767225600,\"iss\":\"pipegate\",\"aud\":\"pipegate\",\"jti\":\"1\"", NULL, &pipegate, "demo" },
	{ S ",\"exp\":1767229200.5,\"nbf\":1,\"iat\":1,\"iss\":\"pipegate\",\"aud\":\"pipegate\",\"jti\":\"1\"", "exp is no time", &pipegate, "" },
	{ S ",\"exp\":\"\",\"nbf\":1,\"iat\":1,\"iss\":\"pipegate\",\"aud\":\"pipegate\",\"jti\":\"1\"", "exp is no time", &pipegate, "" },
	{ S "," E ",\"iat\":1,\"iss\":\"pipegate\",\"aud\":\"pipegate\",\"jti\":\"1\"", "nbf is missing", &pipegate, "" },
	{ S "," E ",\"nbf\":1,\"iss\":\"pipegate\",\"aud\":\"pipegate\",\"jti\":\"1\"", "iat is missing", &pipegate, "" },
	{ S "," E ",\"nbf\":1,\"iat\":1,\"iss\":\"pipegate\",\"aud\":\"pipegate\"", "jti is missing", &pipegate, "" },
	{ S "," E ",\"nbf\":1,\"iat\":1,\"aud\":\"pipegate\",\"jti\":\"1\"", "iss is missing", &pipegate, "" },
	{ S "," E ",\"nbf\":1,\"iat\":1,\"iss\":\"pipegate\",\"aud\":[\"pipegate\"],\"jti\":\"1\"", "aud is another", &pipegate, "" },
	{ ALL, "iss is another", &pipegate_own, "" },
	{ S "," E ",\"nbf\":1,\"iat\":1,\"iss\":\"me\",\"aud\":\"you\",\"jti\":\"1\"", NULL, &pipegate_own, "demo" },
	/* the scope */
	{ "\"sub\":\"*\"," E, NULL, &plain, "" },
	{ "\"sub\":\"a,b\"," E, NULL, &plain, "" },
	{ "\"sub\":\"8080\"," E, NULL, &plain, "" },
	{ "\"sub\":\"1024-65535\"," E, NULL, &plain, "" },
	{ "\"sub\":\"Demo\"," E, NULL, &plain, "" },
	{ "\"sub\":\"www.example.com\"," E, NULL, &plain, "" },
	{ "\"sub\":\"user_2abc\"," E, NULL, &plain, "" },
	{ S "," E ",\"tunnel\":\"preview,9000,9100-9199\"", NULL, &plain, "preview,9000,9100-9199" },
	{ S "," E ",\"tunnel\":\"*\"", NULL, &plain, "*" },
	{ S "," E ",\"tunnel\":[\"preview\",9000,\"9100-9199\"]", NULL, &plain, "preview,9000,9100-9199" },
	{ S "," E ",\"tunnel\":[\"*\"]", NULL, &plain, "*" },
	{ S "," E ",\"tunnel\":[]", NULL, &plain, "" },
	{ S "," E ",\"tunnel\":\"\"", NULL, &plain, "" },
	{ S "," E ",\"tunnel\":[\"a\",\"*\"]", "tunnel is no scope: names, ports and port ranges", &plain, "" },
	{ S "," E ",\"tunnel\":[\"\"]", NULL, &plain, "" },
	{ S "," E ",\"tunnel\":[\"a\",\"\"]", "tunnel is no scope: names, ports and port ranges", &plain, "" },
	{ S "," E ",\"tunnel\":\"A\"", "tunnel is no scope: names, ports and port ranges", &plain, "" },
	{ S "," E ",\"tunnel\":\"a\\u0000,*\"", "tunnel is no scope: names, ports and port ranges", &plain, "" },
	{ S "," E ",\"tunnel\":[1e3]", "tunnel has an element that is no name and no port", &plain, "" },
	{ S "," E ",\"tunnel\":[70000]", "tunnel is no scope: names, ports and port ranges", &plain, "" },
	{ S "," E ",\"tunnel\":[-1]", "tunnel has an element that is no name and no port", &plain, "" },
	{ S "," E ",\"tunnel\":[[\"a\"]]", "tunnel has an element that is no name and no port", &plain, "" },
	{ S "," E ",\"tunnel\":8080", "tunnel is neither a string nor an array", &plain, "" },
	{ S "," E ",\"tunnel\":null", "tunnel is neither a string nor an array", &plain, "" },
};

static void
judged(void)
{
	static char token[JWT_MAX + 1];
	struct jwt_claims c;
	struct jwt_key key;
	char text[1024];
	const char *why;
	size_t i;
	int rc, len;

	jwt_key_secret(&key, hs_secret, sizeof(hs_secret) - 1, &why);
	for (i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		len = snprintf(text, sizeof(text), "{%s}", claims[i].claims);
		jwt_sign(&key, text, (size_t)len, token);
		why = NULL;
		rc = jwt_parse(&jwt, token, strlen(token), &why);
		if (rc == 0)
			rc = jwt_judge(&jwt, claims[i].rules, now, &c, &why);
		check(rc == (claims[i].why == NULL ? 0 : -1), claims[i].claims, i);
		check(rc == 0 ? strcmp(c.scope, claims[i].scope) == 0 :
		    why != NULL && claims[i].why != NULL && strcmp(why, claims[i].why) == 0, why != NULL ? why : claims[i].claims, i);
	}
}

/* pipegate.md, V1 and V2. */
static void
pipegates(void)
{
	static const char secret[] = "vector-secret-0123456789abcdef-0123456789";
	static const char head[] = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.";
	static const struct { const char *rest, *why; } rows[] = {
		{ "eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJuYmYiOjE3MzU2ODk2MDAsImlhdCI6MTczNTY4OTYwMCwiaXNzIjoicGlwZWdhdGUi"
		    "LCJhdWQiOiJwaXBlZ2F0ZSIsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmIn0.blAxZUF5dAEWov4pLENBZOtC8a0"
		    "Cij1uaRXcBCitxCE", NULL },
		{ "eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwfQ.Nagddv877i-3Lzx66UcOzic7p14ypweX-pcDHbqcvJM", "nbf is missing" },
		{ "eyJzdWIiOiJkZW1vIiwiZXhwIjoxNzM1Njg5NjAxLCJuYmYiOjE3MzU2ODk2MDAsImlhdCI6MTczNTY4OTYwMCwiaXNzIjoicGlwZWdhdGUi"
		    "LCJhdWQiOiJwaXBlZ2F0ZSIsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmIn0.yDLIZsgqUpc6U2wfWwuTOxNsgNY"
		    "6L0HSy01W5iEsTOM", "exp is past" },
		{ "eyJzdWIiOiJkZW1vIiwiZXhwIjo0MTAyNDQ0ODAwLCJuYmYiOjE3MzU2ODk2MDAsImlhdCI6MTczNTY4OTYwMCwiaXNzIjoicGlwZWdhdGUi"
		    "LCJhdWQiOiJvdGhlciIsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmIn0.EbYTA1TQsHK29LxOVFVs7tJ2Slofu4W_"
		    "IAXc_C3o7-I", "aud is another" },
	};
	struct jwt_claims c;
	struct jwt_key key;
	char token[1024];
	const char *why;
	size_t i;
	int rc;

	jwt_key_secret(&key, secret, sizeof(secret) - 1, &why);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(token, sizeof(token), "%s%s", head, rows[i].rest);
		check(jwt_parse(&jwt, token, strlen(token), &why) == 0 &&
		    jwt_verify(&jwt, &key, 1, &why) == JWT_GOOD, "PipeGate's signature", i);
		rc = jwt_judge(&jwt, &pipegate, now, &c, &why);
		check(rows[i].why == NULL ? rc == 0 && strcmp(c.sub, "demo") == 0 && c.exp == 4102444800 :
		    rc == -1 && strcmp(why, rows[i].why) == 0, "PipeGate's claims", i);
	}
	/* only E to H, which differ in bits that nobody reads, decode to the same MAC: and of those only E is canonical */
	snprintf(token, sizeof(token), "%s%s", head, rows[0].rest);
	for (i = 'A'; i <= 'Z'; i++) {
		token[strlen(token) - 1] = (char)i;
		check((verdict(token, strlen(token), &key, 1, &why) == JWT_GOOD) == (i == 'E'), "PipeGate's last letter", i);
	}
}

static void
identities(void)
{
	static const struct { const char *sub, *iss, *who; } rows[] = {
		{ "demo", "", "jwt:demo@" },
		{ "demo", "pipegate", "jwt:demo@pipegate" },
		{ "alice", "https://id.example.com/", "jwt:alice@https://id.example.com/" },
		{ "alice@example.com", "x", "jwt:alice%40example.com@x" },
		{ "a b\"=\n\x1b%#", "x", "jwt:a%20b%22%3d%0a%1b%25%23@x" },
		{ "\xc3\xa9", "x", "jwt:%c3%a9@x" },
	};
	char who[JWT_WHO_MAX + 1], other[JWT_WHO_MAX + 1];
	struct jwt_claims c;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&c, 0, sizeof(c));
		strcpy(c.sub, rows[i].sub);
		strcpy(c.iss, rows[i].iss);
		jwt_who(&c, who);
		check(strcmp(who, rows[i].who) == 0, who, i);
	}
	/* long ones stay apart, wherever they differ, and however sub and iss share the bytes */
	memset(&c, 0, sizeof(c));
	memset(c.sub, 's', 200);
	memset(c.iss, 's', 200);
	jwt_who(&c, who);
	check(strlen(who) == JWT_WHO_MAX && strchr(who, '#') != NULL, "a long one is cut", strlen(who));
	c.sub[199] = 't';
	jwt_who(&c, other);
	check(strcmp(who, other) != 0, "long ones differ by sub", 0);
	c.sub[199] = '\0';
	c.iss[200] = 's';
	jwt_who(&c, other);
	check(strcmp(who, other) != 0, "long ones differ by where sub ends", 0);
}

static void
shapes(void)
{
	static const struct { const char *text; int want; } rows[] = {
		{ "a.b.c", 1 }, { "a.b.", 1 }, { ".b.c", 0 }, { "a..c", 0 }, { "a.b", 0 }, { "a.b.c.d", 0 }, { "", 0 },
		{ "a.b.c=", 0 }, { "a.b.c d", 0 }, { "a-_Z9.b.c", 1 }, { "tn_abc", 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(jwt_shaped(rows[i].text, strlen(rows[i].text)) == rows[i].want, rows[i].text, i);
}

int
main(void)
{
	vectors();
	good_and_bad();
	changes();
	sizes();
	kids();
	judged();
	pipegates();
	identities();
	shapes();
	return test_end();
}
