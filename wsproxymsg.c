/* wsproxymsg.c: wsproxy's messages to its clients, and frames; see wsproxymsg.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "msgfields.h"
#include "ws.h"
#include "wsproxymsg.h"

int
wsproxy_is_hex(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (s[i] == '\0' || strchr("0123456789abcdef", s[i]) == NULL)
			return 0;
	return 1;
}

/* Data frames. */

int
wsproxy_frame(const uint8_t *p, size_t len, char id[WSPROXY_ID + 1])
{
	static const uint8_t length[] = { 0, 0, 0, WSPROXY_ID };

	if (len <= WSPROXY_HEADER || memcmp(p, length, sizeof(length)) != 0 ||
	    !wsproxy_is_hex((const char *)p + sizeof(length), WSPROXY_ID))
		return -1;
	memcpy(id, p + sizeof(length), WSPROXY_ID);
	id[WSPROXY_ID] = '\0';
	return 0;
}

void
wsproxy_frame_put(uint8_t out[WSPROXY_HEADER], const char *id)
{
	memset(out, 0, 3);
	out[3] = WSPROXY_ID;
	memcpy(out + 4, id, WSPROXY_ID);
}

/* JSON, escaped as the original escapes it. */

/* How the character at the start of s is written, in text; its bytes in s. valid: s is UTF-8. */
static size_t
escape(struct str s, int valid, char text[8])
{
	static const char digits[] = "0123456789abcdef", named[] = "\"\\\n\r\t", letter[] = "\"\\nrt";
	unsigned char c = (unsigned char)s.p[0];
	const char *at;

	text[0] = (char)c;
	text[1] = '\0';
	if (c >= 0x80 && !valid) {	/* bytes that are no character */
		memcpy(text, "\\ufffd", 7);
		return 1;
	}
	if (c == 0xe2 && (unsigned char)s.p[1] == 0x80 && ((unsigned char)s.p[2] & 0xfe) == 0xa8) {
		memcpy(text, "\\u2028", 7);	/* ends a line in JavaScript, as U+2029 does */
		text[5] = (char)('8' + (s.p[2] & 1));
		return 3;
	}
	if (c != '\0' && (at = strchr(named, c)) != NULL) {
		text[0] = '\\';
		text[1] = letter[at - named];
		text[2] = '\0';
	} else if (c < ' ' || c == '<' || c == '>' || c == '&') {
		memcpy(text, "\\u00", 4);
		text[4] = digits[c >> 4];
		text[5] = digits[c & 15];
		text[6] = '\0';
	}
	return 1;
}

static int
is_utf8(struct str s)
{
	uint32_t state = 0;

	return ws_utf8(&state, (const uint8_t *)s.p, s.len) == 0 && state == 0;
}

/* How many bytes at the start of s are ASCII that is written as it is. */
static size_t
plain(struct str s)
{
	unsigned char c;
	size_t n;

	for (n = 0; n < s.len; n++) {
		c = (unsigned char)s.p[n];
		if (c < ' ' || c >= 0x80 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&')
			break;
	}
	return n;
}

/* The inside of a JSON string. Its length; b NULL: that alone. */
static size_t
put_text(struct buf *b, struct str s, int valid)
{
	char text[8];
	const char *out;
	size_t n, len = 0, k;

	for (; s.len > 0; s.p += n, s.len -= n) {
		out = s.p;
		if ((k = n = plain(s)) == 0) {
			n = escape(s, valid, text);
			out = text;
			k = strlen(text);
		}
		len += k;
		if (b != NULL)
			buf_put(b, out, k);
	}
	return len;
}

static void
put_member(struct buf *b, const char *name, struct str value)
{
	buf_str(b, ",\"");
	buf_str(b, name);
	buf_str(b, "\":\"");
	put_text(b, value, is_utf8(value));
	buf_str(b, "\"");
}

static void
put_type(struct buf *b, const char *type)
{
	buf_str(b, "{\"type\":\"");
	buf_str(b, type);
	buf_str(b, "\"");
}

void
wsproxy_put_ready(struct buf *b, const char *url, unsigned port)
{
	struct str s = { url, strlen(url) };

	put_type(b, "tunnel_ready");
	put_member(b, "tunnelUrl", s);
	buf_str(b, ",\"rawPort\":");
	buf_u64(b, port);
	buf_str(b, "}");
}

void
wsproxy_put_tcp(struct buf *b, const char *type, const char *id)
{
	struct str s = { id, strlen(id) };

	put_type(b, type);
	put_member(b, "connId", s);
	buf_str(b, "}");
}

/* Requests. */

/*
 * What such a client is not told: secrets that the caller has for others of our domain; and who the caller is, which the original never
 * says, and without which nobody can lie about it either.
 */
static int
is_withheld(struct str name)
{
	static const char *const names[] = {
		"Authorization", "Cookie", "Forwarded", "Host", "HTTP2-Settings", "Proxy-Authorization", "Set-Cookie", "X-Csrf-Token",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Real-IP", "X-Request-Id", "X-Xsrf-Token"
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (http_is(name, names[i]))
			return 1;
	return 0;
}

/* Content-Type, whatever the case it came in. */
static void
put_name(struct buf *b, struct str name)
{
	int up = 1;
	size_t i;
	char c;

	for (i = 0; i < name.len; i++) {
		c = name.p[i];
		if (up && c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		else if (!up && c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		buf_char(b, c);
		up = c == '-';
	}
}

/* The fields called as number i is, which is the first of that name. */
static void
put_field(struct buf *b, const struct http_head *h, size_t i)
{
	struct str name = h->field[i].name;
	const char *between = "";

	put_name(b, name);
	buf_str(b, "\":\"");
	for (; i < h->nfields; i++) {
		if (!msgfields_same(h->field[i].name, name))
			continue;
		buf_str(b, between);
		between = ", ";
		put_text(b, h->field[i].value, is_utf8(h->field[i].value));
	}
	buf_str(b, "\"");
}

static void
put_fields(struct buf *b, const struct http_head *h, int plain)
{
	const char *comma = "\"";
	size_t i;

	for (i = 0; msgfields_next(h, &i); i++) {
		if (is_withheld(h->field[i].name) || (plain && http_is(h->field[i].name, "Accept-Encoding")))
			continue;
		buf_str(b, comma);
		comma = ",\"";
		put_field(b, h, i);
	}
	if (plain) {
		buf_str(b, comma);
		buf_str(b, "Accept-Encoding\":\"identity\"");
	}
}

/* How long the text of a request's head can become. */
static size_t
room(const struct http_head *h)
{
	size_t n = 256 + 6 * (h->method.len + h->target.len), i;

	for (i = 0; i < h->nfields; i++)
		n += 8 + h->field[i].name.len + 6 * h->field[i].value.len;
	return n;
}

static void
put_request(struct buf *b, const struct message *m, int plain)
{
	const struct http_head *h = &m->head;
	struct str id = { m->id, strlen(m->id) };

	put_type(b, "http_request");
	put_member(b, "id", id);
	put_member(b, "method", h->method);
	put_member(b, "path", h->target);
	buf_str(b, ",\"headers\":{");
	put_fields(b, h, plain);
	buf_str(b, "},\"body\":\"");
}

int
wsproxy_encode(const struct message *m, size_t max, int plain, char **text, size_t *len)
{
	static const char coded[] = "\",\"bodyEncoding\":\"base64\"}";
	struct str body = { (const char *)m->body, m->len };
	size_t cap = room(&m->head), n;
	int literal = is_utf8(body);
	struct buf b;

	*text = NULL;
	n = (literal ? put_text(NULL, body, 1) : BASE64_LEN(m->len)) + sizeof(coded);
	if (n > max) {
		errno = EMSGSIZE;
		return -1;
	}
	if ((*text = malloc(cap + n)) == NULL)
		return -1;
	buf_init(&b, *text, cap + n);
	put_request(&b, m, plain);
	if (literal) {
		put_text(&b, body, 1);
		buf_str(&b, "\"}");
	} else {
		b.len += base64_encode(b.p + b.len, m->body, m->len);	/* n has counted it */
		buf_str(&b, coded);
	}
	*len = b.len;
	if (b.len <= max)
		return 0;
	free(*text);
	*text = NULL;
	errno = EMSGSIZE;
	return -1;
}
