/* sshin.c: the connection protocol, the reader's side; see ssh.h. */
#include <stdlib.h>
#include <string.h>

#include "sshint.h"

enum event { FIN, RESET, WRITABLE };

static int
broken(const char **why, const char *what)
{
	return sshtrans_fail(why, SSH_PROTOCOL_ERROR, what);
}

static void
tell(struct channel *c, enum event e)
{
	pthread_mutex_lock(&c->base.mtx);
	if (c->base.ops != NULL) {
		if (e == FIN)
			c->base.ops->fin(c->base.arg);
		else if (e == RESET)
			c->base.ops->reset(c->base.arg);
		else
			c->base.ops->writable(c->base.arg);
	}
	pthread_mutex_unlock(&c->base.mtx);
}

/* Give the reader's reference back, and the table's if nothing can happen to c any more. */
static void
done_with(struct channel *c)
{
	pthread_mutex_lock(&c->ssh->mtx);
	if (ssh_retire_locked(c))
		c->refs--;
	ssh_unref_unlock(c);
}

/* The open channel that a message is for, with a reference. NULL: there is none. */
static struct channel *
find(struct ssh *s, struct ssh_in *in)
{
	uint32_t id = ssh_get_u32(in);
	struct channel *c = NULL;

	pthread_mutex_lock(&s->mtx);
	if (!in->bad && id < s->ntable)
		c = s->table[id];
	if (c != NULL && (c->opening || c->asked || c->close_seen))
		c = NULL;
	if (c != NULL)
		c->refs++;
	pthread_mutex_unlock(&s->mtx);
	return c;
}

static struct str
rest(const struct ssh_in *in)
{
	struct str s;

	s.p = (const char *)in->p;
	s.len = in->left;
	return s;
}

/* Requests */

static int
global(struct ssh *s, struct ssh_in *in, const char **why)
{
	struct str name = ssh_get_str(in);
	int want = ssh_get_bool(in);

	if (in->bad)
		return broken(why, "GLOBAL_REQUEST is malformed");
	s->ops->global(s->arg, name, rest(in), want);
	return 0;
}

static int
reply(struct ssh *s, struct ssh_in *in, int ok, const char **why)
{
	int asked;

	pthread_mutex_lock(&s->mtx);
	if ((asked = s->asked) > 0)
		s->asked--;
	pthread_mutex_unlock(&s->mtx);
	if (asked == 0)
		return broken(why, "reply to no request");
	s->ops->reply(s->arg, ok, rest(in));
	return 0;
}

static int
channel_request(struct ssh *s, struct channel *c, struct ssh_in *in, const char **why)
{
	struct str type = ssh_get_str(in);
	uint8_t head[5];
	struct buf b;
	int want = ssh_get_bool(in), ok, rc = 0;

	if (in->bad)
		return broken(why, "CHANNEL_REQUEST is malformed");
	ok = s->ops->request(s->arg, &c->base, type, rest(in));
	if (!want)
		return 0;
	pthread_mutex_lock(&s->mtx);
	buf_init(&b, head, sizeof(head));
	buf_char(&b, ok ? SSH_CHANNEL_SUCCESS : SSH_CHANNEL_FAILURE);
	ssh_put_u32(&b, c->peer_id);
	if (!c->close_sent)
		rc = ssh_push_locked(s, b.p, b.len, NULL, 0);
	pthread_mutex_unlock(&s->mtx);
	return rc == -1 ? broken(why, "the other side does not read what it asks for") : 0;
}

static int
ping(struct ssh *s, struct ssh_in *in, const char **why)
{
	uint8_t head[5];
	struct buf b;
	struct str data = ssh_get_str(in);
	int rc;

	if (!ssh_in_whole(in))
		return broken(why, "PING is malformed");
	buf_init(&b, head, sizeof(head));
	buf_char(&b, (char)SSH_PONG);
	ssh_put_u32(&b, (uint32_t)data.len);
	pthread_mutex_lock(&s->mtx);
	rc = ssh_push_locked(s, b.p, b.len, data.p, data.len);
	pthread_mutex_unlock(&s->mtx);
	return rc == -1 ? broken(why, "the other side does not read what it asks for") : 0;
}

/* Opening */

static int
open_asked(struct ssh *s, struct ssh_in *in, const char **why)
{
	struct str type = ssh_get_str(in);
	struct channel *c;
	uint32_t peer_id = ssh_get_u32(in), window = ssh_get_u32(in), packet = ssh_get_u32(in);
	int refused = SSH_OPEN_SHORTAGE, rc = 0;

	if (in->bad || packet == 0)
		return broken(why, "CHANNEL_OPEN is malformed");
	if ((c = ssh_new_channel(s)) != NULL) {
		c->asked = 1;
		c->peer_id = peer_id;
		c->peer_packet = packet;
		c->send_window = window;
		pthread_mutex_lock(&s->mtx);
		if (ssh_add_locked(s, c) != 0) {
			ssh_drop_channel(c);
			c = NULL;
		}
		pthread_mutex_unlock(&s->mtx);
	}
	if (c != NULL) {
		if ((refused = s->ops->open(s->arg, &c->base, type, rest(in))) == 0)
			return 0;
		pthread_mutex_lock(&s->mtx);
		c->asked = 0;
		c->dead = 1;
		if (ssh_retire_locked(c))
			c->refs--;
		ssh_unref_unlock(c);	/* the user's */
	}
	pthread_mutex_lock(&s->mtx);
	rc = ssh_refuse_locked(s, peer_id, (enum ssh_open_reason)refused, "refused");
	pthread_mutex_unlock(&s->mtx);
	return rc == -1 ? broken(why, "the other side does not read what it asks for") : 0;
}

/* The answer to our CHANNEL_OPEN. */
static int
open_answered(struct ssh *s, struct ssh_in *in, int confirmed, const char **why)
{
	uint32_t id = ssh_get_u32(in), peer_id = 0, window = 0, packet = 1;
	struct channel *c;

	if (confirmed) {
		peer_id = ssh_get_u32(in);
		window = ssh_get_u32(in);
		packet = ssh_get_u32(in);
	}
	if (in->bad || packet == 0)
		return broken(why, "answer to CHANNEL_OPEN is malformed");
	pthread_mutex_lock(&s->mtx);
	c = id < s->ntable ? s->table[id] : NULL;
	if (c == NULL || !c->opening || c->unsent) {
		pthread_mutex_unlock(&s->mtx);
		return broken(why, "answer to no CHANNEL_OPEN");
	}
	c->refs++;
	c->opening = 0;
	c->peer_id = peer_id;
	c->send_window = window;
	c->peer_packet = packet;
	if (!confirmed) {
		c->dead = 1;
		c->owe_close = 0;
		queue_free(&c->q);
		pthread_cond_broadcast(&c->room);
	}
	ssh_owe_channel_locked(c);
	pthread_mutex_unlock(&s->mtx);
	tell(c, confirmed ? WRITABLE : RESET);
	done_with(c);
	return 0;
}

/* Open channels */

static int
adjust(struct channel *c, struct ssh_in *in, const char **why)
{
	uint32_t n = ssh_get_u32(in);
	int opened;

	if (!ssh_in_whole(in))
		return broken(why, "WINDOW_ADJUST is malformed");
	pthread_mutex_lock(&c->ssh->mtx);
	if (n > UINT32_MAX - c->send_window) {
		pthread_mutex_unlock(&c->ssh->mtx);
		return broken(why, "window beyond 2^32");
	}
	c->send_window += n;
	opened = c->blocked && n > 0;
	if (opened)
		c->blocked = 0;
	pthread_mutex_unlock(&c->ssh->mtx);
	if (opened)
		tell(c, WRITABLE);
	return 0;
}

static int
data(struct channel *c, struct ssh_in *in, int extended, const char **why)
{
	struct str text;
	int over, deaf;

	if (extended)
		ssh_get_u32(in);
	text = ssh_get_str(in);
	if (!ssh_in_whole(in))
		return broken(why, "CHANNEL_DATA is malformed");
	pthread_mutex_lock(&c->ssh->mtx);
	over = text.len > c->recv_window;
	if (!over)
		c->recv_window -= (uint32_t)text.len;
	if (!over && !extended && c->tally != NULL)
		c->tally[0] += text.len;
	deaf = c->dead || c->eof_seen;
	pthread_mutex_unlock(&c->ssh->mtx);
	if (over)
		return broken(why, "window overrun");
	if (extended)
		stream_credit(&c->base, text.len, 0);	/* nobody reads it: it must not use the window up */
	else if (!deaf) {
		pthread_mutex_lock(&c->base.mtx);
		if (c->base.ops != NULL)
			c->base.ops->data(c->base.arg, (const uint8_t *)text.p, text.len);
		pthread_mutex_unlock(&c->base.mtx);
	}
	return 0;
}

static int
ending(struct channel *c, struct ssh_in *in, int closed, const char **why)
{
	int news;

	if (!ssh_in_whole(in))
		return broken(why, closed ? "CHANNEL_CLOSE is malformed" : "CHANNEL_EOF is malformed");
	pthread_mutex_lock(&c->ssh->mtx);
	news = !c->eof_seen && !c->dead;
	c->eof_seen = 1;
	if (closed) {
		c->close_seen = 1;
		queue_free(&c->q);
		pthread_cond_broadcast(&c->room);
		closed = !c->dead;	/* a writer must learn of it */
	}
	if (!c->close_sent && (c->close_seen || c->eof_sent))
		c->owe_close = 1;
	ssh_owe_channel_locked(c);
	pthread_mutex_unlock(&c->ssh->mtx);
	if (news)
		tell(c, FIN);
	if (closed)
		tell(c, WRITABLE);
	return 0;
}

static int
channel_message(struct ssh *s, unsigned type, struct ssh_in *in, const char **why)
{
	struct channel *c = find(s, in);
	int rc;

	if (c == NULL)
		return broken(why, "message for a channel that is not open");
	switch (type) {
	case SSH_CHANNEL_WINDOW_ADJUST:
		rc = adjust(c, in, why);
		break;
	case SSH_CHANNEL_DATA:
	case SSH_CHANNEL_EXTENDED_DATA:
		rc = data(c, in, type == SSH_CHANNEL_EXTENDED_DATA, why);
		break;
	case SSH_CHANNEL_EOF:
	case SSH_CHANNEL_CLOSE:
		rc = ending(c, in, type == SSH_CHANNEL_CLOSE, why);
		break;
	case SSH_CHANNEL_REQUEST:
		rc = channel_request(s, c, in, why);
		break;
	default:		/* SUCCESS, FAILURE: what we ask a channel for needs no answer */
		rc = 0;
	}
	done_with(c);
	return rc;
}

static int
unknown(struct ssh *s, const char **why)
{
	int rc;

	if (s->for_go)
		return broken(why, "message of an unknown number");
	pthread_mutex_lock(&s->mtx);
	rc = sshtrans_unimplemented(&s->t, why);
	pthread_mutex_unlock(&s->mtx);
	return rc;
}

static int
connection_message(struct ssh *s, const uint8_t *msg, size_t n, const char **why)
{
	struct ssh_in in;
	unsigned type = msg[0];

	ssh_in_init(&in, msg + 1, n - 1);
	switch (type) {
	case SSH_GLOBAL_REQUEST:
		return global(s, &in, why);
	case SSH_REQUEST_SUCCESS:
	case SSH_REQUEST_FAILURE:
		return reply(s, &in, type == SSH_REQUEST_SUCCESS, why);
	case SSH_CHANNEL_OPEN:
		return open_asked(s, &in, why);
	case SSH_CHANNEL_OPEN_CONFIRMATION:
	case SSH_CHANNEL_OPEN_FAILURE:
		return open_answered(s, &in, type == SSH_CHANNEL_OPEN_CONFIRMATION, why);
	case SSH_PING:
		return ping(s, &in, why);
	default:
		if (type > SSH_CHANNEL_OPEN_FAILURE && type <= SSH_CHANNEL_FAILURE)
			return channel_message(s, type, &in, why);
		return unknown(s, why);
	}
}

/* Ask the user what the transport wants to know. */
static int
ask(struct ssh *s, enum sshtrans_event what, const char **why)
{
	const struct sshtrans_ask *a = &s->t.ask;	/* nobody else looks at it */
	int yes, rc;

	yes = what == SSHTRANS_HOST_KEY ? s->ops->host_key(s->arg, a->blob) : s->ops->auth(s->arg, a->user, a->blob);
	pthread_mutex_lock(&s->mtx);
	rc = sshtrans_answer(&s->t, yes, why);
	pthread_mutex_unlock(&s->mtx);
	return rc;
}

static int
message(struct ssh *s, const uint8_t *msg, size_t n, const char **why)
{
	int rc;

	pthread_mutex_lock(&s->mtx);
	rc = sshtrans_message(&s->t, msg, n, why);
	pthread_mutex_unlock(&s->mtx);
	if (rc == SSHTRANS_HOST_KEY || rc == SSHTRANS_AUTH)
		rc = ask(s, (enum sshtrans_event)rc, why);
	switch (rc) {
	case SSHTRANS_MESSAGE:
		return connection_message(s, msg, n, why);
	case SSHTRANS_READY:
		s->ops->ready(s->arg);
		return 0;
	case SSHTRANS_BYE:
		s->left = 1;
		return sshtrans_fail(why, SSH_BY_APPLICATION, "disconnected by the other side");
	default:
		return rc;
	}
}

int
ssh_input(struct ssh *s, uint8_t *buf, size_t len, const char **why)
{
	uint8_t *msg;
	size_t n;
	long taken;
	int rc = 0;

	while (len > 0 && rc == 0) {
		if ((taken = sshtrans_take(&s->t, buf, len, &msg, &n, why)) < 0) {
			rc = (int)taken;
			break;
		}
		buf += taken;
		len -= (size_t)taken;
		if (msg != NULL && (rc = message(s, msg, n, why)) > 0)
			rc = 0;
	}
	s->failed = -rc;
	return rc;
}

int
ssh_failed(struct ssh *s)
{
	return s->failed;
}

int
ssh_left(struct ssh *s)
{
	return s->left;
}

int
ssh_forged(struct ssh *s)
{
	return s->t.forged;
}

const char *
ssh_peer(struct ssh *s)
{
	return s->t.peer;
}

const char *
ssh_user(struct ssh *s)
{
	return s->t.user;
}

struct str
ssh_user_key(struct ssh *s)
{
	struct str key;

	key.p = (const char *)s->t.key;
	key.len = s->t.nkey;
	return key;
}

void
ssh_end(struct ssh *s)
{
	struct channel *c;
	uint32_t i;

	pthread_mutex_lock(&s->mtx);
	s->ended = 1;
	s->owed_first = NULL;
	s->owed_last = &s->owed_first;
	for (i = 0; i < s->ntable; i++) {
		if ((c = s->table[i]) == NULL)
			continue;
		c->dead = 1;
		c->owed = 0;
		c->refs++;
		queue_free(&c->q);
		pthread_cond_broadcast(&c->room);
		pthread_mutex_unlock(&s->mtx);
		tell(c, RESET);
		done_with(c);
		pthread_mutex_lock(&s->mtx);
	}
	pthread_mutex_unlock(&s->mtx);
}
