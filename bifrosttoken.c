/* bifrosttoken.c: bifrost's token file; see bifrosttoken.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bifrosttoken.h"
#include "json.h"
#include "scope.h"

enum { ENTRY_NODES = 16 };	/* of one entry, and some to spare */

static int
hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int
take_hash(uint8_t out[SHA256_LEN], const char *text)
{
	size_t i;

	if (strlen(text) != 2 * SHA256_LEN)
		return -1;
	for (i = 0; i < SHA256_LEN; i++) {
		if (hex(text[2 * i]) == -1 || hex(text[2 * i + 1]) == -1)
			return -1;
		out[i] = (uint8_t)(hex(text[2 * i]) << 4 | hex(text[2 * i + 1]));
	}
	return 0;
}

static int
number(const char *p, int n)
{
	int v = 0;

	for (; n > 0; n--, p++) {
		if (*p < '0' || *p > '9')
			return -1;
		v = 10 * v + *p - '0';
	}
	return v;
}

/* "2026-01-02T03:04:05.678Z" in seconds since 1970, or -1. */
static int64_t
take_time(const char *s)
{
	static const char form[] = "0000-00-00T00:00:00";
	static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
	size_t i, len = strlen(s);
	int y, m, d, leap;

	if (len < sizeof(form) || s[len - 1] != 'Z')
		return -1;
	for (i = 0; i < sizeof(form) - 1; i++)
		if (form[i] == '0' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
			return -1;
	y = number(s, 4);
	m = number(s + 5, 2);
	d = number(s + 8, 2);
	if (y < 1970 || m < 1 || m > 12 || d < 1 || d > 31)
		return -1;
	leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
	return ((int64_t)(y - 1970) * 365 + (y - 1969) / 4 - (y - 1901) / 100 + (y - 1601) / 400 +
	    before[m - 1] + (leap && m > 2) + d - 1) * 86400 +
	    number(s + 11, 2) * 3600 + number(s + 14, 2) * 60 + number(s + 17, 2);
}

/* All names, or one, without a dot: in a scope of ours a comma, a dot, or digits alone would mean something else. */
static int
take_scope(char out[STORE_SCOPE_MAX + 1], const char *scope)
{
	if (strcmp(scope, "*") != 0 && (!name_ok(scope) || strchr(scope, '.') != NULL))
		return -1;
	snprintf(out, STORE_SCOPE_MAX + 1, "%s%s", strcmp(scope, "*") == 0 || scope_has_name(scope, scope) ? "" : "name:", scope);
	return 0;
}

/* NULL, or what is wrong with it. */
static const char *
take_entry(struct token *t, const struct json *j, size_t i)
{
	char hash[2 * SHA256_LEN + 1], created[40], scope[NAME_LEN_MAX + 1];
	size_t k;

	memset(t, 0, sizeof(*t));
	if (j->node[i].type != JSON_OBJECT)
		return "is no object";
	if (json_get_str(j, i, "id", t->id, sizeof(t->id)) != 1 || strlen(t->id) < 4)
		return "has no good id";
	for (k = 0; t->id[k] != '\0'; k++)
		if (hex(t->id[k]) == -1)
			return "has no good id";
	if (json_get_str(j, i, "hash", hash, sizeof(hash)) != 1 || take_hash(t->hash, hash) == -1)
		return "has no good hash";
	if (json_get_str(j, i, "scope", scope, sizeof(scope)) != 1 || take_scope(t->scope, scope) == -1)
		return "has no good scope";
	if (json_get_str(j, i, "created", created, sizeof(created)) != 1 || (t->created = take_time(created)) == -1)
		return "has no good time";
	memcpy(t->note, "from bifrost", sizeof("from bifrost"));
	return NULL;
}

int
bifrost_tokens(const char *text, size_t len, struct token **out, size_t *n, size_t *entry, const char **why)
{
	size_t max = len / 8 + ENTRY_NODES, i;	/* no value is shorter, with what belongs to it */
	struct json_node *node = calloc(max, sizeof(*node));
	struct token *t = NULL;
	struct json j;

	*entry = *n = 0;
	*why = "no memory";
	if (node == NULL || json_parse(&j, node, max, text, len, why) == -1)
		goto bad;
	*why = "is no JSON array";
	if (node[0].type != JSON_ARRAY)
		goto bad;
	*why = "no memory";
	if ((t = calloc(node[0].size + 1, sizeof(*t))) == NULL)
		goto bad;
	for (i = json_first(&j, 0); i != 0 && i < node[0].next; i = node[i].next) {
		*entry = *n + 1;
		if ((*why = take_entry(&t[*n], &j, i)) != NULL)
			goto bad;
		++*n;
	}
	free(node);
	*out = t;
	return 0;
bad:
	free(t);
	free(node);
	return -1;
}
