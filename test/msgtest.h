/*
 * msgtest.h: what the tests of bifrost's and PipeGate's answers have in common. Whoever includes this has defined ID, the id that is waited for.
 */
#ifndef MSGTEST_H
#define MSGTEST_H

#include "../http.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define S(s)	s, sizeof(s) - 1

struct answer_row {
	const char *name, *text;
	const char *head;	/* NULL: a 502; "": no answer */
	const char *body;
	size_t len;
};

/* An answer in memory of exactly its size. -1: none, 0: bad, 1: as wanted, 2: not so. */
typedef int decode_fn(const char *in, size_t len, int is_head, const char *head, const char *body, size_t blen);

/* *arg: is it to a HEAD request? */
static int
asked(void *arg, const char *id)
{
	return strcmp(id, ID) == 0 ? *(int *)arg : -1;
}

/* For decode: what it says of the parts of an answer. */
static int
compare(struct str got, struct str content, const char *head, const char *body, size_t blen)
{
	if (got.p == NULL)
		return 0;
	return head != NULL && got.len == strlen(head) && memcmp(got.p, head, got.len) == 0 && content.len == blen &&
	    (blen == 0 || memcmp(content.p, body, blen) == 0) ? 1 : 2;
}

/* Each as wanted, its head one that a strict reader takes; cut short it is none, unless it is one of the bytes of ends that is cut off first. */
static void
check_answers(decode_fn *decode, const struct answer_row *row, size_t rows, const char *ends)
{
	struct http_head h;
	const char *why;
	size_t i, n, len;
	int want;

	for (i = 0; i < rows; i++, row++) {
		len = strlen(row->text);
		want = row->head == NULL ? 0 : *row->head == '\0' ? -1 : 1;
		check(decode(row->text, len, 0, row->head, row->body, row->len) == want, row->name, i);
		for (n = 0; n < len; n++)
			check(decode(row->text, n, 0, NULL, NULL, 0) == -1 || strchr(ends, row->text[n]) != NULL, row->name, n);
		memset(&h, 0, sizeof(h));
		if (want == 1)
			check(http_res_parse(&h, row->head, strlen(row->head), 0, &why) == (int)strlen(row->head) &&
			    (h.framing == HTTP_NO_BODY || (h.framing == HTTP_LENGTH && h.length == row->len)), row->name, i);
	}
}

#endif
