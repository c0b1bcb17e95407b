/* origin.c: rules about the Origin of browsers' requests; see origin.h. */
#include <string.h>

#include "origin.h"

static unsigned char
lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* One end of a range in a class, at *p. 0, or -1: there is none. */
static int
bound(const char **p, unsigned char *out)
{
	if (**p == '-' || **p == ']' || **p == '\0')
		return -1;
	if (**p == '\\' && *++*p == '\0')
		return -1;
	*out = lower(*(*p)++);
	return 0;
}

/* Is c of the class whose '[' stands at *p? It is left behind. 1, 0; -1: it is no class. */
static int
in_class(const char **p, unsigned char c)
{
	unsigned char lo, hi;
	int negated = (*p)[1] == '^', in = 0, n;

	*p += 1 + negated;
	for (n = 0; **p != ']' || n == 0; n++) {
		if (bound(p, &lo) == -1)
			return -1;
		hi = lo;
		if (**p == '-' && (++*p, bound(p, &hi)) == -1)
			return -1;
		in |= lo <= c && c <= hi;
	}
	++*p;
	return in != negated;
}

/* Does what stands at *p, which is no '*', match c? It is left behind. 1, 0; -1: it is malformed. */
static int
one(const char **p, unsigned char c)
{
	if (**p == '[')
		return in_class(p, c) == 1 ? 1 : 0;
	if (*(*p)++ == '?')
		return c != '/';
	if ((*p)[-1] == '\\')
		return lower(*(*p)++) == c;
	return lower((*p)[-1]) == c;
}

/* The glob p, which is well-formed, on all of s. */
static int
glob(const char *p, struct str s)
{
	const char *star = NULL, *next;
	size_t at = 0, from = 0;

	while (at < s.len || *p != '\0') {
		if (*p == '*') {
			star = ++p;
			from = at;
			continue;
		}
		next = p;
		if (at < s.len && *p != '\0' && one(&next, lower(s.p[at]))) {
			p = next;
			at++;
		} else if (star != NULL && from < s.len && s.p[from] != '/') {
			p = star;	/* the last '*' takes one more: an earlier one need not */
			at = ++from;
		} else
			return 0;
	}
	return 1;
}

static const char *
malformed(const char *p)
{
	while (*p != '\0') {
		if (*p == '[') {
			if (in_class(&p, 'a') == -1)
				return "has a '[' without its ']', or an empty range";
		} else if (*p++ == '\\' && *p++ == '\0')
			return "ends in a backslash";
	}
	return NULL;
}

int
origin_rule_ok(const char *rule, const char **why)
{
	const char *p, *place = strstr(rule, "://");

	place = place != NULL ? place + 3 : rule;
	*why = "is empty";
	if (rule[0] == '\0' || place[0] == '\0')
		return 0;
	*why = "is too long";
	if (strlen(rule) > ORIGIN_MAX)
		return 0;
	*why = "has a blank, a control or a comma in it";
	for (p = rule; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || *p == 127 || *p == ',')
			return 0;
	*why = "is no origin: behind host and port there is nothing, not even a '/'";
	if (strpbrk(place, "/#") != NULL)
		return 0;
	return (*why = malformed(rule)) == NULL;
}

int
origin_reads(const char *rule, struct str origin)
{
	size_t n = strlen(rule);

	if (strcmp(rule, "*") == 0 || str_is(origin, rule))
		return 1;
	return n >= 2 && strcmp(rule + n - 2, ":*") == 0 && origin.len >= n - 1 && memcmp(origin.p, rule, n - 1) == 0;
}

struct str
origin_host(struct str origin)
{
	struct str host = { "", 0 };
	const char *p = origin.p, *end = origin.p + origin.len, *at;

	for (; end - p >= 3 && memcmp(p, "://", 3) != 0; p++)
		;
	if (end - p < 3)
		return host;
	host.p = p + 3;
	for (p = host.p; p < end && strchr("/?#", *p) == NULL; p++)
		;
	for (at = p; at > host.p && at[-1] != '@'; at--)	/* userinfo */
		;
	host.p = at;
	host.len = (size_t)(p - at);
	return host;
}

int
origin_opens(const char *rule, struct str origin)
{
	struct str host = origin_host(origin), whole = origin;

	if (strcmp(rule, "*") == 0)
		return 1;
	if (host.len == 0)
		return 0;
	if (strstr(rule, "://") == NULL)
		return glob(rule, host);
	whole.len = (size_t)(host.p + host.len - origin.p);
	return glob(rule, whole);
}
