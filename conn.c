/* conn.c: a byte connection; see conn.h. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "conn.h"
#include "watch.h"

static ssize_t
plain_read(struct conn *c, void *buf, size_t len)
{
	return recv(c->fd, buf, len, 0);
}

static ssize_t
plain_writev(struct conn *c, const struct iovec *iov, int n)
{
	struct msghdr msg;

	if (n == 1)
		return send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
	memset(&msg, 0, sizeof(msg));
	msg.msg_iov = (struct iovec *)(void *)iov;	/* sendmsg does not write to it */
	msg.msg_iovlen = (unsigned short)n;	/* int on some systems, size_t on others */
	return sendmsg(c->fd, &msg, MSG_NOSIGNAL);
}

static int
plain_poll(struct conn *c, int *events)
{
	(void)c;
	(void)events;
	return 0;
}

static void
plain_shutdown(struct conn *c, int how)
{
	shutdown(c->fd, how);
}

static void
plain_close(struct conn *c)
{
	close(c->fd);
}

static const struct conn_type plain = { plain_read, plain_writev, plain_poll, plain_shutdown, plain_close };

void
conn_plain(struct conn *c, int fd)
{
	c->fd = fd;
	c->type = &plain;
	c->tls = NULL;
}

ssize_t
conn_read(struct conn *c, void *buf, size_t len)
{
	ssize_t n;

	do
		n = c->type->read(c, buf, len);
	while (n == -1 && errno == EINTR);
	if (n == -1 && errno == EWOULDBLOCK)
		errno = EAGAIN;
	return n;
}

ssize_t
conn_writev(struct conn *c, const struct iovec *iov, int n)
{
	ssize_t sent;

	do
		sent = c->type->writev(c, iov, n > IOV_MAX ? IOV_MAX : n);
	while (sent == -1 && errno == EINTR);
	if (sent == -1 && errno == EWOULDBLOCK)
		errno = EAGAIN;
	return sent;
}

/* Sleep in poll(2) until deadline. Its result, but 0 for an error. */
static int
sleep_until(struct pollfd *pfd, nfds_t n, int64_t deadline)
{
	int64_t left;
	int rc, ms;

	do {
		ms = -1;
		left = 0;
		if (deadline != CONN_FOREVER) {
			left = deadline - clock_ms(CLOCK_STEADY);
			ms = left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
		}
		if (ms != 0)
			watch_leave();
		rc = poll(pfd, n, ms);
	} while ((rc == -1 && errno == EINTR) || (rc == 0 && left > INT_MAX));
	return rc > 0 ? rc : 0;
}

int
conn_wait_any(struct conn_want *w, int n, int64_t deadline, int wakefd, int *woken)
{
	struct pollfd pfd[CONN_WANTS + 1];
	int i, events, ready = 0, came;

	if (woken != NULL)
		*woken = 0;
	for (i = 0; i < n; i++) {
		events = w[i].events;
		w[i].ready = events != 0 ? w[i].conn->type->poll(w[i].conn, &events) : 0;
		ready += w[i].ready != 0;
		/* without interest in it the connection is left out: a hang-up would spin */
		pfd[i].fd = events != 0 ? w[i].conn->fd : -1;
		pfd[i].events = (short)events;
		pfd[i].revents = 0;
	}
	pfd[n].fd = wakefd;
	pfd[n].events = POLLIN;
	pfd[n].revents = 0;
	if (ready > 0 || sleep_until(pfd, wakefd != -1 ? (nfds_t)n + 1 : (nfds_t)n, deadline) == 0)
		return ready;
	if (woken != NULL && pfd[n].revents != 0)
		*woken = 1;
	for (i = 0; i < n; i++) {
		came = pfd[i].revents;
		if (came & (POLLERR | POLLHUP | POLLNVAL))
			came |= w[i].events;
		else if (came & ~w[i].events)	/* what the type waited for in place of what was asked for: it may go on */
			came = w[i].events;
		w[i].ready = came;
		ready += came != 0;
	}
	return ready;
}

int
conn_wait(struct conn *c, int events, int64_t deadline, int wakefd, int *woken)
{
	struct conn_want w;

	w.conn = c;
	w.events = events;
	conn_wait_any(&w, 1, deadline, wakefd, woken);
	return w.ready;
}

int
conn_write_all(struct conn *c, const void *buf, size_t len, int64_t deadline)
{
	const char *p = buf;
	struct iovec iov;
	ssize_t n;

	while (len > 0) {
		iov.iov_base = (void *)(uintptr_t)p;
		iov.iov_len = len;
		if ((n = conn_writev(c, &iov, 1)) >= 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN)
			return -1;
		else if (conn_wait(c, POLLOUT, deadline, -1, NULL) == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
	}
	return 0;
}

int
conn_broken(struct conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1 || err != 0;
}

int
conn_quiet(struct conn *c)
{
	char byte;
	ssize_t n;
	int events = POLLIN;

	if (c->type->poll(c, &events) != 0)
		return 0;
	do
		n = recv(c->fd, &byte, 1, MSG_PEEK);
	while (n == -1 && errno == EINTR);
	return n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void
conn_shutdown(struct conn *c, int how)
{
	c->type->shutdown(c, how);
}

void
conn_reset_on_close(struct conn *c)
{
	struct linger l = { 1, 0 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

void
conn_close(struct conn *c)
{
	if (c->fd == -1)
		return;
	c->type->close(c);
	c->fd = -1;
}

void
iov_skip(struct iovec *iov, int count, int *at, size_t n)
{
	while (*at < count && n >= iov[*at].iov_len)
		n -= iov[(*at)++].iov_len;
	if (n > 0) {
		iov[*at].iov_base = (char *)iov[*at].iov_base + n;
		iov[*at].iov_len -= n;
	}
}

size_t
iov_len(const struct iovec *iov, int count)
{
	size_t sum = 0;

	while (count-- > 0)
		sum += iov++->iov_len;
	return sum;
}

int
iov_cut(struct iovec *to, int max, const struct iovec *from, size_t at, size_t len)
{
	size_t n;
	int k = 0;

	for (; len > 0; from++) {
		if (at >= from->iov_len) {
			at -= from->iov_len;
			continue;
		}
		if (k == max)
			return -1;
		n = from->iov_len - at < len ? from->iov_len - at : len;
		to[k].iov_base = (char *)from->iov_base + at;
		to[k++].iov_len = n;
		len -= n;
		at = 0;
	}
	return k;
}
