/*
 * wsproxy_fuzz.c: wsproxy's messages from bytes nobody has checked. A response becomes a head that a strict reader
 * takes; a request, a message that is JSON; binary messages, no more than what they held.
 */
#include "../jsonscan.h"
#include "../pieces.h"
#include "fuzz.h"

#define ID "a1b2c3d4e5f6"

static void
answer(char *text, size_t len, int is_head)
{
	struct wsproxy_control c;
	struct wsproxy_answer a;
	struct http_head h;
	struct str all = { text, len };
	const char *why;

	if (wsproxy_read(&c, all, &why) != WSPROXY_RESPONSE || !wsproxy_respond(&a, &c, is_head))
		return;
	memset(&h, 0, sizeof(h));
	if (http_res_parse(&h, a.head.p, a.head.len, is_head, &why) != (int)a.head.len)
		abort();
	if (h.framing == HTTP_LENGTH && h.length != a.body.len)
		abort();
	free(a.memory);
}

static void
request(const char *text, size_t len, int plain)
{
	struct jsonscan walk;
	struct message m;
	struct str all, name, value;
	const char *why;
	size_t outlen;
	char *out;
	int n, rc;

	memset(&m, 0, sizeof(m));
	memcpy(m.id, ID, sizeof(ID));
	if ((n = http_req_parse(&m.head, text, len, &why)) <= 0)
		return;
	m.body = (const uint8_t *)text + n;
	m.len = len - (size_t)n;
	if (wsproxy_encode(&m, SIZE_MAX, plain, &out, &outlen) == -1)
		return;
	all.p = out;
	all.len = outlen;
	if (jsonscan_begin(&walk, all, '{') == -1)
		abort();
	while ((rc = jsonscan_next(&walk, &name, &value)) == 1)
		;
	if (rc != 0 || !jsonscan_at_end(&walk))
		abort();
	free(out);
}

static int
known(void *arg, const char *id)
{
	(void)arg;
	return strcmp(id, ID) == 0;
}

static int
waiting(void *arg)
{
	(void)arg;
	return 1;
}

/* One of the messages; *held goes with what the caller would hold. */
static void
message(struct pieces *s, const uint8_t *p, size_t n, size_t *held, size_t before)
{
	static const struct pieces_ask ask = { known, waiting, NULL };
	enum pieces_verdict v;
	size_t at = 0;
	int again = 0;

	while ((v = pieces_take(s, p, n, &ask, &at)) == PIECES_RELEASE || v == PIECES_FORGET) {
		*held = 0;
		if (again++)
			abort();
	}
	if (v == PIECES_DATA && at > n)
		abort();
	if (v == PIECES_HOLD || v == PIECES_LAST || v == PIECES_CHECK)
		*held += n;
	if (v == PIECES_CHECK)
		pieces_checked(s, p[0] & 1, n);
	if (v == PIECES_LAST || v == PIECES_CHECK)
		*held = 0;
	if (*held > before + n || (*held > 0) != (s->state == PIECES_OBJECT || s->state == PIECES_PERHAPS))
		abort();
}

/* Messages of a piece each, and shorter ones where a byte says so. */
static void
binary(const uint8_t *p, size_t len)
{
	struct pieces s;
	size_t n, held = 0, at;

	memset(&s, 0, sizeof(s));
	for (at = 0; at < len; at += n) {
		n = len - at < PIECE ? len - at : p[at] % 3 == 0 ? PIECE : p[at];
		if (n == 0)
			n = 1;
		message(&s, p + at, n, &held, at);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text;

	if (len == 0)
		return 0;
	text = copy(data + 1, len - 1);
	if (data[0] % 3 == 0)
		answer(text, len - 1, data[0] >> 4 & 1);
	else if (data[0] % 3 == 1)
		request(text, len - 1, data[0] >> 4 & 1);
	else
		binary((uint8_t *)text, len - 1);
	free(text);
	return 0;
}
