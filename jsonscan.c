/* jsonscan.c: JSON of any size; see jsonscan.h. */
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "jsonscan.h"

static const char not_json[] = "not JSON", cut_short[] = "cut short", too_deep[] = "too deep";

static const char *
bad(struct jsonscan *s, const char *p)
{
	s->why = p == s->end ? cut_short : not_json;
	return NULL;
}

static const char *
space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

static int
hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* From behind the first quote to behind the last. */
static const char *
string(struct jsonscan *s, const char *p)
{
	int i;

	for (; p < s->end && *p != '"'; p++) {
		if ((unsigned char)*p < ' ')
			return bad(s, p);
		if (*p != '\\')
			continue;
		if (++p == s->end || memchr("\"\\/bfnrtu", *p, 9) == NULL)
			return bad(s, p);
		for (i = *p == 'u' ? 4 : 0; i > 0; i--)
			if (++p == s->end || hex(*p) == -1)
				return bad(s, p);
	}
	return p < s->end ? p + 1 : bad(s, p);
}

static const char *
digits(struct jsonscan *s, const char *p)
{
	if (p == s->end || *p < '0' || *p > '9')
		return bad(s, p);
	while (p < s->end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* Section 6: [-] int [frac] [exp]. */
static const char *
number(struct jsonscan *s, const char *p)
{
	p += *p == '-';
	if (p < s->end && *p == '0')
		p++;
	else if ((p = digits(s, p)) == NULL)
		return NULL;
	if (p < s->end && *p == '.' && (p = digits(s, p + 1)) == NULL)
		return NULL;
	if (p < s->end && (*p == 'e' || *p == 'E')) {
		p++;
		p += p < s->end && (*p == '+' || *p == '-');
		p = digits(s, p);
	}
	return p;
}

static const char *
word(struct jsonscan *s, const char *p, const char *text)
{
	for (; *text != '\0'; p++, text++)
		if (p == s->end || *p != *text)
			return bad(s, p);
	return p;
}

static const char *
scalar(struct jsonscan *s, const char *p)
{
	if (p == s->end)
		return bad(s, p);
	switch (*p) {
	case '"':
		return string(s, p + 1);
	case 'n':
		return word(s, p, "null");
	case 't':
		return word(s, p, "true");
	case 'f':
		return word(s, p, "false");
	default:
		return number(s, p);
	}
}

/* A member's name with its colon. *name: its inside. */
static const char *
member_name(struct jsonscan *s, const char *p, struct str *name)
{
	p = space(p, s->end);
	if (p == s->end || *p != '"')
		return bad(s, p);
	name->p = p + 1;
	if ((p = string(s, p + 1)) == NULL)
		return NULL;
	name->len = (size_t)(p - name->p) - 1;
	p = space(p, s->end);
	return p < s->end && *p == ':' ? p + 1 : bad(s, p);
}

/* A value and all that is in it: what is behind. Depth is a bit a level, not recursion: 1 for an object. */
static const char *
value_end(struct jsonscan *s, const char *p)
{
	uint8_t is_object[JSONSCAN_DEPTH_MAX / 8];
	struct str name;
	size_t depth = 0;
	int object;

	for (;;) {
		p = space(p, s->end);
		if (p < s->end && (*p == '{' || *p == '[')) {
			if (depth == JSONSCAN_DEPTH_MAX) {
				s->why = too_deep;
				return NULL;
			}
			object = *p == '{';
			if (depth % 8 == 0)
				is_object[depth / 8] = 0;
			is_object[depth / 8] = (uint8_t)((is_object[depth / 8] & ~(1U << depth % 8)) |
			    (unsigned)object << depth % 8);
			depth++;
			p = space(p + 1, s->end);
			if (p == s->end || *p != (object ? '}' : ']')) {
				if (object && (p = member_name(s, p, &name)) == NULL)
					return NULL;
				continue;
			}
		} else if ((p = scalar(s, p)) == NULL)
			return NULL;
		for (;;) {	/* behind a value, or at the end of an empty one */
			if (depth == 0)
				return p;
			object = is_object[(depth - 1) / 8] >> (depth - 1) % 8 & 1;
			p = space(p, s->end);
			if (p == s->end || (*p != ',' && *p != (object ? '}' : ']')))
				return bad(s, p);
			if (*p++ == ',')
				break;
			depth--;
		}
		if (object && (p = member_name(s, p, &name)) == NULL)
			return NULL;
	}
}

int
jsonscan_begin(struct jsonscan *s, struct str text, char open)
{
	s->end = text.p + text.len;
	s->p = space(text.p, s->end);
	s->close = open == '{' ? '}' : ']';
	s->begun = 0;
	s->why = "";
	if (s->p == s->end || *s->p != open)
		return -1;
	s->p++;
	return 0;
}

int
jsonscan_next(struct jsonscan *s, struct str *name, struct str *value)
{
	const char *p = space(s->p, s->end);

	if (p < s->end && *p == s->close) {
		s->p = p + 1;
		return 0;
	}
	if (s->begun && (p == s->end || *p++ != ',')) {
		bad(s, p == s->end ? p : p - 1);
		return -1;
	}
	s->begun = 1;
	if (s->close == '}' && (p = member_name(s, p, name)) == NULL)
		return -1;
	p = space(p, s->end);
	value->p = p;
	if ((p = value_end(s, p)) == NULL)
		return -1;
	value->len = (size_t)(p - value->p);
	s->p = p;
	return 1;
}

int
jsonscan_at_end(const struct jsonscan *s)
{
	return space(s->p, s->end) == s->end;
}

/* What a letter behind a backslash means. */
static int
meaning_of(char c)
{
	static const char escape[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";

	return meaning[strchr(escape, c) - escape];
}

/* The byte that the character at *p stands for, or -1. *p moves on. */
static int
byte(const char **p, const char *end)
{
	unsigned char c = (unsigned char)*(*p)++;

	if (c >= 0x80) {	/* RFC 3629: U+0080 to U+00FF are c2 80 to c3 bf */
		if (c < 0xc2 || c > 0xc3 || *p == end || (**p & 0xc0) != 0x80)
			return -1;
		return (c & 3) << 6 | (*(*p)++ & 0x3f);
	}
	if (c != '\\')
		return c;
	c = (unsigned char)*(*p)++;
	if (c != 'u')
		return meaning_of((char)c);
	*p += 4;
	return (*p)[-4] == '0' && (*p)[-3] == '0' ? hex((*p)[-2]) << 4 | hex((*p)[-1]) : -1;
}

long
jsonscan_latin1(struct str s, char *out, size_t cap)
{
	const char *p = s.p, *end = s.p + s.len;
	size_t n = 0;
	int c;

	while (p < end) {
		if ((c = byte(&p, end)) == -1 || n == cap || n == LONG_MAX)
			return -1;
		out[n++] = (char)c;
	}
	return (long)n;
}

/* The code unit that the four digits at p mean. */
static uint32_t
code_unit(const char *p)
{
	return (uint32_t)(hex(p[0]) << 12 | hex(p[1]) << 8 | hex(p[2]) << 4 | hex(p[3]));
}

/* The code point of the escape "u...." at *p, which moves on. */
static uint32_t
code_point(const char **p, const char *end)
{
	uint32_t c = code_unit(*p + 1), low;

	*p += 5;
	if (c < 0xd800 || c > 0xdfff)
		return c;
	if (c <= 0xdbff && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u' &&
	    (low = code_unit(*p + 2)) >= 0xdc00 && low <= 0xdfff) {
		*p += 6;
		return 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
	}
	return 0xfffd;
}

static size_t
put_utf8(char out[4], uint32_t c)
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, i;

	for (i = n - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(n == 1 ? c : (0xf0U << (4 - n) & 0xff) | c);
	return n;
}

long
jsonscan_utf8(struct str s, char *out, size_t cap)
{
	const char *p = s.p, *end = s.p + s.len;
	size_t n = 0, k;
	char text[4];

	while (p < end) {
		if (*p != '\\') {
			text[0] = *p++;
			k = 1;
		} else if (*++p == 'u')
			k = put_utf8(text, code_point(&p, end));
		else {
			text[0] = (char)meaning_of(*p++);
			k = 1;
		}
		if (k > cap - n || n > LONG_MAX - 4)
			return -1;
		memcpy(out + n, text, k);
		n += k;
	}
	return (long)n;
}
