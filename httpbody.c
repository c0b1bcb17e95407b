/* httpbody.c: HTTP/1.1 message bodies; see http.h. Sections are RFC 9112's. */
#include <limits.h>
#include <string.h>

#include "http.h"
#include "rewrite.h"

enum {
	SIZE_DIGITS = 15,	/* hexadecimal: the sum of chunks stays below 2^64 for long */
	SIZE_LINE_MAX = 256,
	STEP_IOV = 3,		/* what one step of the walk writes at most */
	STEP_TEXT = 24
};

enum {				/* what the next byte of a chunked body is (7.1) */
	SIZE,			/* a digit of chunk-size, or what ends it */
	SIZE_BWS,		/* white space before an extension's ";" */
	EXT,			/* chunk-ext */
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER,		/* the first byte of a trailer line, or the CR of the empty one */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF
};

static int
bad(const char **why, const char *reason)
{
	*why = reason;
	return -400;
}

void
http_body_init(struct http_body *b, const struct http_head *h, char *trailers, int bare)
{
	memset(b, 0, sizeof(*b));
	b->framing = h->framing;
	b->left = h->framing == HTTP_LENGTH ? h->length : 0;
	b->state = SIZE;
	b->bare = bare;
	b->trailers = trailers;
	b->done = h->framing == HTTP_NO_BODY || (h->framing == HTTP_LENGTH && h->length == 0);
}

static int
is_full(const struct http_out *out)
{
	return out->n > HTTP_IOV_MAX - STEP_IOV ||
	    out->ntext > sizeof(out->text) - STEP_TEXT;
}

static void
put(struct http_out *out, const char *p, size_t len)
{
	if (len == 0)
		return;
	out->iov[out->n].iov_base = (void *)p;
	out->iov[out->n++].iov_len = len;
}

/* Text is copied into out, joined to the text before it if nothing is in between. */
static void
put_text(struct http_out *out, const char *p, size_t len)
{
	char *at = out->text + out->ntext;
	struct iovec *last = out->n > 0 ? &out->iov[out->n - 1] : NULL;

	memcpy(at, p, len);
	out->ntext += len;
	if (last != NULL && (char *)last->iov_base + last->iov_len == at)
		last->iov_len += len;
	else
		put(out, at, len);
}

static void
put_size(struct http_out *out, uint64_t size)
{
	char text[18];
	size_t i = sizeof(text);

	text[--i] = '\n';
	text[--i] = '\r';
	do
		text[--i] = "0123456789abcdef"[size & 15];
	while ((size >>= 4) != 0);
	put_text(out, text + i, sizeof(text) - i);
}

static void
put_last_chunk(const struct http_body *b, struct http_out *out)
{
	put_text(out, "0\r\n", 3);
	put(out, b->trailers, b->ntrailers);
	put_text(out, "\r\n", 2);
}

static int
hex(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte of the chunk-size line's content: the state it leads to. */
static int
size_byte(struct http_body *b, unsigned char c, const char **why)
{
	int digit = b->state == SIZE ? hex(c) : -1;

	if (c == '\r' && b->state != SIZE_BWS && b->nline > 0)
		return SIZE_LF;
	if (++b->nline > SIZE_LINE_MAX)
		return bad(why, "chunk-size line too long");
	if (digit >= 0 && b->nline > SIZE_DIGITS)
		return bad(why, "chunk-size too large");
	if (digit >= 0) {
		b->left = b->left << 4 | (uint64_t)digit;
		return SIZE;
	}
	if (b->state == EXT)
		return http_is_text(c) ? EXT : bad(why, "control byte in a chunk extension");
	if (c == ';' && b->nline > 1)
		return EXT;
	if ((c == ' ' || c == '\t') && b->nline > 1)
		return SIZE_BWS;
	return bad(why, "malformed chunk-size");
}

/* The LF behind a chunk-size. */
static int
size_end(struct http_body *b, struct http_out *out)
{
	b->nline = 0;
	if (b->left == 0)
		return TRAILER;
	if (!b->bare)
		put_size(out, b->left);
	return DATA;
}

/* A trailer line is whole: keep it or let the next one overwrite it. */
static int
trailer_end(struct http_body *b, const char **why)
{
	struct str name;

	if (++b->nfields > HTTP_FIELDS_MAX)
		return bad(why, "too many trailers");
	if (b->trailers != NULL) {
		name.p = b->trailers + b->ntrailers;
		name.len = (size_t)((char *)memchr(name.p, ':', b->nline) - name.p);
		if (rewrite_trailer_ok(name))
			b->ntrailers += b->nline;
	}
	b->nline = 0;
	return TRAILER;
}

/* A byte of the trailer section, as strict as a head: the state it leads to. */
static int
trailer_byte(struct http_body *b, unsigned char c, const char **why)
{
	if (b->state == TRAILER && c == '\r')
		return END_LF;
	if (++b->nsection > HTTP_TRAILERS_MAX)
		return bad(why, "trailer section too long");
	if (b->trailers != NULL)
		b->trailers[b->ntrailers + b->nline] = (char)c;
	b->nline++;
	switch (b->state) {
	case TRAILER_NAME:
		if (c == ':')
			return TRAILER_VALUE;
		/* FALLTHROUGH */
	case TRAILER:
		return http_is_tchar(c) ? TRAILER_NAME : bad(why, "trailer name is not a token");
	case TRAILER_VALUE:
		if (c == '\r')
			return TRAILER_LF;
		return http_is_text(c) ? TRAILER_VALUE : bad(why, "control byte in a trailer");
	default:
		return c == '\n' ? trailer_end(b, why) : bad(why, "bare CR in a trailer");
	}
}

/* A byte of chunk framing: the state it leads to. */
static int
frame_byte(struct http_body *b, unsigned char c, struct http_out *out, const char **why)
{
	switch (b->state) {
	case SIZE:
	case SIZE_BWS:
	case EXT:
		return size_byte(b, c, why);
	case SIZE_LF:
		return c == '\n' ? size_end(b, out) : bad(why, "bare CR behind a chunk-size");
	case DATA_CR:
		return c == '\r' ? DATA_LF : bad(why, "chunk longer than its size");
	case DATA_LF:
		if (c != '\n')
			return bad(why, "bare CR behind a chunk");
		if (!b->bare)
			put_text(out, "\r\n", 2);
		return SIZE;
	case END_LF:
		if (c != '\n')
			return bad(why, "bare CR behind the trailers");
		b->done = 1;
		if (!b->bare)
			put_last_chunk(b, out);
		return END_LF;
	default:
		return trailer_byte(b, c, why);
	}
}

/* Data: as much of len bytes as belongs to the body or to this chunk. */
static size_t
take_data(struct http_body *b, const char *buf, size_t len, struct http_out *out)
{
	size_t n = len;

	if (b->framing != HTTP_TO_EOF) {
		if (n > b->left)
			n = (size_t)b->left;
		b->left -= n;
	}
	b->seen += n;
	put(out, buf, n);
	return n;
}

/* A body that has no chunks of its own. */
static size_t
take_plain(struct http_body *b, const char *buf, size_t len, struct http_out *out)
{
	int encode = b->encode && !b->bare && b->framing == HTTP_TO_EOF && len > 0;

	if (encode)
		put_size(out, len);
	len = take_data(b, buf, len, out);
	if (encode)
		put_text(out, "\r\n", 2);
	if (b->framing == HTTP_LENGTH && b->left == 0)
		b->done = 1;
	return len;
}

long
http_body_take(struct http_body *b, const char *buf, size_t len,
    struct http_out *out, const char **why)
{
	size_t at = 0;
	int state;

	out->n = 0;
	out->ntext = 0;
	if (len > LONG_MAX)
		len = LONG_MAX;
	if (b->done)
		return 0;
	if (b->framing != HTTP_CHUNKED)
		return (long)take_plain(b, buf, len, out);
	while (at < len && !b->done && !is_full(out)) {
		if (b->state == DATA) {
			at += take_data(b, buf + at, len - at, out);
			if (b->left == 0)
				b->state = DATA_CR;
			continue;
		}
		state = frame_byte(b, (unsigned char)buf[at++], out, why);
		if (state < 0)
			return state;
		b->state = state;
	}
	return (long)at;
}

int
http_body_eof(struct http_body *b)
{
	if (b->framing == HTTP_TO_EOF)
		b->done = 1;
	return b->done ? 0 : -1;
}
