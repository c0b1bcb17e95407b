/* proxymap_test.c: keys, wildcards and their precedence, whose an entry is, limits. */
#include <stdint.h>

#include "../proxymap.h"
#include "test.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static struct str
str(const char *s)
{
	struct str v = { s, strlen(s) };

	return v;
}

/* The registry of these tests: one name, or none, is held. */
static int
held(void *arg, const char *name)
{
	return arg != NULL && strcmp(arg, name) == 0;
}

static const char *
set_to(struct proxymap *m, const char *key, const char *name, const char *to)
{
	struct proxymap_set s = { key, name, "a", to, { "", 0 } };

	return proxymap_set(m, &s, held, NULL);
}

static const char *
set(struct proxymap *m, const char *key, const char *name, const char *who, const char *fields, char *is_held)
{
	struct proxymap_set s;

	s.key = key;
	s.name = name;
	s.who = who;
	s.to = "";
	s.fields = str(fields);
	return proxymap_set(m, &s, held, is_held);
}

/* The name it leads to, "-" for none. */
static const char *
find(struct proxymap *m, const char *host, unsigned port, char name[16])
{
	char *copy = exact(host, strlen(host));
	struct proxymap_hit hit;
	struct str s = { copy, strlen(host) };
	int rc = proxymap_find(m, s, port, &hit);

	snprintf(name, 16, "%s", rc == 1 ? hit.name : rc == 0 ? "-" : "?");
	if (rc == 1) {
		free((char *)(uintptr_t)hit.fields.p);
		free(hit.who);
	}
	free(copy);
	return name;
}

static const struct { const char *key, *name; } entries[] = {
	{ "myapi.local:80", "v9" }, { "myapi.local:443", "v9" },		/* V9 */
	{ "gitlab.example.com:443", "v10" },					/* V10 */
	{ "*.example.com:443", "lead" }, { "*.deep.example.com:443", "longer" },
	{ "mail.*:443", "trail" }, { "mail.example.*:443", "trailer" }, { "mail.example.com:443", "exact" },
	{ "*.mail.example.com:25", "25" }, { "a.*.b:443", "middle" }, { "*x.test:443", "partial" },
	{ "UPPER.Test.:443", "upper" }, { "[::1]:443", "v6" }, { "*:443", "star" },
	{ "10.1.2.3:5432", "v4" }, { "[FD00:0:0::0:5]:443", "ula" },
};

static const struct { const char *what, *host; unsigned port; const char *want; } finds[] = {
	{ "V9, http", "myapi.local", 80, "v9" }, { "V9, https", "myapi.local", 443, "v9" },
	{ "V9, another port", "myapi.local", 8080, "-" }, { "V9, a part", "api.local", 80, "-" },
	{ "V10", "gitlab.example.com", 443, "v10" }, { "V10, another", "other.example", 443, "-" },
	{ "an exact key before a wildcard", "gitlab.example.com", 443, "v10" },
	{ "exact before leading and trailing", "mail.example.com", 443, "exact" },
	{ "one label in front", "www.example.com", 443, "lead" }, { "two", "a.www.example.com", 443, "lead" },
	{ "apex miss", "example.com", 443, "-" }, { "port miss", "www.example.com", 80, "-" },
	{ "partial label", "wwwexample.com", 443, "-" }, { "an empty label", ".example.com", 443, "-" },
	{ "the longer key", "a.deep.example.com", 443, "longer" }, { "its apex has the shorter", "deep.example.com", 443, "lead" },
	{ "leading before trailing", "mail.x.example.com", 443, "lead" },
	{ "a label behind", "mail.org", 443, "trail" }, { "two behind", "mail.co.uk", 443, "trail" },
	{ "no label behind", "mail", 443, "-" }, { "a dot alone behind", "mail.", 443, "-" },
	{ "mailbox is not mail.*", "mailbox.org", 443, "-" }, { "the longer trailing key", "mail.example.net", 443, "trailer" },
	{ "a wildcard of another port", "a.mail.example.com", 25, "25" }, { "its apex", "mail.example.com", 25, "-" },
	{ "an asterisk in the middle is literal", "a.x.b", 443, "-" }, { "and is found so", "a.*.b", 443, "middle" },
	{ "one in a label, too", "yx.test", 443, "-" }, { "and found", "*x.test", 443, "partial" },
	{ "one alone", "anything", 443, "-" }, { "is itself", "*", 443, "star" },
	{ "in any case", "GitLab.EXAMPLE.com", 443, "v10" }, { "set in any", "upper.test", 443, "upper" },
	{ "in any, with a wildcard", "WWW.Example.COM", 443, "lead" },
	{ "a final dot", "gitlab.example.com.", 443, "v10" }, { "with a wildcard", "www.example.com.", 443, "lead" },
	{ "two final dots", "gitlab.example.com..", 443, "-" },
	{ "IPv6 without brackets", "::1", 443, "v6" }, { "and with them", "[::1]", 443, "v6" },
	{ "in other letters", "0:0::1", 443, "v6" }, { "in yet others", "[0000:0:0:0:0:0:0:1]", 443, "v6" },
	{ "set in others", "fd00::5", 443, "ula" }, { "and found", "[fd00:0::0:5]", 443, "ula" },
	{ "IPv4", "10.1.2.3", 5432, "v4" }, { "the same as IPv6 has it", "[::ffff:10.1.2.3]", 5432, "v4" }, { "and in hexadecimal", "::ffff:a01:203", 5432, "v4" },
	{ "nothing", "", 443, "-" }, { "port 0", "myapi.local", 0, "-" }, { "a port that would wrap", "myapi.local", 65536 + 80, "-" },
};

static void
test_find(void)
{
	struct proxymap *m = proxymap_new();
	char name[16];
	size_t i, k;

	for (k = 0; k < 2; k++) {	/* the second time in the other order, and in place of the first */
		for (i = 0; i < LEN(entries); i++)
			check(set(m, entries[k == 0 ? i : LEN(entries) - 1 - i].key, entries[k == 0 ? i : LEN(entries) - 1 - i].name,
			    "a", "", NULL) == NULL, entries[i].key, k);
		for (i = 0; i < LEN(finds); i++)
			check(strcmp(find(m, finds[i].host, finds[i].port, name), finds[i].want) == 0, finds[i].what, i);
	}
	proxymap_free(m);
	proxymap_free(NULL);
}

static void
test_malformed(void)
{
	static const char *const bad[] = {
		"", ":", ":80", "host", "host:", "host:0", "host:65536", "host:99999999999999999999", "host:+80", "host: 80", "host:80 ",
		"host:8x", "ho st:80", "host\r\n:80", "host\t:80", ".host:80", "a..b:80", ".:80", ".*:80", "*..x:80", "user@host:80",
		"a/b:80", "a:b:80", "[::1:80", "[x]:80", "[]:80", "http://host:80", "h\x80st:80", "host,x:80",
	};
	char key[PROXYMAP_KEY_MAX + 2], name[16];
	struct proxymap *m = proxymap_new();
	size_t i;

	for (i = 0; i < LEN(bad); i++)
		check(set(m, bad[i], "n", "a", "", NULL) != NULL, bad[i], i);
	memset(key, 'a', sizeof(key));
	memcpy(key + PROXYMAP_KEY_MAX - 3, ":80", 4);
	check(set(m, key, "n", "a", "", NULL) == NULL, "the longest key", 0);
	key[PROXYMAP_KEY_MAX - 3] = '\0';
	check(strcmp(find(m, key, 80, name), "n") == 0, "is found", 0);
	memcpy(key + PROXYMAP_KEY_MAX - 3, "a:80", 5);
	check(set(m, key, "n", "a", "", NULL) != NULL, "one byte more", 0);
	check(set(m, "h:80", "tcp:65535-longer", "a", "", NULL) != NULL, "a name that is none of a port's", 0);
	proxymap_free(m);
}

static void
test_owners(void)
{
	static char yours[] = "tcp:1";
	struct proxymap *m = proxymap_new();
	struct proxymap_hit hit;
	char name[16];

	check(set(m, "h:80", "tcp:1", "a", "X: 1\r\n", NULL) == NULL, "set", 0);
	check(set(m, "H.:80", "tcp:2", "b", "", yours) != NULL, "another's, whose tunnel is there", 0);
	check(strcmp(find(m, "h", 80, name), "tcp:1") == 0, "stays", 0);
	check(set(m, "h:80", "tcp:3", "a", "Y: 2\r\n", yours) == NULL, "one's own is replaced", 0);
	check(proxymap_find(m, str("h"), 80, &hit) == 1 && strcmp(hit.name, "tcp:3") == 0 && strcmp(hit.who, "a") == 0 &&
	    str_is(hit.fields, "Y: 2\r\n"), "with its fields", 0);
	free(hit.who);
	free((char *)(uintptr_t)hit.fields.p);
	check(set(m, "h:80", "tcp:2", "b", "", yours) == NULL, "another's, whose tunnel has gone", 0);
	check(strcmp(find(m, "h", 80, name), "tcp:2") == 0, "is taken over", 0);
	check(set(m, "*.h:80", "tcp:4", "a", "", NULL) == NULL && set(m, "h:81", "tcp:4", "a", "", NULL) == NULL, "others are others", 0);
	check(strcmp(find(m, "b.h", 80, name), "tcp:4") == 0 && proxymap_get(m, "b.h:80", &hit) == 0, "what is below a key has none of its own", 0);
	check(proxymap_get(m, "*.H:81", &hit) == 0 && proxymap_get(m, "*.H", &hit) == 0, "another port, and none", 0);
	check(proxymap_get(m, "*.H:80", &hit) == 1 && strcmp(hit.name, "tcp:4") == 0 && strcmp(hit.who, "a") == 0, "the key itself", 0);
	free(hit.who);
	free((char *)(uintptr_t)hit.fields.p);
	proxymap_free(m);
}

/* The keys as they were set. */
static void
test_at(void)
{
	static const char *const keys[] = { "a.test:80", "*.b.test:443", "mail.*:25", "[::1]:8080", "a.*.b:1", "*:443" };
	struct proxymap *m = proxymap_new();
	char key[PROXYMAP_TEXT_MAX], *to;
	struct proxymap_hit hit;
	size_t i, n = sizeof(keys) / sizeof(keys[0]);

	for (i = 0; i < n; i++)
		check(set_to(m, keys[i], "tcp:1", "localhost:1") == NULL, keys[i], i);
	for (i = 0; i < n && proxymap_at(m, (int)i, key, &hit, &to) == 1; i++) {
		check(strcmp(key, keys[i]) == 0 && strcmp(to, "localhost:1") == 0 && strcmp(hit.name, "tcp:1") == 0 &&
		    strcmp(hit.who, "a") == 0 && hit.fields.len == 0, key, i);
		free(to);
		free(hit.who);
		free((char *)(uintptr_t)hit.fields.p);
	}
	check(i == n && proxymap_at(m, (int)i, key, &hit, &to) == 0, "all of them", i);
	proxymap_free(m);
}

/* What another target of the same tunnel does to the keys that led to it. */
static void
test_moved(void)
{
	static char there[] = "tcp:1";
	struct proxymap *m = proxymap_new();
	char name[16];

	check(set_to(m, "old:80", there, "localhost:1") == NULL && set_to(m, "new:80", there, "localhost:2") == NULL &&
	    set_to(m, "else:80", "tcp:2", "localhost:1") == NULL && set(m, "theirs:80", there, "b", "", NULL) == NULL, "set", 0);
	proxymap_moved(m, there, "a", "localhost:2");
	check(strcmp(find(m, "old", 80, name), "tcp:0") == 0, "the old target's key", 0);
	check(strcmp(find(m, "new", 80, name), there) == 0, "the new one's", 0);
	check(strcmp(find(m, "else", 80, name), "tcp:2") == 0, "another tunnel's", 0);
	check(strcmp(find(m, "theirs", 80, name), there) == 0, "another credential's", 0);
	check(set_to(m, "old:80", "tcp:3", "localhost:1") == NULL && strcmp(find(m, "old", 80, name), "tcp:3") == 0, "set again", 0);
	proxymap_free(m);
}

/* A client that comes back while it is looked whether it has gone. */
static int
comes_back(void *arg, const char *name)
{
	static int back;

	(void)name;
	if (back++ > 0)
		return 1;	/* as all the others are held */
	check(set(arg, "h0.test:80", "n", "a", "", NULL) == NULL, "it comes back", 0);
	return 0;
}

static void
test_comes_back(void)
{
	struct proxymap_set s = { "one-more:80", "n", "a", "", { "", 0 } };
	struct proxymap *m = proxymap_new();
	char key[32], name[16];
	int i;

	for (i = 0; i < PROXYMAP_OWNER_MAX; i++) {
		snprintf(key, sizeof(key), "h%d.test:80", i);
		check(set(m, key, "n", "a", "", NULL) == NULL, key, 0);
	}
	check(proxymap_set(m, &s, comes_back, m) != NULL && strcmp(find(m, "h0.test", 80, name), "n") == 0, "what is set anew is not what had gone", 0);
	proxymap_free(m);
}

static void
test_limits(void)
{
	static char fields[PROXYMAP_FIELDS_MAX + 2], name_of_all[] = "n";
	struct proxymap *m = proxymap_new();
	char key[32], who[32], name[16];
	const char *why = NULL;
	int i;

	memset(fields, 'x', sizeof(fields) - 1);
	check(set(m, "f:80", "n", "w0", fields, NULL) != NULL, "fields that are too long", 0);
	fields[PROXYMAP_FIELDS_MAX] = '\0';
	check(set(m, "h0.test:80", "n", "w0", fields, NULL) == NULL, "the longest", 0);
	for (i = 0; i < PROXYMAP_MAX && why == NULL; i++) {
		snprintf(key, sizeof(key), "h%d.test:80", i);
		snprintf(who, sizeof(who), "w%d", i / PROXYMAP_OWNER_MAX);
		why = set(m, key, "n", who, "", NULL);
		if (i == PROXYMAP_OWNER_MAX - 1)
			check(set(m, "one-more:80", "n", who, "", name_of_all) != NULL, "one more of a credential's", 0);
	}
	check(why == NULL && i == PROXYMAP_MAX, "as many as may be", (size_t)i);
	check(set(m, "one-more:80", "n", "new", "", name_of_all) != NULL, "one more", 0);
	check(set(m, "h7.test:80", "m", "w0", "", NULL) == NULL, "but one's own can be changed", 0);
	check(set(m, "h7.test:80", "k", "new", "", NULL) == NULL, "and another's be taken over", 0);
	check(set(m, "h300.test:80", "k", "w2", "", name_of_all) != NULL, "unless whoever would has as many as it may", 0);
	check(strcmp(find(m, "h300.test", 80, name), "n") == 0, "which changes nothing", 0);
	check(set(m, "h513.test:80", "j", "w2", "", name_of_all) == NULL && set(m, "h512.test:80", "l", "w2", "", name_of_all) == NULL, "two tunnels that have gone", 0);
	check(set(m, "one-more:80", "n", "w2", "", name_of_all) == NULL && strcmp(find(m, "h512.test", 80, name), "-") == 0 &&
	    strcmp(find(m, "h513.test", 80, name), "j") == 0, "the older one makes room for its credential's", 0);
	check(set(m, "two-more:80", "n", "new", "", name_of_all) == NULL && strcmp(find(m, "h7.test", 80, name), "-") == 0 &&
	    strcmp(find(m, "h513.test", 80, name), "j") == 0, "the oldest of all for whoever comes", 0);
	proxymap_free(m);
}

int
main(void)
{
	test_find();
	test_malformed();
	test_owners();
	test_at();
	test_moved();
	test_limits();
	test_comes_back();
	return test_end();
}
