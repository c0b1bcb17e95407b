/*
 * vtunnel_fuzz.c: vtunnel's JSON and files of keys from bytes nobody has checked. The header fields of a listen can stand in a request; what
 * is written of a listen reads as the same.
 */
#include "../vtunnelkeys.h"
#include "fuzz.h"

static void
fields(const struct vtunnel_msg *m)
{
	static char text[VTUNNEL_FIELDS_MAX + 64];
	struct http_head h;
	const char *why;
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_str(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
	buf_put(&b, m->headers.p, m->headers.len);
	buf_str(&b, "\r\n");
	memset(&h, 0, sizeof(h));
	if (http_req_parse(&h, text, b.len, &why) == (long)b.len && (h.framing != HTTP_NO_BODY || h.expect_continue || h.upgrade.len > 0))
		abort();
}

static void
again(const struct vtunnel_msg *m)
{
	static char text[65536];
	static struct vtunnel_msg same;
	const char *why;
	struct buf b;

	if (m->port < 0)
		return;
	buf_init(&b, text, sizeof(text));
	vtunnel_put(&b, m->port, m->local_addr, m->domain, m->headers);
	if (b.full || vtunnel_parse(&same, text, b.len, &why) == -1 || same.port != m->port || strcmp(same.local_addr, m->local_addr) != 0 ||
	    strcmp(same.domain, m->domain) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static struct vtunnel_msg m;
	struct vtunnel_keys l = { NULL, 0 };
	const char *why, *text = (const char *)p;
	size_t line;

	if (vtunnel_parse(&m, text, len, &why) == 0) {
		fields(&m);
		again(&m);
		vtunnel_maps(m.local_addr);
	}
	if (vtunnel_keys_add(&l, text, len, &line, &why) == 0 && l.n > 0 && vtunnel_keys_first(&l, l.key[0].path, strlen(l.key[0].path)) == NULL)
		abort();
	vtunnel_keys_free(&l);
	return 0;
}
