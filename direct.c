/* direct.c: a TCP connection that we have made, as a stream; see direct.h. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "direct.h"

enum {
	IN_SIZE = 65536,	/* read at once, bytes */
	HELD_MAX = 4 * IN_SIZE	/* its user may hold so many, or a little more */
};

struct direct {			/* one thread's */
	struct stream base;	/* first */
	struct conn conn;
	size_t held;		/* bytes that its user has been given, and has not credited */
	int ended;		/* it sends no more */
	int blocked;		/* the user has more for it */
	int deaf;		/* it takes no more; what it had sent before is still read */
	int dead;		/* reset by either side, which the user knows */
	char in[IN_SIZE];
};

static struct direct *
direct_of(struct stream *s)
{
	return (struct direct *)(void *)s;
}

static void
lost_locked(struct direct *d)
{
	d->dead = 1;
	if (d->base.ops != NULL)
		d->base.ops->reset(d->base.arg);
}

/* A write has failed: the reason for it, which reading will not tell again. */
static int
refuses(struct direct *d)
{
	d->deaf = 1;
	d->blocked = 0;
	if (d->ended && !d->dead) {	/* nothing is to be read behind which it would show */
		pthread_mutex_lock(&d->base.mtx);
		lost_locked(d);
		pthread_mutex_unlock(&d->base.mtx);
	}
	errno = EPIPE;
	return -1;
}

static long
direct_write(struct stream *s, const struct iovec *iov, int n, int fin, int64_t deadline)
{
	struct direct *d = direct_of(s);
	size_t len = iov_len(iov, n);
	ssize_t sent = 0;

	(void)deadline;
	if (d->dead || d->deaf)
		return refuses(d);
	if (len > 0 && (sent = conn_writev(&d->conn, iov, n)) == -1) {
		if (errno != EAGAIN)
			return refuses(d);
		sent = 0;
	}
	d->blocked = (size_t)sent < len;
	if (fin && !d->blocked)
		conn_shutdown(&d->conn, SHUT_WR);
	return (long)sent;
}

static void
direct_credit(struct stream *s, size_t n, int queued)
{
	struct direct *d = direct_of(s);

	(void)queued;
	d->held -= n < d->held ? n : d->held;
}

static void
direct_end(struct stream *s, enum stream_end how)
{
	struct direct *d = direct_of(s);

	if (how != STREAM_RESET) {
		conn_shutdown(&d->conn, SHUT_WR);
		return;
	}
	d->dead = 1;
	conn_reset_on_close(&d->conn);
}

static int
direct_dead(struct stream *s)
{
	return direct_of(s)->dead;
}

static void
direct_unref(struct stream *s)
{
	struct direct *d = direct_of(s);

	conn_close(&d->conn);
	pthread_mutex_destroy(&s->mtx);
	free(d);
}

static const struct stream_type type = { direct_write, direct_credit, direct_end, direct_dead, direct_dead, NULL, direct_unref };

struct stream *
direct_new(int fd)
{
	struct direct *d = malloc(sizeof(*d));

	if (d == NULL)
		return NULL;
	memset(d, 0, offsetof(struct direct, in));	/* the rest is large, and may never be touched */
	pthread_mutex_init(&d->base.mtx, NULL);
	d->base.type = &type;
	conn_plain(&d->conn, fd);
	return &d->base;
}

struct conn *
direct_conn(struct stream *s)
{
	return &direct_of(s)->conn;
}

int
direct_events(const struct stream *s)
{
	const struct direct *d = (const struct direct *)(const void *)s;

	if (d->dead)
		return 0;
	return (!d->ended && d->held < HELD_MAX ? POLLIN : 0) | (d->blocked ? POLLOUT : 0);
}

/* What has come. Under the stream's mtx. */
static void
take_locked(struct direct *d)
{
	const struct stream_ops *ops = d->base.ops;
	ssize_t n = conn_read(&d->conn, d->in, sizeof(d->in));

	if (n > 0) {
		d->held += (size_t)n;
		ops->data(d->base.arg, (uint8_t *)d->in, (size_t)n);
	} else if (n == 0 && !d->deaf) {
		d->ended = 1;
		ops->fin(d->base.arg);
	} else if (n == 0 || errno != EAGAIN)
		lost_locked(d);
}

void
direct_move(struct stream *s, int ready)
{
	struct direct *d = direct_of(s);

	pthread_mutex_lock(&s->mtx);
	if (s->ops != NULL && !d->dead && !d->ended && ready & POLLIN)
		take_locked(d);
	if (s->ops != NULL && !d->dead && d->blocked && ready & (POLLOUT | POLLERR | POLLHUP)) {
		d->blocked = 0;
		s->ops->writable(s->arg);
	}
	pthread_mutex_unlock(&s->mtx);
}
