/*
 * wake.h: a descriptor that ends somebody's poll(2): the self-pipe trick.
 */
#ifndef WAKE_H
#define WAKE_H

struct wake {
	int rd, wr;		/* -1: not open */
};

int wake_open(struct wake *);	/* 0, or -1 with errno */
void wake_close(struct wake *);
void wake_post(struct wake *);	/* rd becomes readable; never blocks */
void wake_clear(struct wake *);	/* rd is no longer readable */

#endif
