/* cidr_test.c: addresses, networks, and which lies in which. */
#include "../cidr.h"
#include "test.h"

static const struct { const char *text; const char *want; } addrs[] = {
	{ "1.2.3.4", "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4" },
	{ "0.0.0.0", "\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0" },
	{ "255.255.255.255", "\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff" },
	{ "::ffff:1.2.3.4", "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4" },
	{ "::FFFF:102:304", "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4" },
	{ "::", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" },
	{ "::1", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1" },
	{ "2001:db8::a", "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x0a" },
	{ "2001:DB8:0:0:0:0:0:A", "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x0a" },
	{ "fe80::", "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0" },
};

static const char *const not_addrs[] = {
	"", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.", ".1.2.3", "1..2.3",
	"01.2.3.4", "1.2.3.04", "0x1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4\n", "-1.2.3.4",
	"16909060", "localhost", "[::1]", "::1%lo", "fe80::1%1", ":::", "1::2::3", ":1",
	"1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "g::", "::1.2.3", "::1.2.3.4.5",
	"1.2.3.4/8", "::/0", "1.2.3.4:80",
};

static const struct { const char *text; unsigned bits; } nets[] = {
	{ "10.0.0.0/8", 104 }, { "0.0.0.0/0", 96 }, { "1.2.3.4", 128 }, { "1.2.3.4/32", 128 },
	{ "128.0.0.0/1", 97 }, { "172.16.0.0/12", 108 }, { "192.0.2.254/31", 127 },
	{ "::/0", 0 }, { "::1", 128 }, { "::1/128", 128 }, { "fe80::/10", 10 }, { "fc00::/7", 7 },
	{ "2001:db8::/32", 32 }, { "::ffff:0:0/96", 96 }, { "::ffff:10.0.0.0/104", 104 },
	{ "0000:0000:0000:0000:0000:ffff:255.255.255.255/128", 128 },
	{ "0000:0000:0000:0000:0000:ffff:255.255.255.255", 128 },	/* the longest */
};

static const char *const not_nets[] = {
	"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/00", "10.0.0.0/-1",
	"10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0.0/8 ", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0",
	"10.0.0.0/4294967304", "10.0.0.0/99999999999999999999", "::/129", "::/1280", "::/x",
	"10.0.0.1/8", "10.128.0.0/8", "0.0.0.1/0", "192.0.2.255/31", "::1/0", "::1/127",
	"fec0::/9", "2001:db8::1/64", "10/8", "10.0/16", "host/8", "[::]/0",
	"0000000000000000000000000000000000000000000000000000000000000000000000000001/8",
};

static const struct { const char *net, *addr; int want; } matches[] = {
	{ "10.0.0.0/8", "10.0.0.0", 1 }, { "10.0.0.0/8", "10.255.255.255", 1 },
	{ "10.0.0.0/8", "11.0.0.0", 0 }, { "10.0.0.0/8", "9.255.255.255", 0 },
	{ "172.16.0.0/12", "172.31.255.255", 1 }, { "172.16.0.0/12", "172.32.0.0", 0 },
	{ "1.2.3.4", "1.2.3.4", 1 }, { "1.2.3.4", "1.2.3.5", 0 },
	{ "0.0.0.0/0", "255.255.255.255", 1 }, { "0.0.0.0/0", "::1", 0 },
	{ "0.0.0.0/0", "2001:db8::1", 0 }, { "::/0", "2001:db8::1", 1 },
	{ "::/0", "1.2.3.4", 1 },	/* a prefix of every address, IPv4-mapped ones too */
	{ "::1", "::1", 1 }, { "::1", "::", 0 }, { "::1", "127.0.0.1", 0 },
	{ "fe80::/10", "febf::1", 1 }, { "fe80::/10", "fec0::1", 0 },
	{ "127.0.0.0/8", "::ffff:127.0.0.1", 1 }, { "127.0.0.0/8", "::127.0.0.1", 0 },
	{ "::ffff:10.0.0.0/104", "10.1.2.3", 1 },
};

/* Every prefix length: the last address inside, and the first bit that leaves. */
static void
test_bits(unsigned bits)
{
	struct cidr c;
	struct addr a;
	unsigned i;

	memset(&c.net, 0, sizeof(c.net));
	c.bits = bits;
	for (i = 0; i < 128; i++) {
		memset(&a, 0, sizeof(a));
		a.ip[i / 8] = (uint8_t)(0x80 >> i % 8);
		check(cidr_match(&c, &a) == (i >= bits), "one bit", bits * 128 + i);
	}
}

int
main(void)
{
	static const struct { const char *addr, *net, *shown; } hosts[] = {
		{ "192.0.2.7", "192.0.2.7", "192.0.2.7" }, { "::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7" },
		{ "2001:DB8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1:2:3:4:5:6" }, { "::1", "::", "::1" }
	};
	struct addr a, b;
	struct cidr c;
	char shown[46];
	const char *why;
	char *text;
	size_t i;

	for (i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
		text = exact(addrs[i].text, strlen(addrs[i].text) + 1);
		check(addr_parse(&a, text) == 0 && memcmp(a.ip, addrs[i].want, 16) == 0, text, i);
		addr_format(&a, shown, sizeof(shown));
		memset(&b, 0xaa, sizeof(b));
		check(addr_parse(&b, shown) == 0 && memcmp(a.ip, b.ip, 16) == 0, shown, i);
		free(text);
	}
	for (i = 0; i < sizeof(not_addrs) / sizeof(not_addrs[0]); i++)
		check(addr_parse(&a, not_addrs[i]) == -1, not_addrs[i], i);
	for (i = 0; i < sizeof(nets) / sizeof(nets[0]); i++) {
		text = exact(nets[i].text, strlen(nets[i].text) + 1);
		check(cidr_parse(&c, text, &why) == 0 && c.bits == nets[i].bits, text, i);
		free(text);
	}
	for (i = 0; i < sizeof(not_nets) / sizeof(not_nets[0]); i++) {
		why = NULL;
		check(cidr_parse(&c, not_nets[i], &why) == -1 && why != NULL, not_nets[i], i);
	}
	for (i = 0; i < sizeof(matches) / sizeof(matches[0]); i++)
		check(cidr_parse(&c, matches[i].net, &why) == 0 &&
		    addr_parse(&a, matches[i].addr) == 0 &&
		    cidr_match(&c, &a) == matches[i].want, matches[i].addr, i);
	for (i = 0; i <= 128; i++)
		test_bits((unsigned)i);
	for (i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		check(addr_parse(&a, hosts[i].addr) == 0 && addr_parse(&b, hosts[i].net) == 0, hosts[i].addr, i);
		addr_format(&a, shown, sizeof(shown));
		check(strcmp(shown, hosts[i].shown) == 0, hosts[i].shown, i);
		a = addr_network(&a);
		check(memcmp(a.ip, b.ip, 16) == 0, hosts[i].net, i);
	}
	return test_end();
}
