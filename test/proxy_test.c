/* The client's way through a proxy: CONNECT (RFC 9110 9.3.6), Basic (RFC 7617), NO_PROXY. */
#include <sys/socket.h>
#include <unistd.h>

#include "../buf.h"
#include "../clock.h"
#include "../conn.h"
#include "../proxy.h"
#include "../wake.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define X10	"xxxxxxxxxx"
#define X100	X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define X1000	X100 X100 X100 X100 X100 X100 X100 X100 X100 X100

static const struct { const char *url, *host, *port, *auth; } good[] = {
	{ "http://proxy.example:3128", "proxy.example", "3128", "" },
	{ "http://proxy.example:3128/", "proxy.example", "3128", "" },
	{ "HTTP://proxy.example:3128", "proxy.example", "3128", "" },
	{ "http://proxy.example", "proxy.example", "80", "" },
	{ "http://proxy.example/", "proxy.example", "80", "" },
	{ "proxy.example:3128", "proxy.example", "3128", "" },
	{ "proxy.example:3128/", "proxy.example", "3128", "" },
	{ "proxy.example", "proxy.example", "80", "" },
	{ "http:8080", "http", "8080", "" },	/* a host called so: there is no "//" */
	{ "a_b-c.example.:1", "a_b-c.example.", "1", "" },
	{ "10.0.0.1:65535", "10.0.0.1", "65535", "" },
	{ "http://[::1]:3128", "::1", "3128", "" },
	{ "http://[2001:db8::1]/", "2001:db8::1", "80", "" },
	{ "[::1]", "::1", "80", "" },
	{ "http://[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", "1", "" },
	{ "http://u:p@[::1]:3128", "::1", "3128", "dTpw" },
	/* RFC 7617 section 2, and 2.1: UTF-8, pound sign */
	{ "http://Aladdin:open%20sesame@p:1", "p", "1", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==" },
	{ "http://test:123%C2%A3@p:1", "p", "1", "dGVzdDoxMjPCow==" },
	{ "http://test:123%c2%a3@p:1", "p", "1", "dGVzdDoxMjPCow==" },
	{ "Aladdin:open sesame@p:1", "p", "1", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==" },
	{ "http://user@p:1", "p", "1", "dXNlcjo=" },
	{ "http://user:@p:1", "p", "1", "dXNlcjo=" },
	{ "http://:pass@p:1", "p", "1", "OnBhc3M=" },
	{ "http://:@p:1", "p", "1", "Og==" },
	{ "http://@p:1", "p", "1", "" },
	{ "http://u:a:b@p:1", "p", "1", "dTphOmI=" },
	{ "http://u:a%3Ab@p:1", "p", "1", "dTphOmI=" },
	{ "http://u:a@b@p:1", "p", "1", "dTphQGI=" },	/* as curl reads it: the last '@' */
	{ "http://u:a%40b%2Fc%25@p:1", "p", "1", "dTphQGIvYyU=" },
	{ "http://u%40corp:p@p:1", "p", "1", "dUBjb3JwOnA=" },
};

#define BAD_URL	"the proxy is not http://[USER:PASSWORD@]HOST[:PORT]"
#define KNOWN	"only http:// proxies are known"

static const struct { const char *url, *why; } wrong[] = {
	{ "https://u:sesame@p:1", KNOWN }, { "socks5://p:1080", KNOWN }, { "socks5h://u:sesame@p", KNOWN },
	{ "socks4a://p", KNOWN }, { "SOCKS://p", KNOWN }, { "ftp://p", KNOWN }, { "http+x://p", KNOWN },
	{ "ws://p:1", KNOWN }, { "://p:1", KNOWN },
	{ "", BAD_URL }, { "http://", BAD_URL }, { "http:///", BAD_URL }, { "/", BAD_URL },
	{ "http://:3128", BAD_URL }, { "http://p:", BAD_URL }, { "http://p:x", BAD_URL },
	{ "http://p:0", BAD_URL }, { "http://p:00000", BAD_URL }, { "http://p:65536", BAD_URL },
	{ "http://p:-1", BAD_URL }, { "http://p:1/path", BAD_URL }, { "http://p:1//", BAD_URL },
	{ "http://p:1?q", BAD_URL }, { "http://p:1#f", BAD_URL }, { "http://p:1/?", BAD_URL },
	{ "http://u:sesame@", BAD_URL }, { "http://u:sesame@:1", BAD_URL },
	{ "http://u:ses/ame@p:1", BAD_URL }, { "http://u:ses#ame@p:1", BAD_URL },
	{ "http://::1:3128", BAD_URL }, { "http://[::1:3128", BAD_URL }, { "http://[]:1", BAD_URL },
	{ "http://[p]:1", BAD_URL }, { "http://[10.0.0.1]:1", BAD_URL }, { "http://[::g]:1", BAD_URL },
	{ "http://[::1%25lo]:1", BAD_URL }, { "http://[::1]x:1", BAD_URL },
	{ "http://p q:1", BAD_URL }, { "http:// p:1", BAD_URL }, { " http://p:1", BAD_URL },
	{ "http://p%2eq:1", BAD_URL }, { "http://p\r\nX:1", BAD_URL }, { "http://p\x7f:1", BAD_URL },
	{ "http://p\xc3\xa4:1", BAD_URL }, { "http://p*:1", BAD_URL }, { "a,b:1", BAD_URL },
	{ "http:/p:1", BAD_URL },
	{ "http://u:sesame%0d%0aX:1@p:1", "the proxy's user name or password has a control character" },
	{ "http://u%00:sesame@p:1", "the proxy's user name or password has a control character" },
	{ "http://u:sesame\n@p:1", "the proxy's user name or password has a control character" },
	{ "http://u:sesame%7F@p:1", "the proxy's user name or password has a control character" },
	{ "http://u:sesame%@p:1", "the proxy's user name or password has a % without two hexadecimal digits" },
	{ "http://u:sesame%4@p:1", "the proxy's user name or password has a % without two hexadecimal digits" },
	{ "http://u:sesame%4g@p:1", "the proxy's user name or password has a % without two hexadecimal digits" },
	{ "http://%:sesame@p:1", "the proxy's user name or password has a % without two hexadecimal digits" },
	{ "http://u%3A:sesame@p:1", "a user name for a proxy cannot have a ':'" },
	{ "http://" X1000 X10 X10 ":sesame@p:1", "the proxy's user name and password are too long" },
	{ "http://" X100 X100 X100 ":1", BAD_URL },
};

static void
test_parse(void)
{
	struct proxy p;
	const char *why;
	char *url;
	size_t i;

	for (i = 0; i < LEN(good); i++) {
		url = exact(good[i].url, strlen(good[i].url) + 1);
		why = NULL;
		check(proxy_parse(&p, url, &why) == 0, url, i);
		check(strcmp(p.host, good[i].host) == 0 && strcmp(p.port, good[i].port) == 0, url, i);
		check(strcmp(p.auth, good[i].auth) == 0, url, i);
		free(url);
	}
	for (i = 0; i < LEN(wrong); i++) {
		url = exact(wrong[i].url, strlen(wrong[i].url) + 1);
		why = "none";
		check(proxy_parse(&p, url, &why) == -1 && strcmp(why, wrong[i].why) == 0, wrong[i].url, i);
		check(strstr(why, "sesame") == NULL && p.auth[0] == '\0', wrong[i].url, i);
		free(url);
	}
	/* the longest credentials: 1023 bytes and the colon */
	check(proxy_parse(&p, X1000 X10 X10 "xxx@p:1", &why) == 0 && strlen(p.auth) == BASE64_LEN(1024), "longest", 0);
	check(proxy_parse(&p, X1000 X10 X10 "xxxx@p:1", &why) == -1, "too long", 0);
}

static const struct { const char *list, *host, *port; int want; } exempt[] = {
	{ "", "a.example", "80", 0 }, { ",", "a.example", "80", 0 }, { " , ,\t", "a.example", "80", 0 },
	{ "*", "a.example", "80", 1 }, { "*", "10.0.0.1", "80", 1 }, { "*", "::1", "80", 1 },
	{ "b.example,*", "a.example", "80", 1 }, { "*a", "a", "80", 0 }, { "**", "a", "80", 0 },
	/* names */
	{ "a.example", "a.example", "80", 1 }, { "A.Example", "a.eXAMPLE", "80", 1 },
	{ "a.example", "b.example", "80", 0 }, { "example", "a.example", "80", 1 },
	{ "example", "a.b.example", "80", 1 }, { "xample", "a.example", "80", 0 },
	{ "a.example", "example", "80", 0 }, { "a.example", "ba.example", "80", 0 },
	{ ".example", "a.example", "80", 1 }, { ".example", "example", "80", 1 },
	{ ".example", "anexample", "80", 0 }, { "*.example", "a.example", "80", 1 },
	{ "*.example", "example", "80", 1 }, { "*example", "a.example", "80", 0 },
	{ "a.*", "a.example", "80", 0 }, { ".", "a.example", "80", 0 }, { "*.", "a.example", "80", 0 },
	{ "..", "a.example", "80", 0 }, { "a.example.", "a.example", "80", 1 },
	{ "a.example", "a.example.", "80", 1 }, { "example.", "a.example.", "80", 1 },
	{ "localhost", "localhost", "80", 1 }, { "localhost", "127.0.0.1", "80", 0 },
	/* lists */
	{ "b,c , a.example", "a.example", "80", 1 }, { "b,a.example,c", "a.example", "80", 1 },
	{ "b a.example", "a.example", "80", 1 }, { "b,,\t a.example,", "a.example", "80", 1 },
	{ "a,example", "a.example", "80", 1 }, { "b,c", "a.example", "80", 0 },
	{ X1000 ",a", "a", "80", 1 }, { "http://a", "a", "80", 0 },
	/* ports */
	{ "a.example:80", "a.example", "80", 1 }, { "a.example:81", "a.example", "80", 0 },
	{ "a.example:8", "a.example", "80", 0 }, { "a.example:", "a.example", "80", 0 },
	{ ".example:80", "a.example", "80", 1 }, { "*.example:80", "a.example", "80", 1 },
	{ "10.0.0.1:80", "10.0.0.1", "80", 1 }, { "10.0.0.1:81", "10.0.0.1", "80", 0 },
	{ "[::1]:80", "::1", "80", 1 }, { "[::1]:81", "::1", "80", 0 }, { ":80", "a", "80", 0 },
	/* addresses */
	{ "10.0.0.1", "10.0.0.1", "80", 1 }, { "10.0.0.1", "10.0.0.10", "80", 0 },
	{ "0.0.1", "10.0.0.1", "80", 0 }, { ".0.0.1", "10.0.0.1", "80", 0 },
	{ "1", "10.0.0.1", "80", 0 }, { "10.0.0.1", "a.10.0.0.1", "80", 1 },	/* a name, if an odd one */
	{ "::1", "::1", "80", 1 }, { "[::1]", "::1", "80", 1 }, { "0:0:0:0:0:0:0:1", "::1", "80", 1 },
	{ "2001:DB8::1", "2001:db8:0::1", "80", 1 }, { "::2", "::1", "80", 0 },
	{ "[::1", "::1", "80", 0 }, { "[::1]x", "::1", "80", 0 }, { "[]", "::1", "80", 0 },
	{ "10.0.0.1", "::ffff:10.0.0.1", "80", 1 }, { "::ffff:10.0.0.1", "10.0.0.1", "80", 1 },
	/* networks */
	{ "10.0.0.0/8", "10.1.2.3", "80", 1 }, { "10.0.0.0/8", "11.1.2.3", "80", 0 },
	{ "10.9.9.9/8", "10.1.2.3", "80", 1 }, { "10.0.0.0/32", "10.0.0.0", "80", 1 },
	{ "10.0.0.0/32", "10.0.0.1", "80", 0 }, { "10.0.0.0/33", "10.0.0.0", "80", 0 },
	{ "10.0.0.0/", "10.0.0.0", "80", 0 }, { "10.0.0.0/x", "10.0.0.0", "80", 0 },
	{ "10.0.0.0/8x", "10.0.0.0", "80", 0 }, { "10.0.0.0/-1", "10.0.0.0", "80", 0 },
	{ "10.0.0.0/4294967304", "10.0.0.0", "80", 0 }, { "/8", "10.0.0.0", "80", 0 },
	{ "10/8", "10.0.0.0", "80", 0 }, { "0.0.0.0/0", "10.1.2.3", "80", 1 },
	{ "0.0.0.0/0", "2001:db8::1", "80", 0 }, { "::/0", "2001:db8::1", "80", 1 },
	{ "::/0", "10.1.2.3", "80", 0 }, { "fd00::/8", "fd12::1", "80", 1 },
	{ "fd00::/8", "fe12::1", "80", 0 }, { "[fd00::]/8", "fd12::1", "80", 0 },
	{ "2001:db8::/129", "2001:db8::", "80", 0 }, { "10.0.0.0/8", "a.example", "80", 0 },
	{ "::ffff:10.0.0.0/104", "10.1.2.3", "80", 1 },
};

static void
test_exempt(void)
{
	char *list;
	size_t i;

	for (i = 0; i < LEN(exempt); i++) {
		list = exact(exempt[i].list, strlen(exempt[i].list) + 1);
		check(proxy_exempt(list, exempt[i].host, exempt[i].port) == exempt[i].want, list, i);
		free(list);
	}
}

#define OK	"HTTP/1.1 200 OK\r\n"
#define END	"\r\n"

/* What a proxy answers, and what becomes of it: a part of why, NULL where there is none. */
static const struct { const char *name, *answer; int want; const char *why; } answers[] = {
	{ "200", OK END, 0, NULL },
	{ "200 by HTTP/1.0", "HTTP/1.0 200 Connection established" END END, 0, NULL },
	{ "200 without a reason", "HTTP/1.1 200" END END, 0, NULL },
	{ "204, any 2xx", "HTTP/1.1 204 No Content" END END, 0, NULL },
	{ "a length in a 2xx counts nothing, 9.3.6", OK "Content-Length: 5" END END, 0, NULL },
	{ "nor does chunked", OK "Transfer-Encoding: chunked" END END, 0, NULL },
	{ "fields", OK "Via: 1.1 p" END "Proxy-Agent: x" END END, 0, NULL },
	{ "100 before it", "HTTP/1.1 100 Continue" END END OK END, 0, NULL },
	{ "102, 103 before it", "HTTP/1.1 102 P" END END "HTTP/1.1 103 E" END "Link: x" END END OK END, 0, NULL },
	{ "bytes behind it", OK END "S", PROXY_REFUSED, "is no HTTP proxy: more than" },
	{ "content behind it", OK "Content-Length: 1" END END "x", PROXY_REFUSED, "is no HTTP proxy: more than" },
	{ "101", "HTTP/1.1 101 Switching Protocols" END END, PROXY_REFUSED, "answered 101" },
	{ "300", "HTTP/1.1 302 Found" END "Location: http://x/" END END, PROXY_REFUSED, "answered 302" },
	{ "400", "HTTP/1.1 400 Bad Request" END END "content", PROXY_REFUSED, "answered 400 Bad Request to CONNECT" },
	{ "401", "HTTP/1.1 401 U" END END, PROXY_REFUSED, "answered 401" },
	{ "403", "HTTP/1.1 403 F" END END, PROXY_REFUSED, "refuses to connect to d.example:81 (403)" },
	{ "404", "HTTP/1.1 404 N" END END, PROXY_REFUSED, "answered 404" },
	{ "405", "HTTP/1.1 405 M" END END, PROXY_REFUSED, "answered 405" },
	{ "407", "HTTP/1.1 407 P" END END, PROXY_REFUSED, "wants a user name and password (407): http://USER:PASSWORD@HOST in" },
	{ "407, Basic", "HTTP/1.1 407 P" END "Proxy-Authenticate: basic realm=\"a, b\"" END END,
	    PROXY_REFUSED, "wants a user name and password (407)" },
	{ "407, Basic among others", "HTTP/1.1 407 P" END "Proxy-Authenticate: Negotiate" END
	    "Proxy-Authenticate: Digest realm=\"x\", qop=\"auth\", Basic realm=\"x\"" END END,
	    PROXY_REFUSED, "wants a user name and password (407)" },
	{ "407, others only", "HTTP/1.1 407 P" END "Proxy-Authenticate: Negotiate, NTLM, Basics" END END,
	    PROXY_REFUSED, "knows Basic only" },
	{ "408", "HTTP/1.1 408 T" END END, PROXY_AGAIN, "answered 408" },
	{ "429", "HTTP/1.1 429 T" END END, PROXY_AGAIN, "answered 429" },
	{ "500", "HTTP/1.1 500 I" END END, PROXY_AGAIN, "answered 500" },
	{ "501", "HTTP/1.1 501 N" END END, PROXY_REFUSED, "answered 501" },
	{ "502", "HTTP/1.1 502 B" END END, PROXY_AGAIN, "answered 502 Bad Gateway to CONNECT d.example:81" },
	{ "503", "HTTP/1.1 503 S" END "Retry-After: 9" END END, PROXY_AGAIN, "answered 503" },
	{ "504", "HTTP/1.1 504 G" END END, PROXY_AGAIN, "answered 504" },
	{ "505", "HTTP/1.1 505 V" END END, PROXY_REFUSED, "answered 505" },
	{ "599", "HTTP/1.1 599 X" END END, PROXY_AGAIN, "answered 599" },
	{ "another protocol", "SSH-2.0-OpenSSH_9.2\r\n", PROXY_REFUSED, "is no HTTP proxy: " },
	{ "binary", "\x15\x03\x01\x02\x02\x16\r\n", PROXY_REFUSED, "is no HTTP proxy: " },
	{ "HTTP/2", "HTTP/2 200" END END, PROXY_REFUSED, "is no HTTP proxy: " },
	{ "no status", "HTTP/1.1 OK" END END, PROXY_REFUSED, "is no HTTP proxy: " },
	{ "status 600", "HTTP/1.1 600 X" END END, PROXY_REFUSED, "is no HTTP proxy: " },
	{ "bare LF", "HTTP/1.1 200 OK\n\n", PROXY_REFUSED, "is no HTTP proxy: " },
	{ "a field without colon", OK "nonsense" END END, PROXY_REFUSED, "is no HTTP proxy: " },
	{ "folding", OK "A: b" END " c" END END, PROXY_REFUSED, "is no HTTP proxy: " },
	{ "nothing", "", PROXY_AGAIN, "the proxy p.example:3128: it closed the connection" },
};

static const struct proxy with_auth = { "p.example", "3128", "dTpzZXNhbWU=" };
static const struct proxy without = { "p.example", "3128", "" };

static void
pair(struct conn *c, int *far)
{
	int fd[2], size = 65536;	/* all of an answer, for its writer is also its reader */

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1 || net_flags(fd[0]) == -1 ||
	    setsockopt(fd[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) == -1 ||
	    setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == -1)
		abort();
	conn_plain(c, fd[0]);
	*far = fd[1];
}

static void
put(int fd, const char *p, size_t len)
{
	if (len > 0 && write(fd, p, len) != (ssize_t)len)
		abort();
}

/* One conversation with a proxy that says the first n bytes of an answer and then ends. */
static int
talk(const struct proxy *p, const char *answer, size_t n, char *why, size_t whylen)
{
	struct conn c;
	int far, rc;

	pair(&c, &far);
	put(far, answer, n);
	shutdown(far, SHUT_WR);
	memset(why, 0, whylen);
	rc = proxy_connect(&c, p, "d.example", "81", clock_ms(CLOCK_STEADY) + 20000, -1, why, whylen);
	conn_close(&c);
	close(far);
	return rc;
}

static void
test_answers(void)
{
	char why[256];
	size_t i, n, len;
	int rc;

	for (i = 0; i < LEN(answers); i++) {
		len = strlen(answers[i].answer);
		rc = talk(&without, answers[i].answer, len, why, sizeof(why));
		check(rc == answers[i].want, answers[i].name, i);
		check(answers[i].why == NULL || (strstr(why, answers[i].why) != NULL &&
		    strstr(why, "p.example:3128") != NULL), answers[i].name, i);
		check(strchr(why, '\n') == NULL && strlen(why) < sizeof(why) - 1, answers[i].name, i);
		/* cut anywhere it is a cut, or already what it is; what lies behind a head needs not be there */
		for (n = 0; n < len && n < 200; n++) {
			rc = talk(&without, answers[i].answer, n, why, sizeof(why));
			check(rc == PROXY_AGAIN || rc == answers[i].want ||
			    (rc == 0 && strstr(answers[i].why, "more than") != NULL), answers[i].name, n);
		}
	}
	check(talk(&with_auth, answers[0].answer, strlen(answers[0].answer), why, sizeof(why)) == 0, "with credentials", 0);
	for (i = 0; i < LEN(answers); i++) {
		talk(&with_auth, answers[i].answer, strlen(answers[i].answer), why, sizeof(why));
		check(strstr(why, "dTpz") == NULL && strstr(why, "sesame") == NULL, answers[i].name, i);
		if (strcmp(answers[i].name, "407") == 0)
			check(strstr(why, "wants another user name and password (407)") != NULL, "407 again", 0);
	}
}

/* The bound on all of an answer: head, then one piece again and again, then tail. */
static const struct { const char *name, *head, *piece; size_t times; const char *tail; int want; } sizes[] = {
	{ "a long line", OK "A: ", X1000, 17, END END, PROXY_REFUSED },
	{ "many fields", OK, "A: " X1000 END, 17, END, PROXY_REFUSED },
	{ "many interim answers", "", "HTTP/1.1 100 " X1000 END END, 17, OK END, PROXY_REFUSED },
	{ "a line without end", "HTTP/1.1 200 ", X1000, 17, "", PROXY_REFUSED },
	{ "a long line that fits", OK "A: ", X1000, 16, END END, 0 },
	{ "many fields that fit", OK, "A: " X100 END, 100, END, 0 },
	{ "many interim answers that fit", "", "HTTP/1.1 100 C" END END, 500, OK END, 0 },
};

static void
test_sizes(void)
{
	static char answer[32768];
	char why[256];
	struct buf b;
	size_t i, n;

	for (i = 0; i < LEN(sizes); i++) {
		buf_init(&b, answer, sizeof(answer));
		buf_str(&b, sizes[i].head);
		for (n = 0; n < sizes[i].times; n++)
			buf_str(&b, sizes[i].piece);
		buf_str(&b, sizes[i].tail);
		check(!b.full && talk(&without, answer, b.len, why, sizeof(why)) == sizes[i].want, sizes[i].name, i);
		check(sizes[i].want == 0 || strcmp(why, "p.example:3128 is no HTTP proxy: its answer is too long") == 0,
		    sizes[i].name, i);
	}
}

static const struct { const char *host, *port; const struct proxy *p; const char *want; } requests[] = {
	{ "d.example", "443", &without, "CONNECT d.example:443 HTTP/1.1\r\nHost: d.example:443\r\n"
	    "User-Agent: tunnel/" VERSION "\r\n\r\n" },
	{ "d.example", "80", &with_auth, "CONNECT d.example:80 HTTP/1.1\r\nHost: d.example:80\r\n"
	    "Proxy-Authorization: Basic dTpzZXNhbWU=\r\nUser-Agent: tunnel/" VERSION "\r\n\r\n" },
	{ "2001:db8::1", "9001", &without, "CONNECT [2001:db8::1]:9001 HTTP/1.1\r\nHost: [2001:db8::1]:9001\r\n"
	    "User-Agent: tunnel/" VERSION "\r\n\r\n" },
};

static void
test_requests(void)
{
	char got[1024], why[256];
	struct conn c;
	ssize_t n;
	size_t i;
	int far;

	for (i = 0; i < LEN(requests); i++) {
		pair(&c, &far);
		put(far, OK END, strlen(OK END));
		check(proxy_connect(&c, requests[i].p, requests[i].host, requests[i].port,
		    clock_ms(CLOCK_STEADY) + 20000, -1, why, sizeof(why)) == 0, "request: answer", i);
		n = read(far, got, sizeof(got) - 1);
		got[n > 0 ? n : 0] = '\0';
		check(strcmp(got, requests[i].want) == 0, "request", i);
		put(far, "behind", 6);		/* what comes later is the connection's */
		check(conn_read(&c, got, sizeof(got)) == 6, "bytes behind", i);
		conn_close(&c);
		close(far);
	}
}

static void
test_waits(void)
{
	struct proxy p = { "", "1", "" };
	struct wake w;
	struct conn c;
	char why[256], host[NET_HOST_MAX];
	int64_t start;
	int far;

	if (wake_open(&w) == -1)
		abort();
	pair(&c, &far);
	put(far, "HTTP/1.1 2", 10);
	start = clock_ms(CLOCK_STEADY);
	check(proxy_connect(&c, &without, "d", "1", start + 50, w.rd, why, sizeof(why)) == PROXY_AGAIN, "silence", 0);
	check(strstr(why, "no answer in time") != NULL, "silence", 1);
	check(clock_ms(CLOCK_STEADY) - start >= 50, "until the deadline", 0);
	wake_post(&w);
	check(proxy_connect(&c, &without, "d", "1", CONN_FOREVER, w.rd, why, sizeof(why)) == PROXY_AGAIN, "woken", 0);
	wake_close(&w);
	close(far);
	check(proxy_connect(&c, &without, "d", "1", CONN_FOREVER, -1, why, sizeof(why)) == PROXY_AGAIN &&
	    strstr(why, "cannot ask the proxy p.example:3128") != NULL, "nobody there", 0);
	conn_close(&c);
	/* the longest names leave room for the words */
	memset(host, 'h', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	memcpy(p.host, host, sizeof(host));
	pair(&c, &far);
	put(far, "HTTP/1.1 403 F\r\n\r\n", 18);
	check(proxy_connect(&c, &p, host, "1", CONN_FOREVER, -1, why, sizeof(why)) == PROXY_REFUSED &&
	    strstr(why, "its owner must allow that") != NULL, "long names", 0);
	conn_close(&c);
	close(far);
}

int
main(void)
{
	test_parse();
	test_exempt();
	test_answers();
	test_sizes();
	test_requests();
	test_waits();
	return test_end();
}
