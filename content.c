/* content.c: content kept whole; see content.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"

enum {
	GROW_MIN = 4096,
	USUAL_MAX = 10 << 20	/* what limits usually are: growing stops there once */
};

static int
append(struct content *c, const void *p, size_t n)
{
	size_t cap = c->cap == 0 ? GROW_MIN : c->cap;
	uint8_t *grown;

	if (n > c->max - c->len) {
		errno = EMSGSIZE;
		return -1;
	}
	while (cap < c->len + n)
		cap = cap < USUAL_MAX / 2 || c->len + n > USUAL_MAX ? cap * 2 : USUAL_MAX;
	if (cap > c->cap) {
		if (!share_take(c->share, cap - c->cap)) {
			errno = ENOMEM;
			return -1;
		}
		c->charged += cap - c->cap;
		if ((grown = realloc(c->p, cap)) == NULL)
			return -1;
		c->p = grown;
		c->cap = cap;
	}
	memcpy(c->p + c->len, p, n);
	c->len += n;
	return 0;
}

int
content_put(struct content *c, const char *p, size_t n)
{
	struct http_out out;
	const char *why;
	long k;
	int i;

	while (n > 0 && !c->walk.done) {
		out.n = 0;
		if ((k = http_body_take(&c->walk, p, n, &out, &why)) < 0) {
			errno = EPROTO;
			return -1;
		}
		for (i = 0; i < out.n; i++)
			if (append(c, out.iov[i].iov_base, out.iov[i].iov_len) == -1)
				return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

void
content_drop(struct content *c)
{
	free(c->p);
	share_give(c->share, c->charged);
	c->p = NULL;
	c->len = c->cap = c->charged = 0;
}
