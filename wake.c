/* wake.c: a descriptor that ends somebody's poll(2); see wake.h. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "net.h"
#include "wake.h"

int
wake_open(struct wake *w)
{
	int fd[2];

	w->rd = w->wr = -1;
	if (pipe(fd) == -1)
		return -1;
	w->rd = fd[0];
	w->wr = fd[1];
	if (net_flags(fd[0]) == -1 || net_flags(fd[1]) == -1) {
		wake_close(w);
		return -1;
	}
	return 0;
}

void
wake_close(struct wake *w)
{
	if (w->rd != -1) {
		close(w->rd);
		close(w->wr);
	}
	w->rd = w->wr = -1;
}

void
wake_post(struct wake *w)
{
	ssize_t n;

	if (w->wr == -1)
		return;
	n = write(w->wr, "", 1);	/* a full pipe wakes just as well */
	(void)n;
}

void
wake_clear(struct wake *w)
{
	char buf[64];

	while (read(w->rd, buf, sizeof(buf)) == (ssize_t)sizeof(buf))
		;
}

enum { SHARERS = 32 };

struct shared {
	struct wake wake;	/* first: what sharers know */
	struct shared *next;
	int users;
};

static pthread_mutex_t shared_mtx = PTHREAD_MUTEX_INITIALIZER;	/* guards the list and its users */
static struct shared *shared_first;

struct wake *
wake_join(void)
{
	struct shared *s;

	pthread_mutex_lock(&shared_mtx);
	for (s = shared_first; s != NULL && s->users == SHARERS; s = s->next)
		;
	if (s == NULL && (s = malloc(sizeof(*s))) != NULL) {
		if (wake_open(&s->wake) == -1) {
			free(s);
			s = NULL;
		} else {
			s->users = 0;
			s->next = shared_first;
			shared_first = s;
		}
	}
	if (s != NULL)
		s->users++;
	pthread_mutex_unlock(&shared_mtx);
	return s != NULL ? &s->wake : NULL;
}

void
wake_leave(struct wake *w)
{
	struct shared *s = (struct shared *)(void *)w, **p;

	pthread_mutex_lock(&shared_mtx);
	if (--s->users == 0) {
		for (p = &shared_first; *p != s; p = &(*p)->next)
			;
		*p = s->next;
		wake_close(&s->wake);
		free(s);
	}
	pthread_mutex_unlock(&shared_mtx);
}

void
wake_take(struct wake *w)
{
	char c;
	ssize_t n;

	n = read(w->rd, &c, 1);
	(void)n;
}
