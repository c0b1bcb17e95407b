/* sshterm.c: lines on an SSH client's session channel; see sshterm.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "deadline.h"
#include "sshterm.h"

enum {
	CHUNK = 1024,		/* written at once, bytes */
	NOTE_MAX = 64,
	CTRL_C = 0x03, CTRL_D = 0x04
};

void
sshterm_init(struct sshterm *t, void (*quit)(void *), void *arg)
{
	memset(t, 0, sizeof(*t));
	t->quit = quit;
	t->arg = arg;
	pthread_mutex_init(&t->mtx, NULL);
	cond_init(&t->idle);
}

void
sshterm_free(struct sshterm *t)
{
	pthread_cond_destroy(&t->idle);
	pthread_mutex_destroy(&t->mtx);
}

/* Queue text, its newlines as the terminal wants them. 0, or -1: there is no room. */
static int
put_locked(struct sshterm *t, const char *text, size_t len)
{
	size_t i, need = len;

	for (i = 0; t->pty && i < len; i++)
		need += text[i] == '\n';
	if (need > sizeof(t->out) - t->len)
		return -1;
	for (i = 0; i < len; i++) {
		if (t->pty && text[i] == '\n')
			t->out[t->len++] = '\r';
		t->out[t->len++] = text[i];
	}
	return 0;
}

/* Say how many lines were left out. 0, or -1: there is no room for it. */
static int
put_note_locked(struct sshterm *t)
{
	char text[NOTE_MAX];
	int n;

	if (t->missed == 0)
		return 0;
	n = snprintf(text, sizeof(text), "%s(%lu requests not shown)\n", t->torn ? "\n" : "", t->missed);
	if (put_locked(t, text, (size_t)n) == -1)
		return -1;
	t->missed = 0;
	t->torn = 0;
	return 0;
}

static unsigned long
lines(const char *text, size_t len)
{
	unsigned long n = 0;

	while (len > 0)
		n += text[--len] == '\n';
	return n;
}

/* Write from the front of the queue, without waiting. 1; 0: not now, or never. mtx is given up meanwhile. */
static int
write_locked(struct sshterm *t)
{
	char chunk[CHUNK];
	struct stream *s = t->s;
	struct iovec iov;
	long n;
	int err;

	iov.iov_base = chunk;
	iov.iov_len = t->len < sizeof(chunk) ? t->len : sizeof(chunk);
	memcpy(chunk, t->out, iov.iov_len);
	pthread_mutex_unlock(&t->mtx);
	n = stream_write(s, &iov, 1, 0, clock_ms(CLOCK_STEADY));
	err = errno;
	pthread_mutex_lock(&t->mtx);
	if (n == -1 && err == EPIPE)
		t->leave = 1;
	if (n == -1 && err != EPIPE) {	/* the connection takes nothing any more, and a part of this may have gone */
		t->missed += lines(t->out, t->len);
		t->torn = 1;
		t->len = 0;
	}
	if (n <= 0)
		return 0;
	t->len -= (size_t)n;
	memmove(t->out, t->out + n, t->len);
	return 1;
}

static void
leave(struct stream *s, int held)
{
	stream_fin(s);
	if (held)
		stream_leave_locked(s);
	else
		stream_leave(s);
}

/*
 * Write what there is, for all who have something to say; then leave the channel if that is due. held: in a callback, with the stream's
 * mtx. Whoever writes is alone with the stream, so only he can leave it.
 */
static void
flush(struct sshterm *t, int held)
{
	struct stream *s;

	pthread_mutex_lock(&t->mtx);
	t->again = 1;
	if (t->writing || t->s == NULL) {
		pthread_mutex_unlock(&t->mtx);
		return;
	}
	t->writing = 1;
	while (t->again) {
		t->again = 0;
		while (t->len > 0 && write_locked(t))
			;
		if (t->len == 0 && t->missed > 0 && !t->leave && !t->torn && put_note_locked(t) == 0)
			t->again = 1;
	}
	if (t->leave) {
		s = t->s;
		t->s = NULL;
		t->len = 0;
		pthread_mutex_unlock(&t->mtx);
		leave(s, held);
		pthread_mutex_lock(&t->mtx);
	}
	t->writing = 0;
	pthread_cond_broadcast(&t->idle);
	pthread_mutex_unlock(&t->mtx);
}

/* The stream's callbacks. */

static void
on_data(void *arg, const uint8_t *buf, size_t len)
{
	struct sshterm *t = arg;
	struct stream *s;
	size_t i;
	int pty;

	pthread_mutex_lock(&t->mtx);
	pty = t->pty && t->shown;
	s = t->s;
	pthread_mutex_unlock(&t->mtx);
	if (s != NULL)
		stream_credit(s, len, 0);
	for (i = 0; pty && i < len; i++)
		if (buf[i] == CTRL_C || buf[i] == CTRL_D || buf[i] == 'q') {
			t->quit(t->arg);
			return;
		}
}

/* No more keys come, as from /dev/null; or the client has closed the channel, and writable tells. */
static void
on_fin(void *arg)
{
	(void)arg;
}

static void
on_reset(void *arg)
{
	struct sshterm *t = arg;

	pthread_mutex_lock(&t->mtx);
	t->leave = 1;
	pthread_mutex_unlock(&t->mtx);
	flush(t, 1);
}

static void
on_writable(void *arg)
{
	struct sshterm *t = arg;
	struct stream *s;

	pthread_mutex_lock(&t->mtx);
	s = t->s;
	pthread_mutex_unlock(&t->mtx);
	if (s != NULL && stream_dead(s))
		on_reset(arg);
	else
		flush(t, 1);
}

static const struct stream_ops term_ops = { on_data, on_fin, on_reset, on_writable };

/* What its user does. */

int
sshterm_open(struct sshterm *t, struct stream *s)
{
	int busy;

	pthread_mutex_lock(&t->mtx);
	if (!(busy = t->s != NULL || t->writing)) {
		t->s = s;
		t->pty = t->shown = t->leave = t->torn = 0;
		t->missed = 0;
		t->len = 0;
	}
	pthread_mutex_unlock(&t->mtx);
	if (busy)
		return SSH_OPEN_SHORTAGE;
	pthread_mutex_lock(&s->mtx);
	s->arg = t;
	s->ops = &term_ops;
	pthread_mutex_unlock(&s->mtx);
	ssh_confirm(s);
	return 0;
}

int
sshterm_is(struct sshterm *t, const struct stream *s)
{
	int is;

	pthread_mutex_lock(&t->mtx);
	is = t->s == s;
	pthread_mutex_unlock(&t->mtx);
	return is;
}

void
sshterm_pty(struct sshterm *t)
{
	pthread_mutex_lock(&t->mtx);
	t->pty = 1;
	pthread_mutex_unlock(&t->mtx);
}

void
sshterm_show(struct sshterm *t)
{
	pthread_mutex_lock(&t->mtx);
	t->shown = 1;
	pthread_mutex_unlock(&t->mtx);
}

int
sshterm_shown(struct sshterm *t)
{
	int shown;

	pthread_mutex_lock(&t->mtx);
	shown = t->s != NULL && t->shown;
	pthread_mutex_unlock(&t->mtx);
	return shown;
}

void
sshterm_line(struct sshterm *t, const char *line)
{
	unsigned long missed;
	size_t n = strlen(line), was;
	int torn;

	pthread_mutex_lock(&t->mtx);
	if (t->s == NULL || !t->shown || t->leave) {
		pthread_mutex_unlock(&t->mtx);
		return;
	}
	was = t->len;
	missed = t->missed;
	torn = t->torn;
	if (put_note_locked(t) == -1 || put_locked(t, line, n) == -1 || put_locked(t, "\n", 1) == -1) {
		t->len = was;	/* a whole line, or none */
		t->missed = missed + 1;
		t->torn = torn;
	}
	pthread_mutex_unlock(&t->mtx);
	flush(t, 0);
}

void
sshterm_hint(struct sshterm *t, const char *line)
{
	int pty;

	pthread_mutex_lock(&t->mtx);
	pty = t->pty;
	pthread_mutex_unlock(&t->mtx);
	if (pty)
		sshterm_line(t, line);
}

void
sshterm_exit(struct sshterm *t, unsigned status, int held)
{
	uint8_t data[4];
	struct stream *s;
	struct buf b;

	buf_init(&b, data, sizeof(data));
	ssh_put_u32(&b, status);
	pthread_mutex_lock(&t->mtx);
	s = t->leave ? NULL : t->s;
	pthread_mutex_unlock(&t->mtx);
	if (s == NULL)
		return;
	ssh_channel_request(s, "exit-status", 0, b.p, b.len);
	pthread_mutex_lock(&t->mtx);
	t->leave = 1;
	pthread_mutex_unlock(&t->mtx);
	flush(t, held);
}

void
sshterm_over(struct sshterm *t)
{
	pthread_mutex_lock(&t->mtx);
	t->leave = 1;
	pthread_mutex_unlock(&t->mtx);
	flush(t, 0);
	pthread_mutex_lock(&t->mtx);
	while (t->writing)
		pthread_cond_wait(&t->idle, &t->mtx);
	pthread_mutex_unlock(&t->mtx);
}
