/* pipegatemsg.c: PipeGate's paths, and requests as messages; see pipegatemsg.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "json.h"
#include "msgfields.h"
#include "pipegatemsg.h"
#include "query.h"

/* Paths. */

/* A byte of a path segment that needs no escape, RFC 3986 section 3.3. */
static int
is_pchar(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    (c != '\0' && strchr("-._~!$&'()*+,;=:@", c) != NULL);
}

int
pipegate_id_ok(const char *id)
{
	static const char *const taken[] = { ".", "..", "health", "healthz", "relay", "tunnel" };
	size_t i, len = strlen(id);

	if (len == 0 || len > PIPEGATE_ID_MAX || id[0] == '_')
		return 0;
	for (i = 0; i < len; i++)
		if (!is_pchar(id[i]))
			return 0;
	for (i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (strcmp(id, taken[i]) == 0)
			return 0;
	return 1;
}

size_t
pipegate_path_id(struct str target, char id[PIPEGATE_ID_MAX + 1], int *slash)
{
	struct str none, path = str_split(target, '?', &none);
	size_t at, n, len = 0;
	char c;

	*slash = 0;
	if (path.len < 2 || path.p[0] != '/')
		return 0;
	for (at = 1; at < path.len && !*slash; at += n) {
		c = query_byte(str_behind(path, at), &n);
		if (c == '/') {
			*slash = 1;
			n = n == 1 ? 0 : n;
			continue;
		}
		if (len == PIPEGATE_ID_MAX || c == '\0')
			return 0;
		id[len++] = c;
	}
	id[len] = '\0';
	return len > 0 ? at : 0;
}

long
pipegate_token(struct str target, char *out, size_t cap)
{
	long n = query_get(target, "token", QUERY_LAST, out, cap);

	return n >= 0 ? n : -1;
}

size_t
pipegate_takes(const struct http_head *h, size_t dflt)
{
	const struct str *field = http_field(h, "X-PipeGate-Max-Message");
	size_t i, n = 0;

	for (i = 0; field != NULL && i < field->len && i < 9 && field->p[i] >= '0' && field->p[i] <= '9'; i++)
		n = 10 * n + (size_t)(field->p[i] - '0');
	return field == NULL || i < field->len || n < PIPEGATE_TAKES_MIN ? dflt : n;
}

/* Requests. */

static int
is_known(struct str method)
{
	static const char *const known[] = { "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD" };
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (str_is(method, known[i]))
			return 1;
	return 0;
}

/* "." or "..", however it is written: the client would resolve it. */
static int
is_dots(struct str segment)
{
	size_t n, dots = 0;

	for (; segment.len > 0; segment = str_behind(segment, n), dots++)
		if (query_byte(segment, &n) != '.')
			return 0;
	return dots == 1 || dots == 2;
}

static int
has_dots(struct str path)
{
	while (path.p != NULL)
		if (is_dots(str_split(path, '/', &path)))
			return 1;
	return 0;
}

void
pipegate_put_path(struct buf *b, struct str path)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n;

	for (; path.len > 0; path = str_behind(path, n)) {
		query_byte(path, &n);
		if (n == 3 || is_pchar(path.p[0]) || path.p[0] == '/') {
			buf_put(b, path.p, n);
			continue;
		}
		buf_char(b, '%');
		buf_char(b, digits[(unsigned char)path.p[0] >> 4]);
		buf_char(b, digits[(unsigned char)path.p[0] & 15]);
	}
}

/* [["name","value"],...]; scratch holds as much as the query. */
static void
put_query(struct buf *b, struct str query, char *scratch)
{
	struct str pair, value;
	const char *comma = "";
	size_t n;

	buf_str(b, "[");
	while (query.p != NULL) {
		pair = str_split(query, '&', &query);
		if (pair.len == 0)
			continue;
		buf_str(b, comma);
		comma = ",";
		pair = str_split(pair, '=', &value);
		n = query_decode(pair, scratch);
		buf_str(b, "[");
		json_put_str(b, scratch, n);
		buf_str(b, ",");
		n = query_decode(value, scratch);
		json_put_str(b, scratch, n);
		buf_str(b, "]");
	}
	buf_str(b, "]");
}

/* The client's library takes ASCII alone, and no controls: a tab, which is as good as a blank, becomes one. */
static int
is_ascii(struct str s)
{
	size_t i;

	for (i = 0; i < s.len; i++)
		if ((unsigned char)s.p[i] >= 0x7f)
			return 0;
	return 1;
}

static void
put_value(struct buf *b, struct str s)
{
	for (; s.len > 0; s = str_behind(s, 1)) {
		if (*s.p == '"' || *s.p == '\\')
			buf_char(b, '\\');
		buf_char(b, *s.p == '\t' ? ' ' : *s.p);
	}
}

static void
put_name(struct buf *b, struct str name)
{
	buf_str(b, b->len > 1 ? ",\"" : "\"");
	msgfields_lower(b, name);
	buf_str(b, "\":\"");
}

/* The fields called as number i is, which is the first of that name, but for those that are not ASCII. */
static void
put_field(struct buf *b, const struct http_head *h, size_t i)
{
	struct str name = h->field[i].name;
	const char *between = http_is(name, "Cookie") ? "; " : ", ";
	int single = msgfields_single(name), any = 0;

	for (; i < h->nfields && !(single && any); i++) {
		if (!msgfields_same(h->field[i].name, name) || !is_ascii(h->field[i].value))
			continue;
		if (any)
			buf_str(b, between);
		else
			put_name(b, name);
		any = 1;
		put_value(b, h->field[i].value);
	}
	if (any)
		buf_str(b, "\"");
}

static void
put_own(struct buf *b, const char *name, const char *value)
{
	struct str s = { name, strlen(name) };

	put_name(b, s);
	buf_str(b, value);
	buf_str(b, "\"");
}

/* The id without its hyphens. */
static void
short_id(const char *id, char out[33])
{
	for (; *id != '\0'; id++)
		if (*id != '-')
			*out++ = *id;
	*out = '\0';
}

static void
put_fields(struct buf *b, const struct message *m)
{
	const struct http_head *h = &m->head;
	char text[33];
	struct buf number;
	size_t i, before;
	int cookie = 0;

	buf_str(b, "{");
	for (i = 0; msgfields_next(h, &i); i++) {
		if (http_is(h->field[i].name, "Accept-Encoding") || http_is(h->field[i].name, "X-PipeGate-Correlation-Id"))
			continue;
		before = b->len;
		put_field(b, h, i);
		cookie |= b->len > before && http_is(h->field[i].name, "Cookie");
	}
	if (!cookie)		/* or the client adds those that others were sent */
		put_own(b, "cookie", "");
	put_own(b, "accept-encoding", "identity");	/* what it decodes it does not tell */
	if (m->len > 0) {
		buf_init(&number, text, sizeof(text) - 1);
		buf_u64(&number, m->len);
		text[number.len] = '\0';
		put_own(b, "content-length", text);
	}
	short_id(m->id, text);
	put_own(b, "x-pipegate-correlation-id", text);
	buf_str(b, "}");
}

/* How long the text of a request can become: of a byte of a query seven, escaped twice, and some for each pair. */
static size_t
room(const struct http_head *h)
{
	size_t n = 512 + 20 * h->target.len, i;

	for (i = 0; i < h->nfields; i++)
		n += 16 + 2 * h->field[i].name.len + 4 * h->field[i].value.len;
	return n;
}

/* All but the content. inner: for texts inside texts. */
static void
put_request(struct buf *b, const struct message *m, struct buf *inner, char *scratch)
{
	struct str query, path = str_split(m->head.target, '?', &query);

	buf_str(b, "{\"correlation_id\":\"");
	buf_str(b, m->id);
	buf_str(b, "\",\"url_path\":\"");
	pipegate_put_path(b, str_behind(path, 1));	/* the client's library would take '?' and '#' for its own */
	buf_str(b, "\",\"url_query\":");
	put_query(inner, query, scratch);
	json_put_str(b, inner->p, inner->len);
	buf_str(b, ",\"method\":\"");
	buf_put(b, m->head.method.p, m->head.method.len);
	buf_str(b, "\",\"headers\":");
	inner->len = 0;
	put_fields(inner, m);
	json_put_str(b, inner->p, inner->len);
	buf_str(b, ",\"body\":\"");
}

int
pipegate_encode(const struct message *m, size_t max, char **text, size_t *len)
{
	struct str query, path = str_split(m->head.target, '?', &query);
	size_t cap = room(&m->head);
	struct buf b, inner;
	char *scratch;

	*text = NULL;
	if (!is_known(m->head.method) || path.len == 0 || *path.p != '/' || has_dots(path)) {
		errno = EINVAL;
		return -1;
	}
	if (BASE64_LEN(m->len) > max) {
		errno = EMSGSIZE;
		return -1;
	}
	if ((scratch = malloc(cap + m->head.target.len)) == NULL)
		return -1;
	if ((*text = malloc(cap + BASE64_LEN(m->len) + 3)) == NULL) {
		free(scratch);
		return -1;
	}
	buf_init(&b, *text, cap);
	buf_init(&inner, scratch, cap);
	put_request(&b, m, &inner, scratch + cap);
	free(scratch);
	if (b.full || inner.full || b.len + BASE64_LEN(m->len) + 2 > max) {
		free(*text);
		*text = NULL;
		errno = EMSGSIZE;
		return -1;
	}
	b.len += base64_encode(b.p + b.len, m->body, m->len);
	b.cap = b.len + 2;
	buf_str(&b, "\"}");
	*len = b.len;
	return 0;
}
