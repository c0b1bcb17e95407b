/* msglink.c: exchanges in whole messages over a link; see msglink.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "log.h"
#include "msglink.h"

enum { GROW_MIN = 65536 };

/* Messages in, in the reader. */

static void
drop_input(struct msglink *m)
{
	free(m->in);
	share_give(&m->share, m->cap);
	m->in = NULL;
	m->len = m->cap = 0;
}

static int
gather(struct msglink *m, const uint8_t *p, size_t n)
{
	size_t cap = m->cap == 0 ? GROW_MIN : m->cap;
	char *grown;

	while (cap < m->len + n)
		cap = cap < m->max / 2 ? cap * 2 : m->max;
	if (cap > m->cap) {
		if (!share_take(&m->share, cap - m->cap))
			return -1;
		if ((grown = realloc(m->in, cap)) == NULL) {
			share_give(&m->share, cap - m->cap);
			return -1;
		}
		m->in = grown;
		m->cap = cap;
	}
	memcpy(m->in + m->len, p, n);
	m->len += n;
	return 0;
}

/* All has been gathered: what was taken to grow into is given back. */
static void
trim(struct msglink *m)
{
	char *fit = realloc(m->in, m->len);

	if (fit == NULL)
		return;
	m->in = fit;
	share_give(&m->share, m->cap - m->len);
	m->cap = m->len;
}

/* There is no room for this answer: its request fails, and no other. */
static void
skip(struct msglink *m, const uint8_t *p, size_t n)
{
	char id[MESSAGE_ID_LEN + 1];

	if (m->ops->id(m->len > 0 ? m->in : (const char *)p, m->len > 0 ? m->len : n, id))
		messages_refuse(m->messages, id);
	drop_input(m);
	m->skip = 1;
}

static int
on_data(void *arg, uint8_t opcode, uint8_t *buf, size_t len, int fin, const char **why)
{
	struct msglink *m = arg;

	(void)opcode;		/* text or binary, all the same */
	(void)why;
	if (fin && m->len == 0 && !m->skip)
		m->ops->take(m->arg, (char *)buf, len);
	else if (!m->skip && gather(m, buf, len) == -1)
		skip(m, buf, len);
	else if (fin && !m->skip) {
		trim(m);
		m->ops->take(m->arg, m->in, m->len);
		drop_input(m);
	}
	if (fin)
		m->skip = 0;
	return 0;
}

static const struct link_ops link_ops = { on_data, NULL, NULL };

/* Requests out, on the callers' threads. */

struct parcel {			/* a request on its way; may outlive who sent it */
	struct link_parcel link;
	struct msglink *of;
	size_t charge;		/* of the session's share */
};

static void
release(struct link_parcel *link)
{
	struct parcel *p = (struct parcel *)(void *)link;

	free(p->link.iov.iov_base);
	share_give(&p->of->share, p->charge);
	free(p);
}

static int
send_request(void *arg, const struct message *request, int64_t deadline)
{
	struct msglink *m = arg;
	struct parcel *p = malloc(sizeof(*p));
	char *text;
	int err;

	if (p == NULL)
		return -1;
	p->link.release = release;
	p->link.iov.iov_base = NULL;
	p->of = m;
	p->charge = BASE64_LEN(request->len);
	if (!share_take(&m->share, p->charge)) {
		free(p);
		errno = ENOMEM;
		return -1;
	}
	if (m->ops->encode(m->arg, request, &text, &p->link.iov.iov_len) == -1) {
		err = errno;
		release(&p->link);
		errno = err;
		return -1;
	}
	p->link.iov.iov_base = text;
	return link_send_parcel(m->link, WS_TEXT, &p->link, request, deadline);
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
	m->max = (size_t)conf->message_max;
	if ((m->messages = messages_new(send_request, idle, m, streams, &m->share)) == NULL)
		return -1;
	return (m->link = link_new(conn, conf, &link_ops, m, early, nearly)) != NULL ? 0 : -1;
}

static void
end(struct msglink *m)
{
	messages_end(m->messages);
	drop_input(m);
}

void
msglink_free(struct msglink *m)
{
	if (m->link != NULL)
		link_free(m->link);
	if (m->messages != NULL)
		messages_free(m->messages);
}

void
msglink_run(struct msglink *ml, struct registry *r, struct session *s)
{
	const char *why;
	char num[16];
	int code;

	if (!s->refused)
		log_line(LOG_INFO, "session_start", "dialect", s->dialect->name, "peer", s->peer,
		    "who", s->identity.who, (char *)NULL);
	code = link_run(ml->link, &why);
	if (!s->refused)
		registry_remove(r, s, code == WS_NORMAL || code == WS_NO_STATUS || code == WS_POLICY);
	end(ml);
	snprintf(num, sizeof(num), "%d", code);
	log_line(LOG_INFO, "session_end", "peer", s->peer, "who", s->identity.who,
	    "code", num, "reason", why, (char *)NULL);
	session_unref(r, s);
}
