/* wsproxy's messages: the examples of its protocol (E5 to E9), then what they leave out. */
#include <errno.h>

#include "../base64.h"
#include "../jsonscan.h"
#include "../wsproxymsg.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define S(s)	s, sizeof(s) - 1
#define ID	"a1b2c3d4e5f6"

/* Data frames. */

static const struct { const char *name, *p; size_t len; const char *id; } frames[] = {
	{ "E7", S("\0\0\0\014" "0123456789abSSH-2.0-x\r\n"), "0123456789ab" },
	{ "one byte", S("\0\0\0\014" ID "\0"), ID },
	{ "E9, N = 0", S("\0\0\0\0\1"), NULL },
	{ "E9, N = 65", S("\0\0\0\101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), NULL },
	{ "E9, short", S("\0\0\0\01401"), NULL },
	{ "E9, JSON", S("{\"type\":\"tcp_close\"}"), NULL },
	{ "no payload", S("\0\0\0\014" ID), NULL },
	{ "another length", S("\0\0\0\013a1b2c3d4e5fxx"), NULL },
	{ "a longer one", S("\0\0\0\015a1b2c3d4e5f67xx"), NULL },
	{ "a large N", S("\1\0\0\014" ID "x"), NULL },
	{ "upper case", S("\0\0\0\014" "A1B2C3D4E5F6x"), NULL },
	{ "no digit", S("\0\0\0\014" "a1b2c3d4e5fgx"), NULL },
	{ "a NUL", S("\0\0\0\014" "a1b2c3d4e5f\0x"), NULL },
};

static void
test_frames(void)
{
	uint8_t header[WSPROXY_HEADER], *p;
	char id[WSPROXY_ID + 1];
	size_t i, n;
	int rc;

	for (i = 0; i < LEN(frames); i++)
		for (n = 0; n <= frames[i].len; n++) {
			p = exact(frames[i].p, n);
			rc = wsproxy_frame(p, n, id);
			if (frames[i].id != NULL && n > WSPROXY_HEADER)
				check(rc == 0 && strcmp(id, frames[i].id) == 0, frames[i].name, n);
			else
				check(rc == -1, frames[i].name, n);
			free(p);
		}
	wsproxy_frame_put(header, "0123456789ab");
	check(memcmp(header, "\0\0\0\014" "0123456789ab", WSPROXY_HEADER) == 0, "E7's header", 0);
}

/* Control objects out. */

static void
test_control(void)
{
	char text[256];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	wsproxy_put_ready(&b, "https://0123456789abcdef.tunnel.example.com", 10000);
	check(b.len == 97 && memcmp(text, S("{\"type\":\"tunnel_ready\",\"tunnelUrl\":\"https://0123456789abcdef.tunnel.example.com\","
	    "\"rawPort\":10000}")) == 0, "E5", b.len);
	buf_init(&b, text, sizeof(text));
	wsproxy_put_ready(&b, "", 0);
	check(b.len == 50 && memcmp(text, S("{\"type\":\"tunnel_ready\",\"tunnelUrl\":\"\",\"rawPort\":0}")) == 0, "neither", b.len);
	buf_init(&b, text, sizeof(text));
	wsproxy_put_tcp(&b, "tcp_open", "0123456789ab");
	check(b.len == 0x2b && memcmp(text, S("{\"type\":\"tcp_open\",\"connId\":\"0123456789ab\"}")) == 0, "E7", b.len);
}

/* Requests. */

#define REQUEST(method, path, headers, body) \
	"{\"type\":\"http_request\",\"id\":\"" ID "\",\"method\":\"" method "\",\"path\":\"" path "\",\"headers\":{" headers "},\"body\":\"" body "}"

static const struct {
	const char *name, *head, *body;
	size_t len;
	int plain;
	const char *want;
} requests[] = {
	{ "E6, its content as it is", "POST /api?x=1&y=2 HTTP/1.1\r\nHost: 0123456789abcdef.tunnel.example.com\r\nContent-Type: text/plain\r\n"
	    "Cookie: s=1\r\nContent-Length: 2\r\n\r\n", S("hi"), 0,
	    REQUEST("POST", "/api?x=1\\u0026y=2", "\"Content-Type\":\"text/plain\"", "hi\"") },
	{ "no field, no content", "GET / HTTP/1.0\r\n\r\n", S(""), 0, REQUEST("GET", "/", "", "\"") },
	{ "bytes", "PUT / HTTP/1.0\r\nContent-Length: 2\r\n\r\n", S("\xff\x00"), 0,
	    REQUEST("PUT", "/", "", "/wA=\",\"bodyEncoding\":\"base64\"") },
	{ "a character cut off", "PUT / HTTP/1.0\r\nContent-Length: 2\r\n\r\n", S("\xe2\x82"), 0,
	    REQUEST("PUT", "/", "", "4oI=\",\"bodyEncoding\":\"base64\"") },
	{ "escapes", "PUT /<> HTTP/1.0\r\nContent-Length: 2\r\n\r\n", S("\"\\/\b\f\n\r\t\x01\x1f\x7f<>&\xc3\xa9\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa\xf0\x9f\x98\x80"),
	    0, REQUEST("PUT", "/\\u003c\\u003e", "", "\\\"\\\\/\\u0008\\u000c\\n\\r\\t\\u0001\\u001f\x7f\\u003c\\u003e\\u0026\xc3\xa9\xe2\x80\xa7\\u2028\\u2029\xe2\x80\xaa\xf0\x9f\x98\x80\"") },
	{ "what is withheld", "GET / HTTP/1.1\r\nHost: a\r\nCOOKIE: a\r\nauthorization: a\r\nProxy-Authorization: a\r\nSet-Cookie: a\r\nX-CSRF-Token: a\r\n"
	    "X-XSRF-TOKEN: a\r\nX-Forwarded-For: a\r\nX-Forwarded-Host: a\r\nX-Forwarded-Proto: a\r\nX-Real-IP: a\r\nX-Request-Id: a\r\nForwarded: a\r\n"
	    "X-Kept: a\r\n\r\n", S(""), 0, REQUEST("GET", "/", "\"X-Kept\":\"a\"", "\"") },
	{ "one hop's", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nKeep-Alive: a\r\nTE: trailers\r\nTrailer: a\r\nUpgrade: b\r\nProxy-Connection: c\r\n"
	    "Expect: 100-continue\r\n\r\n", S(""), 0, REQUEST("GET", "/", "", "\"") },
	{ "names in their case, values joined", "GET / HTTP/1.1\r\nHost: a\r\nx-foo-bar: 1\r\nX--A: 2\r\nX-FOO-BAR: \r\nETAG: e\r\nx-foo-bar: 3\r\nx_Y: 4\r\n\r\n",
	    S(""), 0, REQUEST("GET", "/", "\"X-Foo-Bar\":\"1, , 3\",\"X--A\":\"2\",\"Etag\":\"e\",\"X_y\":\"4\"", "\"") },
	{ "bytes in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-U: \xc3\xa9\r\nX-L: a\xe9z\t\"\r\n\r\n", S(""), 0,
	    REQUEST("GET", "/", "\"X-U\":\"\xc3\xa9\",\"X-L\":\"a\\ufffdz\\t\\\"\"", "\"") },
	{ "who decodes", "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n", S(""), 0,
	    REQUEST("GET", "/", "\"Accept-Encoding\":\"gzip\"", "\"") },
	{ "and who does not", "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nA: b\r\n\r\n", S(""), 1,
	    REQUEST("GET", "/", "\"A\":\"b\",\"Accept-Encoding\":\"identity\"", "\"") },
	{ "that alone", "GET / HTTP/1.0\r\n\r\n", S(""), 1, REQUEST("GET", "/", "\"Accept-Encoding\":\"identity\"", "\"") },
	{ "the asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", S(""), 0, REQUEST("OPTIONS", "*", "", "\"") },
};

static void
message(struct message *m, const char *head, const void *body, size_t len)
{
	const char *why = "";

	memset(m, 0, sizeof(*m));
	memcpy(m->id, ID, sizeof(ID));
	m->body = body;
	m->len = len;
	check(http_req_parse(&m->head, head, strlen(head), &why) == (int)strlen(head), why, 0);
}

static void
test_requests(void)
{
	struct message m;
	char *text, *body;
	size_t i, len, want;

	for (i = 0; i < LEN(requests); i++) {
		body = exact(requests[i].body, requests[i].len);
		message(&m, requests[i].head, body, requests[i].len);
		want = strlen(requests[i].want);
		text = NULL;
		check(wsproxy_encode(&m, SIZE_MAX, requests[i].plain, &text, &len) == 0 && len == want &&
		    memcmp(text, requests[i].want, want) == 0, requests[i].name, i);
		free(text);
		check(wsproxy_encode(&m, want, requests[i].plain, &text, &len) == 0 && len == want, "just long enough", i);
		free(text);
		errno = 0;
		check(wsproxy_encode(&m, want - 1, requests[i].plain, &text, &len) == -1 && errno == EMSGSIZE && text == NULL, "a byte too long", i);
		free(body);
	}
}

/* The most that a byte can become. */
static void
test_growth(void)
{
	static const char fills[] = "\x01\"&\xff";
	enum { N = 20000 };
	struct message m;
	char *head = malloc(N + 100), *text, *body = malloc(N);
	size_t i, len;

	if (head == NULL || body == NULL)
		abort();
	for (i = 0; i < LEN(fills) - 1; i++) {
		snprintf(head, N, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
		len = strlen(head);
		memset(head + len, i == 0 ? '\t' : fills[i], N);
		memcpy(head + len, "a", 1);
		memcpy(head + len + N - 1, "a\r\n\r\n", 6);
		memset(body, fills[i], N);
		message(&m, head, body, N);
		check(wsproxy_encode(&m, SIZE_MAX, 1, &text, &len) == 0, "growth", i);
		free(text);
	}
	free(head);
	free(body);
}

/* What comes. */

#define R(more)	"{\"type\":\"http_response\",\"id\":\"" ID "\"" more "}"

static const struct {
	const char *name, *text;
	enum wsproxy_type type;
	const char *id;
} objects[] = {
	{ "E7", "{\"type\":\"tcp_close\",\"connId\":\"0123456789ab\"}", WSPROXY_CLOSE, "0123456789ab" },
	{ "the browser client's", "{\"connId\":\"0123456789ab\",\"type\":\"tcp_close\"}", WSPROXY_CLOSE, "0123456789ab" },
	{ "names in any case", "{\"TYPE\":\"tcp_close\",\"CONNID\":\"0123456789ab\"}", WSPROXY_CLOSE, "0123456789ab" },
	{ "the last of two", "{\"type\":\"x\",\"connId\":\"0123456789ab\",\"Type\":\"tcp_close\",\"connid\":\"" ID "\"}", WSPROXY_CLOSE, ID },
	{ "escapes", "{\"ty\\u0070e\":\"tcp_clos\\u0065\",\"connId\":\"\\u00301\\u0032\\u0033456789ab\"}", WSPROXY_CLOSE, "0123456789ab" },
	{ "more members, blanks", " {\"a\":[1,{\"type\":5}],\"type\":\"tcp_close\",\"connId\":\"" ID "\",\"b\":null}\r\n", WSPROXY_CLOSE, ID },
	{ "a response of nothing", R(""), WSPROXY_RESPONSE, ID },
	{ "all members", R(",\"status\":200,\"headers\":{\"a\":\"b\"},\"body\":\"\",\"bodyEncoding\":\"\""), WSPROXY_RESPONSE, ID },
	{ "nulls", R(",\"status\":null,\"headers\":null,\"body\":null,\"bodyEncoding\":null"), WSPROXY_RESPONSE, ID },
	{ "a null field", R(",\"headers\":{\"a\":null}"), WSPROXY_RESPONSE, ID },
	{ "a status below", R(",\"status\":-5"), WSPROXY_RESPONSE, ID },
	{ "nothing", "", WSPROXY_JUNK, NULL },
	{ "no JSON", "junk", WSPROXY_JUNK, NULL },
	{ "an array", "[]", WSPROXY_JUNK, NULL },
	{ "an empty object", "{}", WSPROXY_JUNK, NULL },
	{ "cut short", "{\"type\":\"tcp_close\",\"connId\":\"0123456789ab\"", WSPROXY_JUNK, NULL },
	{ "more behind it", "{\"type\":\"tcp_close\",\"connId\":\"0123456789ab\"}x", WSPROXY_JUNK, NULL },
	{ "another type", "{\"type\":\"tcp_open\",\"connId\":\"0123456789ab\"}", WSPROXY_JUNK, NULL },
	{ "our own", "{\"type\":\"http_request\",\"id\":\"" ID "\"}", WSPROXY_JUNK, NULL },
	{ "a type in another case", "{\"type\":\"TCP_CLOSE\",\"connId\":\"0123456789ab\"}", WSPROXY_JUNK, NULL },
	{ "a number for a type", "{\"type\":5,\"connId\":\"0123456789ab\"}", WSPROXY_JUNK, NULL },
	{ "a short id", "{\"type\":\"tcp_close\",\"connId\":\"0123456789a\"}", WSPROXY_JUNK, NULL },
	{ "a long id", "{\"type\":\"tcp_close\",\"connId\":\"0123456789abc\"}", WSPROXY_JUNK, NULL },
	{ "upper case", "{\"type\":\"tcp_close\",\"connId\":\"0123456789AB\"}", WSPROXY_JUNK, NULL },
	{ "the README's ids", "{\"type\":\"http_response\",\"id\":\"req-1\"}", WSPROXY_JUNK, NULL },
	{ "the other's id", "{\"type\":\"tcp_close\",\"id\":\"0123456789ab\"}", WSPROXY_JUNK, NULL },
	{ "a number for an id", "{\"type\":\"http_response\",\"id\":5}", WSPROXY_JUNK, NULL },
	{ "a string for a status", R(",\"status\":\"200\""), WSPROXY_JUNK, NULL },
	{ "a fraction", R(",\"status\":200.0"), WSPROXY_JUNK, NULL },
	{ "an exponent", R(",\"status\":2e2"), WSPROXY_JUNK, NULL },
	{ "an array of fields", R(",\"headers\":[]"), WSPROXY_JUNK, NULL },
	{ "a number in a field", R(",\"headers\":{\"a\":5}"), WSPROXY_JUNK, NULL },
	{ "an array in a field", R(",\"headers\":{\"a\":[\"b\"]}"), WSPROXY_JUNK, NULL },
	{ "an object for content", R(",\"body\":{}"), WSPROXY_JUNK, NULL },
	{ "a number for a coding", R(",\"bodyEncoding\":1"), WSPROXY_JUNK, NULL },
};

static void
test_objects(void)
{
	struct wsproxy_control c;
	const char *why;
	struct str s;
	char *p;
	size_t i, n, len;

	for (i = 0; i < LEN(objects); i++)
		for (len = strlen(objects[i].text), n = 0; n <= len; n++) {
			p = exact(objects[i].text, n);
			s.p = p;
			s.len = n;
			why = NULL;
			if (n == len)
				check(wsproxy_read(&c, s, &why) == objects[i].type && (objects[i].id != NULL ? strcmp(c.id, objects[i].id) == 0 :
				    why != NULL), objects[i].name, n);
			else	/* but for blanks and what is behind it, a part is nothing */
				check(wsproxy_read(&c, s, &why) == WSPROXY_JUNK || objects[i].text[n - 1] == '}' ||
				    objects[i].text[n - 1] == '\r', objects[i].name, n);
			free(p);
		}
}

#define OK	"HTTP/1.1 200 OK\r\n"
#define EMPTY	"Content-Length: 0\r\n\r\n"
#define BAD(why) "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n" \
	"Content-Length: "

static const struct {
	const char *name, *members;
	int is_head;
	const char *head, *body;	/* head NULL: interim; ends in a blank: the rest is not compared */
} responses[] = {
	{ "E6", ",\"status\":201,\"headers\":{\"X-App\":\"1\",\"Set-Cookie\":\"a=b\"},\"body\":\"b2s=\",\"bodyEncoding\":\"base64\"", 0,
	    "HTTP/1.1 201 Created\r\nX-App: 1\r\nContent-Length: 2\r\n\r\n", "ok" },
	{ "literal content", ",\"status\":200,\"body\":\"h\\u00e9 \\ud83d\\ude00\\n\"", 0, OK "Content-Length: 9\r\n\r\n", "h\xc3\xa9 \xf0\x9f\x98\x80\n" },
	{ "half a pair", ",\"status\":200,\"body\":\"\\ud83dx\\udc00\"", 0, OK "Content-Length: 7\r\n\r\n", "\xef\xbf\xbdx\xef\xbf\xbd" },
	{ "an empty coding", ",\"status\":200,\"body\":\"b2s=\",\"bodyEncoding\":\"\"", 0, OK "Content-Length: 4\r\n\r\n", "b2s=" },
	{ "no content", ",\"status\":200", 0, OK EMPTY, "" },
	{ "a coding of nothing", ",\"status\":200,\"body\":\"\",\"bodyEncoding\":\"base64\"", 0, OK EMPTY, "" },
	{ "HEAD", ",\"status\":200,\"headers\":{\"Content-Length\":\"17\"},\"body\":\"\"", 1, OK "Content-Length: 17\r\n\r\n", "" },
	{ "HEAD, and content", ",\"status\":200,\"body\":\"abc\"", 1, OK "\r\n", "" },
	{ "204", ",\"status\":204,\"headers\":{\"Content-Length\":\"5\"},\"body\":\"abc\"", 0, "HTTP/1.1 204 No Content\r\n\r\n", "" },
	{ "304", ",\"status\":304,\"body\":\"abc\"", 0, "HTTP/1.1 304 Not Modified\r\n\r\n", "" },
	{ "its own length", ",\"status\":200,\"headers\":{\"content-length\":\"5\"},\"body\":\"abc\"", 0, OK "Content-Length: 3\r\n\r\n", "abc" },
	{ "what is dropped", ",\"status\":200,\"headers\":{\"connection\":\"a\",\"Keep-Alive\":\"a\",\"transfer-encoding\":\"gzip\",\"Upgrade\":\"a\",\"TE\":\"a\","
	    "\"Trailer\":\"a\",\"set-cookie2\":\"a\",\"Access-Control-Allow-Origin\":\"*\",\"access-control-allow-credentials\":\"a\","
	    "\"access-control-allow-methods\":\"a\",\"access-control-allow-headers\":\"a\",\"access-control-expose-headers\":\"a\","
	    "\"strict-transport-security\":\"a\",\"content-security-policy\":\"a\",\"content-security-policy-report-only\":\"a\","
	    "\"x-frame-options\":\"a\",\"x-content-type-options\":\"a\",\"x-xss-protection\":\"a\",\"public-key-pins\":\"a\","
	    "\"public-key-pins-report-only\":\"a\",\"clear-site-data\":\"a\",\"service-worker-allowed\":\"a\",\"X-Kept\":\"a\"}", 0,
	    OK "X-Kept: a\r\n" EMPTY, "" },
	{ "names that are none", ",\"status\":200,\"headers\":{\"\":\"a\",\"a b\":\"a\",\"a:\":\"a\",\"\\u00e9\":\"a\",\"\\u20ac\":\"a\",\"a\\r\\nb\":\"a\",\"A\":\"a\"}", 0,
	    OK "A: a\r\n" EMPTY, "" },
	{ "values that are none", ",\"status\":200,\"headers\":{\"A\":\"a\\r\\nb: c\",\"B\":\"a\\tb\",\"C\":\"\\u0000\",\"D\":\"\\u007f\",\"E\":\"a\\u2028\",\"F\":\"\xe2\x80\xa9\","
	    "\"G\":\"\\u2027\\u00e9\"}", 0, OK "G: \xe2\x80\xa7\xc3\xa9\r\n" EMPTY, "" },
	{ "the last of several", ",\"status\":200,\"headers\":{\"X-A\":\"1\",\"B\":\"2\",\"x-a\":\"3\"}", 0, OK "x-a: 3\r\nB: 2\r\n" EMPTY, "" },
	{ "a null value", ",\"status\":200,\"headers\":{\"A\":null}", 0, OK "A: \r\n" EMPTY, "" },
	{ "chunks that came as they are", ",\"status\":200,\"headers\":{\"Transfer-Encoding\":\"chunked\"},\"body\":\"3\\r\\nabc\\r\\n2;x=y\\r\\nde\\r\\n0\\r\\nT: t\\r\\n\\r\\n\"", 0,
	    OK "Content-Length: 5\r\n\r\n", "abcde" },
	{ "chunks cut short", ",\"status\":200,\"headers\":{\"Transfer-Encoding\":\"chunked\"},\"body\":\"3\\r\\nabc\\r\\n\"", 0,
	    OK "Content-Length: 8\r\n\r\n", "3\r\nabc\r\n" },
	{ "chunks, and more", ",\"status\":200,\"headers\":{\"Transfer-Encoding\":\"chunked\"},\"body\":\"0\\r\\n\\r\\nx\"", 0,
	    OK "Content-Length: 6\r\n\r\n", "0\r\n\r\nx" },
	{ "chunks that somebody has decoded", ",\"status\":200,\"headers\":{\"Transfer-Encoding\":\"chunked\"},\"body\":\"abc\"", 0,
	    OK "Content-Length: 3\r\n\r\n", "abc" },
	{ "content that looks like chunks", ",\"status\":200,\"body\":\"0\\r\\n\\r\\n\"", 0, OK "Content-Length: 5\r\n\r\n", "0\r\n\r\n" },
	{ "599", ",\"status\":599", 0, "HTTP/1.1 599 Unknown\r\n" EMPTY, "" },
	{ "interim", ",\"status\":103,\"headers\":{\"Link\":\"a\"}", 0, NULL, NULL },
	{ "100", ",\"status\":100", 0, NULL, NULL },
	{ "switching", ",\"status\":101", 0, NULL, NULL },
	{ "600", ",\"status\":600", 0, BAD(), "invalid response from tunnel\n" },
	{ "99", ",\"status\":99", 0, BAD(), "invalid response from tunnel\n" },
	{ "1000", ",\"status\":1000", 0, BAD(), "invalid response from tunnel\n" },
	{ "below", ",\"status\":-20", 0, BAD(), "invalid response from tunnel\n" },
	{ "none", "", 0, BAD(), "invalid response from tunnel\n" },
	{ "none, HEAD", "", 1, BAD(), "" },
	{ "an unknown coding", ",\"status\":200,\"headers\":{\"X-A\":\"1\"},\"body\":\"x\",\"bodyEncoding\":\"gzip\"", 0, BAD(), "invalid body encoding from tunnel\n" },
	{ "a long one", ",\"status\":200,\"body\":\"x\",\"bodyEncoding\":\"base64base64\"", 0, BAD(), "invalid body encoding from tunnel\n" },
	{ "no base64", ",\"status\":200,\"body\":\"b2s\",\"bodyEncoding\":\"base64\"", 0, BAD(), "invalid base64 response from tunnel\n" },
	{ "of the other alphabet", ",\"status\":200,\"body\":\"_-8=\",\"bodyEncoding\":\"base64\"", 0, BAD(), "invalid base64 response from tunnel\n" },
};

static void
respond(const char *name, const char *text, size_t len, int is_head, const char *head, const char *body, size_t bodylen)
{
	struct wsproxy_control c;
	struct wsproxy_answer a;
	struct str s;
	const char *why;
	char *p = exact(text, len);
	int rc;

	s.p = p;
	s.len = len;
	check(wsproxy_read(&c, s, &why) == WSPROXY_RESPONSE, name, 0);
	rc = wsproxy_respond(&a, &c, is_head);
	if (head == NULL)
		check(rc == 0 && a.memory == NULL, name, 1);
	else {
		check(rc == 1 && (a.why != NULL) == (strncmp(head, "HTTP/1.1 502", 12) == 0), name, 2);
		check(head[strlen(head) - 1] == ' ' ? strncmp(a.head.p, head, strlen(head)) == 0 :
		    a.head.len == strlen(head) && memcmp(a.head.p, head, a.head.len) == 0, name, 3);
		check(a.body.len == bodylen && (bodylen == 0 || memcmp(a.body.p, body, bodylen) == 0), name, 4);
	}
	free(a.memory);
	free(p);
}

static void
test_responses(void)
{
	char text[4096];
	size_t i;

	for (i = 0; i < LEN(responses); i++) {
		snprintf(text, sizeof(text), R("%s"), responses[i].members);
		respond(responses[i].name, text, strlen(text), responses[i].is_head, responses[i].head, responses[i].body,
		    responses[i].body != NULL ? strlen(responses[i].body) : 0);
	}
}

/* Lengths at their limits. */
static void
test_limits(void)
{
	enum { ROOM = WSPROXY_CONTENT_MAX + 4096 };
	char *text = malloc(ROOM), *content = malloc(ROOM), name[200], head[64];
	size_t n, i, len;

	if (text == NULL || content == NULL)
		abort();
	for (n = 8191; n <= 8193; n++) {	/* a value */
		len = (size_t)sprintf(text, "{\"type\":\"http_response\",\"id\":\"" ID "\",\"status\":200,\"headers\":{\"A\":\"");
		memset(text + len, 'v', n);
		len += n;
		len += (size_t)sprintf(text + len, "\"}}");
		sprintf(content, OK "A: ");
		memset(content + strlen(OK "A: "), 'v', n);
		memcpy(content + strlen(OK "A: ") + n, "\r\n" EMPTY, sizeof("\r\n" EMPTY));
		respond("a value's length", text, len, 0, n <= 8192 ? content : OK EMPTY, "", 0);
	}
	for (n = 127; n <= 129; n++) {	/* a name */
		memset(name, 'n', n);
		name[n] = '\0';
		snprintf(text, ROOM, R(",\"status\":200,\"headers\":{\"%s\":\"v\"}"), name);
		snprintf(content, ROOM, OK "%s: v\r\n" EMPTY, name);
		respond("a name's length", text, strlen(text), 0, n <= 128 ? content : OK EMPTY, "", 0);
	}
	len = (size_t)sprintf(text, "{\"type\":\"http_response\",\"id\":\"" ID "\",\"status\":200,\"headers\":{\"X-0\":\"v\"");
	n = (size_t)sprintf(content, OK "X-0: v\r\n");
	for (i = 1; i < 110; i++) {	/* fields */
		len += (size_t)sprintf(text + len, ",\"X-%zu\":\"v\"", i);
		if (i < 100)
			n += (size_t)sprintf(content + n, "X-%zu: v\r\n", i);
	}
	sprintf(text + len, "}}");
	sprintf(content + n, EMPTY);
	respond("100 fields", text, strlen(text), 0, content, "", 0);
	for (n = WSPROXY_CONTENT_MAX - 1; n <= WSPROXY_CONTENT_MAX + 1; n++) {	/* content */
		len = (size_t)sprintf(text, "{\"type\":\"http_response\",\"id\":\"" ID "\",\"status\":200,\"body\":\"");
		memset(text + len, 'b', n);
		len += n;
		memcpy(text + len, "\"}", 2);
		memset(content, 'b', n);
		snprintf(head, sizeof(head), OK "Content-Length: %zu\r\n\r\n", n);
		if (n <= WSPROXY_CONTENT_MAX)
			respond("content's length", text, len + 2, 0, head, content, n);
		else
			respond("content's length", text, len + 2, 0, BAD(), "tunnel response too large\n", 26);
	}
	free(text);
	free(content);
}

static void
test_ids(void)
{
	static const char text[] = "{\"type\":\"http_response\",\"id\":\"" ID "\",\"body\":\"xxxx";
	char id[MESSAGE_ID_LEN + 1];
	size_t n;

	for (n = 0; n < sizeof(text); n++)
		check(wsproxy_id(text, n, id) == (n >= strlen("{\"type\":\"http_response\",\"id\":\"" ID "\"")), "an id", n);
	check(strcmp(id, ID) == 0, "the id", 0);
}

int
main(void)
{
	test_frames();
	test_control();
	test_requests();
	test_growth();
	test_objects();
	test_responses();
	test_limits();
	test_ids();
	return test_end();
}
