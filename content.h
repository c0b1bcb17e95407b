/*
 * content.h: content that comes in pieces as HTTP/1.1 frames it, and is kept whole, in memory that is charged to a share.
 */
#ifndef CONTENT_H
#define CONTENT_H

#include "budget.h"
#include "http.h"

struct content {		/* zero all at first, then set the first three */
	struct share *share;
	struct http_body walk;	/* by http_body_init, bare */
	size_t max;		/* bytes of p */
	uint8_t *p;		/* the data alone, len bytes */
	size_t len, cap, charged;
};

/* The next n bytes. 0; or -1 with errno: EPROTO (broken framing), EMSGSIZE (over max), ENOMEM. */
int content_put(struct content *, const char *p, size_t n);
void content_drop(struct content *);	/* free it, and give back its charge */

#endif
