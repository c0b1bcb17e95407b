/*
 * msgin.h: a message gathered from the pieces in which a link hands it on, in memory that is charged to a share.
 */
#ifndef MSGIN_H
#define MSGIN_H

#include <stddef.h>
#include <stdint.h>

#include "budget.h"

struct msgin {			/* zero all at first, then set the first two */
	struct share *share;
	size_t max;		/* bytes of a message: the link's limit */
	char *p;		/* what has come of one, len bytes */
	size_t len, cap;	/* cap is charged */
	int skip;		/* there was no room for it: the rest is dropped */
};

enum msgin_verdict { MSGIN_MORE, MSGIN_WHOLE, MSGIN_NO_ROOM };

/*
 * The next n bytes of a message; fin: its last. MSGIN_WHOLE: it is *text, *len bytes that may be written to, until msgin_drop; MSGIN_NO_ROOM:
 * *text is its beginning, to the next msgin_drop, and nothing is said of the rest.
 */
enum msgin_verdict msgin_take(struct msgin *, uint8_t *buf, size_t n, int fin, char **text, size_t *len);
void msgin_drop(struct msgin *);	/* free what has been gathered */

#endif
