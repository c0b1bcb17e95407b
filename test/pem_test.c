/* pem_test.c: RFC 7468 objects, text around them, and every way to break one. */
#include "../pem.h"
#include "test.h"

#define S(s) s, sizeof(s) - 1
#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define FOO "-----BEGIN A-----\nZm9v\n-----END A-----"
#define L63 "123456789 123456789 123456789 123456789 123456789 123456789 123"

static const char unset[] = "";

/* One object each; what stands behind END_ is not a part of it. */
static const struct { const char *name, *text; size_t len; const char *label, *bytes; } good[] = {
	{ "plain", S(FOO "\n"), "A", "foo" },
	{ "no line end at the end", S(FOO), "A", "foo" },
	{ "CRLF", S("-----BEGIN A-----\r\nZm9v\r\n-----END A-----\r\n"), "A", "foo" },
	{ "CR", S("-----BEGIN A-----\rZm9v\rYmFy\r-----END A-----\r"), "A", "foobar" },
	{ "lines", S("-----BEGIN A-----\nZm9v\nYmFy\n-----END A-----\n"), "A", "foobar" },
	{ "short lines", S("-----BEGIN A-----\nZ\nm\n9\nvYm\nFy\n-----END A-----\n"), "A", "foobar" },
	{ "one pad", S("-----BEGIN A-----\nZm8=\n-----END A-----\n"), "A", "fo" },
	{ "two pads", S("-----BEGIN A-----\nZm9vZg==\n-----END A-----\n"), "A", "foof" },
	{ "pads on lines of their own", S("-----BEGIN A-----\nZg\n=\n=\n-----END A-----\n"), "A", "f" },
	{ "blanks", S("-----BEGIN A-----\n \tZm 9v \t\n\t\n-----END A-----\n"), "A", "foo" },
	{ "blanks behind the boundaries", S("-----BEGIN A----- \t\nZm9v\n-----END A-----\t \n"), "A", "foo" },
	{ "empty lines", S("-----BEGIN A-----\n\n\nZm9v\n\n\n-----END A-----\n"), "A", "foo" },
	{ "words in the label", S("-----BEGIN EC PRIVATE KEY-----\nZm9v\n-----END EC PRIVATE KEY-----\n"),
	    "EC PRIVATE KEY", "foo" },
	{ "hyphen in the label", S("-----BEGIN A-B-----\nZm9v\n-----END A-B-----\n"), "A-B", "foo" },
	{ "no label", S("-----BEGIN -----\nZm9v\n-----END -----\n"), "", "foo" },
	{ "longest label", S("-----BEGIN " L63 "-----\nZm9v\n-----END " L63 "-----\n"), L63, "foo" },
	{ "text before", S("Subject: CN=Atlantis\nIssuer: CN=Atlantis\n" FOO "\n"), "A", "foo" },
	{ "CRLF text before", S("Subject\r\n\r\n" FOO "\n"), "A", "foo" },
	{ "NUL and high bytes before", S("\0\xff\n\xef\xbb\xbf\n" FOO "\n"), "A", "foo" },
	{ "boundaries inside of lines before", S("a -----BEGIN A-----\n -----END A-----\n" FOO "\n"),
	    "A", "foo" },
	{ "nearly boundaries before", S("----BEGIN A-----\n-----BEGIN\n-----begin A-----\n-----\n" FOO),
	    "A", "foo" },
	{ "text behind", S(FOO "\nbye\n"), "A", "foo" },
	{ "all symbols", S("-----BEGIN A-----\nABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
	    "opqrstuvwxyz0123456789+/\n-----END A-----\n"), "A",
	    "\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f\x41\x14\x93\x51"
	    "\x55\x97\x61\x96\x9b\x71\xd7\x9f\x82\x18\xa3\x92\x59\xa7\xa2\x9a"
	    "\xab\xb2\xdb\xaf\xc3\x1c\xb3\xd3\x5d\xb7\xe3\x9e\xbb\xf3\xdf\xbf" },
};

#define BAD_BEGIN "bad BEGIN line of PEM object"
#define NO_BEGIN "PEM object without BEGIN line"
#define BAD_END "END line of PEM object missing or not its own"
#define BAD_BASE64 "bad base64 in PEM object"

static const struct { const char *name, *text; size_t len; const char *why; } bad[] = {
	{ "BEGIN cut", S("-----BEGIN "), BAD_BEGIN },
	{ "BEGIN with four dashes behind", S("-----BEGIN A----\nZm9v\n-----END A-----\n"), BAD_BEGIN },
	{ "BEGIN with six dashes behind", S("-----BEGIN A------\nZm9v\n-----END A------\n"), BAD_BEGIN },
	{ "text behind BEGIN", S("-----BEGIN A----- x\nZm9v\n-----END A-----\n"), BAD_BEGIN },
	{ "base64 behind BEGIN", S("-----BEGIN A-----Zm9v\n-----END A-----\n"), BAD_BEGIN },
	{ "label over two lines", S("-----BEGIN A\nB-----\nZm9v\n-----END A\nB-----\n"), BAD_BEGIN },
	{ "NUL in the label", S("-----BEGIN A\0-----\nZm9v\n-----END A\0-----\n"), BAD_BEGIN },
	{ "tab in the label", S("-----BEGIN A\tB-----\nZm9v\n-----END A\tB-----\n"), BAD_BEGIN },
	{ "DEL in the label", S("-----BEGIN A\x7f-----\nZm9v\n-----END A\x7f-----\n"), BAD_BEGIN },
	{ "high byte in the label", S("-----BEGIN \xe9-----\nZm9v\n-----END \xe9-----\n"), BAD_BEGIN },
	{ "label too long", S("-----BEGIN " L63 "4-----\nZm9v\n-----END " L63 "4-----\n"), BAD_BEGIN },
	{ "END first", S("-----END A-----\n" FOO "\n"), NO_BEGIN },
	{ "BEGIN with four dashes", S("----BEGIN A-----\nZm9v\n-----END A-----\n"), NO_BEGIN },
	{ "byte order mark", S("\xef\xbb\xbf" FOO "\n"), NO_BEGIN },
	{ "no END", S("-----BEGIN A-----\nZm9v\n"), BAD_END },
	{ "no END, base64 cut", S("-----BEGIN A-----\nZm9vYm"), BAD_END },
	{ "nothing behind BEGIN", S("-----BEGIN A-----"), BAD_END },
	{ "END of another label", S("-----BEGIN A-----\nZm9v\n-----END B-----\n"), BAD_END },
	{ "END of a longer label", S("-----BEGIN A-----\nZm9v\n-----END AB-----\n"), BAD_END },
	{ "END of a shorter label", S("-----BEGIN AB-----\nZm9v\n-----END A-----\n"), BAD_END },
	{ "END of a label in lower case", S("-----BEGIN A-----\nZm9v\n-----END a-----\n"), BAD_END },
	{ "END in the line of base64", S("-----BEGIN A-----\nZm9v-----END A-----\n"), BAD_END },
	{ "blank before END", S("-----BEGIN A-----\nZm9v\n -----END A-----\n"), BAD_END },
	{ "text behind END", S("-----BEGIN A-----\nZm9v\n-----END A-----x\n"), BAD_END },
	{ "next BEGIN in the line of END", S(FOO FOO "\n"), BAD_END },
	{ "BEGIN in place of END", S("-----BEGIN A-----\nZm9v\n-----BEGIN A-----\n"), BAD_END },
	{ "object inside an object", S("-----BEGIN A-----\nZm9v\n" FOO "\n-----END A-----\n"), BAD_END },
	{ "empty", S("-----BEGIN A-----\n-----END A-----\n"), BAD_BASE64 },
	{ "blank", S("-----BEGIN A-----\n \n-----END A-----\n"), BAD_BASE64 },
	{ "one symbol", S("-----BEGIN A-----\nZ\n-----END A-----\n"), BAD_BASE64 },
	{ "no padding", S("-----BEGIN A-----\nZm9vZg\n-----END A-----\n"), BAD_BASE64 },
	{ "half the padding", S("-----BEGIN A-----\nZg=\n-----END A-----\n"), BAD_BASE64 },
	{ "too much padding", S("-----BEGIN A-----\nZm9v=\n-----END A-----\n"), BAD_BASE64 },
	{ "padding alone", S("-----BEGIN A-----\n====\n-----END A-----\n"), BAD_BASE64 },
	{ "base64 behind one pad", S("-----BEGIN A-----\nZm8=\nZm9v\n-----END A-----\n"), BAD_BASE64 },
	{ "base64 behind two pads", S("-----BEGIN A-----\nZg==Zg==\n-----END A-----\n"), BAD_BASE64 },
	{ "bits left over", S("-----BEGIN A-----\nZh==\n-----END A-----\n"), BAD_BASE64 },
	{ "base64url", S("-----BEGIN A-----\n--__\n-----END A-----\n"), BAD_BASE64 },
	{ "base64url inside", S("-----BEGIN A-----\nZm9v_m9v\n-----END A-----\n"), BAD_BASE64 },
	{ "comment inside", S("-----BEGIN A-----\n# a\nZm9v\n-----END A-----\n"), BAD_BASE64 },
	{ "NUL inside", S("-----BEGIN A-----\nZm9v\0\n-----END A-----\n"), BAD_BASE64 },
	{ "form feed inside", S("-----BEGIN A-----\nZm9v\f\n-----END A-----\n"), BAD_BASE64 },
	{ "checksum of RFC 9580", S("-----BEGIN A-----\nZm9v\n=njUN\n-----END A-----\n"), BAD_BASE64 },
	{ "headers", S("-----BEGIN A-----\nX: y\n\nZm9v\n-----END A-----\n"), BAD_BASE64 },
	{ "encrypted", S("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
	    "DEK-Info: AES-256-CBC,5F0A\n\nZm9v\n-----END RSA PRIVATE KEY-----\n"), "the key is encrypted" },
	{ "encrypted, CRLF", S("-----BEGIN EC PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n"
	    "DEK-Info: AES-256-CBC,5F0A\r\n\r\nZm9v\r\n-----END EC PRIVATE KEY-----\r\n"),
	    "the key is encrypted" },
};

static const struct { const char *name, *text; size_t len; } none[] = {
	{ "nothing", S("") }, { "line end", S("\n") }, { "text", S("hello\nworld") },
	{ "NUL", S("\0\0\0") }, { "dashes", S("-----\n-----BEGIN\n-----END\n") },
	{ "indented", S("  -----BEGIN A-----\n  Zm9v\n  -----END A-----\n") },
};

static int
next(const char *text, size_t len, size_t *at, char *label, uint8_t *der, size_t cap, size_t *n,
    const char **why)
{
	char *exactly = exact(text, len);
	int rc;

	*why = unset;
	rc = pem_next(exactly, len, at, label, der, cap, n, why);
	if ((rc == -1) == (*why == unset) || *at > len)
		rc = -2;
	free(exactly);
	return rc;
}

/* The object and each cut of the text: before BEGIN there is none, before END it is bad. */
static void
test_good(size_t i)
{
	const char *text = good[i].text, *why;
	char label[PEM_LABEL_MAX];
	uint8_t der[64];
	size_t n, at, begin, end, cut, len = good[i].len;
	size_t want = strcmp(good[i].name, "all symbols") == 0 ? 48 : strlen(good[i].bytes);

	for (end = len; memcmp(text + end - 5, "-----", 5) != 0; end--)
		;
	for (begin = end - 11; memcmp(text + begin, "-----BEGIN ", 11) != 0; begin--)
		;
	for (cut = 0; cut <= len; cut++) {
		at = 0;
		memset(label, 'x', sizeof(label));
		switch (next(text, cut, &at, label, der, want, &n, &why)) {
		case 0:
			check(cut < begin + 11, good[i].name, cut);
			break;
		case -1:
			check(cut >= begin + 11 && cut < end, good[i].name, cut);
			break;
		case 1:
			check(cut >= end && at >= end, good[i].name, cut);
			check(strcmp(label, good[i].label) == 0, good[i].name, cut);
			check(n == want && memcmp(der, good[i].bytes, n) == 0, good[i].name, cut);
			check(next(text, cut, &at, label, der, want, &n, &why) == 0, good[i].name, cut);
			break;
		default:
			check(0, good[i].name, cut);
		}
	}
	for (cut = 0; cut < want; cut++) {
		at = 0;
		check(next(text, len, &at, label, der, cut, &n, &why) == -1 &&
		    strcmp(why, "PEM object too long") == 0, good[i].name, cut);
	}
}

/* Several in one text, as a chain or a key with its parameters comes. */
static void
test_several(void)
{
	static const char text[] =
	    "leaf\n" FOO "\n"
	    "-----BEGIN B-----\r\nYg==\r\n-----END B-----\r\n"
	    "\nmore text\n\n"
	    "-----BEGIN C C-----\rY2M=\r-----END C C----- \t\r"
	    "-----BEGIN D-----\nZA==\n-----END D-----";
	static const struct { const char *label, *bytes; } want[] = {
		{ "A", "foo" }, { "B", "b" }, { "C C", "cc" }, { "D", "d" },
	};
	char label[PEM_LABEL_MAX];
	const char *why;
	uint8_t der[3];
	size_t i, n, at = 0;

	for (i = 0; i < LEN(want); i++) {
		check(next(text, sizeof(text) - 1, &at, label, der, sizeof(der), &n, &why) == 1,
		    "several", i);
		check(strcmp(label, want[i].label) == 0 && n == strlen(want[i].bytes) &&
		    memcmp(der, want[i].bytes, n) == 0, "several", i);
	}
	check(next(text, sizeof(text) - 1, &at, label, der, sizeof(der), &n, &why) == 0, "several", i);
	check(next(text, sizeof(text) - 1, &at, label, der, sizeof(der), &n, &why) == 0, "several", i);
}

/* Each byte in each place of an object, so that none is skipped that should not be. */
static void
test_bytes(void)
{
	static const char symbols[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[sizeof(FOO)], label[PEM_LABEL_MAX];
	const char *why;
	uint8_t der[3];
	size_t i, n, at;
	int c, rc, body;

	for (i = 0; i < sizeof(FOO) - 1; i++)
		for (c = 0; c < 256; c++) {
			memcpy(text, FOO, sizeof(text));
			text[i] = (char)c;
			at = 0;
			rc = next(text, sizeof(text) - 1, &at, label, der, sizeof(der), &n, &why);
			body = i >= 18 && i < 22;
			if (text[i] == FOO[i] || (body && memchr(symbols, c, 64) != NULL))
				check(rc == 1, "byte", i * 256 + (size_t)c);
			else if (i == 17 || i == 22)	/* the line ends may be others */
				check(rc == (c == '\r' ? 1 : -1), "byte", i * 256 + (size_t)c);
			else
				check(rc == -1, "byte", i * 256 + (size_t)c);
		}
}

int
main(void)
{
	char label[PEM_LABEL_MAX];
	const char *why;
	uint8_t der[64];
	size_t i, n, at;

	for (i = 0; i < LEN(good); i++)
		test_good(i);
	for (i = 0; i < LEN(bad); i++) {
		at = 0;
		check(next(bad[i].text, bad[i].len, &at, label, der, sizeof(der), &n, &why) == -1 &&
		    strcmp(why, bad[i].why) == 0, bad[i].name, i);
	}
	for (i = 0; i < LEN(none); i++) {
		at = 0;
		check(next(none[i].text, none[i].len, &at, label, der, sizeof(der), &n, &why) == 0,
		    none[i].name, i);
	}
	test_several();
	test_bytes();
	return test_end();
}
