/* pipegateans.c: PipeGate's messages to answers; see pipegatemsg.h. */
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "jsonscan.h"
#include "msgfields.h"
#include "pipegatemsg.h"

enum {
	STATUS_TEXT = 24,
	HEADERS_TEXT = 6 * MSGFIELDS_HEAD	/* the text of the fields: every byte may be an escape */
};

enum { ID, HEADERS, BODY, STATUS, MEMBERS };

static const char *const names[MEMBERS] = { "correlation_id", "headers", "body", "status_code" };

struct answer {			/* the last of several members of one name counts */
	struct str value[MEMBERS];	/* texts as they stand; p NULL: there is none */
	struct msgfields fields;
};

/* An id in any of the forms of a UUID, in the one that was sent. 0, or -1. */
static int
take_id(struct str value, char id[MESSAGE_ID_LEN + 1])
{
	char text[64], *p = text;
	long n = msgfields_string(value, text, sizeof(text));
	int i;

	if (n < 0)
		return -1;
	if (n > 9 && http_same(p, "urn:uuid:", 9)) {
		p += 9;
		n -= 9;
	}
	if (n > 2 && p[0] == '{' && p[n - 1] == '}') {
		p[n - 1] = '\0';
		p++;
	}
	for (i = 0; i < MESSAGE_ID_LEN; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			p += *p == '-';
			id[i] = '-';
			continue;
		}
		id[i] = *p >= 'A' && *p <= 'F' ? (char)(*p - 'A' + 'a') : *p;
		if (memchr("0123456789abcdef", id[i], 16) == NULL)
			return -1;
		p++;
	}
	id[i] = '\0';
	return *p == '\0' ? 0 : -1;
}

/* The status: a whole number, however it is written, or a string of digits. -1: it is none. */
static int
take_status(struct str value)
{
	char text[STATUS_TEXT], *end;
	double d;
	long n;

	if (*value.p == '"') {
		n = msgfields_string(value, text, sizeof(text));
		if (n < 1 || strspn(text, "0123456789") != (size_t)n)
			return -1;
	} else {
		if (value.len >= sizeof(text) || memchr("-0123456789", *value.p, 11) == NULL)
			return -1;
		memcpy(text, value.p, value.len);
		text[value.len] = '\0';
	}
	d = strtod(text, &end);
	if (*end != '\0' || !(d >= 0 && d <= 1e9) || d != (double)(int)d)
		return -1;
	return (int)d;
}

/* White space is nothing; any other byte that is no base64 is no accident. */
int
pipegate_take_body(struct str value, struct str *out)
{
	struct str in = { NULL, 0 };
	char *p;
	long i, len;
	size_t n = 0;

	msgfields_inside(value, &in);
	p = (char *)(uintptr_t)in.p;
	if ((len = jsonscan_latin1(in, p, in.len)) == -1)
		return -1;
	for (i = 0; i < len; i++)
		if (p[i] != '\r' && p[i] != '\n' && p[i] != ' ' && p[i] != '\t')
			p[n++] = p[i];
	if ((len = base64_decode(p, p, n)) == -1)	/* it writes behind what it reads */
		return -1;
	out->p = p;
	out->len = (size_t)len;
	return 0;
}

/* The text of the fields, which is JSON in a JSON string, with its own non-ASCII bytes as UTF-8 again: from malloc. */
static char *
headers_text(struct str value, struct str *out)
{
	struct str in = { NULL, 0 };
	unsigned char c;
	char *latin, *text;
	long n, i;
	struct buf b;

	msgfields_inside(value, &in);
	latin = (char *)(uintptr_t)in.p;
	if ((n = jsonscan_latin1(in, latin, in.len)) == -1 || n > HEADERS_TEXT || (text = malloc(2 * (size_t)n + 1)) == NULL)
		return NULL;
	buf_init(&b, text, 2 * (size_t)n + 1);
	for (i = 0; i < n; i++) {
		c = (unsigned char)latin[i];
		if (c >= 0x80)
			buf_char(&b, (char)(0xc0 | c >> 6));
		buf_char(&b, (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c));
	}
	out->p = text;
	out->len = b.len;
	return text;
}

/* The members of that text: 0, or -1. */
static int
take_fields(struct msgfields *f, struct str text)
{
	struct str in;
	size_t i, k;
	char *p;

	if (text.len == 0)	/* as old clients say that there are none */
		return 0;
	if (msgfields_take(f, text) == -1)
		return -1;
	for (i = 0; i < f->n; i++) {
		if (*f->field[i].value.p != '[' && !msgfields_inside(f->field[i].value, &in))
			return -1;
		p = (char *)(uintptr_t)f->field[i].name.p;	/* in the text, which is ours */
		for (k = 0; k < f->field[i].name.len; k++)
			p[k] = p[k] >= 'A' && p[k] <= 'Z' ? (char)(p[k] - 'A' + 'a') : p[k];
	}
	return 0;
}

/* One Set-Cookie may be several that the client's library has joined; of two, each is one. */
static int
is_joined(const struct msgfields *f)
{
	size_t i, n = 0;

	for (i = 0; i < f->n; i++)
		if (http_is(f->field[i].name, "Set-Cookie"))
			n++;
	return n == 1;
}

/* What a coding's data begins with. */
static int
begins_like(struct str coding, struct str body)
{
	static const struct { const char *name, *magic; size_t len; } known[] = {
		{ "gzip", "\x1f\x8b", 2 }, { "x-gzip", "\x1f\x8b", 2 }, { "zstd", "\x28\xb5\x2f\xfd", 4 }
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (http_is(coding, known[i].name))
			return body.len >= known[i].len && memcmp(body.p, known[i].magic, known[i].len) == 0;
	return 1;		/* who knows */
}

/* The content was decoded by the client's library, which leaves its fields as they were: not of that length, or no such data. */
static int
is_decoded(struct msgfields *f, size_t coding, int status, struct str body)
{
	size_t own = msgfields_find(f, "Content-Length");
	struct str last;
	long n, at;

	if (own < f->n && msgfields_digits(f, f->field[own].value) && strtoull(f->scratch, NULL, 10) != body.len)
		return 1;
	if (status == 206 || (n = msgfields_text(f, f->field[coding].value)) < 0)
		return 0;	/* a part may begin anywhere; what is no text will be refused */
	while (n > 0 && f->scratch[n - 1] == ' ')
		n--;
	for (at = n; at > 0 && f->scratch[at - 1] != ' ' && f->scratch[at - 1] != ','; at--)
		;		/* of several the last is what the data is */
	last.p = f->scratch + at;
	last.len = (size_t)(n - at);
	return !begins_like(last, body);
}

static void
cure_coding(struct msgfields *f, int status, struct str body)
{
	size_t i = msgfields_find(f, "Content-Encoding");

	if (i == f->n || !is_decoded(f, i, status, body))
		return;
	f->n--;
	memmove(&f->field[i], &f->field[i + 1], (f->n - i) * sizeof(f->field[0]));
}

/* NULL, or what makes the answer unusable. headers is its text. */
static const char *
compose(struct pipegate_answer *out, struct answer *a, int status, struct str headers, int is_head)
{
	struct buf b;

	if (status < 200 || status > 599)
		return "its status code ends no exchange";
	a->fields.n = 0;
	a->fields.utf8 = 0;
	if (take_fields(&a->fields, headers) == -1)
		return "its headers are no JSON object of strings";
	if (pipegate_take_body(a->value[BODY], &out->body) == -1)
		return "its body is not base64";
	if (!is_head && status != 204 && status != 304)
		cure_coding(&a->fields, status, out->body);
	a->fields.split = is_joined(&a->fields);
	if ((out->memory = malloc(MSGFIELDS_HEAD)) == NULL)
		return "no memory";
	buf_init(&b, out->memory, MSGFIELDS_HEAD);
	if (msgfields_head(&b, &a->fields, status, is_head, out->body.len) == -1)
		return "a header is no field, or they are too many";
	if (status == 204 || status == 304)
		out->body.len = 0;
	out->head.p = out->memory;
	out->head.len = b.len;
	return NULL;
}

/* What all answers have: four members of the right types. NULL, or what is wrong. */
static const char *
judge(struct answer *a, struct str all, char *id, int *status)
{
	const char *why;
	struct str in;

	if (!msgfields_scan(a->value, names, MEMBERS, 0, all, &why))
		return why;
	if (take_id(a->value[ID], id) == -1)
		return "no correlation_id";
	if (!msgfields_inside(a->value[HEADERS], &in))
		return "headers is no string";
	if (!msgfields_inside(a->value[BODY], &in))
		return "body is no string";
	*status = a->value[STATUS].p != NULL ? take_status(a->value[STATUS]) : -1;
	return *status == -1 ? "status_code is no number" : NULL;
}

int
pipegate_decode(struct pipegate_answer *out, char *text, size_t len,
    int (*asked)(void *arg, const char *id), void *arg)
{
	struct answer *a = malloc(sizeof(*a));
	struct str all = { text, len }, headers = { NULL, 0 };
	char *inner;
	int is_head = -1, status = 0;

	memset(out, 0, sizeof(*out));
	out->why = "no memory";
	if (a == NULL)
		return 0;
	if ((out->why = judge(a, all, out->id, &status)) == NULL && (is_head = asked(arg, out->id)) == -1)
		out->why = "nobody waits for it";
	if (is_head != -1) {
		inner = headers_text(a->value[HEADERS], &headers);
		out->why = inner == NULL ? "its headers are no field values" : compose(out, a, status, headers, is_head);
		free(inner);
		if (out->why != NULL)
			out->head.p = NULL;
	}
	free(a);
	return is_head != -1;
}

int
pipegate_id(const char *text, size_t len, char id[MESSAGE_ID_LEN + 1])
{
	struct str all = { text, len }, value[MEMBERS];
	const char *why;

	msgfields_scan(value, names, MEMBERS, 0, all, &why);
	return take_id(value[ID], id) == 0;
}
