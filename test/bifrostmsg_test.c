/* bifrost's messages: the vectors of its protocol (V5 to V8), then what they leave out. */
#include <errno.h>

#include "../bifrostmsg.h"
#include "../jsonscan.h"
#define ID	"05d2056a-f905-48ad-87ce-59158c2b480d"
#include "msgtest.h"

#define OTHER	"15d2056a-f905-48ad-87ce-59158c2b480d"
#define ANSWER(more)	"{\"id\":\"" ID "\"" more "}"

/* Requests. */

static const struct {
	const char *name, *head, *body;
	size_t len;
	const char *want;	/* NULL: EINVAL */
} requests[] = {
	{ "V5, without what the daemon drops",
	    "POST /api/v1?x=1&x=2 HTTP/1.1\r\nHost: preview.tunnel.example.com\r\nX-Forwarded-For: 198.51.100.7, 203.0.113.9\r\n"
	    "X-Dup: a\r\nX-Dup: b\r\nContent-Type: text/plain\r\nX-Forwarded-Host: preview.tunnel.example.com\r\n"
	    "X-Forwarded-Proto: https\r\nContent-Length: 3\r\n\r\n", S("a=1"),
	    "{\"id\":\"" ID "\",\"method\":\"POST\",\"url\":\"/api/v1?x=1&x=2\",\"headers\":{\"host\":\"preview.tunnel.example.com\","
	    "\"x-forwarded-for\":\"198.51.100.7, 203.0.113.9\",\"x-dup\":\"a, b\",\"content-type\":\"text/plain\","
	    "\"x-forwarded-host\":\"preview.tunnel.example.com\",\"x-forwarded-proto\":\"https\",\"content-length\":\"3\"},\"body\":\"YT0x\"}" },
	{ "no field, no content", "GET / HTTP/1.0\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"GET\",\"url\":\"/\",\"headers\":{},\"body\":\"\"}" },
	{ "a length of nothing", "GET / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"GET\",\"url\":\"/\",\"headers\":{},\"body\":\"\"}" },
	{ "content alone", "PUT /x HTTP/1.0\r\nContent-Length: 1\r\n\r\n", S("\xff"),
	    "{\"id\":\"" ID "\",\"method\":\"PUT\",\"url\":\"/x\",\"headers\":{\"content-length\":\"1\"},\"body\":\"/w==\"}" },
	{ "one hop's fields", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: a\r\n"
	    "Upgrade: b\r\nProxy-Connection: c\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"GET\",\"url\":\"/\",\"headers\":{\"host\":\"a\"},\"body\":\"\"}" },
	{ "joined, an array, the first alone", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nSet-Cookie: x\r\nReferer: 1\r\nCOOKIE: b=2\r\n"
	    "set-cookie: y\r\nreferer: 2\r\nX:\r\nx: 3\r\nAuthorization: b\r\nAuthorization: c\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"GET\",\"url\":\"/\",\"headers\":{\"host\":\"a\",\"cookie\":\"a=1; b=2\",\"set-cookie\":[\"x\",\"y\"],"
	    "\"referer\":\"1\",\"x\":\", 3\",\"authorization\":\"b\"},\"body\":\"\"}" },
	{ "one cookie set is an array too", "GET / HTTP/1.1\r\nHost: a\r\nSet-Cookie: x\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"GET\",\"url\":\"/\",\"headers\":{\"host\":\"a\",\"set-cookie\":[\"x\"]},\"body\":\"\"}" },
	{ "latin-1, quotes, a tab", "GET /\"\\|{} HTTP/1.1\r\nHost: a\r\nX-Q: \"\\/\tz\r\nX-L: \x80\xa0\xe9\xff\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"GET\",\"url\":\"/\\\"\\\\|{}\",\"headers\":{\"host\":\"a\",\"x-q\":\"\\\"\\\\/\\u0009z\","
	    "\"x-l\":\"\xc2\x80\xc2\xa0\xc3\xa9\xc3\xbf\"},\"body\":\"\"}" },
	{ "a method of odd letters", "!#$%&'*+.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"!#$%&'*+.^_`|~\",\"url\":\"/\",\"headers\":{\"host\":\"a\"},\"body\":\"\"}" },
	{ "the asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"OPTIONS\",\"url\":\"*\",\"headers\":{\"host\":\"a\"},\"body\":\"\"}" },
	{ "names that JavaScript knows", "GET / HTTP/1.1\r\nHost: a\r\n__proto__: b\r\n\r\n", S(""),
	    "{\"id\":\"" ID "\",\"method\":\"GET\",\"url\":\"/\",\"headers\":{\"host\":\"a\",\"__proto__\":\"b\"},\"body\":\"\"}" },
};

static int
message(struct message *m, const char *head, const char *body, size_t len)
{
	const char *why;

	memset(m, 0, sizeof(*m));
	memcpy(m->id, ID, sizeof(ID));
	m->body = (const uint8_t *)body;
	m->len = len;
	return http_req_parse(&m->head, head, strlen(head), &why) == (int)strlen(head);
}

static void
test_requests(void)
{
	struct message m;
	char *text, *body;
	size_t i, len;

	for (i = 0; i < LEN(requests); i++) {
		/* the row with two framings is one that no parser of ours lets through */
		if (!message(&m, requests[i].head, requests[i].body, requests[i].len)) {
			check(strstr(requests[i].head, "chunked") != NULL, requests[i].name, 0);
			continue;
		}
		body = exact(requests[i].body, requests[i].len);
		m.body = (uint8_t *)body;
		text = NULL;
		check(bifrost_encode(&m, &text, &len) == 0 && len == strlen(requests[i].want) &&
		    memcmp(text, requests[i].want, len) == 0, requests[i].name, 1);
		free(text);
		free(body);
	}
}

/* What http.c lets through, and the original client would die of. */
static void
test_targets(void)
{
	static const char head[] = "GET /a HTTP/1.0\r\n\r\n";
	struct message m;
	char target[3] = "/a", *text = NULL;
	size_t len;
	int c, want;

	for (c = 0; c < 256; c++) {
		message(&m, head, "", 0);
		target[1] = (char)c;
		m.head.target.p = target;
		m.head.target.len = 2;
		want = c > ' ' && c < 0x7f ? 0 : -1;
		errno = 0;
		check(bifrost_encode(&m, &text, &len) == want && (want == 0 || errno == EINVAL), "byte in a target", (size_t)c);
		if (want == 0)
			free(text);
	}
}

/* The most that a byte can become: the memory must suffice. */
static void
test_growth(void)
{
	struct message m;
	char *value, *text, *body;
	size_t n, i, len, cap = 20000;
	static const char fills[] = "\x7f\"\\\xff\t";

	value = malloc(cap);
	body = malloc(cap);
	if (value == NULL || body == NULL)
		abort();
	memset(body, 0, cap);
	for (i = 0; fills[i] != '\0'; i++) {
		memset(value, fills[i], cap);
		for (n = 0; n <= cap; n = n * 3 + 1) {
			message(&m, "GET / HTTP/1.0\r\n\r\n", body, n);
			m.head.nfields = HTTP_FIELDS_MAX;
			for (len = 0; len < HTTP_FIELDS_MAX; len++) {
				m.head.field[len].name.p = len & 1 ? "Set-Cookie" : "x";
				m.head.field[len].name.len = len & 1 ? 10 : 1;
				m.head.field[len].value.p = value;
				m.head.field[len].value.len = n;
			}
			check(bifrost_encode(&m, &text, &len) == 0 && len > n && memcmp(text + len - 2, "\"}", 2) == 0, "growth", n);
			free(text);
		}
	}
	free(value);
	free(body);
}

/* Answers. */

static const struct answer_row answers[] = {
	{ "V5", ANSWER(",\"status\":201,\"headers\":{\"content-type\":\"application/json\",\"set-cookie\":[\"s=1; Path=/\",\"t=2\"],"
	    "\"content-length\":\"12\"},\"body\":\"eyJvayI6dHJ1ZX0K\""),
	    "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nset-cookie: s=1; Path=/\r\nset-cookie: t=2\r\n"
	    "Content-Length: 12\r\n\r\n", S("{\"ok\":true}\n") },
	{ "V6", ANSWER(",\"status\":502,\"headers\":{\"content-type\":\"text/plain\"},\"body\":\"bG9jYWwgc2VydmVyIGVycm9y\""),
	    "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\nContent-Length: 18\r\n\r\n", S("local server error") },
	{ "V7, the id alone", ANSWER(""), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "V7, status as text", ANSWER(",\"status\":\"404\",\"headers\":null,\"body\":\"\""),
	    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "V7, a number", ANSWER(",\"status\":200,\"headers\":{\"x-n\":5},\"body\":\"AP/+gA==\""),
	    "HTTP/1.1 200 OK\r\nx-n: 5\r\nContent-Length: 4\r\n\r\n", S("\0\xff\xfe\x80") },
	{ "null, true, 1.5e3 as values", ANSWER(",\"headers\":{\"a\":null,\"b\":true,\"c\":1.5e3}"),
	    "HTTP/1.1 200 OK\r\na: null\r\nb: true\r\nc: 1.5e3\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "numbers in an array", ANSWER(",\"headers\":{\"a\":[1,\"2\",null]}"),
	    "HTTP/1.1 200 OK\r\na: 1\r\na: 2\r\na: null\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "an empty array, an empty object", ANSWER(",\"headers\":{\"a\":[]},\"x\":{}"),
	    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "body null", ANSWER(",\"body\":null"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "the body first", "{\"body\":\"aGk=\",\"headers\":{\"a\":\"b\"},\"id\":\"" ID "\",\"status\":202}",
	    "HTTP/1.1 202 Accepted\r\na: b\r\nContent-Length: 2\r\n\r\n", S("hi") },
	{ "blanks, unknown members", " {\t\"x\" : [ 1 , { } ] , \"id\" :\n\"" ID "\" } \r\n",
	    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "names that are escaped", "{\"\\u0069d\":\"" ID "\",\"st\\u0061tus\":204}", "HTTP/1.1 204 No Content\r\n\r\n", S("") },
	{ "an id that is escaped", "{\"id\":\"\\u003005d2056a-f905-48ad-87ce-59158c2b480d\"}", "", S("") },
	{ "latin-1, plain and escaped", ANSWER(",\"headers\":{\"a\":\"\xc2\x80\xc3\xbf\\u00e9\""  "}"),
	    "HTTP/1.1 200 OK\r\na: \x80\xff\xe9\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "U+0100", ANSWER(",\"headers\":{\"a\":\"\xc4\x80\"}"), NULL, S("") },
	{ "U+0100 escaped", ANSWER(",\"headers\":{\"a\":\"\\u0100\"}"), NULL, S("") },
	{ "beyond U+FFFF", ANSWER(",\"headers\":{\"a\":\"\\ud83d\\ude00\"}"), NULL, S("") },
	{ "lengths of its own", ANSWER(",\"headers\":{\"content-length\":\"9\",\"CONTENT-LENGTH\":1,\"Transfer-Encoding\":\"chunked\","
	    "\"transfer-encoding\":\"x\",\"Trailer\":\"y\"},\"body\":\"aGk=\""), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", S("hi") },
	/* what JSON.parse takes: the last of one name, surrogates alone; nor does it ask what is in members that nobody reads */
	{ "two ids", "{\"id\":\"" OTHER "\",\"id\":\"" ID "\"}", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "two of each", ANSWER(",\"status\":500,\"body\":5,\"headers\":[],\"status\":201,\"headers\":{\"a\":1},\"body\":\"aGk=\""),
	    "HTTP/1.1 201 Created\r\na: 1\r\nContent-Length: 2\r\n\r\n", S("hi") },
	{ "two values of a field", ANSWER(",\"headers\":{\"a\":1,\"b\":[2],\"\\u0061\":3}"),
	    "HTTP/1.1 200 OK\r\na: 3\r\nb: 2\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "a surrogate alone", ANSWER(",\"x\":\"\\ud800\",\"\\udc00\":\"\""), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "as a value", ANSWER(",\"headers\":{\"a\":\"\\ud800\"}"), NULL, S("") },
	{ "bytes that are no UTF-8", ANSWER(",\"x\":\"\xff\""), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "as a value", ANSWER(",\"headers\":{\"a\":\"\xff\"}"), NULL, S("") },
	{ "cut short there", ANSWER(",\"headers\":{\"a\":\"\xc3\"}"), NULL, S("") },
	{ "overlong", ANSWER(",\"headers\":{\"a\":\"\xc1\xbf\"}"), NULL, S("") },
	{ "as a name", ANSWER(",\"headers\":{\"\xff\":\"\"}"), NULL, S("") },
	{ "as content", ANSWER(",\"body\":\"aGk\xff\""), NULL, S("") },
	{ "304", ANSWER(",\"status\":304,\"headers\":{\"content-length\":\"7\"},\"body\":\"aGk=\""),
	    "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", S("") },
	{ "304, a length that is none", ANSWER(",\"status\":304,\"headers\":{\"content-length\":\"7x\"}"), "HTTP/1.1 304 Not Modified\r\n\r\n", S("") },
	{ "204 with content", ANSWER(",\"status\":204,\"body\":\"aGk=\""), "HTTP/1.1 204 No Content\r\n\r\n", S("") },
	/* base64, lenient */
	{ "the other alphabet", ANSWER(",\"body\":\"__79-A==\""), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", S("\xff\xfe\xfd\xf8") },
	{ "both alphabets", ANSWER(",\"body\":\"_/-+\""), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", S("\xff\xff\xbe") },
	{ "no padding, 2", ANSWER(",\"body\":\"aA\""), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", S("h") },
	{ "no padding, 3", ANSWER(",\"body\":\"aGk\""), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", S("hi") },
	{ "escapes", ANSWER(",\"body\":\"\\u0061Gk\\u003d\""), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", S("hi") },
	{ "one character", ANSWER(",\"body\":\"a\""), NULL, S("") },
	{ "padding alone", ANSWER(",\"body\":\"====\""), NULL, S("") },
	{ "padding inside", ANSWER(",\"body\":\"aA==aA==\""), NULL, S("") },
	{ "padding and no multiple of four", ANSWER(",\"body\":\"aGk==\""), NULL, S("") },
	{ "a blank", ANSWER(",\"body\":\"aG k\""), NULL, S("") },
	{ "a NUL", ANSWER(",\"body\":\"aGk\\u0000\""), NULL, S("") },
	{ "a body of U+0100", ANSWER(",\"body\":\"aGk\xc4\x80\""), NULL, S("") },
	{ "V8, body 5", ANSWER(",\"body\":5"), NULL, S("") },
	{ "body []", ANSWER(",\"body\":[]"), NULL, S("") },
	{ "body false", ANSWER(",\"body\":false"), NULL, S("") },
	/* status */
	{ "status 0", ANSWER(",\"status\":0"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "status null", ANSWER(",\"status\":null"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "status 200", ANSWER(",\"status\":200"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "V8, status 99", ANSWER(",\"status\":99"), NULL, S("") },
	{ "status 100", ANSWER(",\"status\":100"), NULL, S("") },
	{ "status 101", ANSWER(",\"status\":101"), NULL, S("") },
	{ "status 199", ANSWER(",\"status\":199"), NULL, S("") },
	{ "status 600", ANSWER(",\"status\":600"), NULL, S("") },
	{ "status 999", ANSWER(",\"status\":999"), NULL, S("") },
	{ "status -20", ANSWER(",\"status\":-20"), NULL, S("") },
	{ "status 2e2", ANSWER(",\"status\":2e2"), NULL, S("") },
	{ "status 200.0", ANSWER(",\"status\":200.0"), NULL, S("") },
	{ "status 1e999999999", ANSWER(",\"status\":1e999999999"), NULL, S("") },
	{ "status 4294967496", ANSWER(",\"status\":4294967496"), NULL, S("") },
	{ "status true", ANSWER(",\"status\":true"), NULL, S("") },
	{ "status {}", ANSWER(",\"status\":{}"), NULL, S("") },
	{ "status \" 200\"", ANSWER(",\"status\":\" 200\""), NULL, S("") },
	{ "status \"200\\r\\n\"", ANSWER(",\"status\":\"200\\r\\n\""), NULL, S("") },
	{ "status \"20\\u0000\"", ANSWER(",\"status\":\"20\\u0000\""), NULL, S("") },
	/* fields */
	{ "V8, a line end in a value", ANSWER(",\"headers\":{\"x\":\"a\\r\\nb: c\"}"), NULL, S("") },
	{ "a line feed", ANSWER(",\"headers\":{\"x\":\"a\\nb\"}"), NULL, S("") },
	{ "a carriage return", ANSWER(",\"headers\":{\"x\":\"a\\r\"}"), NULL, S("") },
	{ "a NUL in a value", ANSWER(",\"headers\":{\"x\":\"\\u0000\"}"), NULL, S("") },
	{ "DEL in a value", ANSWER(",\"headers\":{\"x\":\"\x7f\"}"), NULL, S("") },
	{ "a line end in an array", ANSWER(",\"headers\":{\"x\":[\"a\",\"b\\nc: d\"]}"), NULL, S("") },
	{ "a line end in a name", ANSWER(",\"headers\":{\"x\\r\\ny\":\"a\"}"), NULL, S("") },
	{ "a colon in a name", ANSWER(",\"headers\":{\"x: y\":\"a\"}"), NULL, S("") },
	{ "a blank behind a name", ANSWER(",\"headers\":{\"x \":\"a\"}"), NULL, S("") },
	{ "a NUL in a name", ANSWER(",\"headers\":{\"x\\u0000y\":\"a\"}"), NULL, S("") },
	{ "no name", ANSWER(",\"headers\":{\"\":\"a\"}"), NULL, S("") },
	{ "a name beyond ASCII", ANSWER(",\"headers\":{\"\xc3\xa9\":\"a\"}"), NULL, S("") },
	{ "a framing field with a line end", ANSWER(",\"headers\":{\"content-length\\r\\nx\":\"a\"}"), NULL, S("") },
	{ "an object as value", ANSWER(",\"headers\":{\"x\":{\"y\":\"z\"}}"), NULL, S("") },
	{ "an array in an array", ANSWER(",\"headers\":{\"x\":[[\"y\"]]}"), NULL, S("") },
	{ "headers as array", ANSWER(",\"headers\":[\"x\",\"y\"]"), NULL, S("") },
	{ "headers as text", ANSWER(",\"headers\":\"x: y\""), NULL, S("") },
	{ "headers false", ANSWER(",\"headers\":false"), NULL, S("") },
};

/* V8 and more: no answer at all. */
static const struct {
	const char *text;
	size_t len;
} junk[] = {
	{ S("") }, { S("not json") }, { S("null") }, { S("5") }, { S("[]") }, { S("\"x\"") }, { S("{}") }, { S("{\"id\":\"nope\"}") },
	{ S("{\"id\":5}") }, { S("{\"id\":null}") }, { S("{\"id\":[\"" ID "\"]}") }, { S("{\"Id\":\"" ID "\"}") },
	{ S("{\"id\":\"" ID " \"}") }, { S("{\"id\":\"" ID "\\u0000\"}") }, { S("{\"id\":\"05D2056A-F905-48AD-87CE-59158C2B480D\"}") },
	{ S("[{\"id\":\"" ID "\"}]") }, { S("{\"x\":{\"id\":\"" ID "\"}}") },
	{ S("{\"id\":\"" ID "\",\"id\":\"" OTHER "\"}") }, { S("{\"id\":\"" ID "\"}x") }, { S("{\"id\":\"" ID "\"}\0") },
	{ S("{\"id\":\"" ID "\",}") }, { S("{\"id\":\"" ID "\",\"x\":\"\\ud80\"}") },
	{ S("{\"id\":\"" ID "\",\"x\":\"\n\"}") }, { S("{\"id\":\"" ID "\",\"x\":'y'}") }, { S("{\"id\":\"" ID "\",\"status\":0200}") }, { S("\xef\xbb\xbf{\"id\":\"" ID "\"}") },
};

static int
decode(const char *in, size_t len, int is_head, const char *head, const char *body, size_t blen)
{
	struct bifrost_answer a;
	char *text = exact(in, len);
	int rc = -1;

	if (bifrost_decode(&a, text, len, asked, &is_head)) {
		rc = compare(a.head, a.body, head, body, blen);
		free(a.memory);
	}
	free(text);
	return rc;
}

static void
test_answers(void)
{
	size_t i, n;

	check_answers(decode, answers, LEN(answers), " \r\n");
	for (i = 0; i < LEN(junk); i++)
		for (n = 0; n <= junk[i].len; n++)
			check(decode(junk[i].text, n, 0, NULL, NULL, 0) == -1 || n == junk[i].len - 1, junk[i].text, n);
	for (i = 0; i < LEN(junk); i++)
		check(decode(junk[i].text, junk[i].len, 0, NULL, NULL, 0) == -1, junk[i].text, i);
}

static void
test_head(void)
{
	static const char text[] = ANSWER(",\"headers\":{\"content-length\":\"77\"},\"body\":\"aGk=\"");
	static const char bare[] = ANSWER(",\"headers\":{\"content-length\":[\"77\"]}");
	static const char number[] = ANSWER(",\"headers\":{\"Content-Length\":77}");
	static const char evil[] = ANSWER(",\"headers\":{\"content-length\":\"7\\r\\nx: y\"}");
	static const char huge[] = ANSWER(",\"headers\":{\"content-length\":\"99999999999999999999\"}");

	/* what stands behind a HEAD's head is nobody's: message.c drops it */
	check(decode(S(text), 1, "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", S("hi")) == 1, "HEAD: its own length", 0);
	check(decode(S(bare), 1, "HTTP/1.1 200 OK\r\n\r\n", S("")) == 1, "HEAD: a length in an array", 0);
	check(decode(S(number), 1, "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", S("")) == 1, "HEAD: a number", 0);
	check(decode(S(evil), 1, "HTTP/1.1 200 OK\r\n\r\n", S("")) == 1, "HEAD: a line end in it", 0);
	check(decode(S(huge), 1, "HTTP/1.1 200 OK\r\n\r\n", S("")) == 1, "HEAD: a length too long", 0);
}

/* What grows: values, depth, heads, content. */
static void
test_bounds(void)
{
	static const char empty[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	char *text = malloc(1 << 20), *p;
	size_t n, i;
	int rc;

	if (text == NULL)
		abort();
	p = text + sprintf(text, "{\"id\":\"" ID "\",\"x\":[");
	for (i = 0; i < 100000; i++)
		p += sprintf(p, "%s{}", i == 0 ? "" : ",");
	p += sprintf(p, "]}");
	check(decode(text, (size_t)(p - text), 0, empty, "", 0) == 1, "many values", i);
	for (n = JSONSCAN_DEPTH_MAX - 2; n < JSONSCAN_DEPTH_MAX + 3; n++) {
		p = text + sprintf(text, "{\"id\":\"" ID "\",\"x\":");
		for (i = 0; i < n; i++)
			*p++ = '[';
		for (i = 0; i < n; i++)
			*p++ = ']';
		*p++ = '}';
		rc = decode(text, (size_t)(p - text), 0, empty, "", 0);
		check(rc == (n <= JSONSCAN_DEPTH_MAX), "so deep: then a 502", n);
	}
	memset(text, '[', 1 << 20);
	check(decode(text, 1 << 20, 0, NULL, NULL, 0) == -1, "very deep", 0);
	for (n = 250; n < 260; n++) {
		p = text + sprintf(text, "{\"id\":\"" ID "\",\"headers\":{\"");
		memset(p, 'n', n);
		p += n;
		p += sprintf(p, "\":1}}");
		check((decode(text, (size_t)(p - text), 0, NULL, NULL, 0) == 2) == (n < 256), "a name so long", n);
	}
	for (n = HTTP_FIELDS_MAX - 2; n < HTTP_FIELDS_MAX + 3; n++) {
		p = text + sprintf(text, "{\"id\":\"" ID "\",\"headers\":{\"x\":0");
		for (i = 1; i < n; i++)
			p += sprintf(p, ",\"x%d\":1,\"x\":%d", (int)i, (int)i);
		p += sprintf(p, "}}");
		check(decode(text, (size_t)(p - text), 0, NULL, NULL, 0) == (n <= HTTP_FIELDS_MAX ? 2 : 0), "so many fields", n);
	}
	for (n = 36700; n < 36900; n++) {
		p = text + sprintf(text, "{\"id\":\"" ID "\",\"headers\":{\"x\":\"");
		memset(p, 'v', n);
		p += n;
		p += sprintf(p, "\"}}");
		rc = decode(text, (size_t)(p - text), 0, NULL, NULL, 0);
		check(rc == (17 + 5 + n + 19 + 2 <= HTTP_HEAD_MAX ? 2 : 0), "a value so long", n);
	}
	for (n = 0; n < 300; n++) {
		p = text + sprintf(text, "{\"body\":\"");
		memset(p, 'A', n);
		p += n;
		p += sprintf(p, "\",\"id\":\"" ID "\"}");
		rc = decode(text, (size_t)(p - text), 0, NULL, NULL, 0);
		check(rc == (n % 4 == 1 ? 0 : 2), "content so long", n);
	}
	free(text);
}

/* The id, from what there is of an answer. */
static void
test_id(void)
{
	static const char whole[] = ANSWER(",\"status\":201"), last[] = "{\"body\":\"aGk=\",\"id\":\"" ID "\"", none[] = "{\"x\":{\"id\":\"" ID "\"}";
	char id[MESSAGE_ID_LEN + 1], *text;
	size_t n;

	for (n = 0; n < sizeof(whole); n++) {
		text = exact(whole, n);
		check(bifrost_id(text, n, id) == (n > 7 + MESSAGE_ID_LEN) && (n < 44 || strcmp(id, ID) == 0), whole, n);
		free(text);
	}
	for (n = 0; n < sizeof(last); n++)
		check(bifrost_id(last, n, id) == (n >= sizeof(last) - 1), last, n);
	check(!bifrost_id(none, sizeof(none) - 1, id), none, 0);
}

/* Every byte in place of every other of a good answer: nothing is read or written that is not its own. */
static void
test_bytes(void)
{
	static const char good[] = ANSWER(",\"status\":201,\"headers\":{\"a\":\"b\",\"c\":[\"d\"]},\"body\":\"aGk=\"");
	struct http_head h;
	struct bifrost_answer a;
	const char *why;
	size_t i;
	int c, is_head = 0;
	char *text;

	for (i = 0; i < sizeof(good) - 1; i++)
		for (c = 0; c < 256; c++) {
			text = exact(good, sizeof(good) - 1);
			text[i] = (char)c;
			if (bifrost_decode(&a, text, sizeof(good) - 1, asked, &is_head)) {
				memset(&h, 0, sizeof(h));
				if (a.head.p != NULL)
					check(http_res_parse(&h, a.head.p, a.head.len, 0, &why) == (int)a.head.len &&
					    a.body.len <= 3, "a byte changed", i);
				free(a.memory);
			}
			free(text);
		}
}

int
main(void)
{
	test_requests();
	test_targets();
	test_growth();
	test_answers();
	test_head();
	test_bounds();
	test_id();
	test_bytes();
	return test_end();
}
