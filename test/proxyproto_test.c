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

/* What may stand there: its length, or -1; 0: it is cut. known: whom it is from. */
static const struct {
	const char *text;
	size_t len;
	int want;
	const char *known;
} heads[] = {
#define ROW(text, want, known) { text, sizeof(text) - 1, want, known }
	ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\nGET", 38, "192.0.2.1:1"),
	ROW("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 56, "255.255.255.255:65535"),
	ROW("PROXY TCP6 2001:db8::a ::1 1 9000\r\n", 35, "[2001:db8::a]:1"),
	ROW("PROXY UNKNOWN\r\n", 15, NULL), ROW("PROXY UNKNOWN and whatever\r\n", 28, NULL),
	ROW("PROXY TCP4 192.0.2.1 192.0.2.2 0 443\r\n", 38, "192.0.2.1:0"),
	ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 443 \r\n", -1, NULL), ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 443 x\r\n", -1, NULL),
	ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", -1, NULL), ROW("PROXY TCP4 192.0.2.1 192.0.2.2 01 443\r\n", -1, NULL),
	ROW("PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n", -1, NULL), ROW("PROXY TCP4 192.0.2.1  192.0.2.2 1 443\r\n", -1, NULL),
	ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", -1, NULL), ROW("PROXY TCP4 ::1 192.0.2.2 1 443\r\n", -1, NULL),
	ROW("PROXY TCP6 192.0.2.1 ::1 1 443\r\n", -1, NULL), ROW("PROXY TCP4 host 192.0.2.2 1 443\r\n", -1, NULL),
	ROW("PROXY TCP5 192.0.2.1 192.0.2.2 1 443\r\n", -1, NULL), ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 443\n", -1, NULL),
	ROW("PROXY \r\n", -1, NULL), ROW("PROXY  \r\n", -1, NULL), ROW("GET / HTTP/1.1\r\n\r\n", -1, NULL), ROW("PROXX", -1, NULL),
	ROW("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", 104,
	    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
	ROW("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", 107, NULL),
	ROW("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535 \r\n", -1, NULL),
	ROW(SIG "\x21\x11\0\x0c\xc0\xa8\0\1\xc0\xa8\0\x0b\xdc\4\1\xbb" "GET", 28, "192.168.0.1:56324"),
	ROW(SIG "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x0a" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1" "\0\1\x23\x28", 52, "[2001:db8::a]:1"),
	ROW(SIG "\x21\x11\0\x0f\xc0\xa8\0\1\xc0\xa8\0\x0b\xdc\4\1\xbb\4\0\0", 31, "192.168.0.1:56324"),	/* a TLV behind it */
	ROW(SIG "\x20\0\0\0", 16, NULL), ROW(SIG "\x20\x11\0\x0c\xc0\xa8\0\1\xc0\xa8\0\x0b\xdc\4\1\xbb", 28, NULL),	/* LOCAL */
	ROW(SIG "\x20\x11\0\3abc", 19, NULL),
	ROW(SIG "\x21\0\0\0", 16, NULL), ROW(SIG "\x21\x31\0\4abcd", 20, NULL), ROW(SIG "\x21\x12\0\0", 16, NULL),
	ROW(SIG "\x21\x11\0\x0b\xc0\xa8\0\1\xc0\xa8\0\x0b\xdc\4\1", -1, NULL), ROW(SIG "\x21\x21\0\x0c", -1, NULL),
	ROW(SIG "\x11\x11\0\x0c", -1, NULL), ROW(SIG "\x22\x11\0\x0c", -1, NULL), ROW(SIG "\x21\x11\xff\xff", -1, NULL),
	ROW("\r\n\r\n\0\r\nQUIX", -1, NULL), ROW("\r\nGET", -1, NULL),
};

/* Every cut of a header is one that needs more, and of a bad one no cut is a header. */
static void
reading(void)
{
	struct proxyproto_end src, want;
	const char *why;
	unsigned char *p;
	size_t i, n;
	int rc, known, good;

	for (i = 0; i < LEN(heads); i++)
		for (n = 0; n <= heads[i].len; n++) {
			p = exact(heads[i].text, n);
			why = NULL;
			rc = proxyproto_parse(&src, &known, p, n, &why);
			free(p);
			good = heads[i].want > 0 && n >= (size_t)heads[i].want;
			if (heads[i].want > 0)
				check(rc == (good ? heads[i].want : 0), heads[i].text, n);
			else
				check(n == heads[i].len ? rc == -1 : rc <= 0, heads[i].text, n);
			check(rc != -1 || why != NULL, "says why", i);
			if (!good)
				continue;
			check(known == (heads[i].known != NULL), "known", i);
			if (heads[i].known != NULL && proxyproto_end(&want, heads[i].known) == 0)
				check(memcmp(src.addr.ip, want.addr.ip, 16) == 0 && src.port == want.port, heads[i].known, i);
		}
}

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
	reading();
	return test_end();
}
