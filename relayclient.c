/* relayclient.c: the client's end of /relay: a target's bytes on two descriptors; see tunnel.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "bridge.h"
#include "clock.h"
#include "handshake.h"
#include "random.h"
#include "sha256.h"

enum {
	HOST_MAX = 255,
	CLOSE_MS = 5000
};

/* Descriptors that may block: others have them, too, so that their flags are not ours to change. */

static int
ready(int fd, short events)
{
	struct pollfd pfd;

	pfd.fd = fd;
	pfd.events = events;
	if (poll(&pfd, 1, 0) == 1)
		return 1;
	errno = EAGAIN;
	return 0;
}

static ssize_t
file_read(struct conn *c, void *buf, size_t len)
{
	return ready(c->fd, POLLIN) ? read(c->fd, buf, len) : -1;
}

/*
 * A pipe knows no MSG_NOSIGNAL, and what its program does about SIGPIPE is not ours to change: for this write it is kept from this
 * thread, and taken away again if we have caused it.
 */
static ssize_t
pipe_write(int fd, const void *buf, size_t len)
{
	sigset_t set, before, pending;
	int saved, sig;
	ssize_t n;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	if ((errno = pthread_sigmask(SIG_BLOCK, &set, &before)) != 0)
		return -1;
	sigpending(&pending);
	n = write(fd, buf, len);
	saved = errno;
	if (n == -1 && saved == EPIPE && !sigismember(&pending, SIGPIPE) && sigpending(&pending) == 0 &&
	    sigismember(&pending, SIGPIPE))	/* not pending if it is ignored */
		sigwait(&set, &sig);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return n;
}

/* No more at once than surely does not block. */
static ssize_t
file_writev(struct conn *c, const struct iovec *iov, int n)
{
	ssize_t sent;

	(void)n;
	if (!ready(c->fd, POLLOUT))
		return -1;
	sent = send(c->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent == -1 && errno == ENOTSOCK)
		sent = pipe_write(c->fd, iov->iov_base, iov->iov_len < PIPE_BUF ? iov->iov_len : PIPE_BUF);
	return sent;
}

static int
file_poll(struct conn *c, int *events)
{
	(void)c;
	(void)events;
	return 0;
}

static void
file_close(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
}

static void
file_shutdown(struct conn *c, int how)
{
	if (shutdown(c->fd, how) == -1)
		file_close(c);
}

static const struct conn_type file = { file_read, file_writev, file_poll, file_shutdown, file_close };

struct relay_end {
	struct tunnel_client *c;
	const struct tunnel_relay *to;
	struct shake shake;
	struct conn in, out;
	struct bridge bridge;
	struct wspipe ws;
	char *why;
	size_t whylen;
};

static enum tunnel_end
say(struct relay_end *r, enum tunnel_end end, const char *what)
{
	snprintf(r->why, r->whylen, "%.100s port %d: %.300s", r->to->host, r->to->port, what);
	return end;
}

/* Any host, as a value in a query. */
static void
put_host(struct buf *b, const char *host)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:";

	for (; *host != '\0'; host++) {
		if (strchr(plain, *host) != NULL) {
			buf_char(b, *host);
			continue;
		}
		buf_char(b, '%');
		buf_hex(b, host, 1);
	}
}

/* 0, or -1. */
static int
ask(struct relay_end *r, char key[WS_KEY_LEN + 1])
{
	struct shake *k = &r->shake;
	char target[3 * HOST_MAX + 64], *fields;
	size_t flen = strlen(r->c->token) + (r->c->fields != NULL ? strlen(r->c->fields) : 0) + 128;
	uint8_t nonce[16];
	struct buf b;
	int rc = -1;

	buf_init(&b, target, sizeof(target) - 1);
	buf_str(&b, "/relay?host=");
	put_host(&b, r->to->host);
	buf_str(&b, "&port=");
	buf_u64(&b, (unsigned)r->to->port);
	target[b.len] = '\0';
	if (random_bytes(nonce, sizeof(nonce)) == -1 || (fields = malloc(flen)) == NULL)
		return -1;
	snprintf(fields, flen, "Authorization: Bearer %s\r\nUser-Agent: tunnel/%s\r\n%s", r->c->token, VERSION,
	    r->c->fields != NULL ? r->c->fields : "");
	buf_init(&b, k->buf, sizeof(k->buf));
	ws_client_request(&b, r->c->endpoint.authority, target, WSPIPE_HALVES, fields, nonce, key);
	if (!b.full)
		rc = conn_write_all(&k->conn, k->buf, b.len, clock_ms(CLOCK_STEADY) + SHAKE_MS);
	wipe(fields, flen);
	wipe(k->buf, b.len);
	free(fields);
	return rc;
}

/* What an answer but 101 means. */
static enum tunnel_end
refused(struct relay_end *r)
{
	struct shake *k = &r->shake;
	int status = k->head.status;
	char words[128], text[400];
	size_t n;

	reach_reason(k, r->to->stop);
	n = k->len - k->taken < sizeof(words) ? k->len - k->taken : sizeof(words) - 1;
	memcpy(words, k->buf + k->taken, n);
	words[n] = '\0';
	words[strcspn(words, "\r\n")] = '\0';
	if (status == 401)
		return say(r, TUNNEL_DENIED, "the daemon refused the token (401): it is wrong, expired or revoked");
	snprintf(text, sizeof(text), "%.100s answered %d %s%s%s", r->c->endpoint.authority, status, http_reason(status),
	    words[0] != '\0' ? ": " : "", words);
	if (status == 404)
		snprintf(text, sizeof(text), "%.100s offers no /relay (404)", r->c->endpoint.authority);
	return say(r, status == 403 ? TUNNEL_DENIED : TUNNEL_FAILED, text);
}

/* From nothing to a WebSocket. */
static enum tunnel_end
open_relay(struct relay_end *r)
{
	struct shake *k = &r->shake;
	char key[WS_KEY_LEN + 1];
	const char *wrong = "";
	int agreed;

	if (reach_connect(r->c, &k->conn, r->why, r->whylen) != 1)
		return r->c->over ? r->c->end : TUNNEL_FAILED;
	k->len = 0;
	if (ask(r, key) == -1)
		return say(r, TUNNEL_FAILED, "cannot send the handshake");
	if (reach_answer(k, r->to->stop, &wrong) == -1)
		return say(r, TUNNEL_FAILED, wrong);
	if (k->head.status != 101)
		return refused(r);
	agreed = http_field(&k->head, "Sec-WebSocket-Protocol") != NULL;
	if (ws_client_check(&k->head, key, agreed ? WSPIPE_HALVES : NULL, &wrong) == -1)
		return say(r, TUNNEL_FAILED, wrong);
	wspipe_init(&r->ws, &k->conn, 1, k->buf + k->taken, k->len - k->taken);
	r->ws.halves = agreed;
	r->ws.ping_ms = PING_MS;
	return TUNNEL_STOPPED;
}

static int
stop(void *arg)
{
	const struct relay_end *r = arg;

	return r->to->stop != -1 && ready(r->to->stop, POLLIN);
}

/* The daemon has closed it. */
static enum tunnel_end
closed(struct relay_end *r)
{
	struct wspipe *w = &r->ws;
	char text[300];

	if (bridge_deliver(&r->bridge, CONN_FOREVER) == -1)
		return TUNNEL_STOPPED;	/* who read it has left */
	if (w->code == WS_NORMAL || w->code == WS_NO_STATUS)
		return TUNNEL_STOPPED;
	snprintf(text, sizeof(text), "%s (%d)", w->reason[0] != '\0' ? w->reason : "closed", w->code);
	return say(r, w->code == WS_POLICY ? TUNNEL_DENIED : TUNNEL_FAILED, text);
}

static enum tunnel_end
copy(struct relay_end *r)
{
	struct bridge *b = &r->bridge;
	struct wspipe *w = &r->ws;
	enum bridge_end end;
	enum tunnel_end rc = TUNNEL_STOPPED;

	b->ws = w;
	b->rd = &r->in;
	b->wr = &r->out;
	b->stay = 1;
	b->over_on_half = r->to->over;
	b->wakefd = r->to->stop;
	b->stop = stop;
	b->arg = r;
	end = bridge_run(b);
	if (end == BRIDGE_CLOSED) {
		rc = closed(r);
		wspipe_answer(w);
	} else if (end == BRIDGE_FAILED)
		rc = say(r, TUNNEL_FAILED, w->why);
	else if (end == BRIDGE_LOST && w->eof && !w->halves)	/* that is how wsproxy tells that the target has ended */
		bridge_deliver(b, CONN_FOREVER);
	else if (end == BRIDGE_LOST)
		rc = say(r, TUNNEL_FAILED, b->why[0] != '\0' ? b->why : w->why);
	else if (end == BRIDGE_FAR && b->err != EPIPE && b->err != 0)
		rc = say(r, TUNNEL_FAILED, strerror(b->err));
	wspipe_close(w, WS_NORMAL, "");
	bridge_finish(b, 0, clock_ms(CLOCK_STEADY) + CLOSE_MS);
	return rc;
}

enum tunnel_end
tunnel_relay(const struct tunnel_options *o, const struct tunnel_relay *to, char *why, size_t whylen)
{
	struct relay_end *r = calloc(1, sizeof(*r));
	struct tunnel_client *c = client_alloc();
	enum tunnel_end end = TUNNEL_USAGE;

	snprintf(why, whylen, "no memory");
	if (r == NULL || c == NULL) {
		free(r);
		free(c);
		return TUNNEL_FAILED;
	}
	r->c = c;
	r->to = to;
	r->why = why;
	r->whylen = whylen;
	r->shake.conn.fd = -1;
	r->in.type = r->out.type = &file;
	r->in.fd = to->in;
	r->out.fd = to->in != to->out ? to->out : -1;
	if (to->host == NULL || to->host[0] == '\0' || strlen(to->host) > HOST_MAX || to->port < 1 || to->port > 65535)
		snprintf(why, whylen, "'%.100s' is no host, or the port is not from 1 to 65535", to->host != NULL ? to->host : "");
	else if (to->in == to->out && (r->out.fd = fcntl(to->in, F_DUPFD_CLOEXEC, 0)) == -1)	/* each is closed for itself */
		snprintf(why, whylen, "in and out: %s", strerror(errno));
	else if (client_place(c, o, why, whylen) == 0) {
		if (to->stop != -1)	/* it ends the connecting, too */
			dup2(to->stop, c->wake.rd);
		if ((end = open_relay(r)) == TUNNEL_STOPPED)
			end = copy(r);
		else if (to->stop != -1 && ready(to->stop, POLLIN))
			end = TUNNEL_STOPPED;
	}
	conn_close(&r->shake.conn);
	conn_close(&r->in);
	conn_close(&r->out);
	client_free(c);
	free(r);
	return end;
}
