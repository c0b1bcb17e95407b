/* ready_none.c: no way to wait for many descriptors but poll(2); see ready.h. */
#include <errno.h>

#include "ready.h"

int
ready_open(void)
{
	errno = ENOSYS;
	return -1;
}

int
ready_add(int set, int fd, void *arg)
{
	(void)set;
	(void)fd;
	(void)arg;
	return -1;
}

void
ready_del(int set, int fd)
{
	(void)set;
	(void)fd;
}

int
ready_wait(int set, struct ready *ev, int ms)
{
	(void)set;
	(void)ev;
	(void)ms;
	return 0;
}
