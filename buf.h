/*
 * buf.h: text written into memory of a fixed size.
 * No allocation. What does not fit is dropped and remembered in full, so
 * that one check at the end replaces one at every step.
 */
#ifndef BUF_H
#define BUF_H

#include <stddef.h>
#include <string.h>

struct buf {
	char *p;		/* the caller's memory */
	size_t len;		/* bytes written, at most cap */
	size_t cap;
	int full;		/* something did not fit: the text is not whole */
};

void buf_init(struct buf *, void *, size_t);
void buf_put(struct buf *, const void *, size_t);
void buf_u64(struct buf *, unsigned long long);		/* decimal */
void buf_hex(struct buf *, const void *, size_t);	/* two digits a byte */

/* Here, so that the length of a literal is the compiler's to count. */
static inline void
buf_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

static inline void
buf_char(struct buf *b, char c)
{
	if (b->len < b->cap)
		b->p[b->len++] = c;
	else
		b->full = 1;
}

#endif
