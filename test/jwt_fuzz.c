/*
 * jwt_fuzz.c: tokens, PEM and JWK Sets from bytes nobody has checked. A token that
 * nobody signed must not pass, and one that we sign reads as it was written.
 */
#include "../jwt.h"
#include "../scope.h"
#include "fuzz.h"
#include "jwt_vectors.h"

enum { NODES = 512 };

static struct jwt jwt;
static struct jwt_key key[8];
static struct json_node node[NODES];

static void
judge(void)
{
	static const struct jwt_rules rules[] = {
		{ 0, NULL, NULL, 0 }, { 30, "https://id.example.com", "tunnel", 0 }, { 0, NULL, NULL, 1 }
	};
	char who[JWT_WHO_MAX + 1];
	const char *why;
	struct jwt_claims c;
	size_t i;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		why = NULL;
		if (jwt_judge(&jwt, &rules[i], 1767225600, &c, &why) == -1) {
			CHECK(why != NULL);
			continue;
		}
		CHECK(c.sub[0] != '\0' && c.exp + rules[i].leeway > 1767225600);
		CHECK(c.scope[0] == '\0' || scope_check(c.scope, &why) == 0);
		jwt_who(&c, who);
		CHECK(strlen(who) <= JWT_WHO_MAX && strpbrk(who, " \"\n=") == NULL);
	}
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static char token[JWT_MAX + 1];
	const char *why = NULL;
	struct jwt_key set[4];
	int skipped;
	char *p;

	if (key[0].len == 0)
		CHECK(jwt_key_secret(&key[0], hs_secret, sizeof(hs_secret) - 1, &why) == 0 &&
		    jwt_keys_pem(&key[1], 1, rsa_pem, strlen(rsa_pem), &why) == 1 &&
		    jwt_keys_pem(&key[2], 1, ec_pem, strlen(ec_pem), &why) == 1);
	if (size == 0)
		return 0;
	p = malloc(size);
	CHECK(p != NULL);
	memcpy(p, data, size);
	size--;
	why = NULL;
	switch (p[size] & 3) {
	case 0:
		if (jwt_parse(&jwt, p, size, &why) == 0) {
			(void)jwt_verify(&jwt, key, 3, &why);
			judge();
		} else
			CHECK(why != NULL);
		break;
	case 1:			/* claims that we have signed ourselves */
		if (jwt_sign(&key[0], p, size, token) == 0 && jwt_parse(&jwt, token, strlen(token), &why) == 0) {
			CHECK(jwt_verify(&jwt, key, 3, &why) == JWT_GOOD);
			judge();
		}
		break;
	case 2:
		if (jwt_keys_pem(set, 4, p, size, &why) == -1)
			CHECK(why != NULL);
		break;
	default:
		if (jwt_keys_jwks(set, 4, &skipped, node, NODES, p, size, &why) == -1)
			CHECK(why != NULL);
	}
	free(p);
	return 0;
}
