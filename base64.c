/* base64.c: base64 and base64url, RFC 4648; see base64.h. */
#include <stdint.h>

#include "base64.h"

static const char std_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t
encode(char *out, const void *buf, size_t len, const char *alphabet)
{
	const uint8_t *p = buf;
	uint32_t bits = 0;
	unsigned have = 0;
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		bits = bits << 8 | p[i];
		for (have += 8; have >= 6; have -= 6)
			out[n++] = alphabet[bits >> (have - 6) & 63];
	}
	if (have > 0)
		out[n++] = alphabet[bits << (6 - have) & 63];
	return n;
}

/* The six bits c stands for, or -1; s62 and s63 are the symbols in which the alphabets differ. */
static int
symbol(char c, char s62, char s63)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == s62 ? 62 : c == s63 ? 63 : -1;
}

static long
decode(void *buf, const char *text, size_t len, char s62, char s63)
{
	uint8_t *out = buf;
	uint32_t bits = 0;
	unsigned have = 0;
	size_t i;
	long n = 0;
	int six;

	if (len % 4 == 1)	/* six bits make no byte */
		return -1;
	for (i = 0; i < len; i++) {
		six = symbol(text[i], s62, s63);
		if (six == -1)
			return -1;
		bits = bits << 6 | (uint32_t)six;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (uint8_t)(bits >> have);
		}
	}
	if (bits & ((UINT32_C(1) << have) - 1))	/* 3.5 */
		return -1;
	return n;
}

size_t
base64_encode(char *out, const void *buf, size_t len)
{
	size_t n = encode(out, buf, len, std_alphabet);

	while (n % 4 != 0)
		out[n++] = '=';
	out[n] = '\0';
	return n;
}

size_t
base64url_encode(char *out, const void *buf, size_t len)
{
	size_t n = encode(out, buf, len, url_alphabet);

	out[n] = '\0';
	return n;
}

long
base64_decode(void *out, const char *text, size_t len)
{
	int i;

	if (len % 4 != 0)
		return -1;
	/* at most two pads: one too many, or one inside, is no symbol to decode() */
	for (i = 0; i < 2 && len > 0 && text[len - 1] == '='; i++)
		len--;
	return decode(out, text, len, '+', '/');
}

long
base64url_decode(void *out, const char *text, size_t len)
{
	return decode(out, text, len, '-', '_');
}

static int
digit16(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int
base16_decode(void *out, const char *text, size_t len)
{
	uint8_t *p = out;
	size_t i;
	int hi, lo;

	if (len % 2 != 0)
		return -1;
	for (i = 0; i < len; i += 2) {
		hi = digit16(text[i]);
		lo = digit16(text[i + 1]);
		if (hi == -1 || lo == -1)
			return -1;
		*p++ = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}
