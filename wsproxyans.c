/* wsproxyans.c: wsproxy's messages from its clients; see wsproxymsg.h. */
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "jsonscan.h"
#include "msgfields.h"
#include "wsproxymsg.h"

enum {
	FIELDS_MAX = 100,	/* of a response: the rest is dropped, */
	NAME_MAX_LEN = 128,	/* and so are longer names */
	VALUE_MAX = 8192	/* and values */
};

/* Reading. */

enum { TYPE, ID, CONN, STATUS, HEADERS, BODY, ENCODING, MEMBERS };

static const char *const names[MEMBERS] = { "type", "id", "connId", "status", "headers", "body", "bodyEncoding" };

static int
is_string(struct str s)
{
	return msgfields_null(s) || *s.p == '"';
}

/* A number without fraction or exponent. */
static int
is_int(struct str s)
{
	size_t i;

	for (i = 0; !msgfields_null(s) && i < s.len; i++)
		if ((s.p[i] < '0' || s.p[i] > '9') && (i > 0 || s.p[i] != '-'))
			return 0;
	return 1;
}

/* An object whose values are strings. */
static int
is_fields(struct str s)
{
	struct jsonscan walk;
	struct str name, value;

	if (msgfields_null(s))
		return 1;
	if (jsonscan_begin(&walk, s, '{') == -1)
		return 0;
	while (jsonscan_next(&walk, &name, &value) == 1)
		if (!is_string(value))
			return 0;
	return 1;
}

static int
take_id(struct str value, char id[WSPROXY_ID + 1])
{
	return msgfields_string(value, id, WSPROXY_ID + 1) == WSPROXY_ID && wsproxy_is_hex(id, WSPROXY_ID);
}

enum wsproxy_type
wsproxy_read(struct wsproxy_control *c, struct str text, const char **why)
{
	struct str value[MEMBERS];
	char type[16];

	if (!msgfields_scan(value, names, MEMBERS, 1, text, why))
		return WSPROXY_JUNK;
	*why = "no type of message that is known";
	if (msgfields_string(value[TYPE], type, sizeof(type)) == -1)
		return WSPROXY_JUNK;
	if (strcmp(type, "tcp_close") == 0) {
		*why = "connId is none";
		return take_id(value[CONN], c->id) ? WSPROXY_CLOSE : WSPROXY_JUNK;
	}
	if (strcmp(type, "http_response") != 0)
		return WSPROXY_JUNK;
	*why = "id is none";
	if (!take_id(value[ID], c->id))
		return WSPROXY_JUNK;
	*why = "a member is of a wrong type";
	if (!is_int(value[STATUS]) || !is_fields(value[HEADERS]) || !is_string(value[BODY]) || !is_string(value[ENCODING]))
		return WSPROXY_JUNK;
	c->status = value[STATUS];
	c->headers = value[HEADERS];
	c->body = value[BODY];
	c->encoding = value[ENCODING];
	return WSPROXY_RESPONSE;
}

int
wsproxy_id(const char *text, size_t len, char id[MESSAGE_ID_LEN + 1])
{
	struct str all = { text, len }, value[MEMBERS];
	const char *why;

	msgfields_scan(value, names, MEMBERS, 1, all, &why);
	return take_id(value[ID], id);
}

/* Responses. */

/* Fields that a page of another tunnel, or of our own, would suffer from; of those of one hop Content-Length is seen to elsewhere. */
static int
is_dropped(struct str name)
{
	static const char *const drop[] = {
		"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
		"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Clear-Site-Data", "Connection",
		"Content-Security-Policy", "Content-Security-Policy-Report-Only", "Keep-Alive", "Public-Key-Pins",
		"Public-Key-Pins-Report-Only", "Service-Worker-Allowed", "Set-Cookie", "Set-Cookie2",
		"Strict-Transport-Security", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "X-Content-Type-Options",
		"X-Frame-Options", "X-XSS-Protection"
	};
	size_t i;

	for (i = 0; i < sizeof(drop) / sizeof(drop[0]); i++)
		if (http_is(name, drop[i]))
			return 1;
	return 0;
}

/* Is it a value that goes on? U+2028 and U+2029 end lines where some would not think of it. */
static int
is_value(struct msgfields *f, struct str value)
{
	struct str in = { NULL, 0 };
	const char *p = f->scratch;
	long n, i;

	msgfields_inside(value, &in);
	if ((n = jsonscan_utf8(in, f->scratch, VALUE_MAX)) == -1)
		return 0;
	for (i = 0; i < n; i++)
		if ((unsigned char)p[i] < ' ' || p[i] == 0x7f ||
		    (i + 2 < n && (memcmp(p + i, "\xe2\x80\xa8", 3) == 0 || memcmp(p + i, "\xe2\x80\xa9", 3) == 0)))
			return 0;
	return 1;
}

static size_t
find(const struct msgfields *f, struct str name)
{
	size_t i;

	for (i = 0; i < f->n && !msgfields_same(f->field[i].name, name); i++)
		;
	return i;
}

/* The fields that go on; of several of one name, in whatever case, the last. *chunked: the content may be in chunks still. */
static void
take_fields(struct msgfields *f, struct str headers, int *chunked)
{
	static const struct str empty = { "\"\"", 2 };
	struct jsonscan walk;
	struct str name, value;
	size_t i;
	long n;

	f->n = 0;
	f->split = 0;
	f->utf8 = 1;
	if (msgfields_null(headers) || jsonscan_begin(&walk, headers, '{') == -1)
		return;
	while (jsonscan_next(&walk, &name, &value) == 1) {
		if ((n = jsonscan_latin1(name, (char *)(uintptr_t)name.p, name.len)) == -1)
			continue;
		name.len = (size_t)n;
		if (msgfields_null(value))
			value = empty;
		if (http_is(name, "Transfer-Encoding"))
			*chunked = 1;
		if (!http_is_token(name) || name.len > NAME_MAX_LEN || is_dropped(name) || !is_value(f, value) || ((i = find(f, name)) == f->n && i == FIELDS_MAX))
			continue;
		f->n += i == f->n;
		f->field[i].name = name;
		f->field[i].value = value;
	}
}

/* The content, decoded where its text stands. NULL, or what is wrong. */
static const char *
take_body(const struct wsproxy_control *c, struct str *out)
{
	char encoding[8] = "";
	struct str in;
	char *p;
	long n;

	out->p = c->body.p;
	out->len = 0;
	if (!msgfields_null(c->encoding) && msgfields_string(c->encoding, encoding, sizeof(encoding)) == -1)
		memcpy(encoding, "?", 2);
	if (encoding[0] != '\0' && strcmp(encoding, "base64") != 0)
		return "invalid body encoding from tunnel";
	if (!msgfields_inside(c->body, &in))
		return NULL;
	p = (char *)(uintptr_t)in.p;
	n = jsonscan_utf8(in, p, in.len);
	if (encoding[0] != '\0' && (n = base64_decode(p, p, (size_t)n)) == -1)	/* it writes behind what it reads */
		return "invalid base64 response from tunnel";
	if (n > WSPROXY_CONTENT_MAX)
		return "tunnel response too large";
	out->p = p;
	out->len = (size_t)n;
	return NULL;
}

/* The browser client hands on chunks as they came. What is no chunked content from beginning to end somebody has decoded. */
static void
dechunk(struct str *body)
{
	static const struct http_head head = { .framing = HTTP_CHUNKED };
	struct http_body walk;
	struct http_out out;
	const char *why;
	char *p = (char *)(uintptr_t)body->p;
	size_t at = 0, len = 0;
	long n;
	int write, i;

	for (write = 0; write < 2; write++) {	/* once to see that it is sound to its end */
		http_body_init(&walk, &head, NULL, 1);
		for (at = len = 0; at < body->len && !walk.done; at += (size_t)n) {
			out.n = 0;
			out.ntext = 0;
			if ((n = http_body_take(&walk, p + at, body->len - at, &out, &why)) < 0)
				return;
			for (i = 0; i < out.n; i++) {
				if (write)
					memmove(p + len, out.iov[i].iov_base, out.iov[i].iov_len);
				len += out.iov[i].iov_len;
			}
		}
		if (!walk.done || at < body->len)
			return;
	}
	body->len = len;
}

/* -1: it is none. */
static int
take_status(struct str s)
{
	char text[4];

	if (msgfields_null(s) || s.len != 3 || s.p[0] == '-')
		return -1;
	memcpy(text, s.p, 3);
	text[3] = '\0';
	return atoi(text) >= 100 ? atoi(text) : -1;
}

static void
refuse(struct wsproxy_answer *a, int is_head)
{
	struct buf b;

	buf_init(&b, a->memory, MSGFIELDS_HEAD);
	buf_str(&b, "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
	    "Cache-Control: no-store\r\nContent-Length: ");
	buf_u64(&b, strlen(a->why) + 1);
	buf_str(&b, "\r\n\r\n");
	a->head.p = b.p;
	a->head.len = b.len;
	if (!is_head) {
		buf_str(&b, a->why);
		buf_str(&b, "\n");
	}
	a->body.p = b.p + a->head.len;
	a->body.len = b.len - a->head.len;
}

/* NULL, or what makes the response unusable. */
static const char *
compose(struct wsproxy_answer *a, struct msgfields *f, const struct wsproxy_control *c, int status, int is_head)
{
	const char *why;
	struct buf b;
	int chunked = 0;

	if (status < 200 || status > 599)
		return "invalid response from tunnel";
	if ((why = take_body(c, &a->body)) != NULL)
		return why;
	take_fields(f, c->headers, &chunked);
	if (chunked)
		dechunk(&a->body);
	buf_init(&b, a->memory, MSGFIELDS_HEAD);
	if (msgfields_head(&b, f, status, is_head, a->body.len) == -1)
		return "invalid response from tunnel";
	if (is_head || status == 204 || status == 304)
		a->body.len = 0;
	a->head.p = b.p;
	a->head.len = b.len;
	return NULL;
}

int
wsproxy_respond(struct wsproxy_answer *a, const struct wsproxy_control *c, int is_head)
{
	int status = take_status(c->status);
	struct msgfields *f;

	memset(a, 0, sizeof(*a));
	if (status >= 100 && status < 200) {
		a->why = "an interim status ends no exchange";
		return 0;
	}
	f = malloc(sizeof(*f));
	if (f == NULL || (a->memory = malloc(MSGFIELDS_HEAD)) == NULL) {
		free(f);
		a->why = "no memory";
		return 1;
	}
	if ((a->why = compose(a, f, c, status, is_head)) != NULL)
		refuse(a, is_head);
	free(f);
	return 1;
}

const char *
wsproxy_words(int status, const char *why)
{
	const char *w = why != NULL ? why : "";

	switch (status) {
	case 204:
		return "";
	case 413:
		return "request too large for tunnel";
	case 429:
		return "too many connections";
	case 502:
		return strcmp(w, "session_lost") == 0 ? "tunnel write failed" :
		    strcmp(w, "the session ended") == 0 ? "tunnel disconnected" : "invalid response from tunnel";
	case 504:
		return strcmp(w, "shutdown") == 0 ? NULL : "tunnel response timeout";
	default:
		return NULL;
	}
}
