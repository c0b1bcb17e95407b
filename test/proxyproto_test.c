/* proxyproto_test.c: headers of the PROXY protocol, both versions, and addresses as text. */
#include "../proxyproto.h"
#include "test.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define SIG "\r\n\r\n\0\r\nQUIT\n"

static const struct {
	const char *src, *dst;	/* NULL: not known */
	const char *text;	/* version 1 */
	const char *binary;	/* version 2 */
	size_t len;
} rows[] = {
	{ "192.168.0.1:56324", "192.168.0.11:443", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
	    SIG "\x21\x11\0\x0c\xc0\xa8\0\1\xc0\xa8\0\x0b\xdc\4\1\xbb", 28 },
	{ "255.255.255.255:65535", "255.255.255.255:65535", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
	    SIG "\x21\x11\0\x0c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 28 },
	{ "[2001:db8::a]:1", "[::1]:9000", "PROXY TCP6 2001:db8::a ::1 1 9000\r\n",
	    SIG "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x0a" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1" "\0\1\x23\x28", 52 },
	{ "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	    "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	    SIG "\x21\x21\0\x24" "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	    "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" "\xff\xff\xff\xff", 52 },
	{ "192.0.2.1:80", "[::1]:81", "PROXY TCP6 ::ffff:192.0.2.1 ::1 80 81\r\n",	/* of two families: one can say both */
	    SIG "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1" "\0\x50\0\x51", 52 },
	{ NULL, NULL, "PROXY UNKNOWN\r\n", SIG "\x21\0\0\0", 16 },
	{ "192.0.2.1:80", NULL, "PROXY UNKNOWN\r\n", SIG "\x21\0\0\0", 16 },
	{ NULL, "192.0.2.1:80", "PROXY UNKNOWN\r\n", SIG "\x21\0\0\0", 16 },
};

static const struct { const char *text; int want; unsigned port; } ends[] = {
	{ "192.0.2.1:80", 0, 80 }, { "[::1]:65535", 0, 65535 }, { "192.0.2.1:0", 0, 0 },
	{ "", -1, 0 }, { "unix", -1, 0 }, { "192.0.2.1", -1, 0 }, { "192.0.2.1:", -1, 0 }, { ":80", -1, 0 },
	{ "192.0.2.1:65536", -1, 0 }, { "192.0.2.1:000080", -1, 0 }, { "192.0.2.1:8x", -1, 0 }, { "192.0.2.1:-1", -1, 0 },
	{ "[::1]", -1, 0 }, { "[::1:80", -1, 0 }, { "[]:80", -1, 0 }, { "[:80", -1, 0 }, { "host:80", -1, 0 },
	{ "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:80", -1, 0 },
};

static const struct proxyproto_end *
end_of(struct proxyproto_end *e, const char *text, size_t row)
{
	if (text != NULL)
		check(proxyproto_end(e, text) == 0, text, row);
	return text != NULL ? e : NULL;
}

int
main(void)
{
	struct proxyproto_end src, dst;
	const struct proxyproto_end *s, *d;
	unsigned char *out;
	char *text;
	size_t i, n;

	for (i = 0; i < LEN(rows); i++) {
		s = end_of(&src, rows[i].src, i);
		d = end_of(&dst, rows[i].dst, i);
		if ((out = malloc(PROXYPROTO_MAX)) == NULL)
			abort();
		n = proxyproto_write(out, 1, s, d);
		check(n == strlen(rows[i].text) && memcmp(out, rows[i].text, n) == 0, "version 1", i);
		n = proxyproto_write(out, 2, s, d);
		check(n == rows[i].len && memcmp(out, rows[i].binary, n) == 0, "version 2", i);
		free(out);
	}
	for (i = 0; i < LEN(ends); i++) {
		text = exact(ends[i].text, strlen(ends[i].text) + 1);
		check(proxyproto_end(&src, text) == ends[i].want, text, i);
		check(ends[i].want == -1 || src.port == ends[i].port, text, i);
		free(text);
	}
	return test_end();
}
