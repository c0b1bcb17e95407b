/*
 * clientmsg_fuzz.c: the message dialects' requests, and a service's answers, from bytes nobody has checked. A request becomes a head
 * that a strict reader takes or refuses, never one with framing of its own; an answer, a message that is JSON.
 */
#include "../bifrostmsg.h"
#include "../jsonscan.h"
#include "../pipegatemsg.h"
#include "../ws.h"
#include "fuzz.h"

static const struct clientmsg_server server = { { "relay.test", "https", "/demo" }, 0, 1 << 20 };

static void
request(const struct clientmsg_dialect *d, char *text, size_t len)
{
	struct clientmsg_request r;
	struct http_head h;
	const char *why;
	int n;

	d->decode(&r, text, len, &server);
	if ((r.head.p == NULL) != (r.why != NULL) || (r.head.p != NULL && r.id.p == NULL))
		abort();
	if (r.head.p != NULL) {
		memset(&h, 0, sizeof(h));
		n = http_req_parse(&h, r.head.p, r.head.len, &why);
		if (n == 0 || (n > 0 && (n != (int)r.head.len || h.framing == HTTP_CHUNKED || (h.framing == HTTP_LENGTH && h.length != r.body.len))))
			abort();
		if (n > 0 && h.framing == HTTP_NO_BODY && r.body.len > 0)
			abort();
	}
	free(r.memory);
}

static void
answer(const struct clientmsg_dialect *d, const char *text, size_t len, int bare)
{
	struct clientmsg_answer a;
	struct jsonscan walk;
	struct http_head h;
	struct str all, name, value;
	const char *why;
	uint32_t state = 0;
	char *out;
	size_t outlen, i;
	int n, rc;

	memset(&h, 0, sizeof(h));
	if ((n = http_res_parse(&h, text, len, bare, &why)) <= 0 || h.status < 200)
		return;
	a.id.p = "\"x\"";
	a.id.len = 3;
	a.head = &h;
	a.body = (const uint8_t *)text + n;
	a.len = h.framing == HTTP_NO_BODY ? 0 : len - (size_t)n;
	if (d->encode(&a, &server, &out, &outlen) == -1)
		return;
	if (ws_utf8(&state, (const uint8_t *)out, outlen) == -1 || state != 0)
		abort();
	all.p = out;
	all.len = outlen;
	if (jsonscan_begin(&walk, all, '{') == -1)
		abort();
	for (i = 0; (rc = jsonscan_next(&walk, &name, &value)) == 1; i++)
		;
	if (rc != 0 || i != 4 || !jsonscan_at_end(&walk))
		abort();
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct clientmsg_dialect *d;
	char *text;

	if (len == 0)
		return 0;
	text = copy(data + 1, len - 1);
	d = data[0] & 2 ? &bifrost_client : &pipegate_client;
	if (data[0] & 1)
		answer(d, text, len - 1, data[0] >> 2 & 1);
	else
		request(d, text, len - 1);
	free(text);
	return 0;
}
