/* guard.c: which callers a tunnel is for; see guard.h. */
#include <string.h>

#include "base64.h"
#include "guard.h"

int
guard_user_ok(const char *text)
{
	const char *colon = strchr(text, ':'), *p;

	for (p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			return 0;
	return colon != NULL && colon > text && colon[1] != '\0' && p - text <= GUARD_USER_MAX;
}

int
guard_add_user(struct guard *g, const char *hex, const char **why)
{
	uint8_t hash[SHA256_LEN];

	*why = "not a SHA-256 in hexadecimal";
	if (strlen(hex) != 2 * SHA256_LEN || base16_decode(hash, hex, 2 * SHA256_LEN) == -1)
		return -1;
	*why = "too many users";
	if (g->nusers == GUARD_USERS_MAX)
		return -1;
	memcpy(g->user[g->nusers++], hash, sizeof(hash));
	return 0;
}

int
guard_add_net(struct guard *g, const char *cidr, const char **why)
{
	struct cidr net;

	if (cidr_parse(&net, cidr, why) == -1)
		return -1;
	*why = "too many networks";
	if (g->nnets == GUARD_NETS_MAX)
		return -1;
	g->net[g->nnets++] = net;
	return 0;
}

static int
address_ok(const struct guard *g, const struct addr *a)
{
	int i;

	for (i = 0; i < g->nnets; i++)
		if (cidr_match(&g->net[i], a))
			return 1;
	return g->nnets == 0;
}

/* The one field of this name, if it is Basic: "user:password" into out, its length; else -1. */
static long
credentials(const struct http_head *h, const char *name, char out[GUARD_USER_MAX + 3])
{
	const struct str *field = http_field(h, name);
	size_t i, n = 0, skip = strlen("Basic ");

	for (i = 0; i < h->nfields; i++)
		if (http_is(h->field[i].name, name))
			n++;
	if (n != 1 || field->len <= skip || !http_same(field->p, "Basic ", skip))
		return -1;
	while (skip < field->len && field->p[skip] == ' ')
		skip++;
	if (field->len - skip > BASE64_LEN(GUARD_USER_MAX))
		return -1;
	return base64_decode(out, field->p + skip, field->len - skip);
}

int
guard_user(const struct guard *g, const struct http_head *h, const char *name)
{
	char text[GUARD_USER_MAX + 3];
	uint8_t hash[SHA256_LEN];
	int i, ok = 0;
	long len = h != NULL ? credentials(h, name, text) : -1;

	if (len < 0)
		return g->nusers == 0;
	sha256(text, (size_t)len, hash);
	wipe(text, sizeof(text));
	for (i = 0; i < g->nusers; i++)		/* all of them, whoever it is */
		ok |= ct_equal(hash, g->user[i], sizeof(hash));
	return ok || g->nusers == 0;
}

enum guard_verdict
guard_check(const struct guard *g, const struct addr *a, const struct http_head *h)
{
	if (!address_ok(g, a))
		return GUARD_ADDRESS;
	return guard_user(g, h, "Authorization") ? GUARD_PASS : GUARD_CREDENTIALS;
}
