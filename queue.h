/*
 * queue.h: bytes that wait for a connection, in blocks. Not locked.
 * Its bound is the user's: a stream's window.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <stddef.h>
#include <sys/uio.h>

struct block;

struct queue {
	struct block *first, *last;
	size_t len;		/* bytes queued */
};

void queue_init(struct queue *);
int queue_put(struct queue *, const void *, size_t);	/* 0, or -1: no memory, nothing was put */
int queue_peek(const struct queue *, struct iovec *, int max);	/* the front, in pieces: how many */
void queue_drop(struct queue *, size_t);		/* the first so many bytes */
void queue_free(struct queue *);

#endif
