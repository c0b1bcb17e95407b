/* vtunnelkeys.c: the keys that vtunnel's clients may come with; see vtunnelkeys.h. */
#include <stdlib.h>
#include <string.h>

#include "scope.h"
#include "sha256.h"
#include "vtunnelkeys.h"

static int
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line, up to a comment. 1, or 0: there is none. */
static int
next_word(struct str *line, struct str *word)
{
	while (line->len > 0 && is_blank(*line->p)) {
		line->p++;
		line->len--;
	}
	if (line->len == 0 || *line->p == '#')
		return 0;
	*word = *line;
	while (line->len > 0 && !is_blank(*line->p)) {
		line->p++;
		line->len--;
	}
	word->len -= line->len;
	return 1;
}

/* Where the daemon has something for others, of whom it would have to be taken. */
static int
is_taken(struct str s)
{
	static const char *const table[] = { "/_tunnel", "/_bifrost", "/health", "/healthz" };
	size_t i, n;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		n = strlen(table[i]);
		if (s.len >= n && memcmp(s.p, table[i], n) == 0 && (s.len == n || (s.p[n] == '/' && s.p[1] == '_')))
			return 1;
	}
	return 0;
}

/* 0, or -1: it is no path. */
static int
take_path(char out[VTUNNEL_PATH_MAX], struct str s)
{
	size_t i;

	if (s.len == 0 || s.len >= VTUNNEL_PATH_MAX || s.p[0] != '/' || is_taken(s))
		return -1;
	for (i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '?' || s.p[i] == '#')
			return -1;
	memcpy(out, s.p, s.len);
	out[s.len] = '\0';
	return 0;
}

int
vtunnel_key_line(struct vtunnel_key *k, const char *text, size_t len, const char **why)
{
	struct str line = { text, len }, word;
	int scoped = 0;

	memset(k, 0, sizeof(*k));
	if (!next_word(&line, &word))
		return 0;
	*why = "a line begins with vt-pub- and 43 characters of base64, the public key of vtunnel keygen";
	if (word.len > 8 && memcmp(word.p, "vt-priv-", 8) == 0)
		*why = "this is a private key, which is its client's alone: the daemon wants vt-pub-";
	if (vtunnel_pub_parse(k->pub, word.p, word.len) == -1)
		return -1;
	memcpy(k->scope, "*", 2);
	while (next_word(&line, &word)) {
		if (word.len > 5 && memcmp(word.p, "path=", 5) == 0) {
			word.p += 5;
			word.len -= 5;
			*why = "path= is followed by a path, /NAME, that is not one of the daemon's own";
			if (k->path[0] != '\0' || take_path(k->path, word) == -1)
				return -1;
			continue;
		}
		*why = "behind the key there are but a scope, path=/NAME and a # comment";
		if (scoped++ || word.len > STORE_SCOPE_MAX)
			return -1;
		memcpy(k->scope, word.p, word.len);
		k->scope[word.len] = '\0';
		if (strlen(k->scope) != word.len || scope_check(k->scope, why) == -1)
			return -1;
	}
	return 1;
}

static int
add(struct vtunnel_keys *l, const struct vtunnel_key *k, const char **why)
{
	struct vtunnel_key *more;
	size_t i;

	*why = "this key is there already";
	for (i = 0; i < l->n; i++)
		if (ct_equal(l->key[i].pub, k->pub, sizeof(k->pub)))
			return -1;
	*why = "too many keys";
	if (l->n == VTUNNEL_KEYS_MAX)
		return -1;
	*why = "no memory";
	if ((l->n & (l->n - 1)) == 0) {		/* there is room for as many as the next power of two */
		if ((more = malloc((l->n > 0 ? 2 * l->n : 1) * sizeof(*more))) == NULL)	/* no realloc: it would leave keys behind */
			return -1;
		if (l->n > 0) {
			memcpy(more, l->key, l->n * sizeof(*more));
			wipe(l->key, l->n * sizeof(*more));
		}
		free(l->key);
		l->key = more;
	}
	l->key[l->n++] = *k;
	return 0;
}

int
vtunnel_keys_add(struct vtunnel_keys *l, const char *text, size_t len, size_t *line, const char **why)
{
	const char *p = text, *end = text + len, *nl;
	struct vtunnel_key k;
	int rc = 0;

	for (*line = 0; p < end && rc != -1; p = nl + 1) {
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		++*line;
		if ((rc = vtunnel_key_line(&k, p, (size_t)(nl - p), why)) == 1)
			rc = add(l, &k, why);
	}
	wipe(&k, sizeof(k));
	return rc == -1 ? -1 : 0;
}

void
vtunnel_keys_free(struct vtunnel_keys *l)
{
	if (l->n > 0)
		wipe(l->key, l->n * sizeof(*l->key));
	free(l->key);
	l->key = NULL;
	l->n = 0;
}

/* Has this path keys of its own? Then its name, else "". */
static const char *
own_path(const struct vtunnel_keys *l, const char *path, size_t len)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (strlen(l->key[i].path) == len && memcmp(l->key[i].path, path, len) == 0)
			return l->key[i].path;
	return "";
}

const struct vtunnel_key *
vtunnel_keys_first(const struct vtunnel_keys *l, const char *path, size_t len)
{
	const char *own = own_path(l, path, len);
	size_t i;

	for (i = 0; i < l->n; i++)
		if (strcmp(l->key[i].path, own) == 0)
			return &l->key[i];
	return NULL;
}

const struct vtunnel_key *
vtunnel_keys_find(const struct vtunnel_keys *l, const char *path, size_t len, const void *blob, size_t nblob)
{
	const char *own = own_path(l, path, len);
	const struct vtunnel_key *found = NULL;
	uint8_t text[VTUNNEL_BLOB];
	size_t i;

	if (nblob != VTUNNEL_BLOB)
		return NULL;
	for (i = 0; i < l->n; i++) {
		vtunnel_blob(text, l->key[i].pub);
		if (ct_equal(text, blob, nblob) && strcmp(l->key[i].path, own) == 0)
			found = &l->key[i];
	}
	wipe(text, sizeof(text));
	return found;
}

int
vtunnel_keys_shared(const struct vtunnel_keys *l, const struct vtunnel_key *k)
{
	size_t i;
	int n = 0;

	for (i = 0; i < l->n; i++) {
		if (strcmp(l->key[i].path, k->path) != 0)
			continue;
		if (n++ == 0 && &l->key[i] != k)
			return 0;
	}
	return n > 1;
}
