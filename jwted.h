/*
 * jwted.h: Ed25519 (RFC 8032), which BearSSL lacks: jwted_sodium.c, or jwted_none.c in builds without SSH.
 */
#ifndef JWTED_H
#define JWTED_H

#include <stddef.h>
#include <stdint.h>

enum { JWTED_KEY = 32, JWTED_SIG = 64 };	/* bytes */

int jwted_has(void);

/* 1 if sig is what the key's owner made for msg; else 0, as for keys of small order and signatures that are not canonical. */
int jwted_verify(const uint8_t key[JWTED_KEY], const void *msg, size_t len, const uint8_t sig[JWTED_SIG]);

#endif
