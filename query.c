/* query.c: the parts of a request-target; see query.h. */
#include <string.h>

#include "query.h"

static int
hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char
query_byte(struct str s, size_t *n)
{
	*n = 1;
	if (s.p[0] != '%' || s.len < 3 || hex(s.p[1]) == -1 || hex(s.p[2]) == -1)
		return s.p[0];
	*n = 3;
	return (char)(hex(s.p[1]) << 4 | hex(s.p[2]));
}

struct str
str_behind(struct str s, size_t n)
{
	s.p += n;
	s.len -= n;
	return s;
}

struct str
str_split(struct str s, char c, struct str *rest)
{
	const char *at = s.len > 0 ? memchr(s.p, c, s.len) : NULL;

	rest->p = NULL;
	rest->len = 0;
	if (at == NULL)
		return s;
	*rest = str_behind(s, (size_t)(at - s.p) + 1);
	s.len = (size_t)(at - s.p);
	return s;
}

size_t
query_decode(struct str s, char *out)
{
	size_t n, len = 0;

	for (; s.len > 0; s = str_behind(s, n)) {
		out[len] = query_byte(s, &n);
		if (n == 1 && out[len] == '+')
			out[len] = ' ';
		len++;
	}
	return len;
}

long
query_get(struct str target, const char *name, enum query_which which, char *out, size_t cap)
{
	struct str query, pair, value, found = { NULL, 0 };
	size_t n;

	str_split(target, '?', &query);
	while (query.p != NULL && (which == QUERY_LAST || found.p == NULL)) {
		pair = str_split(query, '&', &query);
		if (str_is(str_split(pair, '=', &value), name))
			found = value.p != NULL ? value : str_behind(pair, pair.len);
	}
	if (found.p == NULL)
		return -1;
	if (found.len >= cap)
		return -2;
	n = query_decode(found, out);
	out[n] = '\0';
	return memchr(out, '\0', n) == NULL ? (long)n : -2;
}
