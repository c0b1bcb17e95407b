/*
 * sha256.h: SHA-256 (FIPS 180-4), HMAC-SHA-256 (RFC 2104) and comparison in constant time.
 */
#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_LEN = 32, SHA256_BLOCK = 64 };

struct sha256 {
	uint32_t h[8];
	uint64_t len;			/* bytes so far */
	uint8_t block[SHA256_BLOCK];	/* the last, partial block */
};

void sha256_init(struct sha256 *);
void sha256_update(struct sha256 *, const void *, size_t);
void sha256_final(struct sha256 *, uint8_t out[SHA256_LEN]);	/* wipes the state */
void sha256(const void *buf, size_t len, uint8_t out[SHA256_LEN]);

struct hmac {
	struct sha256 inner, outer;
};

void hmac_init(struct hmac *, const void *key, size_t len);
void hmac_update(struct hmac *, const void *, size_t);
void hmac_final(struct hmac *, uint8_t out[SHA256_LEN]);	/* wipes the state */

/* 1 if a and b are equal, in a time that depends on len alone. */
int ct_equal(const void *a, const void *b, size_t len);

/* Overwrite a secret; the compiler cannot leave it out. */
void wipe(void *, size_t);

#endif
