/* wspipe.c: a WebSocket connection as a pipe; see wspipe.h. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "random.h"
#include "wspipe.h"

static const char is_text[] = "unexpected frame type read (expected MessageBinary): MessageText";

void
wspipe_init(struct wspipe *w, struct conn *c, int client, const void *early, size_t nearly)
{
	memset(w, 0, offsetof(struct wspipe, in));
	assert(nearly <= sizeof(w->in));
	w->conn = c;
	w->client = client;
	w->why = "";
	w->progress = clock_ms(CLOCK_STEADY);
	memcpy(w->in, early, nearly);
	w->nin = nearly;
}

static void
fail(struct wspipe *w, int code, const char *why)
{
	wspipe_close(w, code, why);
	w->end = WSPIPE_FAILED;
	w->code = code;
	w->why = why;
}

static void
lose(struct wspipe *w, const char *why)
{
	if (w->end == WSPIPE_OPEN || w->end == WSPIPE_HALF) {
		w->end = WSPIPE_LOST;
		w->why = why;
	}
	w->out_at = w->nout = 0;
	w->close_sent = 1;	/* as good as */
}

/* What comes. */

int
wspipe_coming(const struct wspipe *w)
{
	return w->end == WSPIPE_OPEN || w->end == WSPIPE_HALF;
}

/* A whole control frame is in ctl. */
static void
control(struct wspipe *w)
{
	const char *why = "";
	int code;

	if (w->hdr.opcode == WS_PING) {	/* the last one's answer will do (5.5.3) */
		memcpy(w->pong, w->ctl, w->nctl);
		w->npong = w->nctl;
		w->has_pong = 1;
	} else if (w->hdr.opcode == WS_CLOSE) {
		if ((code = ws_close_parse(w->ctl, w->nctl, &why)) < 0) {
			fail(w, -code, why);
			return;
		}
		w->end = WSPIPE_CLOSED;
		w->code = code;
		if (w->nctl > 2)
			memcpy(w->reason, w->ctl + 2, w->nctl - 2);
		w->reason[w->nctl > 2 ? w->nctl - 2 : 0] = '\0';
	}
}

/* A frame header at in[raw..): 1, or 0: it is not whole, or wrong. */
static int
header(struct wspipe *w)
{
	const char *why = "";
	int n, rc;

	if ((n = ws_hdr_parse(&w->hdr, w->in + w->raw, w->nin - w->raw, &why)) == 0)
		return 0;
	if (n > 0 && w->hdr.masked == (w->client != 0)) {	/* 5.1 */
		n = -WS_PROTOCOL_ERROR;
		why = w->client ? "masked frame from the server" : "unmasked frame from the client";
	}
	if (n > 0 && (rc = ws_sequence(&w->in_message, &w->hdr, &w->opcode, &why)) < 0)
		n = rc;
	if (n > 0 && w->hdr.opcode == WS_TEXT) {
		n = -WS_UNSUPPORTED;
		why = is_text;
	}
	if (n < 0) {
		fail(w, -n, why);
		return 0;
	}
	if (w->hdr.opcode == WS_BINARY)
		w->bytes = 0;
	w->raw += (size_t)n;
	w->left = w->hdr.len;
	w->mask_at = w->nctl = 0;
	w->in_frame = 1;
	return 1;
}

/* What is there of a frame's payload. 0: none of it is. */
static int
payload(struct wspipe *w)
{
	uint8_t *p = w->in + w->raw;
	size_t n = w->nin - w->raw;

	if (n > w->left)
		n = (size_t)w->left;
	if (n == 0 && w->left > 0)
		return 0;
	if (w->hdr.masked)
		w->mask_at = ws_mask(p, p, n, w->hdr.key, w->mask_at);
	w->raw += n;
	w->left -= n;
	w->in_frame = w->left > 0;
	if (w->hdr.opcode & 8) {
		memcpy(w->ctl + w->nctl, p, n);
		w->nctl += n;
		if (!w->in_frame)
			control(w);
		return 1;
	}
	w->bytes |= n > 0;
	if (n > 0 && w->end == WSPIPE_HALF) {
		fail(w, WS_PROTOCOL_ERROR, "bytes behind the end of a direction");
		return 0;
	}
	if (w->ndata != w->raw - n)
		memmove(w->in + w->ndata, p, n);
	w->ndata += n;
	if (!w->in_frame && w->hdr.fin && !w->bytes && w->halves)
		w->end = WSPIPE_HALF;
	return 1;
}

size_t
wspipe_get(struct wspipe *w, uint8_t **p)
{
	ssize_t n;

	for (;;) {
		while (wspipe_coming(w) && (w->in_frame ? payload(w) : header(w)))
			;
		*p = w->in + w->data;
		if (w->data < w->ndata || !wspipe_coming(w))
			return w->ndata - w->data;
		memmove(w->in, w->in + w->raw, w->nin - w->raw);	/* part of a header */
		w->nin -= w->raw;
		w->raw = w->data = w->ndata = 0;
		n = conn_read(w->conn, w->in + w->nin, sizeof(w->in) - w->nin);
		if (n == -1 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			w->eof = n == 0;
			lose(w, n == 0 ? "connection closed" : "connection lost");
			return 0;
		}
		w->nin += (size_t)n;
		w->heard = 1;
	}
}

void
wspipe_used(struct wspipe *w, size_t n)
{
	w->data += n;
}

/* What goes. */

/* Make a frame of the n bytes of payload that stand at out + WS_HDR_MAX. */
static void
frame(struct wspipe *w, uint8_t opcode, size_t n)
{
	uint8_t head[WS_HDR_MAX], *p = w->out + WS_HDR_MAX;
	struct ws_hdr h;
	size_t len;

	memset(&h, 0, sizeof(h));
	h.fin = 1;
	h.opcode = opcode;
	h.len = n;
	h.masked = w->client != 0;
	if (w->client) {
		if (random_bytes(h.key, sizeof(h.key)) == -1) {
			lose(w, "no random bytes can be had");
			return;
		}
		ws_mask(p, p, n, h.key, 0);
	}
	len = ws_hdr_write(head, &h);
	w->out_at = WS_HDR_MAX - len;
	memcpy(w->out + w->out_at, head, len);
	w->nout = WS_HDR_MAX + n;
}

/* The Close, when nothing is before it. */
static void
put_close(struct wspipe *w)
{
	uint8_t *p = w->out + WS_HDR_MAX;
	size_t n = strlen(w->close_reason);

	w->close_sent = 1;
	if (w->close_code == WS_NO_STATUS) {
		frame(w, WS_CLOSE, 0);
		return;
	}
	p[0] = (uint8_t)(w->close_code >> 8);
	p[1] = (uint8_t)w->close_code;
	memcpy(p + 2, w->close_reason, n);
	frame(w, WS_CLOSE, 2 + n);
}

/* Something that is owed becomes a frame. 0: nothing is. */
static int
put_owed(struct wspipe *w)
{
	uint8_t *p = w->out + WS_HDR_MAX;

	if (w->close_sent)
		return 0;
	if (w->has_pong) {
		w->has_pong = 0;
		memcpy(p, w->pong, w->npong);
		frame(w, WS_PONG, w->npong);
	} else if (w->ping) {
		w->ping = 0;
		w->pinged = 1;
		frame(w, WS_PING, (size_t)snprintf((char *)p, 24, "%llu", (unsigned long long)++w->pings));
	} else if (w->half == 1) {
		w->half = 2;
		frame(w, WS_BINARY, 0);
	} else if (w->close_code != 0)
		put_close(w);
	else
		return 0;
	return 1;
}

int
wspipe_flush(struct wspipe *w)
{
	struct iovec iov;
	ssize_t n;

	if (w->end == WSPIPE_LOST)
		return -1;
	while (w->out_at < w->nout || put_owed(w)) {
		iov.iov_base = w->out + w->out_at;
		iov.iov_len = w->nout - w->out_at;
		n = conn_writev(w->conn, &iov, 1);
		if (n == -1 && errno == EAGAIN) {
			if (!w->blocked)
				w->progress = clock_ms(CLOCK_STEADY);
			w->blocked = 1;
			return 0;
		}
		if (n == -1) {
			lose(w, "connection lost");
			return -1;
		}
		w->out_at += (size_t)n;
		w->heard |= w->blocked;	/* it takes bytes: that is an answer, too */
		w->blocked = 0;
	}
	return 1;
}

uint8_t *
wspipe_room(struct wspipe *w)
{
	if (w->close_code != 0 || w->half != 0 || wspipe_flush(w) != 1)
		return NULL;
	return w->out + WS_HDR_MAX;
}

void
wspipe_put(struct wspipe *w, size_t n)
{
	frame(w, WS_BINARY, n);
	wspipe_flush(w);
}

void
wspipe_half(struct wspipe *w)
{
	if (w->half == 0)
		w->half = 1;
	wspipe_flush(w);
}

void
wspipe_close(struct wspipe *w, int code, const char *reason)
{
	if (w->close_code != 0)
		return;
	w->close_code = code;
	snprintf(w->close_reason, sizeof(w->close_reason), "%s", reason);
}

void
wspipe_answer(struct wspipe *w)
{
	wspipe_close(w, w->code, w->reason);
}

/* Time. */

int
wspipe_events(struct wspipe *w)
{
	int events = w->out_at < w->nout ? POLLOUT : 0;

	if (wspipe_coming(w) && w->data == w->ndata)
		return events | POLLIN;
	w->paused = 1;
	return events != 0 ? events : POLLERR;
}

/* Ping; nothing heard since the last one is the end. */
static void
ping(struct wspipe *w, int64_t now)
{
	int deaf = w->pinged && !w->heard && !w->paused && !w->blocked;
	int overslept = clock_overslept(now, w->next_ping, w->ping_ms);

	w->next_ping = now + w->ping_ms;
	if (deaf && overslept)
		return;
	if (deaf)
		lose(w, "no answer to ping");
	w->pinged = w->heard = w->paused = 0;
	w->ping = 1;
	wspipe_flush(w);
}

int64_t
wspipe_tick(struct wspipe *w, int64_t now)
{
	int64_t until = CONN_FOREVER;

	if (w->blocked && w->stall_ms != 0) {
		if (now >= w->progress + w->stall_ms)
			lose(w, "nothing was taken");
		until = w->progress + w->stall_ms;
	}
	if (w->ping_ms == 0)
		return until;
	if (w->next_ping == 0)
		w->next_ping = now + w->ping_ms;
	if (now >= w->next_ping)
		ping(w, now);
	return w->next_ping < until ? w->next_ping : until;
}
