/* rewrite_test.c: heads as they are passed on, byte for byte. */
#include "../rewrite.h"
#include "test.h"

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n"
#define OUT "GET /b HTTP/1.1\r\nHost: h\r\n"
#define VIA "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n" \
    "X-Forwarded-Host: h\r\nX-Real-IP: 192.0.2.1\r\nX-Request-Id: id\r\n"
#define RES "HTTP/1.1 200 OK\r\n"
#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	const char *name, *in, *prefix;
	int trusted;
	const char *want;
} requests[] = {
	{ "what we add", GET "\r\n", "", 0, OUT VIA "\r\n" },
	{ "a prefix", GET "\r\n", "/p", 0, OUT VIA "X-Forwarded-Prefix: /p\r\n\r\n" },
	{ "order, duplicates and bytes",
	    "GET /a HTTP/1.1\r\nb: 1\r\nHost: h\r\nA:  2 \t\r\nb: \xff, 3\r\nC:\r\n\r\n", "", 0,
	    OUT "b: 1\r\nA: 2\r\nb: \xff, 3\r\nC: \r\n" VIA "\r\n" },
	{ "absolute-form decides Host",
	    "GET http://h/a HTTP/1.1\r\nHost: other\r\n\r\n", "", 0, OUT VIA "\r\n" },
	{ "hop-by-hop fields",
	    GET "Connection: close\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"
	    "Proxy-Authorization: x\r\nProxy-Authenticate: x\r\nTE: gzip\r\nUpgrade: x\r\n"
	    "HTTP2-Settings: x\r\nHost_: 1\r\nTrailer: X\r\n\r\n", "", 0,
	    OUT "Host_: 1\r\nTrailer: X\r\n" VIA "\r\n" },
	{ "framing in disguise", "POST /a HTTP/1.1\r\nHost: h\r\nContent_Length: 9\r\n"
	    "Transfer_Encoding: chunked\r\ncontent.length: 9\r\n\r\n", "", 0,
	    "POST /b HTTP/1.1\r\nHost: h\r\n" VIA "\r\n" },
	{ "fields that Connection names",
	    GET "Connection: x-a, close\r\nX-A: 1\r\nX-B: 2\r\nconnection: X-C\r\nX-c: 3\r\n"
	    "X_A: 4\r\n\r\n", "", 0,
	    OUT "X-B: 2\r\nX_A: 4\r\n" VIA "\r\n" },
	{ "Connection does not reach our fields",
	    GET "Connection: Host, X-Forwarded-For, X-Real-IP, Content-Length\r\n\r\n", "", 0,
	    OUT VIA "\r\n" },
	{ "Connection does not reach a trusted proxy's fields",
	    GET "Connection: X-Forwarded-Proto, X-Forwarded-For, X-Request-Id, Forwarded\r\n"
	    "X-Forwarded-For: 1\r\nX-Forwarded-Proto: http\r\nX-Request-Id: 7\r\n"
	    "Forwarded: for=1\r\n\r\n", "", 1,
	    OUT "X-Forwarded-Proto: http\r\nX-Request-Id: 7\r\nForwarded: for=1\r\n"
	    "X-Forwarded-For: 1, 192.0.2.1\r\nX-Forwarded-Host: h\r\nX-Real-IP: 192.0.2.1\r\n\r\n" },
	{ "claims nobody trusts",
	    GET "X-Forwarded-For: 1\r\nx-forwarded-proto: 1\r\nX-FORWARDED-HOST: 1\r\n"
	    "X-Forwarded-Prefix: /1\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Ssl: on\r\n"
	    "X-Real-IP: 1\r\nX-Request-Id: 1\r\nForwarded: for=1\r\nX_Forwarded_For: 1\r\n"
	    "X_Real-IP: 1\r\nx.request.id: 1\r\nX-Forwardedish: 1\r\n\r\n", "", 0,
	    OUT "X-Forwardedish: 1\r\n" VIA "\r\n" },
	{ "claims of a trusted proxy",
	    GET "X-Forwarded-For: 1, 2\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: o\r\n"
	    "X-Real-IP: 1\r\nx-forwarded-for: 3\r\nX-Request-Id: 7\r\nX-Forwarded-Port: 8\r\n"
	    "X-Forwarded-Prefix: /q/\r\n\r\n", "/p", 1,
	    OUT "X-Forwarded-Proto: http\r\nX-Forwarded-Host: o\r\nX-Real-IP: 1\r\n"
	    "X-Request-Id: 7\r\nX-Forwarded-Port: 8\r\n"
	    "X-Forwarded-For: 1, 2, 3, 192.0.2.1\r\nX-Forwarded-Prefix: /q/p\r\n\r\n" },
	{ "a trusted proxy's prefix", GET "X-Forwarded-Prefix: /q/\r\n\r\n", "", 1,
	    OUT "X-Forwarded-Prefix: /q/\r\n" VIA "\r\n" },
	{ "claims a trusted proxy did not know", GET "X_Forwarded_For: 1\r\nX_Real_IP: 1\r\n\r\n",
	    "", 1, OUT VIA "\r\n" },
	{ "length", "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 005\r\nX: 1\r\n"
	    "content-length: 5, 5\r\nExpect: 100-continue\r\n\r\n", "", 0,
	    "PUT /b HTTP/1.1\r\nHost: h\r\nX: 1\r\nExpect: 100-continue\r\n" VIA
	    "Content-Length: 5\r\n\r\n" },
	{ "length 0", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "", 0,
	    "POST /b HTTP/1.1\r\nHost: h\r\n" VIA "Content-Length: 0\r\n\r\n" },
	{ "chunked", "PUT /a HTTP/1.1\r\nHost: h\r\ntransfer-encoding: CHUNKED\r\n\r\n", "", 0,
	    "PUT /b HTTP/1.1\r\nHost: h\r\n" VIA "Transfer-Encoding: chunked\r\n\r\n" },
	{ "TE", GET "TE: gzip;q=1, Trailers\r\nConnection: TE\r\n\r\n", "", 0,
	    OUT VIA "Connection: TE\r\nTE: trailers\r\n\r\n" },
	{ "upgrade", GET "Connection: keep-alive, Upgrade\r\nUpgrade: websocket, h2c\r\n"
	    "Sec-WebSocket-Key: k\r\nTE: trailers\r\n\r\n", "", 0,
	    OUT "Sec-WebSocket-Key: k\r\n" VIA
	    "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" },
	{ "h2c", GET "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C, websocket\r\n"
	    "HTTP2-Settings: AAM\r\n\r\n", "", 0, OUT VIA "\r\n" },
	{ "HTTP/1.0", "GET /a HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n",
	    "", 0, "GET /b HTTP/1.1\r\nHost: \r\nX-Forwarded-For: 192.0.2.1\r\n"
	    "X-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.1\r\nX-Request-Id: id\r\n\r\n" },
};

static const struct {
	const char *name, *in;
	int is_head, minor, close;
	const char *id, *want;
} responses[] = {
	{ "as it came", "HTTP/1.1 299 a\xff  b \r\nb: 1\r\nA:2\r\nb: 3\r\nContent-Length: 5\r\n\r\n",
	    0, 1, 0, "", "HTTP/1.1 299 a\xff  b \r\nb: 1\r\nA: 2\r\nb: 3\r\nContent-Length: 5\r\n\r\n" },
	{ "no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 0, 1, 0, "",
	    "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n" },
	{ "hop-by-hop fields", RES "Connection: X, close\r\nX: 1\r\nKeep-Alive: 1\r\nUpgrade: h2\r\n"
	    "Proxy-Authenticate: x\r\nAlt-Svc: h3=\":443\"\r\nTrailer: Y\r\nSet-Cookie: a\r\n"
	    "Set-Cookie: b\r\nContent-Length: 5, 5\r\nContent-Length: 05\r\n\r\n", 0, 1, 0, "",
	    RES "Trailer: Y\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 5\r\n\r\n" },
	{ "what an upgrade is required to", "HTTP/1.1 426 a\r\nConnection: upgrade\r\nUpgrade: websocket, x\r\nContent-Length: 0\r\n\r\n", 0, 1, 1, "",
	    "HTTP/1.1 426 a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" },
	{ "one that nobody gets here", "HTTP/1.1 426 a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n", 0, 1, 0, "",
	    "HTTP/1.1 426 a\r\nContent-Length: 0\r\n\r\n" },
	{ "chunked", RES "Transfer-Encoding: chunked\r\n\r\n", 0, 1, 0, "",
	    RES "Transfer-Encoding: chunked\r\n\r\n" },
	{ "to EOF", RES "\r\n", 0, 1, 0, "", RES "Transfer-Encoding: chunked\r\n\r\n" },
	{ "to EOF, closing", RES "\r\n", 0, 1, 1, "",
	    RES "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" },
	{ "chunked for HTTP/1.0", RES "Transfer-Encoding: chunked\r\n\r\n", 0, 0, 0, "",
	    RES "Connection: close\r\n\r\n" },
	{ "to EOF for HTTP/1.0", RES "\r\n", 0, 0, 0, "", RES "Connection: close\r\n\r\n" },
	{ "length for HTTP/1.0", RES "Content-Length: 5\r\n\r\n", 0, 0, 0, "",
	    RES "Content-Length: 5\r\nConnection: keep-alive\r\n\r\n" },
	{ "length for HTTP/1.0, closing", RES "Content-Length: 5\r\n\r\n", 0, 0, 1, "",
	    RES "Content-Length: 5\r\nConnection: close\r\n\r\n" },
	{ "to HEAD", RES "Content-Length: 5\r\n\r\n", 1, 1, 0, "", RES "Content-Length: 5\r\n\r\n" },
	{ "to HEAD, chunked", RES "Transfer-Encoding: chunked\r\n\r\n", 1, 1, 0, "", RES "\r\n" },
	{ "to HEAD, nothing said", RES "\r\n", 1, 1, 0, "", RES "\r\n" },
	{ "304", "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", 0, 1, 0, "",
	    "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n" },
	{ "204", "HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", 0, 1, 0, "",
	    "HTTP/1.1 204 x\r\n\r\n" },
	{ "request id", RES "Content-Length: 0\r\n\r\n", 0, 1, 0, "id",
	    RES "X-Request-Id: id\r\nContent-Length: 0\r\n\r\n" },
	{ "a request id of its own", RES "x-request-id: 7\r\nContent-Length: 0\r\n\r\n", 0, 1, 0, "id",
	    RES "x-request-id: 7\r\nContent-Length: 0\r\n\r\n" },
	{ "100", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", 0, 1, 1, "id",
	    "HTTP/1.1 100 Continue\r\n\r\n" },
	{ "103", "HTTP/1.1 103 x\r\nLink: a\r\nConnection: close\r\n\r\n", 0, 1, 1, "id",
	    "HTTP/1.1 103 x\r\nLink: a\r\n\r\n" },
	{ "101", "HTTP/1.1 101 x\r\nUpgrade: websocket, x\r\nConnection: X-A, upgrade\r\n"
	    "X-A: 1\r\nSec-WebSocket-Accept: s\r\nContent-Length: 5\r\n\r\n", 0, 1, 1, "",
	    "HTTP/1.1 101 x\r\nSec-WebSocket-Accept: s\r\nConnection: Upgrade\r\n"
	    "Upgrade: websocket\r\n\r\n" },
};

static const char *const refused_trailers[] = {
	"Content-Length", "transfer-encoding", "Host", "Trailer", "TE", "Connection",
	"Upgrade", "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie",
	"Content-Type", "Content-Encoding", "Content-Range", "Cache-Control", "Expect",
	"Max-Forwards", "Range", "If-Match", "Location", "Date", "Vary", "X-Forwarded-For",
	"X_Forwarded_For", "X-Real-IP", "X-Request-Id", "Forwarded", "Content_Length"
};

static const char *const kept_trailers[] = {
	"grpc-status", "grpc-message", "Server-Timing", "ETag", "Digest", "Content-Digest",
	"X-Checksum", "x", "Hosts"
};

static struct str
str(const char *s)
{
	struct str v;

	v.p = s;
	v.len = strlen(s);
	return v;
}

static int
holds(const struct buf *b, const char *want)
{
	if (!b->full && b->len == strlen(want) && memcmp(b->p, want, b->len) == 0)
		return 1;
	printf("got:\n%.*swant:\n%s", (int)b->len, b->p, want);
	return 0;
}

static struct rewrite_via
via(const char *prefix, int trusted)
{
	struct rewrite_via v;

	memset(&v, 0, sizeof(v));
	v.peer = str("192.0.2.1");
	v.proto = str("https");
	v.request_id = str("id");
	v.prefix = str(prefix);
	v.trusted = trusted;
	return v;
}

static void
parse(struct http_head *h, const char *in, size_t len)
{
	const char *why;

	h->scanned = 0;
	if (http_req_parse(h, in, len, &why) != (int)len)
		check(0, in, 0);
}

/* The rows; what comes out says the same when it is read again; no size is overrun. */
static void
test_requests(void)
{
	static struct http_head h, again;
	struct rewrite_via v;
	struct buf b;
	size_t i, cap;
	char *p, *in;

	for (i = 0; i < LEN(requests); i++) {
		in = exact(requests[i].in, strlen(requests[i].in));
		parse(&h, in, strlen(requests[i].in));
		v = via(requests[i].prefix, requests[i].trusted);
		for (cap = 0; cap <= strlen(requests[i].want); cap++) {
			p = malloc(cap ? cap : 1);
			buf_init(&b, p, cap);
			rewrite_request(&b, &h, str("/b"), &v);
			if (cap < strlen(requests[i].want)) {
				check(b.full, requests[i].name, cap);
			} else {
				check(holds(&b, requests[i].want), requests[i].name, i);
				parse(&again, b.p, b.len);
				check(again.framing == h.framing && again.length == h.length &&
				    again.keep_alive, requests[i].name, i);
			}
			free(p);
		}
		free(in);
	}
}

/* As a proxy that the caller has chosen, of whom nothing is told. */
static void
test_proxied(void)
{
	static const struct { const char *name, *in, *set, *want; } rows[] = {
		{ "Via, and one request a connection", GET "A: 1\r\n\r\n", "", OUT "A: 1\r\nVia: 1.1 p\r\nConnection: close\r\n\r\n" },
		{ "HTTP/1.0, behind another", "GET /a HTTP/1.0\r\nHost: h\r\nVia: 1.1 q\r\nExpect: 100-continue\r\n\r\n", "",
		    OUT "Via: 1.1 q\r\nVia: 1.0 p\r\nConnection: close\r\n\r\n" },
		{ "what the caller says of itself passes", GET "X-Forwarded-For: 1\r\nForwarded: x\r\nX-Request-Id: r\r\n\r\n", "",
		    OUT "X-Forwarded-For: 1\r\nForwarded: x\r\nX-Request-Id: r\r\nVia: 1.1 p\r\nConnection: close\r\n\r\n" },
		{ "what is for us does not", GET "Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nConnection: X\r\nX: 1\r\n"
		    "Keep-Alive: 5\r\nTE: trailers\r\n\r\n", "", OUT "Via: 1.1 p\r\nConnection: TE, close\r\nTE: trailers\r\n\r\n" },
		{ "an upgrade", GET "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "",
		    OUT "Via: 1.1 p\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" },
		{ "absolute-form decides Host", "GET http://h/a HTTP/1.1\r\nHost: other\r\n\r\n", "", OUT "Via: 1.1 p\r\nConnection: close\r\n\r\n" },
		{ "fields that are set", GET "authorization: mine\r\nB: 1\r\nAuthorization: too\r\nX-A: 2\r\n\r\n",
		    "Authorization: Bearer t0ken\r\nx-a: \r\nx-a: 3\r\n",
		    OUT "B: 1\r\nAuthorization: Bearer t0ken\r\nx-a: \r\nx-a: 3\r\nVia: 1.1 p\r\nConnection: close\r\n\r\n" },
		{ "but for those of one connection", GET "Content-Length: 0\r\n\r\n", "Host: x\r\ncontent-length: 9\r\nConnection: x\r\nA: 1\r\n",
		    OUT "A: 1\r\nVia: 1.1 p\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" },
	};
	static struct http_head h;
	static char out[1024];
	struct rewrite_via v;
	struct rewrite_to to;
	const char *why;
	struct buf b;
	size_t i;

	for (i = 0; i < LEN(rows); i++) {
		parse(&h, rows[i].in, strlen(rows[i].in));
		memset(&v, 0, sizeof(v));
		v.proxy = "p";
		v.set = str(rows[i].set);
		buf_init(&b, out, sizeof(out));
		rewrite_request(&b, &h, str("/b"), &v);
		check(holds(&b, rows[i].want), rows[i].name, i);
	}
	memset(&to, 0, sizeof(to));
	to.minor = 1;
	to.proxy = "p";
	h.scanned = 0;
	http_res_parse(&h, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 38, 0, &why);
	buf_init(&b, out, sizeof(out));
	rewrite_response(&b, &h, &to);
	check(holds(&b, RES "Via: 1.0 p\r\nContent-Length: 0\r\n\r\n"), "a response", 0);
}

static void
test_responses(void)
{
	static struct http_head h;
	static char out[4096];
	struct rewrite_to to;
	const char *why;
	struct buf b;
	size_t i;

	for (i = 0; i < LEN(responses); i++) {
		h.scanned = 0;
		check(http_res_parse(&h, responses[i].in, strlen(responses[i].in),
		    responses[i].is_head, &why) > 0, responses[i].name, i);
		memset(&to, 0, sizeof(to));
		to.minor = responses[i].minor;
		to.close = responses[i].close;
		to.request_id = str(responses[i].id);
		buf_init(&b, out, sizeof(out));
		rewrite_response(&b, &h, &to);
		check(holds(&b, responses[i].want), responses[i].name, i);
	}
}

/* RFC 9110 section 6.6.1: who passes a response on gives it a Date; times by date(1). */
static void
test_date(void)
{
	static const struct { const char *name, *in, *want; int64_t at; } rows[] = {
		{ "none", RES "Content-Length: 0\r\n\r\n", RES "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n", 784111777 },
		{ "a leap day", RES "Content-Length: 0\r\n\r\n", RES "Date: Thu, 29 Feb 2024 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n", 1709251199 },
		{ "past 2038", RES "Content-Length: 0\r\n\r\n", RES "Date: Tue, 19 Jan 2038 03:14:08 GMT\r\nContent-Length: 0\r\n\r\n", 2147483648 },
		{ "one of its own", RES "date: x\r\nContent-Length: 0\r\n\r\n", RES "date: x\r\nContent-Length: 0\r\n\r\n", 784111777 },
		{ "not in an interim response", "HTTP/1.1 103 a\r\n\r\n", "HTTP/1.1 103 a\r\n\r\n", 784111777 },
		{ "no clock", RES "Content-Length: 0\r\n\r\n", RES "Content-Length: 0\r\n\r\n", 0 },
	};
	static struct http_head h;
	static char out[1024];
	struct rewrite_to to;
	const char *why;
	struct buf b;
	size_t i;

	for (i = 0; i < LEN(rows); i++) {
		h.scanned = 0;
		check(http_res_parse(&h, rows[i].in, strlen(rows[i].in), 0, &why) > 0, rows[i].name, i);
		memset(&to, 0, sizeof(to));
		to.minor = 1;
		to.date = rows[i].at;
		buf_init(&b, out, sizeof(out));
		rewrite_response(&b, &h, &to);
		check(holds(&b, rows[i].want), rows[i].name, i);
	}
}

static void
test_local(void)
{
	static const char in[] = OUT "X: 1\r\nContent-Length: 5, 5\r\nConnection: Upgrade\r\n"
	    "Upgrade: websocket\r\nX-Forwarded-For: 1\r\n\r\n";
	static const char rest[] = "X: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	    "X-Forwarded-For: 1\r\nContent-Length: 5\r\n\r\n";
	static struct http_head h;
	static char out[1024], want[1024];
	struct buf b;

	parse(&h, in, sizeof(in) - 1);
	buf_init(&b, out, sizeof(out));
	rewrite_local(&b, &h, str(""));
	snprintf(want, sizeof(want), "%s%s", OUT, rest);
	check(holds(&b, want), "local, Host stays", 0);
	buf_init(&b, out, sizeof(out));
	rewrite_local(&b, &h, str("localhost:80"));
	snprintf(want, sizeof(want), "GET /b HTTP/1.1\r\nHost: localhost:80\r\n%s", rest);
	check(holds(&b, want), "local, Host given", 0);
}

static void
test_trailers(void)
{
	size_t i;

	for (i = 0; i < LEN(refused_trailers); i++)
		check(!rewrite_trailer_ok(str(refused_trailers[i])), refused_trailers[i], i);
	for (i = 0; i < LEN(kept_trailers); i++)
		check(rewrite_trailer_ok(str(kept_trailers[i])), kept_trailers[i], i);
}

int
main(void)
{
	test_requests();
	test_proxied();
	test_responses();
	test_date();
	test_local();
	test_trailers();
	return test_end();
}
