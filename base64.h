/*
 * base64.h: base64, base64url and base16, RFC 4648 sections 4, 5 and 8.
 * One text has one reading: white space, missing or wrong padding and
 * bits left over that are not zero (3.5) are refused.
 */
#ifndef BASE64_H
#define BASE64_H

#include <stddef.h>

/* Length of the text for len bytes: base64 with padding, base64url without. */
#define BASE64_LEN(len) (((len) + 2) / 3 * 4)
#define BASE64URL_LEN(len) (((len) * 4 + 2) / 3)

/* Write the text and a NUL to out, which has room for both; its length without the NUL. */
size_t base64_encode(char *out, const void *buf, size_t len);
size_t base64url_encode(char *out, const void *buf, size_t len);

/*
 * Read len characters of text into out, which has room for len / 4 * 3 + 2
 * bytes. The number of bytes, or -1 if the text is not canonical.
 */
long base64_decode(void *out, const char *text, size_t len);
long base64url_decode(void *out, const char *text, size_t len);	/* no padding */

/* Hexadecimal digits of either case, two for each of the len / 2 bytes of out. 0, or -1. */
int base16_decode(void *out, const char *text, size_t len);

#endif
