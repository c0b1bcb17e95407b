/* origin_test.c: which pages may read answers, and which may open WebSockets. */
#include "../origin.h"
#include "test.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	const char *rule, *origin;
	int reads, opens;
} rows[] = {
	{ "*", "https://app.example.com", 1, 1 }, { "*", "null", 1, 1 }, { "*", "x", 1, 1 },
	{ "https://app.example.com", "https://app.example.com", 1, 1 },
	{ "https://app.example.com", "https://app.example.com:443", 0, 0 },
	{ "https://app.example.com", "http://app.example.com", 0, 0 },
	{ "https://app.example.com", "HTTPS://APP.example.com", 0, 1 },	/* to the byte, and in any case */
	{ "https://App.example.com", "https://app.example.com", 0, 1 },
	{ "https://app.example.com", "https://app.example.com.evil.example", 0, 0 },
	{ "https://app.example.com", "https://xapp.example.com", 0, 0 },
	{ "https://app.example.com", "null", 0, 0 },
	{ "http://localhost:*", "http://localhost:3000", 1, 1 },
	{ "http://localhost:*", "http://localhost", 0, 0 },
	{ "http://localhost:*", "http://localhost:", 1, 1 },
	{ "http://localhost:*", "https://localhost:3000", 0, 0 },
	{ "http://localhost:*", "http://localhost.evil.example:3000", 0, 0 },
	{ "http://localhost:*", "http://localhost:3000/x", 1, 1 },	/* which no browser sends */
	{ "app.example.com", "https://app.example.com", 0, 1 },	/* opens, and may not read */
	{ "app.example.com", "http://app.example.com", 0, 1 },
	{ "app.example.com", "https://app.example.com:8443", 0, 0 },
	{ "app.example.com:*", "https://app.example.com:8443", 0, 1 },
	{ "app.example.com", "app.example.com", 1, 0 },		/* no scheme: no origin */
	{ "*.example.com", "https://a.example.com", 0, 1 },
	{ "*.example.com", "https://a.b.example.com", 0, 1 },
	{ "*.example.com", "https://example.com", 0, 0 },
	{ "*.example.com", "https://example.com.evil.example", 0, 0 },
	{ "*.example.com", "https://evil.example/.example.com", 0, 0 },
	{ "*.example.com", "https://a.example.com@evil.example", 0, 0 },
	{ "*.example.com", "https://evil.example#.example.com", 0, 0 },
	{ "*.example.com", "https://evil.example?.example.com", 0, 0 },
	{ "https://*.example.com", "https://a.example.com", 0, 1 },
	{ "https://*.example.com", "http://a.example.com", 0, 0 },
	{ "*://app.example.com", "ftp://app.example.com", 0, 1 },
	{ "https://*", "https://anything.example:1", 0, 1 },
	{ "app?.example.com", "https://app1.example.com", 0, 1 },
	{ "app?.example.com", "https://app.example.com", 0, 0 },
	{ "app[0-9].example.com", "https://app7.example.com", 0, 1 },
	{ "app[0-9].example.com", "https://appx.example.com", 0, 0 },
	{ "app[^0-9].example.com", "https://appx.example.com", 0, 1 },
	{ "app[^0-9].example.com", "https://app7.example.com", 0, 0 },
	{ "app[abc-e].example.com", "https://appD.example.com", 0, 1 },
	{ "app[\\]x].example.com", "https://app].example.com", 0, 1 },
	{ "app\\*.example.com", "https://app*.example.com", 0, 1 },
	{ "app\\*.example.com", "https://appx.example.com", 0, 0 },
	{ "*a*b*c", "https://xxabxbxc", 0, 1 }, { "*a*b*c", "https://xxabxbxcd", 0, 0 },
	{ "a*", "https://", 0, 0 }, { "null", "null", 1, 0 },
	{ "[[]*]:3000", "http://[::1]:3000", 0, 1 },
};

static const struct {
	const char *rule;
	int ok;
} rules[] = {
	{ "*", 1 }, { "https://app.example.com", 1 }, { "http://localhost:*", 1 }, { "*.example.com", 1 }, { "app[0-9a-f].x", 1 },
	{ "a\\[b", 1 }, { "null", 1 }, { "https://[[]::1]:3000", 1 }, { "[^x]", 1 }, { "", 0 }, { "https://", 0 }, { "https://app.example.com/", 0 },
	{ "app.example.com/x", 0 }, { "https://app.example.com#x", 0 }, { "a b", 0 }, { " a", 0 }, { "a,b", 0 }, { "a\tb", 0 }, { "a\x7f", 0 },
	{ "app[0-9.example.com", 0 }, { "app[", 0 }, { "app[]", 0 }, { "app[]a]", 0 }, { "app[^]", 0 }, { "app[a-]", 0 }, { "app[-a]", 0 },
	{ "app[a-\\]", 0 }, { "app\\", 0 }, { "[\\", 0 },
};

static const struct {
	const char *origin, *host;
} hosts[] = {
	{ "https://a.example", "a.example" }, { "https://a.example:81", "a.example:81" }, { "null", "" }, { "", "" }, { "://", "" },
	{ "https://", "" }, { "https://u:p@a.example", "a.example" }, { "https://a.example/x", "a.example" }, { "x:/", "" },
	{ "http://[::1]:80", "[::1]:80" }, { "https://a@b@c", "c" },
};

int
main(void)
{
	struct str origin, host;
	const char *why;
	char *text, long_one[ORIGIN_MAX + 2];
	size_t i;

	for (i = 0; i < LEN(rows); i++) {
		origin.len = strlen(rows[i].origin);
		origin.p = text = exact(rows[i].origin, origin.len);
		check(origin_reads(rows[i].rule, origin) == rows[i].reads, "reads", i);
		check(origin_opens(rows[i].rule, origin) == rows[i].opens, "opens", i);
		free(text);
	}
	for (i = 0; i < LEN(rules); i++) {
		text = exact(rules[i].rule, strlen(rules[i].rule) + 1);
		why = NULL;
		check(origin_rule_ok(text, &why) == rules[i].ok, rules[i].rule, i);
		check(rules[i].ok || why != NULL, "says why", i);
		free(text);
	}
	memset(long_one, 'a', sizeof(long_one));
	long_one[ORIGIN_MAX] = '\0';
	check(origin_rule_ok(long_one, &why), "the longest", 0);
	long_one[ORIGIN_MAX] = 'a';
	long_one[ORIGIN_MAX + 1] = '\0';
	check(!origin_rule_ok(long_one, &why), "one too long", 0);
	for (i = 0; i < LEN(hosts); i++) {
		origin.len = strlen(hosts[i].origin);
		origin.p = text = exact(hosts[i].origin, origin.len);
		host = origin_host(origin);
		check(str_is(host, hosts[i].host), hosts[i].origin, i);
		free(text);
	}
	return test_end();
}
