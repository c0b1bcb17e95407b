/* bifrostmsg.c: bifrost's messages; see bifrostmsg.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "bifrostmsg.h"
#include "json.h"

enum {
	NODES = 4096,		/* values of an answer */
	ANSWER_HEAD = HTTP_HEAD_MAX
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

/* Text in UTF-8 to bytes, in place: its length, or -1 if a code point is no byte. */
static long
to_latin1(char *s, size_t len)
{
	size_t i, n = 0;
	unsigned char c;

	for (i = 0; i < len; i++) {
		c = (unsigned char)s[i];
		if (c >= 0x80) {	/* the parser has seen to it that it is UTF-8 */
			if (c > 0xc3)
				return -1;
			c = (unsigned char)((c & 3) << 6 | (s[++i] & 0x3f));
		}
		s[n++] = (char)c;
	}
	return (long)n;
}

/* The value at node i as bytes of a field value, in scratch. Its length, or -1. */
static long
field_text(const struct json *j, size_t i, char *scratch, size_t cap)
{
	const struct json_node *node = &j->node[i];
	size_t len = node->end - node->start, k;
	long n;

	if (node->type == JSON_STRING) {
		if ((n = json_unescape(j, i, scratch, cap)) < 0 || (n = to_latin1(scratch, (size_t)n)) < 0)
			return -1;
	} else if (node->type == JSON_NUMBER || node->type == JSON_NULL ||
	    node->type == JSON_TRUE || node->type == JSON_FALSE) {
		if (len >= cap)
			return -1;
		memcpy(scratch, j->text + node->start, len);
		n = (long)len;
	} else
		return -1;
	for (k = 0; k < (size_t)n; k++)
		if (!http_is_text((unsigned char)scratch[k]))
			return -1;
	return n;
}

/* One field, or one of an array's. name is a token. 0, or -1. */
static int
put_answer_field(struct buf *b, const struct json *j, const char *name, size_t i, char *scratch, size_t cap)
{
	long n = field_text(j, i, scratch, cap);

	if (n < 0)
		return -1;
	buf_str(b, name);
	buf_str(b, ": ");
	buf_put(b, scratch, (size_t)n);
	buf_str(b, "\r\n");
	return 0;
}

static int
is_framing(const char *name)
{
	struct str s = { name, strlen(name) };

	/* nor are there trailers behind a message */
	return http_is(s, "Content-Length") || http_is(s, "Transfer-Encoding") || http_is(s, "Trailer");
}

static int
is_token(const char *s, long len)
{
	long i;

	for (i = 0; i < len; i++)
		if (!http_is_tchar((unsigned char)s[i]))
			return 0;
	return len > 0;
}

static int
put_answer_fields(struct buf *b, const struct json *j, size_t headers, char *scratch, size_t cap)
{
	size_t i, v, e;
	char name[256];

	for (i = json_first(j, headers); i != 0 && i < j->node[headers].next; i = j->node[v].next) {
		v = i + 1;
		if (!is_token(name, json_unescape(j, i, name, sizeof(name))))
			return -1;
		if (is_framing(name))
			continue;
		if (j->node[v].type != JSON_ARRAY) {
			if (put_answer_field(b, j, name, v, scratch, cap) == -1)
				return -1;
			continue;
		}
		for (e = json_first(j, v); e != 0 && e < j->node[v].next; e = j->node[e].next)
			if (put_answer_field(b, j, name, e, scratch, cap) == -1)
				return -1;
	}
	return 0;
}

/* The status, 200 where none is said; -1 if it is none that may end an exchange. */
static int
answer_status(const struct json *j)
{
	size_t i = json_member(j, 0, "status");
	char text[8];
	long n;
	int status;

	if (i == 0 || j->node[i].type == JSON_NULL)
		return 200;
	if (j->node[i].type == JSON_STRING)
		n = json_unescape(j, i, text, sizeof(text));
	else {
		n = (long)(j->node[i].end - j->node[i].start);
		if (j->node[i].type != JSON_NUMBER || n >= (long)sizeof(text))
			return -1;
		memcpy(text, j->text + j->node[i].start, (size_t)n);
		text[n] = '\0';
	}
	if (n == 1 && text[0] == '0')
		return 200;
	if (n != 3 || strspn(text, "0123456789") != 3)
		return -1;
	status = atoi(text);
	return status >= 200 && status <= 599 ? status : -1;
}

/* The content, decoded where its text stands: *p. Its length, or -1. Either alphabet will do, with padding or without. */
static long
answer_body(const struct json *j, char *text, char **p)
{
	size_t i = json_member(j, 0, "body"), k, n;
	char *out;
	long len;

	*p = text;
	if (i == 0 || j->node[i].type == JSON_NULL)
		return 0;
	out = text + j->node[i].start;
	/* nothing is longer unescaped; the NUL has the closing quote's place */
	if (j->node[i].type != JSON_STRING ||
	    (len = json_unescape(j, i, out, j->node[i].end - j->node[i].start + 1)) < 0)
		return -1;
	*p = out;
	n = (size_t)len;
	for (k = 0; k < 2 && n % 4 == 0 && n > 0 && out[n - 1 - k] == '='; k++)
		;
	n -= k;
	for (k = 0; k < n; k++)
		out[k] = out[k] == '+' ? '-' : out[k] == '/' ? '_' : out[k];
	return base64url_decode(out, out, n);	/* it writes behind what it reads */
}

/* The client's own Content-Length, if it is a number: 1. */
static int
own_length(const struct json *j, size_t headers, char text[16])
{
	size_t i, v;
	char name[32];
	struct str s;
	long n;

	for (i = headers != 0 ? json_first(j, headers) : 0; i != 0 && i < j->node[headers].next; i = j->node[v].next) {
		v = i + 1;
		n = json_unescape(j, i, name, sizeof(name));
		s.p = name;
		s.len = n > 0 ? (size_t)n : 0;
		if (!http_is(s, "Content-Length") || (n = field_text(j, v, text, 15)) <= 0)
			continue;
		text[n] = '\0';
		return strspn(text, "0123456789") == (size_t)n;
	}
	return 0;
}

/* Content-Length is made anew; where no content may come it is the client's own. */
static void
put_length(struct buf *b, const struct json *j, size_t headers, int bare, size_t len)
{
	char text[16];

	if (bare && !own_length(j, headers, text))
		return;
	buf_str(b, "Content-Length: ");
	if (bare)
		buf_str(b, text);
	else
		buf_u64(b, len);
	buf_str(b, "\r\n");
}

static int
compose(struct bifrost_answer *a, const struct json *j, char *text, int is_head)
{
	size_t headers = json_member(j, 0, "headers");
	int status = answer_status(j), ok;
	struct buf b;
	char *scratch, *body;
	long n;

	if (headers != 0 && j->node[headers].type == JSON_NULL)
		headers = 0;
	if (status == -1 || (headers != 0 && j->node[headers].type != JSON_OBJECT))
		return -1;
	if ((a->memory = malloc(ANSWER_HEAD)) == NULL || (scratch = malloc(ANSWER_HEAD)) == NULL)
		return -1;
	n = answer_body(j, text, &body);
	a->body.p = body;
	buf_init(&b, a->memory, ANSWER_HEAD);
	buf_str(&b, "HTTP/1.1 ");
	buf_u64(&b, (unsigned)status);
	buf_str(&b, " ");
	buf_str(&b, http_reason(status));
	buf_str(&b, "\r\n");
	ok = n >= 0 && (headers == 0 || put_answer_fields(&b, j, headers, scratch, ANSWER_HEAD) == 0);
	if (ok && status != 204)
		put_length(&b, j, headers, is_head || status == 304, (size_t)n);
	buf_str(&b, "\r\n");
	free(scratch);
	if (!ok || b.full)
		return -1;
	a->body.len = status == 204 || status == 304 ? 0 : (size_t)n;
	a->head.p = a->memory;
	a->head.len = b.len;
	return 0;
}

int
bifrost_decode(struct bifrost_answer *a, char *text, size_t len,
    int (*asked)(void *arg, const char *id), void *arg)
{
	struct json_node *node = malloc(NODES * sizeof(*node));
	struct json j;
	const char *why;
	int is_head = -1;

	memset(a, 0, sizeof(*a));
	if (node != NULL && json_parse(&j, node, NODES, text, len, &why) == 0 &&
	    json_get_str(&j, 0, "id", a->id, sizeof(a->id)) == 1)
		is_head = asked(arg, a->id);
	if (is_head != -1 && compose(a, &j, text, is_head) == -1)
		a->head.p = NULL;
	free(node);
	return is_head != -1;
}
