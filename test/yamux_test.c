/* yamux frame headers: tunnel-protocol(7) and the yamux specification. */
#include "../yamux.h"
#include "test.h"

static const struct {
	const char *name;
	const char in[YAMUX_HDR + 1];
	struct yamux_hdr h;
} good[] = {
	{ "data, SYN, stream 1", "\0\0\0\1\0\0\0\1\0\0\0\5", { YAMUX_DATA, YAMUX_SYN, 1, 5 } },
	{ "data, empty, FIN", "\0\0\0\4\0\0\0\2\0\0\0\0", { YAMUX_DATA, YAMUX_FIN, 2, 0 } },
	{ "data, as long as can be", "\0\0\0\0\0\0\0\3\xff\xff\xff\xff",
	    { YAMUX_DATA, 0, 3, 0xffffffff } },
	{ "update, ACK", "\0\1\0\2\0\0\0\2\0\4\0\0",
	    { YAMUX_UPDATE, YAMUX_ACK, 2, YAMUX_WINDOW } },
	{ "update, RST", "\0\1\0\x8\0\0\0\2\0\0\0\0", { YAMUX_UPDATE, YAMUX_RST, 2, 0 } },
	{ "update, every flag", "\0\1\0\xf\0\0\0\2\0\0\0\0", { YAMUX_UPDATE, 15, 2, 0 } },
	{ "order of bytes", "\0\1\0\0\x89\xab\xcd\xef\xfe\xdc\xba\x98",
	    { YAMUX_UPDATE, 0, 0x89abcdef, 0xfedcba98 } },
	{ "ping", "\0\2\0\1\0\0\0\0\xde\xad\xbe\xef",
	    { YAMUX_PING, YAMUX_SYN, 0, 0xdeadbeef } },
	{ "answer to a ping", "\0\2\0\2\0\0\0\0\xde\xad\xbe\xef",
	    { YAMUX_PING, YAMUX_ACK, 0, 0xdeadbeef } },
	{ "go away, normal", "\0\3\0\0\0\0\0\0\0\0\0\0", { YAMUX_GO_AWAY, 0, 0, YAMUX_NORMAL } },
	{ "go away, protocol error", "\0\3\0\0\0\0\0\0\0\0\0\1",
	    { YAMUX_GO_AWAY, 0, 0, YAMUX_PROTOCOL_ERROR } },
	{ "go away, internal error", "\0\3\0\0\0\0\0\0\0\0\0\2",
	    { YAMUX_GO_AWAY, 0, 0, YAMUX_INTERNAL_ERROR } },
};

static const struct {
	const char *name;
	const char in[YAMUX_HDR + 1];
} broken[] = {
	{ "version 1", "\1\0\0\1\0\0\0\1\0\0\0\5" },
	{ "version 255", "\xff\0\0\1\0\0\0\1\0\0\0\5" },
	{ "data for stream 0", "\0\0\0\1\0\0\0\0\0\0\0\5" },
	{ "update for stream 0", "\0\1\0\1\0\0\0\0\0\0\0\5" },
	{ "ping for a stream", "\0\2\0\1\0\0\0\1\0\0\0\5" },
	{ "ping for the highest stream", "\0\2\0\1\x80\0\0\0\0\0\0\5" },
	{ "go away for a stream", "\0\3\0\0\0\0\0\1\0\0\0\0" },
};

static int
same(const struct yamux_hdr *a, const struct yamux_hdr *b)
{
	return a->type == b->type && a->flags == b->flags && a->id == b->id && a->len == b->len;
}

static void
test_good(void)
{
	const char *why;
	struct yamux_hdr h;
	uint8_t out[YAMUX_HDR];
	size_t i, n;
	uint8_t *p;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		for (n = 0; n <= YAMUX_HDR; n++) {
			p = exact(good[i].in, n);
			check(yamux_parse(&h, p, n, &why) == (n < YAMUX_HDR ? 0 : YAMUX_HDR),
			    good[i].name, n);
			free(p);
		}
		check(same(&h, &good[i].h), good[i].name, 100);
		yamux_write(out, &good[i].h);
		check(memcmp(out, good[i].in, YAMUX_HDR) == 0, good[i].name, 101);
	}
	check(yamux_parse(&h, (const uint8_t *)"\0\3\0\0\0\0\0\0\0\0\0\0after", 17, &why) ==
	    YAMUX_HDR, "bytes after the header", 17);
}

static int
broken_at_the_end(const char *in)
{
	const char *why;
	struct yamux_hdr h;
	int rc = -1;
	size_t n;
	uint8_t *p;

	for (n = 0; n <= YAMUX_HDR; n++) {
		p = exact(in, n);
		why = NULL;
		rc = yamux_parse(&h, p, n, &why);
		free(p);
		if (n < YAMUX_HDR && rc != 0)
			return 0;
	}
	return rc == -1 && why != NULL;
}

static void
test_broken(void)
{
	char in[YAMUX_HDR] = "\0\0\0\0\0\0\0\1\0\0\0\0";
	size_t i;

	for (i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		check(broken_at_the_end(broken[i].in), broken[i].name, i);
	for (i = YAMUX_GO_AWAY + 1; i < 256; i++) {
		in[1] = (char)i;
		in[7] = 0;
		check(broken_at_the_end(in), "unknown type, session", i);
		in[7] = 1;
		check(broken_at_the_end(in), "unknown type, stream", i);
	}
	in[1] = YAMUX_UPDATE;
	for (i = 4; i < 16; i++) {
		in[2] = (char)(1 << i >> 8);
		in[3] = (char)(1 << i & 0xff);
		check(broken_at_the_end(in), "unknown flag", i);
		in[3] |= YAMUX_SYN;
		check(broken_at_the_end(in), "unknown flag beside SYN", i);
	}
}

int
main(void)
{
	test_good();
	test_broken();
	return test_end();
}
