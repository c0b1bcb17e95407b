/* tokens.c: the text of the token store; see tokens.h. */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "scope.h"
#include "tokens.h"
#include "ws.h"

struct part {			/* some of the text */
	const char *p;
	size_t len;
};

/* Cut the text up to the next c, or to the end, off the front of *in, and that c too. */
static struct part
cut(struct part *in, int c)
{
	struct part head = *in;
	const char *p = in->len > 0 ? memchr(in->p, c, in->len) : NULL;

	if (p != NULL)
		head.len = (size_t)(p - in->p);
	in->p += head.len + (p != NULL);
	in->len -= head.len + (p != NULL);
	return head;
}

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static int
is_hex(struct part in)
{
	size_t i;

	for (i = 0; i < in.len; i++)
		if (nibble(in.p[i]) == -1)
			return 0;
	return 1;
}

static int
read_hash(uint8_t out[SHA256_LEN], struct part in)
{
	size_t i;

	if (in.len != 2 * SHA256_LEN || !is_hex(in))
		return -1;
	for (i = 0; i < SHA256_LEN; i++)
		out[i] = (uint8_t)(nibble(in.p[2 * i]) << 4 | nibble(in.p[2 * i + 1]));
	return 0;
}

static int
read_time(int64_t *out, struct part in)
{
	int64_t n = 0;
	size_t i;

	if (in.len == 0 || in.len > TOKENS_DIGITS_MAX)
		return -1;
	for (i = 0; i < in.len; i++) {
		if (in.p[i] < '0' || in.p[i] > '9')
			return -1;
		n = n * 10 + (in.p[i] - '0');
	}
	*out = n;
	return 0;
}

/* UTF-8 without controls, C1 included: it is shown on terminals. */
static int
part_is_note(struct part in)
{
	uint32_t state = 0;
	size_t i;

	if (in.len > STORE_NOTE_MAX || ws_utf8(&state, (const uint8_t *)in.p, in.len) == -1 ||
	    state != 0)
		return 0;
	for (i = 0; i < in.len; i++) {
		if ((uint8_t)in.p[i] < ' ' || in.p[i] == 0x7f)
			return 0;
		if ((uint8_t)in.p[i] == 0xc2 && (uint8_t)in.p[i + 1] < 0xa0)
			return 0;
	}
	return 1;
}

static void
copy_part(char *out, struct part in)
{
	memcpy(out, in.p, in.len);
	out[in.len] = '\0';
}

/* Read a line: NULL, or what is wrong with it. */
static const char *
parse_token(struct token *t, struct part line)
{
	struct part id = cut(&line, ' '), hash = cut(&line, ' ');
	struct part created = cut(&line, ' '), expires = cut(&line, ' ');
	struct part scope = cut(&line, ' ');
	const char *why;

	memset(t, 0, sizeof(*t));
	if (id.len < 4 || id.len > STORE_ID_MAX || !is_hex(id))
		return "bad id";
	copy_part(t->id, id);
	if (read_hash(t->hash, hash) == -1)
		return "bad hash";
	if (read_time(&t->created, created) == -1)
		return "bad time of creation";
	if (!(expires.len == 1 && expires.p[0] == '-') &&
	    (read_time(&t->expires, expires) == -1 || t->expires == 0))
		return "bad time of expiry";
	if (scope.len > STORE_SCOPE_MAX)
		return "scope too long";
	copy_part(t->scope, scope);
	if (scope_check(t->scope, &why) == -1)
		return why;
	if (!part_is_note(line))
		return "bad note";
	copy_part(t->note, line);
	return NULL;
}

static int
is_token_line(struct part line)
{
	return line.len > 0 && line.p[0] != '#';
}

static int
compare_ids(const void *a, const void *b)
{
	const struct token *const *x = a, *const *y = b;
	int order = strcmp((*x)->id, (*y)->id);

	return order != 0 ? order : (*x > *y) - (*x < *y);
}

/* The first token whose id an earlier one has, *n if there is none: its index in *n. */
static int
find_duplicate(const struct store *s, size_t *n)
{
	const struct token **sorted;
	size_t i;

	*n = s->n;
	if (s->n < 2)
		return 0;
	if ((sorted = calloc(s->n, sizeof(*sorted))) == NULL)
		return -1;
	for (i = 0; i < s->n; i++)
		sorted[i] = &s->token[i];
	qsort(sorted, s->n, sizeof(*sorted), compare_ids);
	for (i = 1; i < s->n; i++)
		if (strcmp(sorted[i - 1]->id, sorted[i]->id) == 0 &&
		    (size_t)(sorted[i] - s->token) < *n)
			*n = (size_t)(sorted[i] - s->token);
	free(sorted);
	return 0;
}

/* The line on which token n of the text stands. */
static size_t
line_of(struct part in, size_t n)
{
	size_t line = 0;

	while (in.len > 0) {
		line++;
		if (is_token_line(cut(&in, '\n')) && n-- == 0)
			break;
	}
	return line;
}

static int
add_token(struct store *s, size_t *cap, const struct token *t)
{
	struct token *grown;
	size_t n = *cap == 0 ? 16 : *cap * 2;	/* the text's size bounds it */

	if (s->n == *cap) {
		if ((grown = realloc(s->token, n * sizeof(*grown))) == NULL)
			return -1;
		s->token = grown;
		*cap = n;
	}
	s->token[s->n++] = *t;
	return 0;
}

static int
bad(size_t *line, size_t n, const char **why, const char *text)
{
	*line = n;
	*why = text;
	return -1;
}

/* The tokens and, in *n, the number of lines read; duplicates aside. */
static int
parse_lines(struct store *s, struct part in, size_t *n, const char **why)
{
	struct part line;
	struct token t;
	size_t cap = 0;

	for (*n = 0; in.len > 0; ) {
		line = cut(&in, '\n');
		++*n;
		if (line.len > TOKENS_LINE_MAX)
			return bad(n, *n, why, "line too long");
		if (memchr(line.p, '\0', line.len) != NULL)
			return bad(n, *n, why, "NUL byte");
		if (!is_token_line(line))
			continue;
		if ((*why = parse_token(&t, line)) != NULL)
			return -1;
		if (add_token(s, &cap, &t) == -1)
			return bad(n, 0, why, "out of memory");
	}
	return 0;
}

int
tokens_parse(struct store *s, const char *text, size_t len, size_t *line, const char **why)
{
	struct part in = { text, len };
	struct store fresh = { NULL, 0 };
	size_t n;
	int rc = 0;

	if (parse_lines(&fresh, in, line, why) == -1)
		rc = -1;
	else if (find_duplicate(&fresh, &n) == -1)
		rc = bad(line, 0, why, "out of memory");
	else if (n < fresh.n)
		rc = bad(line, line_of(in, n), why, "duplicate id");
	if (rc == 0)
		*s = fresh;
	else
		free(fresh.token);
	return rc;
}

int
tokens_note_ok(const char *note)
{
	struct part in = { note, strlen(note) };

	return part_is_note(in);
}

void
tokens_put(struct buf *b, const struct token *t)
{
	buf_str(b, t->id);
	buf_char(b, ' ');
	buf_hex(b, t->hash, sizeof(t->hash));
	buf_char(b, ' ');
	buf_u64(b, (unsigned long long)t->created);
	buf_char(b, ' ');
	if (t->expires == 0)
		buf_char(b, '-');
	else
		buf_u64(b, (unsigned long long)t->expires);
	buf_char(b, ' ');
	buf_str(b, t->scope);
	if (t->note[0] != '\0') {
		buf_char(b, ' ');
		buf_str(b, t->note);
	}
	buf_char(b, '\n');
}

int
tokens_find_line(const char *text, size_t textlen, const char *id, size_t *at, size_t *len)
{
	struct part in = { text, textlen }, line, field;

	while (in.len > 0) {
		*at = (size_t)(in.p - text);
		line = cut(&in, '\n');
		*len = (size_t)(in.p - text) - *at;
		if (!is_token_line(line))
			continue;
		field = cut(&line, ' ');
		if (field.len == strlen(id) && memcmp(field.p, id, field.len) == 0)
			return 1;
	}
	return 0;
}
