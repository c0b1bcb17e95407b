/*
 * body_test.c: message bodies. Each row is taken in one piece, in two at
 * every cut, and byte by byte, from memory of exactly that size: what goes
 * out must not depend on it.
 */
#include "../http.h"
#include "test.h"

#define S(lit) lit, sizeof(lit) - 1
#define Z15 "000000000000000"
#define E50 "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"

enum { OUT_MAX = 65536 };

struct sink {
	char p[OUT_MAX];
	size_t len;
};

/* in is taken up to rest bytes before its end; out is what goes on, bare only the data. */
static const struct {
	const char *name, *in;
	size_t len;
	const char *out, *bare;
	size_t rest;
} good[] = {
	{ "last chunk alone", S("0\r\n\r\n"), "0\r\n\r\n", "", 0 },
	{ "one chunk", S("5\r\nhello\r\n0\r\n\r\n"), "5\r\nhello\r\n0\r\n\r\n", "hello", 0 },
	{ "two chunks, and the next message", S("1\r\na\r\n2\r\nbc\r\n0\r\n\r\nGET /"),
	    "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc", 5 },
	{ "a chunk like framing", S("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
	    "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n", 0 },
	{ "leading zeros", S("00A\r\n0123456789\r\n000\r\n\r\n"),
	    "a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0 },
	{ "15 digits", S(Z15 "\r\n\r\n"), "0\r\n\r\n", "", 0 },
	{ "case of digits", S("B\r\n0123456789a\r\nb\r\n0123456789b\r\n0\r\n\r\n"),
	    "b\r\n0123456789a\r\nb\r\n0123456789b\r\n0\r\n\r\n", "0123456789a0123456789b", 0 },
	{ "extensions", S("1;a\r\nx\r\n1 ;\ta=\"b;c\"\r\ny\r\n0;a=\xff\r\n\r\n"),
	    "1\r\nx\r\n1\r\ny\r\n0\r\n\r\n", "xy", 0 },
	{ "size line of 256 bytes", S("1;" E50 E50 E50 E50 E50 "eeee\r\nx\r\n0\r\n\r\n"),
	    "1\r\nx\r\n0\r\n\r\n", "x", 0 },
	{ "trailers", S("0\r\nX-Sum: 1\r\ngrpc-status:\t0 \r\n\r\nG"),
	    "0\r\nX-Sum: 1\r\ngrpc-status:\t0 \r\n\r\n", "", 1 },
	{ "trailers that must not pass", S("1\r\na\r\n0\r\nContent-Length: 5\r\nX: 1\r\n"
	    "Transfer-Encoding: chunked\r\nHost: b\r\nAuthorization: c\r\nY: 2\r\n"
	    "x_forwarded_for: d\r\nTrailer: e\r\nContent-Type: f\r\nset-cookie: g\r\n\r\n"),
	    "1\r\na\r\n0\r\nX: 1\r\nY: 2\r\n\r\n", "a", 0 },
	{ "many small chunks", S(
	    "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n1\r\nh\r\n"
	    "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n1\r\nh\r\n"
	    "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n1\r\nh\r\n"
	    "0\r\n\r\n"),
	    "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n1\r\nh\r\n"
	    "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n1\r\nh\r\n"
	    "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n1\r\nh\r\n"
	    "0\r\n\r\n", "abcdefghabcdefghabcdefgh", 0 },
};

/* Chunked bodies that are broken at their last byte, and not before. */
static const struct {
	const char *name, *in;
	size_t len;
} broken[] = {
	{ "no size", S("\r") },
	{ "no size but an extension", S(";") },
	{ "blank before the size", S(" ") },
	{ "blank behind the size", S("1 \r") },
	{ "tab behind the size", S("1\t\r") },
	{ "two numbers", S("1 1") },
	{ "0x", S("0x") },
	{ "plus", S("+") },
	{ "minus", S("-") },
	{ "underscore", S("1_") },
	{ "no digit", S("g") },
	{ "fraction", S("1.") },
	{ "NUL behind the size", S("1\0") },
	{ "16 digits", S("1" Z15) },
	{ "16 digits, 2^64 - 1", S("ffffffffffffffff") },
	{ "16 zeros", S("0" Z15) },
	{ "size line of 257 bytes", S("1;" E50 E50 E50 E50 E50 "eeeee") },
	{ "bare LF behind the size", S("1\n") },
	{ "bare CR behind the size", S("1\rx") },
	{ "CR CR LF behind the size", S("1\r\r") },
	{ "bare LF in an extension", S("1;a\n") },
	{ "bare CR in an extension", S("1;a\rb") },
	{ "NUL in an extension", S("1;a\0") },
	{ "DEL in an extension", S("1;\x7f") },
	{ "bare LF in a quoted extension", S("1;a=\"\n") },
	{ "chunk longer than its size", S("1\r\nab") },
	{ "bare LF behind a chunk", S("1\r\na\n") },
	{ "bare CR behind a chunk", S("1\r\na\r0") },
	{ "chunk without an end", S("1\r\na0") },
	{ "empty line between chunks", S("1\r\na\r\n\r") },
	{ "bare LF behind the last chunk", S("0\n") },
	{ "bare LF at the end", S("0\r\n\n") },
	{ "bare CR at the end", S("0\r\n\rX") },
	{ "trailer without a colon", S("0\r\nX\r") },
	{ "trailer without a name", S("0\r\n:") },
	{ "space before a trailer's colon", S("0\r\nX ") },
	{ "folded trailer", S("0\r\nX: a\r\n ") },
	{ "folded first trailer", S("0\r\n\t") },
	{ "request for a trailer", S("0\r\nGET ") },
	{ "NUL in a trailer", S("0\r\nX: \0") },
	{ "bare LF in a trailer", S("0\r\nX: a\n") },
	{ "bare CR in a trailer", S("0\r\nX: a\rY") },
	{ "forbidden trailer, malformed", S("0\r\nHost: a\x01") },
};

static struct http_body
start(enum http_framing framing, uint64_t length, char *trailers, int bare)
{
	static struct http_head h;
	struct http_body b;

	h.framing = framing;
	h.length = length;
	http_body_init(&b, &h, trailers, bare);
	return b;
}

/* Take len bytes in pieces of at most piece: how many were, or the verdict. */
static long
take(struct http_body *b, struct sink *s, const char *in, size_t len, size_t piece)
{
	struct http_out out;
	const char *why = NULL;
	size_t at = 0, n;
	long took;
	char *p;
	int i;

	while (at < len && !b->done) {
		n = len - at < piece ? len - at : piece;
		p = exact(in + at, n);
		took = http_body_take(b, p, n, &out, &why);
		for (i = 0; took >= 0 && i < out.n; i++) {
			if (s->len + out.iov[i].iov_len > sizeof(s->p))
				abort();
			memcpy(s->p + s->len, out.iov[i].iov_base, out.iov[i].iov_len);
			s->len += out.iov[i].iov_len;
		}
		free(p);
		if (took < 0)
			return why == NULL ? 0 : took;
		if (took == 0)
			abort();	/* no step forward */
		at += (size_t)took;
	}
	return (long)at;
}

static int
holds(const struct sink *s, const char *want)
{
	return s->len == strlen(want) && memcmp(s->p, want, s->len) == 0;
}

static void
test_good(void)
{
	static struct sink s;
	struct http_body b;
	char *trailers = malloc(HTTP_TRAILERS_MAX);
	size_t i, cut;
	long n;
	int bare;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		for (cut = 1; cut <= good[i].len; cut++) {
			for (bare = 0; bare < 2; bare++) {
				b = start(HTTP_CHUNKED, 0, bare ? NULL : trailers, bare);
				s.len = 0;
				/* in two pieces, then in pieces of cut bytes */
				n = take(&b, &s, good[i].in, cut, cut);
				if (!b.done)
					n += take(&b, &s, good[i].in + n, good[i].len - cut, SIZE_MAX);
				check(b.done && (size_t)n == good[i].len - good[i].rest &&
				    b.seen == strlen(good[i].bare) && http_body_eof(&b) == 0 &&
				    holds(&s, bare ? good[i].bare : good[i].out),
				    good[i].name, cut);
				b = start(HTTP_CHUNKED, 0, bare ? NULL : trailers, bare);
				s.len = 0;
				n = take(&b, &s, good[i].in, good[i].len, cut);
				check(b.done && (size_t)n == good[i].len - good[i].rest &&
				    holds(&s, bare ? good[i].bare : good[i].out),
				    good[i].name, cut);
			}
		}
		for (cut = 0; cut < good[i].len - good[i].rest; cut++) {
			b = start(HTTP_CHUNKED, 0, trailers, 0);
			s.len = 0;
			take(&b, &s, good[i].in, cut, SIZE_MAX);
			check(!b.done && http_body_eof(&b) == -1, "cut short", cut);
		}
	}
	free(trailers);
}

static void
test_broken(void)
{
	static struct sink s;
	struct http_body b;
	char *trailers = malloc(HTTP_TRAILERS_MAX);
	size_t i, piece;

	for (i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		for (piece = 1; piece <= broken[i].len; piece++) {
			b = start(HTTP_CHUNKED, 0, piece & 1 ? trailers : NULL, 0);
			s.len = 0;
			check(take(&b, &s, broken[i].in, broken[i].len, piece) == -400,
			    broken[i].name, piece);
		}
		b = start(HTTP_CHUNKED, 0, trailers, 0);
		s.len = 0;
		check(take(&b, &s, broken[i].in, broken[i].len - 1, SIZE_MAX) ==
		    (long)broken[i].len - 1, broken[i].name, 0);
	}
	free(trailers);
}

/* A trailer section of exactly its limits passes, one byte or line more does not. */
static void
test_trailer_limits(void)
{
	static char in[HTTP_TRAILERS_MAX + 16];
	static struct sink s;
	struct http_body b;
	char *trailers = malloc(HTTP_TRAILERS_MAX);
	size_t i, len, over;

	for (over = 0; over < 2; over++) {
		memcpy(in, "0\r\nX:", 5);
		memset(in + 5, 'a', HTTP_TRAILERS_MAX);
		len = 3 + HTTP_TRAILERS_MAX + over;
		memcpy(in + len - 2, "\r\n\r\n", 4);
		b = start(HTTP_CHUNKED, 0, trailers, 0);
		s.len = 0;
		check((take(&b, &s, in, len + 2, SIZE_MAX) > 0) == !over, "trailer bytes", over);
		check(over || (s.len == len + 2 && memcmp(s.p, in, s.len) == 0),
		    "trailer bytes", over);

		memcpy(in, "0\r\n", 3);
		for (i = 0, len = 3; i < HTTP_FIELDS_MAX + over; i++, len += 4)
			memcpy(in + len, "a:\r\n", 4);
		memcpy(in + len, "\r\n", 2);
		b = start(HTTP_CHUNKED, 0, over ? NULL : trailers, 0);
		s.len = 0;
		check((take(&b, &s, in, len + 2, SIZE_MAX) > 0) == !over, "trailer lines", over);
	}
	b = start(HTTP_CHUNKED, 0, NULL, 0);
	s.len = 0;
	take(&b, &s, "0\r\nX: a\r\n\r\n", 11, SIZE_MAX);
	check(b.done && holds(&s, "0\r\n\r\n"), "trailers dropped", 0);
	free(trailers);
}

static void
test_plain(void)
{
	static struct sink s;
	struct http_body b;
	size_t piece;

	for (piece = 1; piece < 8; piece++) {
		b = start(HTTP_LENGTH, 5, NULL, 0);
		s.len = 0;
		check(take(&b, &s, "helloGET", 8, piece) == 5 && b.done && b.seen == 5 &&
		    holds(&s, "hello"), "length", piece);
		b = start(HTTP_TO_EOF, 0, NULL, 0);
		s.len = 0;
		check(take(&b, &s, "hello", 5, piece) == 5 && !b.done && holds(&s, "hello") &&
		    http_body_eof(&b) == 0 && b.done, "to EOF", piece);
	}
	b = start(HTTP_LENGTH, 5, NULL, 0);
	s.len = 0;
	take(&b, &s, "hell", 4, 4);
	check(!b.done && b.left == 1 && http_body_eof(&b) == -1, "length, cut short", 0);
	b = start(HTTP_LENGTH, 0, NULL, 0);
	check(b.done && take(&b, &s, "G", 1, 1) == 0 && http_body_eof(&b) == 0, "length 0", 0);
	b = start(HTTP_NO_BODY, 5, NULL, 0);
	check(b.done && take(&b, &s, "G", 1, 1) == 0 && http_body_eof(&b) == 0, "no body", 0);
}

/* A body to EOF, written chunked, reads back as it was. */
static void
test_encode(void)
{
	static const char in[] = "0123456789abcdefg";
	static struct sink s, back;
	struct http_body b;
	struct http_out out;
	const char *why;
	size_t piece;

	for (piece = 1; piece < sizeof(in); piece++) {
		b = start(HTTP_TO_EOF, 0, NULL, 0);
		b.encode = 1;
		s.len = back.len = 0;
		take(&b, &s, in, sizeof(in) - 1, piece);
		check(http_body_eof(&b) == 0, "encode", piece);
		memcpy(s.p + s.len, HTTP_LAST_CHUNK, strlen(HTTP_LAST_CHUNK));
		s.len += strlen(HTTP_LAST_CHUNK);
		b = start(HTTP_CHUNKED, 0, NULL, 1);
		check(take(&b, &back, s.p, s.len, SIZE_MAX) == (long)s.len && b.done &&
		    holds(&back, in), "encode", piece);
	}
	b = start(HTTP_TO_EOF, 0, NULL, 0);
	b.encode = 1;
	s.len = 0;
	take(&b, &s, in, 17, SIZE_MAX);
	check(holds(&s, "11\r\n0123456789abcdefg\r\n"), "encode at once", 0);
	check(http_body_take(&b, in, 0, &out, &why) == 0 && out.n == 0, "encode nothing", 0);
	b = start(HTTP_TO_EOF, 0, NULL, 1);
	b.encode = 1;
	s.len = 0;
	take(&b, &s, in, 17, SIZE_MAX);
	check(holds(&s, in), "bare and encode", 0);
}

int
main(void)
{
	test_good();
	test_broken();
	test_trailer_limits();
	test_plain();
	test_encode();
	return test_end();
}
