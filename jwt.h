/*
 * jwt.h: JSON Web Tokens, RFC 7519, as compact JWS, RFC 7515: token, keys and time in, claims or a
 * reason out. Pure, no allocation. Three steps, each of which can refuse: jwt_parse, jwt_verify,
 * jwt_judge; what the first reads is not to be believed before the second.
 */
#ifndef JWT_H
#define JWT_H

#include "jwtkey.h"
#include "tokens.h"

enum {
	JWT_MAX = 8192,		/* bytes of a token */
	JWT_PART_MAX = JWT_MAX / 4 * 3 + 2,
	JWT_NODES = 512,	/* JSON values in the claims */
	JWT_HEADER_NODES = 64,
	JWT_SIG_MAX = JWT_KEY_MAX,
	JWT_TEXT_MAX = 255,	/* bytes of iss, sub, aud, jti */
	JWT_TRIES = 8		/* keys that are tried on one token */
};

struct jwt {			/* large: not for a stack */
	const char *text;	/* the caller's, which must stay */
	size_t signed_len;	/* bytes of it that are signed */
	struct json header, claims;
	enum jwt_alg alg;
	char kid[JWT_KID_MAX + 1];
	int has_kid;
	uint8_t sig[JWT_SIG_MAX + 2];
	size_t siglen;
	struct json_node header_node[JWT_HEADER_NODES], claims_node[JWT_NODES];
	char header_text[JWT_PART_MAX], claims_text[JWT_PART_MAX];
};

/*
 * Take a token apart. 0, or -1 and *why, a constant string: over JWT_MAX, not three parts in canonical
 * base64url, header or claims no JSON object (json.h: duplicate members are refused, so is nesting),
 * alg none or missing, no signature, crit (4.1.11: no extension is known here).
 * Its header and claims can be looked at after -1, too: header.n or claims.n is 0 as long as there are none.
 */
int jwt_parse(struct jwt *, const char *text, size_t len, const char **why);

enum jwt_verdict {
	JWT_GOOD,		/* a key of key[0..n) has signed it */
	JWT_BAD,
	JWT_NO_KEY		/* none of them is the one it names, or for its algorithm: another set may have it */
};

/* A key is tried if it is for the token's algorithm and, where both have a kid, of the same one. *why with the last two. */
enum jwt_verdict jwt_verify(const struct jwt *, const struct jwt_key *key, size_t n, const char **why);

struct jwt_rules {
	int64_t leeway;		/* seconds that clocks may differ by */
	const char *issuer;	/* what iss must be; NULL: anything */
	const char *audience;	/* what must be in aud; NULL: anything */
	/* PipeGate's: all seven claims, aud a string, times whole numbers or strings of digits; iss and aud "pipegate" where NULL. */
	int pipegate;
};

struct jwt_claims {
	char iss[JWT_TEXT_MAX + 1], sub[JWT_TEXT_MAX + 1], jti[JWT_TEXT_MAX + 1];	/* "": none */
	int64_t exp, nbf, iat;	/* seconds since 1970; of the last two 0: none */
	char scope[STORE_SCOPE_MAX + 1];	/* as scope.h has it; "": nothing */
};

/*
 * Judge the claims at now (seconds since 1970): 0 and *c, or -1 and *why, a constant string that begins with the claim's
 * name. exp and sub must be there. The scope is that of the claim tunnel: a string as in scope.h, or an array of such strings
 * and of numbers, ports; without that claim it is sub, if that is one label (no dot) of a name in lower case: whoever chooses
 * his own sub must not get "*", a port, a list or somebody's domain by it.
 */
int jwt_judge(const struct jwt *, const struct jwt_rules *, int64_t now, struct jwt_claims *c, const char **why);

enum { JWT_WHO_MAX = 120 };

/*
 * Who it is, in printable ASCII without blanks: "jwt:SUB@ISS", with %XX for what might confuse, cut and with a hash behind
 * '#' if it is long. Two are equal only if iss and sub are.
 */
void jwt_who(const struct jwt_claims *, char out[JWT_WHO_MAX + 1]);

/* Make a token: claims is a JSON object, the key HS256. 0 and the text, or -1: it does not fit. */
int jwt_sign(const struct jwt_key *, const char *claims, size_t len, char out[JWT_MAX + 1]);

/* 1 if text has the form of a compact JWS: three parts of base64url's letters, of which only the signature may be empty. */
int jwt_shaped(const char *text, size_t len);

#endif
