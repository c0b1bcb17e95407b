/* URLs in responses as the caller sees them: reverse.h. */
#include "../reverse.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))

static const struct reverse to[] = {
	{ { "https", 5 }, { "t.example.com:8443", 18 }, { "/hooks", 6 }, { "localhost:3000", 14 } },
	{ { "http", 4 }, { "hooks.t.example.com", 19 }, { "", 0 }, { "[::1]", 5 } },
	{ { "https", 5 }, { "t.example.com", 13 }, { "/a/b", 4 }, { "t.example.com:443", 17 } },
};

/* want: NULL if it stays as it is */
static const struct { size_t to; const char *value, *want; } locations[] = {
	{ 0, "/", "/hooks/" }, { 0, "/x?y=/z#/w", "/hooks/x?y=/z#/w" }, { 0, "/hooks/x", "/hooks/hooks/x" },
	{ 0, "http://localhost:3000/x", "https://t.example.com:8443/hooks/x" },
	{ 0, "HTTP://LocalHost:3000/x", "https://t.example.com:8443/hooks/x" },
	{ 0, "https://localhost:3000/x", "https://t.example.com:8443/hooks/x" },
	{ 0, "http://localhost:3000", "https://t.example.com:8443/hooks/" },
	{ 0, "http://localhost:3000?q", "https://t.example.com:8443/hooks/?q" },
	{ 0, "http://localhost:3000#f", "https://t.example.com:8443/hooks/#f" },
	{ 0, "//localhost:3000/x", "//t.example.com:8443/hooks/x" },
	{ 0, "http://t.example.com:8443/x", "https://t.example.com:8443/hooks/x" },
	{ 0, "http://localhost/x", NULL }, { 0, "http://localhost:3000.evil/x", NULL },
	{ 0, "http://user@localhost:3000/x", NULL }, { 0, "http://localhost:30001/x", NULL },
	{ 0, "http://t.example.com/x", NULL }, { 0, "https://example.org/x", NULL },
	{ 0, "x", NULL }, { 0, "../x", NULL }, { 0, "?x", NULL }, { 0, "#x", NULL }, { 0, "", NULL },
	{ 0, "mailto:a@b", NULL }, { 0, "ftp://localhost:3000/x", NULL }, { 0, "http:/x", NULL }, { 0, "http:", NULL },
	{ 0, "http://", NULL }, { 0, "//", NULL }, { 0, "///x", NULL }, { 0, "http:///x", NULL },
	{ 1, "/x", "/x" }, { 1, "http://[::1]/x", "http://hooks.t.example.com/x" },
	{ 1, "http://[::1]:80/x", "http://hooks.t.example.com/x" }, { 1, "http://[::1]:8080/x", NULL },
	{ 2, "http://t.example.com/x", "https://t.example.com/a/b/x" },
	{ 2, "http://t.example.com:80/x", "https://t.example.com/a/b/x" },
};

static const struct { size_t to; const char *value, *want; } cookies[] = {
	{ 0, "a=b", NULL }, { 0, "a=b; Path=/", "a=b; Path=/hooks" }, { 0, "a=b; path=/x", "a=b; path=/hooks/x" },
	{ 0, "a=b;PATH=/x;Secure", "a=b; PATH=/hooks/x; Secure" }, { 0, "a=b; Path=x", NULL }, { 0, "a=b; Path=", NULL },
	{ 0, "a=b; Domain=localhost; Path=/", "a=b; Path=/hooks" }, { 0, "a=b; domain=.LOCALHOST; HttpOnly", "a=b; HttpOnly" },
	{ 0, "a=b; Domain=example.com", NULL }, { 0, "a=b; Domain=", NULL },
	{ 0, "a=path=/; Max-Age=1", NULL }, { 0, "path=/x; Path=/", "path=/x; Path=/hooks" },
	{ 0, "a=b; Expires=Sat, 21 Nov 2026 10:00:00 GMT; Path=/", "a=b; Expires=Sat, 21 Nov 2026 10:00:00 GMT; Path=/hooks" },
	{ 0, "__Host-a=b; Path=/; Secure", NULL }, { 0, "__Secure-a=b; Path=/; Secure", "__Secure-a=b; Path=/hooks; Secure" },
	{ 0, "", NULL }, { 0, "a=b;", "a=b; " }, { 0, ";", "; " },
	{ 1, "a=b; Path=/", NULL }, { 1, "a=b; Path=/x", NULL }, { 1, "a=b; Domain=[::1]", "a=b" },
	{ 2, "a=b; Path=/; Domain=t.example.com", "a=b; Path=/a/b" },
};

static void
run(void (*f)(struct buf *, struct str, const struct reverse *), size_t which, const char *value, const char *want, size_t row)
{
	char out[300], *copy = exact(value, strlen(value));
	struct str s;
	struct buf b;

	s.p = copy;
	s.len = strlen(value);
	if (want == NULL)
		want = value;
	buf_init(&b, out, sizeof(out));
	f(&b, s, &to[which]);
	check(b.len == strlen(want) && memcmp(out, want, b.len) == 0, value, row);
	free(copy);
}

int
main(void)
{
	size_t i;

	for (i = 0; i < LEN(locations); i++)
		run(reverse_location, locations[i].to, locations[i].value, locations[i].want, i);
	for (i = 0; i < LEN(cookies); i++)
		run(reverse_cookie, cookies[i].to, cookies[i].value, cookies[i].want, i);
	return test_end();
}
