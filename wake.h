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

/*
 * A wake that idle sleepers share, because they are many and seldom woken: one
 * descriptor a sleeper is too dear. Each keeps a flag whether a post for it is in the pipe: who finds it set
 * takes that one post out, the others leave it where it is and sleep without the wake for a moment.
 */
struct wake *wake_join(void);		/* NULL with errno */
void wake_leave(struct wake *);
void wake_take(struct wake *);		/* one post */

#endif
