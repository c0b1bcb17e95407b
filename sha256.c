/* sha256.c: SHA-256, FIPS 180-4 section 6.2, and HMAC, RFC 2104; see sha256.h. */
#include <string.h>

#include "be32.h"
#include "sha256.h"

/* Behind a volatile pointer memset might be any function, so the call stays. */
static void *(*const volatile set)(void *, int, size_t) = memset;

static const uint32_t k[64] = {	/* 4.2.2 */
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5,
	0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
	0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
	0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

static uint32_t
ror(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

/* Word i of the message schedule (6.2.2 step 1), of which w keeps the last 16. */
static uint32_t
schedule(uint32_t w[16], size_t i)
{
	uint32_t x = w[(i + 1) % 16], y = w[(i + 14) % 16];

	if (i >= 16)
		w[i % 16] += (ror(x, 7) ^ ror(x, 18) ^ x >> 3) +
		    w[(i + 9) % 16] + (ror(y, 17) ^ ror(y, 19) ^ y >> 10);
	return w[i % 16];
}

static void
compress(uint32_t state[8], const uint8_t *block)
{
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
	uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
	uint32_t w[16], t1, t2;
	size_t i;

	for (i = 0; i < 16; i++)
		w[i] = be32_get(block + 4 * i);
	for (i = 0; i < 64; i++) {
		t1 = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) +
		    ((e & f) ^ (~e & g)) + k[i] + schedule(w, i);
		t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) +
		    ((a & b) ^ (a & c) ^ (b & c));
		h = g;
		g = f;
		f = e;
		e = d + t1;
		d = c;
		c = b;
		b = a;
		a = t1 + t2;
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
	state[4] += e;
	state[5] += f;
	state[6] += g;
	state[7] += h;
	wipe(w, sizeof(w));	/* an HMAC key can be worked out from it */
}

void
sha256_init(struct sha256 *s)
{
	static const uint32_t first[8] = {	/* 5.3.3 */
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
	};

	memcpy(s->h, first, sizeof(s->h));
	s->len = 0;
}

void
sha256_update(struct sha256 *s, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	size_t have = (size_t)(s->len % SHA256_BLOCK), n;

	s->len += len;
	while (len > 0) {
		if (have == 0 && len >= SHA256_BLOCK) {
			compress(s->h, p);
			n = SHA256_BLOCK;
		} else {
			n = SHA256_BLOCK - have < len ? SHA256_BLOCK - have : len;
			memcpy(s->block + have, p, n);
			have = (have + n) % SHA256_BLOCK;
			if (have == 0)
				compress(s->h, s->block);
		}
		p += n;
		len -= n;
	}
}

void
sha256_final(struct sha256 *s, uint8_t out[SHA256_LEN])
{
	static const uint8_t pad[SHA256_BLOCK] = { 0x80 };
	uint64_t bits = s->len * 8;
	uint8_t length[8];
	size_t have = (size_t)(s->len % SHA256_BLOCK), i;
	const size_t at = SHA256_BLOCK - sizeof(length);	/* 5.1.1 */

	be32_put(length, (uint32_t)(bits >> 32));
	be32_put(length + 4, (uint32_t)bits);
	sha256_update(s, pad, have < at ? at - have : at + SHA256_BLOCK - have);
	sha256_update(s, length, sizeof(length));
	for (i = 0; i < 8; i++)
		be32_put(out + 4 * i, s->h[i]);
	wipe(s, sizeof(*s));
}

void
sha256(const void *buf, size_t len, uint8_t out[SHA256_LEN])
{
	struct sha256 s;

	sha256_init(&s);
	sha256_update(&s, buf, len);
	sha256_final(&s, out);
}

void
hmac_init(struct hmac *m, const void *key, size_t len)
{
	uint8_t pad[SHA256_BLOCK] = { 0 };
	size_t i;

	if (len > SHA256_BLOCK)
		sha256(key, len, pad);
	else if (len > 0)
		memcpy(pad, key, len);
	for (i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	sha256_init(&m->inner);
	sha256_update(&m->inner, pad, sizeof(pad));
	for (i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	sha256_init(&m->outer);
	sha256_update(&m->outer, pad, sizeof(pad));
	wipe(pad, sizeof(pad));
}

void
hmac_update(struct hmac *m, const void *buf, size_t len)
{
	sha256_update(&m->inner, buf, len);
}

void
hmac_final(struct hmac *m, uint8_t out[SHA256_LEN])
{
	uint8_t inner[SHA256_LEN];

	sha256_final(&m->inner, inner);
	sha256_update(&m->outer, inner, sizeof(inner));
	sha256_final(&m->outer, out);
	wipe(inner, sizeof(inner));
}

int
ct_equal(const void *a, const void *b, size_t len)
{
	/* volatile: the compiler must not see that one difference settles it */
	const volatile uint8_t *p = a, *q = b;
	volatile uint8_t diff = 0;
	size_t i;

	for (i = 0; i < len; i++)
		diff = (uint8_t)(diff | (p[i] ^ q[i]));
	return diff == 0;
}

void
wipe(void *p, size_t len)
{
	if (len > 0)
		set(p, 0, len);
}
