/* base64_test.c: RFC 4648 section 10, all symbols, all lengths, all that is not canonical. */
#include <stdint.h>

#include "../base64.h"
#include "test.h"

/* The bytes whose groups of six bits count from 0 to 63. */
static const char walk[] =
    "\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f\x41\x14\x93\x51"
    "\x55\x97\x61\x96\x9b\x71\xd7\x9f\x82\x18\xa3\x92\x59\xa7\xa2\x9a"
    "\xab\xb2\xdb\xaf\xc3\x1c\xb3\xd3\x5d\xb7\xe3\x9e\xbb\xf3\xdf\xbf";

static const struct { const char *bytes; size_t len; const char *std, *url; } pairs[] = {
	{ "", 0, "", "" },
	{ "f", 1, "Zg==", "Zg" },
	{ "fo", 2, "Zm8=", "Zm8" },
	{ "foo", 3, "Zm9v", "Zm9v" },
	{ "foob", 4, "Zm9vYg==", "Zm9vYg" },
	{ "fooba", 5, "Zm9vYmE=", "Zm9vYmE" },
	{ "foobar", 6, "Zm9vYmFy", "Zm9vYmFy" },
	{ walk, 48,
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" },
	{ "\0", 1, "AA==", "AA" },
	{ "\xff", 1, "/w==", "_w" },
	{ "\xff\xff", 2, "//8=", "__8" },
	{ "\xfb\xef\xbe", 3, "++++", "----" },
};

static const struct { const char *name, *text; } bad_std[] = {
	{ "no padding", "Zg" }, { "no padding", "Zm8" },
	{ "half the padding", "Zg=" }, { "too much padding", "Zm8==" },
	{ "too much padding", "Zm9v=" }, { "too much padding", "Zm9v====" },
	{ "three pads", "Z===" }, { "only pads", "====" }, { "one pad", "=" },
	{ "pad inside", "Zg==Zg==" }, { "pad inside", "Zm=v" }, { "pad first", "=m9v" },
	{ "bits left over", "Zh==" }, { "bits left over", "Zm9=" },
	{ "one symbol", "Z" }, { "five symbols", "Zm9vY" },
	{ "white space", "Zm9v\n" }, { "white space", "Zm 9" }, { "white space", " Zm9" },
	{ "line break", "Zm9v\r\nYmE=" }, { "the other alphabet", "--__" },
};

static const struct { const char *name, *text; } bad_url[] = {
	{ "padding", "Zg==" }, { "padding", "Zm8=" }, { "padding", "====" },
	{ "bits left over", "Zh" }, { "bits left over", "Zm9" },
	{ "one symbol", "Z" }, { "five symbols", "Zm9vY" },
	{ "white space", "Zm9v\n" }, { "white space", "Zm 9" },
	{ "the other alphabet", "++//" },
};

typedef size_t encoder(char *, const void *, size_t);
typedef long decoder(void *, const char *, size_t);

static void
test_pair(encoder *enc, decoder *dec, const char *bytes, size_t len, const char *want)
{
	size_t n = strlen(want), room = n / 4 * 3 + 2;
	char *in = exact(bytes, len), *text = exact(want, n);
	char *out = malloc(n + 1), *back = malloc(room);

	if (out == NULL || back == NULL)
		abort();
	check(enc(out, in, len) == n && strcmp(out, want) == 0, want, len);
	check(dec(back, text, n) == (long)len, want, len);
	check(memcmp(back, bytes, len) == 0, want, len);
	free(in);
	free(text);
	free(out);
	free(back);
}

static void
test_bad(decoder *dec, const char *bytes, size_t n, const char *name)
{
	char *text = exact(bytes, n), *out = malloc(n / 4 * 3 + 2);

	if (out == NULL)
		abort();
	check(dec(out, text, n) == -1, name, n);
	free(text);
	free(out);
}

/* Each byte in each place: refused, or the only text for what it decodes to. */
static void
test_one_reading(encoder *enc, decoder *dec, const char *base, size_t len)
{
	char text[8], again[16], out[8];
	size_t at, symbols = 0;
	long n;
	int c;

	for (at = 0; at < len; at++)
		for (c = 0; c < 256; c++) {
			memcpy(text, base, len);
			text[at] = (char)c;
			n = dec(out, text, len);
			if (n == -1)
				continue;
			symbols++;
			check(enc(again, out, (size_t)n) == len &&
			    memcmp(text, again, len) == 0, base, (size_t)c);
		}
	check(symbols >= 64, "some are taken", symbols);
}

static void
test_length(size_t len)
{
	uint8_t bytes[80];
	char text[128];
	size_t i, n;

	for (i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 37 + len * 101 + 200);
	n = base64_encode(text, bytes, len);
	check(n == BASE64_LEN(len), "BASE64_LEN", len);
	test_pair(base64_encode, base64_decode, (char *)bytes, len, text);
	n = base64url_encode(text, bytes, len);
	check(n == BASE64URL_LEN(len), "BASE64URL_LEN", len);
	test_pair(base64url_encode, base64url_decode, (char *)bytes, len, text);
}

static void
test_16(void)
{
	static const struct { const char *text; int len, want; } row[] = {
		{ "", 0, 0 }, { "66", 2, 0 }, { "666F6F626172", 12, 0 }, { "666f6f626172", 12, 0 },	/* section 10 */
		{ "6", 1, -1 }, { "666", 3, -1 }, { "6g", 2, -1 }, { "G6", 2, -1 }, { "0x", 2, -1 }, { " 6", 2, -1 },
		{ "\xb6\xb6", 2, -1 }, { "6/", 2, -1 }, { "6:", 2, -1 }, { "6@", 2, -1 }, { "6`", 2, -1 },
	};
	char out[6];
	size_t i;

	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		check(base16_decode(out, row[i].text, (size_t)row[i].len) == row[i].want &&
		    (row[i].want == -1 || memcmp(out, "foobar", (size_t)row[i].len / 2) == 0), row[i].text, i);
}

int
main(void)
{
	size_t i;

	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		test_pair(base64_encode, base64_decode, pairs[i].bytes, pairs[i].len,
		    pairs[i].std);
		test_pair(base64url_encode, base64url_decode, pairs[i].bytes, pairs[i].len,
		    pairs[i].url);
	}
	for (i = 0; i < sizeof(bad_std) / sizeof(bad_std[0]); i++)
		test_bad(base64_decode, bad_std[i].text, strlen(bad_std[i].text),
		    bad_std[i].name);
	for (i = 0; i < sizeof(bad_url) / sizeof(bad_url[0]); i++)
		test_bad(base64url_decode, bad_url[i].text, strlen(bad_url[i].text),
		    bad_url[i].name);
	test_bad(base64_decode, "Zm9\0", 4, "NUL");
	test_bad(base64url_decode, "Zm9v\0\0", 6, "NUL");
	test_bad(base64_decode, "Zm9\xf6", 4, "not ASCII");
	test_one_reading(base64_encode, base64_decode, "Zm9v", 4);
	test_one_reading(base64_encode, base64_decode, "Zm8=", 4);
	test_one_reading(base64_encode, base64_decode, "Zg==", 4);
	test_one_reading(base64url_encode, base64url_decode, "Zm9v", 4);
	test_one_reading(base64url_encode, base64url_decode, "Zm8", 3);
	test_one_reading(base64url_encode, base64url_decode, "Zg", 2);
	for (i = 0; i <= 80; i++)
		test_length(i);
	test_16();
	return test_end();
}
