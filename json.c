/*
 * json.c: JSON over jsmn; see json.h.
 * jsmn finds where values begin and end. It takes much that is no JSON, so
 * a walk over text and tokens together then demands the grammar (RFC 8259)
 * of every byte. JSMN_STRICT stays off: it would refuse a bare number.
 */
#include <limits.h>
#include <string.h>

#define JSMN_STATIC
#define JSMN_PARENT_LINKS	/* without them closing a value takes linear time */
#include <jsmn.h>

#include "json.h"

/* jsmn writes its tokens where our nodes will be. */
typedef char node_holds_token[sizeof(struct json_node) == sizeof(jsmntok_t) ? 1 : -1];

struct walk {
	const char *text, *why;
	struct json_node *node;
	size_t len, n;		/* of text and node */
	size_t pos, i;		/* the next byte and node to judge */
};

static int
bad(struct walk *w, const char *why)
{
	w->why = why;
	return -1;
}

/* The code point at p into *cp, and its length in bytes; 0 if it is no UTF-8 (RFC 3629). */
static size_t
utf8_get(const char *p, size_t len, uint32_t *cp)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char lead = (unsigned char)*p;
	uint32_t c;
	size_t i, n;

	n = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 :
	    lead >> 3 == 30 ? 4 : 0;
	if (n == 0 || n > len)
		return 0;
	c = n == 1 ? lead : lead & 0x7fU >> n;
	for (i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*cp = c;
	return n;
}

static size_t
utf8_put(char out[4], uint32_t cp)
{
	static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t i, n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

	for (i = n - 1; i > 0; i--) {
		out[i] = (char)(0x80 | (cp & 0x3f));
		cp >>= 6;
	}
	out[0] = (char)(lead[n] | cp);
	return n;
}

/* The code unit of the \uXXXX at p, or -1. */
static long
unit(const char *p, const char *end)
{
	long u = 0;
	int i;

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (i = 2; i < 6; i++) {
		if (p[i] >= '0' && p[i] <= '9')
			u = u << 4 | (p[i] - '0');
		else if (p[i] >= 'a' && p[i] <= 'f')
			u = u << 4 | (p[i] - 'a' + 10);
		else if (p[i] >= 'A' && p[i] <= 'F')
			u = u << 4 | (p[i] - 'A' + 10);
		else
			return -1;
	}
	return u;
}

/*
 * The character of a string at p, escaped or not, into *cp. Returns what is
 * behind it, or NULL if no string may hold it. Not for p == end.
 */
static const char *
char_get(const char *p, const char *end, uint32_t *cp)
{
	static const char escape[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
	const char *e;
	long u, low;
	size_t n;

	if (*p == '"' || (unsigned char)*p < 0x20)
		return NULL;
	if (*p != '\\') {
		n = utf8_get(p, (size_t)(end - p), cp);
		return n > 0 ? p + n : NULL;
	}
	if (end - p < 2)
		return NULL;
	if (p[1] != 'u') {
		e = memchr(escape, p[1], sizeof(escape) - 1);
		if (e == NULL)
			return NULL;
		*cp = (uint32_t)meaning[e - escape];
		return p + 2;
	}
	u = unit(p, end);
	if (u == -1 || (u >= 0xdc00 && u <= 0xdfff))
		return NULL;
	*cp = (uint32_t)u;
	if (u < 0xd800 || u > 0xdbff)
		return p + 6;
	low = unit(p + 6, end);	/* section 7: beyond U+FFFF takes a pair */
	if (low < 0xdc00 || low > 0xdfff)
		return NULL;
	*cp = 0x10000 + ((uint32_t)(u - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
	return p + 12;
}

/* Behind the characters at p that stand for themselves. */
static const char *
plain(const char *p, const char *end)
{
	while (p < end && *p >= ' ' && *p <= '~' && *p != '"' && *p != '\\')
		p++;
	return p;
}

static int
string_ok(const char *p, const char *end)
{
	uint32_t cp;

	while (p != NULL && (p = plain(p, end)) < end)
		p = char_get(p, end, &cp);
	return p != NULL;
}

/* Of what a well-formed string means (FNV-1a), so that names are compared only where they may be the same. */
static uint32_t
string_hash(const char *p, const char *end)
{
	uint32_t h = 2166136261u, cp = 0;

	while (p < end) {
		p = char_get(p, end, &cp);
		h = (h ^ cp) * 16777619u;
	}
	return h;
}

/* Do two well-formed strings mean the same? */
static int
string_same(const char *text, const struct json_node *a, const struct json_node *b)
{
	const char *p = text + a->start, *q = text + b->start;
	const char *pend = text + a->end, *qend = text + b->end;
	uint32_t x = 0, y = 0;

	while (p < pend && q < qend) {
		p = char_get(p, pend, &x);
		q = char_get(q, qend, &y);
		if (x != y)
			return 0;
	}
	return p == pend && q == qend;
}

static const char *
digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* Section 6: [-] int [frac] [exp], and nothing else up to end. */
static int
number_ok(const char *p, const char *end)
{
	const char *from;

	if (p < end && *p == '-')
		p++;
	from = p;
	p = digits(p, end);
	if (p == from || (*from == '0' && p - from > 1))
		return 0;
	if (p < end && *p == '.') {
		from = ++p;
		p = digits(p, end);
		if (p == from)
			return 0;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		from = p;
		p = digits(p, end);
		if (p == from)
			return 0;
	}
	return p == end;
}

static int
is_word(const char *p, const char *end, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(end - p) == len && memcmp(p, word, len) == 0;
}

static int
scalar_ok(const struct json_node *v, const char *text)
{
	const char *p = text + v->start, *end = text + v->end;

	switch (v->type) {
	case JSON_STRING:
		return string_ok(p, end);
	case JSON_NULL:
		return is_word(p, end, "null");
	case JSON_FALSE:
		return is_word(p, end, "false");
	case JSON_TRUE:
		return is_word(p, end, "true");
	default:
		return number_ok(p, end);
	}
}

static void
space(struct walk *w)
{
	while (w->pos < w->len && (w->text[w->pos] == ' ' || w->text[w->pos] == '\t' ||
	    w->text[w->pos] == '\n' || w->text[w->pos] == '\r'))
		w->pos++;
}

/* Is the next byte behind white space c? If so it is taken. */
static int
take(struct walk *w, char c)
{
	space(w);
	if (w->pos == w->len || w->text[w->pos] != c)
		return 0;
	w->pos++;
	return 1;
}

/* The node of the value that begins here, which jsmn must have seen here too. */
static struct json_node *
node_here(struct walk *w)
{
	struct json_node *v;

	space(w);
	if (w->i == w->n)
		return NULL;
	v = &w->node[w->i];
	if (w->pos + (v->type == JSON_STRING) != v->start)
		return NULL;
	w->i++;
	return v;
}

static int
scalar(struct walk *w, const struct json_node *v)
{
	if (!scalar_ok(v, w->text))
		return bad(w, v->type == JSON_STRING ? "bad string" :
		    v->type == JSON_NUMBER ? "bad number" : "bad word");
	w->pos = v->end + (v->type == JSON_STRING);	/* behind its quote */
	return 0;
}

/* A member's name and colon; the object's earlier members begin behind obj. */
static int
member_name(struct walk *w, const struct json_node *obj)
{
	struct json_node *v = node_here(w);
	const struct json_node *m;

	if (v == NULL || v->type != JSON_STRING)
		return bad(w, "member's name expected");
	if (v->end - v->start > JSON_NAME_MAX)
		return bad(w, "member's name too long");
	if (scalar(w, v) == -1)
		return -1;
	v->size = string_hash(w->text + v->start, w->text + v->end);	/* until the object ends: no string has a size */
	for (m = obj + 1; m != v; m = &w->node[m[1].next])
		if (m->size == v->size && string_same(w->text, m, v))
			return bad(w, "duplicate member");
	if (!take(w, ':'))
		return bad(w, "colon expected");
	return 0;
}

static void
forget_hashes(struct walk *w, struct json_node *obj)
{
	struct json_node *m;

	for (m = obj + 1; m != &w->node[w->i]; m = &w->node[m[1].next])
		m->size = 0;
}

/* One value with all inside it. Recursion ends at JSON_DEPTH_MAX. */
static int
value(struct walk *w, int depth)
{
	struct json_node *v = node_here(w);
	char close;

	if (v == NULL)
		return bad(w, "value expected");
	if (v->type != JSON_ARRAY && v->type != JSON_OBJECT)
		return scalar(w, v);
	if (depth == JSON_DEPTH_MAX)
		return bad(w, "too deep");
	close = v->type == JSON_OBJECT ? '}' : ']';
	w->pos++;
	if (!take(w, close)) {
		do {
			if (v->type == JSON_OBJECT && member_name(w, v) == -1)
				return -1;
			if (value(w, depth + 1) == -1)
				return -1;
			v->size++;
		} while (take(w, ','));
		if (!take(w, close))
			return bad(w, "comma or closing bracket expected");
	}
	if (w->pos != v->end)
		return bad(w, "brackets do not match");
	if (v->type == JSON_OBJECT)
		forget_hashes(w, v);
	v->next = (uint32_t)w->i;
	return 0;
}

static enum json_type
type_of(const jsmntok_t *t, char first)
{
	switch (t->type) {
	case JSMN_OBJECT:
		return JSON_OBJECT;
	case JSMN_ARRAY:
		return JSON_ARRAY;
	case JSMN_STRING:
		return JSON_STRING;
	default:
		return first == 'n' ? JSON_NULL : first == 'f' ? JSON_FALSE :
		    first == 't' ? JSON_TRUE : JSON_NUMBER;
	}
}

/* Turn jsmn's tokens into nodes in place; by memcpy, for one memory cannot have two types. */
static void
adopt(struct json_node *node, size_t n, const char *text)
{
	struct json_node v;
	jsmntok_t t;
	size_t i;

	for (i = 0; i < n; i++) {
		memcpy(&t, &node[i], sizeof(t));
		v.type = type_of(&t, text[t.start]);
		v.start = (uint32_t)t.start;
		v.end = (uint32_t)t.end;
		v.size = 0;
		v.next = (uint32_t)i + 1;
		memcpy(&node[i], &v, sizeof(v));
	}
}

int
json_parse(struct json *j, struct json_node *node, size_t max,
    const char *text, size_t len, const char **why)
{
	struct walk w = { .text = text, .node = node, .len = len };
	jsmn_parser parser;
	int n = JSMN_ERROR_NOMEM;

	j->text = text;
	j->node = node;
	j->n = 0;
	*why = "too long";
	if (len > INT_MAX)	/* jsmn counts in int */
		return -1;
	if (max > INT_MAX)
		max = INT_MAX;
	jsmn_init(&parser);
	if (max > 0)
		n = jsmn_parse(&parser, text, len, (jsmntok_t *)(void *)node,
		    (unsigned)max);
	*why = n == JSMN_ERROR_NOMEM ? "too many values" :
	    n == JSMN_ERROR_PART ? "cut short" : "not JSON";
	if (n < 0)
		return -1;
	w.n = (size_t)n;
	adopt(node, w.n, text);
	if (value(&w, 0) == -1) {
		*why = w.why;
		return -1;
	}
	space(&w);
	*why = "text behind the value";
	if (w.pos != len || w.i != w.n)
		return -1;
	j->n = w.n;
	return 0;
}

/* Is the string at v, unescaped, these len bytes? */
static int
string_is(const char *text, const struct json_node *v, const char *s, size_t len)
{
	const char *p = text + v->start, *end = text + v->end;
	char utf8[4];
	uint32_t cp;
	size_t n;

	for (; p < end; s += n, len -= n) {
		p = char_get(p, end, &cp);
		n = utf8_put(utf8, cp);
		if (n > len || memcmp(utf8, s, n) != 0)
			return 0;
	}
	return len == 0;
}

size_t
json_member(const struct json *j, size_t obj, const char *name)
{
	size_t i, len = strlen(name);

	if (obj >= j->n || j->node[obj].type != JSON_OBJECT)
		return 0;
	for (i = obj + 1; i < j->node[obj].next; i = j->node[i + 1].next)
		if (string_is(j->text, &j->node[i], name, len))
			return i + 1;
	return 0;
}

size_t
json_first(const struct json *j, size_t i)
{
	return i < j->n && j->node[i].size > 0 ? i + 1 : 0;
}

long
json_unescape(const struct json *j, size_t i, char *out, size_t cap)
{
	const char *p, *end;
	struct buf b;
	char utf8[4];
	uint32_t cp;

	if (i >= j->n || j->node[i].type != JSON_STRING || cap == 0)
		return -1;
	buf_init(&b, out, cap - 1);
	end = j->text + j->node[i].end;
	for (p = j->text + j->node[i].start; p < end;) {
		p = char_get(p, end, &cp);
		buf_put(&b, utf8, utf8_put(utf8, cp));
	}
	out[b.len] = '\0';
	return b.full ? -1 : (long)b.len;
}

/* The member's value, or NULL if there is none or it is null. */
static const struct json_node *
member(const struct json *j, size_t obj, const char *name)
{
	size_t i = json_member(j, obj, name);

	return i == 0 || j->node[i].type == JSON_NULL ? NULL : &j->node[i];
}

int
json_get_str(const struct json *j, size_t obj, const char *name, char *out, size_t cap)
{
	const struct json_node *v = member(j, obj, name);
	long len;

	if (v == NULL)
		return 0;
	len = json_unescape(j, (size_t)(v - j->node), out, cap);
	if (len == -1 || memchr(out, '\0', (size_t)len) != NULL)
		return -1;
	return 1;
}

int
json_get_int(const struct json *j, size_t obj, const char *name,
    int64_t min, int64_t max, int64_t *out)
{
	const struct json_node *v = member(j, obj, name);
	const char *p, *end;
	int64_t n = 0;
	int neg, d;

	if (v == NULL)
		return 0;
	if (v->type != JSON_NUMBER)
		return -1;
	p = j->text + v->start;
	end = j->text + v->end;
	neg = *p == '-';
	for (p += neg; p < end; p++) {
		if (*p < '0' || *p > '9')	/* a fraction or an exponent */
			return -1;
		d = *p - '0';
		if (neg ? n < (INT64_MIN + d) / 10 : n > (INT64_MAX - d) / 10)
			return -1;
		n = n * 10 + (neg ? -d : d);
	}
	if (n < min || n > max)
		return -1;
	*out = n;
	return 1;
}

int
json_get_bool(const struct json *j, size_t obj, const char *name, int *out)
{
	const struct json_node *v = member(j, obj, name);

	if (v == NULL)
		return 0;
	if (v->type != JSON_TRUE && v->type != JSON_FALSE)
		return -1;
	*out = v->type == JSON_TRUE;
	return 1;
}

/* \uXXXX, for what is below U+10000. */
static void
put_unit(struct buf *b, uint32_t u)
{
	uint8_t two[2] = { (uint8_t)(u >> 8), (uint8_t)u };

	buf_str(b, "\\u");
	buf_hex(b, two, sizeof(two));
}

static void
put_char(struct buf *b, uint32_t cp, const char *utf8, size_t n)
{
	static const char special[] = "\"\\\b\f\n\r\t", escape[] = "\"\\bfnrt";
	const char *e = NULL;

	if (cp < 0x80)
		e = memchr(special, (int)cp, sizeof(special) - 1);
	if (e != NULL) {
		buf_char(b, '\\');
		buf_char(b, escape[e - special]);
	} else if (cp < 0x20 || cp == 0x7f || cp == 0x2028 || cp == 0x2029)
		put_unit(b, cp);	/* the last two end a line in JavaScript */
	else
		buf_put(b, utf8, n);
}

void
json_put_str(struct buf *b, const char *s, size_t len)
{
	uint32_t cp;
	size_t n;

	buf_char(b, '"');
	for (; len > 0; s += n, len -= n) {
		for (n = 0; n < len && s[n] >= ' ' && s[n] < 0x7f && s[n] != '"' && s[n] != '\\'; n++)
			;
		if (n > 0) {
			buf_put(b, s, n);
			continue;
		}
		n = utf8_get(s, len, &cp);
		if (n > 0)
			put_char(b, cp, s, n);
		else {
			buf_str(b, "\xef\xbf\xbd");	/* U+FFFD */
			n = 1;
		}
	}
	buf_char(b, '"');
}

void
json_put_name(struct buf *b, const char *name)
{
	if (b->len == 0 || b->p[b->len - 1] != '{')
		buf_char(b, ',');
	json_put_str(b, name, strlen(name));
	buf_char(b, ':');
}

void
json_put_member(struct buf *b, const char *name, const char *value)
{
	json_put_name(b, name);
	json_put_str(b, value, strlen(value));
}
