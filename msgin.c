/* msgin.c: messages gathered; see msgin.h. */
#include <stdlib.h>
#include <string.h>

#include "msgin.h"

enum { GROW_MIN = 65536 };

void
msgin_drop(struct msgin *m)
{
	free(m->p);
	share_give(m->share, m->cap);
	m->p = NULL;
	m->len = m->cap = 0;
}

static int
gather(struct msgin *m, const uint8_t *p, size_t n)
{
	size_t cap = m->cap == 0 ? GROW_MIN : m->cap;
	char *grown;

	while (cap < m->len + n)
		cap = cap < m->max / 2 ? cap * 2 : m->max;
	if (cap > m->cap) {
		if (!share_take(m->share, cap - m->cap))
			return -1;
		if ((grown = realloc(m->p, cap)) == NULL) {
			share_give(m->share, cap - m->cap);
			return -1;
		}
		m->p = grown;
		m->cap = cap;
	}
	memcpy(m->p + m->len, p, n);
	m->len += n;
	return 0;
}

/* All has been gathered: what was taken to grow into is given back. */
static void
trim(struct msgin *m)
{
	char *fit = realloc(m->p, m->len);

	if (fit == NULL)
		return;
	m->p = fit;
	share_give(m->share, m->cap - m->len);
	m->cap = m->len;
}

enum msgin_verdict
msgin_take(struct msgin *m, uint8_t *buf, size_t n, int fin, char **text, size_t *len)
{
	enum msgin_verdict verdict = fin ? MSGIN_WHOLE : MSGIN_MORE;

	if (m->skip) {
		m->skip = !fin;
		return MSGIN_MORE;
	}
	*text = (char *)buf;
	*len = n;
	if (fin && m->len == 0)
		return MSGIN_WHOLE;
	if (gather(m, buf, n) == -1) {
		m->skip = !fin;
		verdict = MSGIN_NO_ROOM;
	} else if (fin)
		trim(m);
	if (m->len > 0) {
		*text = m->p;
		*len = m->len;
	}
	return verdict;
}
