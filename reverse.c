/* reverse.c: a response's URLs as the caller sees them; see reverse.h. */
#include <string.h>

#include "reverse.h"

static void
put(struct buf *out, struct str s)
{
	buf_put(out, s.p, s.len);
}

static int
begins(struct str s, const char *lit)
{
	return s.len >= strlen(lit) && http_same(s.p, lit, strlen(lit));
}

static struct str
skip(struct str s, size_t n)
{
	s.p += n;
	s.len -= n;
	return s;
}

static struct str
first(struct str s, size_t n)
{
	s.len = n;
	return s;
}

/* Without the port that a URL may leave out. */
static struct str
bare(struct str host)
{
	static const char *const std[] = { ":80", ":443" };
	size_t i, n;

	for (i = 0; i < 2; i++) {
		n = strlen(std[i]);
		if (host.len > n && memcmp(host.p + host.len - n, std[i], n) == 0)
			host.len -= n;
	}
	return host;
}

static int
same_host(struct str a, struct str b)
{
	a = bare(a);
	b = bare(b);
	return a.len > 0 && a.len == b.len && http_same(a.p, b.p, a.len);
}

void
reverse_location(struct buf *out, struct str value, const struct reverse *to)
{
	struct str rest = value;
	size_t n = 0;

	if (begins(value, "/") && !begins(value, "//")) {
		put(out, to->prefix);
		put(out, value);
		return;
	}
	if (begins(value, "http://") || begins(value, "https://"))
		rest = skip(value, begins(value, "http:") ? 5 : 6);
	if (begins(rest, "//")) {
		rest = skip(rest, 2);
		while (n < rest.len && strchr("/?#", rest.p[n]) == NULL)
			n++;
		if (same_host(first(rest, n), to->local) || same_host(first(rest, n), to->host)) {
			if (value.p[0] != '/') {
				put(out, to->scheme);
				buf_char(out, ':');
			}
			buf_str(out, "//");
			put(out, to->host);
			put(out, to->prefix);
			value = skip(rest, n);
			if (value.len == 0 || *value.p != '/')
				buf_char(out, '/');
		}
	}
	put(out, value);
}

static struct str
trim(struct str s)
{
	while (s.len > 0 && (*s.p == ' ' || *s.p == '\t'))
		s = skip(s, 1);
	while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Host without its port. */
static struct str
hostname(struct str host)
{
	const char *end = host.len > 0 && *host.p == '[' ? memchr(host.p, ']', host.len) : NULL;
	const char *from = end != NULL ? end : host.p;
	const char *colon = host.len > 0 ? memchr(from, ':', host.len - (size_t)(from - host.p)) : NULL;

	return colon != NULL ? first(host, (size_t)(colon - host.p)) : host;
}

static void
put_attribute(struct buf *out, struct str attr, const struct reverse *to)
{
	struct str value;

	if (begins(attr, "domain=")) {
		value = skip(attr, strlen("domain="));
		if (begins(value, "."))
			value = skip(value, 1);
		if (same_host(value, hostname(to->local)))
			return;
	}
	buf_str(out, "; ");
	if (!begins(attr, "path=/")) {
		put(out, attr);
		return;
	}
	value = skip(attr, strlen("path="));
	put(out, first(attr, strlen("path=")));
	put(out, to->prefix);
	if (value.len > 1 || to->prefix.len == 0)	/* "/" is all of it: "/hooks", too */
		put(out, value);
}

void
reverse_cookie(struct buf *out, struct str value, const struct reverse *to)
{
	const char *semi;
	struct str attr;
	int n;

	if (begins(value, "__Host-")) {
		put(out, value);
		return;
	}
	for (n = 0; ; n++) {
		semi = memchr(value.p, ';', value.len);
		attr = semi != NULL ? first(value, (size_t)(semi - value.p)) : value;
		if (n == 0)
			put(out, attr);
		else
			put_attribute(out, trim(attr), to);
		if (semi == NULL)
			break;
		value = skip(value, attr.len + 1);
	}
}
