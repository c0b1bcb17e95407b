/* json_test.c: what is JSON and what only looks like it, reading by name, writing. */
#include "../json.h"
#include "test.h"

#define S(s) s, sizeof(s) - 1
#define D16(s) s s s s s s s s s s s s s s s s

static const struct { const char *in; size_t len; } valid[] = {
	{ S("{}") }, { S("[]") }, { S(" [ ] ") }, { S("\t\r\n{ }\n") },
	{ S("0") }, { S("-0") }, { S("1") }, { S("-1") }, { S(" 123 ") }, { S("1.0") }, { S("0.5") },
	{ S("-0.0") }, { S("1e1") }, { S("1E1") }, { S("1e+1") }, { S("1e-1") }, { S("0e0") },
	{ S("1.5e300") }, { S("123456789012345678901234567890") }, { S("1e999999") },
	{ S("-123.456E-07") }, { S("0e+00") },
	{ S("true") }, { S("false") }, { S("null") }, { S("\"\"") }, { S("\"a\"") }, { S(" \"a\" ") },
	{ S("[1]") }, { S("[1,2]") }, { S("[ 1 , 2 ]") }, { S("[[],{}]") }, { S("[[[]]]") },
	{ S("[true,false,null]") }, { S("[\"a\",\"b\"]") }, { S("[0,0]") },
	{ S("{\"a\":1}") }, { S("{\"a\":1,\"b\":2}") }, { S("{ \"a\" : 1 , \"b\" : [ ] }") },
	{ S("{\"\":0}") }, { S("{\"a\":{\"a\":{\"a\":1}}}") }, { S("[{\"a\":1},{\"a\":1}]") },
	{ S("{\"a\":\"b\",\"b\":\"a\"}") }, { S("{\"a\":null,\"A\":null}") },
	{ S("{\"\\u0000\":0,\"\":1}") }, { S("{\"a\":{},\"b\":{}}") }, { S("{\"a\":[1,{\"b\":[]}]}") },
	{ S("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"") }, { S("\"\\u0041\\u00e9\\u20AC\\uaBcD\"") },
	{ S("\"\\ud834\\udd1e\"") }, { S("\"\\uDBFF\\uDFFF\"") }, { S("\"\\uD800\\uDC00\"") },
	{ S("\"\\u0000\"") }, { S("\"\\ud7ff\\ue000\\uffff\"") }, { S("\"\\\\u0041\"") },
	{ S("\"\x7f\"") }, { S("\"\xc2\x80\"") }, { S("\"\xdf\xbf\"") }, { S("\"\xe0\xa0\x80\"") },
	{ S("\"\xed\x9f\xbf\"") }, { S("\"\xee\x80\x80\"") }, { S("\"\xef\xbf\xbf\"") },
	{ S("\"\xf0\x90\x80\x80\"") }, { S("\"\xf4\x8f\xbf\xbf\"") },
	{ S("\"\xe2\x80\xa8\xe2\x80\xa9\"") }, { S("\"[{,:}]\"") }, { S("\"/*\"") },
	{ S(D16("[") D16("]")) }, { S(D16("[") "1" D16("]")) },
	{ S(D16("{\"a\":") "1" D16("}")) },
};

static const struct { const char *in; size_t len; } invalid[] = {
	{ S("") }, { S(" ") }, { S("\0") }, { S("\n") },
	/* structure */
	{ S("[") }, { S("]") }, { S("{") }, { S("}") }, { S(",") }, { S(":") }, { S("[}") }, { S("{]") },
	{ S("[]]") }, { S("[[]") }, { S("{}}") }, { S("[][]") }, { S("{}{}") }, { S("[]{}") },
	{ S("1 2") }, { S("1,2") }, { S("[],") }, { S(",[]") }, { S("[]:") }, { S("\"a\"\"b\"") },
	{ S("{}:]") }, { S("{}:}") }, { S("[]#") }, { S("[] x") }, { S("null null") }, { S("\"a\":1") },
	{ S("[,]") }, { S("[1,]") }, { S("[,1]") }, { S("[1,,2]") }, { S("[1 2]") }, { S("[1:2]") },
	{ S("[\"a\" \"b\"]") }, { S("[\"a\":1]") }, { S("[\"a\",:1]") }, { S("[[]\"a\"]") },
	{ S("[[] []]") }, { S("[1[]]") }, { S("[{}1]") }, { S("[,,]") }, { S("[ , 1]") }, { S("[1;2]") },
	{ S("{,}") }, { S("{\"a\"}") }, { S("{\"a\":}") }, { S("{\"a\",}") }, { S("{\"a\" 1}") },
	{ S("{\"a\":1,}") }, { S("{,\"a\":1}") }, { S("{\"a\":1,,\"b\":2}") }, { S("{\"a\":1 \"b\":2}") },
	{ S("{\"a\"::1}") }, { S("{:\"a\":1}") }, { S("{:1}") }, { S("{1:1}") }, { S("{null:1}") },
	{ S("{[]:1}") }, { S("{{}:1}") }, { S("{a:1}") }, { S("{'a':1}") }, { S("{\"a\":1:2}") },
	{ S("{\"a\":\"b\":\"c\"}") }, { S("{\"a\",\"b\"}") }, { S("{\"a\",1}") }, { S("{\"a\":1,\"b\"}") },
	{ S("{\"a\":1 2}") }, { S("{\"a\":[}]") }, { S("{\"a\":1]") }, { S("[{\"a\":1]}") },
	{ S("{\"a\":1:\"b\":2}") }, { S("{\"a\" \"b\"}") }, { S("{\"a\"\"b\":1}") }, { S("{1}") },
	{ S("{\"a\":{}[]}") }, { S("{\"a\":1,2}") }, { S("{\"a\":1,\"b\":2,3:4}") }, { S("{\"a\":,}") },
	/* words */
	{ S("nul") }, { S("nulll") }, { S("Null") }, { S("NULL") }, { S("tru") }, { S("True") }, { S("TRUE") },
	{ S("fals") }, { S("falsee") }, { S("n") }, { S("t") }, { S("f") }, { S("[nul]") }, { S("[truefalse]") },
	{ S("[true false]") }, { S("undefined") }, { S("NaN") }, { S("nan") }, { S("Infinity") },
	{ S("-Infinity") }, { S("[x]") }, { S("abc") }, { S("'a'") }, { S("[a,b]") }, { S("[*]") },
	{ S("//\n1") }, { S("1//") }, { S("/**/1") }, { S("[1/**/]") }, { S("{\"a\":1}#") }, { S("true\"a\"") },
	/* numbers */
	{ S("01") }, { S("-01") }, { S("00") }, { S("-00") }, { S("1.") }, { S(".1") }, { S("-.1") },
	{ S("-") }, { S("--1") }, { S("+1") }, { S("+") }, { S("1e") }, { S("1e+") }, { S("1e-") },
	{ S("1E") }, { S("e1") }, { S("1.e1") }, { S("1.0e") }, { S("1e1.0") }, { S("1e1e1") },
	{ S("1.2.3") }, { S("1..2") }, { S("0x1") }, { S("0X1F") }, { S("1_000") }, { S("1,000") },
	{ S("- 1") }, { S("1 .0") }, { S("1a") }, { S("-a") }, { S("1-2") }, { S("1+2") }, { S("0e") },
	{ S("[01]") }, { S("[1.]") }, { S("[-]") }, { S("[+1]") }, { S("[1e]") }, { S("1.0f") }, { S("1\"\"") },
	{ S("1\0") }, { S("1\x7f") }, { S("\xef\xbc\x91") }, { S("012e1") }, { S("2.e+3") }, { S("0.e1") },
	/* strings */
	{ S("\"") }, { S("\"a") }, { S("a\"") }, { S("\"\\\"") }, { S("\"\\") }, { S("\"\"\"") },
	{ S("\"\\a\"") }, { S("\"\\x41\"") }, { S("\"\\'\"") }, { S("\"\\0\"") }, { S("\"\\U0041\"") },
	{ S("\"\\v\"") }, { S("\"\\ \"") }, { S("\"\\\n\"") }, { S("\"\\\0\"") }, { S("\"\\\xc3\xa9\"") },
	{ S("\"\\u\"") }, { S("\"\\u1\"") }, { S("\"\\u12\"") }, { S("\"\\u123\"") }, { S("\"\\u123g\"") },
	{ S("\"\\u 123\"") }, { S("\"\\u+123\"") }, { S("\"\\u-123\"") }, { S("\"\\u00\0\"") },
	{ S("\"\x01\"") }, { S("\"\x1f\"") }, { S("\"\n\"") }, { S("\"\t\"") }, { S("\"\r\"") }, { S("\"\0\"") },
	{ S("[\"a\0b\"]") }, { S("{\"\t\":1}") },
	{ S("\"\\ud800\"") }, { S("\"\\udbff\"") }, { S("\"\\udc00\"") }, { S("\"\\udfff\"") },
	{ S("\"\\ud800a\"") }, { S("\"\\ud800\\n\"") }, { S("\"\\ud800\\ud800\"") },
	{ S("\"\\udc00\\ud800\"") }, { S("\"\\ud800\\u0041\"") }, { S("\"\\ud800\\udbff\"") },
	{ S("\"\\ud800\\ue000\"") }, { S("\"\\ud800\\udc0\"") }, { S("\"\\ud800\\\"") },
	{ S("\"\\ud834\\udd1e\\udd1e\"") }, { S("{\"\\ud800\":1}") },
	/* UTF-8, RFC 3629 */
	{ S("\"\x80\"") }, { S("\"\xbf\"") }, { S("\"\xc2\"") }, { S("\"\xc2 \"") }, { S("\"\xc2\xc2\"") },
	{ S("\"\xc0\x80\"") }, { S("\"\xc0\xaf\"") }, { S("\"\xc1\xbf\"") }, { S("\"\xe0\x80\x80\"") },
	{ S("\"\xe0\x9f\xbf\"") }, { S("\"\xf0\x80\x80\x80\"") }, { S("\"\xf0\x8f\xbf\xbf\"") },
	{ S("\"\xed\xa0\x80\"") }, { S("\"\xed\xbf\xbf\"") }, { S("\"\xed\xa0\x80\xed\xb0\x80\"") },
	{ S("\"\xf4\x90\x80\x80\"") }, { S("\"\xf5\x80\x80\x80\"") }, { S("\"\xf8\x88\x80\x80\x80\"") },
	{ S("\"\xfe\"") }, { S("\"\xff\"") }, { S("\"\xe2\x82\"") }, { S("\"\xf0\x9f\x98\"") },
	{ S("\"\xe9\"") }, { S("{\"\xff\":1}") }, { S("\xef\xbb\xbf{}") }, { S("\xff\xfe{\0}\0") },
	/* white space that is none here */
	{ S("\x0c[]") }, { S("[\x0b]") }, { S("[\xc2\xa0]") }, { S("\xe2\x81\xa0[]") }, { S("[]\0") },
	{ S("{\"a\":1}\0") }, { S("{\"a\":1}\0{}") }, { S("[1\0]") }, { S("[1,\0 2]") },
	/* duplicates */
	{ S("{\"a\":1,\"a\":1}") }, { S("{\"a\":1,\"b\":2,\"a\":3}") }, { S("{\"a\":1,\"\\u0061\":1}") },
	{ S("{\"\\u0061\":1,\"a\":1}") }, { S("{\"\":1,\"\":2}") }, { S("{\"/\":1,\"\\/\":2}") },
	{ S("{\"\\n\":1,\"\\u000a\":2}") }, { S("{\"\\u000A\":1,\"\\u000a\":2}") },
	{ S("{\"\xc3\xa9\":1,\"\\u00e9\":2}") }, { S("{\"\xf0\x9d\x84\x9e\":1,\"\\ud834\\udd1e\":2}") },
	{ S("{\"a\":{\"b\":[1,{}]},\"c\":2,\"a\":3}") }, { S("[{\"x\":{\"a\":1,\"a\":1}}]") },
	{ S("{\"b\":[{},[],{\"q\":0}],\"a\":1,\"a\":{}}") },
	/* depth */
	{ S(D16("[") "[]" D16("]")) }, { S(D16("[") "{}" D16("]")) },
	{ S(D16("{\"a\":") "[]" D16("}")) },
};

enum { NODES = 256 };

static int
parse(struct json *j, const char *text, size_t len)
{
	const char *why = NULL;
	int rc;

	free(j->node);
	j->node = malloc(NODES * sizeof(*j->node));
	if (j->node == NULL)
		abort();
	memset(j->node, 0xa5, NODES * sizeof(*j->node));
	rc = json_parse(j, j->node, NODES, text, len, &why);
	if (rc == -1 && (why == NULL || j->n != 0))
		return -2;
	return rc;
}

/* Each cut of a document that ends with its bracket or quote is refused. */
static void
test_cuts(struct json *j, const char *in, size_t len)
{
	size_t n, end = len;
	char *p;

	while (end > 0 && strchr(" \t\r\n", in[end - 1]) != NULL)
		end--;
	if (strchr("]}\"", in[end - 1]) == NULL)
		return;
	for (n = 0; n < len; n++) {
		p = exact(in, n);
		check(parse(j, p, n) == (n < end ? -1 : 0), in, n);
		free(p);
	}
}

static void
test_tables(struct json *j)
{
	char *p;
	size_t i;

	for (i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
		p = exact(valid[i].in, valid[i].len);
		check(parse(j, p, valid[i].len) == 0, valid[i].in, i);
		check(j->n > 0 && j->node[0].next == j->n, valid[i].in, i);
		free(p);
		test_cuts(j, valid[i].in, valid[i].len);
	}
	for (i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
		p = exact(invalid[i].in, invalid[i].len);
		check(parse(j, p, invalid[i].len) == -1, invalid[i].in, i);
		free(p);
	}
}

/* A document with every sort of value, one byte of it replaced by each other byte. */
static void
test_bytes(struct json *j)
{
	static const char doc[] =
	    "{\"a\":[1,-2.5e+3,{}],\"b\\u0041\\ud834\\udd1e\":{\"c\":null,\"d\":\"\xc3\xa9\"},"
	    " \"e\":[true,false,\"\"]}";
	size_t i, len = sizeof(doc) - 1;
	char *p;
	int c, rc;

	test_cuts(j, doc, len);
	for (i = 0; i < len; i++)
		for (c = 0; c < 256; c++) {
			p = exact(doc, len);
			p[i] = (char)c;
			rc = parse(j, p, len);
			check(rc == 0 || rc == -1, "answers", i);
			check(rc == -1 || j->node[0].next == j->n, "counts", i);
			free(p);
		}
}

static void
test_limits(void)
{
	static const char doc[] = "{\"a\":[1,2],\"b\":{}}";	/* seven values */
	struct json j;
	struct json_node *node;
	char doc2[JSON_NAME_MAX + 10];
	const char *why;
	size_t max;

	for (max = 0; max < 9; max++) {
		node = malloc(max > 0 ? max * sizeof(*node) : 1);
		if (node == NULL)
			abort();
		why = "";
		if (json_parse(&j, node, max, doc, sizeof(doc) - 1, &why) == 0)
			check(max >= 7 && j.n == 7, "fits", max);
		else
			check(max < 7 && strcmp(why, "too many values") == 0, "too many", max);
		free(node);
	}
	node = malloc(40 * sizeof(*node));
	if (node == NULL)
		abort();
	check(json_parse(&j, node, 40, S(D16("[") "[]" D16("]")), &why) == -1 &&
	    strcmp(why, "too deep") == 0, "too deep", 0);
	check(json_parse(&j, node, 40, S("{\"a\":1,\"\\u0061\":2}"), &why) == -1 &&
	    strcmp(why, "duplicate member") == 0, "duplicate", 0);
	check(json_parse(&j, node, 40, S("{\"a\":{\"a\":1},\"b\":2}"), &why) == 0 && json_first(&j, 1) == 0 && json_first(&j, 3) == 0,
	    "a name is no container", 0);
	for (max = JSON_NAME_MAX - 1; max < JSON_NAME_MAX + 2; max++) {
		doc2[0] = '{';
		doc2[1] = '"';
		memset(doc2 + 2, 'n', max);
		memcpy(doc2 + 2 + max, "\":1}", 4);
		check(json_parse(&j, node, 40, doc2, max + 6, &why) == (max <= JSON_NAME_MAX ? 0 : -1), "a name so long", max);
	}
	check(json_parse(&j, node, 40, "", (size_t)1 << 31, &why) == -1 &&
	    strcmp(why, "too long") == 0, "too long", 0);
	free(node);
}

static void
test_tree(struct json *j)
{
	static const char doc[] = "{\"a\":[1,[2],{\"x\":3}],\"b\":\"s\",\"c\":{}}";
	static const int sizes[] = { 3, 0, 3, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0 };
	static const size_t next[] = { 13, 2, 9, 4, 6, 6, 9, 8, 9, 10, 11, 12, 13 };
	size_t i, a;

	check(parse(j, S(doc)) == 0 && j->n == 13, doc, 0);
	for (i = 0; i < j->n && i < 13; i++)
		check(j->node[i].size == (uint32_t)sizes[i] && j->node[i].next == next[i], doc, i);
	a = json_member(j, 0, "a");
	check(a == 2 && j->node[a].type == JSON_ARRAY, "array", a);
	check(json_first(j, a) == 3 && json_first(j, 0) == 1, "first", 0);
	check(json_first(j, json_member(j, 0, "c")) == 0, "first of none", 0);
	check(json_first(j, 3) == 0 && json_first(j, 99) == 0, "no container", 0);
	check(json_member(j, 6, "x") == 8, "inner member", 0);
	check(json_member(j, 0, "x") == 0, "not of an inner object", 0);
	check(json_member(j, 0, "s") == 0, "a value is no name", 0);
	check(json_member(j, a, "a") == 0 && json_member(j, 1, "a") == 0, "no object", 0);
	check(json_member(j, 99, "a") == 0, "no such node", 0);
	check(memcmp(j->text + j->node[a].start, "[1,[2],{\"x\":3}]",
	    j->node[a].end - j->node[a].start) == 0, "its text", 0);
}

static void
test_strings(struct json *j)
{
	static const char doc[] =
	    "{\"a\":\"hello\",\"\\u0062\":\"x\\ny\",\"n\":null,\"i\":1,\"z\":\"a\\u0000b\","
	    "\"\\u00e9\":\"\\ud834\\udd1e\xe2\x82\xac\\u20ac\\u00DF\",\"\":\"\",\"q\\\"\":\"e\","
	    "\"y\\u0000y\":\"nul\",\"ab\":\"p\"}";
	char *out = malloc(6);
	char big[64];
	size_t cap;

	if (out == NULL)
		abort();
	check(parse(j, S(doc)) == 0, doc, 0);
	check(json_get_str(j, 0, "a", out, 6) == 1 && strcmp(out, "hello") == 0, "fits", 6);
	for (cap = 0; cap < 6; cap++)
		check(json_get_str(j, 0, "a", out, cap) == -1, "does not fit", cap);
	free(out);
	check(json_get_str(j, 0, "b", big, sizeof(big)) == 1 && strcmp(big, "x\ny") == 0, "escaped name", 0);
	check(json_get_str(j, 0, "n", big, sizeof(big)) == 0, "null", 0);
	check(json_get_str(j, 0, "none", big, sizeof(big)) == 0, "none", 0);
	check(json_get_str(j, 0, "i", big, sizeof(big)) == -1, "no string", 0);
	check(json_get_str(j, 0, "z", big, sizeof(big)) == -1, "NUL inside", 0);
	check(json_unescape(j, json_member(j, 0, "z"), big, sizeof(big)) == 3 &&
	    memcmp(big, "a\0b", 4) == 0, "NUL unescaped", 0);
	check(json_get_str(j, 0, "\xc3\xa9", big, sizeof(big)) == 1 &&
	    strcmp(big, "\xf0\x9d\x84\x9e\xe2\x82\xac\xe2\x82\xac\xc3\x9f") == 0, "beyond ASCII", 0);
	check(json_get_str(j, 0, "", big, 1) == 1 && big[0] == '\0', "empty", 0);
	check(json_get_str(j, 0, "q\"", big, sizeof(big)) == 1, "quote in a name", 0);
	check(json_get_str(j, 0, "q\\\"", big, sizeof(big)) == 0, "no escapes in what we ask", 0);
	check(json_get_str(j, 0, "y", big, sizeof(big)) == 0, "NUL ends no name", 0);
	check(json_get_str(j, 0, "ab", big, sizeof(big)) == 1 && strcmp(big, "p") == 0, "not a", 0);
	check(json_unescape(j, 0, big, sizeof(big)) == -1, "object", 0);
	check(json_unescape(j, 999, big, sizeof(big)) == -1, "no such node", 0);
}

static void
test_ints(struct json *j)
{
	static const struct { const char *in; int64_t min, max; int rc; int64_t want; } rows[] = {
		{ "0", 0, 0, 1, 0 }, { "-0", 0, 0, 1, 0 }, { "7", 1, 9, 1, 7 }, { "0", 1, 9, -1, 0 },
		{ "10", 1, 9, -1, 0 }, { "-7", -9, -1, 1, -7 }, { "-10", -9, -1, -1, 0 },
		{ "9223372036854775807", INT64_MIN, INT64_MAX, 1, INT64_MAX },
		{ "-9223372036854775808", INT64_MIN, INT64_MAX, 1, INT64_MIN },
		{ "-9223372036854775807", INT64_MIN, INT64_MAX, 1, -INT64_MAX },
		{ "9223372036854775808", INT64_MIN, INT64_MAX, -1, 0 },
		{ "-9223372036854775809", INT64_MIN, INT64_MAX, -1, 0 },
		{ "9223372036854775810", INT64_MIN, INT64_MAX, -1, 0 },
		{ "18446744073709551616", INT64_MIN, INT64_MAX, -1, 0 },
		{ "18446744073709551617", 0, 9, -1, 0 },
		{ "99999999999999999999999999", INT64_MIN, INT64_MAX, -1, 0 },
		{ "-99999999999999999999999999", INT64_MIN, INT64_MAX, -1, 0 },
		{ "1.0", 0, 9, -1, 0 }, { "1e0", 0, 9, -1, 0 }, { "1E2", 0, 999, -1, 0 },
		{ "\"1\"", 0, 9, -1, 0 }, { "true", 0, 9, -1, 0 }, { "[]", 0, 9, -1, 0 },
		{ "{}", 0, 9, -1, 0 }, { "null", 0, 9, 0, 0 },
	};
	char doc[64];
	int64_t n;
	size_t i;
	int rc;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(doc, sizeof(doc), "{\"v\":%s}", rows[i].in);
		check(parse(j, doc, strlen(doc)) == 0, doc, i);
		n = -42;
		rc = json_get_int(j, 0, "v", rows[i].min, rows[i].max, &n);
		check(rc == rows[i].rc && n == (rc == 1 ? rows[i].want : -42), doc, i);
	}
	check(json_get_int(j, 0, "w", 0, 9, &n) == 0, "no member", 0);
}

static void
test_bools(struct json *j)
{
	int v = -1;

	check(parse(j, S("{\"t\":true,\"f\":false,\"n\":null,\"s\":\"true\",\"i\":1}")) == 0, "bools", 0);
	check(json_get_bool(j, 0, "t", &v) == 1 && v == 1, "true", 0);
	check(json_get_bool(j, 0, "f", &v) == 1 && v == 0, "false", 0);
	check(json_get_bool(j, 0, "n", &v) == 0, "null", 0);
	check(json_get_bool(j, 0, "x", &v) == 0, "none", 0);
	check(json_get_bool(j, 0, "s", &v) == -1, "a string", 0);
	check(json_get_bool(j, 0, "i", &v) == -1, "a number", 0);
}

static const struct { const char *in; size_t len; const char *want; } written[] = {
	{ S(""), "\"\"" }, { S("abc"), "\"abc\"" }, { S("</script>&'"), "\"</script>&'\"" },
	{ S("\"\\/"), "\"\\\"\\\\/\"" }, { S("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"" },
	{ S("\0\1\x1f\x7f"), "\"\\u0000\\u0001\\u001f\\u007f\"" },
	{ S("\xc2\x80\xc3\xa9"), "\"\xc2\x80\xc3\xa9\"" },
	{ S("\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa"),
	    "\"\xe2\x80\xa7\\u2028\\u2029\xe2\x80\xaa\"" },
	{ S("\xf0\x9d\x84\x9e\xf4\x8f\xbf\xbf"), "\"\xf0\x9d\x84\x9e\xf4\x8f\xbf\xbf\"" },
	{ S("a\xff" "b"), "\"a\xef\xbf\xbd" "b\"" }, { S("\x80"), "\"\xef\xbf\xbd\"" },
	{ S("\xc3"), "\"\xef\xbf\xbd\"" }, { S("\xc3\""), "\"\xef\xbf\xbd\\\"\"" },
	{ S("\xc0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
	{ S("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
	{ S("\xe2\x82" "x"), "\"\xef\xbf\xbd\xef\xbf\xbd" "x\"" },
	{ S("\xf4\x90\x80\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
};

static void
test_writing(struct json *j)
{
	char out[128], back[64];
	struct buf b;
	char *in;
	size_t i;

	for (i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
		in = exact(written[i].in, written[i].len);
		buf_init(&b, out, sizeof(out));
		json_put_str(&b, in, written[i].len);
		check(!b.full && b.len == strlen(written[i].want) &&
		    memcmp(out, written[i].want, b.len) == 0, written[i].want, i);
		check(parse(j, out, b.len) == 0, "written, read", i);
		if (strstr(written[i].want, "\xef\xbf\xbd") == NULL)
			check(json_unescape(j, 0, back, sizeof(back)) == (long)written[i].len &&
			    memcmp(back, in, written[i].len) == 0, "round trip", i);
		free(in);
	}
	buf_init(&b, out, sizeof(out));
	buf_char(&b, '{');
	json_put_name(&b, "a");
	buf_char(&b, '{');
	json_put_name(&b, "b\"");
	json_put_str(&b, S("{"));
	json_put_name(&b, "c");
	buf_str(&b, "[]}");
	json_put_name(&b, "{");
	buf_str(&b, "1}");
	check(b.len == strlen("{\"a\":{\"b\\\"\":\"{\",\"c\":[]},\"{\":1}") &&
	    memcmp(out, "{\"a\":{\"b\\\"\":\"{\",\"c\":[]},\"{\":1}", b.len) == 0, "names", 0);
	check(parse(j, out, b.len) == 0, "names, read", 0);
	for (i = 0; i < 8; i++) {
		in = malloc(i > 0 ? i : 1);
		buf_init(&b, in, i);
		json_put_name(&b, "\n\x80");
		check(b.full && b.len == i, "no room", i);
		free(in);
	}
}

/* Each code point: as UTF-8 and as escape it reads the same, and it survives writing. */
static void
test_code_points(struct json *j)
{
	char doc[32], a[8], b[8], out[16];
	struct buf w;
	long n;
	unsigned cp;

	for (cp = 0; cp < 0x110000; cp += cp < 0x3000 || (cp >= 0xd700 && cp < 0xe100) ? 1 : 251) {
		if (cp < 0x10000)
			snprintf(doc, sizeof(doc), "\"\\u%04x\"", cp);
		else
			snprintf(doc, sizeof(doc), "\"\\u%04X\\u%04x\"",
			    0xd800 + ((cp - 0x10000) >> 10), 0xdc00 + (cp & 0x3ff));
		if (cp >= 0xd800 && cp < 0xe000) {
			check(parse(j, doc, strlen(doc)) == -1, "surrogate", cp);
			continue;
		}
		check(parse(j, doc, strlen(doc)) == 0, "escape", cp);
		n = json_unescape(j, 0, a, sizeof(a));
		buf_init(&w, out, sizeof(out));
		json_put_str(&w, a, (size_t)n);
		check(parse(j, out, w.len) == 0, "written", cp);
		check(json_unescape(j, 0, b, sizeof(b)) == n && memcmp(a, b, (size_t)n) == 0,
		    "same", cp);
	}
}

int
main(void)
{
	struct json j = { NULL, NULL, 0 };

	test_tables(&j);
	test_bytes(&j);
	test_limits();
	test_tree(&j);
	test_strings(&j);
	test_ints(&j);
	test_bools(&j);
	test_writing(&j);
	test_code_points(&j);
	free(j.node);
	return test_end();
}
