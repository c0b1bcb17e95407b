/* netrule_test.c: rules by address, host and port; what is blocked, in every form an address has. */
#include "../netrule.h"
#include "test.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Every range that wsproxy.md names (sections 10 and 15.10): its first and last address, and those beside it. */
static const struct { const char *first, *last, *before, *behind; } ranges[] = {
	{ "0.0.0.0", "0.255.255.255", NULL, "1.0.0.0" },
	{ "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0" },
	{ "100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0" },
	{ "127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0" },
	{ "169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0" },
	{ "172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0" },
	{ "192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0" },
	{ "192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0" },
	{ "192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0" },
	{ "198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0" },
	{ "198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0" },
	{ "203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0" },
	{ "224.0.0.0", "239.255.255.255", "223.255.255.255", NULL },
	{ "240.0.0.0", "255.255.255.255", NULL, NULL },
	{ "::", "::ffff:ffff", NULL, "::1:0:0" },		/* with ::1 and all IPv4-compatible ones */
	{ "::ffff:0:0:0", "::ffff:0:ffff:ffff", "::fffe:ffff:ffff:ffff", "::ffff:1:0:0" },
	{ "64:ff9b::", "64:ff9b::ffff:ffff", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b::1:0:0" },
	{ "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "64:ff9b:2::" },
	{ "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:1::" },
	{ "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::" },
	{ "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::" },
	{ "100::", "100::ffff:ffff:ffff:ffff", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "100:0:0:1::" },
	{ "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "2001:2:1::" },
	{ "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::" },
	{ "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "5f01::" },
	{ "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::" },
	{ "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL },
	{ "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, NULL },
	{ "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, NULL },
};

/* How an IPv4 address a.b.c.d can be written as an IPv6 one: a printf format of its two halves, or of their complements. */
static const struct { const char *name, *format; int complement; } forms[] = {
	{ "mapped", "::ffff:%x:%x", 0 }, { "compatible", "::%x:%x", 0 }, { "translated", "::ffff:0:%x:%x", 0 },
	{ "NAT64", "64:ff9b::%x:%x", 0 }, { "a network's own NAT64, /96", "64:ff9b:1::%x:%x", 0 },
	{ "6to4", "2002:%x:%x::1", 0 }, { "Teredo's server", "2001:0:%x:%x::", 0 }, { "Teredo's client", "2001::%x:%x", 1 },
};

static int
blocked(const char *text)
{
	struct addr a;

	if (addr_parse(&a, text) == -1) {
		check(0, text, 0);
		return -1;
	}
	return netrule_blocked(&a);
}

static void
test_ranges(void)
{
	size_t i;

	for (i = 0; i < COUNT(ranges); i++) {
		check(blocked(ranges[i].first) == 1, ranges[i].first, i);
		check(blocked(ranges[i].last) == 1, ranges[i].last, i);
		if (ranges[i].before != NULL)
			check(blocked(ranges[i].before) == 0, ranges[i].before, i);
		if (ranges[i].behind != NULL)
			check(blocked(ranges[i].behind) == 0, ranges[i].behind, i);
	}
	check(blocked("8.8.8.8") == 0 && blocked("1.1.1.1") == 0 && blocked("2606:4700::1111") == 0, "the internet", 0);
}

/* Every blocked IPv4 range in each form; and a form of a good address is no way around a rule that denies it. */
static void
test_forms(void)
{
	struct netrule deny[2];
	struct addr a;
	char text[64];
	const char *why;
	unsigned hi, lo;
	size_t i, k;

	check(netrule_parse(&deny[0], "deny 8.8.8.0/24", &why) == 0 && netrule_parse(&deny[1], "allow ::/0", &why) == 0, "rules", 0);
	for (i = 0; i < COUNT(forms); i++) {
		for (k = 0; k < COUNT(ranges) && strchr(ranges[k].first, '.') != NULL; k++) {
			addr_parse(&a, ranges[k].last);
			hi = (unsigned)a.ip[12] << 8 | a.ip[13];
			lo = (unsigned)a.ip[14] << 8 | a.ip[15];
			snprintf(text, sizeof(text), forms[i].format, forms[i].complement ? hi ^ 0xffff : hi,
			    forms[i].complement ? lo ^ 0xffff : lo);
			check(blocked(text) == 1, text, i);
		}
		snprintf(text, sizeof(text), forms[i].format, forms[i].complement ? 0xf7f7 : 0x808, forms[i].complement ? 0xf7f7 : 0x808);
		check(addr_parse(&a, text) == 0 && !netrule_allows(deny, 2, "", &a, 22), forms[i].name, i);
		check(i == 0 || netrule_allows(deny + 1, 1, "", &a, 22), "without that rule it would do", i);
	}
}

static const struct { const char *text; int want; const char *name; } hosts[] = {
	{ "127.0.0.1", 1, "" }, { " 10.0.0.1\t", 1, "" }, { "::1", 1, "" }, { "::FFFF:1.2.3.4", 1, "" },
	{ "example.org", 0, "example.org" }, { "Example.ORG.", 0, "example.org" }, { " a-b.c ", 0, "a-b.c" }, { "localhost", 0, "localhost" },
	{ "1a.2b", 0, "1a.2b" }, { "0x7f.example", 0, "0x7f.example" }, { "3com.com", 0, "3com.com" }, { "xn--bcher-kva.example", 0, "xn--bcher-kva.example" },
	/* what inet_aton takes for an address */
	{ "127.1", -1, NULL }, { "127.0.1", -1, NULL }, { "2130706433", -1, NULL }, { "0x7f000001", -1, NULL }, { "0X7F.1", -1, NULL },
	{ "0x7f.0.0.0x1", -1, NULL }, { "017700000001", -1, NULL }, { "0177.0.0.01", -1, NULL }, { "127.0.0.01", -1, NULL },
	{ "127.0.0.0x1", -1, NULL }, { "0", -1, NULL }, { "0x", -1, NULL }, { "1.2.3.4.5", -1, NULL }, { "127.0.0.1.", -1, NULL },
	{ "256.0.0.1", -1, NULL }, { "a.1", -1, NULL }, { "127.0.0.1:22", -1, NULL }, { "[::1]", -1, NULL }, { "::1%lo", -1, NULL },
	{ "fe80::1%1", -1, NULL }, { "", -1, NULL }, { " ", -1, NULL }, { ".", -1, NULL }, { "a..b", -1, NULL }, { ".a", -1, NULL },
	{ "a..", -1, NULL }, { "-a.b", -1, NULL }, { "a-.b", -1, NULL }, { "a.-b", -1, NULL }, { "a_b.c", -1, NULL }, { "a b", -1, NULL },
	{ "a/b", -1, NULL }, { "a@b", -1, NULL }, { "*.a", -1, NULL }, { "\xc3\xbc.de", -1, NULL }, { "a\n", -1, NULL },
	{ "123456789012345678901234567890123456789012345678901234567890abc.d", 0, "123456789012345678901234567890123456789012345678901234567890abc.d" },
	{ "123456789012345678901234567890123456789012345678901234567890abcd.e", -1, NULL },
};

static void
test_hosts(void)
{
	char name[NETRULE_HOST_MAX + 1], longest[NETRULE_HOST_MAX + 8];
	struct addr a;
	struct str s;
	size_t i;
	int rc;

	for (i = 0; i < COUNT(hosts); i++) {
		s.len = strlen(hosts[i].text);
		s.p = exact(hosts[i].text, s.len);
		rc = netrule_host(s, &a, name);
		check(rc == hosts[i].want && (rc == -1 || strcmp(name, hosts[i].name) == 0), hosts[i].text, i);
		free((char *)(uintptr_t)s.p);
	}
	for (i = 0; i < sizeof(longest); i++)
		longest[i] = i % 2 ? '.' : 'a';
	s.p = longest;
	for (s.len = NETRULE_HOST_MAX - 2; s.len <= sizeof(longest); s.len++) {
		rc = netrule_host(s, &a, name);
		check(rc == (s.len <= NETRULE_HOST_MAX + 1 ? 0 : -1), "253 bytes and a dot", s.len);
	}
	s.p = "a\0b";
	s.len = 3;
	check(netrule_host(s, &a, name) == -1, "a NUL", 0);
}

static const char *const sound[] = {
	"any", "any:22", "any:22,80-90", "allow *", "deny *:25", "allow 10.1.0.0/16:22", "allow *.lab.example.org:22-23", "deny 10.0.0.1",
	"allow [2001:db8::]/32:22", "allow [2001:db8::/32]:22", "allow 2001:db8::/32", "allow [::1]:1-65535", "allow localhost",
	"allow  a.b", "allow\tA.B:1,2,3,4,5,6,7,8",
};

static const char *const unsound[] = {
	"", "allow", "deny", "allow ", "Any", "anything", "any 22", "any:", "any:0", "any:65536", "any:22-21", "any:22,", "any:,22", "any:a",
	"any:1,2,3,4,5,6,7,8,9", "permit 10.0.0.0/8", "allow any", "deny any:22", "allow10.0.0.0/8", "allow 10.0.0.1/8", "allow 10.0.0.0/33", "allow 10.0.0.0/8:",
	"allow 10.0.0.0/8:99999999999999999999", "allow 127.1", "allow 0x7f000001", "allow a*.b", "allow *a.b", "allow a.*", "allow *.", "allow *.*.b",
	"allow ..", "allow [::1", "allow ::1]:22", "allow :22", "allow a_b", "allow a b", "allow [a.b]x:22", "allow *.1",
};

static const struct { const char *rules[4], *name, *addr; unsigned port; int want; } judged[] = {
	{ { "allow 10.1.0.0/16:22" }, "", "10.1.255.255", 22, 1 }, { { "allow 10.1.0.0/16:22" }, "", "10.2.0.0", 22, 0 },
	{ { "allow 10.1.0.0/16:22" }, "", "10.1.0.1", 23, 0 }, { { "allow 10.1.0.0/16:22" }, "", "::ffff:10.1.0.1", 22, 1 },
	{ { "allow 10.1.0.0/16:22" }, "", "64:ff9b::10.1.0.1", 22, 0 }, { { "allow 10.1.0.0/16:22" }, "any.name", "10.1.0.1", 22, 1 },
	{ { "allow *.lab.example.org:22-23" }, "a.lab.example.org", "10.1.0.1", 23, 1 },
	{ { "allow *.lab.example.org:22-23" }, "a.b.lab.example.org", "10.1.0.1", 22, 1 },
	{ { "allow *.lab.example.org:22-23" }, "lab.example.org", "10.1.0.1", 22, 0 },
	{ { "allow *.lab.example.org:22-23" }, "xlab.example.org", "10.1.0.1", 22, 0 },
	{ { "allow *.lab.example.org:22-23" }, "a.lab.example.org.evil", "10.1.0.1", 22, 0 },
	{ { "allow *.lab.example.org:22-23" }, "a.lab.example.org", "10.1.0.1", 24, 0 },
	{ { "allow *.lab.example.org:22-23" }, "", "10.1.0.1", 22, 0 },
	/* who answers for a name must not lead to the machine itself with it */
	{ { "allow *.lab.example.org" }, "a.lab.example.org", "127.0.0.1", 22, 0 }, { { "allow *.lab.example.org" }, "a.lab.example.org", "::1", 22, 0 },
	{ { "allow *.lab.example.org" }, "a.lab.example.org", "169.254.169.254", 80, 0 }, { { "allow *" }, "", "0.0.0.0", 22, 0 },
	{ { "allow *" }, "", "fe80::1", 22, 0 }, { { "allow *" }, "", "::ffff:0:7f00:1", 22, 0 }, { { "allow *" }, "", "10.0.0.1", 22, 1 },
	{ { "allow localhost:22" }, "localhost", "127.0.0.1", 22, 1 }, { { "allow localhost:22" }, "localhost", "::1", 22, 1 },
	{ { "allow localhost:22" }, "", "127.0.0.1", 22, 0 }, { { "allow *.l", "allow 127.0.0.1" }, "a.l", "127.0.0.1", 22, 1 },
	/* the first that covers it */
	{ { "deny 10.1.2.0/24", "allow 10.0.0.0/8" }, "", "10.1.2.3", 22, 0 }, { { "allow 10.0.0.0/8", "deny 10.1.2.0/24" }, "", "10.1.2.3", 22, 1 },
	{ { "deny *:25", "any" }, "", "8.8.8.8", 25, 0 }, { { "deny *:25", "any" }, "", "8.8.8.8", 26, 1 },
	{ { "deny *.example.org", "any" }, "a.example.org", "8.8.8.8", 22, 0 }, { { "deny bad.example", "any" }, "bad.example", "8.8.8.8", 22, 0 },
	{ { "any" }, "a.b", "8.8.8.8", 22, 1 }, { { "any" }, "a.b", "10.0.0.1", 22, 0 }, { { "any:22" }, "", "8.8.8.8", 80, 0 },
	{ { "any", "allow 10.0.0.0/8:22" }, "", "10.0.0.1", 22, 1 }, { { "any", "allow 10.0.0.0/8:22" }, "", "192.168.0.1", 22, 0 },
	{ { "deny 8.8.0.0/16", "any", "allow 64:ff9b::/96" }, "", "64:ff9b::8.8.8.8", 22, 0 },
	{ { "deny 8.8.0.0/16", "any", "allow 64:ff9b::/96" }, "", "64:ff9b::9.9.9.9", 22, 1 },
	/* an IPv6 network has no IPv4 addresses in it, unless it is their own */
	{ { "allow ::/0" }, "", "10.0.0.1", 22, 0 }, { { "allow ::/0" }, "", "2606::1", 22, 1 }, { { "allow ::ffff:10.0.0.0/104" }, "", "10.0.0.1", 22, 1 },
	{ { "allow 0.0.0.0/0" }, "", "10.0.0.1", 22, 1 }, { { "allow 0.0.0.0/0" }, "", "2606::1", 22, 0 },
	{ { NULL }, "", "8.8.8.8", 22, 0 },
};

static void
test_rules(void)
{
	struct netrule r[4];
	struct addr a;
	const char *why = NULL;
	size_t i;
	int n, may;

	for (i = 0; i < COUNT(sound); i++)
		check(netrule_parse(&r[0], sound[i], &why) == 0, sound[i], i);
	for (i = 0; i < COUNT(unsound); i++) {
		why = NULL;
		check(netrule_parse(&r[0], unsound[i], &why) == -1 && why != NULL, unsound[i], i);
	}
	for (i = 0; i < COUNT(judged); i++) {
		for (n = 0; n < 4 && judged[i].rules[n] != NULL; n++)
			check(netrule_parse(&r[n], judged[i].rules[n], &why) == 0, judged[i].rules[n], i);
		check(addr_parse(&a, judged[i].addr) == 0, judged[i].addr, i);
		check(netrule_allows(r, n, judged[i].name, &a, judged[i].port) == judged[i].want,
		    judged[i].rules[0] != NULL ? judged[i].rules[0] : "no rules", i);
		may = netrule_may(r, n, judged[i].name, judged[i].port);
		check(may || !judged[i].want, "what may be allowed may be looked up", i);
	}
	check(netrule_parse(&r[0], "deny *.b", &why) == 0 && netrule_parse(&r[1], "any:22", &why) == 0, "rules", 0);
	check(!netrule_may(r, 2, "a.b", 22) && netrule_may(r, 2, "a.c", 22) && !netrule_may(r, 2, "a.c", 23), "what need not be looked up", 0);
}

int
main(void)
{
	test_ranges();
	test_forms();
	test_hosts();
	test_rules();
	return test_end();
}
