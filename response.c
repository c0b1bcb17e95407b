/* response.c: the response of an exchange, in the session's reader; see exchange.h. */
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "clock.h"
#include "exchange.h"
#include "rewrite.h"

/* All of this runs with the stream's mutex held. */

/* The owner has something to do. */
static void
wake_locked(struct exchange *x)
{
	x->lazy = 0;
	pump_wake_locked(&x->pump);
}

/* The final head has come, now, or (0) never will. */
static void
give_slot_locked(struct exchange *x, int64_t now)
{
	if (x->slot != 0)
		pending_give(x->c->d->pending, x->slot, now);
	x->slot = 0;
}

static void
bad_locked(struct exchange *x, const char *why)
{
	if (x->res == RES_HEAD)
		x->res = RES_BAD;
	else if (x->res == RES_BODY || x->res == RES_RAW)
		x->res = RES_CUT;
	else
		return;
	x->why = why;
	give_slot_locked(x, 0);
	wake_locked(x);
}

static void
done_locked(struct exchange *x)
{
	x->res = RES_DONE;
	if (x->lazy && !x->closing && x->pump.q.len == 0 && !x->pump.failed) {
		x->finned = 1;
		stream_fin_lazily(x->s);
	} else
		wake_locked(x);
}

/* Pass body bytes on. lead: bytes to send before them (the head), or none. */
static void
body_locked(struct exchange *x, struct str lead, const char *p, size_t len, size_t lead_taken)
{
	struct iovec iov[HTTP_IOV_MAX + 1];
	struct http_out out;
	const char *why;
	long n = 0;
	int k;

	do {
		k = 0;
		out.n = 0;
		if (lead.len > 0) {
			iov[k].iov_base = (char *)(uintptr_t)lead.p;
			iov[k++].iov_len = lead.len;
		}
		n = 0;
		if (len > 0 && !x->body.done && (n = http_body_take(&x->body, p, len, &out, &why)) < 0) {
			if (lead.len > 0) {	/* the head has not gone out: 502 can still be said */
				x->res = RES_HEAD;
				x->status = 0;
			}
			bad_locked(x, why);
			return;
		}
		memcpy(iov + k, out.iov, (size_t)out.n * sizeof(iov[0]));
		pump_put_locked(&x->pump, iov, k + out.n, lead_taken + (size_t)n);
		lead.len = lead_taken = 0;
		p += n;
		len -= (size_t)n;
	} while (len > 0 && !x->body.done);
	if (x->body.done)
		done_locked(x);
}

static void
raw_locked(struct exchange *x, struct str lead, const char *p, size_t len, size_t lead_taken)
{
	struct iovec iov[2];
	int k = 0;

	if (lead.len > 0) {
		iov[k].iov_base = (char *)(uintptr_t)lead.p;
		iov[k++].iov_len = lead.len;
	}
	if (len > 0) {
		iov[k].iov_base = (char *)(uintptr_t)p;
		iov[k++].iov_len = len;
	}
	pump_put_locked(&x->pump, iov, k, lead_taken + len);
}

/* A whole response head stands in x->head. p[0..len): what came behind it. taken: its length as received. */
static void
head_locked(struct exchange *x, const char *p, size_t len, size_t taken)
{
	struct caller *c = x->c;
	struct rewrite_to to;
	struct str lead;
	struct buf out;

	memset(&to, 0, sizeof(to));
	to.minor = c->minor;
	to.date = clock_ms(CLOCK_WALL) / 1000;
	to.fields = x->cors;
	to.proxy = x->to->proxy;
	to.request_id.p = c->request_id;
	to.request_id.len = to.proxy == NULL ? strlen(c->request_id) : 0;
	if (x->head.status >= 200) {
		/* a body that only the connection's end can end, for HTTP/1.0 */
		if (c->minor == 0 && (x->head.framing == HTTP_TO_EOF || x->head.framing == HTTP_CHUNKED))
			x->keep = 0;
		x->closing = !x->keep || !x->req_done;
		to.close = x->closing;
	}
	buf_init(&out, x->text, sizeof(x->text));
	rewrite_response(&out, &x->head, &to);
	if (out.full) {
		bad_locked(x, "response head too long");
		return;
	}
	lead.p = x->text;
	lead.len = out.len;
	x->heads += out.len;
	if (x->head.status < 200 && x->head.status != 101) {
		if (c->minor == 0) {	/* HTTP/1.0 knows no interim responses */
			x->heads -= out.len;
			lead.len = 0;
		}
		x->continued = 1;
		raw_locked(x, lead, p, 0, taken);
		return;
	}
	x->status = x->head.status;
	if (x->status == 101) {
		x->res = RES_RAW;
		x->closing = 1;
		raw_locked(x, lead, p, len, taken);
	} else {
		x->res = RES_BODY;
		http_body_init(&x->body, &x->head, c->minor == 0 ? NULL : x->trailers, c->minor == 0);
		x->body.encode = x->head.framing == HTTP_TO_EOF && c->minor > 0;
		body_locked(x, lead, p, len, taken);
	}
	give_slot_locked(x, x->heard);
	if (x->res != RES_DONE && (!x->lazy || x->status == 101))
		wake_locked(x);
}

/* Bytes while no final head has come. Returns how many were used. */
static size_t
parse_head_locked(struct exchange *x, const char *p, size_t len)
{
	const char *why, *from = p;
	size_t had = x->npartial, k;
	int n;

	if (x->partial != NULL) {	/* the head began in an earlier piece */
		k = HTTP_HEAD_MAX - had < len ? HTTP_HEAD_MAX - had : len;
		memcpy(x->partial + had, p, k);
		from = x->partial;
		n = http_res_parse(&x->head, from, had + k, x->is_head, &why);
	} else {
		k = len;
		n = http_res_parse(&x->head, from, len, x->is_head, &why);
	}
	if (n < 0) {
		bad_locked(x, why);
		return len;
	}
	if (n == 0) {
		if (x->partial == NULL) {
			if (len > HTTP_HEAD_MAX || (x->partial = malloc(HTTP_HEAD_MAX)) == NULL) {
				bad_locked(x, "no memory for the response head");
				return len;
			}
			memcpy(x->partial, p, len);
		}
		x->npartial = had + k;
		pump_put_locked(&x->pump, NULL, 0, k);	/* the window gets it back */
		return k;
	}
	k = (size_t)n - had;	/* of this piece */
	if (x->head.status == 101 && (!x->upgrade || x->head.upgrade.len == 0)) {
		bad_locked(x, "101 that nobody asked for");
		return len;
	}
	x->npartial = 0;
	x->head.scanned = 0;
	if (x->head.status >= 200 || x->head.status == 101) {
		head_locked(x, p + k, len - k, k);
		return len;
	}
	head_locked(x, p + k, 0, k);
	return k;
}

void
response_connected_locked(struct exchange *x)
{
	static const char text[] = "HTTP/1.1 200 Connection Established\r\n\r\n";
	struct str lead = { text, sizeof(text) - 1 };

	if (x->res != RES_HEAD)
		return;
	x->res = RES_RAW;
	x->status = 200;
	x->closing = 1;
	x->heads = lead.len;
	x->heard = clock_ms(CLOCK_STEADY);
	raw_locked(x, lead, NULL, 0, 0);
}

static void
on_data(void *arg, const uint8_t *buf, size_t len)
{
	struct exchange *x = arg;
	struct str none = { NULL, 0 };
	const char *p = (const char *)buf;
	size_t n;

	x->heard = clock_ms(CLOCK_STEADY);
	x->nothing = 0;
	if (x->to->connect)
		response_connected_locked(x);
	while (len > 0 && x->res == RES_HEAD) {
		n = parse_head_locked(x, p, len);
		p += n;
		len -= n;
	}
	if (len == 0)
		return;
	if (x->res == RES_BODY)
		body_locked(x, none, p, len, 0);
	else if (x->res == RES_RAW)
		raw_locked(x, none, p, len, 0);
}

static void
on_fin(void *arg)
{
	struct exchange *x = arg;
	struct str last = { HTTP_LAST_CHUNK, sizeof(HTTP_LAST_CHUNK) - 1 };

	x->fin = 1;
	if (x->res == RES_BODY && http_body_eof(&x->body) == 0) {
		if (x->body.encode)
			raw_locked(x, last, NULL, 0, 0);
		done_locked(x);
	} else if (x->res == RES_HEAD || x->res == RES_BODY)
		bad_locked(x, "the answer ended early");
	if (!x->finned)
		wake_locked(x);
}

static void
on_reset(void *arg)
{
	struct exchange *x = arg;

	x->reset = 1;
	bad_locked(x, x->to->open != NULL ? "the server reset the connection" :
	    stream_over(x->s) ? "the session ended" : "the client reset the stream");
	wake_locked(x);
}

static void
on_writable(void *arg)
{
	struct exchange *x = arg;

	if (x->to->connect)
		response_connected_locked(x);
	x->opened = 1;
	wake_locked(x);
}

const struct stream_ops response_ops = { on_data, on_fin, on_reset, on_writable };
