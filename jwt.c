/* jwt.c: JSON Web Tokens; see jwt.h. */
#include <string.h>

#include "base64.h"
#include "http.h"
#include "jwt.h"
#include "jwtsig.h"
#include "scope.h"
#include "sha256.h"

static int
bad(const char **why, const char *what)
{
	*why = what;
	return -1;
}

int
jwt_shaped(const char *text, size_t len)
{
	size_t i, part = 0;
	int dots = 0;

	for (i = 0; i < len; i++) {
		if (text[i] == '.') {
			if (part == 0 || ++dots > 2)
				return 0;
			part = 0;
		} else if ((text[i] >= '0' && text[i] <= '9') || text[i] == '-' || text[i] == '_' ||
		    (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z'))
			part++;
		else
			return 0;
	}
	return dots == 2;
}

/* Taking apart. */

struct part {
	const char *p;
	size_t len;
};

/* The three parts; a fourth makes it a JWE or nonsense. */
static int
split(struct part part[3], const char *text, size_t len)
{
	const char *end = text + len, *dot;
	int i;

	for (i = 0; i < 3; i++) {
		dot = memchr(text, '.', (size_t)(end - text));
		if ((dot == NULL) != (i == 2))
			return -1;
		part[i].p = text;
		part[i].len = (size_t)((dot != NULL ? dot : end) - text);
		text = dot != NULL ? dot + 1 : end;
	}
	return 0;
}

/* An object from base64url, in text[JWT_PART_MAX]. what: the two things that can be wrong. */
static int
decode(struct json *j, struct json_node *node, size_t nnodes, char *text, struct part in,
    const char *const what[2], const char **why)
{
	long n = base64url_decode(text, in.p, in.len);

	j->n = 0;
	if (n == -1)
		return bad(why, what[0]);
	if (json_parse(j, node, nnodes, text, (size_t)n, why) == -1) {
		j->n = 0;
		return -1;
	}
	if (node[0].type != JSON_OBJECT) {
		j->n = 0;
		return bad(why, what[1]);
	}
	return 0;
}

/* The JOSE header, RFC 7515 4.1. */
static int
read_header(struct jwt *t, const char **why)
{
	char alg[32];
	int rc;

	rc = json_get_str(&t->header, 0, "alg", alg, sizeof(alg));
	if (rc == 0)
		return bad(why, "alg is missing");
	if (rc == -1)
		return bad(why, "alg is not one that we know");
	if (strlen(alg) == 4 && http_same(alg, "none", 4))
		return bad(why, "alg is none: the token is not signed");
	t->alg = jwt_alg_find(alg);
	if (t->alg == JWT_ALG_OTHER)
		return bad(why, "alg is not one that we know");
	if (json_member(&t->header, 0, "crit") != 0)
		return bad(why, "crit asks for an extension that we do not know");
	if ((t->has_kid = json_get_str(&t->header, 0, "kid", t->kid, sizeof(t->kid))) == -1)
		return bad(why, "kid is no string, or too long");
	/* an empty one names no key: those that have none would match it */
	if (t->has_kid && t->kid[0] == '\0')
		return bad(why, "kid is empty");
	return 0;
}

int
jwt_parse(struct jwt *t, const char *text, size_t len, const char **why)
{
	static const char *const header[] = { "the header is not base64url", "the header is no JSON object" };
	static const char *const claims[] = { "the claims are not base64url", "the claims are no JSON object" };
	struct part part[3];
	long n;

	memset(t, 0, offsetof(struct jwt, header_node));
	if (len > JWT_MAX)
		return bad(why, "the token is over 8 KiB");
	if (split(part, text, len) == -1)
		return bad(why, "the token has not three parts");
	t->text = text;
	t->signed_len = part[0].len + 1 + part[1].len;
	if (decode(&t->header, t->header_node, JWT_HEADER_NODES, t->header_text, part[0], header, why) == -1 ||
	    decode(&t->claims, t->claims_node, JWT_NODES, t->claims_text, part[1], claims, why) == -1 ||
	    read_header(t, why) == -1)
		return -1;
	if (part[2].len == 0)
		return bad(why, "the signature is missing");
	if (part[2].len > BASE64URL_LEN(JWT_SIG_MAX))
		return bad(why, "the signature is too long");
	if ((n = base64url_decode(t->sig, part[2].p, part[2].len)) <= 0)
		return bad(why, "the signature is not base64url");
	t->siglen = (size_t)n;
	return 0;
}

/* Verifying. */

static int
signature_fits(const struct jwt *t, const struct jwt_key *k)
{
	uint8_t mac[SHA256_LEN];
	struct hmac h;
	int ok;

	if (k->alg != JWT_HS256)
		return jwtsig_verify(k, t->text, t->signed_len, t->sig, t->siglen);
	hmac_init(&h, k->p, k->len);
	hmac_update(&h, t->text, t->signed_len);
	hmac_final(&h, mac);
	ok = t->siglen == sizeof(mac) && ct_equal(mac, t->sig, sizeof(mac));
	wipe(mac, sizeof(mac));
	return ok;
}

enum jwt_verdict
jwt_verify(const struct jwt *t, const struct jwt_key *key, size_t n, const char **why)
{
	int tries = 0, for_alg = 0;
	size_t i;

	for (i = 0; i < n && tries < JWT_TRIES; i++) {
		if (key[i].alg != t->alg)
			continue;
		for_alg = 1;
		if (t->has_kid && key[i].kid[0] != '\0' && strcmp(key[i].kid, t->kid) != 0)
			continue;
		tries++;
		if (signature_fits(t, &key[i]))
			return JWT_GOOD;
	}
	*why = tries > 0 ? "the signature is not by a key of ours" :
	    for_alg ? "kid names no key of ours" : "alg is not what a key of ours is for";
	return tries > 0 ? JWT_BAD : JWT_NO_KEY;
}

/* Judging. */

/*
 * A NumericDate (RFC 7519 2): its whole seconds. strict: a fraction is refused, a string of digits
 * taken. 1; 0 if it is not there; -1.
 */
static int
get_time(const struct json *j, const char *name, int strict, int64_t *out)
{
	size_t i = json_member(j, 0, name);
	const char *p, *end;
	int64_t n = 0;
	int digits = 0;

	*out = 0;
	if (i == 0 || j->node[i].type == JSON_NULL)
		return 0;
	if (j->node[i].type != JSON_NUMBER && !(strict && j->node[i].type == JSON_STRING))
		return -1;
	end = j->text + j->node[i].end;
	for (p = j->text + j->node[i].start; p < end && *p >= '0' && *p <= '9'; p++, digits++) {
		if (n > INT64_MAX / 100)	/* there is room for leeway left */
			return -1;
		n = n * 10 + (*p - '0');
	}
	if (p < end && *p == '.' && !strict)	/* JSON has digits behind it */
		for (p++; p < end && *p >= '0' && *p <= '9'; p++)
			;
	if (p != end || digits == 0)	/* a sign, an exponent */
		return -1;
	*out = n;
	return 1;
}

static int
is_text(const struct json *j, size_t i, const char *want)
{
	char text[JWT_TEXT_MAX + 1];
	size_t len = strlen(want);

	return j->node[i].type == JSON_STRING && json_unescape(j, i, text, sizeof(text)) == (long)len &&
	    memcmp(text, want, len) == 0;
}

/* RFC 7519 4.1.3: a string, or an array of them. */
static int
audience_fits(const struct json *j, const char *want, int one)
{
	size_t aud = json_member(j, 0, "aud"), i;

	if (aud == 0)
		return 0;
	if (is_text(j, aud, want))
		return 1;
	if (one || j->node[aud].type != JSON_ARRAY)
		return 0;
	for (i = json_first(j, aud); i != 0 && i < j->node[aud].next; i = j->node[i].next)
		if (is_text(j, i, want))
			return 1;
	return 0;
}

/* A time that must be there (always), and must not be past, or to come. Both with their sentences. */
static int
judge_times(const struct json *j, const struct jwt_rules *r, int64_t now, struct jwt_claims *c, const char **why)
{
	int strict = r->pipegate, exp, nbf, iat;

	exp = get_time(j, "exp", strict, &c->exp);
	nbf = get_time(j, "nbf", strict, &c->nbf);
	iat = get_time(j, "iat", strict, &c->iat);
	if (exp == -1 || nbf == -1 || iat == -1)
		return bad(why, exp == -1 ? "exp is no time" : nbf == -1 ? "nbf is no time" : "iat is no time");
	if (exp == 0)
		return bad(why, "exp is missing");
	if (strict && (nbf == 0 || iat == 0))
		return bad(why, nbf == 0 ? "nbf is missing" : "iat is missing");
	if (now >= c->exp + r->leeway)
		return bad(why, "exp is past");
	if (c->nbf > now + r->leeway)
		return bad(why, "nbf is still to come");
	if (c->iat > now + r->leeway)
		return bad(why, "iat is still to come");
	return 0;
}

/* A number of digits alone: 1e3 would be read as a name. */
static int
is_port(const struct json *j, size_t i)
{
	size_t n = j->node[i].end - j->node[i].start;

	return j->node[i].type == JSON_NUMBER && strspn(j->text + j->node[i].start, "0123456789") == n;
}

static int
get_scope(const struct json *j, struct jwt_claims *c, const char **why)
{
	size_t claim = json_member(j, 0, "tunnel"), i;
	struct buf b;
	const char *wrong;
	char text[NAME_LEN_MAX + 1];
	long len;

	buf_init(&b, c->scope, sizeof(c->scope) - 1);
	c->scope[0] = '\0';
	if (claim == 0) {
		/* it must be a name where it stands in a scope, too: 1024-65535 is none there */
		if (strchr(c->sub, '.') == NULL && scope_has_name(c->sub, c->sub))
			memcpy(c->scope, c->sub, strlen(c->sub) + 1);
		return 0;
	}
	if (j->node[claim].type == JSON_STRING) {
		if ((len = json_unescape(j, claim, c->scope, sizeof(c->scope))) == -1)
			return bad(why, "tunnel is too long");
		b.len = (size_t)len;
	} else if (j->node[claim].type != JSON_ARRAY)
		return bad(why, "tunnel is neither a string nor an array");
	else for (i = json_first(j, claim); i != 0 && i < j->node[claim].next; i = j->node[i].next) {
		if (b.len > 0)
			buf_char(&b, ',');
		if (is_port(j, i))
			buf_put(&b, j->text + j->node[i].start, j->node[i].end - j->node[i].start);
		else if (j->node[i].type == JSON_STRING && (len = json_unescape(j, i, text, sizeof(text))) != -1)
			buf_put(&b, text, (size_t)len);
		else
			return bad(why, "tunnel has an element that is no name and no port");
	}
	c->scope[b.len] = '\0';
	if (b.full)
		return bad(why, "tunnel is too long");
	if (strlen(c->scope) != b.len || (b.len > 0 && scope_check(c->scope, &wrong) == -1))
		return bad(why, "tunnel is no scope: names, ports and port ranges");
	return 0;
}

int
jwt_judge(const struct jwt *t, const struct jwt_rules *r, int64_t now, struct jwt_claims *c, const char **why)
{
	const char *issuer = r->issuer, *audience = r->audience;
	const struct json *j = &t->claims;
	int iss, sub, jti;

	if (r->pipegate && issuer == NULL)
		issuer = "pipegate";
	if (r->pipegate && audience == NULL)
		audience = "pipegate";
	memset(c, 0, sizeof(*c));
	iss = json_get_str(j, 0, "iss", c->iss, sizeof(c->iss));
	sub = json_get_str(j, 0, "sub", c->sub, sizeof(c->sub));
	jti = json_get_str(j, 0, "jti", c->jti, sizeof(c->jti));
	if (sub != 1 || c->sub[0] == '\0')
		return bad(why, sub == -1 ? "sub is no string, or too long" : "sub is missing");
	if (judge_times(j, r, now, c, why) == -1)
		return -1;
	if (iss == -1 || (issuer != NULL && strcmp(c->iss, issuer) != 0))
		return bad(why, iss == 0 ? "iss is missing" : iss == -1 ? "iss is no string, or too long" : "iss is another");
	if (audience != NULL && !audience_fits(j, audience, r->pipegate))
		return bad(why, json_member(j, 0, "aud") == 0 ? "aud is missing" : "aud is another");
	if (jti == -1 || (r->pipegate && jti == 0))
		return bad(why, jti == 0 ? "jti is missing" : "jti is no string, or too long");
	return get_scope(j, c, why);
}

/* Identity. */

static void
put_plain(struct buf *b, const char *s)
{
	for (; *s != '\0'; s++)
		if ((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
		    strchr("-._~:/|+", *s) != NULL)
			buf_char(b, *s);
		else {
			buf_char(b, '%');
			buf_hex(b, s, 1);
		}
}

void
jwt_who(const struct jwt_claims *c, char out[JWT_WHO_MAX + 1])
{
	enum { HASH = 16 };	/* bytes: nobody finds two alike */
	uint8_t hash[SHA256_LEN];
	struct sha256 s;
	struct buf b;

	buf_init(&b, out, JWT_WHO_MAX);
	buf_str(&b, "jwt:");
	put_plain(&b, c->sub);
	buf_char(&b, '@');
	put_plain(&b, c->iss);
	if (b.full) {
		sha256_init(&s);
		sha256_update(&s, c->sub, strlen(c->sub) + 1);
		sha256_update(&s, c->iss, strlen(c->iss));
		sha256_final(&s, hash);
		b.len = JWT_WHO_MAX - 1 - 2 * HASH;
		b.full = 0;
		buf_char(&b, '#');
		buf_hex(&b, hash, HASH);
	}
	out[b.len] = '\0';
}

int
jwt_sign(const struct jwt_key *k, const char *claims, size_t len, char out[JWT_MAX + 1])
{
	static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
	uint8_t mac[SHA256_LEN];
	struct hmac h;
	size_t n;

	if (BASE64URL_LEN(sizeof(header) - 1) + 1 + BASE64URL_LEN(len) + 1 + BASE64URL_LEN(sizeof(mac)) > JWT_MAX)
		return -1;
	n = base64url_encode(out, header, sizeof(header) - 1);
	out[n++] = '.';
	n += base64url_encode(out + n, claims, len);
	hmac_init(&h, k->p, k->len);
	hmac_update(&h, out, n);
	hmac_final(&h, mac);
	out[n++] = '.';
	base64url_encode(out + n, mac, sizeof(mac));
	return 0;
}
