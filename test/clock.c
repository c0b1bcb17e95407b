/*
 * clock.c: clock.h for test builds: the system's clocks plus the milliseconds
 * written in the file that the environment variable TUNNEL_CLOCK names. A
 * test moves a running daemon in time with
 *	echo 60000 >"$TUNNEL_CLOCK"
 * in place, not by renaming: the file stays open, so that it can be read from
 * inside a chroot or another sandbox too. No variable, no file: no offset.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../clock.h"

static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;	/* guards fd and last */
static int fd = -1;
static int64_t last;		/* echo(1) empties the file first: time must not jump back then */

static int64_t
offset_locked(void)
{
	const char *path;
	char text[32];
	ssize_t n;

	if (fd == -1 && (path = getenv("TUNNEL_CLOCK")) != NULL)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return 0;
	n = pread(fd, text, sizeof(text) - 1, 0);
	if (n > 0) {
		text[n] = '\0';
		last = strtoll(text, NULL, 10);
	}
	return last;
}

int64_t
clock_us(enum clock_kind kind)
{
	struct timespec ts;
	int64_t offset;
	int saved = errno;

	clock_gettime(kind == CLOCK_STEADY ? CLOCK_MONOTONIC : CLOCK_REALTIME, &ts);
	pthread_mutex_lock(&mtx);
	offset = offset_locked();
	pthread_mutex_unlock(&mtx);
	errno = saved;
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 + offset * 1000;
}
