/* sshtcp.c: an SSH connection over TCP; see sshtcp.h. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "clock.h"
#include "deadline.h"
#include "sshtcp.h"
#include "wake.h"

enum {
	IN_SIZE = 64 * 1024,	/* read at once, bytes */
	OUT_SIZE = 120 * 1024,	/* written at once: three of the longest packets */
	ROUNDS = 4,		/* of writing for others, then the reader goes on */
	QUIET_MS = 1000,	/* buffers are given back when nothing has happened for so long */
	BYE_MS = 2000		/* for the other side's end after our DISCONNECT */
};

struct sshtcp {			/* [m] guarded by mtx, [w] whoever has set writing, [r] the reader's, [c] constant */
	struct conn conn;	/* [c] closed by the reader when nobody writes */
	struct ssh *ssh;	/* [c] */
	struct wake wake;	/* [c] ends the reader's sleep */

	pthread_mutex_t mtx;
	pthread_cond_t quiet;	/* writing has become 0 */
	int writing;		/* [m] somebody is */
	int again;		/* [m] there may be more to send than he has seen */
	int full;		/* [m] the socket took no more: the reader waits for it */
	int handed;		/* [m] there is more, and the reader is to go on */
	int rung;		/* [m] a post for the reader is in wake */
	int ended;		/* [m] nothing can be sent any more */
	size_t at, nout;	/* [w] out[at..nout) is to go */
	uint8_t *out;		/* [w] NULL: none */

	uint8_t *in;		/* [r] NULL: none */
	const char *why;	/* [r] */
};

static void
ring_locked(struct sshtcp *t)
{
	if (t->rung)
		return;
	t->rung = 1;
	wake_post(&t->wake);
}

static void
end_locked(struct sshtcp *t)
{
	if (t->ended)
		return;
	t->ended = 1;
	conn_shutdown(&t->conn, SHUT_RDWR);
	ring_locked(t);
}

/* Fill the empty out. 1 if there is something now. mtx is given up meanwhile. [w] */
static int
fill_locked(struct sshtcp *t)
{
	int more;

	t->at = t->nout = 0;
	do {
		t->again = 0;
		pthread_mutex_unlock(&t->mtx);
		if (t->out == NULL)
			t->out = malloc(OUT_SIZE);
		if (t->out != NULL)
			t->nout = ssh_output(t->ssh, t->out, OUT_SIZE, &more);
		pthread_mutex_lock(&t->mtx);
		if (t->out == NULL)
			end_locked(t);	/* without memory this connection goes, the rest stay */
	} while (t->nout == 0 && t->again && !t->ended);
	return t->nout > 0;
}

/* Write from out: 1, or 0: not now, or never again. mtx is given up meanwhile. [w] */
static int
flush_locked(struct sshtcp *t)
{
	struct iovec iov;
	ssize_t n;
	int err;

	iov.iov_base = t->out + t->at;
	iov.iov_len = t->nout - t->at;
	pthread_mutex_unlock(&t->mtx);
	n = conn_writev(&t->conn, &iov, 1);
	err = n == -1 ? errno : 0;
	pthread_mutex_lock(&t->mtx);
	if (n > 0)
		t->at += (size_t)n;
	else if (err == EAGAIN)
		t->full = 1;
	else
		end_locked(t);
	return n > 0;
}

/* Write what there is, as far as the socket takes it. */
static void
write_out(struct sshtcp *t, int reader)
{
	int rounds = 0;

	pthread_mutex_lock(&t->mtx);
	if (t->writing || t->full || t->ended || (t->handed && !reader)) {
		t->again = 1;
		pthread_mutex_unlock(&t->mtx);
		return;
	}
	t->writing = 1;
	t->handed = 0;
	while (!t->ended) {
		if (t->at == t->nout && (t->handed = ++rounds > ROUNDS))
			break;
		if (t->at == t->nout && !fill_locked(t))
			break;
		if (!flush_locked(t))
			break;
	}
	t->writing = 0;
	pthread_cond_broadcast(&t->quiet);
	if ((t->full || t->handed) && !reader)
		ring_locked(t);
	pthread_mutex_unlock(&t->mtx);
}

static void
kick(void *arg)
{
	write_out(arg, 0);
}

struct sshtcp *
sshtcp_new(const struct conn *c, struct ssh *s)
{
	struct sshtcp *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	if (wake_open(&t->wake) == -1) {
		free(t);
		return NULL;
	}
	t->conn = *c;
	t->ssh = s;
	pthread_mutex_init(&t->mtx, NULL);
	cond_init(&t->quiet);
	ssh_attach(s, kick, t);
	return t;
}

void
sshtcp_free(struct sshtcp *t)
{
	wake_close(&t->wake);
	pthread_cond_destroy(&t->quiet);
	pthread_mutex_destroy(&t->mtx);
	free(t->out);
	free(t->in);
	free(t);
}

void
sshtcp_abort(struct sshtcp *t)
{
	pthread_mutex_lock(&t->mtx);
	end_locked(t);
	pthread_mutex_unlock(&t->mtx);
}

/* The reader */

/* Read once and handle what came. 1, or 0: the connection is over. */
static int
take_input(struct sshtcp *t)
{
	ssize_t n;
	int rc;

	if (t->in == NULL && (t->in = malloc(IN_SIZE)) == NULL) {
		t->why = "no memory";
		return 0;
	}
	n = conn_read(&t->conn, t->in, IN_SIZE);
	if (n == -1 && errno == EAGAIN)
		return 1;
	if (n <= 0) {
		t->why = ssh_said_bye(t->ssh) ? "closed" : n == 0 ? "connection closed" : "connection lost";
		return 0;
	}
	if ((rc = ssh_input(t->ssh, t->in, (size_t)n, &t->why)) == 0)
		return 1;
	ssh_disconnect(t->ssh, -rc, t->why);
	return 0;
}

static void
trim(struct sshtcp *t)
{
	free(t->in);
	t->in = NULL;
	pthread_mutex_lock(&t->mtx);
	if (!t->writing && t->at == t->nout) {
		free(t->out);
		t->out = NULL;
	}
	pthread_mutex_unlock(&t->mtx);
}

/* Sleep until deadline at most. 1 if there is something to read. */
static int
await(struct sshtcp *t, int64_t deadline)
{
	int ev, woken, events = POLLIN;
	int64_t quiet = clock_ms(CLOCK_STEADY) + QUIET_MS;

	pthread_mutex_lock(&t->mtx);
	if (t->full || t->handed)
		events |= POLLOUT;
	pthread_mutex_unlock(&t->mtx);
	ev = conn_wait(&t->conn, events, t->in != NULL && quiet < deadline ? quiet : deadline, t->wake.rd, &woken);
	if (ev == 0 && !woken && t->in != NULL && clock_ms(CLOCK_STEADY) >= quiet)
		trim(t);
	pthread_mutex_lock(&t->mtx);
	if (woken) {
		t->rung = 0;
		wake_clear(&t->wake);
	}
	if (ev & (POLLOUT | POLLERR | POLLHUP))
		t->full = 0;
	pthread_mutex_unlock(&t->mtx);
	return ev & POLLIN;
}

/* Our DISCONNECT is out, or will be when the socket takes it: wait for the other side's end, so that it is not lost in a reset. */
static void
see_off(struct sshtcp *t)
{
	int64_t until = clock_ms(CLOCK_STEADY) + BYE_MS;
	char dropped[512];
	int shut = 0;
	ssize_t n = 1;

	while (clock_ms(CLOCK_STEADY) < until && n > 0) {
		write_out(t, 1);
		if (!shut && ssh_said_bye(t->ssh)) {
			conn_shutdown(&t->conn, SHUT_WR);
			shut = 1;
		}
		if (!await(t, until))
			continue;
		n = conn_read(&t->conn, dropped, sizeof(dropped));
		if (n == -1 && errno == EAGAIN)
			n = 1;
	}
}

void
sshtcp_run(struct sshtcp *t, const char **why)
{
	int ended = 0, bye = 0;

	for (;;) {
		write_out(t, 1);
		pthread_mutex_lock(&t->mtx);
		ended = t->ended;
		pthread_mutex_unlock(&t->mtx);
		bye = ssh_said_bye(t->ssh);
		if (ended || bye || (await(t, CONN_FOREVER) && !take_input(t)))
			break;
	}
	if (t->why == NULL)
		t->why = bye ? "closed" : "connection lost";
	if (!ended)
		see_off(t);
	pthread_mutex_lock(&t->mtx);
	end_locked(t);
	while (t->writing)
		pthread_cond_wait(&t->quiet, &t->mtx);
	pthread_mutex_unlock(&t->mtx);
	ssh_end(t->ssh);
	conn_close(&t->conn);
	*why = t->why;
}
