/*
 * http_fuzz.c: heads and bodies from bytes nobody has checked. Whatever is
 * fed in pieces must come out as if fed at once, and what is passed on must
 * read as the same message to a strict reader behind us.
 */
#include "../rewrite.h"
#include "fuzz.h"

enum { OUT_MAX = 1 << 20, PROXIED = 2 };

static char sent[2][OUT_MAX], head[2 * HTTP_HEAD_MAX];

static int
head_parse(struct http_head *h, const char *p, size_t len, int is_req)
{
	const char *why = NULL;
	int rc;

	rc = is_req == PROXIED ? http_proxy_parse(h, p, len, &why) : is_req ? http_req_parse(h, p, len, &why) :
	    http_res_parse(h, p, len, 0, &why);
	CHECK(rc >= 0 ? (size_t)rc <= len : why != NULL);
	return rc;
}

/* A rewritten request is one we would take ourselves, and as long. */
static void
check_request(const struct http_head *h, int trusted)
{
	static struct http_head again;
	struct rewrite_via via;
	struct buf b;

	memset(&via, 0, sizeof(via));
	via.peer.p = "::1";
	via.peer.len = 3;
	via.trusted = trusted;
	via.proxy = trusted ? NULL : "p";
	buf_init(&b, head, sizeof(head));
	rewrite_request(&b, h, h->target, &via);
	CHECK(!b.full);
	again.scanned = 0;
	if (h->nfields < HTTP_FIELDS_MAX - 4 && b.len < HTTP_HEAD_MAX) {
		CHECK(head_parse(&again, b.p, b.len, 1) == (int)b.len);
		CHECK(again.framing == h->framing && again.length == h->length);
		CHECK(again.target.len == h->target.len && again.host.len == h->host.len);
	}
}

static void
check_response(const struct http_head *h, int minor)
{
	static struct http_head again;
	struct rewrite_to to;
	struct buf b;

	memset(&to, 0, sizeof(to));
	to.minor = minor;
	to.proxy = "p";
	buf_init(&b, head, sizeof(head));
	rewrite_response(&b, h, &to);
	CHECK(!b.full);
	again.scanned = 0;
	if (h->nfields < HTTP_FIELDS_MAX - 4 && b.len < HTTP_HEAD_MAX) {
		CHECK(head_parse(&again, b.p, b.len, 0) == (int)b.len);
		CHECK(again.status == h->status && again.framing ==
		    (h->framing == HTTP_CHUNKED && !minor ? HTTP_TO_EOF :
		    h->framing == HTTP_TO_EOF && minor ? HTTP_CHUNKED : h->framing));
	}
}

static void
fuzz_head(const char *p, size_t len, unsigned step, int is_req)
{
	static struct http_head whole, fed;
	char *at_once = copy(p, len), *piece, *last = NULL;
	int rc, rc2 = 0;
	size_t n = 0;

	whole.scanned = fed.scanned = 0;
	rc = head_parse(&whole, at_once, len, is_req);
	while (rc2 == 0 && n < len) {
		n = n + step < len ? n + step : len;
		piece = copy(p, n);
		rc2 = head_parse(&fed, piece, n, is_req);
		free(last);
		last = piece;
	}
	CHECK(rc == rc2);
	if (rc > 0) {
		CHECK(whole.nfields == fed.nfields && whole.framing == fed.framing);
		CHECK(whole.length == fed.length && whole.keep_alive == fed.keep_alive);
		if (is_req && fed.form == HTTP_AUTHORITY)
			CHECK(fed.host.len > 0 && fed.host.len == fed.target.len);
		else if (is_req)
			check_request(&fed, (int)step & 1);
		else
			check_response(&fed, (int)step & 1);
	}
	free(last);
	free(at_once);
}

/* The body in pieces of step bytes into to: bytes taken, or the verdict. */
static long
feed(struct http_body *b, const char *p, size_t len, size_t step, char *to, size_t *sum)
{
	struct http_out out;
	const char *why = NULL;
	size_t at = 0, n;
	long took;
	int i;

	*sum = 0;
	while (at < len && !b->done) {
		char *piece;

		n = len - at < step ? len - at : step;
		piece = copy(p + at, n);
		took = http_body_take(b, piece, n, &out, &why);
		CHECK(took != 0 && (took > 0 ? (size_t)took <= n : why != NULL));
		for (i = 0; took > 0 && i < out.n; i++) {
			CHECK(*sum + out.iov[i].iov_len <= OUT_MAX);
			memcpy(to + *sum, out.iov[i].iov_base, out.iov[i].iov_len);
			*sum += out.iov[i].iov_len;
		}
		free(piece);
		if (took < 0)
			return took;
		at += (size_t)took;
	}
	return (long)at;
}

static void
fuzz_body(const char *p, size_t len, size_t step, int bare)
{
	static struct http_head h;
	static char trailers[2][HTTP_TRAILERS_MAX];
	struct http_body a, b;
	size_t n, m;
	long rc;

	h.framing = HTTP_CHUNKED;
	http_body_init(&a, &h, trailers[0], bare);
	http_body_init(&b, &h, trailers[1], bare);
	rc = feed(&a, p, len, len, sent[0], &n);
	CHECK(feed(&b, p, len, step, sent[1], &m) == rc);
	if (rc < 0)
		return;
	CHECK(n == m && memcmp(sent[0], sent[1], n) == 0);
	CHECK(a.done == b.done && a.seen == b.seen);
	if (bare || !a.done)
		return;
	/* What we wrote, read again, is what we wrote. */
	http_body_init(&b, &h, trailers[1], 0);
	CHECK(feed(&b, sent[0], n, step, sent[1], &m) == (long)n && b.done);
	CHECK(n == m && memcmp(sent[0], sent[1], n) == 0);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t len)
{
	const char *p = (const char *)data + 2;
	unsigned step;

	if (len < 3 || len > 4096)
		return 0;
	step = data[1] + 1U;
	switch (data[0] & 3) {
	case 0:
		fuzz_head(p, len - 2, step, 1);
		fuzz_head(p, len - 2, step, PROXIED);
		break;
	case 1:
		fuzz_head(p, len - 2, step, 0);
		break;
	default:
		fuzz_body(p, len - 2, step, data[0] & 1);
	}
	return 0;
}
