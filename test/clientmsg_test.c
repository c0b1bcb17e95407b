/* The message dialects on the client's side: requests to heads, responses to answers. The protocols' vectors first. */
#include <errno.h>

#include "../bifrostmsg.h"
#include "../pipegatemsg.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define ID	"3f2d4421-22bb-4d3d-bc0a-328ad6c72e12"
#define QID	"\"" ID "\""

static const struct clientmsg_server plain = { { "relay.test", "", "" }, 0, 1 << 20 }, ours = { { "relay.test", "", "" }, 1, 1 << 20 },
    telling = { { "relay.test", "https", "/demo" }, 0, 1 << 20 };

/* Requests. */

struct row {
	const char *name, *text;
	const char *head;	/* NULL: it is no good */
	const char *body;
	int bare;
};

/* A PipeGate request: url_path, url_query, headers; then method and body. */
#define PG(path, query, headers, method, body) \
	"{\"correlation_id\":" QID ",\"url_path\":" path ",\"url_query\":" query ",\"method\":\"" method "\",\"headers\":" headers ",\"body\":\"" body "\"}"
#define PATH(path)	PG("\"" path "\"", "\"[]\"", "\"{}\"", "GET", "")
#define QUERY(query)	PG("\"p\"", "\"" query "\"", "\"{}\"", "GET", "")
#define FIELDS(headers)	PG("\"\"", "\"[]\"", "\"" headers "\"", "GET", "")
#define GET(target)	"GET " target " HTTP/1.1\r\nHost: relay.test\r\n\r\n"
#define WITH(fields)	"GET / HTTP/1.1\r\n" fields "\r\n"

static const struct row pipegate[] = {
	{ "V3", "{\"correlation_id\":\"" ID "\",\"url_path\":\"api/v1 x\",\"url_query\":\"[[\\\"a\\\",\\\"1\\\"],[\\\"a\\\",\\\"2\\\"],[\\\"b\\\",\\\"\\\"],"
	    "[\\\"c\\\",\\\"+ \\\"]]\",\"method\":\"POST\",\"headers\":\"{\\\"host\\\":\\\"t.example.com\\\",\\\"content-type\\\":\\\"text/plain\\\","
	    "\\\"content-length\\\":\\\"3\\\",\\\"x-pipegate-correlation-id\\\":\\\"3f2d442122bb4d3dbc0a328ad6c72e12\\\"}\",\"body\":\"YT0x\"}",
	    "POST /api/v1%20x?a=1&a=2&b=&c=%2B+ HTTP/1.1\r\nhost: t.example.com\r\ncontent-type: text/plain\r\n"
	    "x-pipegate-correlation-id: 3f2d442122bb4d3dbc0a328ad6c72e12\r\nContent-Length: 3\r\n\r\n", "a=1", 0 },
	{ "V3, path with its escapes", PATH("api/v1%20x"), GET("/api/v1%20x"), "", 0 },
	{ "V8, the root", PATH(""), GET("/"), "", 0 },
	/* paths */
	{ "what is no path's", PATH("a?b#c d\\u00e9\\\"<>%zz%"), GET("/a%3Fb%23c%20d%C3%A9%22%3C%3E%25zz%25"), "", 0 },
	{ "escapes stay", PATH("%2f%3F%25"), GET("/%2f%3F%25"), "", 0 },
	{ "slashes and dots", PATH("/a//../b/."), GET("//a//../b/."), "", 0 },
	{ "line feeds, NUL", PATH("a\\r\\nb\\u0000"), GET("/a%0D%0Ab%00"), "", 0 },
	{ "beyond the BMP", PATH("\\ud83d\\ude00\xe2\x82\xac\\ud800"), GET("/%F0%9F%98%80%E2%82%AC%EF%BF%BD"), "", 0 },
	/* queries */
	{ "none", QUERY(" [ ] "), GET("/p"), "", 0 },
	{ "forms", QUERY("[[\\\"a b\\\",\\\"&=+%?#/\\u00e9\\\"],[\\\"\\\",\\\"~-._\\\"]]"), GET("/p?a+b=%26%3D%2B%25%3F%23%2F%C3%A9&=~-._"), "", 0 },
	{ "escapes in the text in the text", QUERY("[[\\\"\\\\u00e9\\\\\\\"\\\",\\\"\\\\ud83d\\\\ude00\\\\n\\\"]]"), GET("/p?%C3%A9%22=%F0%9F%98%80%0A"), "", 0 },
	{ "an object", QUERY("{\\\"a\\\":\\\"1\\\",\\\"b c\\\":\\\"\\\"}"), GET("/p?a=1&b+c="), "", 0 },
	{ "null", QUERY("null"), GET("/p"), "", 0 },
	{ "null, and one in the path", PG("\"p?a=b#c?d\"", "\" null\"", "\"{}\"", "GET", ""), GET("/p?a=b%23c%3Fd"), "", 0 },
	{ "empty text", QUERY(""), NULL, "", 0 },
	{ "no pairs", QUERY("[[\\\"a\\\"]]"), NULL, "", 0 },
	{ "three", QUERY("[[\\\"a\\\",\\\"b\\\",\\\"c\\\"]]"), NULL, "", 0 },
	{ "a number", QUERY("[[\\\"a\\\",1]]"), NULL, "", 0 },
	{ "strings alone", QUERY("[\\\"a\\\"]"), NULL, "", 0 },
	{ "more behind it", QUERY("[]]"), NULL, "", 0 },
	{ "text", QUERY("a=b"), NULL, "", 0 },
	{ "query an array", PG("\"p\"", "[]", "\"{}\"", "GET", ""), NULL, "", 0 },
	/* fields */
	{ "none, as old servers say it", FIELDS(""), GET("/"), "", 0 },
	{ "one hop's", FIELDS("{\\\"connection\\\":\\\"x-hop ,Keep-Alive\\\",\\\"X-Hop\\\":\\\"1\\\",\\\"x-hopper\\\":\\\"2\\\",\\\"keep-alive\\\":\\\"5\\\",\\\"te\\\":\\\"trailers\\\","
	    "\\\"transfer-encoding\\\":\\\"chunked\\\",\\\"expect\\\":\\\"100-continue\\\",\\\"upgrade\\\":\\\"h2c\\\",\\\"http2-settings\\\":\\\"A\\\","
	    "\\\"proxy-connection\\\":\\\"a\\\",\\\"proxy-authorization\\\":\\\"b\\\",\\\"content-length\\\":\\\"77\\\",\\\"trailer\\\":\\\"c\\\"}"),
	    WITH("Host: relay.test\r\nx-hopper: 2\r\n"), "", 0 },
	{ "no cookie", FIELDS("{\\\"cookie\\\":\\\"\\\",\\\"host\\\":\\\"h\\\"}"), WITH("host: h\r\n"), "", 0 },
	{ "latin-1", FIELDS("{\\\"x\\\":\\\"\xc3\xa9\\\\u00ff\\\"}"), WITH("Host: relay.test\r\nx: \xe9\xff\r\n"), "", 0 },
	{ "a value with a line feed", FIELDS("{\\\"x\\\":\\\"a\\\\r\\\\nb: c\\\"}"), NULL, "", 0 },
	{ "a name with one", FIELDS("{\\\"x\\\\n\\\":\\\"a\\\"}"), NULL, "", 0 },
	{ "beyond latin-1", FIELDS("{\\\"x\\\":\\\"\\\\u20ac\\\"}"), NULL, "", 0 },
	{ "not in text", PG("\"\"", "\"[]\"", "{}", "GET", ""), NULL, "", 0 },
	{ "a list", FIELDS("[]"), NULL, "", 0 },
	/* methods and content */
	{ "HEAD", PG("\"\"", "\"[]\"", "\"{}\"", "HEAD", ""), "HEAD / HTTP/1.1\r\nHost: relay.test\r\n\r\n", "", 1 },
	{ "a POST of nothing", PG("\"\"", "\"[]\"", "\"{}\"", "POST", ""), "POST / HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 0\r\n\r\n", "", 0 },
	{ "DELETE with content", PG("\"\"", "\"[]\"", "\"{}\"", "DELETE", "YQ=="), "DELETE / HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 1\r\n\r\n", "a", 0 },
	{ "no padding", PG("\"\"", "\"[]\"", "\"{}\"", "POST", "YQ"), NULL, "", 0 },
	{ "no method", PG("\"\"", "\"[]\"", "\"{}\"", "", ""), NULL, "", 0 },
	{ "a key missing", "{\"correlation_id\":" QID ",\"url_path\":\"\",\"url_query\":\"[]\",\"method\":\"GET\",\"headers\":\"{}\"}", NULL, "", 0 },
};

#define BF(method, url, rest)	"{\"id\":" QID ",\"method\":\"" method "\",\"url\":\"" url "\"" rest "}"

static const struct row bifrost[] = {
	{ "V5", BF("POST", "/api/v1?x=1&x=2", ",\"headers\":{\"host\":\"preview.tunnel.example.com\",\"x-forwarded-for\":\"198.51.100.7, 203.0.113.9\","
	    "\"x-dup\":\"a, b\",\"content-type\":\"text/plain\",\"content-length\":\"3\",\"x-forwarded-host\":\"preview.tunnel.example.com\","
	    "\"x-forwarded-proto\":\"https\"},\"body\":\"YT0x\""),
	    "POST /api/v1?x=1&x=2 HTTP/1.1\r\nhost: preview.tunnel.example.com\r\nx-forwarded-for: 198.51.100.7, 203.0.113.9\r\nx-dup: a, b\r\n"
	    "content-type: text/plain\r\nx-forwarded-host: preview.tunnel.example.com\r\nx-forwarded-proto: https\r\nContent-Length: 3\r\n\r\n", "a=1", 0 },
	{ "nothing but what must be", BF("GET", "/", ""), GET("/"), "", 0 },
	{ "null", BF("GET", "/", ",\"headers\":null,\"body\":null"), GET("/"), "", 0 },
	{ "arrays and numbers", BF("GET", "/", ",\"headers\":{\"x\":[\"a\",\"b\"],\"y\":5}"), WITH("Host: relay.test\r\nx: a\r\nx: b\r\ny: 5\r\n"), "", 0 },
	{ "Transfer-Encoding, whatever its case", BF("POST", "/", ",\"headers\":{\"Transfer-Encoding\":\"chunked\"},\"body\":\"YQ\""),
	    "POST / HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 1\r\n\r\n", "a", 0 },
	{ "a length, and no content", BF("DELETE", "/", ",\"headers\":{\"content-length\":\"5\"}"), "DELETE / HTTP/1.1\r\nHost: relay.test\r\n\r\n", "", 0 },
	{ "odd characters", BF("PURGE", "/\\\"|{}^`<>\\\\", ""), "PURGE /\"|{}^`<>\\ HTTP/1.1\r\nHost: relay.test\r\n\r\n", "", 0 },
	{ "HEAD", BF("HEAD", "*", ""), "HEAD * HTTP/1.1\r\nHost: relay.test\r\n\r\n", "", 1 },
	{ "a blank in the url", BF("GET", "/a b", ""), NULL, "", 0 },
	{ "a line feed in it", BF("GET", "/a\\nb", ""), NULL, "", 0 },
	{ "no url", BF("GET", "", ""), NULL, "", 0 },
	{ "a line feed in the method", BF("GET\\r\\n", "/", ""), NULL, "", 0 },
	{ "no method", "{\"id\":" QID ",\"url\":\"/\"}", NULL, "", 0 },
	{ "headers a string", BF("GET", "/", ",\"headers\":\"{}\""), NULL, "", 0 },
	{ "a value with a line feed", BF("GET", "/", ",\"headers\":{\"x\":\"a\\nb\"}"), NULL, "", 0 },
	{ "no base64", BF("GET", "/", ",\"body\":\"!\""), NULL, "", 0 },
	{ "body a number", BF("GET", "/", ",\"body\":5"), NULL, "", 0 },
};

static void
try_request(const struct clientmsg_dialect *d, const struct row *row, const struct clientmsg_server *server, size_t i)
{
	size_t len = strlen(row->text), n, hlen = row->head != NULL ? strlen(row->head) : 0;
	char *text = exact(row->text, len);
	struct clientmsg_request r;

	d->decode(&r, text, len, server);
	check(r.id.p != NULL && r.id.len == strlen(QID) && memcmp(r.id.p, QID, r.id.len) == 0, row->name, i);
	check((r.head.p != NULL) == (row->head != NULL) && (r.why == NULL) == (r.head.p != NULL), row->name, i);
	if (row->head != NULL && r.head.p != NULL) {
		check(r.head.len == hlen && memcmp(r.head.p, row->head, hlen) == 0, row->name, i);
		check(r.body.len == strlen(row->body) && (r.body.len == 0 || memcmp(r.body.p, row->body, r.body.len) == 0), row->name, i);
		check(r.bare == row->bare, row->name, i);
	}
	free(r.memory);
	free(text);
	for (n = 0; n < len; n++) {	/* cut short, it is none, and nothing is read behind it */
		text = exact(row->text, n);
		d->decode(&r, text, n, server);
		check(r.id.p == NULL && r.head.p == NULL && r.why != NULL, row->name, n);
		free(r.memory);
		free(text);
	}
}

/* Ids: echoed as they are, or not at all. */
static void
test_ids(void)
{
	static const struct { const char *id; int ok; } rows[] = {
		{ QID, 1 }, { "\"x\"", 1 }, { "\"\\u00e9\\\"\"", 1 }, { "\"\xc3\xa9\"", 1 }, { "\"\"", 0 }, { "5", 0 }, { "null", 0 }, { "{}", 0 },
		{ "\"\xff\"", 0 }, { "\"\xc3\"", 0 },
		{ "\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456\"", 0 },
		{ "\"012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345\"", 1 },
	};
	struct clientmsg_request r;
	char text[512];
	size_t i;

	for (i = 0; i < LEN(rows); i++) {
		sprintf(text, "{\"id\":%s,\"correlation_id\":%s}", rows[i].id, rows[i].id);
		bifrost_client.decode(&r, text, strlen(text), &plain);
		check((r.id.p != NULL) == rows[i].ok && (!rows[i].ok || (r.id.len == strlen(rows[i].id) && memcmp(r.id.p, rows[i].id, r.id.len) == 0)), rows[i].id, i);
		free(r.memory);
		sprintf(text, "{\"id\":%s,\"correlation_id\":%s}", rows[i].id, rows[i].id);
		pipegate_client.decode(&r, text, strlen(text), &plain);
		check((r.id.p != NULL) == rows[i].ok, rows[i].id, i);
		free(r.memory);
	}
}

/* What a request lacks of where its caller thinks it is. */
static void
test_own(void)
{
	static const struct row rows[] = {
		{ "all three", FIELDS("{\\\"host\\\":\\\"pub.test\\\"}"), WITH("host: pub.test\r\nX-Forwarded-Host: pub.test\r\nX-Forwarded-Proto: https\r\n"
		    "X-Forwarded-Prefix: /demo\r\n"), "", 0 },
		{ "none", FIELDS("{\\\"host\\\":\\\"a\\\",\\\"x-forwarded-host\\\":\\\"b\\\",\\\"x-forwarded-proto\\\":\\\"http\\\",\\\"x-forwarded-prefix\\\":\\\"/c\\\"}"),
		    WITH("host: a\r\nx-forwarded-host: b\r\nx-forwarded-proto: http\r\nx-forwarded-prefix: /c\r\n"), "", 0 },
	};
	size_t i;

	for (i = 0; i < LEN(rows); i++)
		try_request(&pipegate_client, &rows[i], &telling, i);
}

/* Every byte of a good one changed: what comes out can be parsed. */
static void
test_bytes(const struct clientmsg_dialect *d, const char *good)
{
	struct clientmsg_request r;
	struct http_head h;
	const char *why;
	char *text;
	size_t i;
	int c;

	for (i = 0; i < strlen(good); i++)
		for (c = 0; c < 256; c++) {
			text = exact(good, strlen(good));
			text[i] = (char)c;
			d->decode(&r, text, strlen(good), &plain);
			memset(&h, 0, sizeof(h));
			if (r.head.p != NULL) {
				int n = http_req_parse(&h, r.head.p, r.head.len, &why);

				check(n == (int)r.head.len || n < 0, "a byte changed", i);
				check(n < 0 || h.framing != HTTP_CHUNKED, "never chunked", i);
			}
			free(r.memory);
			free(text);
		}
}

/* Answers. */

static const struct {
	const char *name, *head, *body;
	int bare;
	const char *pipegate, *pipegate_ours, *bifrost;	/* behind the id; NULL: as the one before */
} answers[] = {
	{ "V4, V5", "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nSet-Cookie: s=1; Path=/\r\nset-cookie: t=2\r\nContent-Length: 12\r\n\r\n",
	    "{\"ok\":true}\n", 0,
	    "\"headers\":\"{\\\"content-type\\\":\\\"application/json\\\",\\\"set-cookie\\\":\\\"s=1; Path=/\\\",\\\"Set-Cookie\\\":\\\"t=2\\\","
	    "\\\"content-length\\\":\\\"12\\\"}\",\"body\":\"eyJvayI6dHJ1ZX0K\",\"status_code\":201}", NULL,
	    "\"status\":201,\"headers\":{\"content-type\":\"application/json\",\"set-cookie\":[\"s=1; Path=/\",\"t=2\"],\"content-length\":\"12\"},"
	    "\"body\":\"eyJvayI6dHJ1ZX0K\"}" },
	{ "date and server are the original server's own", "HTTP/1.1 200 OK\r\nDate: d\r\nServer: s\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n", "", 0,
	    "\"headers\":\"{\\\"x-a\\\":\\\"1, 2\\\",\\\"content-length\\\":\\\"0\\\"}\",\"body\":\"\",\"status_code\":200}",
	    "\"headers\":\"{\\\"date\\\":\\\"d\\\",\\\"server\\\":\\\"s\\\",\\\"x-a\\\":\\\"1, 2\\\",\\\"content-length\\\":\\\"0\\\"}\",\"body\":\"\",\"status_code\":200}",
	    "\"status\":200,\"headers\":{\"date\":\"d\",\"server\":\"s\",\"x-a\":\"1, 2\",\"content-length\":\"0\"},\"body\":\"\"}" },
	{ "HEAD keeps the length", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "", 1,
	    "\"headers\":\"{\\\"content-length\\\":\\\"1234\\\"}\",\"body\":\"\",\"status_code\":200}", NULL,
	    "\"status\":200,\"headers\":{\"content-length\":\"1234\"},\"body\":\"\"}" },
	{ "HEAD without one", "HTTP/1.1 200 OK\r\n\r\n", "", 1, "\"headers\":\"{}\",\"body\":\"\",\"status_code\":200}", NULL,
	    "\"status\":200,\"headers\":{},\"body\":\"\"}" },
	{ "304", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n", "", 0,
	    "\"headers\":\"{\\\"etag\\\":\\\"\\\\\\\"x\\\\\\\"\\\",\\\"content-length\\\":\\\"7\\\"}\",\"body\":\"\",\"status_code\":304}", NULL,
	    "\"status\":304,\"headers\":{\"etag\":\"\\\"x\\\"\",\"content-length\":\"7\"},\"body\":\"\"}" },
	{ "204", "HTTP/1.1 204 No Content\r\n\r\n", "", 0, "\"headers\":\"{}\",\"body\":\"\",\"status_code\":204}", NULL,
	    "\"status\":204,\"headers\":{},\"body\":\"\"}" },
	{ "chunked, hop by hop", "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nKeep-Alive: 5\r\nContent-Encoding: gzip\r\n\r\n",
	    "\x1f\x8b\xff", 0,
	    "\"headers\":\"{\\\"content-encoding\\\":\\\"gzip\\\",\\\"content-length\\\":\\\"3\\\"}\",\"body\":\"H4v/\",\"status_code\":200}", NULL,
	    "\"status\":200,\"headers\":{\"content-encoding\":\"gzip\",\"content-length\":\"3\"},\"body\":\"H4v/\"}" },
	{ "latin-1, tabs", "HTTP/1.1 200 OK\r\nX: a\tb\xe9\\\r\nContent-Length: 0\r\n\r\n", "", 0,
	    "\"headers\":\"{\\\"x\\\":\\\"a b\xc3\xa9\\\\\\\\\\\",\\\"content-length\\\":\\\"0\\\"}\",\"body\":\"\",\"status_code\":200}", NULL,
	    "\"status\":200,\"headers\":{\"x\":\"a\\u0009b\xc3\xa9\\\\\",\"content-length\":\"0\"},\"body\":\"\"}" },
};

static int
encode(const struct clientmsg_dialect *d, const char *head, const char *body, int bare, const struct clientmsg_server *server, char **text, size_t *len)
{
	struct clientmsg_answer a;
	struct http_head h;
	const char *why;

	memset(&h, 0, sizeof(h));
	if (http_res_parse(&h, head, strlen(head), bare, &why) != (int)strlen(head))
		abort();
	a.id.p = QID;
	a.id.len = strlen(QID);
	a.head = &h;
	a.body = (const uint8_t *)body;
	a.len = strlen(body);
	return d->encode(&a, server, text, len);
}

static void
try_answer(const struct clientmsg_dialect *d, const struct clientmsg_server *server, const char *key, const char *want, size_t i)
{
	struct clientmsg_server little = *server;
	char expected[2048], *text;
	size_t len;

	sprintf(expected, "{\"%s\":" QID ",%s", key, want);
	check(encode(d, answers[i].head, answers[i].body, answers[i].bare, server, &text, &len) == 0 && len == strlen(expected) &&
	    memcmp(text, expected, len) == 0, answers[i].name, i);
	if (text != NULL && (len != strlen(expected) || memcmp(text, expected, len) != 0))
		printf("%.*s\n", (int)len, text);
	free(text);
	little.max = strlen(expected);
	check(encode(d, answers[i].head, answers[i].body, answers[i].bare, &little, &text, &len) == 0, "just as long as it may be", i);
	free(text);
	little.max--;
	check(encode(d, answers[i].head, answers[i].body, answers[i].bare, &little, &text, &len) == -1 && errno == EMSGSIZE && text == NULL,
	    "a byte too long", i);
}

static void
test_answers(void)
{
	size_t i;

	for (i = 0; i < LEN(answers); i++) {
		try_answer(&pipegate_client, &plain, "correlation_id", answers[i].pipegate, i);
		try_answer(&pipegate_client, &ours, "correlation_id", answers[i].pipegate_ours != NULL ? answers[i].pipegate_ours : answers[i].pipegate, i);
		try_answer(&bifrost_client, &plain, "id", answers[i].bifrost, i);
	}
}

/* As many cookies as a head may have: all of their names differ, and our own daemon reads them all. */
static int
asked(void *arg, const char *id)
{
	(void)arg;
	(void)id;
	return 0;
}

static void
test_cookies(void)
{
	char head[8192], *text;
	struct pipegate_answer out;
	struct http_head h;
	const char *why;
	size_t len, n = 0, i;

	n = (size_t)sprintf(head, "HTTP/1.1 200 OK\r\n");
	for (i = 0; i < HTTP_FIELDS_MAX - 1; i++)
		n += (size_t)sprintf(head + n, "Set-Cookie: c%zu=1, x=2\r\n", i);
	sprintf(head + n, "\r\n");
	check(encode(&pipegate_client, head, "", 1, &plain, &text, &len) == 0, "many cookies", 0);
	check(pipegate_decode(&out, text, len, asked, NULL) == 1 && out.head.p != NULL, "many cookies, decoded", 0);
	memset(&h, 0, sizeof(h));
	check(out.head.p != NULL && http_res_parse(&h, out.head.p, out.head.len, 0, &why) > 0 && h.nfields == HTTP_FIELDS_MAX, "many cookies, parsed", h.nfields);
	for (i = 0; i + 1 < h.nfields; i++)
		check(http_is(h.field[i].name, "set-cookie") && h.field[i].value.len > 8, "a cookie", i);
	free(out.memory);
	free(text);
}

/* Whatever the fields hold, the room for them suffices. */
static void
test_growth(void)
{
	static const char worst[] = { '"', '\\', '\xff', '\t' };
	char *head = malloc(40000), *text;
	size_t i, len, n;

	if (head == NULL)
		abort();
	for (i = 0; i < sizeof(worst); i++) {
		n = (size_t)sprintf(head, "HTTP/1.1 200 OK\r\nX: a");
		memset(head + n, worst[i], 30000);
		sprintf(head + n + 30000, "b\r\nContent-Length: 3\r\n\r\n");
		check(encode(&pipegate_client, head, "abc", 0, &plain, &text, &len) == 0 && memcmp(text + len - 3, "00}", 3) == 0, "grown fields", i);
		free(text);
		check(encode(&bifrost_client, head, "abc", 0, &plain, &text, &len) == 0 && memcmp(text + len - 2, "\"}", 2) == 0, "grown fields", i);
		free(text);
	}
	free(head);
}

int
main(void)
{
	size_t i;

	for (i = 0; i < LEN(pipegate); i++)
		try_request(&pipegate_client, &pipegate[i], &plain, i);
	for (i = 0; i < LEN(bifrost); i++)
		try_request(&bifrost_client, &bifrost[i], &plain, i);
	test_ids();
	test_own();
	test_bytes(&pipegate_client, PG("\"a b\"", "\"[[\\\"a\\\",\\\"b\\\"]]\"", "\"{\\\"x\\\":\\\"y\\\"}\"", "PUT", "YQ=="));
	test_bytes(&bifrost_client, BF("PUT", "/a", ",\"headers\":{\"x\":[\"y\"]},\"body\":\"YQ==\""));
	test_answers();
	test_cookies();
	test_growth();
	return test_end();
}
