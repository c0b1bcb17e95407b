/* queue.c: bytes that wait for a connection; see queue.h. */
#include <stdlib.h>
#include <string.h>

#include "queue.h"

enum { BLOCK = 16384 - 64 };	/* with its header and malloc's, four pages */

struct block {
	struct block *next;
	size_t from, to;	/* bytes [from, to) of data are queued */
	char data[BLOCK];
};

void
queue_init(struct queue *q)
{
	q->first = q->last = NULL;
	q->len = 0;
}

int
queue_put(struct queue *q, const void *p, size_t len)
{
	const char *in = p;
	struct block *b, *last = q->last, **link;
	size_t n, room, left = len;

	room = last != NULL ? BLOCK - last->to : 0;
	/* get the blocks first, so that a failure leaves the queue as it was */
	link = last != NULL ? &last->next : &q->first;
	for (n = room; n < len; n += BLOCK) {
		if ((b = malloc(sizeof(*b))) == NULL) {
			b = last != NULL ? last->next : q->first;
			while (b != NULL) {
				struct block *next = b->next;

				free(b);
				b = next;
			}
			if (last != NULL)
				last->next = NULL;
			else
				q->first = NULL;
			return -1;
		}
		b->next = NULL;
		b->from = b->to = 0;
		*link = b;
		link = &b->next;
	}
	b = last != NULL ? last : q->first;
	while (left > 0) {
		n = BLOCK - b->to;
		if (n > left)
			n = left;
		memcpy(b->data + b->to, in, n);
		b->to += n;
		in += n;
		left -= n;
		q->last = b;
		b = b->next;
	}
	q->len += len;
	return 0;
}

int
queue_peek(const struct queue *q, struct iovec *iov, int max)
{
	struct block *b;
	int n = 0;

	for (b = q->first; b != NULL && n < max; b = b->next) {
		iov[n].iov_base = b->data + b->from;
		iov[n].iov_len = b->to - b->from;
		n++;
	}
	return n;
}

void
queue_drop(struct queue *q, size_t len)
{
	struct block *b;
	size_t n;

	q->len -= len;
	while (len > 0) {
		b = q->first;
		n = b->to - b->from;
		if (n > len) {
			b->from += len;
			return;
		}
		len -= n;
		q->first = b->next;
		free(b);
	}
	if (q->first == NULL)
		q->last = NULL;
}

void
queue_free(struct queue *q)
{
	queue_drop(q, q->len);
}
