/* buf.c: text written into memory of a fixed size; see buf.h. */
#include <string.h>

#include "buf.h"

void
buf_init(struct buf *b, void *p, size_t cap)
{
	b->p = p;
	b->len = 0;
	b->cap = cap;
	b->full = 0;
}

void
buf_put(struct buf *b, const void *p, size_t len)
{
	if (len > b->cap - b->len) {
		b->full = 1;
		len = b->cap - b->len;
	}
	if (len > 0)
		memcpy(b->p + b->len, p, len);
	b->len += len;
}

void
buf_u64(struct buf *b, unsigned long long n)
{
	char digits[20];
	size_t i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while ((n /= 10) != 0);
	buf_put(b, digits + i, sizeof(digits) - i);
}

void
buf_hex(struct buf *b, const void *p, size_t len)
{
	const unsigned char *in = p;
	size_t i;

	for (i = 0; i < len; i++) {
		buf_char(b, "0123456789abcdef"[in[i] >> 4]);
		buf_char(b, "0123456789abcdef"[in[i] & 15]);
	}
}
