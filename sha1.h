/*
 * sha1.h: SHA-1, FIPS 180-4. Only for the WebSocket handshake (RFC 6455
 * section 4.2.2), where it guards nothing.
 */
#ifndef SHA1_H
#define SHA1_H

#include <stddef.h>
#include <stdint.h>

enum { SHA1_LEN = 20 };

void sha1(const void *buf, size_t len, uint8_t out[SHA1_LEN]);

#endif
