/* sshout.c: what goes out of an SSH connection, and requests; see ssh.h. */
#include <string.h>

#include "sshint.h"

enum {
	DATA_HEAD = 9,			/* of CHANNEL_DATA: number, channel, length; and the whole of WINDOW_ADJUST */
	WORTHWHILE = 4096		/* data is not cut into pieces smaller than this for want of room */
};

/* Copy the first n bytes of q to p, and drop them. */
static void
fetch(struct queue *q, uint8_t *p, size_t n)
{
	struct iovec iov;
	size_t k;

	while (n > 0) {
		queue_peek(q, &iov, 1);
		k = iov.iov_len < n ? iov.iov_len : n;
		memcpy(p, iov.iov_base, k);
		queue_drop(q, k);
		p += k;
		n -= k;
	}
}

int
ssh_push_locked(struct ssh *s, const void *head, size_t nhead, const void *data, size_t len)
{
	uint8_t size[4];
	struct buf b;

	if (s->ended || s->t.bye || nhead + len > SSH_PAYLOAD_MAX || 4 + nhead + len > SSH_REPLIES_MAX - s->fifo.len)
		return -1;
	buf_init(&b, size, sizeof(size));
	ssh_put_u32(&b, (uint32_t)(nhead + len));
	if (queue_put(&s->fifo, size, sizeof(size)) == -1)
		return -1;
	if (queue_put(&s->fifo, head, nhead) == 0 && (len == 0 || queue_put(&s->fifo, data, len) == 0))
		return 0;
	s->t.bye = 1;		/* half of it is there: nothing may follow */
	return -1;
}

/* The next of the fifo at p. Its length, 0: there is none, or no room for it. */
static size_t
next_request_locked(struct ssh *s, uint8_t *p, size_t cap)
{
	struct ssh_in in;
	struct iovec iov[4];
	uint8_t size[4];
	uint32_t n;
	int i, k;
	size_t at = 0, j;

	if (s->fifo.len == 0)
		return 0;
	k = queue_peek(&s->fifo, iov, 4);
	for (i = 0; i < k; i++)
		for (j = 0; j < iov[i].iov_len && at < sizeof(size); j++)
			size[at++] = ((uint8_t *)iov[i].iov_base)[j];
	ssh_in_init(&in, size, sizeof(size));
	n = ssh_get_u32(&in);
	if (n > cap)
		return 0;
	queue_drop(&s->fifo, sizeof(size));
	fetch(&s->fifo, p, n);
	return n;
}

void
ssh_put_head(struct buf *b, uint8_t type, const struct channel *c)
{
	buf_char(b, (char)type);
	ssh_put_u32(b, c->peer_id);
}

/* A message of c at p: its length, 0: no room for it. */
static size_t
next_of_channel_locked(struct channel *c, uint8_t *p, size_t cap)
{
	int cut = c->close_seen || c->dead;
	struct buf b;
	size_t n = c->q.len;

	if (cap < DATA_HEAD)		/* the rest of CHANNEL_DATA comes on top; nothing else is longer */
		return 0;
	buf_init(&b, p, cap);
	if (!cut && c->owe_adjust) {
		ssh_put_head(&b, SSH_CHANNEL_WINDOW_ADJUST, c);
		ssh_put_u32(&b, c->credit);
		c->recv_window += c->credit;
		c->credit = 0;
		c->owe_adjust = 0;
	} else if (!cut && n > 0) {
		n = n < c->peer_packet ? n : c->peer_packet;
		n = n < SSH_PAYLOAD_MAX ? n : SSH_PAYLOAD_MAX;
		if (n > cap - DATA_HEAD) {
			if (cap < DATA_HEAD + WORTHWHILE)
				return 0;
			n = cap - DATA_HEAD;
		}
		ssh_put_head(&b, SSH_CHANNEL_DATA, c);
		ssh_put_u32(&b, (uint32_t)n);
		fetch(&c->q, p + b.len, n);
		b.len += n;
		if (c->tally != NULL)
			c->tally[1] += n;
		if (c->q.len <= SSH_CHANNEL_QUEUE / 2)
			pthread_cond_signal(&c->room);
	} else if (!cut && c->owe_eof) {
		ssh_put_head(&b, SSH_CHANNEL_EOF, c);
		c->owe_eof = 0;
		c->eof_sent = 1;
		if (c->eof_seen)
			c->owe_close = 1;
	} else if (c->owe_close) {
		ssh_put_head(&b, SSH_CHANNEL_CLOSE, c);
		c->owe_close = 0;
		c->close_sent = 1;
	}
	return b.len;
}

/*
 * The next message to be sent, at p. Its length, 0: there is none, or no room. The transport's come first; then
 * requests and replies, so that none is ever behind its channel's CLOSE. *gone: a channel whose reference is the caller's to drop.
 */
static size_t
next_locked(struct ssh *s, uint8_t *p, size_t cap, struct channel **gone)
{
	struct channel *c;
	size_t n;

	*gone = NULL;
	if ((n = sshtrans_next(&s->t, p, cap)) > 0 || sshtrans_waiting(&s->t) || !sshtrans_may_send(&s->t))
		return n;	/* nothing overtakes them, even if it is small enough for the room that is left */
	if ((n = next_request_locked(s, p, cap)) > 0 || s->fifo.len > 0)
		return n;
	while ((c = s->owed_first) != NULL) {
		if (ssh_wants_locked(c) && (n = next_of_channel_locked(c, p, cap)) == 0)
			return 0;
		if ((s->owed_first = c->owed_next) == NULL)
			s->owed_last = &s->owed_first;
		c->owed = 0;
		ssh_owe_channel_locked(c);	/* behind the others */
		if (ssh_retire_locked(c)) {
			*gone = c;
			break;
		}
		if (n > 0)
			break;
	}
	return n;
}

static int
pending_locked(struct ssh *s)
{
	return !s->t.ident_sent || sshtrans_waiting(&s->t) ||
	    (sshtrans_may_send(&s->t) && (s->fifo.len > 0 || s->owed_first != NULL));
}

int
ssh_pending(struct ssh *s)
{
	int pending;

	pthread_mutex_lock(&s->mtx);
	pending = !s->ended && pending_locked(s);
	pthread_mutex_unlock(&s->mtx);
	return pending;
}

int
ssh_said_bye(struct ssh *s)
{
	int said;

	pthread_mutex_lock(&s->mtx);
	said = s->t.bye && !pending_locked(s);
	pthread_mutex_unlock(&s->mtx);
	return said;
}

size_t
ssh_output(struct ssh *s, uint8_t *buf, size_t cap, int *more)
{
	struct channel *gone;
	size_t n, len;

	pthread_mutex_lock(&s->mtx);
	n = sshtrans_ident(&s->t, buf);
	while (!s->ended && cap - n > SSH_OVERHEAD) {
		len = next_locked(s, buf + n + SSH_PAYLOAD_AT, cap - n - SSH_OVERHEAD, &gone);
		if (gone != NULL) {
			ssh_unref_unlock(gone);		/* not the ssh's last: whoever writes has one */
		} else
			pthread_mutex_unlock(&s->mtx);
		if (len > 0)	/* encrypting is the writer's, and needs no lock */
			n += sshtrans_seal(&s->t, buf + n, len);
		pthread_mutex_lock(&s->mtx);
		if (len == 0 && gone == NULL)
			break;
	}
	*more = !s->ended && pending_locked(s);
	pthread_mutex_unlock(&s->mtx);
	return n;
}

/* Requests */

int
ssh_request(struct ssh *s, const char *name, int want_reply, const void *data, size_t len)
{
	uint8_t head[128];
	struct buf b;
	int rc = -1;

	buf_init(&b, head, sizeof(head));
	buf_char(&b, SSH_GLOBAL_REQUEST);
	ssh_put_cstr(&b, name);
	buf_char(&b, want_reply != 0);
	pthread_mutex_lock(&s->mtx);
	if (!b.full && len <= SSH_REQUEST_MAX && (rc = ssh_push_locked(s, b.p, b.len, data, len)) == 0)
		s->asked += want_reply != 0;
	pthread_mutex_unlock(&s->mtx);
	ssh_kick(s);
	return rc;
}

int
ssh_reply(struct ssh *s, int ok, const void *data, size_t len)
{
	uint8_t type = ok ? SSH_REQUEST_SUCCESS : SSH_REQUEST_FAILURE;
	int rc;

	pthread_mutex_lock(&s->mtx);
	rc = len <= SSH_REQUEST_MAX ? ssh_push_locked(s, &type, 1, data, len) : -1;
	pthread_mutex_unlock(&s->mtx);
	ssh_kick(s);
	return rc;
}

int
ssh_channel_request(struct stream *base, const char *type, int want_reply, const void *data, size_t len)
{
	struct channel *c = (struct channel *)(void *)base;
	struct ssh *s = c->ssh;
	uint8_t head[128];
	struct buf b;
	int rc = -1;

	pthread_mutex_lock(&s->mtx);
	buf_init(&b, head, sizeof(head));
	ssh_put_head(&b, SSH_CHANNEL_REQUEST, c);
	ssh_put_cstr(&b, type);
	buf_char(&b, want_reply != 0);
	if (!b.full && !c->opening && !c->asked && !c->close_sent && !c->close_seen && !c->dead)
		rc = ssh_push_locked(s, b.p, b.len, data, len);
	pthread_mutex_unlock(&s->mtx);
	ssh_kick(s);
	return rc;
}

void
ssh_rekey(struct ssh *s)
{
	pthread_mutex_lock(&s->mtx);
	sshtrans_rekey(&s->t);
	pthread_mutex_unlock(&s->mtx);
	ssh_kick(s);
}

void
ssh_disconnect(struct ssh *s, int reason, const char *text)
{
	pthread_mutex_lock(&s->mtx);
	sshtrans_disconnect(&s->t, reason, text);
	pthread_mutex_unlock(&s->mtx);
	ssh_kick(s);
}
