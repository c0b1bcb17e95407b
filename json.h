/*
 * json.h: JSON (RFC 8259) over jsmn: strict reading of members by name, and writing.
 * Pure; reads from the caller's text into the caller's memory.
 * jsmn alone takes broken documents; what json_parse accepts is valid JSON
 * within the limits: whole text used, UTF-8 valid, no duplicate member in
 * one object, escapes and numbers well-formed, no lone surrogate.
 */
#ifndef JSON_H
#define JSON_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum {
	JSON_DEPTH_MAX = 16,
	JSON_NAME_MAX = 128	/* bytes as written: each is compared with those before it, where their hashes agree */
};

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_node {		/* laid out as jsmn's token, whose place it takes */
	enum json_type type;
	uint32_t start, end;	/* the value's text in the document; a string's without quotes */
	uint32_t size;		/* members or elements */
	uint32_t next;		/* index of the node behind this value and all inside it */
};

struct json {
	const char *text;
	struct json_node *node;	/* the caller's; node[0] is the document's value */
	size_t n;		/* nodes used */
};

/*
 * Parse len bytes of text into node[0..max). An object member takes two
 * nodes: name, then value. 0, or -1 and *why a constant string ("too many
 * values" if max was the reason, "too deep", "duplicate member", …).
 */
int json_parse(struct json *j, struct json_node *node, size_t max,
    const char *text, size_t len, const char **why);

/* Index of the value of obj's member called name (compared after unescaping), or 0 if there is none or obj is no object. */
size_t json_member(const struct json *j, size_t obj, const char *name);

/*
 * Index of an array's or object's first value (a member: its name), 0 if
 * empty. The next: node[i].next, up to but not node[container].next.
 */
size_t json_first(const struct json *j, size_t i);

/*
 * A member of obj by name and type. 1 and the value; 0 if there is no such
 * member (or it is null); -1 if it is of another type or does not fit.
 */
/* Unescaped and NUL-terminated into out[cap]; a NUL inside is -1. */
int json_get_str(const struct json *j, size_t obj, const char *name, char *out, size_t cap);
/* A whole number (no fraction, no exponent) from min to max. */
int json_get_int(const struct json *j, size_t obj, const char *name, int64_t min, int64_t max, int64_t *out);
int json_get_bool(const struct json *j, size_t obj, const char *name, int *out);

/* Unescape the string at node i into out[cap], NUL-terminated. Its length, or -1 if it does not fit. */
long json_unescape(const struct json *j, size_t i, char *out, size_t cap);

/*
 * Write s as a JSON string with its quotes. Controls, quote and backslash are
 * escaped, as are U+2028, U+2029 and DEL; bytes that are no UTF-8 become
 * U+FFFD. Valid UTF-8 else passes as it is.
 */
void json_put_str(struct buf *b, const char *s, size_t len);

/* Write "name": and, unless this is the first member after '{', a comma before it. */
void json_put_name(struct buf *b, const char *name);

/* The two together: a member whose value is a string. */
void json_put_member(struct buf *b, const char *name, const char *value);

#endif
