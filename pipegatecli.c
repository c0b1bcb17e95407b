/* pipegatecli.c: PipeGate's messages on the client's side: JSON to requests, responses to JSON; see pipegatemsg.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "json.h"
#include "jsonscan.h"
#include "pipegatemsg.h"

/* Requests. */

enum { ID, PATH, QUERY, METHOD, HEADERS, BODY, MEMBERS };

static const char *const names[MEMBERS] = { "correlation_id", "url_path", "url_query", "method", "headers", "body" };

/* A JSON string as UTF-8, where it stands. 0: it is none. */
static int
take_text(struct str value, struct str *out)
{
	long n;

	if (!msgfields_inside(value, out) ||
	    (n = jsonscan_utf8(*out, (char *)(uintptr_t)out->p, out->len)) == -1)	/* it only shrinks */
		return 0;
	out->len = (size_t)n;
	return 1;
}

static int
is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("-._~", c) != NULL);
}

/* As forms have it. */
static void
put_form(struct buf *b, struct str s)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t i;

	for (i = 0; i < s.len; i++)
		if (s.p[i] == ' ' || is_unreserved(s.p[i]))
			buf_char(b, s.p[i] == ' ' ? '+' : s.p[i]);
		else {
			buf_char(b, '%');
			buf_char(b, digits[(unsigned char)s.p[i] >> 4]);
			buf_char(b, digits[(unsigned char)s.p[i] & 15]);
		}
}

static int
put_pair(struct buf *b, struct str name, struct str value, char *lead)
{
	struct str text;

	if (!take_text(value, &text))
		return -1;
	buf_char(b, *lead);
	*lead = '&';
	put_form(b, name);
	buf_char(b, '=');
	put_form(b, text);
	return 0;
}

/* [["name","value"],...] */
static int
put_pairs(struct buf *b, struct jsonscan *walk)
{
	struct jsonscan pair;
	struct str none, element, name, value;
	char lead = '?';
	int rc;

	while ((rc = jsonscan_next(walk, &none, &element)) == 1)
		if (jsonscan_begin(&pair, element, '[') == -1 || jsonscan_next(&pair, &none, &name) != 1 ||
		    jsonscan_next(&pair, &none, &value) != 1 || jsonscan_next(&pair, &none, &element) != 0 ||
		    !take_text(name, &name) || put_pair(b, name, value, &lead) == -1)
			return -1;
	return rc;
}

/* {"name":"value",...} */
static int
put_members(struct buf *b, struct jsonscan *walk)
{
	struct str name, value;
	char lead = '?';
	long n;
	int rc;

	while ((rc = jsonscan_next(walk, &name, &value)) == 1) {
		if ((n = jsonscan_utf8(name, (char *)(uintptr_t)name.p, name.len)) == -1)
			return -1;
		name.len = (size_t)n;
		if (put_pair(b, name, value, &lead) == -1)
			return -1;
	}
	return rc;
}

/* The query, whose JSON text is written to. 0, or -1. */
static int
put_query(struct buf *b, struct str text)
{
	struct jsonscan walk;
	int rc = -1;

	if (jsonscan_begin(&walk, text, '[') == 0)
		rc = put_pairs(b, &walk);
	else if (jsonscan_begin(&walk, text, '{') == 0)
		rc = put_members(b, &walk);
	return rc == 0 && jsonscan_at_end(&walk) ? 0 : -1;
}

static int
is_null(struct str s)
{
	for (; s.len > 0 && strchr(" \t\r\n", *s.p) != NULL; s.p++)
		s.len--;
	return s.len >= 4 && memcmp(s.p, "null", 4) == 0;
}

/* The request-target: 0, or -1. Where null stands for the query the path may have one of its own. */
static int
put_target(struct buf *b, struct str path, struct str query)
{
	const char *mark = is_null(query) ? memchr(path.p, '?', path.len) : NULL;
	struct str own = { NULL, 0 };

	if (mark != NULL) {
		own.p = mark + 1;
		own.len = (size_t)(path.p + path.len - own.p);
		path.len = (size_t)(mark - path.p);
	}
	buf_char(b, '/');
	pipegate_put_path(b, path);
	if (mark != NULL) {
		buf_char(b, '?');
		pipegate_put_path(b, own);
	}
	return is_null(query) ? 0 : put_query(b, query);
}

/* NULL, or what is wrong. */
static const char *
compose(struct clientmsg_request *out, struct clientmsg_parts *r, const struct clientmsg_server *server)
{
	struct str path, query, headers, in, method = { r->method, 0 }, target = { r->target, 0 };
	long n = msgfields_string(r->value[METHOD], r->method, sizeof(r->method));
	struct buf b;

	if (n < 1)
		return "no method";
	method.len = (size_t)n;
	if (!take_text(r->value[PATH], &path) || !take_text(r->value[QUERY], &query))
		return "no url_path or url_query";
	buf_init(&b, r->target, sizeof(r->target));
	if (put_target(&b, path, query) == -1 || b.full)
		return b.full ? "its URL is too long" : "url_query is no list of pairs";
	target.len = b.len;
	if (!take_text(r->value[HEADERS], &headers) || (headers.len > 0 && msgfields_take(&r->fields, headers) == -1))
		return "headers is no JSON object";
	if (!msgfields_inside(r->value[BODY], &in) || pipegate_take_body(r->value[BODY], &out->body) == -1)
		return "its body is not base64";
	return clientmsg_head(out, &r->fields, method, target, server);
}

void
pipegate_take_request(struct clientmsg_request *out, char *text, size_t len, const struct clientmsg_server *server)
{
	static const struct clientmsg_form form = { names, MEMBERS, "no correlation_id", compose };

	clientmsg_take(out, text, len, &form, server);
}

/* Answers. */

/* Several cookies need as many names, which differ in case only: number i is the first's with bits of i as capitals. */
static void
put_cookie_name(struct buf *b, size_t i)
{
	static const char name[] = "set-cookie";
	static const unsigned char bit[] = { 1, 2, 4, 0, 1, 8, 16, 32, 64, 128 };
	size_t k;

	for (k = 0; name[k] != '\0'; k++)
		buf_char(b, i & bit[k] ? (char)(name[k] - 'a' + 'A') : name[k]);
}

/* The value as JSON has it; a tab, which the server's library does not take, is as good as a blank. */
static void
put_value(struct buf *b, struct str s)
{
	struct str piece;
	size_t n;

	for (; s.len > 0; s.p += n, s.len -= n) {
		for (n = 0; n < s.len && s.p[n] != '\t'; n++)
			;
		piece.p = s.p;
		piece.len = n;
		msgfields_latin1(b, piece);
		if (n < s.len) {
			buf_char(b, ' ');
			n++;
		}
	}
}

static void
put_cookies(struct buf *b, const struct http_head *h)
{
	size_t i, n = 0;

	for (i = 0; i < h->nfields; i++) {
		if (!http_is(h->field[i].name, "Set-Cookie"))
			continue;
		buf_str(b, b->len > 1 ? ",\"" : "\"");
		put_cookie_name(b, n++);
		buf_str(b, "\":\"");
		put_value(b, h->field[i].value);
		buf_str(b, "\"");
	}
}

/* The fields called as number i is, which is the first of that name. */
static void
put_field(struct buf *b, const struct http_head *h, size_t i)
{
	struct str name = h->field[i].name;
	int single = msgfields_single(name);

	buf_str(b, b->len > 1 ? ",\"" : "\"");
	msgfields_lower(b, name);
	buf_str(b, "\":\"");
	put_value(b, h->field[i].value);
	for (i++; !single && i < h->nfields; i++)
		if (msgfields_same(h->field[i].name, name)) {
			buf_str(b, ", ");
			put_value(b, h->field[i].value);
		}
	buf_str(b, "\"");
}

static void
put_fields(struct buf *b, const struct clientmsg_answer *a, const struct clientmsg_server *server)
{
	const struct http_head *h = a->head;
	int own = h->framing == HTTP_NO_BODY;	/* what there is no content for */
	size_t i;

	buf_str(b, "{");
	for (i = 0; msgfields_next(h, &i); i++) {
		if (http_is(h->field[i].name, "Set-Cookie"))
			put_cookies(b, h);
		else if (server->ours || !(http_is(h->field[i].name, "Date") || http_is(h->field[i].name, "Server")))
			put_field(b, h, i);	/* of those two it puts its own in front */
	}
	if (h->status != 204 && (!own || h->has_length)) {
		buf_str(b, b->len > 1 ? ",\"content-length\":\"" : "\"content-length\":\"");
		buf_u64(b, own ? h->length : a->len);
		buf_str(b, "\"");
	}
	buf_str(b, "}");
}

/* How long the fields can become: of a value's byte two, and twice as many where it is escaped in a string in a string. */
static size_t
room(const struct http_head *h)
{
	size_t n = 64, i;

	for (i = 0; i < h->nfields; i++)
		n += 16 + h->field[i].name.len + 4 * h->field[i].value.len;
	return n;
}

int
pipegate_put_answer(const struct clientmsg_answer *a, const struct clientmsg_server *server, char **text, size_t *len)
{
	size_t inner_cap = room(a->head), cap = 128 + a->id.len + 2 * inner_cap;
	char *scratch;
	struct buf b, inner;

	*text = NULL;
	if (cap / 2 + BASE64_LEN(a->len) > SIZE_MAX / 2 || BASE64_LEN(a->len) > server->max) {
		errno = EMSGSIZE;
		return -1;
	}
	if ((scratch = malloc(inner_cap)) == NULL)
		return -1;
	if ((*text = malloc(cap + BASE64_LEN(a->len) + 1)) == NULL) {
		free(scratch);
		return -1;
	}
	buf_init(&b, *text, cap + BASE64_LEN(a->len));
	buf_init(&inner, scratch, inner_cap);
	put_fields(&inner, a, server);
	buf_str(&b, "{\"correlation_id\":");
	buf_put(&b, a->id.p, a->id.len);
	buf_str(&b, ",\"headers\":");
	json_put_str(&b, inner.p, inner.len);
	buf_str(&b, ",\"body\":\"");
	free(scratch);
	b.len += base64_encode(b.p + b.len, a->body, a->len);	/* cap has counted it */
	buf_str(&b, "\",\"status_code\":");
	buf_u64(&b, (unsigned)a->head->status);
	buf_str(&b, "}");
	*len = b.len;
	if (!inner.full && !b.full && b.len <= server->max)
		return 0;
	free(*text);
	*text = NULL;
	errno = EMSGSIZE;
	return -1;
}

const struct clientmsg_dialect pipegate_client = { pipegate_take_request, pipegate_put_answer };
