/* msglink.c: exchanges in whole messages over a link; see msglink.h. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "daemon.h"
#include "log.h"
#include "msglink.h"
#include "parcel.h"

/* Messages in, in the reader. */

static int
on_data(void *arg, uint8_t opcode, uint8_t *buf, size_t len, int fin, const char **why)
{
	struct msglink *m = arg;
	char id[MESSAGE_ID_LEN + 1], *text;
	enum msgin_verdict verdict = msgin_take(&m->in, buf, len, fin, &text, &len);

	(void)why;
	if (verdict == MSGIN_MORE)
		return 0;
	if (verdict == MSGIN_WHOLE)
		m->ops->take(m->arg, opcode, text, len);
	else if (m->ops->id(text, len, id))	/* its request fails, and no other */
		messages_refuse(m->messages, id);
	msgin_drop(&m->in);
	return 0;
}

static void
rest(void *arg)
{
	struct msglink *m = arg;

	if (m->ops->rest != NULL)
		m->ops->rest(m->arg);
}

static const struct link_ops link_ops = { on_data, NULL, rest };

/* Requests out, on the callers' threads. */

static int
send_request(void *arg, const struct message *request, int64_t deadline)
{
	struct msglink *m = arg;
	struct parcel *p = parcel_new(&m->share, BASE64_LEN(request->len));
	char *text;

	if (p == NULL)
		return -1;
	if (m->ops->encode(m->arg, request, &text, &p->link.iov.iov_len) == -1)
		return parcel_drop(p);
	p->link.iov.iov_base = text;
	if (parcel_charge(p, p->link.iov.iov_len) == -1)
		return parcel_drop(p);
	return m->ops->send != NULL ? m->ops->send(m->arg, &p->link, request, deadline) :
	    link_send_parcel(m->link, WS_TEXT, &p->link, request, deadline);
}

static void
idle(void *arg)
{
	struct msglink *m = arg;

	if (m->ops->idle != NULL)
		m->ops->idle(m->arg);
}

int
msglink_open(struct msglink *m, const struct msglink_ops *ops, void *arg, const struct conn *conn,
    const struct link_conf *conf, int streams, struct budget *budget, const void *early, size_t nearly)
{
	m->ops = ops;
	m->arg = arg;
	m->share.of = budget;
	m->in.share = &m->share;
	m->in.max = (size_t)conf->message_max;
	if ((m->messages = messages_new(ops->ids, send_request, idle, m, streams, &m->share)) == NULL)
		return -1;
	return (m->link = link_new(conn, conf, &link_ops, m, early, nearly)) != NULL ? 0 : -1;
}

static void
end(struct msglink *m)
{
	messages_end(m->messages);
	msgin_drop(&m->in);
}

void
msglink_free(struct msglink *m)
{
	if (m->link != NULL)
		link_free(m->link);
	if (m->messages != NULL)
		messages_free(m->messages);
}

/* The dialect's functions that are all the same. */

static struct msglink *
msglink_of(struct session *s)
{
	return (struct msglink *)(void *)((char *)s - offsetof(struct msglink, session));
}

struct stream *
msglink_stream(struct session *s, uint64_t *tally, int64_t deadline)
{
	(void)deadline;
	return messages_open(msglink_of(s)->messages, tally);
}

void
msglink_tally(struct session *s, const uint64_t from[2], uint64_t to[2])
{
	messages_tally(msglink_of(s)->messages, from, to);
}

int
msglink_alive(struct session *s, int64_t deadline)
{
	return link_probe(msglink_of(s)->link, deadline);
}

void
msglink_run(struct session *s)
{
	struct msglink *ml = msglink_of(s);
	struct registry *r = ml->d->registry;
	const char *why;
	char num[16];
	int code;

	if (!s->refused)
		log_line(LOG_INFO, "session_start", "dialect", s->dialect->name, "peer", s->peer,
		    "who", s->identity.who, (char *)NULL);
	code = link_run(ml->link, &why);
	if (!s->refused)
		registry_remove(r, s, s->dialect->brief || code == WS_NORMAL || code == WS_NO_STATUS || code == WS_POLICY);
	if (ml->ops->over != NULL)
		ml->ops->over(ml->arg);
	end(ml);
	snprintf(num, sizeof(num), "%d", code);
	log_line(LOG_INFO, "session_end", "peer", s->peer, "who", s->identity.who,
	    "code", num, "reason", why, (char *)NULL);
	session_unref(r, s);
}
