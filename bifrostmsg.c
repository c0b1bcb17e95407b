/* bifrostmsg.c: bifrost's messages; see bifrostmsg.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "bifrostmsg.h"
#include "jsonscan.h"
#include "msgfields.h"

/* The daemon's side: requests. */

/* The fields called as number i is, which is the first of that name. */
static void
put_field(struct buf *b, const struct http_head *h, size_t i)
{
	const struct http_field *f = &h->field[i];
	int array = http_is(f->name, "Set-Cookie"), single = msgfields_single(f->name);
	const char *between = array ? "\",\"" : http_is(f->name, "Cookie") ? "; " : ", ";

	buf_char(b, '"');
	msgfields_lower(b, f->name);
	buf_str(b, array ? "\":[\"" : "\":\"");
	msgfields_latin1(b, f->value);
	for (i++; !single && i < h->nfields; i++)
		if (msgfields_same(h->field[i].name, f->name)) {
			buf_str(b, between);
			msgfields_latin1(b, h->field[i].value);
		}
	buf_str(b, array ? "\"]" : "\"");
}

/* The object's inside; length: of Content-Length, NULL: none. */
static void
put_fields(struct buf *b, const struct http_head *h, const uint64_t *length)
{
	const char *comma = "";
	size_t i;

	for (i = 0; msgfields_next(h, &i); i++) {
		buf_str(b, comma);
		comma = ",";
		put_field(b, h, i);
	}
	if (length != NULL) {
		buf_str(b, comma);
		buf_str(b, "\"content-length\":\"");
		buf_u64(b, *length);
		buf_char(b, '"');
	}
}

/* How long such an object can become. */
static size_t
room(const struct http_head *h)
{
	size_t n = 64, i;

	for (i = 0; i < h->nfields; i++)
		n += 8 + h->field[i].name.len + 6 * h->field[i].value.len;
	return n;
}

int
bifrost_encode(const struct message *m, char **text, size_t *len)
{
	const struct http_head *h = &m->head;
	size_t cap = 256 + 6 * (h->method.len + h->target.len) + room(h), i;
	uint64_t length = m->len;
	struct buf b;

	for (i = 0; i < h->target.len; i++)
		if (h->target.p[i] <= ' ' || h->target.p[i] > '~') {
			errno = EINVAL;
			return -1;
		}
	cap += BASE64_LEN(m->len) + 1;
	if ((*text = malloc(cap)) == NULL)
		return -1;
	buf_init(&b, *text, cap);
	buf_str(&b, "{\"id\":\"");
	buf_str(&b, m->id);
	buf_str(&b, "\",\"method\":\"");
	msgfields_latin1(&b, h->method);
	buf_str(&b, "\",\"url\":\"");
	msgfields_latin1(&b, h->target);
	buf_str(&b, "\",\"headers\":{");
	put_fields(&b, h, m->len > 0 ? &length : NULL);	/* without content any length would make the client wait */
	buf_str(&b, "},\"body\":\"");
	b.len += base64_encode(b.p + b.len, m->body, m->len);	/* cap has counted it */
	buf_str(&b, "\"}");
	*len = b.len;
	return 0;
}

/* Its answers. */

enum { ID, STATUS, HEADERS, BODY, MEMBERS };

static const char *const names[MEMBERS] = { "id", "status", "headers", "body" };

struct answer {			/* what JSON.parse would make of it */
	struct str value[MEMBERS];	/* texts as they stand; p NULL: there is none */
	struct msgfields fields;	/* of headers */
};

/* The status, 200 where none is said; -1 if it is none that may end an exchange. */
static int
answer_status(struct str s)
{
	char text[8] = "";
	long n;
	int status;

	if (msgfields_null(s))
		return 200;
	if (*s.p == '"')
		n = msgfields_string(s, text, sizeof(text));
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
	if (msgfields_null(value))
		return 0;
	if (!msgfields_inside(value, &in))
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

static int
compose(struct bifrost_answer *out, struct answer *a, int is_head)
{
	int status = answer_status(a->value[STATUS]);
	struct buf b;

	a->fields.n = 0;
	a->fields.split = a->fields.utf8 = 0;
	if (status == -1 || (!msgfields_null(a->value[HEADERS]) && msgfields_take(&a->fields, a->value[HEADERS]) == -1) ||
	    answer_body(a->value[BODY], &out->body) == -1 || (out->memory = malloc(MSGFIELDS_HEAD)) == NULL)
		return -1;
	buf_init(&b, out->memory, MSGFIELDS_HEAD);
	if (msgfields_head(&b, &a->fields, status, is_head, out->body.len) == -1)
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
	sound = msgfields_scan(a->value, names, MEMBERS, 0, all, &why);
	/* too deep for us it may still be JSON */
	if ((sound || strcmp(why, "too deep") == 0) &&
	    msgfields_string(a->value[ID], out->id, sizeof(out->id)) > 0)
		is_head = asked(arg, out->id);
	if (is_head != -1 && (!sound || compose(out, a, is_head) == -1))
		out->head.p = NULL;
	free(a);
	return is_head != -1;
}

int
bifrost_id(const char *text, size_t len, char id[MESSAGE_ID_LEN + 1])
{
	struct str all = { text, len }, value[MEMBERS];
	const char *why;

	msgfields_scan(value, names, MEMBERS, 0, all, &why);
	return msgfields_string(value[ID], id, MESSAGE_ID_LEN + 1) > 0;
}

/* The client's side: requests. */

enum { R_ID, R_METHOD, R_URL, R_HEADERS, R_BODY, R_MEMBERS };

static const char *const request_names[R_MEMBERS] = { "id", "method", "url", "headers", "body" };

static int
is_printable(const char *s, long n)
{
	for (; n > 0; n--, s++)
		if (*s <= ' ' || *s > '~')
			return 0;
	return 1;
}

/* NULL, or what is wrong. */
static const char *
compose_request(struct clientmsg_request *out, struct clientmsg_parts *r, const struct clientmsg_server *server)
{
	struct str method = { r->method, 0 }, url = { r->target, 0 };
	long n = msgfields_string(r->value[R_METHOD], r->method, sizeof(r->method));
	long len = msgfields_string(r->value[R_URL], r->target, sizeof(r->target));

	if (n < 1 || !is_printable(r->method, n))
		return "no method";
	if (len < 1 || !is_printable(r->target, len))
		return "no url";
	method.len = (size_t)n;
	url.len = (size_t)len;
	if (!msgfields_null(r->value[R_HEADERS]) && msgfields_take(&r->fields, r->value[R_HEADERS]) == -1)
		return "its headers are no fields";
	if (answer_body(r->value[R_BODY], &out->body) == -1)
		return "its body is not base64";
	return clientmsg_head(out, &r->fields, method, url, server);
}

void
bifrost_take_request(struct clientmsg_request *out, char *text, size_t len, const struct clientmsg_server *server)
{
	static const struct clientmsg_form form = { request_names, R_MEMBERS, "no id", compose_request };

	clientmsg_take(out, text, len, &form, server);
}

/* And answers. */

int
bifrost_put_answer(const struct clientmsg_answer *a, const struct clientmsg_server *server, char **text, size_t *len)
{
	const struct http_head *h = a->head;
	size_t cap = 64 + a->id.len + room(h) + BASE64_LEN(a->len) + 3;
	/* where there is no content although there could be, the service's own word stands */
	int own = h->framing == HTTP_NO_BODY;
	uint64_t length = own ? h->length : a->len;
	struct buf b;

	*text = NULL;
	if ((*text = malloc(cap)) == NULL)
		return -1;
	buf_init(&b, *text, cap);
	buf_str(&b, "{\"id\":");
	buf_put(&b, a->id.p, a->id.len);
	buf_str(&b, ",\"status\":");
	buf_u64(&b, (unsigned)h->status);
	buf_str(&b, ",\"headers\":{");
	put_fields(&b, h, h->status != 204 && (!own || h->has_length) ? &length : NULL);
	buf_str(&b, "},\"body\":\"");
	b.len += base64_encode(b.p + b.len, a->body, a->len);	/* cap has counted it */
	buf_str(&b, "\"}");
	*len = b.len;
	if (b.len <= server->max)
		return 0;
	free(*text);
	*text = NULL;
	errno = EMSGSIZE;
	return -1;
}

const struct clientmsg_dialect bifrost_client = { bifrost_take_request, bifrost_put_answer };
