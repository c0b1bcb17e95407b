/* ssh.c: SSH channels as streams; see ssh.h. The reader's side is in sshin.c, what goes out in sshout.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "conn.h"
#include "deadline.h"
#include "sshint.h"

enum { TABLE_FIRST = 16 };

struct ssh *
ssh_new(const struct ssh_conf *conf, const struct ssh_ops *ops, void *arg)
{
	struct ssh *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	if (sshtrans_init(&s->t, &conf->trans) == -1) {
		free(s);
		return NULL;
	}
	s->conf = *conf;
	s->ops = ops;
	s->arg = arg;
	s->owed_last = &s->owed_first;
	s->refs = 1;
	queue_init(&s->fifo);
	pthread_mutex_init(&s->mtx, NULL);
	return s;
}

void
ssh_attach(struct ssh *s, void (*kick)(void *), void *carrier)
{
	s->kick = kick;
	s->carrier = carrier;
}

void *
ssh_carrier(struct ssh *s)
{
	return s->carrier;
}

void
ssh_kick(struct ssh *s)
{
	s->kick(s->carrier);
}

static void
ssh_free(struct ssh *s)
{
	sshtrans_free(&s->t);
	pthread_mutex_destroy(&s->mtx);
	queue_free(&s->fifo);
	free(s->table);
	free(s);
}

void
ssh_unref(struct ssh *s)
{
	int refs;

	pthread_mutex_lock(&s->mtx);
	refs = --s->refs;
	pthread_mutex_unlock(&s->mtx);
	if (refs == 0)
		ssh_free(s);
}

int
ssh_ready(struct ssh *s)
{
	int ready;

	pthread_mutex_lock(&s->mtx);
	ready = s->t.phase == SSH_PHASE_RUN;
	pthread_mutex_unlock(&s->mtx);
	return ready;
}

enum sshtrans_phase
ssh_phase(struct ssh *s)
{
	enum sshtrans_phase phase;

	pthread_mutex_lock(&s->mtx);
	phase = s->t.phase;
	pthread_mutex_unlock(&s->mtx);
	return phase;
}

void
ssh_for_go(struct ssh *s)
{
	pthread_mutex_lock(&s->mtx);
	s->for_go = 1;
	pthread_mutex_unlock(&s->mtx);
}

int
ssh_channels(struct ssh *s)
{
	int n;

	pthread_mutex_lock(&s->mtx);
	n = s->nchannels;
	pthread_mutex_unlock(&s->mtx);
	return n;
}

/* Channels and their table. A channel there holds one reference, and one of the ssh. */

static struct channel *
channel_of(struct stream *s)
{
	return (struct channel *)(void *)s;
}

struct channel *
ssh_new_channel(struct ssh *s)
{
	struct channel *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	pthread_mutex_init(&c->base.mtx, NULL);
	cond_init(&c->room);
	c->base.type = &ssh_stream_type;
	c->ssh = s;
	c->window = s->conf.window;
	if (s->conf.budget != NULL && budget_take(s->conf.budget, s->conf.window_more))
		c->window += s->conf.window_more;
	c->recv_window = c->window;
	c->refs = 2;		/* the table's and the user's */
	queue_init(&c->q);
	return c;
}

void
ssh_drop_channel(struct channel *c)
{
	queue_free(&c->q);
	if (c->window > c->ssh->conf.window)
		budget_give(c->ssh->conf.budget, c->window - c->ssh->conf.window);
	pthread_cond_destroy(&c->room);
	pthread_mutex_destroy(&c->base.mtx);
	free(c);
}

/* The lowest id that is free: the table stays small, and so do the numbers. */
static int
find_place_locked(struct ssh *s, uint32_t *id)
{
	struct channel **t;
	uint32_t n;

	for (*id = 0; *id < s->ntable; ++*id)
		if (s->table[*id] == NULL)
			return 0;
	n = s->ntable > 0 ? 2 * s->ntable : TABLE_FIRST;
	if ((t = realloc(s->table, n * sizeof(*t))) == NULL)
		return -1;
	memset(t + s->ntable, 0, (n - s->ntable) * sizeof(*t));
	s->table = t;
	s->ntable = n;
	return 0;
}

int
ssh_add_locked(struct ssh *s, struct channel *c)
{
	if (s->ended || s->t.bye)
		return EPIPE;
	if (s->nchannels >= s->conf.channels_max)
		return EMFILE;
	if (find_place_locked(s, &c->id) == -1)
		return ENOMEM;
	s->table[c->id] = c;
	c->listed = 1;
	s->nchannels++;
	s->refs++;
	return 0;
}

int
ssh_retire_locked(struct channel *c)
{
	int over = (c->close_sent && c->close_seen) || c->ssh->ended || (c->dead && !c->opening && !c->owe_close && !c->close_sent);

	if (!c->listed || c->owed || !over)
		return 0;
	c->ssh->table[c->id] = NULL;
	c->listed = 0;
	c->ssh->nchannels--;
	return 1;
}

void
ssh_unref_unlock(struct channel *c)
{
	struct ssh *s = c->ssh;
	int gone = --c->refs == 0, last = gone && --s->refs == 0;

	pthread_mutex_unlock(&s->mtx);
	if (gone)
		ssh_drop_channel(c);
	if (last)
		ssh_free(s);
}

int
ssh_wants_locked(const struct channel *c)
{
	if (c->opening || c->asked || c->close_sent)
		return 0;
	if (c->close_seen || c->dead)
		return c->owe_close;
	return c->owe_adjust || c->q.len > 0 || c->owe_eof || c->owe_close;
}

void
ssh_owe_channel_locked(struct channel *c)
{
	struct ssh *s = c->ssh;

	if (c->owed || !c->listed || s->ended || !ssh_wants_locked(c))
		return;
	c->owed = 1;
	c->owed_next = NULL;
	*s->owed_last = c;
	s->owed_last = &c->owed_next;
}

/* Channels from our side, and answers to theirs */

static void
put_window(struct buf *b, const struct channel *c)
{
	ssh_put_u32(b, c->id);
	ssh_put_u32(b, c->recv_window);
	ssh_put_u32(b, SSH_PAYLOAD_MAX);
}

struct stream *
ssh_open(struct ssh *s)
{
	struct channel *c = ssh_new_channel(s);
	int err;

	if (c == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	c->opening = c->unsent = 1;
	pthread_mutex_lock(&s->mtx);
	err = ssh_add_locked(s, c);
	pthread_mutex_unlock(&s->mtx);
	if (err == 0)
		return &c->base;
	ssh_drop_channel(c);
	errno = err;
	return NULL;
}

void
ssh_tally(struct stream *base, uint64_t *tally)
{
	struct channel *c = channel_of(base);

	pthread_mutex_lock(&c->ssh->mtx);
	c->tally = tally;
	pthread_mutex_unlock(&c->ssh->mtx);
}

void
ssh_tally_copy(struct ssh *s, const uint64_t from[2], uint64_t to[2])
{
	pthread_mutex_lock(&s->mtx);
	to[0] = from[0];
	to[1] = from[1];
	pthread_mutex_unlock(&s->mtx);
}

int
ssh_ask(struct stream *base, const char *type, const void *data, size_t len)
{
	struct channel *c = channel_of(base);
	struct ssh *s = c->ssh;
	uint8_t head[128];
	struct buf b;
	int rc = -1;

	buf_init(&b, head, sizeof(head));
	buf_char(&b, SSH_CHANNEL_OPEN);
	ssh_put_cstr(&b, type);
	pthread_mutex_lock(&s->mtx);
	put_window(&b, c);
	if (!b.full && c->unsent && !c->dead && (rc = ssh_push_locked(s, b.p, b.len, data, len)) == 0)
		c->unsent = 0;
	pthread_mutex_unlock(&s->mtx);
	ssh_kick(s);
	return rc;
}

void
ssh_confirm(struct stream *base)
{
	struct channel *c = channel_of(base);
	struct ssh *s = c->ssh;
	uint8_t head[17];
	struct buf b;

	pthread_mutex_lock(&s->mtx);
	if (c->asked) {
		c->asked = 0;
		buf_init(&b, head, sizeof(head));
		ssh_put_head(&b, SSH_CHANNEL_OPEN_CONFIRMATION, c);
		put_window(&b, c);
		if (ssh_push_locked(s, b.p, b.len, NULL, 0) == -1)
			s->t.bye = 1;	/* it would wait for ever */
		ssh_owe_channel_locked(c);
	}
	pthread_mutex_unlock(&s->mtx);
	ssh_kick(s);
}

int
ssh_refuse_locked(struct ssh *s, uint32_t peer_id, enum ssh_open_reason reason, const char *text)
{
	uint8_t head[128];
	struct buf b;

	buf_init(&b, head, sizeof(head));
	buf_char(&b, SSH_CHANNEL_OPEN_FAILURE);
	ssh_put_u32(&b, peer_id);
	ssh_put_u32(&b, (uint32_t)reason);
	ssh_put_cstr(&b, text);
	ssh_put_cstr(&b, "en");
	return b.full ? -1 : ssh_push_locked(s, b.p, b.len, NULL, 0);
}

void
ssh_refuse(struct stream *base, enum ssh_open_reason reason, const char *text)
{
	struct channel *c = channel_of(base);
	struct ssh *s = c->ssh;
	int gone = 0;

	pthread_mutex_lock(&s->mtx);
	if (c->asked) {
		if (ssh_refuse_locked(s, c->peer_id, reason, text) == -1)
			s->t.bye = 1;
		c->asked = 0;
		c->dead = 1;
		gone = ssh_retire_locked(c);
		if (gone)
			c->refs--;	/* the user's is left */
	}
	pthread_mutex_unlock(&s->mtx);
	ssh_kick(s);
}

/* The channel as a stream */

/* It goes before it was open: the other side has not heard of it, or waits for our answer. */
static void
withdraw(struct channel *c)
{
	ssh_refuse(&c->base, SSH_OPEN_CONNECT_FAILED, "not reachable");
	pthread_mutex_lock(&c->ssh->mtx);
	if (c->unsent) {
		c->unsent = c->opening = 0;
		c->dead = 1;
		if (ssh_retire_locked(c))
			c->refs--;	/* the user's is left */
	}
	pthread_mutex_unlock(&c->ssh->mtx);
}

static int
shut_locked(const struct channel *c)
{
	return c->dead || c->close_seen || c->owe_eof || c->eof_sent || c->owe_close || c->close_sent || c->ssh->ended;
}

/* No more comes from us. */
static void
end_locked(struct channel *c)
{
	if (c->ssh->for_go)
		c->eof_sent = 1;
	else
		c->owe_eof = 1;
}

/* What a write fails with, when it is shut. */
static int
shut_error_locked(const struct channel *c)
{
	return c->close_seen && !c->dead && !c->ssh->ended ? ESHUTDOWN : EPIPE;
}

/* Wait until there is room in c's queue. 0, or an error number. */
static int
await_room_locked(struct channel *c, int64_t deadline)
{
	struct timespec until;
	int rc = 0;

	if (deadline != CONN_FOREVER)
		deadline_in(&until, deadline - clock_ms(CLOCK_STEADY));
	while (!shut_locked(c) && c->q.len >= SSH_CHANNEL_QUEUE && rc == 0)
		rc = cond_wait(&c->room, &c->ssh->mtx, deadline == CONN_FOREVER ? NULL : &until);
	if (shut_locked(c))
		return shut_error_locked(c);
	return c->q.len < SSH_CHANNEL_QUEUE ? 0 : ETIMEDOUT;
}

/* Queue n bytes of iov from byte at on. 0, or an error number. */
static int
put_locked(struct channel *c, const struct iovec *iov, size_t at, size_t n)
{
	size_t len;

	for (; n > 0; iov++) {
		if (at >= iov->iov_len) {
			at -= iov->iov_len;
			continue;
		}
		len = iov->iov_len - at < n ? iov->iov_len - at : n;
		if (queue_put(&c->q, (const char *)iov->iov_base + at, len) == -1)
			return ENOMEM;
		c->send_window -= (uint32_t)len;
		n -= len;
		at = 0;
	}
	return 0;
}

static long
channel_write(struct stream *base, const struct iovec *iov, int count, int fin, int64_t deadline)
{
	struct channel *c = channel_of(base);
	struct ssh *s = c->ssh;
	size_t total = iov_len(iov, count), done = 0, n;
	int err;

	for (;;) {
		pthread_mutex_lock(&s->mtx);
		if (shut_locked(c))
			err = shut_error_locked(c);
		else if (done < total && c->send_window > 0)
			err = await_room_locked(c, deadline);
		else
			err = 0;
		n = total - done < c->send_window ? total - done : c->send_window;
		if (err == 0 && n > 0 && n > SSH_CHANNEL_QUEUE - c->q.len)
			n = SSH_CHANNEL_QUEUE - c->q.len;
		if (err == 0)
			err = put_locked(c, iov, done, n);
		if (err == 0) {
			done += n;
			c->blocked = done < total && c->send_window == 0;
			if (fin && done == total)
				end_locked(c);
			ssh_owe_channel_locked(c);
		}
		pthread_mutex_unlock(&s->mtx);
		if (err != 0) {
			errno = err;
			return -1;
		}
		ssh_kick(s);
		if (done == total || n == 0)
			return (long)done;
	}
}

static void
channel_credit(struct stream *base, size_t n, int queued)
{
	struct channel *c = channel_of(base);
	struct ssh *s = c->ssh;
	int owe;

	(void)queued;		/* the window does not grow */
	pthread_mutex_lock(&s->mtx);
	c->credit += (uint32_t)n;
	owe = !c->owe_adjust && c->credit >= c->window / 2 && !c->eof_seen && !c->close_seen && !c->owe_close &&
	    !c->close_sent && !c->dead;
	if (owe) {
		c->owe_adjust = 1;
		ssh_owe_channel_locked(c);
	}
	pthread_mutex_unlock(&s->mtx);
	if (owe)
		ssh_kick(s);
}

/* Our direction ends: with what is queued sent, or at once. */
static void
channel_end(struct stream *base, enum stream_end end)
{
	struct channel *c = channel_of(base);
	struct ssh *s = c->ssh;

	if (end == STREAM_RESET)
		withdraw(c);
	pthread_mutex_lock(&s->mtx);
	if (end == STREAM_RESET && !c->dead) {
		c->dead = 1;
		queue_free(&c->q);
		if (!c->close_sent)
			c->owe_close = 1;
		pthread_cond_broadcast(&c->room);
	} else if (end != STREAM_RESET && !shut_locked(c))
		end_locked(c);
	ssh_owe_channel_locked(c);
	pthread_mutex_unlock(&s->mtx);
	if (end != STREAM_FIN_LAZILY)
		ssh_kick(s);
}

static int
channel_dead(struct stream *base)
{
	struct channel *c = channel_of(base);
	int dead;

	pthread_mutex_lock(&c->ssh->mtx);
	dead = c->dead || c->close_seen || c->ssh->ended;
	pthread_mutex_unlock(&c->ssh->mtx);
	return dead;
}

static int
channel_over(struct stream *base)
{
	struct channel *c = channel_of(base);
	int over;

	pthread_mutex_lock(&c->ssh->mtx);
	over = c->ssh->ended;
	pthread_mutex_unlock(&c->ssh->mtx);
	return over;
}

/* Nobody takes what comes any more: CLOSE, behind what is queued. */
static void
channel_unref(struct stream *base)
{
	struct channel *c = channel_of(base);
	struct ssh *s = c->ssh;
	int tell;

	withdraw(c);
	pthread_mutex_lock(&s->mtx);
	c->tally = NULL;
	if (!c->close_sent && !c->owe_close && !c->dead)
		c->owe_close = 1;
	ssh_owe_channel_locked(c);
	tell = c->owed;
	s->refs += tell;	/* for the kick, when c may be gone */
	ssh_unref_unlock(c);
	if (tell) {
		ssh_kick(s);
		ssh_unref(s);
	}
}

const struct stream_type ssh_stream_type = {
	channel_write, channel_credit, channel_end, channel_dead, channel_over, NULL, channel_unref
};
