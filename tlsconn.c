/* tlsconn.c: TLS on a connection; see tlsconn.h. The library's part is behind tlsint.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tlsint.h"

enum {
	SMALL = 8192,		/* a buffer for small records */
	SHAKE_IN = 4096,
	BARREN_MAX = 256 * 1024,	/* received without a byte of plaintext: no handshake needs so much, and no deadline sees it */
	IN_MAX = 65536,
	OUT_MAX = 4 * (TLS_RECORD_MAX + TLS_RECORD_MORE) + 1024
};

/*
 * A reader and a writer at a time: the reader owns io.in, fills it without the lock; the writer sends
 * io.out without the lock. Nobody else takes bytes out of io.out meanwhile, but an alert may be appended.
 */
struct tlsconn {
	pthread_mutex_t mtx;	/* guards the engine and what follows, except as said */
	struct tls_engine *engine;
	struct tls_io io;
	size_t barren;		/* the reader's: bytes received since plaintext last came */
	size_t held;		/* plaintext in io.out that the writer was not told of */
	int sending;		/* the writer is in send(2) */
	int asleep;		/* the reader waits for input, so io.in is nobody's */
	int closing;		/* close_notify has been made */
	int broken;		/* sending has failed */
	int ended;		/* the connection is at its end */
};

static const struct conn_type tls_type;

static int
buf_room(struct tls_buf *b, size_t cap)
{
	if (b->cap >= cap && (b->cap <= SMALL || cap > SMALL))
		return 1;
	free(b->p);
	b->cap = 0;
	if ((b->p = malloc(cap)) != NULL)
		b->cap = cap;
	return b->p != NULL;
}

static void
buf_drop(struct tls_buf *b)
{
	free(b->p);
	memset(b, 0, sizeof(*b));
}

static struct tlsconn *
tls_new(struct tls_engine *engine)
{
	struct tlsconn *t = engine != NULL ? calloc(1, sizeof(*t)) : NULL;

	if (t == NULL) {
		if (engine != NULL)
			tls_engine_free(engine);
		return NULL;
	}
	pthread_mutex_init(&t->mtx, NULL);
	t->engine = engine;
	return t;
}

static void
tls_free(struct tlsconn *t)
{
	tls_engine_free(t->engine);
	buf_drop(&t->io.in);
	buf_drop(&t->io.out);
	pthread_mutex_destroy(&t->mtx);
	free(t);
}

/* A connection that waits holds no buffers, so that many can. */
static void
trim_locked(struct tlsconn *t)
{
	if (!t->asleep)
		return;
	if (t->io.in.at == t->io.in.n)
		buf_drop(&t->io.in);
	if (!t->sending && t->io.out.at == t->io.out.n)
		buf_drop(&t->io.out);
	tls_engine_trim(t->engine);
}

int
tls_out_room(struct tls_io *io, size_t len)
{
	/* what holds bytes stays where it is: a writer may be sending them */
	if (io->out.p == NULL)
		buf_room(&io->out, SMALL);
	return io->out.cap - io->out.n >= len;
}

/* Send what is in out. 0, or an error number. A writer gives the lock up meanwhile. */
static int
flush_locked(struct tlsconn *t, int fd, int writer)
{
	struct tls_buf *b = &t->io.out;
	ssize_t n;
	int err;

	if (t->sending)		/* the writer will see to it */
		return 0;
	while (b->at < b->n) {
		if (writer) {
			t->sending = 1;
			n = (ssize_t)(b->n - b->at);
			pthread_mutex_unlock(&t->mtx);
			n = send(fd, b->p + b->at, (size_t)n, MSG_NOSIGNAL);
			err = errno;
			pthread_mutex_lock(&t->mtx);
			t->sending = 0;
		} else {
			n = send(fd, b->p + b->at, b->n - b->at, MSG_NOSIGNAL);
			err = errno;
		}
		if (n == -1 && (err == EAGAIN || err == EWOULDBLOCK))
			return EAGAIN;
		if (n == -1 && err != EINTR) {	/* nothing is ever sent again, so nothing waits for it */
			b->at = b->n = 0;
			t->broken = 1;
			return err;
		}
		if (n > 0)
			b->at += (size_t)n;
	}
	b->at = b->n = 0;
	if (t->closing)
		shutdown(fd, SHUT_WR);
	return 0;
}

/* There is something to send, and it is no writer's. */
static int
alert_waits_locked(const struct tlsconn *t)
{
	return t->io.out.at < t->io.out.n && !t->sending && t->held == 0 && !t->broken;
}

/* Receive into in, which is empty. Bytes, 0 at the end, -1 with errno. */
static ssize_t
receive(struct conn *c, size_t want)
{
	struct tlsconn *t = c->tls;
	struct tls_buf *b = &t->io.in;
	ssize_t n;

	b->at = b->n = 0;
	want += TLS_RECORD_MORE;
	if (!buf_room(b, want <= SMALL ? SMALL : IN_MAX)) {
		errno = ENOMEM;
		return -1;
	}
	do
		n = recv(c->fd, b->p, b->cap, 0);
	while (n == -1 && errno == EINTR);
	if (n <= 0)
		return n;
	b->n = (size_t)n;
	if ((t->barren += (size_t)n) <= BARREN_MAX)
		return n;
	errno = EPROTO;
	return -1;
}

static ssize_t
tls_read(struct conn *c, void *buf, size_t len)
{
	struct tlsconn *t = c->tls;
	ssize_t n;
	int err;

	for (;;) {
		pthread_mutex_lock(&t->mtx);
		t->asleep = 0;
		n = t->ended ? 0 : tls_engine_read(t->engine, &t->io, buf, len);
		err = errno;
		if (n == 0)
			t->ended = 1;
		if (alert_waits_locked(t))
			flush_locked(t, c->fd, 0);
		pthread_mutex_unlock(&t->mtx);
		if (n > 0)
			t->barren = 0;
		if (n == -1 && err == EAGAIN && t->io.in.at < t->io.in.n)
			err = EPROTO;	/* it takes no more: the other side lets it neither read nor write */
		if (n != -1 || err != EAGAIN)
			break;
		n = receive(c, len);
		err = errno;
		if (n == 0) {	/* an end that anybody could have made */
			n = -1;
			err = ECONNABORTED;
		}
		if (n == -1)
			break;
	}
	errno = err;
	return n;
}

/* What records of len bytes of plaintext need, for one send. */
static size_t
out_need(size_t len)
{
	size_t n = len + (len / TLS_RECORD_MAX + 2) * TLS_RECORD_MORE;

	return n <= SMALL ? SMALL : OUT_MAX;
}

static ssize_t
tls_writev(struct conn *c, const struct iovec *iov, int n)
{
	struct tlsconn *t = c->tls;
	size_t len = iov_len(iov, n), done = 0, told;
	ssize_t k;
	int err = 0;

	pthread_mutex_lock(&t->mtx);
	for (;;) {
		if ((err = flush_locked(t, c->fd, 1)) != 0)
			break;
		told = t->held < len - done ? t->held : len - done;
		t->held -= told;
		done += told;
		if (done == len || t->closing || t->broken)
			break;
		err = ENOMEM;
		if (!buf_room(&t->io.out, out_need(len - done)))
			break;
		k = tls_engine_writev(t->engine, &t->io, iov, n, done);
		err = errno;
		if (k == -1)
			break;
		t->held = (size_t)k;
	}
	if ((t->closing || t->broken) && done < len)
		err = EPIPE;
	trim_locked(t);
	pthread_mutex_unlock(&t->mtx);
	if (done > 0 || len == 0)
		return (ssize_t)done;
	errno = err;
	return -1;
}

static int
tls_poll(struct conn *c, int *events)
{
	struct tlsconn *t = c->tls;
	int ready = 0;

	if (!(*events & POLLIN))
		return 0;
	pthread_mutex_lock(&t->mtx);
	if (t->io.in.at < t->io.in.n || t->ended || tls_engine_pending(t->engine))
		ready = POLLIN;
	else {
		if (alert_waits_locked(t))
			*events |= POLLOUT;	/* reading sends it */
		t->asleep = 1;
		trim_locked(t);
	}
	pthread_mutex_unlock(&t->mtx);
	return ready;
}

static void
tls_shutdown(struct conn *c, int how)
{
	struct tlsconn *t = c->tls;

	if (how != SHUT_WR) {
		shutdown(c->fd, how);
		return;
	}
	pthread_mutex_lock(&t->mtx);
	if (!t->closing && !t->broken) {
		tls_engine_close(t->engine, &t->io);
		t->closing = 1;
		flush_locked(t, c->fd, 0);
	}
	pthread_mutex_unlock(&t->mtx);
}

static void
tls_close(struct conn *c)
{
	tls_free(c->tls);
	c->tls = NULL;
	close(c->fd);
}

static const struct conn_type tls_type = { tls_read, tls_writev, tls_poll, tls_shutdown, tls_close };

/* The handshake, on a connection that is still plain. */

static int
is_letter(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static enum tls_result
shake(struct conn *c, struct tlsconn *t, int first, int64_t deadline, int wakefd, char why[TLS_WHY_MAX])
{
	enum tls_result rc = TLS_NETWORK;
	int events, err, woken;
	ssize_t n;

	if (!buf_room(&t->io.out, OUT_MAX))
		return TLS_MEMORY;
	c->tls = t;
	for (;;) {
		if (rc != TLS_OK)
			rc = tls_engine_handshake(t->engine, &t->io, why);
		err = flush_locked(t, c->fd, 0);
		if (rc != TLS_NETWORK && (rc != TLS_OK || err == 0))
			return rc;
		snprintf(why, TLS_WHY_MAX, "the connection was lost in the TLS handshake");
		if (err != 0 && err != EAGAIN)
			return TLS_NETWORK;
		events = err == EAGAIN ? POLLOUT : POLLIN;
		if (!buf_room(&t->io.out, OUT_MAX))
			return TLS_MEMORY;
		if (events == POLLIN && t->io.in.at == t->io.in.n && (n = receive(c, SHAKE_IN)) != 0) {
			if (n == -1 && errno != EAGAIN)
				return TLS_NETWORK;
			if (n > 0 && first && is_letter(t->io.in.p[0]))
				return TLS_PLAIN_HTTP;
			first &= n <= 0;
			if (n > 0)
				continue;
		} else if (events == POLLIN)
			return TLS_NETWORK;
		if (conn_wait(c, events, deadline, wakefd, &woken) == 0 || woken) {
			snprintf(why, TLS_WHY_MAX, "no TLS handshake in time");
			return TLS_NETWORK;
		}
	}
}

static enum tls_result
begin(struct conn *c, struct tls_engine *engine, int server, int64_t deadline, int wakefd,
    char why[TLS_WHY_MAX])
{
	struct tlsconn *t = tls_new(engine);
	enum tls_result rc;

	snprintf(why, TLS_WHY_MAX, "no memory for TLS");
	if (t == NULL)
		return TLS_MEMORY;
	rc = shake(c, t, server, deadline, wakefd, why);
	if (rc == TLS_OK) {
		c->type = &tls_type;
		return rc;
	}
	tls_free(t);
	c->tls = NULL;
	return rc;
}

enum tls_result
tlsconn_accept(struct conn *c, struct tls_server *s, int64_t deadline, char why[TLS_WHY_MAX])
{
	return begin(c, tls_engine_accept(s), 1, deadline, -1, why);
}

enum tls_result
tlsconn_connect(struct conn *c, struct tls_client *client, const char *host, int64_t deadline,
    int wakefd, char why[TLS_WHY_MAX])
{
	return begin(c, tls_engine_connect(client, host), 0, deadline, wakefd, why);
}
