/* sha1.c: SHA-1, FIPS 180-4 section 6.1; see sha1.h. */
#include <string.h>

#include "be32.h"
#include "sha1.h"

enum { BLOCK = 64 };

static uint32_t
rol(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

static void
compress(uint32_t h[5], const uint8_t *block)
{
	uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
	uint32_t w[80], f, t;
	size_t i;

	for (i = 0; i < 16; i++)
		w[i] = be32_get(block + 4 * i);
	for (; i < 80; i++)
		w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (i = 0; i < 80; i++) {
		if (i < 20)
			f = ((b & c) | (~b & d)) + 0x5a827999;
		else if (i < 40)
			f = (b ^ c ^ d) + 0x6ed9eba1;
		else if (i < 60)
			f = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
		else
			f = (b ^ c ^ d) + 0xca62c1d6;
		t = rol(a, 5) + f + e + w[i];
		e = d;
		d = c;
		c = rol(b, 30);
		b = a;
		a = t;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

void
sha1(const void *buf, size_t len, uint8_t out[SHA1_LEN])
{
	uint32_t h[5] = {
		0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0
	};
	uint8_t tail[2 * BLOCK] = { 0 };
	const uint8_t *p = buf;
	uint64_t bits = (uint64_t)len * 8;
	size_t i, end;

	for (; len >= BLOCK; len -= BLOCK, p += BLOCK)
		compress(h, p);
	if (len > 0)
		memcpy(tail, p, len);
	tail[len] = 0x80;
	end = len + 1 + 8 <= BLOCK ? BLOCK : 2 * BLOCK;
	be32_put(tail + end - 8, (uint32_t)(bits >> 32));
	be32_put(tail + end - 4, (uint32_t)bits);
	for (i = 0; i < end; i += BLOCK)
		compress(h, tail + i);
	for (i = 0; i < 5; i++)
		be32_put(out + 4 * i, h[i]);
}
