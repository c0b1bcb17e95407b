/* JSON as JSON.parse takes it: jsonscan.h. */
#include "../jsonscan.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define S(s)	s, sizeof(s) - 1

/* One value, in an array. why: NULL if it is JSON. */
static const struct {
	const char *text;
	size_t len;
	const char *why;
} values[] = {
	{ S("null"), NULL }, { S("true"), NULL }, { S("false"), NULL }, { S("{}"), NULL }, { S("[]"), NULL }, { S("\"\""), NULL },
	{ S(" [ ] "), NULL }, { S("{ }"), NULL }, { S("[[],{},[{}]]"), NULL }, { S("{\"a\":{\"b\":[1,{\"c\":[]}]},\"d\":\"\"}"), NULL },
	{ S("\t\r\n 1 "), NULL }, { S("[1,2 , 3]"), NULL }, { S("{\"a\" : 1 , \"a\" : 2}"), NULL },
	/* numbers, section 6 */
	{ S("0"), NULL }, { S("-0"), NULL }, { S("10"), NULL }, { S("1.5"), NULL }, { S("0.0"), NULL }, { S("1e5"), NULL }, { S("1E+5"), NULL },
	{ S("-1.5e-05"), NULL }, { S("1e400"), NULL }, { S("01"), "not JSON" }, { S("00"), "not JSON" }, { S("-"), "not JSON" },
	{ S("+1"), "not JSON" }, { S(".5"), "not JSON" }, { S("1."), "not JSON" }, { S("1.e5"), "not JSON" }, { S("1e"), "not JSON" },
	{ S("1e+"), "not JSON" }, { S("0x1"), "not JSON" }, { S("1a"), "not JSON" }, { S("-a"), "not JSON" }, { S("NaN"), "not JSON" },
	{ S("Infinity"), "not JSON" }, { S("1 2"), "not JSON" }, { S("--1"), "not JSON" },
	/* words */
	{ S("nul"), "not JSON" }, { S("nulll"), "not JSON" }, { S("True"), "not JSON" }, { S("undefined"), "not JSON" }, { S("truefalse"), "not JSON" },
	/* strings, section 7 */
	{ S("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uABCD\\uabcd\""), NULL }, { S("\"\\ud800\""), NULL }, { S("\"\\udc00\\ud800\""), NULL },
	{ S("\"\x7f\xc3\xa9\xff\""), NULL }, { S("\"\\a\""), "not JSON" }, { S("\"\\u12g4\""), "not JSON" }, { S("\"\\u123\""), "not JSON" },
	{ S("\"\\U0041\""), "not JSON" }, { S("\"\t\""), "not JSON" }, { S("\"\0\""), "not JSON" }, { S("\"\x1f\""), "not JSON" }, { S("'a'"), "not JSON" },
	{ S("\"\\\0\""), "not JSON" },
	/* structure */
	{ S(""), "not JSON" }, { S(","), "not JSON" }, { S("[1,]"), "not JSON" }, { S("[,1]"), "not JSON" }, { S("[1 2]"), "not JSON" },
	{ S("[1}"), "not JSON" }, { S("{]"), "not JSON" }, { S("{\"a\"}"), "not JSON" }, { S("{\"a\":}"), "not JSON" }, { S("{\"a\":1,}"), "not JSON" },
	{ S("{,}"), "not JSON" }, { S("{a:1}"), "not JSON" }, { S("{1:1}"), "not JSON" }, { S("{\"a\" 1}"), "not JSON" }, { S("{\"a\"::1}"), "not JSON" },
	{ S("{\"a\":1 \"b\":2}"), "not JSON" }, { S("[]]"), NULL }, { S("{}}"), "not JSON" }, { S("/**/1"), "not JSON" }, { S("\xef\xbb\xbf" "1"), "not JSON" },
	{ S("\v1"), "not JSON" }, { S("\xc2\xa0" "1"), "not JSON" },
};

static const struct {
	const char *text;
	size_t len;
	const char *want;	/* NULL: no bytes */
	size_t n;
} strings[] = {
	{ S(""), S("") }, { S("abc"), S("abc") }, { S("\xc3\xa9\xc2\x80\xc3\xbf"), S("\xe9\x80\xff") },
	{ S("\\u00e9\\u00FF\\u0000"), S("\xe9\xff\0") }, { S("\\\"\\\\\\/\\b\\f\\n\\r\\t"), S("\"\\/\b\f\n\r\t") }, { S("\x7f"), S("\x7f") },
	{ S("\\u0100"), NULL, 0 }, { S("\\ud83d\\ude00"), NULL, 0 }, { S("\\ud800"), NULL, 0 }, { S("\xc4\x80"), NULL, 0 }, { S("\xe2\x82\xac"), NULL, 0 },
	{ S("\xc1\xbf"), NULL, 0 }, { S("\xc0\x80"), NULL, 0 }, { S("\x80"), NULL, 0 }, { S("\xff"), NULL, 0 }, { S("\xc3"), NULL, 0 }, { S("\xc3x"), NULL, 0 },
	{ S("\xc3\\u00a9"), NULL, 0 },
};

/* The elements of text: their number, or -1 and *why; -2: something stands behind. */
static int
elements(const char *text, size_t len, const char **why)
{
	struct str all = { text, len }, name, value;
	struct jsonscan s;
	int n = 0, rc;

	*why = "no array";
	if (jsonscan_begin(&s, all, '[') == -1)
		return -1;
	while ((rc = jsonscan_next(&s, &name, &value)) == 1) {
		check(value.p >= text && value.len > 0 && value.p + value.len <= text + len, text, (size_t)n);
		n++;
	}
	*why = s.why;
	return rc == -1 ? -1 : jsonscan_at_end(&s) ? n : -2;
}

static void
test_values(void)
{
	const char *why;
	char wrapped[200], *text;
	size_t i, n, len;
	int rc;

	for (i = 0; i < LEN(values); i++) {
		len = values[i].len + 2;
		wrapped[0] = '[';
		memcpy(wrapped + 1, values[i].text, values[i].len);
		wrapped[len - 1] = ']';
		for (n = 0; n <= len; n++) {
			text = exact(wrapped, n);
			rc = elements(text, n, &why);
			if (n == len && values[i].len == 0)
				check(rc == 0, "nothing", i);
			else if (n == len && strcmp(values[i].text, "[]]") == 0)
				check(rc == -2, values[i].text, i);
			else if (n == len && values[i].why == NULL)
				check(rc == 1, values[i].text, i);
			else if (n == len)
				check(rc < 0, values[i].text, i);
			else if (values[i].why == NULL && strcmp(values[i].text, "[]]") != 0)	/* a good one cut short */
				check(rc == -1 && strcmp(why, n == 0 ? "no array" : "cut short") == 0, values[i].text, n);
			free(text);
		}
	}
}

static void
test_strings(void)
{
	char *text, out[64];
	struct str s;
	size_t i;
	long n;

	for (i = 0; i < LEN(strings); i++) {
		text = exact(strings[i].text, strings[i].len);
		s.p = text;
		s.len = strings[i].len;
		n = jsonscan_latin1(s, out, sizeof(out));
		check(strings[i].want == NULL ? n == -1 : n == (long)strings[i].n && memcmp(out, strings[i].want, strings[i].n) == 0,
		    strings[i].text, i);
		check(strings[i].n == 0 || jsonscan_latin1(s, out, strings[i].n - 1) == -1, "no room", i);
		if (strings[i].want != NULL)	/* where it stands */
			check(jsonscan_latin1(s, text, s.len) == n && memcmp(text, strings[i].want, strings[i].n) == 0, "in place", i);
		free(text);
	}
}

static void
test_members(void)
{
	static const char text[] = " { \"a\" : 1 , \"b\\u0020\":[ {} ],\"\":\"x\" } ";
	static const struct { const char *name, *value; } want[] = { { "a", "1" }, { "b\\u0020", "[ {} ]" }, { "", "\"x\"" } };
	struct str all = { text, sizeof(text) - 1 }, name, value;
	struct jsonscan s;
	size_t i;

	check(jsonscan_begin(&s, all, '[') == -1, "an object is no array", 0);
	check(jsonscan_begin(&s, all, '{') == 0, "an object", 0);
	for (i = 0; i < LEN(want); i++)
		check(jsonscan_next(&s, &name, &value) == 1 && name.len == strlen(want[i].name) && memcmp(name.p, want[i].name, name.len) == 0 &&
		    value.len == strlen(want[i].value) && memcmp(value.p, want[i].value, value.len) == 0, want[i].name, i);
	check(jsonscan_next(&s, &name, &value) == 0 && jsonscan_at_end(&s), "its end", 0);
}

static void
test_depth(void)
{
	const char *why;
	char *text = malloc(4 * JSONSCAN_DEPTH_MAX);
	size_t n, i;
	int rc, objects;

	if (text == NULL)
		abort();
	for (objects = 0; objects < 2; objects++)
		for (n = JSONSCAN_DEPTH_MAX - 1; n < JSONSCAN_DEPTH_MAX + 2; n++) {
			for (i = 0; i < n; i++)
				text[1 + i] = '[';
			text[0] = '[';
			memset(text + 1 + n, ']', n + 1);
			if (objects) {
				text[n] = '{';
				text[n + 1] = '}';
			}
			rc = elements(text, 2 * n + 2, &why);
			check(n <= JSONSCAN_DEPTH_MAX ? rc == 1 : rc == -1 && strcmp(why, "too deep") == 0, "so deep", n);
		}
	memset(text, '{', 4 * JSONSCAN_DEPTH_MAX);
	check(elements(text, 4 * JSONSCAN_DEPTH_MAX, &why) == -1, "braces alone", 0);
	free(text);
}

/* The same as UTF-8. */
static void
test_utf8(void)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "", "" }, { "abc", "abc" }, { "\xc3\xa9\xff", "\xc3\xa9\xff" }, { "\\u00e9\\u00E9", "\xc3\xa9\xc3\xa9" },
		{ "\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t" }, { "\\u0041\\u007f\\u0080\\u07ff", "A\x7f\xc2\x80\xdf\xbf" },
		{ "\\u0800\\u20ac\\uffff", "\xe0\xa0\x80\xe2\x82\xac\xef\xbf\xbf" },
		{ "\\ud800\\udc00\\uD83D\\uDE00\\udbff\\udfff", "\xf0\x90\x80\x80\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf" },
		{ "\\ud800", "\xef\xbf\xbd" }, { "\\udc00\\ud800", "\xef\xbf\xbd\xef\xbf\xbd" }, { "\\ud83dx", "\xef\xbf\xbdx" },
		{ "\\ud83d\\n", "\xef\xbf\xbd\n" }, { "\\ud83d\\u0041", "\xef\xbf\xbd" "A" }, { "\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80" },
	};
	char out[64], *text;
	struct str s;
	size_t i;
	long n;

	for (i = 0; i < LEN(rows); i++) {
		s.len = strlen(rows[i].text);
		s.p = text = exact(rows[i].text, s.len);
		n = jsonscan_utf8(s, out, sizeof(out));
		check(n == (long)strlen(rows[i].want) && memcmp(out, rows[i].want, strlen(rows[i].want)) == 0, "as UTF-8", i);
		check(n == 0 || jsonscan_utf8(s, out, (size_t)n - 1) == -1, "no room for UTF-8", i);
		check(jsonscan_utf8(s, text, s.len) == n && memcmp(text, rows[i].want, strlen(rows[i].want)) == 0, "as UTF-8, in place", i);
		free(text);
	}
}

int
main(void)
{
	test_values();
	test_strings();
	test_members();
	test_depth();
	test_utf8();
	return test_end();
}
