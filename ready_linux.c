/* ready_linux.c: waiting for many descriptors with epoll(7), by edges; see ready.h. */
#include <string.h>
#include <sys/epoll.h>

#include "ready.h"

int
ready_open(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

int
ready_add(int set, int fd, void *arg)
{
	struct epoll_event e;

	memset(&e, 0, sizeof(e));
	e.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
	e.data.ptr = arg;
	return epoll_ctl(set, EPOLL_CTL_ADD, fd, &e);
}

void
ready_del(int set, int fd)
{
	struct epoll_event e;	/* old kernels want one */

	memset(&e, 0, sizeof(e));
	epoll_ctl(set, EPOLL_CTL_DEL, fd, &e);
}

int
ready_wait(int set, struct ready *ev, int ms)
{
	struct epoll_event e[READY_MAX];
	int i, n = epoll_wait(set, e, READY_MAX, ms);

	for (i = 0; i < n; i++) {
		ev[i].arg = e[i].data.ptr;
		ev[i].ended = (e[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	}
	return n > 0 ? n : 0;
}
