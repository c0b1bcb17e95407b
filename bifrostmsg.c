/* bifrostmsg.c: bifrost's messages; see bifrostmsg.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "bifrostmsg.h"
#include "jsonscan.h"

enum {
	ANSWER_HEAD = HTTP_HEAD_MAX,
	NAME_MAX_LEN = 255,	/* of an answer's field */
	LENGTH_DIGITS = 14
};

/* Requests. */

/* Fields that are not the client's business: they belong to one hop, or to the framing, which is made anew. */
static int
is_dropped(struct str name)
{
	static const char *const names[] = {
		"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding",
		"Upgrade", "Content-Length", "Expect"
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (http_is(name, names[i]))
			return 1;
	return 0;
}

/* Of these only the first counts, as for the client's own platform. */
static int
is_single(struct str name)
{
	static const char *const names[] = {
		"Age", "Authorization", "Content-Type", "ETag", "Expires", "From", "Host", "If-Modified-Since",
		"If-Unmodified-Since", "Last-Modified", "Location", "Max-Forwards", "Proxy-Authorization",
		"Referer", "Retry-After", "Server", "User-Agent"
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (http_is(name, names[i]))
			return 1;
	return 0;
}

/* Bytes as code points of the same number, the inside of a JSON string. */
static void
put_latin1(struct buf *b, struct str s)
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

static void
put_lower(struct buf *b, struct str s)
{
	size_t i;

	for (i = 0; i < s.len; i++)
		buf_char(b, s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] - 'A' + 'a') : s.p[i]);
}

static int
same_name(struct str a, struct str b)
{
	return a.len == b.len && http_same(a.p, b.p, a.len);
}

/* The fields called as number i is, which is the first of that name. */
static void
put_field(struct buf *b, const struct http_head *h, size_t i)
{
	const struct http_field *f = &h->field[i];
	int array = http_is(f->name, "Set-Cookie"), single = is_single(f->name);
	const char *between = array ? "\",\"" : http_is(f->name, "Cookie") ? "; " : ", ";

	buf_char(b, '"');
	put_lower(b, f->name);
	buf_str(b, array ? "\":[\"" : "\":\"");
	put_latin1(b, f->value);
	for (i++; !single && i < h->nfields; i++)
		if (same_name(h->field[i].name, f->name)) {
			buf_str(b, between);
			put_latin1(b, h->field[i].value);
		}
	buf_str(b, array ? "\"]" : "\"");
}

static void
put_fields(struct buf *b, const struct message *m)
{
	const struct http_head *h = &m->head;
	const char *comma = "";
	size_t i, k;

	for (i = 0; i < h->nfields; i++) {
		for (k = 0; k < i && !same_name(h->field[k].name, h->field[i].name); k++)
			;
		if (k < i || is_dropped(h->field[i].name))
			continue;
		buf_str(b, comma);
		comma = ",";
		put_field(b, h, i);
	}
	if (m->len > 0) {	/* without content any length would make the client wait */
		buf_str(b, comma);
		buf_str(b, "\"content-length\":\"");
		buf_u64(b, m->len);
		buf_char(b, '"');
	}
}

int
bifrost_encode(const struct message *m, char **text, size_t *len)
{
	const struct http_head *h = &m->head;
	size_t cap = 256 + 6 * (h->method.len + h->target.len), i;
	struct buf b;

	for (i = 0; i < h->target.len; i++)
		if (h->target.p[i] <= ' ' || h->target.p[i] > '~') {
			errno = EINVAL;
			return -1;
		}
	for (i = 0; i < h->nfields; i++)
		cap += 8 + h->field[i].name.len + 6 * h->field[i].value.len;
	cap += BASE64_LEN(m->len) + 1;
	if ((*text = malloc(cap)) == NULL)
		return -1;
	buf_init(&b, *text, cap);
	buf_str(&b, "{\"id\":\"");
	buf_str(&b, m->id);
	buf_str(&b, "\",\"method\":\"");
	put_latin1(&b, h->method);
	buf_str(&b, "\",\"url\":\"");
	put_latin1(&b, h->target);
	buf_str(&b, "\",\"headers\":{");
	put_fields(&b, m);
	buf_str(&b, "},\"body\":\"");
	b.len += base64_encode(b.p + b.len, m->body, m->len);	/* cap has counted it */
	buf_str(&b, "\"}");
	*len = b.len;
	return 0;
}

/* Answers. */

struct member {
	struct str name, value;
};

struct answer {			/* what JSON.parse would make of it: of several members of one name the last counts */
	struct str id, status, headers, body;	/* texts as they stand; p NULL: there is none */
	struct member field[HTTP_FIELDS_MAX];	/* of headers, their names decoded */
	size_t nfields;
	char scratch[ANSWER_HEAD];
};

static int
is_null(struct str s)
{
	return s.p == NULL || (s.len == 4 && memcmp(s.p, "null", 4) == 0);
}

/* The inside of a string. 0: it is none. */
static int
inside(struct str s, struct str *out)
{
	if (s.p == NULL || *s.p != '"')
		return 0;
	out->p = s.p + 1;
	out->len = s.len - 2;
	return 1;
}

/* A string's bytes into out[cap] with a NUL: their number, or -1, also if there is a NUL among them. */
static long
text_of(struct str s, char *out, size_t cap)
{
	struct str in;
	long n;

	if (!inside(s, &in) || (n = jsonscan_latin1(in, out, cap - 1)) == -1 || memchr(out, '\0', (size_t)n) != NULL)
		return -1;
	out[n] = '\0';
	return n;
}

/* The members that count. 1, or 0 if this is no JSON object; then those in front of what is wrong. */
static int
scan(struct answer *a, struct str text, const char **why)
{
	struct { const char *name; struct str *value; } known[] = {
		{ "id", &a->id }, { "status", &a->status }, { "headers", &a->headers }, { "body", &a->body }
	};
	struct jsonscan walk;
	struct str name, value;
	char plain[8];
	size_t i;
	long n;
	int rc;

	a->id.p = a->status.p = a->headers.p = a->body.p = NULL;
	a->nfields = 0;
	if (jsonscan_begin(&walk, text, '{') == -1) {
		*why = "no object";
		return 0;
	}
	while ((rc = jsonscan_next(&walk, &name, &value)) == 1) {
		n = jsonscan_latin1(name, plain, sizeof(plain));
		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (n == (long)strlen(known[i].name) && memcmp(plain, known[i].name, (size_t)n) == 0)
				*known[i].value = value;
	}
	*why = walk.why;
	return rc == 0 && jsonscan_at_end(&walk);
}

/* A value as bytes of a field value, in scratch. Its length, or -1. */
static long
field_text(struct answer *a, struct str value)
{
	struct str in = value;
	size_t k;
	long n;

	if (*value.p == '{' || *value.p == '[')
		return -1;
	inside(value, &in);
	if (in.p != value.p)
		n = jsonscan_latin1(in, a->scratch, sizeof(a->scratch));
	else if ((n = in.len <= sizeof(a->scratch) ? (long)in.len : -1) != -1)
		memcpy(a->scratch, in.p, in.len);
	for (k = 0; n > 0 && k < (size_t)n; k++)
		if (!http_is_text((unsigned char)a->scratch[k]))
			return -1;
	return n;
}

/* One field, or one of an array's. 0, or -1. */
static int
put_answer_field(struct buf *b, struct answer *a, struct str name, struct str value)
{
	long n = field_text(a, value);

	if (n < 0)
		return -1;
	buf_put(b, name.p, name.len);
	buf_str(b, ": ");
	buf_put(b, a->scratch, (size_t)n);
	buf_str(b, "\r\n");
	return b->full ? -1 : 0;
}

static int
is_framing(struct str name)
{
	/* nor are there trailers behind a message */
	return http_is(name, "Content-Length") || http_is(name, "Transfer-Encoding") || http_is(name, "Trailer");
}

static int
is_token(struct str s)
{
	size_t i;

	for (i = 0; i < s.len; i++)
		if (!http_is_tchar((unsigned char)s.p[i]))
			return 0;
	return s.len > 0 && s.len <= NAME_MAX_LEN;
}

/* The members of headers, names decoded where they stand. 0, or -1. */
static int
take_fields(struct answer *a)
{
	struct jsonscan walk;
	struct member m;
	size_t i;
	long n;
	int rc;

	if (is_null(a->headers))
		return 0;
	if (jsonscan_begin(&walk, a->headers, '{') == -1)
		return -1;
	while ((rc = jsonscan_next(&walk, &m.name, &m.value)) == 1) {
		n = jsonscan_latin1(m.name, (char *)(uintptr_t)m.name.p, m.name.len);
		m.name.len = n > 0 ? (size_t)n : 0;
		if (!is_token(m.name))
			return -1;
		for (i = 0; i < a->nfields && (a->field[i].name.len != m.name.len ||
		    memcmp(a->field[i].name.p, m.name.p, m.name.len) != 0); i++)
			;
		if (i == HTTP_FIELDS_MAX)
			return -1;
		a->nfields += i == a->nfields;
		a->field[i] = m;
	}
	return rc;
}

static int
put_answer_fields(struct buf *b, struct answer *a)
{
	struct jsonscan walk;
	struct str none, value;
	size_t i;

	for (i = 0; i < a->nfields; i++) {
		if (is_framing(a->field[i].name))
			continue;
		if (jsonscan_begin(&walk, a->field[i].value, '[') == -1) {
			if (put_answer_field(b, a, a->field[i].name, a->field[i].value) == -1)
				return -1;
			continue;
		}
		while (jsonscan_next(&walk, &none, &value) == 1)
			if (put_answer_field(b, a, a->field[i].name, value) == -1)
				return -1;
	}
	return 0;
}

/* The status, 200 where none is said; -1 if it is none that may end an exchange. */
static int
answer_status(struct str s)
{
	char text[8] = "";
	long n;
	int status;

	if (is_null(s))
		return 200;
	if (*s.p == '"')
		n = text_of(s, text, sizeof(text));
	else if ((n = s.len < sizeof(text) ? (long)s.len : -1) != -1)
		memcpy(text, s.p, s.len);
	if (n == 1 && text[0] == '0')
		return 200;
	if (n != 3 || strspn(text, "0123456789") != 3)
		return -1;
	status = atoi(text);
	return status >= 200 && status <= 599 ? status : -1;
}

/* The content, decoded where its text stands: *out. 0, or -1. Either alphabet will do, with padding or without. */
static int
answer_body(struct str value, struct str *out)
{
	struct str in;
	size_t k, n;
	char *p;
	long len;

	out->p = value.p;
	out->len = 0;
	if (is_null(value))
		return 0;
	if (!inside(value, &in))
		return -1;
	p = (char *)(uintptr_t)in.p;
	if ((len = jsonscan_latin1(in, p, in.len)) == -1)	/* nothing is longer unescaped */
		return -1;
	n = (size_t)len;
	for (k = 0; k < 2 && n % 4 == 0 && n > 0 && p[n - 1 - k] == '='; k++)
		;
	n -= k;
	for (k = 0; k < n; k++)
		p[k] = p[k] == '+' ? '-' : p[k] == '/' ? '_' : p[k];
	if ((len = base64url_decode(p, p, n)) == -1)	/* it writes behind what it reads */
		return -1;
	out->p = p;
	out->len = (size_t)len;
	return 0;
}

/* Content-Length is made anew; where no content may come it is the client's own, if it is a number. */
static void
put_length(struct buf *b, struct answer *a, int bare, size_t len)
{
	size_t i;
	long n;

	for (i = 0; i < a->nfields && !http_is(a->field[i].name, "Content-Length"); i++)
		;
	if (bare) {
		n = i < a->nfields ? field_text(a, a->field[i].value) : -1;
		if (n < 1 || n > LENGTH_DIGITS)
			return;
		a->scratch[n] = '\0';
		if (strspn(a->scratch, "0123456789") != (size_t)n)
			return;
	}
	buf_str(b, "Content-Length: ");
	if (bare)
		buf_str(b, a->scratch);
	else
		buf_u64(b, len);
	buf_str(b, "\r\n");
}

static int
compose(struct bifrost_answer *out, struct answer *a, int is_head)
{
	int status = answer_status(a->status);
	struct buf b;

	if (status == -1 || take_fields(a) == -1 || answer_body(a->body, &out->body) == -1 ||
	    (out->memory = malloc(ANSWER_HEAD)) == NULL)
		return -1;
	buf_init(&b, out->memory, ANSWER_HEAD);
	buf_str(&b, "HTTP/1.1 ");
	buf_u64(&b, (unsigned)status);
	buf_str(&b, " ");
	buf_str(&b, http_reason(status));
	buf_str(&b, "\r\n");
	if (put_answer_fields(&b, a) == -1)
		return -1;
	if (status != 204)
		put_length(&b, a, is_head || status == 304, out->body.len);
	buf_str(&b, "\r\n");
	if (b.full)
		return -1;
	if (status == 204 || status == 304)
		out->body.len = 0;
	out->head.p = out->memory;
	out->head.len = b.len;
	return 0;
}

int
bifrost_decode(struct bifrost_answer *out, char *text, size_t len,
    int (*asked)(void *arg, const char *id), void *arg)
{
	struct answer *a = malloc(sizeof(*a));
	struct str all = { text, len };
	const char *why = "";
	int is_head = -1, sound;

	memset(out, 0, sizeof(*out));
	if (a == NULL)
		return 0;
	sound = scan(a, all, &why);
	/* too deep for us it may still be JSON */
	if ((sound || strcmp(why, "too deep") == 0) && text_of(a->id, out->id, sizeof(out->id)) > 0)
		is_head = asked(arg, out->id);
	if (is_head != -1 && (!sound || compose(out, a, is_head) == -1))
		out->head.p = NULL;
	free(a);
	return is_head != -1;
}

int
bifrost_id(const char *text, size_t len, char id[MESSAGE_ID_LEN + 1])
{
	struct answer *a = malloc(sizeof(*a));
	struct str all = { text, len };
	const char *why;
	int found;

	if (a == NULL)
		return 0;
	scan(a, all, &why);
	found = text_of(a->id, id, MESSAGE_ID_LEN + 1) > 0;
	free(a);
	return found;
}
