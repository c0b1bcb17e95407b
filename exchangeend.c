/* exchangeend.c: how an HTTP exchange ends, and what the caller is told; see request.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "clock.h"
#include "daemon.h"
#include "exchange.h"
#include "log.h"
#include "request.h"

/* What an error says beside its text. */
static const char *
error_fields(struct exchange *x, int status)
{
	const struct session *s = x->holder != NULL ? x->holder->session : NULL;

	if (status == 429 || status == 503)
		return "Retry-After: 1\r\n";
	if (status == 401)
		return "WWW-Authenticate: Basic realm=\"tunnel\", charset=\"UTF-8\"\r\n";
	if (status != 405 || s == NULL)
		return "";
	snprintf(x->told, sizeof(x->told), "Allow: %s\r\n", s->methods);
	return x->told;
}

/* The same behind those that every answer of the tunnel's gets. */
static const char *
all_fields(struct exchange *x, int status)
{
	const char *own = error_fields(x, status);
	size_t n = strlen(x->cors), k = strlen(own);

	if (n == 0 || n + k >= sizeof(x->cors))
		return own;
	memcpy(x->cors + n, own, k + 1);
	return x->cors;
}

/* The words of whose dialect the tunnel is in, or NULL. */
static const char *
error_words(const struct exchange *x, const struct ending *e)
{
	struct registry *r = x->c->d->registry;
	struct session *s = x->to->proxy != NULL ? NULL : x->holder != NULL ? x->holder->session : registry_holder(r, x->to->name);
	const char *words = s != NULL && s->dialect->words != NULL ? s->dialect->words(e->status, e->why) : NULL;

	if (s != NULL && x->holder == NULL)
		session_unref(r, s);
	return words;
}

/* 1 if bytes of the response are left unsent. */
static int
finish_stream(struct exchange *x, enum verdict v)
{
	int unsent;

	stream_flush(x->s);
	if (x->finned && v == V_DONE)
		;
	else if (v == V_DONE && request_out(x))
		stream_fin(x->s);
	else
		stream_reset(x->s);
	stream_leave(x->s);
	unsent = x->pump.q.len > 0;
	pump_end(&x->pump);
	free(x->partial);
	return unsent;
}

/* Show the tunnel's client what has become of the request. */
static void
show(const struct exchange *x, const struct ending *e)
{
	struct session *s = x->holder->session;
	int status = x->status != 0 ? x->status : e->v == V_ERROR ? e->status : ACCESS_LEFT;

	s->dialect->seen(s, x->seen, (unsigned)status, (x->finned ? x->heard : clock_ms(CLOCK_STEADY)) - x->began);
}

int
exchange_end(struct exchange *x, struct ending e)
{
	struct caller *c;
	const char *fields = "", *words = NULL;
	int unsent = 0;

	if (e.v == V_WAIT)
		return 1;
	c = x->c;
	if (e.v != V_DONE)	/* the reader has given it when the head came */
		request_give_slot(x);
	if (x->s != NULL)
		unsent = finish_stream(x, e.v);
	if (e.v == V_ERROR) {	/* while it is known whose they are */
		fields = all_fields(x, e.status);
		words = error_words(x, &e);
	}
	if (x->seen[0] != '\0')
		show(x, &e);
	if (x->holder != NULL)
		registry_done(c->d->registry, x->holder);
	if (x->counted)
		limit_give(c->d->exchanges, &x->addr);
	if (e.v == V_ERROR && (x->status != 0 || unsent))
		e.v = V_CUT;	/* a head has gone out, or a part of one: an error behind it would be another's answer */
	if (e.why != NULL && e.v != V_ERROR)
		log_line(LOG_INFO, "exchange_failed", "name", x->to->name, "reason", e.why,
		    "peer", c->peer, "id", c->request_id, (char *)NULL);
	c->access.status = x->status;
	c->access.bytes = x->s != NULL && x->pump.sent > x->heads ? x->pump.sent - x->heads : 0;
	c->access.ended = x->finned ? x->heard : 0;	/* its thread may have slept on */
	/* a half-closed caller has said all it will: what it sent ahead is still answered */
	c->close = !x->keep || !x->req.done || x->closing || (x->eof != 0 && c->at == c->len);
	switch (e.v) {
	case V_ERROR:
		if (words != NULL)
			caller_plain(c, e.status, words, fields);
		else
			caller_error(c, e.status, e.text, e.why, fields);
		break;
	case V_CUT:
		/* without framing of its own only a reset tells that the body is not whole */
		c->abort = c->minor == 0 || x->status == 101 || x->to->connect;
		c->close = c->cut = 1;
		break;
	case V_LEFT:
		c->close = 1;
		c->abort = x->to->connect;		/* it is no end that the server has made */
		break;
	default:
		break;
	}
	return 0;
}
