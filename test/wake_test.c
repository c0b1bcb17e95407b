/* Descriptors that end a poll(2), alone and shared: wake.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../wake.h"
#include "test.h"

enum { FDS = 256, SHARE = 32 };

static int
open_fds(void)
{
	int fd, n = 0;

	for (fd = 0; fd < FDS; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

static int
readable(const struct wake *w)
{
	struct pollfd pfd;

	pfd.fd = w->rd;
	pfd.events = POLLIN;
	pfd.revents = 0;
	return poll(&pfd, 1, 0) == 1 && pfd.revents == POLLIN;
}

static void
alone(void)
{
	struct wake w;
	int i, before = open_fds();

	check(wake_open(&w) == 0 && open_fds() == before + 2, "alone: opens", 0);
	check(fcntl(w.rd, F_GETFD) == FD_CLOEXEC && fcntl(w.wr, F_GETFD) == FD_CLOEXEC,
	    "alone: not for children", 0);
	check(!readable(&w), "alone: silent at first", 0);
	wake_clear(&w);		/* nothing to read: must not block */
	wake_post(&w);
	check(readable(&w), "alone: posted", 0);
	wake_clear(&w);
	check(!readable(&w), "alone: cleared", 0);
	for (i = 63; i <= 200; i++)
		wake_post(&w);
	wake_clear(&w);
	check(!readable(&w), "alone: many posts are cleared at once", 0);
	for (i = 0; i < 64; i++)
		wake_post(&w);
	wake_clear(&w);
	check(!readable(&w), "alone: as many as one read takes", 0);
	for (i = 0; i < 100000; i++)	/* more than a pipe holds */
		wake_post(&w);
	check(readable(&w), "alone: a full pipe does not block", 0);
	wake_clear(&w);
	wake_post(&w);
	check(readable(&w), "alone: and works on", 0);
	wake_close(&w);
	check(w.rd == -1 && w.wr == -1 && open_fds() == before, "alone: closed", 0);
	wake_close(&w);
	wake_post(&w);		/* nobody there: nothing happens */
	check(open_fds() == before, "alone: closed twice", 0);
}

/* Each post is taken out by one, and the others stay. */
static void
counted(void)
{
	struct wake *w = wake_join();
	int posts, i;

	if (w == NULL)
		abort();
	wake_take(w);		/* nothing to take: must not block */
	for (posts = 1; posts < 200; posts *= 3) {
		for (i = 0; i < posts; i++)
			wake_post(w);
		for (i = 0; i < posts; i++) {
			check(readable(w), "counted: one is left", (size_t)(posts - i));
			wake_take(w);
		}
		check(!readable(w), "counted: none is left", (size_t)posts);
	}
	wake_leave(w);
}

static void
shared(void)
{
	struct wake *w[2 * SHARE], *again;
	int i, before = open_fds(), different = 0;

	for (i = 0; i < 40; i++) {
		if ((w[i] = wake_join()) == NULL)
			abort();
		different += w[i] != w[i < SHARE ? 0 : SHARE];
		check(open_fds() == before + (i < SHARE ? 2 : 4), "shared: descriptors of so many", (size_t)i + 1);
	}
	check(different == 0 && w[0] != w[SHARE], "shared: by 32, then by the others", (size_t)different);
	wake_post(w[0]);
	check(readable(w[31]) && !readable(w[32]), "shared: rung for these alone", 0);
	wake_take(w[31]);
	check(!readable(w[0]), "shared: taken for all", 0);

	wake_leave(w[7]);	/* whoever comes fills the gaps first */
	wake_leave(w[39]);
	again = wake_join();
	w[7] = wake_join();
	check((again == w[0]) + (again == w[32]) + (w[7] == w[0]) + (w[7] == w[32]) == 2 &&
	    open_fds() == before + 4, "shared: gaps are filled", 0);
	w[39] = again;
	for (i = 40; i < 2 * SHARE; i++)
		w[i] = wake_join();
	check(open_fds() == before + 4, "shared: 64 have two", 0);
	again = wake_join();
	check(again != NULL && open_fds() == before + 6, "shared: the 65th has a third", 0);
	wake_leave(again);
	check(open_fds() == before + 4, "shared: closed with its only one", 0);

	for (i = 0; i < 2 * SHARE; i++)
		wake_leave(w[i]);
	check(open_fds() == before, "shared: closed with the last", (size_t)open_fds());
	w[0] = wake_join();
	check(w[0] != NULL && open_fds() == before + 2 && !readable(w[0]), "shared: and opened anew", 0);
	wake_leave(w[0]);
}

static void
no_descriptors(void)
{
	struct rlimit old, few;
	struct wake w, *mine = wake_join();
	int before = open_fds(), full[FDS], n = 0;

	getrlimit(RLIMIT_NOFILE, &old);
	few = old;
	few.rlim_cur = FDS;
	setrlimit(RLIMIT_NOFILE, &few);
	while (n < FDS && (full[n] = dup(0)) != -1)
		n++;
	check(wake_open(&w) == -1 && errno == EMFILE && w.rd == -1 && w.wr == -1, "full: wake_open", 0);
	check(wake_join() == mine, "full: a shared one needs none", 0);
	wake_leave(mine);
	wake_leave(mine);
	errno = 0;
	close(full[--n]);	/* one is not enough */
	for (; open_fds() < FDS - 1; n++)
		full[n] = dup(0);
	check(wake_join() == NULL && errno == EMFILE, "full: wake_join", (size_t)errno);
	while (n > 0)
		close(full[--n]);
	setrlimit(RLIMIT_NOFILE, &old);
	check(open_fds() == before - 2, "full: none is lost", (size_t)open_fds());
	mine = wake_join();
	check(mine != NULL, "full: later there are some", 0);
	wake_leave(mine);
}

/* Threads join, post, take their own and leave at once. */
static void *
member(void *arg)
{
	struct wake *w;
	int i, *failed = arg;

	for (i = 0; i < 300; i++) {
		if ((w = wake_join()) == NULL) {
			++*failed;
			break;
		}
		wake_post(w);
		*failed += !readable(w);	/* ours is in it */
		wake_take(w);
		wake_leave(w);
	}
	return NULL;
}

static void
crowd(void)
{
	enum { THREADS = 40 };
	pthread_t t[THREADS];
	int i, failed[THREADS] = { 0 }, before = open_fds();
	struct wake *w = wake_join();

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, member, &failed[i]) != 0)
			abort();
	for (i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		check(failed[i] == 0, "crowd: rung", (size_t)failed[i]);
	}
	check(!readable(w), "crowd: every post was taken", 0);
	wake_leave(w);
	check(open_fds() == before, "crowd: all is closed", (size_t)open_fds());
}

int
main(void)
{
	alarm(300);
	alone();
	counted();
	shared();
	no_descriptors();
	crowd();
	return test_end();
}
