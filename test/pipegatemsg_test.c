/* PipeGate's messages: the vectors of its protocol (V3 to V10), then what they leave out. */
#include <errno.h>

#include "../pipegatemsg.h"
#define ID	"3f2d4421-22bb-4d3d-bc0a-328ad6c72e12"
#include "msgtest.h"

#define SHORT	"3f2d442122bb4d3dbc0a328ad6c72e12"
#define OTHER	"4f2d4421-22bb-4d3d-bc0a-328ad6c72e12"
#define MAX	1048576

/* A request's message, and the fields that every one ends with. */
#define MESSAGE(path, query, method, headers, body) \
	"{\"correlation_id\":\"" ID "\",\"url_path\":\"" path "\",\"url_query\":\"" query "\",\"method\":\"" method "\"," \
	"\"headers\":\"{" headers "}\",\"body\":\"" body "\"}"
#define ENC	"\\\"accept-encoding\\\":\\\"identity\\\""
#define OWN	ENC ",\\\"x-pipegate-correlation-id\\\":\\\"" SHORT "\\\""
#define NOCOOKIE	"\\\"cookie\\\":\\\"\\\","
#define F(name, value)	"\\\"" name "\\\":\\\"" value "\\\","
#define GET(path, query)	MESSAGE(path, query, "GET", F("host", "a") NOCOOKIE OWN, "")

static const struct {
	const char *name, *head, *body;
	size_t len;
	const char *want;	/* NULL: EINVAL */
} requests[] = {
	{ "V3", "POST /api/v1%20x?a=1&a=2&b&c=%2B+ HTTP/1.1\r\nHost: t.example.com\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n",
	    S("a=1"), MESSAGE("api/v1%20x", "[[\\\"a\\\",\\\"1\\\"],[\\\"a\\\",\\\"2\\\"],[\\\"b\\\",\\\"\\\"],[\\\"c\\\",\\\"+ \\\"]]", "POST",
	    F("host", "t.example.com") F("content-type", "text/plain") NOCOOKIE ENC "," F("content-length", "3")
	    "\\\"x-pipegate-correlation-id\\\":\\\"" SHORT "\\\"", "YT0x") },
	{ "V8, the root", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET("", "[]") },
	/* paths */
	{ "escapes stay", "GET /a%2Fb%3f%23%25%c3%A9%zz%4 HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET("a%2Fb%3f%23%25%c3%A9%25zz%254", "[]") },
	{ "what is illegal is escaped", "GET /\"<>\\^`{|}[]\xc3\xa9\xff HTTP/1.1\r\nHost: a\r\n\r\n", S(""),
	    GET("%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D%C3%A9%FF", "[]") },
	{ "what is legal stays", "GET /aZ09-._~!$&'()*+,;=:@/ HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET("aZ09-._~!$&'()*+,;=:@/", "[]") },
	{ "slashes", "GET //a///b// HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET("/a///b//", "[]") },
	{ "dots that are none", "GET /.../a./.b/..c/%2e%2e%2e/%2e%2f HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET(".../a./.b/..c/%2e%2e%2e/%2e%2f", "[]") },
	{ "a dot segment", "GET /a/./b HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	{ "two dots", "GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	{ "at the end", "GET /a/.. HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	{ "in front of a query", "GET /a/..?b HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	{ "dots in a query", "GET /a?b=/../c HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET("a", "[[\\\"b\\\",\\\"/../c\\\"]]") },
	{ "escaped", "GET /%2e%2E/a HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	{ "half escaped", "GET /.%2e HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	{ "one, escaped", "GET /a/%2E/ HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	{ "the asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	/* queries */
	{ "empty", "GET /? HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET("", "[]") },
	{ "nothing between", "GET /?&&a&=&=b&c=d=e&;f HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET("",
	    "[[\\\"a\\\",\\\"\\\"],[\\\"\\\",\\\"\\\"],[\\\"\\\",\\\"b\\\"],[\\\"c\\\",\\\"d=e\\\"],[\\\";f\\\",\\\"\\\"]]") },
	{ "forms", "GET /?a+b=%20+%2b&%c3%a9=%26%3D HTTP/1.1\r\nHost: a\r\n\r\n", S(""),
	    GET("", "[[\\\"a b\\\",\\\"  +\\\"],[\\\"\xc3\xa9\\\",\\\"&=\\\"]]") },
	{ "no UTF-8, no escape", "GET /?%ff=%zz&\xff%4 HTTP/1.1\r\nHost: a\r\n\r\n", S(""),
	    GET("", "[[\\\"\xef\xbf\xbd\\\",\\\"%zz\\\"],[\\\"\xef\xbf\xbd%4\\\",\\\"\\\"]]") },
	{ "controls and quotes", "GET /?%00%0a=\"\\%22 HTTP/1.1\r\nHost: a\r\n\r\n", S(""),
	    GET("", "[[\\\"\\\\u0000\\\\n\\\",\\\"\\\\\\\"\\\\\\\\\\\\\\\"\\\"]]") },
	{ "a second question mark", "GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n", S(""), GET("a", "[[\\\"b?c\\\",\\\"\\\"]]") },
	/* fields */
	{ "one hop's, and what it is not to see", "PUT / HTTP/1.1\r\nHost: a\r\nConnection: x, keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: a\r\n"
	    "Upgrade: b\r\nProxy-Connection: c\r\nExpect: 100-continue\r\nAccept-Encoding: gzip\r\nX-PipeGate-Correlation-Id: mine\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n", S("\xff"), MESSAGE("", "[]", "PUT", F("host", "a") NOCOOKIE ENC "," F("content-length", "1")
	    "\\\"x-pipegate-correlation-id\\\":\\\"" SHORT "\\\"", "/w==") },
	{ "joined", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nAccept: x\r\nCOOKIE: b=2\r\naccept: y\r\nUser-Agent: u\r\nuser-agent: v\r\n\r\n", S(""),
	    MESSAGE("", "[]", "GET", F("host", "a") F("cookie", "a=1; b=2") F("accept", "x, y") F("user-agent", "u") OWN, "") },
	{ "an empty cookie", "GET / HTTP/1.1\r\nHost: a\r\nCookie:\r\n\r\n", S(""), MESSAGE("", "[]", "GET", F("host", "a") F("cookie", "") OWN, "") },
	{ "not ASCII", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\nY: 1\r\nY: \xff\r\nY: 2\r\nCookie: \x80\r\nUser-Agent: \xff\r\nUser-Agent: u\r\n\r\n", S(""),
	    MESSAGE("", "[]", "GET", F("host", "a") F("y", "1, 2") F("user-agent", "u") NOCOOKIE OWN, "") },
	{ "a tab, quotes", "GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\"\\c\r\n\r\n", S(""),
	    MESSAGE("", "[]", "GET", F("host", "a") F("x", "a b\\\\\\\"\\\\\\\\c") NOCOOKIE OWN, "") },
	{ "no Host", "GET / HTTP/1.0\r\n\r\n", S(""), MESSAGE("", "[]", "GET", NOCOOKIE OWN, "") },
	{ "a length of nothing", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", S(""),
	    MESSAGE("", "[]", "POST", F("host", "a") NOCOOKIE OWN, "") },
	/* methods */
	{ "HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", S(""), MESSAGE("", "[]", "HEAD", F("host", "a") NOCOOKIE OWN, "") },
	{ "PATCH", "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", S(""), MESSAGE("", "[]", "PATCH", F("host", "a") NOCOOKIE OWN, "") },
	{ "V8, PROPFIND", "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
	{ "in lower case", "get / HTTP/1.1\r\nHost: a\r\n\r\n", S(""), NULL },
};

static int
message(struct message *m, const char *head, const char *body, size_t len)
{
	const char *why;

	memset(m, 0, sizeof(*m));
	memcpy(m->id, ID, sizeof(ID));
	m->body = (const uint8_t *)body;
	m->len = len;
	return http_req_parse(&m->head, head, strlen(head), &why) > 0;
}

static void
test_requests(void)
{
	struct message m;
	char *text, *head;
	size_t i, len, n;
	int rc;

	for (i = 0; i < LEN(requests); i++) {
		n = strlen(requests[i].head);
		head = malloc(n + 1);
		if (head == NULL)
			abort();
		memcpy(head, requests[i].head, n + 1);
		if (!message(&m, head, requests[i].body, requests[i].len)) {
			check(0, requests[i].name, i);
			free(head);
			continue;
		}
		errno = 0;
		rc = pipegate_encode(&m, MAX, &text, &len);
		if (requests[i].want == NULL)
			check(rc == -1 && errno == EINVAL && text == NULL, requests[i].name, i);
		else {
			check(rc == 0 && len == strlen(requests[i].want) && memcmp(text, requests[i].want, len) == 0, requests[i].name, i);
			if (rc == 0 && (len != strlen(requests[i].want) || memcmp(text, requests[i].want, len) != 0))
				printf("got  %.*s\nwant %s\n", (int)len, text, requests[i].want);
		}
		if (rc == 0) {		/* the limit is what it takes, and no byte less */
			free(text);
			check(pipegate_encode(&m, len, &text, &n) == 0 && n == len, requests[i].name, i);
			free(text);
			check(pipegate_encode(&m, len - 1, &text, &n) == -1 && errno == EMSGSIZE && text == NULL, requests[i].name, i);
		}
		free(text);
		free(head);
	}
}

/* What grows most when it is written twice over. */
static void
test_growth(void)
{
	static const char *const many[] = { "\"", "\\", "\xff", "&", "=", "a&", "%00", "%22", "%e2%80%a8", "%", "+", "?", "/x" };
	static char head[40000], body[MAX];
	struct message m;
	char *text;
	size_t i, n, len;

	for (i = 0; i < LEN(many); i++) {
		memcpy(head, "GET /?", 6);
		for (n = 6; n < 8000; n += strlen(many[i]))
			memcpy(head + n, many[i], strlen(many[i]));
		strcpy(head + n, " HTTP/1.1\r\nHost: a\r\n\r\n");
		check(message(&m, head, "", 0) && pipegate_encode(&m, MAX, &text, &len) == 0 && memcmp(text + len - 2, "\"}", 2) == 0, many[i], i);
		free(text);
		head[5] = '/';
		check(message(&m, head, "", 0) && pipegate_encode(&m, MAX, &text, &len) == 0 && memcmp(text + len - 2, "\"}", 2) == 0, many[i], i);
		free(text);
	}
	n = (size_t)sprintf(head, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (i = 0; i < 100; i++)
		n += (size_t)sprintf(head + n, "X%zu: \"\"\"\"\\\\\\\\\"\"\"\"\r\n", i);
	strcpy(head + n, "\r\n");
	check(message(&m, head, "", 0) && pipegate_encode(&m, MAX, &text, &len) == 0, "fields of quotes", 0);
	free(text);
	/* content up to the limit, and over it */
	memset(body, 'x', sizeof(body));
	for (n = 785900; n < 786432; n++) {
		check(message(&m, "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", body, n), "content", n);
		if (pipegate_encode(&m, MAX, &text, &len) == 0)
			check(len <= MAX && len > MAX - 600, "content that fits", n);
		else
			check(errno == EMSGSIZE && (n + 2) / 3 * 4 > MAX - 400, "content that does not", n);
		free(text);
	}
	check(message(&m, "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", body, sizeof(body)) && pipegate_encode(&m, MAX, &text, &len) == -1 &&
	    errno == EMSGSIZE, "content alone is more", 0);
}

static const struct {
	const char *target, *id;	/* NULL: none */
	size_t len;
	int slash;
} paths[] = {
	{ "/demo", "demo", 5, 0 }, { "/demo?q=1/2", "demo", 5, 0 }, { "/demo/", "demo", 5, 1 }, { "/demo/x/y?z", "demo", 5, 1 },
	{ "/c%76/x", "cv", 5, 1 }, { "/a%2Fb/x", "a", 5, 1 }, { "/a%2fb", "a", 5, 1 }, { "/a%2f", "a", 5, 1 }, { "/a%2F/b", "a", 5, 1 },
	{ "/A/x", "A", 2, 1 }, { "/a%zz/x", "a%zz", 5, 1 }, { "/a%4", "a%4", 4, 0 }, { "/%c3%a9/", "\xc3\xa9", 7, 1 }, { "/a%3F/", "a?", 5, 1 },
	{ "/", NULL, 0, 0 }, { "", NULL, 0, 0 }, { "*", NULL, 0, 0 }, { "//x", NULL, 0, 0 }, { "/%2fx", NULL, 0, 0 }, { "/?x", NULL, 0, 0 },
	{ "/a%00/x", NULL, 0, 0 }, { "demo/x", NULL, 0, 0 },
};

static void
test_paths(void)
{
	static const char *const good[] = { "demo", "Demo", "0123456789abcdef0123456789abcdef", "a.b", "~", "-", "a_", "...", "a@b:c", "healthz2", "default" };
	static const char *const bad[] = { "", ".", "..", "health", "healthz", "relay", "tunnel", "_tunnel", "_", "a/b", "a b", "a?", "a#", "a%", "\xc3\xa9", "a\n" };
	char id[PIPEGATE_ID_MAX + 1], text[400];
	struct str s;
	size_t i, n, len;
	char *p;
	int slash;

	for (i = 0; i < LEN(paths); i++) {
		p = exact(paths[i].target, strlen(paths[i].target));
		s.p = p;
		s.len = strlen(paths[i].target);
		n = pipegate_path_id(s, id, &slash);
		check(n == paths[i].len && (n == 0 || (strcmp(id, paths[i].id) == 0 && slash == paths[i].slash)), paths[i].target, i);
		free(p);
	}
	for (len = 100; len < 200; len++) {
		memset(text, 'a', len + 1);
		text[0] = '/';
		s.p = text;
		s.len = len + 1;
		check((pipegate_path_id(s, id, &slash) != 0) == (len <= PIPEGATE_ID_MAX), "an id so long", len);
		text[len + 1] = '\0';
		check(pipegate_id_ok(text + 1) == (len <= PIPEGATE_ID_MAX), "an id so long", len);
	}
	for (i = 0; i < LEN(good); i++)
		check(pipegate_id_ok(good[i]), good[i], i);
	for (i = 0; i < LEN(bad); i++)
		check(!pipegate_id_ok(bad[i]), bad[i], i);
}

static const struct { const char *target, *token; } tokens[] = {
	{ "/?token=abc", "abc" }, { "/?token=x&token=abc", "abc" }, { "/?token=abc&token=x", "x" }, { "/?a=b&token=abc&c", "abc" },
	{ "/?token=a%62c", "abc" }, { "/?token=a+c", "a c" }, { "/?token=", "" }, { "/?token", "" }, { "/?token=a=b", "a=b" },
	{ "/?token=abc&token", "" }, { "/", NULL }, { "/?", NULL }, { "/?tokens=abc", NULL }, { "/?Token=abc", NULL }, { "/?x=token=abc", NULL },
	{ "/?token=a%00b", NULL }, { "/?token=0123456789abcde", "0123456789abcde" }, { "/?token=0123456789abcdef", NULL },
};

static void
test_tokens(void)
{
	char out[16];
	struct str s;
	size_t i;
	long n;
	char *p;

	for (i = 0; i < LEN(tokens); i++) {
		s.len = strlen(tokens[i].target);
		s.p = p = exact(tokens[i].target, s.len);
		n = pipegate_token(s, out, sizeof(out));
		check(tokens[i].token == NULL ? n == -1 : n == (long)strlen(tokens[i].token) && strcmp(out, tokens[i].token) == 0, tokens[i].target, i);
		free(p);
	}
}

/* Answers. */

#define ANSWER(headers, body, status)	"{\"correlation_id\":\"" ID "\",\"headers\":\"" headers "\",\"body\":\"" body "\",\"status_code\":" status "}"
#define HEADERS(h)	ANSWER("{" h "}", "", "200")
#define OK(fields, len)	"HTTP/1.1 200 OK\r\n" fields "Content-Length: " len "\r\n\r\n"

static const struct answer_row answers[] = {
	{ "V4", ANSWER("{\\\"content-type\\\":\\\"application/json\\\",\\\"set-cookie\\\":\\\"s=1\\\",\\\"Set-Cookie\\\":\\\"t=2\\\"}", "eyJvayI6dHJ1ZX0K", "201"),
	    "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nset-cookie: s=1\r\nset-cookie: t=2\r\nContent-Length: 12\r\n\r\n", S("{\"ok\":true}\n") },
	{ "V5, a status of digits", ANSWER("", "", "\"201\""), "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "V5, an extra key", "{\"x\":[{\"y\":null}],\"correlation_id\":\"" ID "\",\"headers\":\"\",\"body\":\"\",\"status_code\":200}", OK("", "0"), S("") },
	{ "V7", ANSWER("{}", "", "504"), "HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "V10", ANSWER("{\\\"content-encoding\\\":\\\"gzip\\\",\\\"content-length\\\":\\\"25\\\"}", "aGVsbG8=", "200"), OK("", "5"), S("hello") },
	/* V6 and its like */
	{ "V6, without headers", "{\"correlation_id\":\"" ID "\",\"body\":\"\",\"status_code\":200}", "", S("") },
	{ "V6, headers an object", "{\"correlation_id\":\"" ID "\",\"headers\":{},\"body\":\"\",\"status_code\":200}", "", S("") },
	{ "V6, another id", "{\"correlation_id\":\"" OTHER "\",\"headers\":\"{}\",\"body\":\"\",\"status_code\":200}", "", S("") },
	{ "V6, {}", "{}", "", S("") }, { "V6, null", "null", "", S("") }, { "V6, junk", "junk", "", S("") }, { "nothing", "", "", S("") },
	{ "no body", "{\"correlation_id\":\"" ID "\",\"headers\":\"\",\"status_code\":200}", "", S("") },
	{ "body null", "{\"correlation_id\":\"" ID "\",\"headers\":\"\",\"body\":null,\"status_code\":200}", "", S("") },
	{ "no status", "{\"correlation_id\":\"" ID "\",\"headers\":\"\",\"body\":\"\"}", "", S("") },
	{ "headers null", "{\"correlation_id\":\"" ID "\",\"headers\":null,\"body\":\"\",\"status_code\":200}", "", S("") },
	{ "an id that is a number", "{\"correlation_id\":5,\"headers\":\"\",\"body\":\"\",\"status_code\":200}", "", S("") },
	{ "more behind it", ANSWER("", "", "200") "x", "", S("") },
	{ "an array", "[" ANSWER("", "", "200") "]", "", S("") },
	{ "of two the last", "{\"status_code\":500,\"correlation_id\":\"" OTHER "\",\"correlation_id\":\"" ID "\",\"headers\":\"\",\"body\":\"\",\"status_code\":200}",
	    OK("", "0"), S("") },
	{ "keys that are escaped", "{\"correl\\u0061tion_id\":\"" ID "\",\"headers\":\"\",\"body\":\"\",\"status_code\":200}", OK("", "0"), S("") },
	{ "blanks", " {\n\"correlation_id\" : \"" ID "\",\t\"headers\":\" {} \",\"body\":\"\",\"status_code\":200 } \r\n", OK("", "0"), S("") },
	/* status */
	{ "200.0", ANSWER("", "", "200.0"), OK("", "0"), S("") }, { "2e2", ANSWER("", "", "2e2"), OK("", "0"), S("") },
	{ "2000e-1", ANSWER("", "", "2000e-1"), OK("", "0"), S("") }, { "599", ANSWER("", "", "599"), "HTTP/1.1 599 Unknown\r\nContent-Length: 0\r\n\r\n", S("") },
	{ "200.5", ANSWER("", "", "200.5"), "", S("") }, { "true", ANSWER("", "", "true"), "", S("") }, { "null", ANSWER("", "", "null"), "", S("") },
	{ "\"\"", ANSWER("", "", "\"\""), "", S("") }, { "\"20x\"", ANSWER("", "", "\"20x\""), "", S("") }, { "[200]", ANSWER("", "", "[200]"), "", S("") },
	{ "1e999", ANSWER("", "", "1e999"), "", S("") }, { "-200", ANSWER("", "", "-200"), "", S("") },
	{ "199", ANSWER("", "", "199"), NULL, S("") }, { "101", ANSWER("", "", "101"), NULL, S("") }, { "600", ANSWER("", "", "600"), NULL, S("") },
	{ "0", ANSWER("", "", "0"), NULL, S("") }, { "99999", ANSWER("", "", "\"99999\""), NULL, S("") },
	/* content */
	{ "binary", ANSWER("", "AP/+gA==", "200"), OK("", "4"), S("\0\xff\xfe\x80") },
	{ "white space", ANSWER("", "aG\\nVs\\r\\n bG8= ", "200"), OK("", "5"), S("hello") },
	{ "escapes", ANSWER("", "\\u0061Gk\\u003d", "200"), OK("", "2"), S("hi") },
	{ "no padding", ANSWER("", "aGk", "200"), NULL, S("") }, { "one character", ANSWER("", "a", "200"), NULL, S("") },
	{ "padding inside", ANSWER("", "aGk=aGk=", "200"), NULL, S("") }, { "the other alphabet", ANSWER("", "_-8=", "200"), NULL, S("") },
	{ "a body of U+0100", ANSWER("", "aGk\\u0100", "200"), NULL, S("") }, { "junk in it", ANSWER("", "aG!k=", "200"), NULL, S("") },
	{ "204", ANSWER("{\\\"content-length\\\":\\\"2\\\"}", "aGk=", "204"), "HTTP/1.1 204 No Content\r\n\r\n", S("") },
	{ "304", ANSWER("{\\\"content-length\\\":\\\"7\\\",\\\"etag\\\":\\\"x\\\"}", "", "304"), "HTTP/1.1 304 Not Modified\r\netag: x\r\nContent-Length: 7\r\n\r\n", S("") },
	{ "304 of a coding", ANSWER("{\\\"content-encoding\\\":\\\"gzip\\\",\\\"content-length\\\":\\\"7\\\"}", "", "304"),
	    "HTTP/1.1 304 Not Modified\r\ncontent-encoding: gzip\r\nContent-Length: 7\r\n\r\n", S("") },
	/* codings */
	{ "gzip that is gzip", ANSWER("{\\\"content-encoding\\\":\\\"gzip\\\",\\\"content-length\\\":\\\"3\\\"}", "H4sI", "200"),
	    OK("content-encoding: gzip\r\n", "3"), S("\x1f\x8b\x08") },
	{ "without a length", ANSWER("{\\\"Content-Encoding\\\":\\\"GZIP\\\"}", "H4sI", "200"), OK("content-encoding: GZIP\r\n", "3"), S("\x1f\x8b\x08") },
	{ "gzip that is none", ANSWER("{\\\"content-encoding\\\":\\\"x-gzip\\\",\\\"content-length\\\":\\\"5\\\"}", "aGVsbG8=", "200"), OK("", "5"), S("hello") },
	{ "of no length", ANSWER("{\\\"content-encoding\\\":\\\"gzip\\\",\\\"x\\\":\\\"y\\\"}", "", "200"), OK("x: y\r\n", "0"), S("") },
	{ "zstd that is none", ANSWER("{\\\"content-encoding\\\":\\\"zstd\\\"}", "aGVsbG8=", "200"), OK("", "5"), S("hello") },
	{ "zstd that is", ANSWER("{\\\"content-encoding\\\":\\\"zstd\\\"}", "KLUv/Q==", "200"), OK("content-encoding: zstd\r\n", "4"), S("\x28\xb5\x2f\xfd") },
	{ "br of its length", ANSWER("{\\\"content-encoding\\\":\\\"br\\\",\\\"content-length\\\":\\\"5\\\"}", "aGVsbG8=", "200"), OK("content-encoding: br\r\n", "5"), S("hello") },
	{ "br of another", ANSWER("{\\\"content-encoding\\\":\\\"br\\\",\\\"content-length\\\":\\\"6\\\"}", "aGVsbG8=", "200"), OK("", "5"), S("hello") },
	{ "the last of two", ANSWER("{\\\"content-encoding\\\":\\\"br, gzip \\\"}", "H4sI", "200"), OK("content-encoding: br, gzip \r\n", "3"), S("\x1f\x8b\x08") },
	{ "the last of two that is none", ANSWER("{\\\"content-encoding\\\":\\\"br,gzip\\\"}", "aGk=", "200"), OK("", "2"), S("hi") },
	{ "a part of gzip", ANSWER("{\\\"content-encoding\\\":\\\"gzip\\\",\\\"content-length\\\":\\\"5\\\"}", "aGVsbG8=", "206"),
	    "HTTP/1.1 206 Partial Content\r\ncontent-encoding: gzip\r\nContent-Length: 5\r\n\r\n", S("hello") },
	{ "a part that was decoded", ANSWER("{\\\"content-encoding\\\":\\\"gzip\\\",\\\"content-length\\\":\\\"9\\\"}", "aGVsbG8=", "206"),
	    "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\n", S("hello") },
	{ "a length alone is made anew", ANSWER("{\\\"content-length\\\":\\\"99\\\",\\\"transfer-encoding\\\":\\\"chunked\\\",\\\"trailer\\\":\\\"x\\\"}", "aGk=", "200"),
	    OK("", "2"), S("hi") },
	/* fields */
	{ "names in lower case", HEADERS("\\\"X-Y\\\":\\\"Z\\\""), OK("x-y: Z\r\n", "0"), S("") },
	{ "an array", HEADERS("\\\"set-cookie\\\":[\\\"a=1, b=2\\\",\\\"c=3\\\"]"), OK("set-cookie: a=1, b=2\r\nset-cookie: c=3\r\n", "0"), S("") },
	{ "cookies that are joined", HEADERS("\\\"set-cookie\\\":\\\"a=1; Path=/, b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT, c=3,d=4\\\""),
	    OK("set-cookie: a=1; Path=/\r\nset-cookie: b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nset-cookie: c=3\r\nset-cookie: d=4\r\n", "0"), S("") },
	{ "a date with hyphens", HEADERS("\\\"set-cookie\\\":\\\"a=1; expires=Wednesday, 21-Oct-26 07:28:00 GMT; Path=/\\\""),
	    OK("set-cookie: a=1; expires=Wednesday, 21-Oct-26 07:28:00 GMT; Path=/\r\n", "0"), S("") },
	{ "a comma in quotes", HEADERS("\\\"set-cookie\\\":\\\"a=\\\\\\\"x, y=z\\\\\\\"; Path=/, b=\\\\\\\"c\\\""),
	    OK("set-cookie: a=\"x, y=z\"; Path=/\r\nset-cookie: b=\"c\r\n", "0"), S("") },
	{ "commas that split nothing", HEADERS("\\\"set-cookie\\\":\\\"a=1,2, 3,, =x,\\\""), OK("set-cookie: a=1,2, 3,, =x,\r\n", "0"), S("") },
	{ "of two nothing is split", HEADERS("\\\"set-cookie\\\":\\\"a=1, b=2\\\",\\\"SET-cookie\\\":\\\"c=3\\\""),
	    OK("set-cookie: a=1, b=2\r\nset-cookie: c=3\r\n", "0"), S("") },
	{ "latin-1", HEADERS("\\\"a\\\":\\\"\xc3\xa9\\\",\\\"b\\\":\\\"\\\\u00e9\\\",\\\"c\\\":\\\"\\u00e9\\\""), OK("a: \xe9\r\nb: \xe9\r\nc: \xe9\r\n", "0"), S("") },
	{ "U+0100", HEADERS("\\\"a\\\":\\\"\\\\u0100\\\""), NULL, S("") }, { "U+0100, plain", HEADERS("\\\"a\\\":\\\"\xc4\x80\\\""), NULL, S("") },
	{ "of two of a name the last", HEADERS("\\\"a\\\":\\\"1\\\",\\\"a\\\":\\\"2\\\""), OK("a: 2\r\n", "0"), S("") },
	{ "a number", HEADERS("\\\"a\\\":1"), NULL, S("") }, { "null", HEADERS("\\\"a\\\":null"), NULL, S("") }, { "an object", HEADERS("\\\"a\\\":{}"), NULL, S("") },
	{ "an object in an array", HEADERS("\\\"a\\\":[{}]"), NULL, S("") },
	{ "an array for an object", ANSWER("[]", "", "200"), NULL, S("") }, { "not JSON", ANSWER("x: y", "", "200"), NULL, S("") },
	{ "null for an object", ANSWER("null", "", "200"), NULL, S("") }, { "more behind it", ANSWER("{}x", "", "200"), NULL, S("") },
	{ "a line end", HEADERS("\\\"a\\\":\\\"b\\\\r\\\\nc: d\\\""), NULL, S("") }, { "a NUL", HEADERS("\\\"a\\\":\\\"\\\\u0000\\\""), NULL, S("") },
	{ "a raw line end in it", HEADERS("\\\"a\\\":\\\"b\\nc\\\""), NULL, S("") },
	{ "a name that is none", HEADERS("\\\"a b\\\":\\\"c\\\""), NULL, S("") }, { "no name", HEADERS("\\\"\\\":\\\"c\\\""), NULL, S("") },
	{ "a name with a line end", HEADERS("\\\"a\\\\r\\\\nb\\\":\\\"c\\\""), NULL, S("") },
};

static int
decode(const char *in, size_t len, int is_head, const char *head, const char *body, size_t blen)
{
	struct pipegate_answer a;
	char *text = exact(in, len);
	int rc = -1;

	if (pipegate_decode(&a, text, len, asked, &is_head))
		rc = compare(a.head, a.body, head, body, blen);
	check((rc > 0) == (a.why == NULL), "why", len);
	free(a.memory);
	free(text);
	return rc;
}

static void
test_answers(void)
{
	check_answers(decode, answers, LEN(answers), " \r\nx");
	check(decode(S(ANSWER("{\\\"content-length\\\":\\\"77\\\",\\\"content-encoding\\\":\\\"gzip\\\"}", "", "200")), 1,
	    OK("content-encoding: gzip\r\n", "77"), "", 0) == 1, "HEAD: its own length", 0);
	check(decode(S(ANSWER("", "", "200")), 1, "HTTP/1.1 200 OK\r\n\r\n", "", 0) == 1, "HEAD: none", 0);
}

/* V5: the forms of an id. */
static void
test_ids(void)
{
	static const struct { const char *id; int ok; } ids[] = {
		{ ID, 1 }, { "3F2D4421-22BB-4D3D-BC0A-328AD6C72E12", 1 }, { "3F2D442122BB4D3DBC0A328AD6C72E12", 1 }, { SHORT, 1 },
		{ "{" ID "}", 1 }, { "urn:uuid:" ID, 1 }, { "URN:UUID:" ID, 1 }, { "{" SHORT "}", 1 },
		{ "", 0 }, { ID "0", 0 }, { "3f2d4421-22bb-4d3d-bc0a-328ad6c72e1", 0 }, { "3f2d4421-22bb-4d3d-bc0a-328ad6c72e1g", 0 },
		{ "{" ID, 0 }, { ID "}", 0 }, { " " ID, 0 }, { "3-f2d442122bb4d3dbc0a328ad6c72e12", 0 }, { "{}", 0 }, { "urn:uuid:", 0 }, { ID "\\u0000", 0 },
		{ "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000", 0 },
	};
	char text[400], id[MESSAGE_ID_LEN + 1];
	size_t i, n, len;

	for (i = 0; i < LEN(ids); i++) {
		len = (size_t)snprintf(text, sizeof(text), "{\"correlation_id\":\"%s\",\"headers\":\"\",\"body\":\"\",\"status_code\":200}", ids[i].id);
		check(decode(text, len, 0, OK("", "0"), "", 0) == (ids[i].ok ? 1 : -1), ids[i].id, i);
		for (n = 0; n <= len; n++)	/* of one that does not fit: as soon as the id is there */
			check(pipegate_id(text, n, id) == (ids[i].ok && n >= 20 + strlen(ids[i].id)), ids[i].id, n);
	}
}

/* Every byte in place of every other of a good answer: nothing is read or written that is not its own. */
static void
test_bytes(void)
{
	static const char good[] = ANSWER("{\\\"content-encoding\\\":\\\"gzip\\\",\\\"set-cookie\\\":\\\"a=\\\\\\\"1\\\\\\\", b=2\\\",\\\"c\\\":[\\\"d\\\"]}", "aGk=", "201");
	struct http_head h;
	struct pipegate_answer a;
	const char *why;
	size_t i;
	int c, is_head = 0;
	char *text;

	for (i = 0; i < sizeof(good) - 1; i++)
		for (c = 0; c < 256; c++) {
			text = exact(good, sizeof(good) - 1);
			text[i] = (char)c;
			if (pipegate_decode(&a, text, sizeof(good) - 1, asked, &is_head)) {
				memset(&h, 0, sizeof(h));
				if (a.head.p != NULL)
					check(http_res_parse(&h, a.head.p, a.head.len, 0, &why) == (int)a.head.len && a.body.len <= 3, "a byte changed", i);
			}
			free(a.memory);
			free(text);
		}
}

/* What grows: names, values, their number. */
static void
test_bounds(void)
{
	char *text = malloc(1 << 20), *p;
	size_t n, i;

	if (text == NULL)
		abort();
	for (n = 36000; n < 37000; n += 7) {
		p = text + sprintf(text, "{\"correlation_id\":\"" ID "\",\"body\":\"\",\"status_code\":200,\"headers\":\"{\\\"x\\\":\\\"");
		memset(p, 'v', n);
		p += n;
		p += sprintf(p, "\\\"}\"}");
		check(decode(text, (size_t)(p - text), 0, NULL, NULL, 0) == (17 + 5 + n + 19 + 2 <= HTTP_HEAD_MAX ? 2 : 0), "a value so long", n);
	}
	for (n = 140; n < 150; n++) {
		p = text + sprintf(text, "{\"correlation_id\":\"" ID "\",\"body\":\"\",\"status_code\":200,\"headers\":\"{");
		for (i = 0; i < n; i++)
			p += sprintf(p, "%s\\\"x%zu\\\":\\\"\\\"", i > 0 ? "," : "", i);
		p += sprintf(p, "}\"}");
		check(decode(text, (size_t)(p - text), 0, NULL, NULL, 0) == (n <= HTTP_FIELDS_MAX ? 2 : 0), "so many fields", n);
	}
	p = text + sprintf(text, "{\"correlation_id\":\"" ID "\",\"body\":\"\",\"status_code\":200,\"headers\":\"");
	memset(p, ' ', 600000);
	p += 600000;
	p += sprintf(p, "{}\"}");
	check(decode(text, (size_t)(p - text), 0, NULL, NULL, 0) == 0, "a text too long", 0);
	free(text);
}

int
main(void)
{
	test_requests();
	test_growth();
	test_paths();
	test_tokens();
	test_answers();
	test_ids();
	test_bytes();
	test_bounds();
	return test_end();
}
