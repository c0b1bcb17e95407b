/* scope.c: names, and what a credential may use; see scope.h. */
#include <string.h>

#include "scope.h"

enum { LABEL_LEN_MAX = 63, PORT_MAX = 65535, PORT_FIRST_USER = 1024 };

enum kind { ENTRY_BAD, ENTRY_NAME, ENTRY_PORTS };

struct entry {
	enum kind kind;
	const char *p;		/* the text of it */
	size_t len;
	unsigned lo, hi;	/* with ENTRY_PORTS */
	const char *why;	/* with ENTRY_BAD */
};

static int
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int
is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z');
}

static size_t
digits(const char *p, size_t len)
{
	size_t n = 0;

	while (n < len && is_digit(p[n]))
		n++;
	return n;
}

static int
label_ok(const char *p, size_t len)
{
	size_t i;

	if (len == 0 || len > LABEL_LEN_MAX || !is_alnum(p[0]))
		return 0;
	for (i = 1; i < len; i++)
		if (!is_alnum(p[i]) && p[i] != '-')
			return 0;
	return 1;
}

static const char scope_bad_name[] = "bad name in scope: 1 to 63 of a-z, 0-9 and '-', first a letter or digit";

static int
is_name(const char *p, size_t len)
{
	const char *dot;
	size_t n;
	int domain = 0;

	if (len > NAME_LEN_MAX)
		return 0;
	while ((dot = memchr(p, '.', len)) != NULL) {
		n = (size_t)(dot - p);
		if (!label_ok(p, n))
			return 0;
		domain = 1;
		p += n + 1;
		len -= n + 1;
	}
	return label_ok(p, len) && !(domain && digits(p, len) == len);
}

int
name_ok(const char *name)
{
	return is_name(name, strlen(name));
}

int
domain_ok(const char *name)
{
	size_t len = strlen(name);

	return is_name(name, len) && digits(name, len) < len;
}

/* A port in decimal, or 0. One text for each: no leading zeros. */
static unsigned
port(const char *p, size_t len)
{
	unsigned n = 0;

	if (len == 0 || len > 5 || p[0] == '0' || digits(p, len) != len)
		return 0;
	for (; len > 0; p++, len--)
		n = n * 10 + (unsigned)(*p - '0');
	return n <= PORT_MAX ? n : 0;
}

/* Digits, or digits '-' digits, are ports, good or bad; whatever else, a name, and what stands behind "name:". */
static void
parse_entry(struct entry *e)
{
	static const char prefix[] = "name:";
	size_t n = digits(e->p, e->len);

	if (e->len >= sizeof(prefix) - 1 && memcmp(e->p, prefix, sizeof(prefix) - 1) == 0) {
		e->p += sizeof(prefix) - 1;
		e->len -= sizeof(prefix) - 1;
		e->kind = is_name(e->p, e->len) ? ENTRY_NAME : ENTRY_BAD;
		e->why = scope_bad_name;
		return;
	}
	e->kind = ENTRY_PORTS;
	if (n > 0 && n == e->len) {
		e->lo = e->hi = port(e->p, n);
		e->why = "bad port in scope";
	} else if (n > 0 && e->p[n] == '-' && n + 1 < e->len &&
	    digits(e->p + n + 1, e->len - n - 1) == e->len - n - 1) {
		e->lo = port(e->p, n);
		e->hi = port(e->p + n + 1, e->len - n - 1);
		e->why = "bad port range in scope";
	} else {
		e->kind = is_name(e->p, e->len) ? ENTRY_NAME : ENTRY_BAD;
		e->why = e->len == 0 ? "empty entry in scope" : scope_bad_name;
		return;
	}
	if (e->lo == 0 || e->hi < e->lo)
		e->kind = ENTRY_BAD;
}

/* The entry at *scope, which moves on to the next and becomes NULL after the last. */
static int
next_entry(const char **scope, struct entry *e)
{
	if (*scope == NULL)
		return 0;
	memset(e, 0, sizeof(*e));
	e->p = *scope;
	e->len = strcspn(e->p, ",");
	*scope = e->p[e->len] == ',' ? e->p + e->len + 1 : NULL;
	parse_entry(e);
	return 1;
}

static int
is_all(const char *scope)
{
	return strcmp(scope, "*") == 0;
}

int
scope_check(const char *scope, const char **why)
{
	struct entry e;

	if (is_all(scope))
		return 0;
	while (next_entry(&scope, &e))
		if (e.kind == ENTRY_BAD) {
			*why = e.why;
			return -1;
		}
	return 0;
}

int
scope_has_name(const char *scope, const char *name)
{
	struct entry e;
	size_t len = strlen(name);

	if (is_all(scope))
		return name_ok(name);
	while (next_entry(&scope, &e))
		if (e.kind == ENTRY_NAME && e.len == len && memcmp(e.p, name, len) == 0)
			return 1;
	return 0;
}

int
scope_has_port(const char *scope, unsigned wanted)
{
	struct entry e;

	if (is_all(scope))
		return wanted >= PORT_FIRST_USER && wanted <= PORT_MAX;
	while (next_entry(&scope, &e))
		if (e.kind == ENTRY_PORTS && wanted >= e.lo && wanted <= e.hi)
			return 1;
	return 0;
}

int
scope_only_ports(const char *scope)
{
	struct entry e;

	if (is_all(scope))
		return 0;
	while (next_entry(&scope, &e))
		if (e.kind != ENTRY_PORTS)
			return 0;
	return 1;
}

unsigned
scope_next_port(const char *scope, unsigned after)
{
	struct entry e;
	unsigned next = 0, at;

	if (is_all(scope))
		return after >= PORT_MAX ? 0 : after < PORT_FIRST_USER ? PORT_FIRST_USER : after + 1;
	while (next_entry(&scope, &e)) {
		if (e.kind != ENTRY_PORTS || e.hi <= after)
			continue;
		at = e.lo > after ? e.lo : after + 1;
		if (next == 0 || at < next)
			next = at;
	}
	return next;
}

int
scope_only_name(const char *scope, char *out)
{
	struct entry e;
	int found = 0;

	while (next_entry(&scope, &e)) {
		if (e.kind != ENTRY_NAME)
			continue;
		if (found)
			return 0;
		memcpy(out, e.p, e.len);
		out[e.len] = '\0';
		found = 1;
	}
	return found;
}

void
name_fold(char *s)
{
	for (; *s != '\0'; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
}
