/* pem.c: keys and certificates as text, RFC 7468; see pem.h. */
#include <string.h>

#include "base64.h"
#include "pem.h"

static const char begin[] = "-----BEGIN ", end[] = "-----END ", dashes[] = "-----";
static const char blank[] = " \t", eol[] = "\r\n", space[] = " \t\r\n";
static const char bad_base64[] = "bad base64 in PEM object";

struct rest {			/* of the text */
	const char *p;
	size_t len;
};

static int
is_in(char c, const char *set)
{
	return memchr(set, c, strlen(set)) != NULL;
}

/* Go on while bytes are in set, or while they are not. */
static void
skip(struct rest *r, const char *set, int in)
{
	for (; r->len > 0 && is_in(*r->p, set) == in; r->len--)
		r->p++;
}

static int
take(struct rest *r, const char *lit)
{
	size_t n = strlen(lit);

	if (r->len < n || memcmp(r->p, lit, n) != 0)
		return 0;
	r->p += n;
	r->len -= n;
	return 1;
}

/* The remainder of a BEGIN or END line; 0 if it is not as it should be. */
static int
take_label(struct rest *r, char label[PEM_LABEL_MAX])
{
	size_t n = 0;

	for (; !take(r, dashes); r->len--) {
		if (r->len == 0 || *r->p < ' ' || *r->p > '~' || n == PEM_LABEL_MAX - 1)
			return 0;
		label[n++] = *r->p++;
	}
	label[n] = '\0';
	skip(r, blank, 1);
	return r->len == 0 || is_in(*r->p, eol);
}

/* The base64 up to a '-'. NULL, or what is wrong. */
static const char *
take_base64(struct rest *r, uint8_t *der, size_t cap, size_t *n)
{
	uint8_t out[5];		/* as many as base64_decode asks for */
	char quad[4];
	size_t have = 0;
	long got = 3;

	for (*n = 0; r->len > 0 && *r->p != '-'; r->len--, r->p++) {
		if (is_in(*r->p, space))
			continue;
		quad[have++] = *r->p;
		if (have < sizeof(quad))
			continue;
		/* fewer than three bytes were padded: those were the last */
		got = got < 3 ? -1 : base64_decode(out, quad, sizeof(quad));
		if (got == -1)
			return bad_base64;
		if ((size_t)got > cap - *n)
			return "PEM object too long";
		memcpy(der + *n, out, (size_t)got);
		*n += (size_t)got;
		have = 0;
	}
	/* where the text is cut, it is END that is missed */
	return r->len > 0 && (have > 0 || *n == 0) ? bad_base64 : NULL;
}

/* The object behind a "-----BEGIN ". NULL, or what is wrong. */
static const char *
take_object(struct rest *r, char label[PEM_LABEL_MAX], uint8_t *der, size_t cap, size_t *n)
{
	char ended[PEM_LABEL_MAX];
	const char *wrong;

	if (!take_label(r, label))
		return "bad BEGIN line of PEM object";
	skip(r, space, 1);
	if (take(r, "Proc-Type: 4,ENCRYPTED"))	/* RFC 1421 4.6.1.1 */
		return "the key is encrypted";
	wrong = take_base64(r, der, cap, n);
	if (wrong == NULL && (!is_in(r->p[-1], eol) || !take(r, end) ||
	    !take_label(r, ended) || strcmp(ended, label) != 0))
		wrong = "END line of PEM object missing or not its own";
	return wrong;
}

int
pem_next(const char *text, size_t len, size_t *at, char label[PEM_LABEL_MAX],
    uint8_t *der, size_t cap, size_t *n, const char **why)
{
	struct rest r = { text + *at, len - *at };
	const char *wrong;

	for (skip(&r, eol, 1); r.len > 0; skip(&r, eol, 1)) {
		if (take(&r, begin))
			wrong = take_object(&r, label, der, cap, n);
		else if (take(&r, end))
			wrong = "PEM object without BEGIN line";
		else {
			skip(&r, eol, 0);
			continue;
		}
		*at = len - r.len;
		if (wrong != NULL)
			*why = wrong;
		return wrong == NULL ? 1 : -1;
	}
	return 0;
}
