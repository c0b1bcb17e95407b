/*
 * pipegate_fuzz.c: PipeGate's messages from bytes nobody has checked. An answer becomes a response head that a
 * strict reader takes, or none; a request, a message that is JSON.
 */
#include "../jsonscan.h"
#include "../pipegatemsg.h"
#include "fuzz.h"

#define ID "3f2d4421-22bb-4d3d-bc0a-328ad6c72e12"

static int
asked(void *arg, const char *id)
{
	(void)id;
	return *(int *)arg;
}

static void
answer(const char *text, size_t len, int is_head)
{
	struct pipegate_answer a;
	struct http_head h;
	const char *why;

	if (pipegate_decode(&a, (char *)(uintptr_t)text, len, asked, &is_head) && a.head.p != NULL) {
		memset(&h, 0, sizeof(h));
		if (http_res_parse(&h, a.head.p, a.head.len, is_head, &why) != (int)a.head.len)
			abort();
		if (h.framing == HTTP_LENGTH && h.length != a.body.len)
			abort();
	}
	free(a.memory);
}

static void
request(const char *text, size_t len)
{
	struct jsonscan walk;
	struct message m;
	struct str all, name, value;
	const char *why;
	char *out, id[PIPEGATE_ID_MAX + 1];
	size_t outlen, i;
	int n, rc, slash;

	memset(&m, 0, sizeof(m));
	memcpy(m.id, ID, sizeof(ID));
	if ((n = http_req_parse(&m.head, text, len, &why)) <= 0)
		return;
	pipegate_path_id(m.head.target, id, &slash);
	m.body = (const uint8_t *)text + n;
	m.len = len - (size_t)n;
	if (pipegate_encode(&m, 1048576, &out, &outlen) == -1)
		return;
	all.p = out;
	all.len = outlen;
	if (jsonscan_begin(&walk, all, '{') == -1)
		abort();
	for (i = 0; (rc = jsonscan_next(&walk, &name, &value)) == 1; i++)
		if (*value.p != '"')
			abort();
	if (rc != 0 || i != 6 || !jsonscan_at_end(&walk))
		abort();
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text;

	if (len == 0)
		return 0;
	text = copy(data + 1, len - 1);
	if (data[0] & 1)
		answer(text, len - 1, data[0] >> 1 & 1);
	else
		request(text, len - 1);
	free(text);
	return 0;
}
