/* msgfields.c: fields in messages; see msgfields.h. */
#include <string.h>

#include "jsonscan.h"
#include "msgfields.h"

enum { LENGTH_DIGITS = 14 };

/* Heads to messages. */

static int
is_one_of(struct str name, const char *const *names, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (http_is(name, names[i]))
			return 1;
	return 0;
}

/* Fields that are not the client's business: they belong to one hop, or to the framing. */
static int
is_dropped(struct str name)
{
	static const char *const names[] = {
		"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding",
		"Upgrade", "Content-Length", "Expect"
	};

	return is_one_of(name, names, sizeof(names) / sizeof(names[0]));
}

int
msgfields_single(struct str name)
{
	static const char *const names[] = {
		"Age", "Authorization", "Content-Type", "ETag", "Expires", "From", "Host", "If-Modified-Since",
		"If-Unmodified-Since", "Last-Modified", "Location", "Max-Forwards", "Proxy-Authorization",
		"Referer", "Retry-After", "Server", "User-Agent"
	};

	return is_one_of(name, names, sizeof(names) / sizeof(names[0]));
}

int
msgfields_same(struct str a, struct str b)
{
	return a.len == b.len && http_same(a.p, b.p, a.len);
}

void
msgfields_lower(struct buf *b, struct str s)
{
	size_t i;

	for (i = 0; i < s.len; i++)
		buf_char(b, s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] - 'A' + 'a') : s.p[i]);
}

void
msgfields_latin1(struct buf *b, struct str s)
{
	size_t i;
	unsigned char c;

	for (i = 0; i < s.len; i++) {
		c = (unsigned char)s.p[i];
		if (c == '"' || c == '\\') {
			buf_char(b, '\\');
			buf_char(b, (char)c);
		} else if (c < ' ' || c == 0x7f) {
			buf_str(b, "\\u00");
			buf_hex(b, &c, 1);
		} else if (c < 0x80)
			buf_char(b, (char)c);
		else {
			buf_char(b, (char)(0xc0 | c >> 6));
			buf_char(b, (char)(0x80 | (c & 0x3f)));
		}
	}
}

int
msgfields_next(const struct http_head *h, size_t *i)
{
	size_t k;

	for (; *i < h->nfields; ++*i) {
		for (k = 0; k < *i && !msgfields_same(h->field[k].name, h->field[*i].name); k++)
			;
		if (k == *i && !is_dropped(h->field[k].name))
			return 1;
	}
	return 0;
}

/* Messages to heads. */

int
msgfields_inside(struct str value, struct str *out)
{
	if (value.p == NULL || *value.p != '"')
		return 0;
	out->p = value.p + 1;
	out->len = value.len - 2;
	return 1;
}

int
msgfields_null(struct str value)
{
	return value.p == NULL || (value.len == 4 && memcmp(value.p, "null", 4) == 0);
}

long
msgfields_string(struct str s, char *out, size_t cap)
{
	struct str in;
	long n;

	if (!msgfields_inside(s, &in) || (n = jsonscan_latin1(in, out, cap - 1)) == -1 || memchr(out, '\0', (size_t)n) != NULL)
		return -1;
	out[n] = '\0';
	return n;
}

int
msgfields_scan(struct str *value, const char *const *known, size_t n, int fold, struct str text, const char **why)
{
	struct jsonscan walk;
	struct str name, v;
	char plain[16];
	size_t i;
	long len;
	int rc;

	memset(value, 0, n * sizeof(*value));
	if (jsonscan_begin(&walk, text, '{') == -1) {
		*why = "no object";
		return 0;
	}
	while ((rc = jsonscan_next(&walk, &name, &v)) == 1) {
		len = jsonscan_latin1(name, plain, sizeof(plain));
		for (i = 0; i < n; i++)
			if (len == (long)strlen(known[i]) && (fold ? http_same(plain, known[i], (size_t)len) :
			    memcmp(plain, known[i], (size_t)len) == 0))
				value[i] = v;
	}
	*why = walk.why;
	return rc == 0 && jsonscan_at_end(&walk);
}

int
msgfields_take(struct msgfields *f, struct str object)
{
	struct jsonscan walk;
	struct str name, value;
	size_t i;
	long n;
	int rc;

	f->n = 0;
	if (jsonscan_begin(&walk, object, '{') == -1)
		return -1;
	while ((rc = jsonscan_next(&walk, &name, &value)) == 1) {
		n = jsonscan_latin1(name, (char *)(uintptr_t)name.p, name.len);
		name.len = n > 0 ? (size_t)n : 0;
		if (!http_is_token(name) || name.len > MSGFIELDS_NAME)
			return -1;
		for (i = 0; i < f->n && (f->field[i].name.len != name.len ||
		    memcmp(f->field[i].name.p, name.p, name.len) != 0); i++)
			;
		if (i == HTTP_FIELDS_MAX)
			return -1;
		f->n += i == f->n;
		f->field[i].name = name;
		f->field[i].value = value;
	}
	return rc == 0 && jsonscan_at_end(&walk) ? 0 : -1;
}

size_t
msgfields_find(const struct msgfields *f, const char *name)
{
	size_t i;

	for (i = 0; i < f->n && !http_is(f->field[i].name, name); i++)
		;
	return i;
}

long
msgfields_text(struct msgfields *f, struct str value)
{
	struct str in = value;
	size_t k;
	long n;

	if (*value.p == '{' || *value.p == '[')
		return -1;
	if (msgfields_inside(value, &in))
		n = f->utf8 ? jsonscan_utf8(in, f->scratch, sizeof(f->scratch)) :
		    jsonscan_latin1(in, f->scratch, sizeof(f->scratch));
	else if ((n = in.len <= sizeof(f->scratch) ? (long)in.len : -1) != -1)
		memcpy(f->scratch, in.p, in.len);
	for (k = 0; n > 0 && k < (size_t)n; k++)
		if (!http_is_text((unsigned char)f->scratch[k]))
			return -1;
	return n;
}

int
msgfields_digits(struct msgfields *f, struct str value)
{
	long n = msgfields_text(f, value);

	if (n < 1 || n > LENGTH_DIGITS)
		return 0;
	f->scratch[n] = '\0';
	return strspn(f->scratch, "0123456789") == (size_t)n;
}

static void
put_line(struct buf *b, struct str name, const char *value, size_t len)
{
	buf_put(b, name.p, name.len);
	buf_str(b, ": ");
	buf_put(b, value, len);
	buf_str(b, "\r\n");
}

/* Where the next of several joined cookies begins, or the text's end: behind a comma that "NAME=" follows. */
static size_t
next_cookie(const char *s, size_t len, size_t at, size_t *end)
{
	const char *quote;
	size_t i, k;

	for (i = at; i < len; i++) {
		if (s[i] == '"' && i > at && s[i - 1] == '=' && (quote = memchr(s + i + 1, '"', len - i - 1)) != NULL)
			i = (size_t)(quote - s);	/* commas in there are the value's */
		if (s[i] != ',')
			continue;
		for (k = i + 1; k < len && (s[k] == ' ' || s[k] == '\t'); k++)
			;
		*end = i;
		at = k;
		while (k < len && http_is_tchar((unsigned char)s[k]))
			k++;
		if (k > at && k < len && s[k] == '=')	/* in a date a blank comes before that */
			return at;
	}
	*end = len;
	return len;
}

/* One field, or one of an array's. 0, or -1. */
static int
put_field(struct buf *b, struct msgfields *f, struct str name, struct str value, int split)
{
	long n = msgfields_text(f, value);
	size_t at, next, end;

	if (n < 0)
		return -1;
	if (!split || n == 0) {
		put_line(b, name, f->scratch, (size_t)n);
		return b->full ? -1 : 0;
	}
	for (at = 0; at < (size_t)n; at = next) {
		next = next_cookie(f->scratch, (size_t)n, at, &end);
		put_line(b, name, f->scratch + at, end - at);
	}
	return b->full ? -1 : 0;
}

static int
is_framing(struct str name)
{
	/* nor are there trailers behind a message */
	return http_is(name, "Content-Length") || http_is(name, "Transfer-Encoding") || http_is(name, "Trailer");
}

/* A list's element. */
static int
is_listed(struct str list, struct str name)
{
	size_t at, n;

	for (at = 0; at < list.len; at += n + 1) {
		for (n = 0; at + n < list.len && list.p[at + n] != ','; n++)
			;
		for (; n > 0 && (list.p[at] == ' ' || list.p[at] == '\t'); n--)
			at++;
		if (n >= name.len && http_same(list.p + at, name.p, name.len) &&
		    strspn(list.p + at + name.len, " \t") >= n - name.len)
			return 1;
	}
	return 0;
}

/* What a request's next hop is not told; hop is what Connection names. */
static int
is_of_hop(struct str name, struct str hop)
{
	return is_dropped(name) || http_is(name, "Proxy-Authorization") || http_is(name, "HTTP2-Settings") || is_listed(hop, name);
}

/* hop: of a request; p NULL: it is a response. */
static int
put_fields(struct buf *b, struct msgfields *f, struct str hop)
{
	struct jsonscan walk;
	struct str none, name, value;
	size_t i;

	for (i = 0; i < f->n; i++) {
		name = f->field[i].name;
		if (hop.p != NULL ? is_of_hop(name, hop) : is_framing(name))
			continue;
		if (hop.p != NULL && http_is(name, "Cookie") && f->field[i].value.len == 2)
			continue;	/* "": so that a client with a cookie jar adds none */
		if (jsonscan_begin(&walk, f->field[i].value, '[') == -1) {
			if (put_field(b, f, name, f->field[i].value, f->split && http_is(name, "Set-Cookie")) == -1)
				return -1;
			continue;
		}
		while (jsonscan_next(&walk, &none, &value) == 1)
			if (put_field(b, f, name, value, 0) == -1)
				return -1;
	}
	return 0;
}

int
msgfields_head(struct buf *b, struct msgfields *f, int status, int bare, size_t len)
{
	size_t own = msgfields_find(f, "Content-Length");
	struct str none = { NULL, 0 };

	buf_str(b, "HTTP/1.1 ");
	buf_u64(b, (unsigned)status);
	buf_str(b, " ");
	buf_str(b, http_reason(status));
	buf_str(b, "\r\n");
	if (put_fields(b, f, none) == -1)
		return -1;
	bare |= status == 304;
	if (status != 204 && (!bare || (own < f->n && msgfields_digits(f, f->field[own].value)))) {
		buf_str(b, "Content-Length: ");
		if (bare)
			buf_str(b, f->scratch);
		else
			buf_u64(b, len);
		buf_str(b, "\r\n");
	}
	buf_str(b, "\r\n");
	return b->full ? -1 : 0;
}

/* A field that the request lacks. */
static void
put_lacking(struct buf *b, const struct msgfields *f, const char *name, const char *value)
{
	struct str n = { name, strlen(name) };

	if (value[0] != '\0' && msgfields_find(f, name) == f->n)
		put_line(b, n, value, strlen(value));
}

/* X-Forwarded-Host is Host, which the service may not see. */
static int
put_public_host(struct buf *b, struct msgfields *f, const struct msgfields_own *own)
{
	static const struct str name = { "X-Forwarded-Host", 16 };
	size_t i = msgfields_find(f, "Host");

	if (own->scheme[0] == '\0' || i == f->n || msgfields_find(f, name.p) < f->n)
		return 0;
	return put_field(b, f, name, f->field[i].value, 0);
}

int
msgfields_request(struct buf *b, struct msgfields *f, struct str method, struct str target, const struct msgfields_own *own,
    size_t len)
{
	size_t i = msgfields_find(f, "Connection");
	char names[512] = "";
	struct str hop = { names, 0 };
	long n = 0;

	if (i < f->n && ((n = msgfields_text(f, f->field[i].value)) < 0 || (size_t)n >= sizeof(names)))
		return -1;
	memcpy(names, f->scratch, (size_t)n);
	hop.len = (size_t)n;
	buf_put(b, method.p, method.len);
	buf_str(b, " ");
	buf_put(b, target.p, target.len);
	buf_str(b, " HTTP/1.1\r\n");
	put_lacking(b, f, "Host", own->host);
	if (put_fields(b, f, hop) == -1 || put_public_host(b, f, own) == -1)
		return -1;
	put_lacking(b, f, "X-Forwarded-Proto", own->scheme);
	put_lacking(b, f, "X-Forwarded-Prefix", own->prefix);
	if (len > 0 || str_is(method, "POST") || str_is(method, "PUT") || str_is(method, "PATCH")) {
		buf_str(b, "Content-Length: ");
		buf_u64(b, len);
		buf_str(b, "\r\n");
	}
	buf_str(b, "\r\n");
	return b->full ? -1 : 0;
}
