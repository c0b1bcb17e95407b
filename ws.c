/* ws.c: WebSocket framing and UTF-8; see ws.h. */
#include <string.h>

#include "ws.h"

/* A state in which no byte may follow: its range is empty. */
#define UTF8_BAD	0x0000ff01u

static int
bad(const char **why, int status, const char *what)
{
	*why = what;
	return -status;
}

/* What the first byte alone tells. */
static int
check_first(uint8_t first, const char **why)
{
	if (first & 0x70)	/* we negotiate no extension */
		return bad(why, WS_PROTOCOL_ERROR, "reserved bit set");
	switch (first & 0x0f) {
	case WS_CONTINUATION:
	case WS_TEXT:
	case WS_BINARY:
		return 0;
	case WS_CLOSE:
	case WS_PING:
	case WS_PONG:
		if (!(first & 0x80))	/* 5.5 */
			return bad(why, WS_PROTOCOL_ERROR, "fragmented control frame");
		return 0;
	default:
		return bad(why, WS_PROTOCOL_ERROR, "reserved opcode");
	}
}

/* What the have bytes of the extended payload length, size of them in all, tell. */
static int
check_extended(const uint8_t *p, size_t have, size_t size, const char **why)
{
	uint64_t v = 0;
	size_t i;

	if (have > size)
		have = size;
	if (have == 0)
		return 0;
	if (size == 8 && p[0] & 0x80)
		return bad(why, WS_PROTOCOL_ERROR, "length of 2^63 or more");
	for (i = 0; i < have; i++)
		v = v << 8 | p[i];
	/* The first 6 of 8 bytes, or both of 2, show that a shorter form would do. */
	if ((size == 8 && have >= 6 && v >> 8 * (have - 6) == 0) ||
	    (size == 2 && have == 2 && v < 126))
		return bad(why, WS_PROTOCOL_ERROR, "length not in its shortest form");
	return 0;
}

int
ws_hdr_parse(struct ws_hdr *h, const uint8_t *buf, size_t len, const char **why)
{
	size_t i, ext, need;
	uint8_t len7;
	int rc;

	if (len < 1)
		return 0;
	if ((rc = check_first(buf[0], why)) < 0)
		return rc;
	if (len < 2)
		return 0;
	len7 = buf[1] & 0x7f;
	if (buf[0] & 0x08 && len7 > WS_CONTROL_MAX)	/* 5.5 */
		return bad(why, WS_PROTOCOL_ERROR, "control frame over 125 bytes");
	ext = len7 == 127 ? 8 : len7 == 126 ? 2 : 0;
	if ((rc = check_extended(buf + 2, len - 2, ext, why)) < 0)
		return rc;
	need = 2 + ext + (buf[1] & 0x80 ? 4 : 0);
	if (len < need)
		return 0;

	memset(h, 0, sizeof(*h));
	h->opcode = buf[0] & 0x0f;
	h->fin = buf[0] >> 7;
	h->masked = buf[1] >> 7;
	h->len = ext == 0 ? len7 : 0;
	for (i = 0; i < ext; i++)
		h->len = h->len << 8 | buf[2 + i];
	if (h->masked)
		memcpy(h->key, buf + 2 + ext, sizeof(h->key));
	return (int)need;
}

size_t
ws_hdr_write(uint8_t *out, const struct ws_hdr *h)
{
	uint8_t mask = h->masked ? 0x80 : 0;
	size_t ext, i, n = 2;

	ext = h->len > 0xffff ? 8 : h->len > 125 ? 2 : 0;
	out[0] = (uint8_t)((h->fin ? 0x80 : 0) | h->opcode);
	out[1] = (uint8_t)(mask | (ext == 8 ? 127 : ext == 2 ? 126 : h->len));
	for (i = ext; i > 0; i--)
		out[n++] = (uint8_t)(h->len >> 8 * (i - 1));
	if (h->masked) {
		memcpy(out + n, h->key, sizeof(h->key));
		n += sizeof(h->key);
	}
	return n;
}

/*
 * Every byte of a session passes here: words go through memcpy, which costs
 * nothing and permits any alignment, and eight at a time so that compilers
 * use vector registers.
 */
size_t
ws_mask(uint8_t *dst, const uint8_t *src, size_t len, const uint8_t key[4], size_t at)
{
	uint8_t k[8];
	uint64_t w[8], kw;
	size_t i, n;

	for (i = 0; i < sizeof(k); i++)
		k[i] = key[(at + i) % 4];
	memcpy(&kw, k, sizeof(kw));
	for (n = len; n >= sizeof(w); n -= sizeof(w)) {
		memcpy(w, src, sizeof(w));
		for (i = 0; i < 8; i++)
			w[i] ^= kw;
		memcpy(dst, w, sizeof(w));
		src += sizeof(w);
		dst += sizeof(w);
	}
	for (; n >= sizeof(kw); n -= sizeof(kw)) {
		memcpy(w, src, sizeof(kw));
		w[0] ^= kw;
		memcpy(dst, w, sizeof(kw));
		src += sizeof(kw);
		dst += sizeof(kw);
	}
	for (i = 0; i < n; i++)		/* whole words keep the key's phase */
		dst[i] = src[i] ^ k[i];
	return at + len;
}

int
ws_sequence(uint8_t *in_message, const struct ws_hdr *h, uint8_t *opcode, const char **why)
{
	if (h->opcode & 0x08) {		/* control frames may stand between fragments */
		*opcode = h->opcode;
		return 0;
	}
	if (h->opcode == WS_CONTINUATION) {
		if (*in_message == 0)
			return bad(why, WS_PROTOCOL_ERROR, "continuation of no message");
		*opcode = *in_message;
	} else {
		if (*in_message != 0)
			return bad(why, WS_PROTOCOL_ERROR, "message inside a message");
		*opcode = h->opcode;
	}
	*in_message = h->fin ? 0 : *opcode;
	return 0;
}

/* A UTF-8 state: left bytes are missing, the next of them within lo to hi. */
static uint32_t
utf8_expect(uint32_t left, uint32_t lo, uint32_t hi)
{
	return hi << 16 | lo << 8 | left;
}

/* The state after the first byte of a character: RFC 3629 section 4, line by line. */
static uint32_t
utf8_first(uint8_t c)
{
	if (c < 0x80)
		return 0;
	if (c < 0xc2)		/* a tail, or an overlong form of ASCII */
		return UTF8_BAD;
	if (c < 0xe0)
		return utf8_expect(1, 0x80, 0xbf);
	if (c < 0xf0)		/* 0xed: no surrogates */
		return utf8_expect(2, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf);
	if (c < 0xf5)		/* 0xf4: nothing above U+10FFFF */
		return utf8_expect(3, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf);
	return UTF8_BAD;
}

static uint32_t
utf8_next(uint32_t st, uint8_t c)
{
	if (c < (st >> 8 & 0xff) || c > st >> 16)
		return UTF8_BAD;
	return (st & 0xff) == 1 ? 0 : utf8_expect((st & 0xff) - 1, 0x80, 0xbf);
}

int
ws_utf8(uint32_t *state, const uint8_t *buf, size_t len)
{
	const uint64_t high = UINT64_C(0x8080808080808080);
	uint32_t st = *state;
	uint64_t w;
	size_t i = 0;

	while (i < len && st != UTF8_BAD) {
		if (st != 0) {
			st = utf8_next(st, buf[i++]);
			continue;
		}
		for (; len - i >= sizeof(w); i += sizeof(w)) {	/* ASCII by words */
			memcpy(&w, buf + i, sizeof(w));
			if (w & high)
				break;
		}
		while (i < len && st == 0)
			st = utf8_first(buf[i++]);
	}
	*state = st;
	return st == UTF8_BAD ? -1 : 0;
}

/* May this status code stand in a close frame? 7.4.2 and IANA's registry. */
static int
may_send(int status)
{
	if (status >= 3000 && status <= 4999)
		return 1;
	return (status >= 1000 && status <= 1003) || (status >= 1007 && status <= 1014);
}

int
ws_close_parse(const uint8_t *payload, size_t len, const char **why)
{
	uint32_t utf8 = 0;
	int status;

	if (len == 0)
		return WS_NO_STATUS;
	if (len == 1)
		return bad(why, WS_PROTOCOL_ERROR, "close frame with half a status code");
	status = payload[0] << 8 | payload[1];
	if (!may_send(status))
		return bad(why, WS_PROTOCOL_ERROR, "status code that may not be sent");
	if (ws_utf8(&utf8, payload + 2, len - 2) == -1 || utf8 != 0)
		return bad(why, WS_BAD_DATA, "close reason is not UTF-8");
	return status;
}
