/* Names and scopes: scope.h. */
#include "../scope.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define X10	"xxxxxxxxxx"
#define X60	X10 X10 X10 X10 X10 X10
#define X63	X60 "xxx"

static const struct { const char *name; int want; } names[] = {
	{ "a", 1 }, { "preview", 1 }, { "a-b", 1 }, { "a-", 1 }, { "a--b", 1 }, { "1a", 1 },
	{ "9000-9100", 1 }, { "0x1f", 1 }, { "zz09", 1 }, { X63, 1 },
	{ "www.example.org", 1 }, { "1.example", 1 }, { "a.b", 1 },
	{ X63 "." X63 "." X63 "." X60 "x", 1 },		/* 253 */
	{ X63 "." X63 "." X63 "." X60 "xx", 0 },	/* 254 */
	{ "", 0 }, { X63 "x", 0 }, { "-a", 0 }, { "A", 0 }, { "aB", 0 }, { "_a", 0 }, { "a_b", 0 },
	{ "a b", 0 }, { "a,b", 0 }, { "*", 0 }, { "a/b", 0 }, { "a:1", 0 }, { "\xc3\xa9", 0 },
	{ "8080", 1 }, { "0", 1 }, { "1.a", 1 }, { "127.0.0.1", 0 }, { "a.1", 0 }, { "name:a", 0 },
	{ ".", 0 }, { ".a", 0 }, { "a.", 0 }, { "a..b", 0 }, { "a.-b", 0 }, { "a.B", 0 },
	{ X63 "x.org", 0 }, { "a\n", 0 },
};

/* why: NULL if the scope is sound. only: its only name, NULL if it has none or more. */
static const char bad_name[] = "bad name in scope: 1 to 63 of a-z, 0-9 and '-', first a letter or digit";

static const struct { const char *scope, *why, *only; } scopes[] = {
	{ "*", NULL, NULL },
	{ "preview", NULL, "preview" },
	{ "preview,9000,9100-9199", NULL, "preview" },
	{ "9000,preview", NULL, "preview" },
	{ "9000", NULL, NULL },
	{ "a,b", NULL, NULL },
	{ "www.example.org,22", NULL, "www.example.org" },
	{ "1,65535,1-65535,80-80", NULL, NULL },
	{ "", "empty entry in scope", NULL },
	{ ",", "empty entry in scope", NULL },
	{ "a,", "empty entry in scope", "a" },
	{ ",a", "empty entry in scope", "a" },
	{ "a,,9000", "empty entry in scope", "a" },
	{ "a, b", bad_name, "a" },
	{ "a b", bad_name, NULL },
	{ "A", bad_name, NULL },
	{ "*,9000", bad_name, NULL },
	{ "**", bad_name, NULL },
	{ "*.example.org", bad_name, NULL },
	{ "127.0.0.1", bad_name, NULL },
	{ "-9000", bad_name, NULL },
	{ "0", "bad port in scope", NULL },
	{ "080", "bad port in scope", NULL },
	{ "65536", "bad port in scope", NULL },
	{ "4294967376", "bad port in scope", NULL },
	{ "9100-9000", "bad port range in scope", NULL },
	{ "0-9000", "bad port range in scope", NULL },
	{ "9000-65536", "bad port range in scope", NULL },
	{ "01-02", "bad port range in scope", NULL },
	{ "9000-", NULL, "9000-" },
	{ "9000-a", NULL, "9000-a" },
	{ "1-2-3", NULL, "1-2-3" },
	{ "name:8080", NULL, "8080" },
	{ "9000,name:80-90,1-2", NULL, "80-90" },
	{ "name:a", NULL, "a" },
	{ "name:", bad_name, NULL },
	{ "name:,a", bad_name, "a" },
	{ "name:name:a", bad_name, NULL },
	{ "name:*", bad_name, NULL },
	{ "name:1.2", bad_name, NULL },
	{ "name", NULL, "name" },
};

static const struct { const char *scope, *name; int want; } has_name[] = {
	{ "*", "preview", 1 }, { "*", "www.example.org", 1 }, { "*", "Preview", 0 },
	{ "*", "9000", 1 }, { "name:9000", "9000", 1 }, { "name:9000", "name:9000", 0 }, { "name:9-10", "9-10", 1 },
	{ "9-10", "9-10", 0 }, { "name:9000", "900", 0 }, { "*", "", 0 }, { "*", "*", 0 }, { "*", "127.0.0.1", 0 },
	{ "preview", "preview", 1 }, { "preview", "previe", 0 }, { "preview", "previews", 0 },
	{ "preview", "", 0 }, { "a,b", "a", 1 }, { "a,b", "b", 1 }, { "a,b", "a,b", 0 },
	{ "9000,a", "a", 1 }, { "9000,a", "9000", 0 }, { "9000-9100", "9000-9100", 0 },
	{ "example.org", "www.example.org", 0 }, { "www.example.org", "www", 0 },
	{ "", "", 0 }, { "a,*", "b", 0 }, { "A", "A", 0 },
};

static const struct { const char *scope; unsigned port; int want; } has_port[] = {
	{ "*", 1024, 1 }, { "*", 65535, 1 }, { "*", 1023, 0 }, { "*", 0, 0 }, { "*", 65536, 0 },
	{ "9000", 9000, 1 }, { "9000", 8999, 0 }, { "9000", 9001, 0 }, { "9000", 900, 0 },
	{ "80", 80, 1 }, { "a,9100-9199", 9099, 0 }, { "a,9100-9199", 9100, 1 },
	{ "a,9100-9199", 9199, 1 }, { "a,9100-9199", 9200, 0 }, { "1-65535", 0, 0 },
	{ "1-65535", 1, 1 }, { "1-65535", 65535, 1 }, { "1-65535", 65536, 0 },
	{ "name:9000", 9000, 0 }, { "name:80-90", 85, 0 }, { "0-9000", 80, 0 }, { "9100-9000", 9050, 0 }, { "a", 80, 0 }, { "", 80, 0 },
};

static const struct { const char *scope; unsigned after, want; } next[] = {
	{ "9000", 0, 9000 }, { "9000", 8999, 9000 }, { "9000", 9000, 0 }, { "9000-9002", 9000, 9001 }, { "9000-9002", 9002, 0 },
	{ "9100,9000-9001", 0, 9000 }, { "9100,9000-9001", 9001, 9100 }, { "9000-9010,9005-9020", 9007, 9008 },
	{ "9000-9010,9005-9020", 9010, 9011 }, { "65535", 65534, 65535 }, { "65535", 65535, 0 }, { "a,9000", 0, 9000 },
	{ "*", 0, 1024 }, { "*", 1023, 1024 }, { "*", 1024, 1025 }, { "*", 65535, 0 }, { "", 0, 0 }, { "a", 0, 0 },
};

static const struct { const char *scope; int want; } only_ports[] = {
	{ "9000", 1 }, { "9000-9100", 1 }, { "80,9000-9100", 1 }, { "", 0 }, { "*", 0 }, { "a", 0 }, { "9000,a", 0 }, { "9000,", 0 },
	{ "9100-9000", 0 }, { "0", 0 }, { "65536", 0 }, { "name:9000", 0 }, { "9000 ", 0 },
};

static void
test_check(void)
{
	char only[NAME_LEN_MAX + 1], *scope;
	const char *why;
	size_t i;
	int rc;

	for (i = 0; i < LEN(scopes); i++) {
		scope = exact(scopes[i].scope, strlen(scopes[i].scope) + 1);
		why = NULL;
		rc = scope_check(scope, &why);
		check(rc == (scopes[i].why == NULL ? 0 : -1), scope, i);
		check(rc == 0 || strcmp(why, scopes[i].why) == 0, scope, i);
		rc = scope_only_name(scope, only);
		check(rc == (scopes[i].only != NULL), scope, i);
		check(rc == 0 || strcmp(only, scopes[i].only) == 0, scope, i);
		free(scope);
	}
}

int
main(void)
{
	char *text, scope[300];
	const char *why;
	size_t i;

	for (i = 0; i < LEN(names); i++) {
		text = exact(names[i].name, strlen(names[i].name) + 1);
		check(name_ok(text) == names[i].want, text, i);
		check(domain_ok(text) == (names[i].want && strspn(text, "0123456789") < strlen(text)), text, i);
		/* What is a name can be granted. */
		snprintf(scope, sizeof(scope), "name:%s", text);
		check((scope_check(scope, &why) == 0) == names[i].want || strchr(text, ',') != NULL, text, i);
		free(text);
	}
	test_check();
	for (i = 0; i < LEN(has_name); i++)
		check(scope_has_name(has_name[i].scope, has_name[i].name) == has_name[i].want,
		    has_name[i].name, i);
	for (i = 0; i < LEN(has_port); i++)
		check(scope_has_port(has_port[i].scope, has_port[i].port) == has_port[i].want,
		    has_port[i].scope, i);
	for (i = 0; i < LEN(next); i++)
		check(scope_next_port(next[i].scope, next[i].after) == next[i].want, next[i].scope, i);
	for (i = 0; i < LEN(only_ports); i++)
		check(scope_only_ports(only_ports[i].scope) == only_ports[i].want, only_ports[i].scope, i);
	return test_end();
}
