/*
 * http_test.c: message heads. Each row is parsed at every cut, in memory of
 * exactly that size, and once byte by byte in memory that moves.
 */
#include "../http.h"
#include "test.h"

#define S(lit) lit, sizeof(lit) - 1
#define OK 1			/* the head is the whole row */
#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" H
#define POST "POST / HTTP/1.1\r\n" H
#define RES "HTTP/1.1 200 OK\r\n"

struct row {
	const char *name, *in;
	size_t len;
	int want;		/* OK, 0, or a verdict */
};

/* Request lines, Host and the syntax of fields. */
static const struct row requests[] = {
	{ "origin-form", S("GET /where?q=now HTTP/1.1\r\nHost: www.example.org\r\n\r\n"), OK },
	{ "absolute-form", S("GET http://www.example.org/pub/ HTTP/1.1\r\nHost: b\r\n\r\n"), OK },
	{ "absolute-form, upper case", S("GET HTTPS://A:8080/ HTTP/1.1\r\n" H "\r\n"), OK },
	{ "absolute-form without path", S("GET http://a HTTP/1.1\r\n" H "\r\n"), OK },
	{ "absolute-form in HTTP/1.0", S("GET http://a/ HTTP/1.0\r\n\r\n"), OK },
	{ "asterisk-form", S("OPTIONS * HTTP/1.1\r\n" H "\r\n"), OK },
	{ "HTTP/1.0 without Host", S("GET / HTTP/1.0\r\n\r\n"), OK },
	{ "HTTP/1.9 is HTTP/1.1", S("GET / HTTP/1.9\r\n" H "\r\n"), OK },
	{ "an empty line first", S("\r\n" GET "\r\n"), OK },
	{ "two empty lines first", S("\r\n\r\n" GET "\r\n"), OK },
	{ "odd method", S("M!#$%&'*+-.^_`|~9 / HTTP/1.1\r\n" H "\r\n"), OK },
	{ "odd target", S("GET /\"<>\\^`{|}%zz\x80\xff HTTP/1.1\r\n" H "\r\n"), OK },
	{ "double slash", S("GET //a/b HTTP/1.1\r\n" H "\r\n"), OK },
	{ "empty Host", S("GET / HTTP/1.1\r\nHost:\r\n\r\n"), OK },
	{ "Host with port", S("GET / HTTP/1.1\r\nHost: a.b-c_d~%20:65535\r\n\r\n"), OK },
	{ "Host with empty port", S("GET / HTTP/1.1\r\nHost: a:\r\n\r\n"), OK },
	{ "Host, v6", S("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), OK },
	{ "white space around a value", S("GET / HTTP/1.1\r\nHost:\t a \t\r\n\r\n"), OK },
	{ "obs-text in a value", S(GET "X: \x80\xff\r\n\r\n"), OK },
	{ "empty value", S(GET "X:\r\n\r\n"), OK },
	{ "CRLF CRLF CRLF first", S("\r\n\r\n\r\n" GET "\r\n"), -400 },
	{ "empty line in the middle, CR CR LF", S("\r\r\n" GET "\r\n"), -400 },
	{ "LF first", S("\n" GET "\r\n"), -400 },
	{ "bare LF behind the request line", S("GET / HTTP/1.1\n\n"), -400 },
	{ "bare LF behind a field", S("GET / HTTP/1.1\r\nHost: a\n\r\n"), -400 },
	{ "bare LF at the end", S(GET "\n"), -400 },
	{ "bare CR in the request line", S("GET /\r HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "bare CR in a value", S(GET "X: a\rb: c\r\n\r\n"), -400 },
	{ "bare CR in a name", S(GET "X\rY: a\r\n\r\n"), -400 },
	{ "CR CR LF", S(GET "X: a\r\r\n\r\n"), -400 },
	{ "CR at the end, no LF", S(GET "\rX"), -400 },
	{ "NUL in a value", S(GET "X: a\0b\r\n\r\n"), -400 },
	{ "NUL in a name", S(GET "X\0: a\r\n\r\n"), -400 },
	{ "NUL in the target", S("GET /\0 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "DEL in a value", S(GET "X: a\x7f\r\n\r\n"), -400 },
	{ "vertical tab in a value", S(GET "X: \x0b" "a\r\n\r\n"), -400 },
	{ "obsolete folding", S(GET "X: a\r\n b\r\n\r\n"), -400 },
	{ "obsolete folding, tab", S(GET "X: a\r\n\tb\r\n\r\n"), -400 },
	{ "folding, white space only", S(GET "X: a\r\n \r\n\r\n"), -400 },
	{ "white space before the first field", S("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), -400 },
	{ "space before a colon", S(GET "X : a\r\n\r\n"), -400 },
	{ "tab before a colon", S(GET "X\t: a\r\n\r\n"), -400 },
	{ "space in a name", S(GET "X Y: a\r\n\r\n"), -400 },
	{ "empty name", S(GET ": a\r\n\r\n"), -400 },
	{ "no colon", S(GET "X\r\n\r\n"), -400 },
	{ "name with a separator", S(GET "X(Y): a\r\n\r\n"), -400 },
	{ "name with obs-text", S(GET "X\xe9: a\r\n\r\n"), -400 },
	{ "no Host", S("GET / HTTP/1.1\r\nX: a\r\n\r\n"), -400 },
	{ "no Host, absolute-form", S("GET http://a/ HTTP/1.1\r\n\r\n"), -400 },
	{ "Host twice", S(GET H "\r\n"), -400 },
	{ "Host twice in HTTP/1.0", S("GET / HTTP/1.0\r\n" H "host: b\r\n\r\n"), -400 },
	{ "Host twice, absolute-form", S("GET http://a/ HTTP/1.1\r\n" H H "\r\n"), -400 },
	{ "Host with a slash", S("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), -400 },
	{ "Host with userinfo", S("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), -400 },
	{ "Host with a blank", S("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), -400 },
	{ "Host with obs-text", S("GET / HTTP/1.1\r\nHost: a\x80\r\n\r\n"), -400 },
	{ "Host with a port alone", S("GET / HTTP/1.1\r\nHost: :80\r\n\r\n"), -400 },
	{ "Host with a bad port", S("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n"), -400 },
	{ "Host with two ports", S("GET / HTTP/1.1\r\nHost: a:8:8\r\n\r\n"), -400 },
	{ "Host, port too large", S("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"), -400 },
	{ "Host, port far too large", S("GET / HTTP/1.1\r\nHost: a:4294967376\r\n\r\n"), -400 },
	{ "Host, v6 not closed", S("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), -400 },
	{ "Host, v6 with a tail", S("GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n"), -400 },
	{ "Host, v6 empty", S("GET / HTTP/1.1\r\nHost: []\r\n\r\n"), -400 },
	{ "two SPs before the target", S("GET  / HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "two SPs behind the target", S("GET /  HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "SP in the target", S("GET /a b HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "SP behind the version", S("GET / HTTP/1.1 \r\n" H "\r\n"), -400 },
	{ "SP first", S(" GET / HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "tab for SP", S("GET\t/ HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "tab in the target", S("GET /\ta HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "no target", S("GET HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "HTTP/0.9", S("GET /\r\n"), -400 },
	{ "method is no token", S("G(T / HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "fragment", S("GET /#a HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "relative target", S("GET a HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "other scheme", S("GET ftp://a/ HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "asterisk with GET", S("GET * HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "asterisk with a tail", S("OPTIONS *a HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "authority-form", S("CONNECT a:80 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "CONNECT with a path", S("CONNECT / HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "absolute-form, userinfo", S("GET http://u:p@a/ HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "absolute-form, no host", S("GET http:///a HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "absolute-form, port alone", S("GET http://:80/ HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "absolute-form, query, no path", S("GET http://a?b HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "absolute-form, backslash", S("GET http://a\\@b/ HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "version in lower case", S("GET / http/1.1\r\n" H "\r\n"), -400 },
	{ "version with two digits", S("GET / HTTP/1.10\r\n" H "\r\n"), -400 },
	{ "version without digits", S("GET / HTTP/a.b\r\n" H "\r\n"), -400 },
	{ "other protocol", S("GET / HTCPCP/1.0\r\n" H "\r\n"), -400 },
	{ "HTTP/2.0", S("GET / HTTP/2.0\r\n" H "\r\n"), -505 },
	{ "HTTP/2 preface", S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), -505 },
	{ "HTTP/0.9 said aloud", S("GET / HTTP/0.9\r\n" H "\r\n"), -505 },
	{ "TLS", S("\x16\x03\x01\x02"), -400 },
	{ "nothing yet", S(""), 0 },
	{ "not whole", S(GET "X: a\r\n"), 0 },
	{ "last CR", S(GET "\r"), 0 },
};

/* Requests two parsers could end in two places. */
static const struct row smuggling[] = {
	{ "CL", S(POST "Content-Length: 5\r\n\r\n"), OK },
	{ "CL, leading zeros", S(POST "Content-Length: 0005\r\n\r\n"), OK },
	{ "CL, 18 digits", S(POST "Content-Length: 999999999999999999\r\n\r\n"), OK },
	{ "CL, equal list", S(POST "Content-Length: 5, 5\r\n\r\n"), OK },
	{ "CL, equal lines", S(POST "Content-Length: 5\r\ncontent-length: 5\r\n\r\n"), OK },
	{ "CL, differing list", S(POST "Content-Length: 5, 6\r\n\r\n"), -400 },
	{ "CL, differing lines", S(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), -400 },
	{ "CL, list with a hole", S(POST "Content-Length: 5,,5\r\n\r\n"), -400 },
	{ "CL, comma last", S(POST "Content-Length: 5,\r\n\r\n"), -400 },
	{ "CL, comma first", S(POST "Content-Length: ,5\r\n\r\n"), -400 },
	{ "CL, empty", S(POST "Content-Length:\r\n\r\n"), -400 },
	{ "CL, one of two empty", S(POST "Content-Length: 5\r\nContent-Length:\r\n\r\n"), -400 },
	{ "CL, plus", S(POST "Content-Length: +5\r\n\r\n"), -400 },
	{ "CL, minus", S(POST "Content-Length: -5\r\n\r\n"), -400 },
	{ "CL, hexadecimal", S(POST "Content-Length: 0x5\r\n\r\n"), -400 },
	{ "CL, underscore", S(POST "Content-Length: 1_0\r\n\r\n"), -400 },
	{ "CL, exponent", S(POST "Content-Length: 1e1\r\n\r\n"), -400 },
	{ "CL, fraction", S(POST "Content-Length: 5.0\r\n\r\n"), -400 },
	{ "CL, quoted", S(POST "Content-Length: \"5\"\r\n\r\n"), -400 },
	{ "CL, two numbers", S(POST "Content-Length: 5 5\r\n\r\n"), -400 },
	{ "CL, 19 digits", S(POST "Content-Length: 1000000000000000000\r\n\r\n"), -400 },
	{ "CL, 2^64 + 5", S(POST "Content-Length: 18446744073709551621\r\n\r\n"), -400 },
	{ "CL, full-width digit", S(POST "Content-Length: \xef\xbc\x95\r\n\r\n"), -400 },
	{ "CL, space before the colon", S(POST "Content-Length : 5\r\n\r\n"), -400 },
	{ "CL, folded", S(POST "Content-Length:\r\n 5\r\n\r\n"), -400 },
	{ "CL, malformed in a GET", S(GET "Content-Length: x\r\n\r\n"), -400 },
	{ "TE", S(POST "Transfer-Encoding: chunked\r\n\r\n"), OK },
	{ "TE, case and blanks", S(POST "tRANSFER-eNCODING:\t cHUNKED \t\r\n\r\n"), OK },
	{ "CL.TE", S(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), -400 },
	{ "TE.CL", S(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), -400 },
	{ "CL 0 and TE", S(POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"), -400 },
	{ "CL and TE unknown", S(POST "Content-Length: 5\r\nTransfer-Encoding: x\r\n\r\n"), -400 },
	{ "TE in HTTP/1.0", S("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), -400 },
	{ "TE.TE", S(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"), -400 },
	{ "TE.TE, unknown first", S(POST "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n"),
	    -501 },
	{ "TE twice", S(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
	    -400 },
	{ "TE, chunked and empty", S(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n"),
	    -400 },
	{ "TE, empty and chunked", S(POST "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n"),
	    -400 },
	{ "TE, chunked twice", S(POST "Transfer-Encoding: chunked, chunked\r\n\r\n"), -400 },
	{ "TE, chunked not last", S(POST "Transfer-Encoding: chunked, gzip\r\n\r\n"), -400 },
	{ "TE, identity last", S(POST "Transfer-Encoding: chunked, identity\r\n\r\n"), -400 },
	{ "TE, gzip first", S(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), -501 },
	{ "TE, gzip", S(POST "Transfer-Encoding: gzip\r\n\r\n"), -501 },
	{ "TE, identity", S(POST "Transfer-Encoding: identity\r\n\r\n"), -501 },
	{ "TE, xchunked", S(POST "Transfer-Encoding: xchunked\r\n\r\n"), -501 },
	{ "TE, chunkedx", S(POST "Transfer-Encoding: chunkedx\r\n\r\n"), -501 },
	{ "TE, empty", S(POST "Transfer-Encoding:\r\n\r\n"), -400 },
	{ "TE, comma last", S(POST "Transfer-Encoding: chunked,\r\n\r\n"), -400 },
	{ "TE, comma first", S(POST "Transfer-Encoding: ,chunked\r\n\r\n"), -400 },
	{ "TE, parameter", S(POST "Transfer-Encoding: chunked;a=b\r\n\r\n"), -400 },
	{ "TE, quoted", S(POST "Transfer-Encoding: \"chunked\"\r\n\r\n"), -400 },
	{ "TE, single quotes", S(POST "Transfer-Encoding: 'chunked'\r\n\r\n"), -501 },
	{ "TE, two words", S(POST "Transfer-Encoding: chunked foo\r\n\r\n"), -400 },
	{ "TE, vertical tab", S(POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n"), -400 },
	{ "TE, form feed last", S(POST "Transfer-Encoding: chunked\x0c\r\n\r\n"), -400 },
	{ "TE, NUL last", S(POST "Transfer-Encoding: chunked\0\r\n\r\n"), -400 },
	{ "TE, no-break space", S(POST "Transfer-Encoding: \xc2\xa0" "chunked\r\n\r\n"), -400 },
	{ "TE, long s", S(POST "Transfer-Encoding: chun\xe2\x84\xaa" "ed\r\n\r\n"), -400 },
	{ "TE, space before the colon", S(POST "Transfer-Encoding : chunked\r\n\r\n"), -400 },
	{ "TE, tab before the colon", S(POST "Transfer-Encoding\t: chunked\r\n\r\n"), -400 },
	{ "TE, space first", S(POST " Transfer-Encoding: chunked\r\n\r\n"), -400 },
	{ "TE, folded", S(POST "Transfer-Encoding:\r\n chunked\r\n\r\n"), -400 },
	{ "TE behind a bare CR", S(POST "X: a\rTransfer-Encoding: chunked\r\n\r\n"), -400 },
	{ "TE behind a bare LF", S(POST "X: a\nTransfer-Encoding: chunked\r\n\r\n"), -400 },
	{ "TE in a name with a NUL", S(POST "Transfer-Encoding\0: chunked\r\n\r\n"), -400 },
};

static const struct row responses[] = {
	{ "status line", S(RES "\r\n"), OK },
	{ "empty reason", S("HTTP/1.1 200 \r\n\r\n"), OK },
	{ "no blank and no reason", S("HTTP/1.1 200\r\n\r\n"), OK },
	{ "reason with obs-text and tab", S("HTTP/1.1 200 a\tb \xff\r\n\r\n"), OK },
	{ "HTTP/1.0", S("HTTP/1.0 404 Not Found\r\n\r\n"), OK },
	{ "599", S("HTTP/1.1 599 x\r\n\r\n"), OK },
	{ "equal lengths", S(RES "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), OK },
	{ "differing lengths", S(RES "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), -502 },
	{ "malformed length", S(RES "Content-Length: 5x\r\n\r\n"), -502 },
	{ "CL and TE", S(RES "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), -502 },
	{ "TE in HTTP/1.0", S("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), -502 },
	{ "TE gzip", S(RES "Transfer-Encoding: gzip, chunked\r\n\r\n"), -502 },
	{ "TE twice", S(RES "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), -502 },
	{ "empty line first", S("\r\n" RES "\r\n"), -502 },
	{ "bare LF", S("HTTP/1.1 200 OK\n\n"), -502 },
	{ "bare CR", S("HTTP/1.1 200 OK\rX: a\r\n\r\n"), -502 },
	{ "NUL", S(RES "X: \0\r\n\r\n"), -502 },
	{ "folding", S(RES "X: a\r\n b\r\n\r\n"), -502 },
	{ "space before a colon", S(RES "X : a\r\n\r\n"), -502 },
	{ "two digits", S("HTTP/1.1 20 OK\r\n\r\n"), -502 },
	{ "four digits", S("HTTP/1.1 2000 OK\r\n\r\n"), -502 },
	{ "no digits", S("HTTP/1.1 abc OK\r\n\r\n"), -502 },
	{ "status 099", S("HTTP/1.1 099 OK\r\n\r\n"), -502 },
	{ "status 600", S("HTTP/1.1 600 OK\r\n\r\n"), -502 },
	{ "two SPs", S("HTTP/1.1  200 OK\r\n\r\n"), -502 },
	{ "tab for SP", S("HTTP/1.1\t200 OK\r\n\r\n"), -502 },
	{ "HTTP/2", S("HTTP/2 200 OK\r\n\r\n"), -502 },
	{ "HTTP/2.0", S("HTTP/2.0 200 OK\r\n\r\n"), -502 },
	{ "ICY", S("ICY 200 OK\r\n\r\n"), -502 },
	{ "no HTTP", S("SSH-2.0-OpenSSH_9.6\r\n"), -502 },
	{ "short line", S("HTTP\r\n"), -502 },
	{ "not whole", S("HTTP/1.1 200 OK\r\n"), 0 },
};

/* To a proxy: CONNECT's target is an authority, and nothing else is one; all else is as ever. */
enum { PROXIED = 2 };

static const struct row proxied[] = {
	{ "CONNECT", S("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n"), OK },
	{ "without a port", S("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"), OK },
	{ "IPv6", S("CONNECT [::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n"), OK },
	{ "HTTP/1.0, without Host", S("CONNECT a:1 HTTP/1.0\r\n\r\n"), OK },
	{ "without Host", S("CONNECT a:1 HTTP/1.1\r\n\r\n"), -400 },
	{ "user information", S("CONNECT u:p@a:443 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "a path behind", S("CONNECT a:443/x HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "a path alone", S("CONNECT / HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "a query", S("CONNECT a:443?x HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "absolute-form", S("CONNECT http://a/ HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "an asterisk and a port", S("CONNECT *:x HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "no host", S("CONNECT :443 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "a port too large", S("CONNECT a:65536 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "two ports", S("CONNECT a:1:2 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "a port with a sign", S("CONNECT a:+1 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "an open bracket", S("CONNECT [::1:443 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "no target", S("CONNECT  HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "a bare LF in the target", S("CONNECT a:1\nX: y HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "a bare CR in the target", S("CONNECT a:1\rX HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "in lower case it is another method", S("connect a:1 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "both lengths", S("CONNECT a:1 HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), -400 },
	{ "another method's authority", S("GET a:80 HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "absolute-form of others", S("GET http://a:80/ HTTP/1.1\r\n" H "\r\n"), OK },
	{ "with user information", S("GET http://u:p@a/ HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "CRLF in it", S("GET http://a/\r\nX: y HTTP/1.1\r\n" H "\r\n"), -400 },
	{ "origin-form", S("GET / HTTP/1.1\r\n" H "\r\n"), OK },
};

static const struct {
	const char *in, *target, *host;
	enum http_form form;
} forms[] = {
	{ "CONNECT A.b:443 HTTP/1.1\r\nHost: other\r\n\r\n", "A.b:443", "A.b:443", HTTP_AUTHORITY },
	{ "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "a", "a", HTTP_AUTHORITY },
	{ "GET http://a:8/b HTTP/1.1\r\nHost: other\r\n\r\n", "/b", "a:8", HTTP_ABSOLUTE },
	{ "GET HTTPS://a HTTP/1.1\r\nHost: other\r\n\r\n", "/", "a", HTTP_ABSOLUTE_TLS },
	{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", "a", HTTP_ORIGIN },
	{ "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "a", HTTP_ASTERISK },
};

static int
parse(struct http_head *h, const char *p, size_t n, int is_req)
{
	const char *why = NULL;
	int rc;

	rc = is_req == PROXIED ? http_proxy_parse(h, p, n, &why) : is_req ? http_req_parse(h, p, n, &why) : http_res_parse(h, p, n, 0, &why);
	if (rc < 0 && why == NULL)
		abort();
	return rc;
}

static int
equal(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static int
equal_heads(const struct http_head *a, const struct http_head *b)
{
	size_t i;

	if (a->minor != b->minor || a->status != b->status || a->framing != b->framing ||
	    a->length != b->length || a->has_length != b->has_length ||
	    a->keep_alive != b->keep_alive || a->expect_continue != b->expect_continue ||
	    a->nfields != b->nfields || !equal(a->method, b->method) ||
	    !equal(a->target, b->target) || !equal(a->host, b->host) ||
	    !equal(a->reason, b->reason) || !equal(a->upgrade, b->upgrade))
		return 0;
	for (i = 0; i < a->nfields; i++)
		if (!equal(a->field[i].name, b->field[i].name) ||
		    !equal(a->field[i].value, b->field[i].value))
			return 0;
	return 1;
}

/* Each prefix judged by itself, and the whole fed byte by byte. */
static void
test_row(const struct row *r, int is_req)
{
	static struct http_head h, fed;
	int rc, want = r->want == OK ? (int)r->len : r->want, fed_rc = 0;
	size_t n;
	char *p, *last = NULL;

	memset(&fed, 0xa5, sizeof(fed));
	fed.scanned = 0;
	for (n = 0; n <= r->len; n++) {
		p = exact(r->in, n);
		memset(&h, 0x5a, sizeof(h));
		h.scanned = 0;
		rc = parse(&h, p, n, is_req);
		check(n == r->len ? rc == want : rc == 0 || rc == want, r->name, n);
		if (fed_rc == 0) {
			fed_rc = parse(&fed, p, n, is_req);
			check(fed_rc == rc, r->name, n);
		}
		if (n == r->len && rc > 0)
			check(equal_heads(&h, &fed), r->name, n);
		free(last);	/* fed must not look back into it */
		last = p;
	}
	free(last);
}

static void
test_forms(void)
{
	static struct http_head h;
	size_t i;

	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		h.scanned = 0;
		check(parse(&h, forms[i].in, strlen(forms[i].in), PROXIED) == (int)strlen(forms[i].in) && h.form == forms[i].form &&
		    str_is(h.target, forms[i].target) && str_is(h.host, forms[i].host), forms[i].in, i);
	}
}

static void
test_rows(const struct row *r, size_t n, int is_req)
{
	size_t i;

	for (i = 0; i < n; i++)
		test_row(&r[i], is_req);
}

static const struct {
	const char *in, *method, *target, *host, *upgrade;
	enum http_framing framing;
	uint64_t length;
	int keep_alive, expect;
} read_requests[] = {
	{ "GET /a?b HTTP/1.1\r\nHost: h:8\r\n\r\n",
	    "GET", "/a?b", "h:8", "", HTTP_NO_BODY, 0, 1, 0 },
	{ "GET http://A.b:8/c?d HTTP/1.1\r\nHost: h\r\n\r\n",
	    "GET", "/c?d", "A.b:8", "", HTTP_NO_BODY, 0, 1, 0 },
	{ "GET https://a HTTP/1.1\r\nHost: h\r\n\r\n",
	    "GET", "/", "a", "", HTTP_NO_BODY, 0, 1, 0 },
	{ "OPTIONS http://a HTTP/1.1\r\nHost: h\r\n\r\n",
	    "OPTIONS", "*", "a", "", HTTP_NO_BODY, 0, 1, 0 },
	{ "GET / HTTP/1.0\r\n\r\n",
	    "GET", "/", "", "", HTTP_NO_BODY, 0, 0, 0 },
	{ "GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\nExpect: 100-continue\r\n\r\n",
	    "GET", "/", "", "", HTTP_NO_BODY, 0, 1, 0 },
	{ "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
	    "GET", "/", "", "", HTTP_NO_BODY, 0, 0, 0 },
	{ GET "Connection: Close\r\n\r\n",
	    "GET", "/", "a", "", HTTP_NO_BODY, 0, 0, 0 },
	{ GET "Connection: \"close\", closed\r\n\r\n",
	    "GET", "/", "a", "", HTTP_NO_BODY, 0, 1, 0 },
	{ POST "Content-Length: 007, 7\r\nExpect: 100-Continue\r\n\r\n",
	    "POST", "/", "a", "", HTTP_LENGTH, 7, 1, 1 },
	{ POST "Transfer-Encoding: Chunked\r\n\r\n",
	    "POST", "/", "a", "", HTTP_CHUNKED, 0, 1, 0 },
	{ GET "Upgrade: websocket, h2c\r\nConnection: keep-alive, Upgrade\r\n\r\n",
	    "GET", "/", "a", "websocket", HTTP_NO_BODY, 0, 1, 0 },
	{ GET "Upgrade: websocket\r\n\r\n",
	    "GET", "/", "a", "", HTTP_NO_BODY, 0, 1, 0 },
	{ GET "Upgrade: web socket\r\nConnection: upgrade\r\n\r\n",
	    "GET", "/", "a", "", HTTP_NO_BODY, 0, 1, 0 },
	{ "GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
	    "GET", "/", "", "", HTTP_NO_BODY, 0, 0, 0 },
};

static void
test_read_requests(void)
{
	static struct http_head h;
	size_t i;

	for (i = 0; i < sizeof(read_requests) / sizeof(read_requests[0]); i++) {
		h.scanned = 0;
		check(parse(&h, read_requests[i].in, strlen(read_requests[i].in), 1) > 0 &&
		    str_is(h.method, read_requests[i].method) &&
		    str_is(h.target, read_requests[i].target) &&
		    str_is(h.host, read_requests[i].host) &&
		    str_is(h.upgrade, read_requests[i].upgrade) &&
		    h.framing == read_requests[i].framing &&
		    h.length == read_requests[i].length &&
		    h.keep_alive == read_requests[i].keep_alive &&
		    h.expect_continue == read_requests[i].expect, "read request", i);
	}
}

static const struct {
	const char *in, *reason, *upgrade;
	int is_head, status;
	enum http_framing framing;
	int has_length;
	uint64_t length;
	int keep_alive;
} read_responses[] = {
	{ RES "\r\n", "OK", "", 0, 200, HTTP_TO_EOF, 0, 0, 0 },
	{ RES "Content-Length: 5\r\n\r\n", "OK", "", 0, 200, HTTP_LENGTH, 1, 5, 1 },
	{ RES "Content-Length: 5\r\n\r\n", "OK", "", 1, 200, HTTP_NO_BODY, 1, 5, 1 },
	{ RES "Content-Length: 5\r\nConnection: close\r\n\r\n",
	    "OK", "", 0, 200, HTTP_LENGTH, 1, 5, 0 },
	{ RES "Transfer-Encoding: chunked\r\n\r\n", "OK", "", 0, 200, HTTP_CHUNKED, 0, 0, 1 },
	{ RES "Transfer-Encoding: chunked\r\n\r\n", "OK", "", 1, 200, HTTP_NO_BODY, 0, 0, 1 },
	{ "HTTP/1.1 304\r\nContent-Length: 5\r\n\r\n", "", "", 0, 304, HTTP_NO_BODY, 1, 5, 1 },
	{ "HTTP/1.1 204 \r\n\r\n", "", "", 0, 204, HTTP_NO_BODY, 0, 0, 1 },
	{ "HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n", "", "", 0, 204, HTTP_NO_BODY, 1, 5, 0 },
	{ "HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n", "", "", 0, 204, HTTP_NO_BODY, 1, 0, 1 },
	{ "HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n",
	    "", "", 0, 204, HTTP_NO_BODY, 0, 0, 0 },
	{ "HTTP/1.1 205 \r\n\r\n", "", "", 0, 205, HTTP_TO_EOF, 0, 0, 0 },
	{ "HTTP/1.1 205 \r\nContent-Length: 0\r\n\r\n", "", "", 0, 205, HTTP_LENGTH, 1, 0, 1 },
	{ "HTTP/1.1 100 Continue\r\n\r\n", "Continue", "", 0, 100, HTTP_NO_BODY, 0, 0, 1 },
	{ "HTTP/1.1 101 Up \r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	    "Up ", "websocket", 0, 101, HTTP_NO_BODY, 0, 0, 1 },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "OK", "", 0, 200, HTTP_LENGTH, 1, 5, 0 },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
	    "OK", "", 0, 200, HTTP_LENGTH, 1, 5, 1 },
	{ "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
	    "OK", "", 0, 200, HTTP_TO_EOF, 0, 0, 0 },
};

static void
test_read_responses(void)
{
	static struct http_head h;
	const char *why;
	size_t i;

	for (i = 0; i < sizeof(read_responses) / sizeof(read_responses[0]); i++) {
		h.scanned = 0;
		check(http_res_parse(&h, read_responses[i].in, strlen(read_responses[i].in),
		    read_responses[i].is_head, &why) > 0 &&
		    h.status == read_responses[i].status &&
		    str_is(h.reason, read_responses[i].reason) &&
		    str_is(h.upgrade, read_responses[i].upgrade) &&
		    h.framing == read_responses[i].framing &&
		    h.has_length == read_responses[i].has_length &&
		    h.length == read_responses[i].length &&
		    h.keep_alive == read_responses[i].keep_alive, "read response", i);
	}
}

/* A head of before, n times fill, and after; judged whole and byte by byte. */
static void
test_limit(const char *name, const char *before, const char *fill, size_t n,
    const char *after, int is_req, int want, size_t judged_at)
{
	static struct http_head h;
	static char head[65536];
	size_t len = strlen(before), i;
	int rc = 0;

	memcpy(head, before, len);
	for (i = 0; i < n; i++, len += strlen(fill))
		memcpy(head + len, fill, strlen(fill));
	memcpy(head + len, after, strlen(after));
	len += strlen(after);
	if (want == OK)
		want = (int)len;
	h.scanned = 0;
	check(parse(&h, head, len, is_req) == want, name, n);
	h.scanned = 0;
	for (i = 0; i < len && rc == 0; i++)
		rc = parse(&h, head, i + 1, is_req);
	check(rc == want, name, n);
	check(i == (judged_at > 0 ? judged_at : len), name, i);
}

static void
test_limits(void)
{
	enum { M = HTTP_HEAD_MAX, F = HTTP_FIELDS_MAX };
	const char *v = " HTTP/1.1\r\n" H "\r\n";

	test_limit("target of 8192 bytes", "GET /", "a", 8191, v, 1, OK, 0);
	test_limit("target of 8193 bytes", "GET /", "a", 8192, v, 1, -414, 4 + 8193);
	test_limit("target without an end", "GET /", "a", 40000, "", 1, -414, 4 + 8193);
	test_limit("target behind empty lines", "\r\n\r\nGET /", "a", 8191, v, 1, OK, 0);
	test_limit("target with a late control", "GET /", "a", 9000, "\r", 1, -414, 4 + 8193);
	test_limit("longest head", GET "X: ", "a", M - 32, "\r\n\r\n", 1, OK, 0);
	test_limit("head a byte too long", GET "X: ", "a", M + 1 - 32, "\r\n\r\n", 1, -431, M);
	test_limit("head without an end", GET "X: ", "a", 40000, "", 1, -431, M);
	test_limit("method without an end", "", "G", 40000, "", 1, -431, M);
	test_limit("control behind the end", GET "X: ", "a", 40000, "\n", 1, -431, M);
	test_limit("most fields", GET, "a:\r\n", F - 1, "\r\n", 1, OK, 0);
	test_limit("a field too many", GET, "a:\r\n", F, "\r\n", 1, -431, 25 + F * 4);
	test_limit("longest response head", RES "X: ", "a", M - 24, "\r\n\r\n", 0, OK, 0);
	test_limit("response head a byte too long", RES "X: ", "a", M + 1 - 24, "\r\n\r\n", 0, -502,
	    M);
	test_limit("a field too many in a response", RES, "a:\r\n", F + 1, "\r\n", 0, -502, 17 + (F + 1) * 4);
}

static void
test_fields(void)
{
	static const char in[] = GET "X: a, \"b, \\\"c\" ,, d\r\nY: e\r\nx:\r\nX: ,f ,\"g, h\r\n\r\n";
	static const char *const want[] = { "a", "\"b, \\\"c\"", "d", "f", "\"g, h" };
	static struct http_head h;
	static const struct str get = { "GET", 3 }, lower = { "get", 3 }, post = { "POST", 4 };
	struct str tok;
	size_t at = 0, i = 0;

	h.scanned = 0;
	check(parse(&h, in, sizeof(in) - 1, 1) > 0, "fields", 0);
	while (http_list_next(&h, "x", &at, &tok)) {
		check(i < 5 && str_is(tok, want[i]), "list element", i);
		i++;
	}
	check(i == 5, "list elements", i);
	check(!http_list_next(&h, "x", &at, &tok), "list stays at its end", 0);
	check(http_list_has(&h, "X", "F") && !http_list_has(&h, "X", "b"), "list has", 0);
	check(!http_list_has(&h, "Z", "f"), "list of no field", 0);
	check(http_field(&h, "hOST") != NULL && str_is(*http_field(&h, "hOST"), "a"), "field", 0);
	check(http_field(&h, "Hos") == NULL && http_field(&h, "Hosts") == NULL, "field", 1);
	check(strcmp(http_reason(502), "Bad Gateway") == 0, "reason", 502);
	check(strcmp(http_reason(599), "Unknown") == 0, "reason", 599);
	check(http_idempotent(get) && !http_idempotent(post), "idempotent", 0);
	check(!http_idempotent(lower), "methods know their case", 0);
}

int
main(void)
{
	test_rows(requests, sizeof(requests) / sizeof(requests[0]), 1);
	test_rows(smuggling, sizeof(smuggling) / sizeof(smuggling[0]), 1);
	test_rows(smuggling, sizeof(smuggling) / sizeof(smuggling[0]), PROXIED);
	test_rows(proxied, sizeof(proxied) / sizeof(proxied[0]), PROXIED);
	test_forms();
	test_rows(responses, sizeof(responses) / sizeof(responses[0]), 0);
	test_read_requests();
	test_read_responses();
	test_limits();
	test_fields();
	return test_end();
}
