/*
 * ready.h: the system's way to wait for many descriptors at once. ready_linux.c has epoll(7); where there
 * is ready_none.c, ready_open fails.
 */
#ifndef READY_H
#define READY_H

#include <stddef.h>
#include <stdint.h>

enum { READY_MAX = 64 };	/* events at once */

struct ready {
	void *arg;
	int ended;		/* the other side has ended its direction, or the connection is broken */
};

int ready_open(void);		/* a descriptor, or -1 with errno */
/* From now on tell, once each time, that bytes have come on fd, or its end. 0, or -1 with errno. */
int ready_add(int set, int fd, void *arg);
void ready_del(int set, int fd);
/* Wait at most ms (-1: for ever). How many of ev[0..READY_MAX) are filled in. */
int ready_wait(int set, struct ready *ev, int ms);

#endif
