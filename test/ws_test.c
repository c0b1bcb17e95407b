/* WebSocket framing: RFC 6455 section 5.7 first, then what it leaves out. UTF-8: RFC 3629. */
#include "../ws.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define S(s)	s, sizeof(s) - 1

/* Headers: in is whole, len of its bytes suffice for the verdict want. */
static const struct {
	const char *name, *in;
	size_t len;
	int want;
	struct ws_hdr h;
} headers[] = {
	{ "unmasked text 'Hello', 5.7", S("\x81\x05"), 2, { 5, { 0 }, WS_TEXT, 1, 0 } },
	{ "masked text 'Hello', 5.7", S("\x81\x85\x37\xfa\x21\x3d"), 6,
	    { 5, { 0x37, 0xfa, 0x21, 0x3d }, WS_TEXT, 1, 1 } },
	{ "fragment 'Hel', 5.7", S("\x01\x03"), 2, { 3, { 0 }, WS_TEXT, 0, 0 } },
	{ "fragment 'lo', 5.7", S("\x80\x02"), 2, { 2, { 0 }, WS_CONTINUATION, 1, 0 } },
	{ "ping, 5.7", S("\x89\x05"), 2, { 5, { 0 }, WS_PING, 1, 0 } },
	{ "masked pong, 5.7", S("\x8a\x85\x37\xfa\x21\x3d"), 6,
	    { 5, { 0x37, 0xfa, 0x21, 0x3d }, WS_PONG, 1, 1 } },
	{ "256 bytes, 5.7", S("\x82\x7e\x01\x00"), 4, { 256, { 0 }, WS_BINARY, 1, 0 } },
	{ "64 KiB, 5.7", S("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"), 10,
	    { 65536, { 0 }, WS_BINARY, 1, 0 } },
	{ "empty", S("\x82\x00"), 2, { 0, { 0 }, WS_BINARY, 1, 0 } },
	{ "125, the longest short form", S("\x82\x7d"), 2, { 125, { 0 }, WS_BINARY, 1, 0 } },
	{ "126, the shortest 16 bits", S("\x82\x7e\x00\x7e"), 4,
	    { 126, { 0 }, WS_BINARY, 1, 0 } },
	{ "65535, the longest 16 bits, masked", S("\x02\xfe\xff\xff\1\2\3\4"), 8,
	    { 65535, { 1, 2, 3, 4 }, WS_BINARY, 0, 1 } },
	{ "2^63 - 1, masked", S("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\xff\0\xff"), 14,
	    { INT64_MAX, { 0, 0xff, 0, 0xff }, WS_BINARY, 1, 1 } },
	{ "order of bytes", S("\x82\x7f\x01\x23\x45\x67\x89\xab\xcd\xef"), 10,
	    { UINT64_C(0x0123456789abcdef), { 0 }, WS_BINARY, 1, 0 } },
	{ "close of 125", S("\x88\xfd\1\2\3\4"), 6, { 125, { 1, 2, 3, 4 }, WS_CLOSE, 1, 1 } },
	{ "ping of nothing", S("\x89\x00"), 2, { 0, { 0 }, WS_PING, 1, 0 } },
};

/* Refused once len bytes are there and not before; more may follow. */
static const struct {
	const char *name, *in;
	size_t len;
} refused[] = {
	{ "close fragmented, 5.5", S("\x08") },
	{ "ping fragmented, 5.5", S("\x09") },
	{ "pong fragmented, 5.5", S("\x0a") },
	{ "close of 126, 5.5", S("\x88\x7e") },
	{ "ping of 126, masked, 5.5", S("\x89\xfe") },
	{ "pong in 64 bits, 5.5", S("\x8a\x7f") },
	{ "125 in 16 bits, 5.2", S("\x82\x7e\x00\x7d") },
	{ "0 in 16 bits, masked, 5.2", S("\x82\xfe\x00\x00") },
	{ "65535 in 64 bits, 5.2", S("\x82\x7f\0\0\0\0\0\0") },
	{ "0 in 64 bits, masked, 5.2", S("\x82\xff\0\0\0\0\0\0") },
	{ "2^63, 5.2", S("\x82\x7f\x80") },
	{ "2^64 - 1, 5.2", S("\x82\x7f\xff") },
};

static int
parse(struct ws_hdr *h, const void *in, size_t len)
{
	const char *why = NULL;
	uint8_t *p = exact(in, len);
	int rc = ws_hdr_parse(h, p, len, &why);

	free(p);
	return rc < 0 && why == NULL ? -1 : rc;	/* a refusal gives its reason */
}

static void
test_headers(void)
{
	uint8_t out[WS_HDR_MAX];
	struct ws_hdr h;
	size_t i, n;

	for (i = 0; i < LEN(headers); i++) {
		for (n = 0; n <= headers[i].len; n++)
			check(parse(&h, headers[i].in, n) ==
			    (n < headers[i].len ? 0 : headers[i].want), headers[i].name, n);
		check(h.len == headers[i].h.len && h.opcode == headers[i].h.opcode &&
		    h.fin == headers[i].h.fin && h.masked == headers[i].h.masked &&
		    memcmp(h.key, headers[i].h.key, 4) == 0, headers[i].name, 100);
		n = ws_hdr_write(out, &headers[i].h);
		check(n == headers[i].len && memcmp(out, headers[i].in, n) == 0,
		    headers[i].name, 101);
	}
	for (i = 0; i < LEN(refused); i++)
		for (n = 0; n <= refused[i].len; n++)
			check(parse(&h, refused[i].in, n) ==
			    (n < refused[i].len ? 0 : -WS_PROTOCOL_ERROR), refused[i].name, n);
	check(parse(&h, "\x82\x05Hello\x89", 8) == 2, "bytes after the header", 8);
	check(parse(&h, "\x82\x7f\0\0\0\0\0\0\xff\xff", 10) == -WS_PROTOCOL_ERROR,
	    "65535 in 64 bits, all at once", 10);
	check(parse(&h, "\x82\x7f\0\0\0\0\0\1\0\0", 10) == 10, "65536 in 64 bits", 10);
}

/* Every first byte there is: reserved bits, reserved opcodes, fragmented control frames. */
static void
test_first_bytes(void)
{
	struct ws_hdr h;
	unsigned first, op;
	uint8_t in[2];
	int ok;

	for (first = 0; first < 256; first++) {
		op = first & 15;
		ok = (first & 0x70) == 0 && (op <= 2 || (op >= 8 && op <= 10)) &&
		    (op < 8 || first & 0x80);
		in[0] = (uint8_t)first;
		in[1] = 0;
		check(parse(&h, in, 1) == (ok ? 0 : -WS_PROTOCOL_ERROR), "first byte", first);
		check(parse(&h, in, 2) == (ok ? 2 : -WS_PROTOCOL_ERROR), "first of two", first);
	}
}

static void
test_lengths(void)
{
	static const uint8_t key[4] = { 9, 8, 7, 6 };
	uint8_t out[WS_HDR_MAX];
	struct ws_hdr h, back;
	uint64_t len;
	unsigned bit;
	size_t n;

	memset(&h, 0, sizeof(h));
	h.opcode = WS_BINARY;
	h.fin = h.masked = 1;
	memcpy(h.key, key, sizeof(key));
	for (bit = 0; bit < 63; bit++)
		for (len = (UINT64_C(1) << bit) - 1; len <= UINT64_C(1) << bit; len++) {
			h.len = len;
			n = ws_hdr_write(out, &h);
			check(n == (len < 126 ? 6u : len < 65536 ? 8u : 14u),
			    "shortest form", bit);
			check(parse(&back, out, n) == (int)n && back.len == len &&
			    memcmp(back.key, key, 4) == 0, "length there and back", bit);
		}
}

static void
fill(uint8_t *p, size_t len, uint32_t seed)
{
	size_t i;

	for (i = 0; i < len; i++) {
		seed = seed * 1103515245u + 12345u;
		p[i] = (uint8_t)(seed >> 16);
	}
}

static const uint8_t mask_key[4] = { 0x37, 0xfa, 0x21, 0x3d };

/* len bytes at these offsets from malloc's alignment, both ways, against one byte at a time. */
static int
mask_ok(size_t soff, size_t doff, size_t len, size_t at)
{
	uint8_t *src = malloc(soff + len + 1), *dst = malloc(doff + len + 1);
	size_t i;
	int ok;

	if (src == NULL || dst == NULL)
		abort();
	fill(src, soff + len + 1, (uint32_t)(len + at));
	memset(dst, 0x5a, doff + len + 1);
	ok = ws_mask(dst + doff, src + soff, len, mask_key, at) == at + len;
	for (i = 0; i < len; i++)
		ok &= dst[doff + i] == (src[soff + i] ^ mask_key[(at + i) % 4]);
	for (i = 0; i < doff; i++)
		ok &= dst[i] == 0x5a;
	ok &= dst[doff + len] == 0x5a;

	ok &= ws_mask(src + soff, src + soff, len, mask_key, at) == at + len;
	ok &= memcmp(src + soff, dst + doff, len) == 0;
	free(src);
	free(dst);
	return ok;
}

/* The same in allocations that end with the last byte. */
static int
mask_stays_inside(size_t off, size_t len)
{
	uint8_t *src = malloc(off + len + !len), *dst = malloc(off + len + !len);
	int ok;

	if (src == NULL || dst == NULL)
		abort();
	fill(src, off + len, 1);
	ok = ws_mask(dst + off, src + off, len, mask_key, 1) == len + 1 &&
	    ws_mask(src + off, src + off, len, mask_key, 1) == len + 1 &&
	    memcmp(dst + off, src + off, len) == 0;
	free(src);
	free(dst);
	return ok;
}

static void
test_mask(void)
{
	static const size_t big[] = { 1000, 4095, 4096, 4097, 65543, 1048576 };
	uint8_t hello[5];
	size_t s, d, len, at;
	int ok;

	ws_mask(hello, (const uint8_t *)"\x7f\x9f\x4d\x51\x58", 5, mask_key, 0);
	check(memcmp(hello, "Hello", 5) == 0, "masked 'Hello', 5.7", 5);
	for (s = 0; s <= 16; s++)
		for (d = 0; d <= 16; d++) {
			ok = 1;
			for (len = 0; len <= 130; len++)
				for (at = 0; at < 4; at++)
					ok &= mask_ok(s, d, len, at);
			check(ok, "mask, source and destination at", s * 100 + d);
		}
	for (len = 0; len <= 130; len++)
		for (s = 0; s <= 16; s++)
			check(mask_stays_inside(s, len), "mask stays inside", len);
	for (len = 0; len < LEN(big); len++)
		for (at = 0; at < 4; at++)
			check(mask_ok(at, 3, big[len], 4000000 + at), "mask, long", big[len]);
}

/* A payload masked in three pieces is that masked in one. */
static void
test_mask_pieces(void)
{
	enum { N = 150 };
	uint8_t src[N], whole[N], pieces[N];
	size_t a, b, at;
	int ok;

	fill(src, N, 7);
	ws_mask(whole, src, N, mask_key, 0);
	for (a = 0; a <= N; a++) {
		ok = 1;
		for (b = a; b <= N; b++) {
			memset(pieces, 0, N);
			at = ws_mask(pieces, src, a, mask_key, 0);
			at = ws_mask(pieces + a, src + a, b - a, mask_key, at);
			at = ws_mask(pieces + b, src + b, N - b, mask_key, at);
			ok &= at == N && memcmp(pieces, whole, N) == 0;
		}
		check(ok, "mask in pieces", a);
	}
}

/*
 * Frames in order: t, b, c for text, binary, continuation with FIN, T, B, C
 * without; p for a ping. bad is the frame refused, or the number of frames.
 */
static const struct {
	const char *frames;
	size_t bad;
	const char *opcodes;	/* of the messages they belong to */
	uint8_t in_message;	/* at the end */
} sequences[] = {
	{ "t", 1, "t", 0 },
	{ "tbt", 3, "tbt", 0 },
	{ "Tc", 2, "tt", 0 },
	{ "BCCc", 4, "bbbb", 0 },
	{ "Tpc", 3, "tpt", 0 },
	{ "TpCppcpBpc", 10, "tptpptpbpb", 0 },
	{ "ppp", 3, "ppp", 0 },
	{ "TC", 2, "tt", WS_TEXT },
	{ "Bp", 2, "bp", WS_BINARY },
	{ "c", 0, "", 0 },
	{ "C", 0, "", 0 },
	{ "tc", 1, "t", 0 },
	{ "pc", 1, "p", 0 },
	{ "Tcc", 2, "tt", 0 },
	{ "TcC", 2, "tt", 0 },
	{ "Tt", 1, "t", WS_TEXT },
	{ "TB", 1, "t", WS_TEXT },
	{ "BCb", 2, "bb", WS_BINARY },
	{ "Bpt", 2, "bp", WS_BINARY },
};

static uint8_t
opcode_of(char c)
{
	switch (c) {
	case 't': case 'T':
		return WS_TEXT;
	case 'b': case 'B':
		return WS_BINARY;
	case 'p':
		return WS_PING;
	default:
		return WS_CONTINUATION;
	}
}

static void
test_sequences(void)
{
	uint8_t in_message, opcode;
	const char *f, *why;
	struct ws_hdr h;
	size_t i, n;
	int rc;

	for (i = 0; i < LEN(sequences); i++) {
		f = sequences[i].frames;
		in_message = 0;
		for (n = 0; n < strlen(f); n++) {
			memset(&h, 0, sizeof(h));
			h.opcode = opcode_of(f[n]);
			h.fin = f[n] >= 'a';
			why = NULL;
			rc = ws_sequence(&in_message, &h, &opcode, &why);
			if (n == sequences[i].bad) {
				check(rc == -WS_PROTOCOL_ERROR && why != NULL, f, n);
				break;
			}
			check(rc == 0 && opcode == opcode_of(sequences[i].opcodes[n]), f, n);
		}
		check(n == sequences[i].bad && in_message == sequences[i].in_message, f, 100);
	}
}

/*
 * UTF-8 by arithmetic instead of by state: the code points a sequence of n
 * bytes, perhaps cut short, can still become form one range, and the
 * sequence is viable if some of them may be encoded so. The length of
 * the character at p, 0 if it is cut short, -1 if nothing can save it.
 */
static int
character(const uint8_t *p, size_t n)
{
	static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t lo, hi, max;
	unsigned i, len;

	if (p[0] < 0x80)
		return 1;
	len = p[0] >= 0xf8 ? 0 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
	if (len == 0)
		return -1;
	lo = p[0] & (0x7fu >> len);
	for (i = 1; i < len && i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -1;
		lo = lo << 6 | (p[i] & 0x3f);
	}
	lo <<= 6 * (len - i);
	hi = lo + (1u << 6 * (len - i)) - 1;
	max = 0x10ffff;
	if (hi < least[len] || lo > max || (lo >= 0xd800 && hi <= 0xdfff))
		return -1;
	return i == len ? (int)len : 0;
}

/* Bytes up to and including the one that spoils it, or n + 1; *whole if no character is cut. */
static size_t
spoilt(const uint8_t *p, size_t n, int *whole)
{
	size_t i = 0, k;
	int c = 1;

	*whole = 0;
	while (i < n) {
		for (k = 1; (c = character(p + i, k)) == 0 && i + k < n; k++)
			;
		if (c == -1)
			return i + k;
		if (c == 0)
			return n + 1;
		i += (size_t)c;
	}
	*whole = 1;
	return n + 1;
}

/* All of p, cut once at every place, and byte by byte. */
static int
utf8_ok(const uint8_t *p, size_t n)
{
	uint32_t st, bytewise = 0;
	size_t cut, at;
	int whole, dead, rc;

	at = spoilt(p, n, &whole);
	dead = at <= n;
	for (cut = 0; cut <= n; cut++) {
		st = 0;
		rc = ws_utf8(&st, p, cut);
		if (rc != (at <= cut ? -1 : 0))
			return 0;
		rc = ws_utf8(&st, p + cut, n - cut);	/* once dead, always dead */
		if (rc != (dead ? -1 : 0) || (st == 0) != whole)
			return 0;
		if (cut < n && ws_utf8(&bytewise, p + cut, 1) != (at <= cut + 1 ? -1 : 0))
			return 0;
	}
	return (bytewise == 0) == whole;
}

/* Every sequence of one and two bytes, and with every byte after them that matters. */
static void
test_utf8_short(void)
{
	static const uint8_t third[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff };
	unsigned a, b;
	uint8_t p[3];
	size_t i;
	int ok;

	check(utf8_ok(p, 0), "UTF-8 of no bytes", 0);
	for (a = 0; a < 256; a++) {
		p[0] = (uint8_t)a;
		ok = utf8_ok(p, 1);
		for (b = 0; b < 256; b++) {
			p[1] = (uint8_t)b;
			ok &= utf8_ok(p, 2);
			for (i = 0; i < sizeof(third); i++) {
				p[2] = third[i];
				ok &= utf8_ok(p, 3);
			}
		}
		check(ok, "UTF-8 after first byte", a);
	}
}

/* Every value of 3 and 4 bytes: overlong forms, surrogates, beyond U+10FFFF. */
static void
test_utf8_long(void)
{
	uint32_t v;
	uint8_t p[4];
	int ok = 1, whole;
	size_t n = 0;

	for (v = 0; v < 0x10000; v++) {
		p[0] = (uint8_t)(0xe0 | v >> 12);
		p[1] = (uint8_t)(0x80 | (v >> 6 & 0x3f));
		p[2] = (uint8_t)(0x80 | (v & 0x3f));
		ok &= utf8_ok(p, 3);
		spoilt(p, 3, &whole);
		n += (size_t)whole;
	}
	check(ok, "UTF-8 of 3 bytes", 3);
	check(n == 0x10000 - 0x800 - 0x800, "UTF-8 of 3 bytes, how many", n);
	for (v = 0, n = 0; v < 0x200000; v++) {
		if ((v & 0xffff) == 0) {
			check(ok, "UTF-8 of 4 bytes", v);
			ok = 1;
		}
		p[0] = (uint8_t)(0xf0 | v >> 18);
		p[1] = (uint8_t)(0x80 | (v >> 12 & 0x3f));
		p[2] = (uint8_t)(0x80 | (v >> 6 & 0x3f));
		p[3] = (uint8_t)(0x80 | (v & 0x3f));
		ok &= utf8_ok(p, 4);
		spoilt(p, 4, &whole);
		n += (size_t)whole;
	}
	check(ok, "UTF-8 of 4 bytes", v);
	check(n == 0x100000, "UTF-8 of 4 bytes, how many", n);
}

/* RFC 3629 section 7 and the neighbours of every border; a byte past its row must not matter. */
static const struct {
	const char *in;
	size_t len;
	int rc, whole;
} texts[] = {
	{ S("\x41\xe2\x89\xa2\xce\x91\x2e"), 0, 1 },
	{ S("\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4"), 0, 1 },
	{ S("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"), 0, 1 },
	{ S("\xef\xbb\xbf\xf0\xa3\x8e\xb4"), 0, 1 },
	{ S("\0"), 0, 1 },
	{ S("\xc0"), -1, 0 },			/* a NUL in two bytes */
	{ S("\xc1"), -1, 0 },
	{ S("\xc2"), 0, 0 },
	{ S("\xc2\x80"), 0, 1 },
	{ S("\x80"), -1, 0 },
	{ S("\xe0\x9f"), -1, 0 },
	{ S("\xe0\xa0"), 0, 0 },
	{ S("\xed\x9f\xbf"), 0, 1 },
	{ S("\xed\xa0"), -1, 0 },		/* a surrogate, known by its second byte */
	{ S("\xee\x80\x80"), 0, 1 },
	{ S("\xf0\x8f"), -1, 0 },
	{ S("\xf0\x90\x80\x80"), 0, 1 },
	{ S("\xf4\x8f\xbf\xbf"), 0, 1 },
	{ S("\xf4\x90"), -1, 0 },		/* beyond U+10FFFF, likewise */
	{ S("\xf5"), -1, 0 },
	{ S("\xff"), -1, 0 },
};

static void
test_utf8_texts(void)
{
	uint8_t *p, line[40];
	uint32_t st;
	size_t i, at, n;

	for (i = 0; i < LEN(texts); i++) {
		p = exact(texts[i].in, texts[i].len);
		st = 0;
		check(ws_utf8(&st, p, texts[i].len) == texts[i].rc, "UTF-8 text", i);
		check((st == 0) == texts[i].whole, "UTF-8 text, whole", i);
		free(p);
		/* The same amid ASCII, which is read by words. */
		for (at = 0; at + texts[i].len <= sizeof(line); at++) {
			memset(line, 'a', sizeof(line));
			memcpy(line + at, texts[i].in, texts[i].len);
			for (n = 0; n <= sizeof(line); n++) {
				p = exact(line, n);
				check(utf8_ok(p, n), "UTF-8 amid ASCII", i * 10000 + at * 100 + n);
				free(p);
			}
		}
	}
}

static int
close_of(const char *payload, size_t len)
{
	const char *why = NULL;
	uint8_t *p = exact(payload, len);
	int rc = ws_close_parse(p, len, &why);

	free(p);
	return rc < 0 && why == NULL ? -1 : rc;
}

static void
test_close(void)
{
	static const int known[] = { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011,
	    1012, 1013, 1014 };
	char p[WS_CONTROL_MAX];
	int status, ok;
	size_t i;

	for (status = 0; status < 65536; status += status < 5100 ? 1 : 977) {
		ok = status >= 3000 && status <= 4999;
		for (i = 0; i < LEN(known); i++)
			ok |= status == known[i];
		p[0] = (char)(status >> 8);
		p[1] = (char)status;
		p[2] = '!';
		check(close_of(p, 2) == (ok ? status : -WS_PROTOCOL_ERROR), "close",
		    (size_t)status);
		check(close_of(p, 3) == (ok ? status : -WS_PROTOCOL_ERROR), "close, reason",
		    (size_t)status);
	}
	check(close_of("", 0) == WS_NO_STATUS, "close without a status", 0);
	check(close_of("\x03", 1) == -WS_PROTOCOL_ERROR, "close of one byte", 1);
	check(close_of(S("\x03\xe8\xe2\x82\xac")) == WS_NORMAL, "close, reason in UTF-8", 5);
	check(close_of(S("\x03\xe8\xe2\x82")) == -WS_BAD_DATA, "close, reason cut short", 4);
	check(close_of(S("\x03\xe8ok\xff")) == -WS_BAD_DATA, "close, reason no UTF-8", 5);
	check(close_of(S("\x03\xed\xff")) == -WS_PROTOCOL_ERROR, "close, status judged first", 3);
	memset(p, 'x', sizeof(p));
	memcpy(p, "\x03\xe9", 2);
	check(close_of(p, sizeof(p)) == WS_GOING_AWAY, "close of 125", sizeof(p));
}

int
main(void)
{
	test_headers();
	test_first_bytes();
	test_lengths();
	test_mask();
	test_mask_pieces();
	test_sequences();
	test_utf8_short();
	test_utf8_long();
	test_utf8_texts();
	test_close();
	return test_end();
}
