/* http.c: HTTP/1.1 message heads; see http.h. Sections are RFC 9112's. */
#include <string.h>

#include "http.h"

enum {
	LENGTH_DIGITS = 18,		/* so that no sum of lengths overflows */
	SKIP_MAX = 4			/* two empty lines before a request line */
};

enum kind { RESPONSE, REQUEST, PROXY_REQUEST };	/* of a head */

static int
bad(const char **why, int status, const char *reason)
{
	*why = reason;
	return -status;
}

static unsigned char
lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static int
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int
is_alnum(char c)
{
	return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

/* A bit for each byte: !#$%&'*+-. and digits, letters with ^_`|~ */
static const uint32_t tchars[8] = { 0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff, 0, 0, 0, 0 };

int
http_is_tchar(unsigned char c)
{
	return tchars[c >> 5] >> (c & 31) & 1;
}

int
http_is_text(unsigned char c)
{
	return c == '\t' || (c >= ' ' && c != 0x7f);
}

int
http_is_token(struct str s)
{
	size_t i;

	for (i = 0; i < s.len; i++)
		if (!http_is_tchar((unsigned char)s.p[i]))
			return 0;
	return s.len > 0;
}

static int
same(struct str s, const char *lit)
{
	return s.len == strlen(lit) && memcmp(s.p, lit, s.len) == 0;
}

int
http_same(const char *a, const char *b, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (a[i] != b[i] && lower(a[i]) != lower(b[i]))
			return 0;
	return 1;
}

static struct str
trim(const char *p, size_t len)
{
	struct str s;

	while (len > 0 && (*p == ' ' || *p == '\t')) {
		p++;
		len--;
	}
	while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t'))
		len--;
	s.p = p;
	s.len = len;
	return s;
}

const struct str *
http_field(const struct http_head *h, const char *name)
{
	size_t i, len = strlen(name);

	for (i = 0; i < h->nfields; i++)
		if (h->field[i].name.len == len && http_same(h->field[i].name.p, name, len))
			return &h->field[i].value;
	return NULL;
}

/* The bytes up to the next comma that no quoted-string holds. */
static size_t
element_len(struct str s)
{
	size_t i;
	int quoted = 0;

	for (i = 0; i < s.len && (quoted || s.p[i] != ','); i++) {
		if (s.p[i] == '"')
			quoted = !quoted;
		else if (quoted && s.p[i] == '\\' && i + 1 < s.len)
			i++;
	}
	return i;
}

int
http_list_next(const struct http_head *h, const char *name, size_t *at, struct str *tok)
{
	const size_t base = HTTP_HEAD_MAX;	/* at is field * base + offset */
	struct str rest;
	size_t i, off, n, len = strlen(name);

	for (i = *at / base, off = *at % base; i < h->nfields; i++, off = 0) {
		if (h->field[i].name.len != len || !http_same(h->field[i].name.p, name, len))
			continue;
		rest = h->field[i].value;
		while (off < rest.len) {
			tok->p = rest.p + off;
			tok->len = rest.len - off;
			n = element_len(*tok);
			off += n + 1;	/* may be one past the end: still below base */
			*tok = trim(tok->p, n);
			if (tok->len > 0) {
				*at = i * base + off;
				return 1;
			}
		}
	}
	*at = i * base;
	return 0;
}

int
http_list_has(const struct http_head *h, const char *name, const char *lit)
{
	struct str tok;
	size_t at = 0;

	while (http_list_next(h, name, &at, &tok))
		if (http_is(tok, lit))
			return 1;
	return 0;
}

/* uri-host [":" port], RFC 9110 section 7.2; the host itself is not empty. */
static int
host_ok(struct str s)
{
	static const char marks[] = ".-_~%!$&'()*+,;=", v6[] = "0123456789abcdefABCDEF:.";
	const char *set = s.len > 0 && s.p[0] == '[' ? v6 : marks;
	size_t i = set == v6, from = i;
	unsigned port = 0;

	while (i < s.len && ((set == marks && is_alnum(s.p[i])) ||
	    (s.p[i] != '\0' && strchr(set, s.p[i]) != NULL)))
		i++;
	if (i == from)
		return 0;
	if (set == v6 && (i - from < 2 || i == s.len || s.p[i++] != ']'))
		return 0;
	if (i == s.len)
		return 1;
	if (s.p[i++] != ':')
		return 0;
	for (; i < s.len && is_digit(s.p[i]) && port <= 65535; i++)
		port = port * 10 + (unsigned)(s.p[i] - '0');
	return i == s.len && port <= 65535;
}

/* Split absolute-form into host and target (3.2.2). */
static int
absolute_form(struct http_head *h, const char **why)
{
	struct str scheme = h->target, rest = h->target;
	size_t n;

	n = scheme.len > 4 && lower(scheme.p[4]) == 's' ? 8 : 7;
	h->form = n == 8 ? HTTP_ABSOLUTE_TLS : HTTP_ABSOLUTE;
	scheme.len = n;
	if (rest.len < n || !http_is(scheme, n == 8 ? "https://" : "http://"))
		return bad(why, 400, "request-target in no form we serve");
	rest.p += n;
	rest.len -= n;
	for (n = 0; n < rest.len && rest.p[n] != '/' && rest.p[n] != '?'; n++)
		;
	h->host.p = rest.p;
	h->host.len = n;
	if (!host_ok(h->host))
		return bad(why, 400, "request-target with a malformed authority");
	h->target.p = rest.p + n;
	h->target.len = rest.len - n;
	if (h->target.len == 0) {
		h->target.p = same(h->method, "OPTIONS") ? "*" : "/";	/* 3.2.4 */
		h->target.len = 1;
	}
	if (*h->target.p == '?')
		return bad(why, 400, "request-target with a query but no path");
	return 0;
}

static int
target_judge(struct http_head *h, enum kind kind, const char **why)
{
	size_t i;

	for (i = 0; i < h->target.len; i++) {
		unsigned char c = (unsigned char)h->target.p[i];

		if (c == '\t' || c == '#')	/* other controls: head_byte */
			return bad(why, 400, "byte no request-target has");
	}
	if (h->target.len == 0)
		return bad(why, 400, "no request-target");
	if (same(h->method, "CONNECT")) {	/* 3.2.3 */
		h->form = HTTP_AUTHORITY;
		h->host = h->target;
		return kind != PROXY_REQUEST ? bad(why, 400, "CONNECT is not served here") :
		    host_ok(h->host) ? 0 : bad(why, 400, "CONNECT without a sound HOST:PORT");
	}
	h->form = h->target.p[0] == '/' ? HTTP_ORIGIN : HTTP_ASTERISK;
	if (h->form == HTTP_ORIGIN)
		return 0;
	if (same(h->target, "*"))
		return same(h->method, "OPTIONS") ? 0 :
		    bad(why, 400, "request-target * without OPTIONS");
	return absolute_form(h, why);
}

/* "HTTP/1.1" and its like, eight bytes at p. */
static int
version(struct http_head *h, const char *p, const char **why)
{
	if (memcmp(p, "HTTP/", 5) != 0 || !is_digit(p[5]) || p[6] != '.' || !is_digit(p[7]))
		return bad(why, 400, "malformed HTTP version");
	if (p[5] != '1')
		return bad(why, 505, "not HTTP/1.x");
	h->minor = p[7] != '0';
	return 0;
}

static int
request_line(struct http_head *h, struct str line, enum kind kind, const char **why)
{
	const char *end = line.p + line.len, *sp, *sp2;
	int rc;

	sp = memchr(line.p, ' ', line.len);
	sp2 = sp == NULL ? NULL : memchr(sp + 1, ' ', (size_t)(end - sp - 1));
	if (sp2 == NULL || end - sp2 != 1 + 8)
		return bad(why, 400, "malformed request line");
	h->method.p = line.p;
	h->method.len = (size_t)(sp - line.p);
	h->target.p = sp + 1;
	h->target.len = (size_t)(sp2 - sp - 1);
	h->host.p = NULL;
	h->host.len = 0;
	if (!http_is_token(h->method))
		return bad(why, 400, "method is not a token");
	if ((rc = version(h, sp2 + 1, why)) < 0)
		return rc;
	return target_judge(h, kind, why);
}

static int
status_line(struct http_head *h, struct str line, const char **why)
{
	const char *p = line.p + 9;
	int rc;

	if (line.len < 12 || line.p[8] != ' ')
		return bad(why, 400, "malformed status line");
	if ((rc = version(h, line.p, why)) < 0)
		return rc;
	if (!(p[0] >= '1' && p[0] <= '5') || !is_digit(p[1]) || !is_digit(p[2]) ||
	    (line.len > 12 && p[3] != ' '))
		return bad(why, 400, "malformed status code");
	h->status = (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
	h->reason.p = line.len > 12 ? line.p + 13 : "";
	h->reason.len = line.len > 12 ? line.len - 13 : 0;
	return 0;
}

static int
field_line(struct http_head *h, struct str line, const char **why)
{
	struct http_field *f;
	const char *colon;

	if (h->nfields == HTTP_FIELDS_MAX)
		return bad(why, 431, "too many fields");
	f = &h->field[h->nfields++];
	if (*line.p == ' ' || *line.p == '\t')
		return bad(why, 400, "obsolete line folding");
	if ((colon = memchr(line.p, ':', line.len)) == NULL)
		return bad(why, 400, "field line without a colon");
	f->name.p = line.p;
	f->name.len = (size_t)(colon - line.p);
	if (!http_is_token(f->name))
		return bad(why, 400, "field name is not a token");
	f->value = trim(colon + 1, line.len - f->name.len - 1);
	return 0;
}

/*
 * Eight bytes at once that are all text: nothing below SP, no DEL. What it calls no text may be some yet.
 */
static int
all_text(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
	uint64_t w, del;

	memcpy(&w, p, sizeof(w));
	del = w ^ ones * 0x7f;
	return ((((w - ones * ' ') & ~w) | ((del - ones) & ~del)) & high) == 0;
}

/* Judge the bytes up to the next line's end: 1 if it is there, 0, or a verdict. */
static int
scan_line(struct http_head *h, const char *buf, size_t len, const char **why)
{
	size_t at = h->scanned;
	unsigned char c = 0;

	if (at > 0 && at < len && buf[at - 1] == '\r')
		at--;			/* its LF is still to be seen */
	while (at < len && http_is_text(c = (unsigned char)buf[at]))
		for (at++; len - at >= 8 && all_text(buf + at); at += 8)
			;
	h->scanned = at;
	if (at == len)
		return 0;
	h->scanned++;
	if (c == '\n')
		return bad(why, 400, "bare LF in the head");
	if (c != '\r')
		return bad(why, 400, "control byte in the head");
	if (h->scanned == len)
		return 0;
	return buf[h->scanned++] == '\n' ? 1 : bad(why, 400, "bare CR in the head");
}

/* Bytes of the request-target, as far as it has come. */
static size_t
target_len(const char *line, size_t len)
{
	const char *end = line + len, *sp = memchr(line, ' ', len), *sp2;

	if (sp == NULL)
		return 0;
	sp++;
	while (end[-1] == '\n' || end[-1] == '\r')
		end--;
	sp2 = memchr(sp, ' ', (size_t)(end - sp));
	return (size_t)((sp2 != NULL ? sp2 : end) - sp);
}

/*
 * A target is judged before its line is whole, or it would be called too long only where the head is. (A
 * response has no target, and no status code of such a length either.)
 */
static int
next_line(struct http_head *h, const char *buf, size_t len, const char **why)
{
	int rc = scan_line(h, buf, len, why);

	if (h->line == h->start && h->scanned - h->line > HTTP_TARGET_MAX &&
	    target_len(buf + h->line, h->scanned - h->line) > HTTP_TARGET_MAX)
		return bad(why, 414, "request-target too long");
	return rc;
}

/* The line that starts at h->line and ends before its CRLF at eol. */
static int
take_line(struct http_head *h, const char *buf, size_t eol, enum kind kind, const char **why)
{
	struct str line;

	line.p = buf + h->line;
	line.len = eol - h->line;
	if (h->line != h->start)
		return field_line(h, line, why);
	return kind != RESPONSE ? request_line(h, line, kind, why) : status_line(h, line, why);
}

/* The head is whole and good, but buf may have moved under its first lines. */
static void
take_again(struct http_head *h, const char *buf, enum kind kind)
{
	const char *lf, *why;
	size_t n = h->nfields + 1;

	h->nfields = 0;
	for (h->line = h->start; n > 0; n--) {
		lf = memchr(buf + h->line, '\n', h->scanned - h->line);
		take_line(h, buf, (size_t)(lf - buf) - 1, kind, &why);
		h->line = (size_t)(lf - buf) + 1;
	}
}

static int
head_parse(struct http_head *h, const char *buf, size_t len, enum kind kind, const char **why)
{
	size_t max = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
	int rc, resumed = h->scanned > 0;

	if (!resumed)
		h->start = h->line = h->nfields = 0;
	while ((rc = next_line(h, buf, max, why)) > 0) {
		if (h->scanned - h->line > 2) {
			rc = take_line(h, buf, h->scanned - 2, kind, why);
			if (rc < 0)
				return rc;
		} else if (h->line != h->start) {
			if (resumed)
				take_again(h, buf, kind);
			return (int)h->scanned;
		} else if (kind != RESPONSE && h->start < SKIP_MAX) {
			h->start = h->scanned;
		} else {
			return bad(why, 400, "empty line before the start line");
		}
		h->line = h->scanned;
	}
	if (rc == 0 && max == HTTP_HEAD_MAX)
		return bad(why, 431, "head too long");
	return rc;
}

/* Content-Length: one number, however often it is said (6.3, item 5). */
static int
content_length(struct http_head *h, const char **why)
{
	struct str v, n;
	uint64_t sum;
	size_t i, j;

	for (i = 0; i < h->nfields; i++) {
		if (!http_is(h->field[i].name, "Content-Length"))
			continue;
		v = h->field[i].value;
		do {
			for (j = 0; j < v.len && v.p[j] != ','; j++)
				;
			n = trim(v.p, j);
			v.p += j + (j < v.len);
			v.len -= j;
			for (j = 0, sum = 0; j < n.len && is_digit(n.p[j]); j++)
				sum = sum * 10 + (uint64_t)(n.p[j] - '0');
			if (j == 0 || j < n.len || j > LENGTH_DIGITS)
				return bad(why, 400, "malformed Content-Length");
			if (h->has_length && sum != h->length)
				return bad(why, 400, "Content-Lengths that differ");
			h->has_length = 1;
			h->length = sum;
		} while (v.len-- > 0);	/* the comma, and what is behind it */
	}
	return 0;
}

/*
 * Transfer-Encoding (6.1): 1 if it is chunked alone, 0 if there is none. Two
 * parsers that disagree about anything else here is how requests are smuggled.
 */
static int
transfer_encoding(const struct http_head *h, const char **why)
{
	const struct str *te = http_field(h, "Transfer-Encoding");
	struct str tok;
	size_t at = 0, others = 0, chunked = 0;

	if (te == NULL)
		return 0;
	if (h->minor == 0)
		return bad(why, 400, "Transfer-Encoding in HTTP/1.0");
	if (h->has_length)
		return bad(why, 400, "Transfer-Encoding and Content-Length");
	while (http_list_next(h, "Transfer-Encoding", &at, &tok)) {
		if (!http_is_token(tok))
			return bad(why, 400, "malformed Transfer-Encoding");
		if (chunked > 0)
			return bad(why, 400, "chunked is not the last transfer coding");
		if (http_is(tok, "chunked"))
			chunked++;
		else
			others++;
	}
	if (others > 0)
		return bad(why, 501, "transfer coding other than chunked");
	if (!http_is(*te, "chunked"))	/* empty, or with empty elements */
		return bad(why, 400, "malformed Transfer-Encoding");
	for (at = 0, others = 0; at < h->nfields; at++)
		others += (size_t)http_is(h->field[at].name, "Transfer-Encoding");
	return others == 1 ? 1 : bad(why, 400, "Transfer-Encoding repeated");
}

/* What either kind of head says about its connection (9.3; RFC 9110 section 7.8). */
static void
connection(struct http_head *h)
{
	size_t i, at = 0;

	h->keep_alive = !http_list_has(h, "Connection", "close") &&
	    (h->minor > 0 || http_list_has(h, "Connection", "keep-alive"));
	h->upgrade.p = NULL;
	h->upgrade.len = 0;
	if (h->minor == 0 || !http_list_has(h, "Connection", "upgrade") ||
	    !http_list_next(h, "Upgrade", &at, &h->upgrade))
		return;
	for (i = 0; i < h->upgrade.len; i++)
		if (h->upgrade.p[i] != '/' && !http_is_tchar((unsigned char)h->upgrade.p[i]))
			h->upgrade.len = 0;	/* no protocol is called that */
}

/* Everything but the start line and the syntax of field lines. */
static int
framing(struct http_head *h, const char **why)
{
	int rc;

	h->length = 0;
	h->has_length = 0;
	h->framing = HTTP_NO_BODY;
	if ((rc = content_length(h, why)) < 0 || (rc = transfer_encoding(h, why)) < 0)
		return rc;
	if (rc > 0)
		h->framing = HTTP_CHUNKED;
	else if (h->has_length)
		h->framing = HTTP_LENGTH;
	connection(h);
	return 0;
}

static int
request_host(struct http_head *h, const char **why)
{
	const struct str *host = NULL;
	size_t i;

	for (i = 0; i < h->nfields; i++) {
		if (!http_is(h->field[i].name, "Host"))
			continue;
		if (host != NULL)
			return bad(why, 400, "Host repeated");
		host = &h->field[i].value;
	}
	if (host == NULL)
		return h->minor == 0 ? 0 : bad(why, 400, "no Host");
	if (host->len > 0 && !host_ok(*host))
		return bad(why, 400, "malformed Host");
	if (h->host.p == NULL)		/* else absolute-form has said it (3.2.2) */
		h->host = *host;
	return 0;
}

static int
request_parse(struct http_head *h, const char *buf, size_t len, enum kind kind, const char **why)
{
	int n, rc;

	if ((n = head_parse(h, buf, len, kind, why)) <= 0)
		return n;
	if ((rc = request_host(h, why)) < 0 || (rc = framing(h, why)) < 0)
		return rc;
	h->status = 0;
	h->reason.p = NULL;
	h->reason.len = 0;
	h->expect_continue = h->minor > 0 && http_list_has(h, "Expect", "100-continue");
	return n;
}

int
http_req_parse(struct http_head *h, const char *buf, size_t len, const char **why)
{
	return request_parse(h, buf, len, REQUEST, why);
}

int
http_proxy_parse(struct http_head *h, const char *buf, size_t len, const char **why)
{
	return request_parse(h, buf, len, PROXY_REQUEST, why);
}

int
http_res_parse(struct http_head *h, const char *buf, size_t len, int is_head, const char **why)
{
	static const struct str none = { NULL, 0 };
	int n;

	if ((n = head_parse(h, buf, len, RESPONSE, why)) == 0)
		return 0;
	if (n < 0 || framing(h, why) < 0)
		return -502;
	h->method = h->target = h->host = none;
	h->expect_continue = 0;
	if (h->status < 200 || h->status == 204) {
		/* Whoever says that content follows may send some: it must not
		 * be taken for the next response. */
		if (h->framing == HTTP_CHUNKED || h->length > 0)
			h->keep_alive = 0;
		h->framing = HTTP_NO_BODY;
	} else if (is_head || h->status == 304) {
		h->framing = HTTP_NO_BODY;
	} else if (h->framing == HTTP_NO_BODY) {
		h->framing = HTTP_TO_EOF;
		h->keep_alive = 0;
	}
	return n;
}

const char http_month[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

const char *
http_reason(int status)
{
	static const struct { int status; const char *reason; } reasons[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 203, "Non-Authoritative Information" },
		{ 204, "No Content" },
		{ 205, "Reset Content" },
		{ 206, "Partial Content" },
		{ 300, "Multiple Choices" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 407, "Proxy Authentication Required" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" },
		{ 426, "Upgrade Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
	};
	size_t i;

	for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

int
http_idempotent(struct str method)
{
	static const char *const methods[] = {
		"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"
	};
	size_t i;

	for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (same(method, methods[i]))	/* methods know their case */
			return 1;
	return 0;
}
